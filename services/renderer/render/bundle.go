package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/treeid"
	"github.com/towpath-dev/towpath/services/renderer/yamlout"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// files collects the objects of a bundle.
type files struct {
	content map[string][]byte
	objects []*rendererv1.ObjectRef
	// from is what each file is of: "workload NAME" or the uid of a resource; makers are words for the latter.
	from   map[string]string
	makers map[string]string
	size   int
	trace  *trace
	// kinds are those that may be in it, wrong what its objects have that Kubernetes would not take.
	kinds kinds
	// outside is what may be made outside of the environment's namespace.
	outside outside
	wrong   kube.Problems
	// repeated are objects that several resources may make, see addMade.
	repeated map[string]repeatable
	notes    []string
	// patches are the overlay's changes of objects, nil for none; gone are the objects that it removes, by file.
	patches *patches
	gone    map[string]patch
}

// addResource adds an object that a definition made, with the namespace and the labels that every object gets.
func (f *files) addResource(o map[string]any, res *resource, place kube.Place) error {
	workload := res.owner
	if res.shared() {
		workload = ""
	}
	if items, err := listItems(o, res); items != nil || err != nil {
		return f.addItems(items, err, res, place)
	}
	given, _ := o["metadata"].(map[string]any)
	name, _ := given["name"].(string)
	if err := checkMeta(o, given, res); err != nil {
		return err
	}
	namespace, err := f.outside.namespaceOf(o, given, place.Namespace)
	if err != nil {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "the resource %s makes the %v %q outside of the namespace %s: %s", res.uid, o["kind"], name, place.Namespace, err).
			With("resource", res.uid)
	}
	meta := place.Meta(name, name, workload)
	for k, v := range given {
		if k != "labels" {
			meta[k] = v
		}
	}
	if meta["namespace"] = namespace; namespace == "" {
		delete(meta, "namespace")
	}
	labels, _ := meta["labels"].(map[string]any)
	own, _ := given["labels"].(map[string]any)
	for k, v := range own {
		if _, reserved := labels[k]; !reserved {
			labels[k] = v
		}
	}
	out := maps.Clone(o)
	out["metadata"] = meta
	if f.makers == nil {
		f.makers = map[string]string{}
	}
	f.makers[res.uid] = maker(res)
	return f.put(out, workload, res.uid)
}

// add adds an object of a workload.
func (f *files) add(o map[string]any, workload string) error {
	return f.put(o, workload, "workload "+workload)
}

func (f *files) put(o map[string]any, workload, origin string) error {
	if f.trace != nil {
		o = f.trace.taken(o, workload, origin)
	}
	o, gone, err := f.patched(o)
	if err != nil {
		return err
	}
	meta, _ := o["metadata"].(map[string]any)
	ref := &rendererv1.ObjectRef{Workload: workload}
	ref.ApiVersion, _ = o["apiVersion"].(string)
	ref.Kind, _ = o["kind"].(string)
	ref.Name, _ = meta["name"].(string)
	if ref.ApiVersion == "" || ref.Kind == "" || !objectName.MatchString(ref.Name) {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "%s makes an object without apiVersion, kind or a valid name: %q %q %q", origin, ref.ApiVersion, ref.Kind, ref.Name)
	}
	ref.File = strings.ToLower(ref.Kind) + "-" + ref.Name + f.outside.suffix(meta) + ".yaml"
	f.noteGone(ref.File, targetOf(o), gone)
	if err := f.check(o, ref, f.maker(origin)); err != nil {
		return err
	}
	if first, taken := f.from[ref.File]; taken {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"%s and %s both make the %s %q: rename the workload, or give the resource another id", f.maker(first), f.maker(origin), ref.Kind, ref.Name).With("object", ref.File)
	}
	content, err := yamlout.Marshal(o)
	if err != nil {
		return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "%s makes a %s that cannot be written", origin, ref.Kind).Because(fmt.Errorf("%s: %w", ref.File, err))
	}
	if f.size += len(content); f.size > MaxBundle {
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the environment's manifests are larger than %d bytes together: split the application", MaxBundle).
			With("limit", fmt.Sprint(MaxBundle)).With("field", "bundle")
	}
	if f.content == nil {
		f.content, f.from = map[string][]byte{}, map[string]string{}
	}
	f.content[ref.File], f.from[ref.File] = content, origin
	f.objects = append(f.objects, ref)
	return nil
}

// maker gives words for what makes an object.
func (f *files) maker(origin string) string {
	if words := f.makers[origin]; words != "" {
		return words
	}
	return origin
}

// bundle computes the ids.
func (f *files) bundle() (*rendererv1.Bundle, error) {
	if err := f.invalid(); err != nil {
		return nil, err
	}
	tree, err := treeid.Of(f.content)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(f.objects, func(a, b *rendererv1.ObjectRef) int { return strings.Compare(a.GetFile(), b.GetFile()) })
	return &rendererv1.Bundle{Files: f.content, Tree: tree, Sha256: treeid.Digest(f.content), Objects: f.objects}, nil
}
