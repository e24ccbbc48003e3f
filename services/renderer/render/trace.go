package render

import (
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/origin"
	"github.com/towpath-dev/towpath/services/renderer/placeholder"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// trace is what a rendering collects that tells where values come from. A rendering that does not has none, and pays nothing.
type trace struct {
	run *run
	// doc is the set's document with the overlay applied.
	doc    map[string]any
	tracer *origin.Tracer
	// objects and leaves are by file.
	objects map[string]map[string]any
	leaves  map[string][]origin.Leaf
	// made has for each resource, by uid, what its outputs and objects are made of.
	made map[string]*causes
	// done are finished origins, keys those of what is a key, both by the origin that was marked.
	done, keys map[*origin.Origin]*origin.Origin
}

func newTrace() *trace {
	return &trace{
		tracer: &origin.Tracer{}, objects: map[string]map[string]any{}, leaves: map[string][]origin.Leaf{}, made: map[string]*causes{},
		done: map[*origin.Origin]*origin.Origin{}, keys: map[*origin.Origin]*origin.Origin{},
	}
}

// follow lets the trace see a rendering that begins.
func (t *trace) follow(r *run, doc map[string]any) {
	if t != nil {
		t.run, t.doc, r.trace, r.files.trace = r, doc, t, t
	}
}

// partsIn gives the function that tells what the placeholders of a workload's texts mean, nil where nothing is traced.
func (t *trace) partsIn(workload string) func(string) []*origin.Origin {
	if t == nil {
		return nil
	}
	return func(text string) []*origin.Origin { return t.parts(text, workload) }
}

// marks gives the tracer, nil where nothing is traced.
func (t *trace) marks() *origin.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// taken takes the marks off an object that comes into the bundle, and keeps where its leaves come from. by is who makes it, as
// files.put has it.
func (t *trace) taken(o map[string]any, workload, by string) map[string]any {
	out, leaves := origin.Strip(o)
	meta, _ := out["metadata"].(map[string]any)
	kind, _ := out["kind"].(string)
	name, _ := meta["name"].(string)
	for i := range leaves {
		if leaves[i].From == nil {
			if leaves[i].From = t.volume(out, leaves[i].Path); leaves[i].From == nil {
				leaves[i].From = t.unmarked(out, kind+"/"+name, leaves[i].Path, workload, by)
			}
		}
	}
	file := strings.ToLower(kind) + "-" + name + ".yaml"
	t.objects[file], t.leaves[file] = out, leaves
	return out
}

var fromTowpath = &origin.Origin{Source: rendererv1.Origin_SOURCE_TOWPATH}

// unmarked gives the origin of a leaf that nobody marked: of what every object gets, of what a definition made, else of Towpath's
// own rules.
func (t *trace) unmarked(object map[string]any, name string, path []string, workload, by string) *origin.Origin {
	if o := t.common(path, workload, by); o != nil {
		return o
	}
	if o := t.beside(object, path, workload, by); o != nil {
		return o
	}
	if c := t.made[by]; c != nil {
		return c.leaf(name, path)
	}
	return fromTowpath
}

// volume gives the origin of what a resource puts into a pod's volumes.
func (t *trace) volume(object map[string]any, path []string) *origin.Origin {
	i := slices.Index(path, "volumes")
	if i < 0 || i+2 >= len(path) || path[i+2] == "name" {
		return nil
	}
	item, _ := jsonptr.Get(object, jsonptr.Join(path[:i+2]...))
	volume, _ := item.(map[string]any)
	name, _ := volume["name"].(string)
	if !strings.HasPrefix(name, "vol-") {
		return nil
	}
	for _, res := range t.run.graph.order {
		if definition.Shorten("vol-"+res.id, 63) == name && res.outputs["source"] != nil {
			return t.output(res, append([]string{"source"}, path[i+2:]...), true)
		}
	}
	return nil
}

// common gives the origin of namespace and labels.
func (t *trace) common(path []string, workload, by string) *origin.Origin {
	environment := func(field string) *origin.Origin {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_ENVIRONMENT, Path: field}
	}
	own := strings.HasPrefix(by, "workload ")
	switch {
	case len(path) == 2 && path[0] == "metadata" && path[1] == "namespace":
		return environment("namespace")
	case own && len(path) == 2 && path[0] == "metadata" && path[1] == "name":
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: workload, Path: "metadata.name"}
	case len(path) < 2 || !slices.Contains([]string{"labels", "matchLabels", "selector"}, path[len(path)-2]):
		return nil
	}
	if path[0] == "metadata" {
		if _, ok := t.run.place.Labels[path[2]]; ok {
			return &origin.Origin{Source: rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE, Path: joinPath(path[1:])}
		}
	} else if !own {
		return nil
	}
	switch path[len(path)-1] {
	case kube.LabelApplication:
		return environment("application")
	case kube.LabelEnvironment:
		return environment("environment")
	case kube.LabelInstance:
		o := environment("name")
		o.Note = "made of application and environment"
		return o
	case kube.LabelManagedBy:
		return fromTowpath
	case kube.LabelName, kube.LabelWorkload:
		if workload != "" && (own || path[len(path)-1] == kube.LabelWorkload) {
			return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: workload, Path: "metadata.name"}
		}
	}
	return nil
}

