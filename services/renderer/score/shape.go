package score

import (
	"slices"
	"strings"
)

// shape is what a value of the document must look like. The tree of shapes in spec.go is the one place where the schema of the
// specification is written: validation walks it, the JSON Schema for editors and the field reference of the documentation are
// printed from it. A rule that stood elsewhere would be missing in one of the three.
type shape struct {
	kind shapeKind
	// doc says what the value is and what becomes of it. Editors show it.
	doc string
	// rule is for strings, enum too; an enum needs no rule.
	rule rule
	enum []string
	// fields are those of an object; open lets it have others. Of exactlyOne one must be given, of atLeastOne one or more.
	fields     []field
	open       bool
	exactlyOne []string
	atLeastOne []string
	// keys and values are those of a dictionary, values alone those of a list. least is how many there must be.
	keys   rule
	values *shape
	least  int
	// def is what holds when nothing is given, for editors.
	def any
	// name makes the shape a definition of its own in the JSON Schema.
	name string
}

type shapeKind int

const (
	stringShape shapeKind = iota
	boolShape
	portShape
	listShape
	// dictShape has values of one shape under keys of the author's choice, objectShape fields that have names here.
	dictShape
	objectShape
	// anyMapShape is a map of anything.
	anyMapShape
)

// field is one field of an object.
type field struct {
	name     string
	required bool
	shape    *shape
	// older is the shape of an older spelling, which upgrade has turned into the shape before validation.
	older *shape
	// formerly is an older name of the field, which upgrade has replaced.
	formerly string
	// also are names that people coming from elsewhere write for it.
	also []string
}

func (s *shape) fieldNames() []string {
	out := make([]string, len(s.fields))
	for i := range s.fields {
		out[i] = s.fields[i].name
	}
	return out
}

// words say what is expected.
func (s *shape) words() string {
	switch s.kind {
	case boolShape:
		return "true or false"
	case portShape:
		return "a port number from 1 to 65535"
	case listShape:
		if s.values.kind == stringShape {
			return "a list of strings"
		}
		return "a list of {" + strings.Join(s.values.fieldNames(), ", ") + "}"
	case dictShape, anyMapShape:
		return "a map"
	case objectShape:
		if s.open {
			return "a map"
		}
		return "a map with " + strings.Join(s.fieldNames(), ", ")
	default:
		if len(s.enum) > 0 {
			return strings.Join(s.enum, " or ")
		}
		return s.rule.words
	}
}

// shape reports everything in which a value differs from its shape. A missing one is nothing to report: its object does that.
func (c checker) shape(n *node, s *shape, where path) {
	if n == nil || n.broken {
		return
	}
	switch s.kind {
	case boolShape:
		c.boolean(n, where)
	case portShape:
		c.port(n, where)
	case listShape:
		c.list(n, s, where)
	case dictShape:
		c.dict(n, s, where)
	case objectShape:
		c.object(n, s, where)
	case anyMapShape:
		c.isMap(n, s, where)
	default:
		c.str(n, s, where)
	}
}

func (c checker) object(n *node, s *shape, where path) {
	if !c.isMap(n, s, where) {
		return
	}
	if !s.open {
		c.unknown(n, s, where)
	}
	for i := range s.fields {
		f := &s.fields[i]
		value := n.fields[f.name]
		if value == nil {
			if f.required {
				c.problems.add(n.pos, where.field(f.name), "is required and missing: expected %s", f.shape.words())
			}
			continue
		}
		c.shape(value, f.shape, where.field(f.name))
	}
	given := func(of []string) []string {
		return slices.DeleteFunc(slices.Clone(of), func(key string) bool { return n.fields[key] == nil })
	}
	if len(s.exactlyOne) > 0 {
		if got := given(s.exactlyOne); len(got) != 1 {
			c.problems.add(n.pos, where, "needs exactly one of %s, got %s: expected one of them alone", enumerate(s.exactlyOne), enumerate(got))
		}
	}
	if len(s.atLeastOne) > 0 && len(given(s.atLeastOne)) == 0 {
		c.problems.add(n.pos, where, "needs %s, got neither: expected at least one", strings.Join(s.atLeastOne, " or "))
	}
}

// unknown reports the keys of an object that have no meaning.
func (c checker) unknown(n *node, s *shape, where path) {
	var names []string
	for _, key := range n.names() {
		if slices.ContainsFunc(s.fields, func(f field) bool { return f.name == key }) {
			continue
		}
		if len(c.problems.found) > maxProblems {
			return // more would not be listed, and to find their hints costs most
		}
		if names == nil {
			names = s.fieldNames()
		}
		c.problems.add(n.keyPos(key), where.field(key), "is not a known field%s (expected one of: %s)", s.meant(key, names), strings.Join(names, ", "))
	}
}

// meant is the hint for an unknown field: a name that people coming from elsewhere write, or one that looks alike.
func (s *shape) meant(key string, names []string) string {
	for _, f := range s.fields {
		if slices.Contains(f.also, key) {
			return `; did you mean "` + f.name + `"?`
		}
	}
	if hint := suggest(key, names); hint != "" {
		return hint
	}
	if at := homes()[key]; at != "" {
		return "; " + at
	}
	return ""
}

func (c checker) dict(n *node, s *shape, where path) {
	if !c.isMap(n, s, where) {
		return
	}
	if len(n.fields) < s.least {
		c.problems.add(n.pos, where, "needs at least one %s, got an empty map: expected a name and below it the %s", s.values.name, s.values.name)
	}
	for _, key := range n.names() {
		at := where.field(key)
		if !s.keys.matches(key) {
			c.problems.add(n.keyPos(key), at, "the name %s is not valid: expected %s", quote(key), s.keys.words)
		}
		c.shape(n.fields[key], s.values, at)
	}
}

func (c checker) list(n *node, s *shape, where path) {
	if n.kind != listKind {
		hint := ""
		if s.values.kind == stringShape {
			hint = `; write it as ["first", "second"]`
		}
		c.problems.add(n.pos, where, "expected %s, got %s%s", s.words(), n.describe(), hint)
		return
	}
	if len(n.list) < s.least {
		c.problems.add(n.pos, where, "is empty: expected %s", s.words())
	}
	for i, item := range n.list {
		c.shape(item, s.values, where.index(i))
	}
}

func enumerate(names []string) string {
	switch len(names) {
	case 0:
		return "none"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
}
