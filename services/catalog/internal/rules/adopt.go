package rules

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// maxAdopted is how many operations an adoption has at the most; an overlay has a limit.
const maxAdopted = 1000

// Adoption is what keeps an edit of rendered objects: a change of one environment, and what of the edit it does not keep.
type Adoption struct {
	Change *catalogv1.Change
	Not    []string
}

// Edited are two states of an environment's rendered files: as Towpath made them, and as somebody wants them, in Git or in a cluster.
type Edited struct {
	Made, Wanted map[string][]byte
	// Origins say where the leaves of what was made come from; those that are missing are kept by patches.
	Origins []*rendererv1.FieldOrigin
}

// Adopt turns an edit of rendered objects into a change. A field that a place of the set's document decides is set there, by the
// environment's overlay, because an edit of manifests is about one environment; one that is a variable is set as that; everything
// else becomes a patch of the object. Nothing that looks like a secret is kept.
func Adopt(e Edited, from State) Adoption {
	a := adopter{change: &catalogv1.Change{}, origins: map[string]*rendererv1.Origin{}}
	a.doc, _ = Effective(from)
	for _, f := range e.Origins {
		a.origins[originKey(f.GetObject(), f.GetPath())] = f.GetOrigin()
	}
	made, wanted := objectsByID(e.Made), objectsByID(e.Wanted)
	for _, id := range unionKeys(anyMap(made), anyMap(wanted)) {
		before, was := made[id]
		after, is := wanted[id]
		switch {
		case !was:
			a.added(after)
		case !is:
			a.operation(targetOf(before).Pointer(), nil, true)
		case !reflect.DeepEqual(before.Value, after.Value):
			a.edited(before, after)
		}
	}
	a.others(e)
	return Adoption{Change: a.change, Not: a.not}
}

type adopter struct {
	doc     Document
	origins map[string]*rendererv1.Origin
	change  *catalogv1.Change
	not     []string
}

func originKey(o *rendererv1.ObjectRef, path string) string {
	return o.GetKind() + "\x00" + o.GetName() + "\x00" + path
}

func targetOf(o manifest.Object) manifest.Target {
	return manifest.Target{APIVersion: o.Ref.GetApiVersion(), Kind: o.Ref.GetKind(), Name: o.Ref.GetName()}
}

func objectsByID(files map[string][]byte) map[string]manifest.Object {
	out := map[string]manifest.Object{}
	for _, o := range manifest.Read(files) {
		out[o.ID()] = o
	}
	return out
}

func anyMap[V any](m map[string]V) map[string]any {
	out := make(map[string]any, len(m))
	for k := range m {
		out[k] = nil
	}
	return out
}

func (a *adopter) refuse(o manifest.Object, path, format string, args ...any) {
	a.not = append(a.not, strings.TrimSpace(fmt.Sprintf("%s %s %s", o.Ref.GetKind(), o.Ref.GetName(), path))+": "+fmt.Sprintf(format, args...))
}

func (a *adopter) added(o manifest.Object) {
	if o.Ref.GetKind() == "Secret" && o.Ref.GetApiVersion() == "v1" {
		a.refuse(o, "", "a Secret does not belong into Git or a draft; ask for it with a resource or a secret variable")
		return
	}
	if what := secretInObject(nil, o.Value); what != "" {
		a.refuse(o, "", "has something in it that looks like %s, which does not belong into Git or a draft", what)
		return
	}
	a.operation(targetOf(o).Pointer(), o.Value, false)
}

func (a *adopter) edited(before, after manifest.Object) {
	target := targetOf(before)
	if before.Ref.GetApiVersion() != after.Ref.GetApiVersion() {
		a.refuse(before, "apiVersion", "is now %s; Towpath writes objects in the version that it made them in", after.Ref.GetApiVersion())
	}
	for _, e := range manifest.Edits(before.Value, after.Value) {
		path := manifest.StepsPath(before.Value, e.Steps)
		if e.Steps[0] == "apiVersion" {
			continue
		}
		if why := manifest.Protected(target, e.Steps); why != "" {
			a.refuse(before, path, "it %s", why)
			continue
		}
		if what := secretInObject(e.Steps, e.Value); what != "" && !e.Remove {
			a.refuse(before, path, "looks like %s, which does not belong into Git or a draft", what)
			continue
		}
		if e.Remove || !a.atOrigin(before, path, e.Value) {
			a.operation(target.Pointer(e.Steps...), e.Value, e.Remove)
		}
	}
}