// parts gives what the placeholders of a text mean in a scope, in their order.
func (t *trace) parts(text string, workload string) (out []*origin.Origin) {
	sc := t.run.graph.scopes[workload]
	for _, ref := range placeholder.Refs(text) {
		if o := t.reference(ref, workload, sc); o != nil {
			out = append(out, o)
		}
	}
	return out
}

func (t *trace) reference(ref placeholder.Ref, workload string, sc *scope) *origin.Origin {
	if len(ref.Path) < 2 || sc == nil {
		return nil
	}
	if ref.Path[0] == placeholder.Metadata {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: workload, Path: joinPath(ref.Path)}
	}
	res := t.run.graph.byUID[sc.uids[ref.Path[1]]]
	switch {
	case res == nil:
		return nil
	case len(ref.Path) > 2 && res.typ == "environment":
		return t.variable(strings.Join(ref.Path[2:], "."))
	}
	return t.output(res, ref.Path[2:], true)
}

// variable gives the origin of a variable's value.
func (t *trace) variable(key string) *origin.Origin {
	o := &origin.Origin{Source: rendererv1.Origin_SOURCE_VARIABLE, Path: key}
	if ref := t.run.input.GetSecretVariables()[key]; ref != nil {
		o.Note = "the key " + ref.GetKey() + " of the Secret " + ref.GetName()
	}
	return o
}

// output gives the origin of an output of a resource. deep adds what the output itself is made of.
func (t *trace) output(res *resource, path []string, deep bool) *origin.Origin {
	o := &origin.Origin{Source: rendererv1.Origin_SOURCE_RESOURCE_OUTPUT, Resource: res.uid, Path: strings.Join(path, ".")}
	if res.definition != nil {
		o.Definition = res.definition.Spec.GetName()
	}
	if c := t.made[res.uid]; c != nil && len(path) > 0 {
		if deep {
			o.Parts = c.output(path)
		}
		o.Note = c.note
	}
	return o
}

