package score

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pos is where a value was written. The zero pos is a value that was written in no file.
type pos struct {
	file      string
	line, col int
}

func (p pos) String() string {
	switch {
	case p.line > 0:
		return p.file + ":" + strconv.Itoa(p.line) + ":" + strconv.Itoa(p.col)
	default:
		return p.file
	}
}

// node is a value of a document that knows where it was written. Exactly one of the three forms is meant by kind.
type node struct {
	kind   kind
	pos    pos
	fields map[string]*node
	// keys says where each key of a map was written, which is where a problem with the key itself is reported.
	keys map[string]pos
	list []*node
	// scalar is a string, bool, float64 or nil.
	scalar any
	// raw is a number as it was written.
	raw string
	// broken says that a problem with the value was reported when it was read: nothing else is to be said about it.
	broken bool
}

type kind int

const (
	scalarKind kind = iota
	mapKind
	listKind
)

func newMap(at pos) *node {
	return &node{kind: mapKind, pos: at, fields: map[string]*node{}, keys: map[string]pos{}}
}

func newString(s string, at pos) *node { return &node{scalar: s, pos: at} }

// set puts a field; its key is taken to stand where the value stands.
func (n *node) set(key string, value *node) {
	n.fields[key] = value
	if n.keys == nil {
		n.keys = map[string]pos{}
	}
	n.keys[key] = value.pos
}

// names gives the keys of a map in order.
func (n *node) names() []string {
	if n == nil {
		return nil
	}
	out := make([]string, 0, len(n.fields)) // in one piece: this is done for every map of every document
	for k := range n.fields {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// get gives a field of a map, nil when n is no map or has none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	return n.fields[key]
}

// text gives the string of a scalar.
func (n *node) text() (string, bool) {
	if n == nil || n.kind != scalarKind {
		return "", false
	}
	s, ok := n.scalar.(string)
	return s, ok
}

// isNull tells an explicit null.
func (n *node) isNull() bool { return n.kind == scalarKind && n.scalar == nil && !n.broken }

// describe says what a value is, for "expected a string, got …".
func (n *node) describe() string {
	switch n.kind {
	case mapKind:
		return "a map"
	case listKind:
		return "a list"
	}
	switch v := n.scalar.(type) {
	case nil:
		return "nothing (null)"
	case bool:
		return fmt.Sprintf("the boolean %v", v)
	case float64:
		if n.raw != "" {
			return "the number " + shortened(n.raw)
		}
		return "the number " + strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return "a string"
	}
}

// plain gives the value without positions: map[string]any, []any, string, bool, float64 or nil.
func (n *node) plain() any {
	switch n.kind {
	case mapKind:
		out := make(map[string]any, len(n.fields))
		for k, v := range n.fields {
			out[k] = v.plain()
		}
		return out
	case listKind:
		out := make([]any, len(n.list))
		for i, v := range n.list {
			out[i] = v.plain()
		}
		return out
	default:
		return n.scalar
	}
}

// fromPlain makes nodes of a plain document. All of it stands at the one given place. Integers of any type become numbers.
func fromPlain(v any, at pos) *node { return (&nodes{at: at}).of(v) }

// nodes makes many nodes with few allocations.
type nodes struct {
	at   pos
	free []node
}

func (m *nodes) next(n node) *node {
	if len(m.free) == 0 {
		m.free = make([]node, 32)
	}
	out := &m.free[0]
	m.free = m.free[1:]
	n.pos = m.at
	*out = n
	return out
}

func (m *nodes) of(v any) *node {
	switch v := v.(type) {
	case map[string]any:
		n := m.next(node{kind: mapKind, fields: make(map[string]*node, len(v))})
		for k, e := range v {
			n.fields[k] = m.of(e)
		}
		return n
	case []any:
		n := m.next(node{kind: listKind, list: make([]*node, len(v))})
		for i, e := range v {
			n.list[i] = m.of(e)
		}
		return n
	case int:
		return m.next(node{scalar: float64(v)})
	case int64:
		return m.next(node{scalar: float64(v)})
	default:
		return m.next(node{scalar: v})
	}
}

// keyPos says where a key was written.
func (n *node) keyPos(key string) pos {
	if p, ok := n.keys[key]; ok {
		return p
	}
	return n.pos
}

// path is the way to a value, written so that it can be used in a property override: dots inside a part are escaped.
type path string

var pathEscaper = strings.NewReplacer(`\`, `\\`, `.`, `\.`)

// EscapeKey writes a key so that it is one part of a path: dots in it are escaped.
func EscapeKey(key string) string { return pathEscaper.Replace(key) }

func (p path) field(key string) path {
	if strings.ContainsAny(key, `\.`) {
		key = EscapeKey(key)
	}
	if p == "" {
		return path(key)
	}
	return p + "." + path(key)
}

func (p path) index(i int) path { return p.field(strconv.Itoa(i)) }
