package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// State is all that an environment is meant to be: the intent and the set that it names.
type State struct {
	Intent *catalogv1.Intent
	Set    *catalogv1.Set
}

// EmptyState is that of an environment before its first deployment.
func EmptyState() State {
	set, _ := Document{}.Set() // an empty document has no number and no text that could be wrong
	return State{Intent: &catalogv1.Intent{Set: set.GetName()}, Set: set}
}

// Apply gives the state that a change leads to. The state's set must be the one that the change starts from: change.set when
// it is given, else the environment's. loaded are the workloads of change.scores in canonical form. Nothing that is given
// in is changed. Errors name the field of the change.
func Apply(from State, change *catalogv1.Change, loaded map[string]*structpb.Struct) (State, error) {
	if err := checkSecrets(change, loaded); err != nil {
		return State{}, err
	}
	overlay := from.Intent.GetOverlay()
	doc, err := applyWorkloads(DocumentOf(from.Set), change, loaded)
	if err != nil {
		return State{}, err
	}
	overlay = withoutWorkloads(overlay, change.GetRemoveWorkloads())
	for i, op := range change.GetSetOperations() {
		if doc, err = applyOperation(doc, op, fmt.Sprintf("change.set_operations[%d]", i)); err != nil {
			return State{}, err
		}
	}
	if overlay, err = changeOverlay(overlay, change); err != nil {
		return State{}, err
	}
	variables, secretVariables, err := changeVariables(from.Intent, change)
	if err != nil {
		return State{}, err
	}
	set, err := doc.Set()
	if err != nil {
		return State{}, inChange(err, change)
	}
	next := State{Set: set, Intent: &catalogv1.Intent{Set: set.GetName(), Overlay: overlay, Variables: variables, SecretVariables: secretVariables}}
	if err := checkOverlay(doc, overlay, change); err != nil {
		return State{}, err
	}
	return next, nil
}

func applyWorkloads(doc Document, change *catalogv1.Change, loaded map[string]*structpb.Struct) (Document, error) {
	workloads := maps.Clone(doc.Workloads())
	for name, w := range loaded {
		workloads[name] = w.AsMap()
	}
	for i, name := range change.GetRemoveWorkloads() {
		if _, ok := workloads[name]; !ok {
			return nil, errs.InvalidField(fmt.Sprintf("change.remove_workloads[%d]", i), "there is no workload %s; %s", quote(name), thereAre(workloads))
		}
		delete(workloads, name)
	}
	return Document{workloadsKey: workloads, resourcesKey: doc.part(resourcesKey)}, nil
}

// applyOperation applies one operation of a set or overlay. field names the operation in errors.
func applyOperation(doc Document, op *rendererv1.Operation, field string) (Document, error) {
	tokens, err := jsonptr.Parse(op.GetPath())
	if err != nil {
		return nil, at(err, field+".path")
	}
	if len(tokens) < 2 || tokens[0] != workloadsKey && tokens[0] != resourcesKey {
		return nil, errs.InvalidField(field+".path", "%s is outside of what can be changed; it begins with /workloads/{name} or /resources/{name}", quote(op.GetPath()))
	}
	// Without this check a typing error in a workload's name would make a second, broken workload.
	if _, ok := doc.part(tokens[0])[tokens[1]]; !ok && len(tokens) > 2 {
		return nil, errs.InvalidField(field+".path", "there is no %s %s; %s", strings.TrimSuffix(tokens[0], "s"), quote(tokens[1]), thereAre(doc.part(tokens[0])))
	}
	var change jsonptr.Op
	switch op.GetAction() {
	case rendererv1.Operation_ACTION_SET:
		if op.GetValue() == nil {
			return nil, errs.InvalidField(field+".value", "is missing; give the value to set, or use ACTION_REMOVE")
		}
		v := op.GetValue().AsInterface()
		if _, isMap := v.(map[string]any); len(tokens) == 2 && !isMap {
			return nil, errs.InvalidField(field+".value", "is not a map; %s is a whole document", op.GetPath())
		}
		change = jsonptr.Set(op.GetPath(), v)
	case rendererv1.Operation_ACTION_REMOVE:
		change = jsonptr.Remove(op.GetPath())
	default:
		return nil, errs.InvalidField(field+".action", "is not set; use ACTION_SET or ACTION_REMOVE")
	}
	out, err := jsonptr.Apply(doc, change)
	if err != nil {
		return nil, at(err, field+".path")
	}
	return out, nil
}