// finished gives an origin with what only the whole of the input tells: the pointer into the set's document, the operation of the
// overlay that wrote there, and what a text that is one placeholder alone stands for.
func (t *trace) finished(o *origin.Origin) *origin.Origin {
	if o == nil {
		return fromTowpath
	}
	if out, ok := t.done[o]; ok {
		return out
	}
	out := &origin.Origin{
		Source: o.GetSource(), Workload: o.GetWorkload(), Path: o.GetPath(), Resource: o.GetResource(), Definition: o.GetDefinition(), Note: o.GetNote(),
		Pointer: o.GetPointer(), Through: o.GetThrough(),
	}
	parts := o.GetParts()
	whole := false
	switch o.GetSource() {
	case rendererv1.Origin_SOURCE_SCORE:
		out.Pointer = jsonptr.Join(append([]string{"workloads", o.GetWorkload()}, splitPath(o.GetPath())...)...)
	case rendererv1.Origin_SOURCE_SHARED_RESOURCE:
		out.Pointer = jsonptr.Join(append([]string{"resources"}, splitPath(o.GetPath())...)...)
	}
	if out.Pointer != "" {
		parts, whole = t.written(o, out.Pointer, parts)
		t.overlaid(out)
	}
	for _, p := range parts {
		out.Parts = append(out.Parts, t.finished(p))
	}
	if whole && len(out.Parts) == 1 {
		inner := out.Parts[0]
		out.Parts = nil
		out = &origin.Origin{
			Source: inner.GetSource(), Workload: inner.GetWorkload(), Path: inner.GetPath(), Resource: inner.GetResource(), Definition: inner.GetDefinition(),
			Note: inner.GetNote(), Pointer: inner.GetPointer(), Parts: inner.GetParts(), Through: out,
		}
	}
	t.done[o] = out
	return out
}

// written looks at what stands in the document: what its placeholders mean, and whether one of them is all of it.
func (t *trace) written(o *origin.Origin, pointer string, parts []*origin.Origin) ([]*origin.Origin, bool) {
	v, _ := jsonptr.Get(t.doc, pointer)
	text, ok := v.(string)
	if !ok || o.GetNote() == keyNote || !expanded(o, t.doc, pointer) {
		return parts, false
	}
	tokens, err := placeholder.Parse(text)
	if err != nil {
		return parts, false
	}
	if len(parts) == 0 {
		parts = t.parts(text, o.GetWorkload())
	}
	return parts, len(tokens) == 1 && tokens[0].Ref != nil
}

// expanded reports whether placeholders mean something at a place: in variables, in what files hold and volumes are, and in params.
func expanded(o *origin.Origin, doc map[string]any, pointer string) bool {
	at := splitPath(o.GetPath())
	if o.GetSource() == rendererv1.Origin_SOURCE_SHARED_RESOURCE {
		return true
	}
	switch {
	case len(at) > 2 && at[0] == "resources":
		return at[2] == "params"
	case len(at) < 4 || at[0] != "containers":
		return false
	case at[2] == "files":
		parent, _ := jsonptr.Get(doc, pointer[:strings.LastIndexByte(pointer, '/')])
		m, _ := parent.(map[string]any)
		return m["noExpand"] != true && at[len(at)-1] == "content"
	}
	return at[2] == "variables" || at[2] == "volumes"
}

// overlaid makes the overlay the origin of what its last operation at that place, or around it, wrote.
func (t *trace) overlaid(o *origin.Origin) {
	for _, op := range slices.Backward(t.run.input.GetOverlay()) {
		if op.GetAction() != rendererv1.Operation_ACTION_SET {
			continue
		}
		if o.GetPointer() == op.GetPath() || strings.HasPrefix(o.GetPointer(), op.GetPath()+"/") {
			o.Source, o.Path = rendererv1.Origin_SOURCE_OVERLAY, op.GetPath()
			return
		}
	}
}

// joinPath writes keys as a Score path, dots in them escaped.
func joinPath(keys []string) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = score.EscapeKey(k)
	}
	return strings.Join(out, ".")
}

// splitPath is the reverse of joinPath. An index in brackets is a part of its own.
func splitPath(path string) []string {
	var out []string
	var part strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path):
			i++
			part.WriteByte(path[i])
		case c == '.':
			out = append(out, part.String())
			part.Reset()
		case c == '[' && strings.HasSuffix(path[i:], "]") && strings.Trim(path[i+1:len(path)-1], "0123456789") == "":
			return append(out, part.String(), path[i+1:len(path)-1])
		default:
			part.WriteByte(c)
		}
	}
	return append(out, part.String())
}