// atOrigin sets the place that decides the field, where there is one that means nothing else.
func (a *adopter) atOrigin(o manifest.Object, path string, v any) bool {
	from := a.origins[originKey(o.Ref, path)]
	text, isText := v.(string)
	if from == nil || len(from.GetParts()) > 0 || isText && strings.Contains(text, "${") {
		return false
	}
	switch from.GetSource() {
	case rendererv1.Origin_SOURCE_VARIABLE:
		if !isText {
			return false
		}
		if a.change.Variables == nil {
			a.change.Variables = map[string]string{}
		}
		a.change.Variables[from.GetPath()] = text
		return true
	case rendererv1.Origin_SOURCE_SCORE, rendererv1.Origin_SOURCE_SHARED_RESOURCE, rendererv1.Origin_SOURCE_OVERLAY:
	default:
		return false
	}
	if from.GetPointer() == "" {
		return false
	}
	if manifest.IsPatch(from.GetPointer()) {
		a.operation(from.GetPointer(), v, false)
		return true
	}
	there, ok := jsonptr.Get(map[string]any(a.doc), from.GetPointer())
	if !ok {
		return false
	}
	switch there.(type) {
	case string:
		if n, isNumber := v.(float64); isNumber {
			v = strconv.FormatFloat(n, 'f', -1, 64)
		}
		if _, fits := v.(string); !fits {
			return false
		}
	case map[string]any, []any:
		return false
	}
	a.operation(from.GetPointer(), v, false)
	return true
}

func (a *adopter) operation(pointer string, v any, remove bool) {
	if len(a.change.GetOverlayOperations()) >= maxAdopted {
		if len(a.change.GetOverlayOperations()) == maxAdopted && !slices.Contains(a.not, tooMuch) {
			a.not = append(a.not, tooMuch)
		}
		return
	}
	op := &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: pointer}
	if !remove {
		value, err := structpb.NewValue(v)
		if err != nil {
			a.not = append(a.not, pointer+": has a value that cannot be written down")
			return
		}
		op.Action, op.Value = rendererv1.Operation_ACTION_SET, value
	}
	a.change.OverlayOperations = append(a.change.OverlayOperations, op)
}

const tooMuch = "more is changed than one draft keeps; change the Score files instead"

// others tells of files that are no objects, and of a change that no object shows.
func (a *adopter) others(e Edited) {
	holds := map[string]bool{}
	for _, o := range manifest.Read(e.Wanted) {
		holds[o.Ref.GetFile()] = true
	}
	for _, path := range slices.Sorted(maps.Keys(e.Wanted)) {
		if !holds[path] && string(e.Made[path]) != string(e.Wanted[path]) {
			a.not = append(a.not, path+": holds no Kubernetes object, and Towpath's folder has nothing else")
		}
	}
	if len(a.not) == 0 && len(a.change.GetOverlayOperations()) == 0 && len(a.change.GetVariables()) == 0 {
		a.not = append(a.not, "the objects are the same; only how the files are written differs")
	}
}

// secretInObject says what a value of an object looks like, by its form and by what holds it; "" for no secret. steps are the way
// to it.
func secretInObject(steps []string, v any) string {
	switch v := v.(type) {
	case string:
		name := ""
		if n := len(steps); n > 0 {
			name = steps[n-1]
			if n > 1 && name == "value" {
				name = strings.TrimPrefix(steps[n-2], "name=")
			}
			if n > 1 && steps[n-2] != "data" && steps[n-1] != "value" {
				name = "" // a field of Kubernetes is not called what it holds
			}
		}
		if what := secrets.LooksNamed(name, v); what != "" {
			return what
		}
		return secrets.LooksText(v)
	case map[string]any:
		if name, ok := v["name"].(string); ok {
			if value, ok := v["value"].(string); ok {
				if what := secrets.LooksNamed(name, value); what != "" {
					return what
				}
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if what := secretInObject(append(slices.Clip(steps), k), v[k]); what != "" {
				return what
			}
		}
	case []any:
		for i, x := range v {
			if what := secretInObject(append(slices.Clip(steps), strconv.Itoa(i)), x); what != "" {
				return what
			}
		}
	}
	return ""
}

// AdoptLeft tells what of the wanted objects is not what the adopted change renders to, one line each; base is what Towpath renders
// without the change, which may have more objects than were edited.
func AdoptLeft(e Edited, base, rendered map[string][]byte) []string {
	made, want := objectsByID(e.Made), objectsByID(e.Wanted)
	for id, o := range objectsByID(base) {
		if _, edited := made[id]; !edited {
			want[id] = o
		}
	}
	got := objectsByID(rendered)
	var out []string
	for _, id := range unionKeys(anyMap(want), anyMap(got)) {
		w, wanted := want[id]
		g, is := got[id]
		switch {
		case !is:
			out = append(out, w.Ref.GetKind()+" "+w.Ref.GetName()+": is not rendered")
		case !wanted:
			out = append(out, g.Ref.GetKind()+" "+g.Ref.GetName()+": would be there again")
		default:
			for _, edit := range manifest.Edits(g.Value, w.Value) {
				out = append(out, fmt.Sprintf("%s %s %s: would be otherwise", w.Ref.GetKind(), w.Ref.GetName(), manifest.StepsPath(w.Value, edit.Steps)))
			}
		}
	}
	return out
}
