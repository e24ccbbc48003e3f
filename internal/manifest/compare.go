package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Limits of what is told field by field. The files tell the rest; without limits the difference of two large bundles would not fit
// into an answer.
const (
	maxFields = 2000
	maxValue  = 4 << 10
)

// change is one object that differs, its fields with all of their values.
type change struct {
	ref    *rendererv1.ObjectRef
	action rendererv1.ObjectDiff_Action
	fields []field
}

type field struct {
	path              string
	before, after     any
	hadBefore, hasNow bool
}

// Compare tells how two bundles differ: which objects come and go, and for those that stay, which of their fields differ. refs are
// what the renderer says of the files of the second; they add which workload an object is for.
func Compare(before, after map[string][]byte, refs []*rendererv1.ObjectRef) *rendererv1.BundleDiff {
	changes, all := compare(before, after, refs)
	out := &rendererv1.BundleDiff{Truncated: !all, Text: textOf(changes, all)}
	for _, c := range changes {
		o := &rendererv1.ObjectDiff{Object: c.ref, Action: c.action}
		for _, f := range c.fields {
			d := &rendererv1.FieldDiff{Path: f.path}
			if f.hadBefore {
				d.Before = Value(f.before)
			}
			if f.hasNow {
				d.After = Value(f.after)
			}
			o.Fields = append(o.Fields, d)
		}
		out.Objects = append(out.Objects, o)
	}
	return out
}

// Value gives a value as it travels: long texts are cut.
func Value(v any) *structpb.Value {
	if s, ok := v.(string); ok && len(s) > maxValue {
		v = clipped(s, maxValue, fmt.Sprintf("… (%d bytes)", len(s)))
	}
	out, err := structpb.NewValue(v)
	if err != nil {
		return structpb.NewStringValue("?")
	}
	return out
}

func compare(before, after map[string][]byte, refs []*rendererv1.ObjectRef) ([]change, bool) {
	before, after = changedFiles(before, after)
	workloads := map[string]string{}
	for _, ref := range refs {
		workloads[ref.GetFile()] = ref.GetWorkload()
	}
	a, b := byID(before), byID(after)
	c := comparison{left: maxFields}
	var out []change
	for _, id := range ids(a, b) {
		old, inA := a[id]
		now, inB := b[id]
		next := change{ref: now.Ref, action: rendererv1.ObjectDiff_ACTION_MODIFY}
		switch {
		case !inA:
			next.action = rendererv1.ObjectDiff_ACTION_ADD
		case !inB:
			next.action, next.ref = rendererv1.ObjectDiff_ACTION_DELETE, old.Ref
		case reflect.DeepEqual(old.Value, now.Value):
			continue // it only stands in another file, or is written otherwise
		}
		if inB {
			now.Ref.Workload = workloads[now.Ref.GetFile()]
		}
		if inA && inB {
			c.masker, c.out = masker{secret: isSecret(now.Ref) || isSecret(old.Ref)}, nil
			c.walk(spot{}, old.Value, now.Value)
			next.fields = c.out
		}
		out = append(out, next)
	}
	return out, !c.cut
}

func changedFiles(before, after map[string][]byte) (a, b map[string][]byte) {
	a, b = maps.Clone(before), maps.Clone(after)
	for path, content := range before {
		if other, ok := after[path]; ok && string(other) == string(content) {
			delete(a, path)
			delete(b, path)
		}
	}
	return a, b
}

func byID(files map[string][]byte) map[string]Object {
	out := map[string]Object{}
	for _, o := range Read(files) {
		out[o.ID()] = o
	}
	return out
}

func ids(a, b map[string]Object) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// comparison collects how one object differs; left is how many more fields may be told.
type comparison struct {
	masker masker
	out    []field
	left   int
	cut    bool
}

// spot is a place of an object: as it is spelled, its last field, the keys on the way, and what holds it on either side.
type spot struct {
	path, field      string
	way              []string
	parentA, parentB any
}

func (s spot) key(key string, a, b any) spot {
	return spot{path: keyPath(s.path, s.field, key), field: key, way: append(s.way[:len(s.way):len(s.way)], key), parentA: a, parentB: b}
}

func (s spot) item(name string, a, b any) spot {
	return spot{path: s.path + "[" + name + "]", way: append(s.way[:len(s.way):len(s.way)], name), parentA: a, parentB: b}
}

func (c *comparison) add(s spot, a, b any, inA, inB bool) {
	if c.left == 0 {
		c.cut = true
		return
	}
	c.left--
	f := field{path: s.path, hadBefore: inA, hasNow: inB}
	if inA {
		f.before = c.masker.mask(s.way, s.parentA, a)
	}
	if inB {
		f.after = c.masker.mask(s.way, s.parentB, b)
	}
	if inA && inB && (f.before == Masked || f.after == Masked) { // one side alone would tell about the other
		f.before, f.after = Masked, Masked
	}
	c.out = append(c.out, f)
}

// walk compares two values of a place.
func (c *comparison) walk(s spot, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	ma, isMapA := a.(map[string]any)
	mb, isMapB := b.(map[string]any)
	if isMapA && isMapB {
		for _, key := range unionKeys(ma, mb) {
			va, inA := ma[key]
			vb, inB := mb[key]
			c.pair(s.key(key, ma, mb), va, vb, inA, inB)
		}
		return
	}
	la, isListA := a.([]any)
	lb, isListB := b.([]any)
	if isListA && isListB && c.lists(s, la, lb) {
		return
	}
	c.add(s, a, b, true, true)
}

func (c *comparison) pair(s spot, a, b any, inA, inB bool) {
	if inA && inB {
		c.walk(s, a, b)
		return
	}
	whole := a
	if inB {
		whole = b
	}
	// A Secret's values are told key by key, also when all of them come or go.
	if m, ok := whole.(map[string]any); ok && len(m) > 0 && c.masker.secret && slices.Contains(secretParts, s.path) {
		for _, key := range unionKeys(m, nil) {
			c.add(s.key(key, m, m), m[key], m[key], inA, inB)
		}
		return
	}
	c.add(s, a, b, inA, inB)
}

// lists compares two lists: by key where Kubernetes merges them by key, by place where they have the same length, else not at
// all (false).
func (c *comparison) lists(s spot, a, b []any) bool {
	for _, keys := range keyedBy[s.field] {
		ia, okA := itemsBy(keys, a)
		ib, okB := itemsBy(keys, b)
		if !okA || !okB || len(a)+len(b) == 0 {
			continue
		}
		for _, key := range inOrder(keys, a, b) {
			va, inA := ia[key]
			vb, inB := ib[key]
			c.pair(s.item(key, a, b), va, vb, inA, inB)
		}
		if x, y := common(keys, a, ib), common(keys, b, ia); !reflect.DeepEqual(x, y) {
			c.add(s.item("", a, b), x, y, true, true) // the order matters for some lists
		}
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		c.walk(s.item(strconv.Itoa(i), a, b), a[i], b[i])
	}
	return true
}

// isOrder reports whether a path names the order of a list.
func isOrder(path string) bool { return strings.HasSuffix(path, "[]") }
