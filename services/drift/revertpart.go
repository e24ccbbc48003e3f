package drift

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/findingpath"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// onlyChosen gives the declared object without the places that differ and are not to be put back. An apply of it leaves those as they
// are: somebody else owns them, or nobody does where they were removed.
func onlyChosen(declared *unstructured.Unstructured, found []compare.Finding, fields map[string]bool) (*unstructured.Unstructured, error) {
	out := declared.DeepCopy()
	for _, f := range compare.NeedsApply(found) {
		if fields[f.Path] || f.Path == "" {
			continue
		}
		if !without(out, f.Path) {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
				"%s %s: %s cannot be left as it is while another field is put back; revert all findings of the object",
				declared.GetKind(), declared.GetName(), f.Path)
		}
	}
	return out, nil
}

// without takes a place, as findings name it, out of an object; false when the object does not have it.
func without(u *unstructured.Unstructured, path string) bool {
	steps, ok := findingpath.Parse(path)
	if !ok || len(steps) == 0 {
		return false
	}
	if len(steps) > 1 && u.GetKind() == "Secret" && steps[0].Name() == "data" {
		if m, ok := u.Object["stringData"].(map[string]any); ok {
			if _, ok := m[steps[1].Name()]; ok {
				delete(m, steps[1].Name())
				return true
			}
		}
	}
	_, ok = findingpath.Remove(u.Object, steps)
	return ok
}

// eachLive reads all objects, one list per kind, and compares each that is there.
func (e *environment) eachLive(ctx context.Context, look func(*tracked, compare.Result)) error {
	e.mu.Lock()
	c, down := e.cluster, e.down
	byKind := map[kindIn]map[string]*tracked{}
	for k, t := range e.objects {
		p := kindIn{t.gvr, k.namespace}
		if byKind[p] == nil {
			byKind[p] = map[string]*tracked{}
		}
		byKind[p][k.name] = t
	}
	e.mu.Unlock()
	if down != nil || c == nil && len(byKind) > 0 {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster of %s cannot be reached", e.name)
	}
	for p, objs := range byKind {
		list, err := c.dyn.Resource(p.gvr).Namespace(p.namespace).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return clusterError(err, fmt.Sprintf("list %s", p.gvr.Resource))
		}
		e.mu.Lock()
		for i := range list.Items {
			if t := objs[list.Items[i].GetName()]; t != nil {
				look(t, e.compare(t, &list.Items[i]))
			}
		}
		e.mu.Unlock()
	}
	return nil
}
