package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Limits of the text. A person reads no more; the fields have the rest.
const (
	maxTextFields = 200
	maxTextValue  = 120
	maxTextLines  = 40
)

// textOf writes differences for people: a line for each object that differs, below it one for each field, and of texts of several
// lines those that differ.
//
//	~ Deployment api
//	    spec.template.spec.containers[name=main].image: nginx:1.28 -> nginx:1.29
//	+ Service web
//	- ConfigMap api-files
func textOf(changes []change, all bool) string {
	var b strings.Builder
	shown, more := 0, 0
	for _, c := range changes {
		sign := map[rendererv1.ObjectDiff_Action]string{rendererv1.ObjectDiff_ACTION_ADD: "+", rendererv1.ObjectDiff_ACTION_DELETE: "-"}[c.action]
		if sign == "" {
			sign = "~"
		}
		fmt.Fprintf(&b, "%s %s %s\n", sign, oneLine(c.ref.GetKind()), oneLine(c.ref.GetName()))
		for _, f := range c.fields {
			if shown == maxTextFields {
				more++
				continue
			}
			shown++
			f.write(&b)
		}
	}
	switch {
	case !all:
		b.WriteString("and more fields than are told; the files have all of them\n")
	case more > 0:
		fmt.Fprintf(&b, "and %d more fields\n", more)
	}
	return b.String()
}

const indent = "    "

func (f field) write(b *strings.Builder) {
	path := oneLine(f.path)
	switch {
	case isOrder(f.path):
		fmt.Fprintf(b, "%s%s: %s\n", indent, strings.TrimSuffix(path, "[]"), moves(f.before, f.after))
	case f.hadBefore && f.hasNow:
		if lines := lineDiff(f.before, f.after); lines != "" {
			fmt.Fprintf(b, "%s%s:\n%s", indent, path, lines)
			return
		}
		fmt.Fprintf(b, "%s%s: %s -> %s\n", indent, path, shown("", f.before), shown("", f.after))
	case f.hasNow:
		fmt.Fprintf(b, "%s+ %s: %s\n", indent, path, shown(path, f.after))
	default:
		fmt.Fprintf(b, "%s- %s: %s\n", indent, path, shown(path, f.before))
	}
}

// lineDiff gives the lines that differ of two texts of which one has several; JSON on one line is spread for that. Empty where there
// is nothing to gain.
func lineDiff(before, after any) string {
	a, okA := before.(string)
	b, okB := after.(string)
	if !okA || !okB {
		return ""
	}
	a, b = spread(a), spread(b)
	if !strings.Contains(strings.TrimSuffix(a, "\n"), "\n") && !strings.Contains(strings.TrimSuffix(b, "\n"), "\n") {
		return ""
	}
	diff, err := udiff.ToUnified("a", "b", a, udiff.Lines(a, b), 1)
	if err != nil {
		return ""
	}
	var out strings.Builder
	n := 0
	for i, line := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n") {
		if i < 2 || strings.HasPrefix(line, `\ No newline`) { // the head names files
			continue
		}
		if n++; n > maxTextLines {
			out.WriteString(indent + indent + "…\n")
			break
		}
		if strings.HasPrefix(line, "@@") {
			line = "@@"
		}
		out.WriteString(indent + indent + clipped(Clean(line), 4*maxTextValue, "…") + "\n")
	}
	return out.String()
}

// spread writes JSON that stands on one line on several.
func spread(s string) string {
	if strings.Contains(strings.TrimSpace(s), "\n") || len(s) < 2 || s[0] != '{' && s[0] != '[' {
		return s
	}
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return s
	}
	return string(out)
}

// moves tells how the order of a list is another one.
func moves(before, after any) string {
	a, b := keysIn(before), keysIn(after)
	for _, key := range b {
		without := func(list []string) []string {
			return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == key })
		}
		if reflect.DeepEqual(without(a), without(b)) {
			if i := slices.Index(b, key); i > 0 {
				return key + " moves behind " + b[i-1]
			}
			return key + " moves to the front"
		}
	}
	return "order " + clipped(strings.Join(a, ", "), maxTextValue, "…") + " -> " + clipped(strings.Join(b, ", "), maxTextValue, "…")
}

func keysIn(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		out = append(out, oneLine(fmt.Sprint(x)))
	}
	return out
}

// shown gives a value on one line; of the item of a keyed list without the keys that its path has.
func shown(path string, v any) string {
	if m, ok := v.(map[string]any); ok {
		rest := maps.Clone(m)
		if _, keys, ok := strings.Cut(path[max(strings.LastIndexByte(path, '['), 0):], "["); ok && strings.HasSuffix(keys, "]") {
			for _, pair := range strings.Split(strings.TrimSuffix(keys, "]"), ",") {
				if key, _, ok := strings.Cut(pair, "="); ok && len(rest) > 1 {
					delete(rest, key)
				}
			}
		}
		if only, ok := rest["value"]; ok && len(rest) == 1 {
			return shown("", only)
		}
		v = rest
	}
	return Show(v)
}

// Show gives a value on one line.
func Show(v any) string {
	s, ok := v.(string)
	switch {
	case !ok:
		s = compact(v)
	case s == "", strings.ContainsAny(s, "\n\t\r"), strings.TrimSpace(s) != s:
		s = strconv.Quote(s)
	}
	return clipped(oneLine(s), maxTextValue, "…")
}

// compact writes a value as JSON without what people can do without.
func compact(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case map[string]any:
		parts := []string{}
		for _, k := range unionKeys(v, nil) {
			parts = append(parts, k+": "+compact(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := []string{}
		for _, x := range v {
			parts = append(parts, compact(x))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		if v == "" || strings.ContainsAny(v, "\n\t\r,{}[]") {
			return strconv.Quote(v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

func oneLine(s string) string { return strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(Clean(s)) }

// Clean takes control characters out of a text, so that nothing that somebody put into a repository can steer a terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
