package render

import (
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/origin"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// MaxExplained is how many leaves an explanation tells at the most.
const MaxExplained = 10_000

// Explain renders and tells where the leaves of objects come from: of all objects, or of the one that is called object ("deployment/api"
// or its file), below path or all of it. Where outputs of claims are not known yet it tells of the claims. An object or field that does
// not exist is an errs.NotFound error that lists what there is.
func Explain(input *rendererv1.RenderInput, opts Options, object, path string) (*rendererv1.ExplainResponse, error) {
	t := newTrace()
	resp, err := traced(input, opts, false, t)
	if errs.ReasonOf(err) == errorsv1.Reason_REASON_OUTPUTS_MISSING {
		t = newTrace()
		resp, err = traced(input, opts, true, t)
	}
	if err != nil {
		return nil, err
	}
	refs := resp.GetBundle().GetObjects()
	if object == "" && path != "" {
		return nil, errs.InvalidField("object", "is empty; say of which object %q is a field, such as deployment/api", path)
	}
	if object != "" {
		ref, err := objectNamed(refs, object)
		if err != nil {
			return nil, err
		}
		refs = []*rendererv1.ObjectRef{ref}
	}
	out := &rendererv1.ExplainResponse{}
	names := manifest.Names{Application: input.GetApplication(), Environment: input.GetEnvironment(), EnvironmentType: input.GetEnvironmentType()}
	for _, ref := range refs {
		fields, err := t.explain(ref, path, names, MaxExplained-len(out.GetFields()))
		if err != nil {
			return nil, err
		}
		out.Fields = append(out.Fields, fields...)
	}
	return out, nil
}

// explain tells of the leaves of one object below a path.
func (t *trace) explain(ref *rendererv1.ObjectRef, path string, names manifest.Names, limit int) (out []*rendererv1.FieldOrigin, err error) {
	value, _ := manifest.Plain(t.objects[ref.GetFile()]).(map[string]any)
	way, keys, err := manifest.Find(value, path)
	if err != nil {
		return nil, err
	}
	leaves := slices.DeleteFunc(slices.Clone(t.leaves[ref.GetFile()]), func(l origin.Leaf) bool {
		return len(l.Path) < len(way) || !slices.Equal(l.Path[:len(way)], way)
	})
	// What names the item of a list that was asked for needs no answer, unless there is nothing else.
	others := slices.DeleteFunc(slices.Clone(leaves), func(l origin.Leaf) bool { return slices.Contains(keys, strings.Join(l.Path[len(way):], ".")) })
	if len(others) > 0 {
		leaves = others
	}
	shown, _ := manifest.Mask(ref, nil, nil, value).(map[string]any)
	for _, l := range leaves {
		if len(out) == limit {
			break
		}
		f := &rendererv1.FieldOrigin{
			Object: ref, Path: manifest.FieldPath(value, l.Path), Value: manifest.Value(valueAt(shown, l.Path)), Origin: t.finished(t.key(l)),
		}
		f.Text = names.Line(f)
		out = append(out, f)
	}
	return out, nil
}

// key gives the origin of a leaf: of one that is the key under which something stands in the document, and not what stands there, one
// that says so.
func (t *trace) key(l origin.Leaf) *origin.Origin {
	if l.From.GetSource() != rendererv1.Origin_SOURCE_SCORE || len(l.Path) == 0 {
		return l.From
	}
	text, isText := l.Value.(string)
	at := splitPath(l.From.GetPath())
	if !isText || at[len(at)-1] != text || !slices.Contains([]string{"name", "mountPath"}, l.Path[len(l.Path)-1]) {
		return l.From
	}
	if v, _ := jsonptr.Get(t.doc, jsonptr.Join(append([]string{"workloads", l.From.GetWorkload()}, at...)...)); v == text {
		return l.From
	}
	if o := t.keys[l.From]; o != nil {
		return o
	}
	o := &origin.Origin{Source: l.From.GetSource(), Workload: l.From.GetWorkload(), Path: l.From.GetPath(), Note: keyNote}
	t.keys[l.From] = o
	return o
}

// keyNote marks the origin of what is a key in the document.
const keyNote = "its key"

// valueAt gives what stands at a path; what was masked above it is masked.
func valueAt(v any, path []string) any {
	for _, key := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i := 0
			for _, c := range key {
				i = i*10 + int(c-'0')
			}
			v = at[i]
		default:
			return v
		}
	}
	return v
}

// shortKinds are what people call kinds.
var shortKinds = map[string]string{
	"deploy": "deployment", "sts": "statefulset", "ds": "daemonset", "cj": "cronjob", "svc": "service", "cm": "configmap", "sa": "serviceaccount",
	"pvc": "persistentvolumeclaim", "pdb": "poddisruptionbudget", "hpa": "horizontalpodautoscaler", "netpol": "networkpolicy", "ing": "ingress",
}

// objectNamed finds an object by kind and name, or by its file.
func objectNamed(refs []*rendererv1.ObjectRef, object string) (*rendererv1.ObjectRef, error) {
	kind, name, both := strings.Cut(object, "/")
	kind = strings.ToLower(kind)
	if long := shortKinds[kind]; long != "" {
		kind = long
	}
	known := map[string]bool{}
	for _, ref := range refs {
		have := strings.ToLower(ref.GetKind())
		if ref.GetFile() == object || both && ref.GetName() == name && (have == kind || have+"s" == kind) {
			return ref, nil
		}
		known[have+"/"+ref.GetName()] = true
	}
	all := slices.Sorted(maps.Keys(known))
	if !both && !strings.HasSuffix(object, ".yaml") {
		return nil, errs.InvalidField("object", "%q names no object; write kind and name, such as deployment/api; there are %s", object, manifest.List(all))
	}
	return nil, errs.NotFoundf("the object "+object, "%sthere are %s", manifest.Suggest(object, all), manifest.List(all))
}
