// Package origin lets a rendered value say where it comes from. Whoever puts a value into an object marks it; when an object is
// taken into the bundle, the marks are taken off and become the origins of its leaves. Rendering without tracing, which is the
// rule, makes no marks and costs nothing: a nil *Tracer marks nothing.
//
// A mark on a map or list holds for all leaves in it that have no mark of their own. What nobody marked comes from Towpath's own
// rules.
package origin

import (
	"maps"
	"slices"
	"strconv"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Origin is where a value comes from.
type Origin = rendererv1.Origin

// Tracer marks values. Nil marks nothing.
type Tracer struct{}

// marked is a value that stands in an object until Strip takes the mark off.
type marked struct {
	value any
	from  *Origin
}

// Mark gives the value with its origin, or the value itself when nothing is traced. from is called only when something is. A value
// that is marked already keeps its own mark: the place that knows more comes first.
func (t *Tracer) Mark(v any, from func() *Origin) any {
	if t == nil {
		return v
	}
	if _, already := v.(marked); already {
		return v
	}
	return marked{value: v, from: from()}
}

// On reports whether marks are made.
func (t *Tracer) On() bool { return t != nil }

// Plain gives a value without the mark on it, not looking deeper.
func Plain(v any) any {
	if m, ok := v.(marked); ok {
		return m.value
	}
	return v
}

// Leaf is one leaf of an object: a value that is no map or list, or an empty one.
type Leaf struct {
	// Path are the keys and indexes (as decimal numbers) on the way to it.
	Path  []string
	Value any
	// From is nil where nobody marked it.
	From *Origin
}

// Strip gives the object without marks, and its leaves in the order of their keys.
func Strip(object map[string]any) (map[string]any, []Leaf) {
	var s stripper
	out, _ := s.strip(object, nil, nil).(map[string]any)
	return out, s.leaves
}

type stripper struct{ leaves []Leaf }

func (s *stripper) strip(v any, path []string, from *Origin) any {
	if m, ok := v.(marked); ok {
		return s.strip(m.value, path, m.from)
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 {
			out := make(map[string]any, len(v))
			for _, k := range slices.Sorted(maps.Keys(v)) {
				out[k] = s.strip(v[k], append(slices.Clip(path), k), from)
			}
			return out
		}
	case []any:
		if len(v) > 0 {
			out := make([]any, len(v))
			for i, x := range v {
				out[i] = s.strip(x, append(slices.Clip(path), strconv.Itoa(i)), from)
			}
			return out
		}
	}
	s.leaves = append(s.leaves, Leaf{Path: path, Value: v, From: from})
	return v
}
