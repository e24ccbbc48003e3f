package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// Selector names a resource from inside a definition: 'type', 'type.class', 'type#id' or 'type.class#id'. Without an id it means
// the resource with the id of the one that is made.
type Selector struct {
	Type, Class, ID string
}

// UID gives the resource's uid; own is the id of the resource that is made.
func (s Selector) UID(own string) string {
	if s.ID == "" {
		s.ID = own
	}
	return s.Type + "." + s.Class + "#" + s.ID
}

var selectorForm = lazyre.New(`^([A-Za-z0-9][A-Za-z0-9-]{0,62})(?:\.([A-Za-z0-9][A-Za-z0-9-]{0,62}))?(?:#([a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*))?$`)

// ParseSelector reads a selector.
func ParseSelector(text string) (Selector, error) {
	m := selectorForm.FindStringSubmatch(text)
	if m == nil {
		return Selector{}, fmt.Errorf("%.100q names no resource: write 'type', 'type.class', 'type#id' or 'type.class#id'; without an id it is the resource's own id", text)
	}
	s := Selector{Type: m[1], Class: m[2], ID: m[3]}
	if s.Class == "" {
		s.Class = "default"
	}
	return s, nil
}

// Reference is ${resources['type.class#id'].outputs.name}: an output of another resource, in a definition.
type Reference struct {
	// Text is the reference as it is written, with the braces.
	Text     string
	Selector Selector
	Path     []string
}

const referenceStart = "${resources['"

var referenceForm = lazyre.New(`\$\{resources\['([^'\]]*)'\]\.outputs((?:\.[A-Za-z0-9_-]+)+)\}`)

// references finds the references of a text, or says what is wrong with one.
func references(text string) (out []Reference, err error) {
	if !strings.Contains(text, referenceStart) {
		return nil, nil
	}
	found := referenceForm.FindAllStringSubmatch(text, -1)
	if len(found) != strings.Count(text, referenceStart) {
		return nil, fmt.Errorf("a reference is written ${resources['type.class#id'].outputs.NAME}")
	}
	for _, m := range found {
		s, err := ParseSelector(m[1])
		if err != nil {
			return nil, err
		}
		out = append(out, Reference{Text: m[0], Selector: s, Path: strings.Split(m[2][1:], ".")})
	}
	return out, nil
}

// absolute writes the ids into the references of a value that name none.
func absolute(v any, own string) any {
	switch v := v.(type) {
	case string:
		return referenceForm.ReplaceAllStringFunc(v, func(text string) string {
			m := referenceForm.FindStringSubmatch(text)
			s, err := ParseSelector(m[1])
			if err != nil {
				return text
			}
			return referenceStart + s.UID(own) + "'].outputs" + m[2] + "}"
		})
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = absolute(x, own)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = absolute(x, own)
		}
		return out
	}
	return v
}

// expander replaces the references of one definition. Only those that its author wrote are known: what a parameter brings along
// stays text.
type expander struct {
	known  map[string]Reference
	output func(Reference) (any, error)
	// spent counts what was put in. A value that holds others many times over counts as often as it would be written.
	spent *int
}

// maxExpanded is how much the references of one text or value may be replaced by, in bytes and values taken together.
const maxExpanded = 4 << 20

func newExpander(known []Reference, output func(Reference) (any, error)) expander {
	e := expander{known: map[string]Reference{}, spent: new(int), output: output}
	for _, r := range known {
		e.known[r.Text] = r
	}
	return e
}

var errExpanded = fmt.Errorf("the outputs of other resources that it takes over are too large: %d bytes each, %d together", maxArguments, maxExpanded)

// text replaces the references in a text. whole reports that the text was one reference alone; then v has the output's type.
func (e expander) text(s string) (v any, whole bool, err error) {
	if len(e.known) == 0 || !strings.Contains(s, referenceStart) {
		return s, false, nil
	}
	if r, ok := e.known[s]; ok {
		v, err := e.get(r)
		return v, true, err
	}
	out := referenceForm.ReplaceAllStringFunc(s, func(m string) string {
		r, ok := e.known[m]
		if !ok || err != nil {
			return m
		}
		var v any
		if v, err = e.get(r); err != nil {
			return m
		}
		return ValueText(v)
	})
	return out, false, err
}

// get gives an output, as long as all of them together stay within the limit.
func (e expander) get(r Reference) (any, error) {
	v, err := e.output(r)
	if err != nil {
		return nil, err
	}
	left := measure(reflect.ValueOf(v), maxArguments, 0)
	if *e.spent += maxArguments - left; left < 0 || *e.spent > maxExpanded {
		return nil, errExpanded
	}
	return v, nil
}

// value replaces the references in the strings of a value, at any depth.
func (e expander) value(v any) (any, error) {
	switch v := v.(type) {
	case string:
		out, _, err := e.text(v)
		return out, err
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			x, err := e.value(v[k])
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			var err error
			if out[i], err = e.value(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// yaml replaces the references in a YAML text. One that stands alone and without quotes becomes the output with its type, one in
// quotes or inside of other text becomes text. The values cannot change the document's structure.
func (e expander) yaml(text string) (string, error) {
	if len(e.known) == 0 || !strings.Contains(text, referenceStart) {
		return text, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	if err := e.node(&doc); err != nil {
		return "", err
	}
	out, err := yaml.Marshal(&doc)
	return string(out), err
}

func (e expander) node(n *yaml.Node) error {
	for _, child := range n.Content {
		if err := e.node(child); err != nil {
			return err
		}
	}
	if n.Kind != yaml.ScalarNode {
		return nil
	}
	v, whole, err := e.text(n.Value)
	if err != nil {
		return err
	}
	if s, isText := v.(string); isText && s == n.Value {
		return nil
	}
	if whole && n.Style == 0 {
		return n.Encode(v)
	}
	*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: ValueText(v)}
	return nil
}

// ValueText gives a string as it is and any other value as JSON, whose maps have their keys sorted.
func ValueText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "null" // what came from YAML or a Struct has a JSON form
	}
	return strings.TrimSuffix(b.String(), "\n")
}
