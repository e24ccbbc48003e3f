package score

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// overrideProperties applies property overrides in order. A wrong one is reported and left out.
func overrideProperties(doc *node, texts []string, p *problems) *node {
	if len(texts) > maxProperties {
		p.add(pos{file: "properties"}, "", "has %d entries, at most %d are allowed: use an overrides document", len(texts), maxProperties)
		return doc
	}
	for i, text := range texts {
		at := pos{file: fmt.Sprintf("properties[%d]", i)}
		prop, ok := parseProperty(text, at, p)
		if !ok {
			continue
		}
		next, problem := prop.apply(doc, 0)
		if problem != "" {
			name, _, _ := strings.Cut(text, "=")
			p.add(at, path(name), "%s", problem)
			continue
		}
		doc = next
	}
	return doc
}

func parseProperty(text string, at pos, p *problems) (property, bool) {
	name, value, ok := cutProperty(text)
	if !ok || len(name) == 0 {
		p.add(at, "", "expected path=value, such as containers.main.image=nginx:1.27, got %q", text)
		return property{}, false
	}
	prop := property{steps: name, at: at}
	if slices.Contains(name, "") {
		p.add(at, "", "the path of %q has an empty part", text)
		return property{}, false
	}
	if len(name) > maxDepth {
		p.add(at, "", "the path has %d parts, at most %d are allowed", len(name), maxDepth)
		return property{}, false
	}
	if value == "" {
		return prop, true
	}
	before := len(p.found)
	prop.value = parse(at.file, []byte(value), p)
	if len(p.found) == before && prop.value == nil {
		prop.value = newString("", at)
	}
	if prop.value != nil {
		prop.value.pos = at
	}
	return prop, len(p.found) == before
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
	if n == nil {
		n = newMap(prop.at)
	}
	switch n.kind {
	case mapKind:
		return prop.applyMap(n, i)
	case listKind:
		return prop.applyList(n, i)
	default:
		return nil, fmt.Sprintf("cannot step into %q: there is %s, not a map or list", prop.steps[i], n.describe())
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
	if err != nil {
		return nil, fmt.Sprintf("%q is not an index: there is a list of %d elements (use 0 to %d, or -1 to append)", step, len(n.list), max(len(n.list)-1, 0))
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
		return nil, fmt.Sprintf("index %d is out of range: the list has %d elements", at, len(n.list))
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
