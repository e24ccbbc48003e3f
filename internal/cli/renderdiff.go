package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// maxShownFields is how many fields of an object are listed; a changed file of configuration should not scroll all else away.
const maxShownFields = 12

// manifestChanges tells by object and field what is different between two bundles.
func (p *printer) manifestChanges(before, after map[string][]byte) string {
	var b strings.Builder
	all := maps.Clone(before)
	maps.Copy(all, after)
	for _, file := range slices.Sorted(maps.Keys(all)) {
		old, had := before[file]
		now, has := after[file]
		switch {
		case !had:
			fmt.Fprintf(&b, "%s %s\n", p.paint(green, "+"), objectTitle(file, now))
		case !has:
			fmt.Fprintf(&b, "%s %s\n", p.paint(red, "-"), objectTitle(file, old))
		case string(old) != string(now):
			fmt.Fprintf(&b, "%s %s\n", p.paint(yellow, "~"), objectTitle(file, now))
			lines := fieldChanges(parsed(old), parsed(now))
			for i, line := range lines {
				if i == maxShownFields {
					fmt.Fprintf(&b, "    and %d more\n", len(lines)-i)
					break
				}
				fmt.Fprintf(&b, "    %s\n", clean(line))
			}
		}
	}
	if b.Len() == 0 {
		return "no manifest changes\n"
	}
	return b.String()
}

func parsed(content []byte) map[string]any {
	var out map[string]any
	if yaml.Unmarshal(content, &out) != nil {
		return nil // a bundle's files are ours, and YAML
	}
	return out
}

func objectTitle(file string, content []byte) string {
	o := parsed(content)
	meta, _ := o["metadata"].(map[string]any)
	kind, _ := o["kind"].(string)
	name, _ := meta["name"].(string)
	if kind == "" || name == "" {
		return file
	}
	return kind + "/" + name
}

// fieldChanges gives a line for each field that differs, in the order of their paths.
func fieldChanges(old, now any) (lines []string) {
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		x, y := keyed(a), keyed(b)
		if x == nil || y == nil {
			if from, to := definition.ValueText(a), definition.ValueText(b); from != to {
				lines = append(lines, fmt.Sprintf("%s: %s -> %s", strings.TrimPrefix(path, "."), quoteText(from), quoteText(to)))
			}
			return
		}
		all := maps.Clone(x)
		maps.Copy(all, y)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			from, had := x[key]
			to, has := y[key]
			at := strings.TrimPrefix(path+key, ".")
			switch {
			case !had:
				lines = append(lines, fmt.Sprintf("%s: added %s", at, quoteText(definition.ValueText(to))))
			case !has:
				lines = append(lines, fmt.Sprintf("%s: removed, was %s", at, quoteText(definition.ValueText(from))))
			default:
				walk(path+key, from, to)
			}
		}
	}
	walk("", old, now)
	return lines
}

// keyed gives a map's fields, or a list's elements by their names where each has one and by number where not, as steps of a path;
// nil for a value that has no parts.
func keyed(v any) map[string]any {
	out := map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if strings.ContainsAny(k, "./") {
				out["["+k+"]"] = x
			} else {
				out["."+k] = x
			}
		}
	case []any:
		for i, x := range v {
			m, _ := x.(map[string]any)
			name, _ := m["name"].(string)
			if name == "" || out["["+name+"]"] != nil {
				name = strconv.Itoa(i)
			}
			out["["+name+"]"] = x
		}
	default:
		return nil
	}
	return out
}
