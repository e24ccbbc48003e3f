package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/origin"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// byOverlay is who makes an object that only a patch of the overlay names.
const byOverlay = "the environment's overlay"

// patch is one operation of the overlay on a rendered object.
type patch struct {
	// index is the operation's place in the overlay.
	index int
	op    *rendererv1.Operation
	edit  manifest.Edit
}

// patches are the overlay's operations on objects, by object. They are applied to what everything else made, before it is checked:
// kinds, namespace, schema and guardrails hold for the result.
type patches struct {
	// order are the objects as the overlay names them first.
	order   []manifest.Target
	byName  map[manifest.Target][]patch
	applied map[manifest.Target]bool
}

// newPatches reads the operations of an overlay that are about objects; nil when there is none.
func newPatches(overlay []*rendererv1.Operation) (*patches, error) {
	var p *patches
	for i, op := range overlay {
		if !manifest.IsPatch(op.GetPath()) {
			continue
		}
		target, steps, err := manifest.ParsePatch(op.GetPath())
		if err != nil {
			return nil, overlayError(i, err)
		}
		if why := manifest.Protected(target, steps); why != "" {
			return nil, patchError(i, op, "%s", why)
		}
		if len(steps) > 1 && steps[0] == "metadata" && foreign[steps[1]] != "" {
			return nil, patchError(i, op, "%s", foreign[steps[1]])
		}
		if p == nil {
			p = &patches{byName: map[manifest.Target][]patch{}, applied: map[manifest.Target]bool{}}
		}
		next := patch{index: i, op: op, edit: manifest.Edit{Steps: steps, Value: op.GetValue().AsInterface()}}
		switch op.GetAction() {
		case rendererv1.Operation_ACTION_SET:
		case rendererv1.Operation_ACTION_REMOVE:
			next.edit.Remove = true
		default:
			return nil, errs.InvalidField(fmt.Sprintf("input.overlay[%d].action", i), "is %s: expected ACTION_SET or ACTION_REMOVE", op.GetAction())
		}
		if p.byName[target] == nil {
			p.order = append(p.order, target)
		}
		p.byName[target] = append(p.byName[target], next)
	}
	return p, nil
}

func patchError(i int, op *rendererv1.Operation, format string, args ...any) error {
	e := errs.InvalidField(fmt.Sprintf("input.overlay[%d] %s", i, op.GetPath()), format, args...)
	e.Msg = "the overlay cannot be applied"
	return e
}

func targetOf(o map[string]any) manifest.Target {
	meta, _ := o["metadata"].(map[string]any)
	var t manifest.Target
	t.APIVersion, _ = o["apiVersion"].(string)
	t.Kind, _ = o["kind"].(string)
	t.Name, _ = meta["name"].(string)
	return t
}

// patched gives an object as the overlay wants it; gone tells that the overlay takes it away.
func (f *files) patched(o map[string]any) (out map[string]any, gone bool, err error) {
	if f.patches == nil {
		return o, false, nil
	}
	target := targetOf(o)
	all := f.patches.byName[target]
	if len(all) == 0 {
		return o, false, nil
	}
	f.patches.applied[target] = true
	before := o
	for _, p := range all {
		switch {
		case len(p.edit.Steps) > 0:
			if o, err = p.edit.Apply(o); err != nil {
				return nil, false, patchError(p.index, p.op, "%s", err.Error())
			}
		case p.edit.Remove:
			gone = true
			continue
		default:
			return nil, false, patchError(p.index, p.op, "is there already: %s %s is rendered; name a field of it, or remove the operation", target.Kind, target.Name)
		}
		gone = false
	}
	if f.trace != nil {
		f.trace.patched(before, o, all)
	}
	return o, gone, nil
}

// rest adds the objects that only the overlay has, and refuses operations on objects that nobody makes.
func (r *run) rest() error {
	p := r.files.patches
	if p == nil || r.claimsOnly {
		return nil
	}
	for _, target := range p.order {
		if p.applied[target] {
			continue
		}
		first := p.byName[target][0]
		if len(first.edit.Steps) > 0 || first.edit.Remove {
			return patchError(first.index, first.op, "there is no %s %s of %s; there are %s", target.Kind, target.Name, target.APIVersion, r.files.names())
		}
		if err := r.addPatched(target, p.byName[target]); err != nil {
			return err
		}
	}
	return nil
}