// Effective gives the document that is rendered: the set with the overlay on it. The error names the overlay's operation.
func Effective(s State) (Document, error) {
	doc := DocumentOf(s.Set)
	for i, op := range s.Intent.GetOverlay() {
		if manifest.IsPatch(op.GetPath()) { // of what is rendered of it
			continue
		}
		var err error
		if doc, err = applyOperation(doc, op, fmt.Sprintf("intent.overlay[%d]", i)); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// changeOverlay adds and drops. A new operation takes the place of the earlier one with its path, so that those which build
// on it still come after it.
func changeOverlay(overlay []*rendererv1.Operation, change *catalogv1.Change) ([]*rendererv1.Operation, error) {
	out := slices.Clone(overlay)
	position := make(map[string]int, len(out))
	for i, op := range out {
		position[op.GetPath()] = i
	}
	for _, op := range change.GetOverlayOperations() {
		op = proto.CloneOf(op)
		if i, ok := position[op.GetPath()]; ok {
			out[i] = op
			continue
		}
		position[op.GetPath()] = len(out)
		out = append(out, op)
	}
	drop := map[string]bool{}
	for i, path := range change.GetOverlayDrops() {
		if _, ok := position[path]; !ok {
			return nil, errs.InvalidField(fmt.Sprintf("change.overlay_drops[%d]", i), "the overlay has no operation on %s", quote(path))
		}
		drop[path] = true
	}
	return slices.DeleteFunc(out, func(op *rendererv1.Operation) bool { return drop[op.GetPath()] }), nil
}

// withoutWorkloads takes the overlay's operations on removed workloads away: they have nothing left to change.
func withoutWorkloads(overlay []*rendererv1.Operation, removed []string) []*rendererv1.Operation {
	return slices.DeleteFunc(slices.Clone(overlay), func(op *rendererv1.Operation) bool {
		tokens, err := jsonptr.Parse(op.GetPath())
		return err == nil && len(tokens) >= 2 && tokens[0] == workloadsKey && slices.Contains(removed, tokens[1])
	})
}

// checkOverlay checks that the overlay applies to the new set. An operation of this change is named as such; an older one that
// no longer fits is named by its path, with the way out.
func checkOverlay(doc Document, overlay []*rendererv1.Operation, change *catalogv1.Change) error {
	mine := map[string]int{}
	for i, op := range change.GetOverlayOperations() {
		mine[op.GetPath()] = i
	}
	for _, op := range overlay {
		if manifest.IsPatch(op.GetPath()) {
			if err := checkPatch(op, fmt.Sprintf("change.overlay_operations[%d]", mine[op.GetPath()])); err != nil {
				return err
			}
			continue
		}
		next, err := applyOperation(doc, op, "")
		if err == nil {
			doc = next
			continue
		}
		var e *errs.Error
		if !errors.As(err, &e) || len(e.Fields) == 0 {
			return err
		}
		if i, ok := mine[op.GetPath()]; ok {
			return errs.InvalidField(fmt.Sprintf("change.overlay_operations[%d]%s", i, e.Fields[0].Path), "%s", e.Fields[0].Problem)
		}
		return errs.InvalidField("change.overlay_drops", "the environment's overlay has an operation on %s that no longer applies: %s; drop it with this change",
			op.GetPath(), e.Fields[0].Problem)
	}
	return nil
}

// at moves the only field of an error to another path.
func at(err error, field string) error {
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	return errs.InvalidField(field, "%s", e.Fields[0].Problem)
}

// inChange names the set operation that made a place of the document wrong.
func inChange(err error, change *catalogv1.Change) error {
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	for i, op := range slices.Backward(change.GetSetOperations()) {
		if op.GetPath() == e.Fields[0].Path || strings.HasPrefix(op.GetPath(), e.Fields[0].Path+"/") {
			return errs.InvalidField(fmt.Sprintf("change.set_operations[%d].value", i), "%s", e.Fields[0].Problem)
		}
	}
	return errs.InvalidField("change", "%s %s", e.Fields[0].Path, e.Fields[0].Problem)
}

func thereAre[V any](m map[string]V) string {
	if len(m) == 0 {
		return "there is none at all"
	}
	names := slices.Sorted(maps.Keys(m))
	if len(names) > 10 {
		names = append(names[:10], "…")
	}
	return "there are " + strings.Join(names, ", ")
}

// checkPatch checks a patch of rendered objects as far as that can be told without rendering.
func checkPatch(op *rendererv1.Operation, field string) error {
	target, steps, err := manifest.ParsePatch(op.GetPath())
	if err != nil {
		return at(err, field+".path")
	}
	if why := manifest.Protected(target, steps); why != "" {
		return errs.InvalidField(field+".path", "%s %s", quote(op.GetPath()), why)
	}
	switch op.GetAction() {
	case rendererv1.Operation_ACTION_REMOVE:
	case rendererv1.Operation_ACTION_SET:
		if op.GetValue() == nil {
			return errs.InvalidField(field+".value", "is missing; give the value to set, or use ACTION_REMOVE")
		}
	default:
		return errs.InvalidField(field+".action", "is not set; use ACTION_SET or ACTION_REMOVE")
	}
	return nil
}
