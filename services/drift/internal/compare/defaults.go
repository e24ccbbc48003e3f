package compare

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// defaultNode is one place of the table of API-server defaults: constants and rules that hold for every cluster, so that an
// object without a baseline can be judged too.
type defaultNode struct {
	fields map[string]*defaultNode
	elem   *defaultNode // every item of a list
	values []any        // any of these is a default
	// derive gives the default from the live map around the place; nil when there is none.
	derive func(around map[string]any) any
	// mirror says that the server keeps the place in step with the one that derive gives, whoever writes that.
	mirror bool
	// opt says that the defaults below only come with the struct: they do not make it exist.
	opt bool
	// ignored places are never compared and never recorded.
	ignored bool
}

func (n *defaultNode) field(name string) *defaultNode {
	if n == nil {
		return nil
	}
	return n.fields[name]
}

func (n *defaultNode) items() *defaultNode {
	if n == nil {
		return nil
	}
	return n.elem
}

func (n *defaultNode) optional() bool { return n == nil || n.opt }

// matches says whether a live value is the default of its place.
func (n *defaultNode) matches(l any, around map[string]any, t *typ) bool {
	if n == nil {
		return false
	}
	if n.ignored {
		return true
	}
	for _, v := range n.values {
		if sameDefault(v, l, t.class) {
			return true
		}
	}
	if n.derive != nil {
		if v := n.derive(around); v != nil {
			return sameDefault(v, l, t.class)
		}
	}
	return false
}

// sameDefault compares a table value, a scalar or a list or map of plain scalars, with a live one.
func sameDefault(v, l any, c class) bool {
	switch x := v.(type) {
	case []any:
		y, ok := l.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameDefault(x[i], y[i], plain) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := l.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k := range x {
			if !sameDefault(x[k], y[k], plain) {
				return false
			}
		}
		return true
	}
	return isScalar(l) && sameScalar(v, l, c)
}

// defaultRow is one line of the table. In path, "name[]" enters the items of a list and "name?" a struct whose defaults only
// come with it. value is a constant, or a function of the live map around the place.
type defaultRow struct {
	path  string
	value any
}

// anyOf lists several constants of which each may be a default (versions and feature gates differ).
type anyOf []any

// mirrorOf names the field beside it that the server keeps a deprecated one in step with.
type mirrorOf string

func (n *defaultNode) add(row defaultRow) {
	at := n
	for _, part := range strings.Split(row.path, ".") {
		name, list := strings.CutSuffix(part, "[]")
		name, opt := strings.CutSuffix(name, "?")
		if at.fields == nil {
			at.fields = map[string]*defaultNode{}
		}
		next := at.fields[name]
		if next == nil {
			next = &defaultNode{}
			at.fields[name] = next
		}
		next.opt = next.opt || opt
		if list {
			if next.elem == nil {
				next.elem = &defaultNode{opt: true}
			}
			next = next.elem
		}
		at = next
	}
	switch v := row.value.(type) {
	case mirrorOf:
		at.derive, at.mirror = sibling(string(v)), true
	case func(map[string]any) any:
		at.derive = v
	case anyOf:
		at.values = append(at.values, v...)
	default:
		at.values = append(at.values, v)
	}
}

// ignoreAnnotation marks what kubectl keeps for itself: never compared, never in a baseline (it may hold a Secret's values).
func (n *defaultNode) ignoreAnnotation(name string) {
	m := n.fields["metadata"]
	if m == nil {
		m = &defaultNode{fields: map[string]*defaultNode{}}
		n.fields["metadata"] = m
	}
	if m.fields["annotations"] == nil {
		m.fields["annotations"] = &defaultNode{fields: map[string]*defaultNode{}}
	}
	m.fields["annotations"].fields[name] = &defaultNode{ignored: true}
}

// defaultsFor builds the tree of one kind. A kind without rows has none but the ignored annotation.
func defaultsFor(gvk schema.GroupVersionKind) *defaultNode {
	root := &defaultNode{fields: map[string]*defaultNode{}}
	for _, row := range kindDefaults[gvk.Group+"/"+gvk.Kind] {
		root.add(row)
	}
	if prefix, ok := podTemplates[gvk.Group+"/"+gvk.Kind]; ok {
		for _, row := range podDefaults() {
			root.add(defaultRow{prefix + row.path, row.value})
		}
	}
	root.ignoreAnnotation(lastApplied)
	return root
}
