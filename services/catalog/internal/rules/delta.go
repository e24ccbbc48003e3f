package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// maxPointer is the longest path that an operation may have, in bytes.
const maxPointer = 4096

// Operate applies operations in order. field is what errors call the list.
func Operate(doc Document, ops []*rendererv1.Operation, field string) (Document, error) {
	for i, op := range ops {
		var err error
		if doc, err = applyOperation(doc, op, fmt.Sprintf("%s[%d]", field, i)); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// Diff gives the operations that make b of a: one for each smallest place that differs, in the order of keys, removals in a map
// before what is set there. A list of another length is one place, because an index means another element then. Where a pointer
// cannot say a place, being too deep or too long, the nearest place above it is set.
func Diff(a, b Document) []*rendererv1.Operation {
	var d differ
	for _, part := range []string{resourcesKey, workloadsKey} {
		d.maps([]string{part}, a.part(part), b.part(part))
	}
	return d.ops
}

type differ struct{ ops []*rendererv1.Operation }

func (d *differ) maps(path []string, a, b map[string]any) {
	keys := unionKeys(a, b)
	for _, key := range keys {
		if _, ok := b[key]; !ok {
			d.ops = append(d.ops, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: jsonptr.Join(append(slices.Clip(path), key)...)})
		}
	}
	for _, key := range keys {
		vb, inB := b[key]
		va, inA := a[key]
		next := append(slices.Clip(path), key)
		switch {
		case !inB:
		case !inA:
			d.set(next, vb)
		default:
			d.values(next, va, vb)
		}
	}
}

func (d *differ) values(path []string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	if ma, mb, ok := both[map[string]any](a, b); ok && sayable(path, ma, mb) {
		d.maps(path, ma, mb)
		return
	}
	if la, lb, ok := both[[]any](a, b); ok && len(la) == len(lb) && len(path) < jsonptr.MaxDepth {
		for i := range la {
			d.values(append(slices.Clip(path), strconv.Itoa(i)), la[i], lb[i])
		}
		return
	}
	d.set(path, b)
}

// sayable reports whether every key that differs below path can be said in a pointer.
func sayable(path []string, a, b map[string]any) bool {
	if len(path) >= jsonptr.MaxDepth {
		return false
	}
	room := maxPointer - len(jsonptr.Join(path...)) - 16 // some digits for an index below
	for _, key := range unionKeys(a, b) {
		if len(jsonptr.Join(key)) > room && !reflect.DeepEqual(a[key], b[key]) {
			return false
		}
	}
	return true
}

func (d *differ) set(path []string, v any) {
	// It cannot fail: documents are made of what came as such values.
	value, _ := structpb.NewValue(v)
	d.ops = append(d.ops, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: jsonptr.Join(path...), Value: value})
}

// Conflicts gives the paths that two changes of one document both change, sorted. A path touches itself, what is above it and
// what is below it; of two that touch, the deeper is named. Two that do the same are no conflict. Both must be what Diff gives: a
// list whose length changes is one place there, so that no index is misunderstood.
func Conflicts(ours, theirs []*rendererv1.Operation) []string {
	at := make(map[string]*rendererv1.Operation, len(theirs))
	below := map[string][]string{} // every place above one of theirs, with those below
	for _, op := range theirs {
		at[op.GetPath()] = op
		for _, above := range placesAbove(op.GetPath()) {
			below[above] = append(below[above], op.GetPath())
		}
	}
	var out []string
	for _, op := range ours {
		if other, ok := at[op.GetPath()]; ok && !proto.Equal(op, other) {
			out = append(out, op.GetPath())
		}
		out = append(out, below[op.GetPath()]...)
		for _, above := range placesAbove(op.GetPath()) {
			if _, ok := at[above]; ok {
				out = append(out, op.GetPath())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// placesAbove gives the pointers of all places above one, the nearest last: /a/b/c has /a and /a/b.
func placesAbove(pointer string) []string {
	var out []string
	for i := 1; i < len(pointer); i++ {
		if pointer[i] == '/' {
			out = append(out, pointer[:i])
		}
	}
	return out
}

// Rebase moves operations from the document that they were made on to another one. Where the two bases differ in other places
// than those that the operations change, the result has both changes; what the new base has already is left out. Else it is
// REASON_DRAFT_CONFLICT with the paths. field is what errors call the operations.
func Rebase(ops []*rendererv1.Operation, from, to Document, field string) ([]*rendererv1.Operation, error) {
	theirs := Diff(from, to)
	if len(theirs) == 0 {
		return ops, nil
	}
	wanted, err := Operate(from, ops, field)
	if err != nil {
		return nil, err
	}
	ours := Diff(from, wanted)
	if paths := Conflicts(ours, theirs); len(paths) > 0 {
		return nil, conflict(paths)
	}
	there := make(map[string]bool, len(theirs))
	for _, op := range theirs {
		there[op.GetPath()] = true // of the same path and no conflict: the same
	}
	return slices.DeleteFunc(ours, func(op *rendererv1.Operation) bool { return there[op.GetPath()] }), nil
}

// maxConflictPaths bounds an error's size; the message tells how many there are.
const maxConflictPaths = 32

func conflict(paths []string) error {
	n := len(paths)
	if n > maxConflictPaths {
		paths = paths[:maxConflictPaths]
	}
	return errs.New(errs.Conflict, errorsv1.Reason_REASON_DRAFT_CONFLICT,
		"the set has changed since in %d of the same places (%s); read it, decide what these shall be, and make the change on the set of now",
		n, strings.Join(quoteAll(paths[:min(n, 3)]), ", ")).With("paths", strings.Join(paths, "\n"))
}

func quoteAll(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = quote(s)
	}
	return out
}

// RebaseChange gives the change with its set operations moved from the set that they were made on to the one that the change
// starts from now. Workloads of Score files and removed ones count for both sides, as they come before the operations.
func RebaseChange(base, now *catalogv1.Set, change *catalogv1.Change, loaded map[string]*structpb.Struct) (*catalogv1.Change, error) {
	if base.GetName() == now.GetName() || len(change.GetSetOperations()) == 0 {
		return change, nil
	}
	to, err := applyWorkloads(DocumentOf(now), change, loaded)
	if err != nil {
		return nil, err
	}
	there := DocumentOf(base)
	before := proto.CloneOf(change)
	before.RemoveWorkloads = slices.DeleteFunc(before.GetRemoveWorkloads(), func(name string) bool { return there.Workloads()[name] == nil })
	from, err := applyWorkloads(there, before, loaded)
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(change)
	out.SetOperations, err = Rebase(change.GetSetOperations(), from, to, "change.set_operations")
	return out, err
}
