package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// maxSteps is how deep a path may go.
const maxSteps = 64

// step is one part of a path: a key, or what stands in brackets.
type step struct {
	text    string
	bracket bool
}

// ParsePath reads the path of a field: spec.template.spec.containers[0].env[LOG_LEVEL], with or without a leading dot, keyed lists by
// key ([name=api] or [api]) or by place, keys with dots in brackets (labels[app.kubernetes.io/name]), or a JSON Pointer. The error is
// an errs.Invalid one of the field "path".
func parsePath(path string) ([]step, error) {
	bad := func(format string, args ...any) error {
		return errs.InvalidField("path", "%q "+format+"; write it like .spec.template.spec.containers[name=main].image", append([]any{clipped(path, 200, "…")}, args...)...)
	}
	if strings.HasPrefix(path, "/") {
		tokens, err := jsonptr.Parse(path)
		if err != nil {
			return nil, bad("is no JSON Pointer")
		}
		var out []step
		for _, t := range tokens {
			out = append(out, step{text: t})
		}
		return out, nil
	}
	var out []step
	rest := strings.TrimPrefix(path, ".")
	for rest != "" {
		if len(out) == maxSteps {
			return nil, bad("goes deeper than %d steps", maxSteps)
		}
		if rest[0] == '[' {
			text, n, ok := bracket(rest)
			if !ok {
				return nil, bad("has a bracket that is not closed")
			}
			out, rest = append(out, step{text: text, bracket: true}), rest[n:]
			if strings.HasPrefix(rest, ".") && len(rest) > 1 {
				rest = rest[1:]
			}
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, bad("has two dots in a row or ends with one")
		}
		out = append(out, step{text: rest[:end]})
		if rest = rest[end:]; strings.HasPrefix(rest, ".") {
			if rest = rest[1:]; rest == "" {
				return nil, bad("has two dots in a row or ends with one")
			}
		}
	}
	return out, nil
}

// bracket reads [text] or ["text"] at the beginning, and tells how long it is.
func bracket(s string) (text string, n int, ok bool) {
	if strings.HasPrefix(s, `["`) {
		quoted, err := strconv.QuotedPrefix(s[1:])
		if err != nil || !strings.HasPrefix(s[1+len(quoted):], "]") {
			return "", 0, false
		}
		text, err = strconv.Unquote(quoted)
		return text, len(quoted) + 2, err == nil
	}
	inQuotes := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			inQuotes = !inQuotes
		case ']':
			if !inQuotes {
				return s[1:i], i + 1, i > 1
			}
		}
	}
	return "", 0, false
}

// Find follows a path into an object and gives the keys and indexes on the way. keys are those of the last step that only name an
// item of a list, such as its name. What does not exist is an errs.NotFound error that lists what there is.
func Find(object map[string]any, path string) (way, keys []string, err error) {
	steps, err := parsePath(path)
	if err != nil {
		return nil, nil, err
	}
	var v any = object
	field := ""
	for _, s := range steps {
		keys = nil
		var name string
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[s.text]
			if !ok {
				return nil, nil, missing(object, way, s.text, mapChoices(field, at))
			}
			name, v, field = s.text, next, s.text
		case []any:
			i, by, ok := item(field, at, s)
			if !ok {
				return nil, nil, missing(object, way, s.text, listChoices(field, at))
			}
			name, v, field, keys = strconv.Itoa(i), at[i], "", by
		default:
			return nil, nil, missing(object, way, s.text, nil)
		}
		way = append(way, name)
	}
	return way, keys, nil
}

// item finds the item of a list that a step means.
func item(field string, list []any, s step) (index int, keys []string, ok bool) {
	by := keysOf(field, list)
	if i, err := strconv.Atoi(s.text); err == nil && i >= 0 && i < len(list) && strconv.Itoa(i) == s.text && !hasKey(by, list, s.text) {
		return i, by, true
	}
	pairs := strings.Split(s.text, ",")
	for i, x := range list {
		m, ok := x.(map[string]any)
		if !ok {
			continue
		}
		if len(by) > 0 && strings.IndexByte(s.text, '=') < 0 && spelledAs(at(m, by[0]), s.text) {
			return i, by, true
		}
		all := strings.IndexByte(s.text, '=') >= 0
		for _, pair := range pairs {
			key, value, given := strings.Cut(pair, "=")
			have := at(m, key)
			if have == nil {
				have = at(m, "metadata."+key)
			}
			if have == nil && keyDefaults[key] != "" {
				have = keyDefaults[key]
			}
			all = all && given && spelledAs(have, value)
		}
		if all {
			return i, by, true
		}
		// A value with "=" or "," in it, such as a key that names nothing else.
		if len(by) > 0 && spelledAs(at(m, by[0]), s.text) {
			return i, by, true
		}
	}
	return 0, nil, false
}

// hasKey reports whether a number is the key of an item, such as a port's.
func hasKey(by []string, list []any, text string) bool {
	return len(by) > 0 && slices.ContainsFunc(list, func(x any) bool {
		m, ok := x.(map[string]any)
		return ok && spelledAs(at(m, by[0]), text)
	})
}

func spelledAs(v any, text string) bool {
	if v == nil {
		return false
	}
	s, isText := v.(string)
	return isText && s == text || Spell(Plain(v)) == text
}

func mapChoices(field string, m map[string]any) (out []string) {
	for _, k := range unionKeys(m, nil) {
		out = append(out, strings.TrimPrefix(keyPath("", field, k), "."))
	}
	return out
}

func listChoices(field string, list []any) (out []string) {
	keys := keysOf(field, list)
	for i, x := range list {
		name := strconv.Itoa(i)
		if keys != nil {
			name, _ = itemKey(keys, x)
		}
		out = append(out, "["+name+"]")
	}
	return out
}

func missing(object map[string]any, way []string, text string, have []string) error {
	place := "the object"
	if len(way) > 0 {
		place = FieldPath(object, way)
	}
	hint := fmt.Sprintf("%s holds one value and nothing below it", place)
	if have != nil {
		hint = fmt.Sprintf("%s has %s", place, List(have))
	}
	return errs.NotFoundf(fmt.Sprintf("%q in %s", clipped(text, 100, "…"), place), "%s", Suggest(text, have)+hint)
}

// List writes what there is, not all of it where that is much.
func List(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	if more := len(names) - 20; more > 0 {
		return strings.Join(names[:20], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// Suggest asks "did you mean" where a known name is near.
func Suggest(word string, known []string) string {
	best, near := "", 4
	for _, k := range known {
		bare := strings.Trim(k, "[]")
		if _, v, ok := strings.Cut(bare, "="); ok {
			bare = v
		}
		if d := distance(strings.ToLower(word), strings.ToLower(bare)); d < near && d*2 <= len(word)+1 {
			best, near = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s? ", best)
}

// distance is the Levenshtein distance of short words; long ones are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