// addPatched adds an object that the overlay brings, with the namespace and the labels that every object gets.
func (r *run) addPatched(target manifest.Target, all []patch) error {
	first := all[0]
	o, _ := first.edit.Value.(map[string]any)
	if o == nil || targetOf(o) != target {
		return patchError(first.index, first.op, "is not set to a %s %s of %s: the object must be the one that the path names", target.Kind, target.Name, target.APIVersion)
	}
	if target.Kind == "Secret" && target.APIVersion == "v1" {
		return patchError(first.index, first.op, "is a Secret, which does not belong into an overlay: ask for it with a resource or a secret variable")
	}
	for _, p := range all[1:] {
		if len(p.edit.Steps) == 0 {
			return patchError(p.index, p.op, "is the second operation on the whole object; one is enough")
		}
		var err error
		if o, err = p.edit.Apply(o); err != nil {
			return patchError(p.index, p.op, "%s", err.Error())
		}
	}
	given, _ := o["metadata"].(map[string]any)
	if ns, ok := given["namespace"]; ok && ns != r.place.Namespace {
		return patchError(first.index, first.op, "is outside of the namespace %s", r.place.Namespace)
	}
	for _, field := range slices.Sorted(maps.Keys(foreign)) {
		if _, ok := given[field]; ok {
			return patchError(first.index, first.op, "has metadata.%s: %s", field, foreign[field])
		}
	}
	r.files.patches.applied[target] = true
	if manifest.IsAsItIs(given) {
		return r.files.putPlain(manifest.AsItWas(o, r.place.Namespace), "", byOverlay)
	}
	meta := r.place.Meta(target.Name, target.Name, "")
	labels, _ := meta["labels"].(map[string]any)
	own, _ := given["labels"].(map[string]any)
	for k, v := range own {
		if _, reserved := labels[k]; !reserved {
			labels[k] = v
		}
	}
	for k, v := range given {
		if k != "labels" {
			meta[k] = v
		}
	}
	meta["namespace"] = r.place.Namespace
	out := maps.Clone(o)
	out["metadata"] = meta
	return r.files.putPlain(out, "", byOverlay)
}

// names lists the objects that there are.
func (f *files) names() string {
	all := make([]string, 0, len(f.objects))
	for _, ref := range f.objects {
		all = append(all, ref.GetKind()+" "+ref.GetName())
	}
	slices.Sort(all)
	return manifest.List(all)
}

// noteGone notes that the overlay removes an object.
func (f *files) noteGone(file string, target manifest.Target, gone bool) {
	if !gone {
		return
	}
	if f.gone == nil {
		f.gone = map[string]patch{}
	}
	all := f.patches.byName[target]
	f.gone[file] = all[len(all)-1]
}

// withoutGone takes away the objects that the overlay removes. A claim stays: others wait for its outputs.
func (f *files) withoutGone(c *claims) error {
	for file, p := range f.gone {
		if slices.ContainsFunc(c.refs, func(ref *rendererv1.ClaimRef) bool { return ref.GetObject().GetFile() == file }) {
			return patchError(p.index, p.op, "is a claim, whose outputs others need; take its resource out of the set instead")
		}
		f.size -= len(f.content[file])
		delete(f.content, file)
		delete(f.from, file)
		f.objects = slices.DeleteFunc(f.objects, func(ref *rendererv1.ObjectRef) bool { return ref.GetFile() == file })
		f.wrong = slices.DeleteFunc(f.wrong, func(w kube.Problem) bool { return strings.HasPrefix(w.Path, file+" ") })
	}
	return nil
}

// patched notes that the overlay is where changed leaves of an object come from.
func (t *trace) patched(before, after map[string]any, all []patch) {
	target := targetOf(before)
	file := strings.ToLower(target.Kind) + "-" + target.Name + ".yaml"
	from := map[string]origin.Leaf{}
	for _, l := range t.leaves[file] {
		from[manifest.FieldPath(before, l.Path)] = l
	}
	out, leaves := origin.Strip(after)
	for i, l := range leaves {
		old, ok := from[manifest.FieldPath(out, l.Path)]
		if ok && manifest.Plain(old.Value) == manifest.Plain(l.Value) {
			leaves[i].From = old.From
			continue
		}
		leaves[i].From = overlayOrigin(out, l, all)
	}
	t.objects[file], t.leaves[file] = out, leaves
}

// overlayOrigin is the last operation that wrote the leaf or what is around it.
func overlayOrigin(object map[string]any, l origin.Leaf, all []patch) *origin.Origin {
	path := manifest.FieldPath(object, l.Path)
	for _, p := range slices.Backward(all) {
		if p.edit.Remove {
			continue
		}
		at := manifest.StepsPath(object, p.edit.Steps)
		if rest, ok := strings.CutPrefix(path, at); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return &origin.Origin{Source: rendererv1.Origin_SOURCE_OVERLAY, Path: p.op.GetPath(), Pointer: p.op.GetPath()}
		}
	}
	return fromTowpath
}

// putPlain puts an object that no patch is applied to any more.
func (f *files) putPlain(o map[string]any, workload, by string) error {
	all := f.patches
	f.patches = nil
	defer func() { f.patches = all }()
	return f.put(o, workload, by)
}
