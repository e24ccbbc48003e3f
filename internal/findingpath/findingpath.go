// Package findingpath reads the paths by which findings name places, such as spec.ports[port=80].name, and changes values there. Package
// compare of the drift service writes them; its comment has the grammar.
//
// It is pure, and nothing is looked up in a schema: a path says by itself which item of a list is meant.
package findingpath

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Step is one part of a path.
type Step struct {
	// Text is the part as it is written, without its brackets.
	Text string
	// Bracketed tells a part in brackets, a key of a free map or an item of a list, from a field's name.
	Bracketed bool
}

// Parse takes a path apart; false for what is none. Brackets hold keys that may have dots and brackets in them, within quotes also closing
// ones. The path of a whole object is empty and has no steps.
func Parse(path string) ([]Step, bool) {
	out := []Step{}
	for rest := path; rest != ""; {
		if rest[0] == '[' {
			n := bracket(rest)
			if n < 0 {
				return nil, false
			}
			out, rest = append(out, Step{Text: rest[1:n], Bracketed: true}), rest[n+1:]
			if rest != "" && rest[0] != '.' && rest[0] != '[' {
				return nil, false
			}
			continue
		}
		if rest[0] == '.' {
			if len(out) == 0 {
				return nil, false
			}
			rest = rest[1:]
		}
		n := strings.IndexAny(rest, ".[")
		if n < 0 {
			n = len(rest)
		}
		if n == 0 || strings.ContainsAny(rest[:n], "]\" ") {
			return nil, false
		}
		out, rest = append(out, Step{Text: rest[:n]}), rest[n:]
	}
	return out, true
}

// bracket gives the place of the bracket that closes the first one, -1 for none or where nothing is between them.
func bracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ']' && !quoted:
			if i == 1 {
				return -1
			}
			return i
		}
	}
	return -1
}

// Name gives the key of a map that the step is about.
func (s Step) Name() string { return unquoted(s.Text) }

// inList tells [name=web] and [=value], which are about an item of a list, from a key. A key with = in it is quoted.
func (s Step) inList() bool {
	return s.Bracketed && !strings.HasPrefix(s.Text, `"`) && strings.Contains(s.Text, "=")
}

// means reports whether a list's item is the step's.
func (s Step) means(item any) bool {
	if !s.inList() {
		return false
	}
	m, _ := item.(map[string]any)
	for rest := s.Text; rest != ""; {
		key, value, _ := strings.Cut(rest, "=")
		n := strings.IndexByte(value, ',')
		if strings.HasPrefix(value, `"`) {
			if q, err := strconv.QuotedPrefix(value); err == nil {
				n = len(q)
			}
		}
		if n < 0 || n >= len(value) {
			n, rest = len(value), ""
		} else {
			rest = strings.TrimPrefix(value[n:], ",")
		}
		v := item
		if key != "" {
			v = m[key]
		}
		if !spells(value[:n], v) {
			return false
		}
	}
	return true
}

// spells reports whether a text of a path stands for a value.
func spells(text string, v any) bool {
	if s, ok := v.(string); ok {
		return unquoted(text) == s
	}
	b, err := json.Marshal(v)
	return err == nil && string(b) == unquoted(text)
}

func unquoted(s string) string {
	var out string
	if strings.HasPrefix(s, `"`) && json.Unmarshal([]byte(s), &out) == nil {
		return out
	}
	return s
}

// Set gives v with a value at a place; what stands on the way is made, and an item that a list does not have is appended. v is changed.
// It is false where v cannot have the place.
func Set(v any, steps []Step, value any) (any, bool) { return put(v, steps, value) }

// Remove gives v without what is at a place. v is changed. It is false where v does not have the place.
func Remove(v any, steps []Step) (any, bool) { return put(v, steps, nil) }

// put is both: without a value the place is removed.
func put(v any, steps []Step, value any) (any, bool) {
	if len(steps) == 0 {
		return value, true
	}
	s := steps[0]
	if list, ok := v.([]any); ok || v == nil && s.inList() {
		return putItem(list, steps, value)
	}
	m, ok := v.(map[string]any)
	if v == nil {
		m, ok = map[string]any{}, value != nil
	}
	if !ok {
		return v, false
	}
	child, there := m[s.Name()]
	if len(steps) == 1 && value == nil {
		delete(m, s.Name())
		return m, there
	}
	next, ok := put(child, steps[1:], value)
	if ok {
		m[s.Name()] = next
	}
	return m, ok
}

func putItem(list []any, steps []Step, value any) (any, bool) {
	i := slices.IndexFunc(list, steps[0].means)
	if n, err := strconv.Atoi(steps[0].Text); err == nil && i < 0 && n >= 0 && n < len(list) {
		i = n
	}
	switch {
	case i < 0 && (len(steps) > 1 || value == nil):
		return list, false
	case i < 0:
		return append(list, value), true
	case len(steps) == 1 && value == nil:
		return slices.Delete(list, i, i+1), true
	}
	next, ok := put(list[i], steps[1:], value)
	if ok {
		list[i] = next
	}
	return list, ok
}
