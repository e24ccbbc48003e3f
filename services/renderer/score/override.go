package score

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxProperties is how many property overrides one file may have.
const maxProperties = 1000

// merge puts an overrides document over a document: maps merge, everything else is replaced, null deletes.
func merge(base, over *node) *node {
	if over.kind != mapKind {
		return over
	}
	out := newMap(over.pos)
	if base != nil && base.kind == mapKind {
		out.pos = base.pos
		for k, v := range base.fields {
			out.fields[k], out.keys[k] = v, base.keyPos(k)
		}
	}
	for k, v := range over.fields {
		if v.isNull() {
			delete(out.fields, k)
			delete(out.keys, k)
			continue
		}
		out.fields[k], out.keys[k] = merge(out.fields[k], v), over.keyPos(k)
	}
	return out
}

// property is one "path=value" override.
type property struct {
	steps []string
	// value is nil when the place is deleted.
	value *node
	at    pos
}

// parseProperties reads property overrides. A wrong one is reported and left out.
func parseProperties(texts []string, p *problems) []property {
	if len(texts) > maxProperties {
		p.add(pos{file: fmt.Sprintf("properties[%d]", maxProperties), line: 1, col: 1}, "", "is one of %d entries: expected at most %d; use an overrides document", len(texts), maxProperties)
		return nil
	}
	var out []property
	for i, text := range texts {
		if prop, ok := parseProperty(text, pos{file: fmt.Sprintf("properties[%d]", i), line: 1, col: 1}, p); ok {
			out = append(out, prop)
		}
	}
	return out
}

// override applies a property, or reports why it cannot be.
func (prop property) override(doc *node, p *problems) *node {
	next, problem := prop.apply(doc, 0)
	if problem != "" {
		var where path
		for _, step := range prop.steps {
			where = where.field(step)
		}
		p.add(prop.at, where, "%s", problem)
		return doc
	}
	return next
}

func parseProperty(text string, at pos, p *problems) (property, bool) {
	steps, value, ok := cutProperty(text)
	switch {
	case !utf8.ValidString(text):
		p.add(at, "", "%s is not UTF-8: expected text", quote(text))
		return property{}, false
	case !ok || len(steps) == 0:
		p.add(at, "", "expected path=value, such as containers.main.image=nginx:1.27, got %s", quote(text))
		return property{}, false
	case slices.Contains(steps, ""):
		p.add(at, "", "the path of %s has an empty part: expected names between the dots", quote(text))
		return property{}, false
	case len(steps) > maxDepth:
		p.add(at, "", "the path has %d parts: expected at most %d", len(steps), maxDepth)
		return property{}, false
	}
	prop := property{steps: steps, at: at}
	if value == "" {
		return prop, true
	}
	prop.at.col += utf8.RuneCountInString(text[:len(text)-len(value)])
	before := len(p.found)
	prop.value = parse(prop.at, []byte(value), false, p)
	if len(p.found) > before {
		return prop, false
	}
	if prop.value == nil { // blanks, a comment, or null
		prop.value = &node{pos: prop.at}
	}
	return prop, true
}

// cutProperty splits "a.b\.c=value" into its parts and value: dots split, `\.` and `\\` escape, the first = ends the path.
func cutProperty(text string) (steps []string, value string, ok bool) {
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == '.' || text[i+1] == '\\'):
			i++
			part.WriteByte(text[i])
		case c == '.':
			steps = append(steps, part.String())
			part.Reset()
		case c == '=':
			return append(steps, part.String()), text[i+1:], true
		default:
			part.WriteByte(c)
		}
	}
	return nil, "", false
}

// apply gives a copy of n in which the property is set from step i on, or says why it cannot be.
func (prop property) apply(n *node, i int) (*node, string) {
	if n == nil || n.isNull() {
		n = newMap(prop.at)
	}
	switch n.kind {
	case mapKind:
		return prop.applyMap(n, i)
	case listKind:
		return prop.applyList(n, i)
	default:
		return nil, fmt.Sprintf("cannot step into %s: there is %s, expected a map or list", quote(prop.steps[i]), n.describe())
	}
}

func (prop property) applyMap(n *node, i int) (*node, string) {
	key, last := prop.steps[i], i == len(prop.steps)-1
	out := newMap(n.pos)
	for k, v := range n.fields {
		out.fields[k], out.keys[k] = v, n.keyPos(k)
	}
	switch {
	case prop.value == nil && (last || n.fields[key] == nil):
		delete(out.fields, key)
		delete(out.keys, key)
		return out, ""
	case last:
		out.set(key, prop.value)
		return out, ""
	}
	next, problem := prop.apply(n.fields[key], i+1)
	if problem != "" {
		return nil, problem
	}
	out.fields[key] = next
	if _, known := out.keys[key]; !known {
		out.keys[key] = prop.at
	}
	return out, ""
}

func (prop property) applyList(n *node, i int) (*node, string) {
	step, last := prop.steps[i], i == len(prop.steps)-1
	at, err := strconv.Atoi(step)
	if err != nil || strconv.Itoa(at) != step {
		return nil, fmt.Sprintf("%s is not an index: there is a list of %d elements, expected %s", quote(step), len(n.list), indexes(n.list))
	}
	out := &node{kind: listKind, pos: n.pos, list: slices.Clone(n.list)}
	if at == -1 && prop.value != nil {
		out.list = append(out.list, nil)
		at = len(n.list)
		if last {
			out.list[at] = prop.value
			return out, ""
		}
	}
	if at < 0 || at >= len(out.list) {
		return nil, fmt.Sprintf("index %d is out of range: the list has %d elements, expected %s", at, len(n.list), indexes(n.list))
	}
	switch {
	case last && prop.value == nil:
		out.list = slices.Delete(out.list, at, at+1)
		return out, ""
	case last:
		out.list[at] = prop.value
		return out, ""
	}
	next, problem := prop.apply(out.list[at], i+1)
	out.list[at] = next
	return out, problem
}

// indexes says which indexes a list can be changed at.
func indexes(list []*node) string {
	if len(list) == 0 {
		return "-1, which appends"
	}
	return fmt.Sprintf("0 to %d, or -1, which appends", len(list)-1)
}
