package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// typ is what a value must be. The letters are those of the generated text.
type typ struct {
	what byte
	// of is the type of a list's items and of a map's values.
	of *typ
	// object is the line of an object's definition.
	object int
	// keys make the items of a list different from each other.
	keys []key
}

// key is a field of a list's items; fallback stands for one that is not given.
type key struct{ name, fallback string }

const (
	text32     = 'i'
	text64     = 'l'
	list       = '['
	keyedList  = '<'
	dictionary = '{'
	anything   = '*'
	object     = 'o'
)

// definition is what an object may hold.
type definition struct {
	fields   map[string]*typ
	required []string
}

// definition reads a line, the first time that it is needed. Two readers at once read the same.
func (t *table) definition(n int) *definition {
	if d := t.definitions[n].Load(); d != nil {
		return d
	}
	d := &definition{fields: map[string]*typ{}}
	for field := range strings.FieldsSeq(t.lines[n]) {
		name, notation, _ := strings.Cut(field, ":")
		name, must := strings.CutSuffix(name, "!")
		if must {
			d.required = append(d.required, name)
		}
		d.fields[name] = parse(notation)
	}
	t.definitions[n].Store(d)
	return d
}

// parse reads a type. The text is generated; one that is broken would be found by every test.
func parse(s string) *typ {
	switch s[0] {
	case list, dictionary:
		return &typ{what: s[0], of: parse(s[1:])}
	case keyedList:
		names, rest, _ := strings.Cut(s[1:], ">")
		out := &typ{what: keyedList, of: parse(rest)}
		for name := range strings.SplitSeq(names, ",") {
			name, fallback, _ := strings.Cut(name, "=")
			out.keys = append(out.keys, key{name, fallback})
		}
		return out
	}
	if n, err := strconv.Atoi(s); err == nil {
		return &typ{what: object, object: n}
	}
	if len(s) != 1 || !strings.Contains("sbilftyqx*", s) {
		panic(fmt.Sprintf("schema: the generated type %q is broken", s))
	}
	return &typ{what: s[0]}
}

// words tell a person what is expected.
var words = map[byte]string{
	's': "text", 'b': "true or false", text32: "a whole number of 32 bits", text64: "a whole number of 64 bits", 'f': "a number",
	't': "a date and time such as 2026-01-31T12:00:00Z", 'y': "bytes in base64", 'q': "a quantity such as 500m or 2Gi",
	'x': "a whole number or text", list: "a list", keyedList: "a list", dictionary: "a map", object: "a map",
}
