package drift

import (
	"context"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// revertTries bounds how often an object is read again because somebody changed it between our reading and our patch.
const revertTries = 5

// revert puts the named findings right, all when names is empty, and gives those that are gone. It runs on the environment's goroutine.
func (e *environment) revert(ctx context.Context, names []string) ([]*driftv1.Finding, error) {
	e.mu.Lock()
	chosen, err := e.choose(names)
	e.mu.Unlock()
	if err != nil {
		return nil, err
	}
	e.begin(busyRevert)
	defer e.end()
	var done []*driftv1.Finding
	for k, fs := range chosen {
		if err := e.revertObject(ctx, k, fs); err != nil {
			return done, err
		}
		for _, f := range fs {
			f = proto.CloneOf(f)
			f.Resolution = resolutionReverted
			done = append(done, f)
		}
	}
	slices.SortFunc(done, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	return done, nil
}

// choose gives the findings by object. It needs the mutex.
func (e *environment) choose(names []string) (map[objectKey][]*driftv1.Finding, error) {
	left := map[string]bool{}
	for _, n := range names {
		left[n] = true
	}
	out := map[objectKey][]*driftv1.Finding{}
	add := func(k objectKey, f *driftv1.Finding) {
		if len(names) == 0 || left[f.GetName()] {
			out[k] = append(out[k], f)
			delete(left, f.GetName())
		}
	}
	for k, t := range e.objects {
		for _, f := range t.findings {
			add(k, f)
		}
	}
	for k, f := range e.orphans {
		add(k, f)
	}
	if len(left) > 0 {
		gone := slices.Sorted(maps.Keys(left))
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_FINDING_GONE,
			"%s is not there (any more); list the findings again", gone[0]).With("resource", gone[0])
	}
	return out, nil
}

// revertObject puts one object right: what was added is removed by a patch that only works on the version that was looked at,
// what was changed or taken away comes back by an apply.
func (e *environment) revertObject(ctx context.Context, k objectKey, fs []*driftv1.Finding) error {
	e.mu.Lock()
	c, t := e.cluster, e.objects[k]
	e.mu.Unlock()
	if t == nil {
		return e.removeOrphan(ctx, c, k, fs[0])
	}
	fields := map[string]bool{}
	for _, f := range fs {
		fields[f.GetField()] = true
	}
	r := c.dyn.Resource(t.gvr).Namespace(k.namespace)
	for try := 1; ; try++ {
		live, err := r.Get(ctx, k.name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return clusterError(err, "read "+k.kind+" "+k.name)
		}
		if err != nil {
			live = nil
		}
		live, err = e.putRight(ctx, c, t, live, fields)
		if err == nil {
			e.mu.Lock()
			e.judge(t, live, resolutionReverted)
			e.mu.Unlock()
			return nil
		}
		moved := apierrors.IsConflict(err) || apierrors.IsInvalid(err) || errs.Is(err, errs.Conflict)
		if !moved || try == revertTries {
			return clusterError(err, "revert "+k.kind+" "+k.name)
		}
	}
}

// putRight makes one attempt on one version of the object and gives the object as it is then. An error is the API server's own.
func (e *environment) putRight(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured, fields map[string]bool) (*unstructured.Unstructured, error) {
	r := c.dyn.Resource(t.gvr).Namespace(t.key.namespace)
	if live != nil {
		now := e.svc.comparer.Compare(compare.Input{Prepared: t.prepared, Live: live, Self: FieldManager,
			OurManagers: []string{generateManager}, Evidence: c.evidence(t.key.namespace)})
		wanted := slices.DeleteFunc(now.Findings, func(f compare.Finding) bool { return !fields[f.Path] })
		patch, err := compare.RevertPatch(live, wanted)
		if err != nil {
			return nil, err
		}
		if len(patch) > 0 {
			live, err = r.Patch(ctx, t.key.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
			if err != nil {
				return nil, err
			}
		}
		if len(compare.NeedsApply(wanted)) == 0 {
			return live, nil
		}
	}
	live, err := r.Apply(ctx, t.key.name, t.desired.DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return nil, err
	}
	return e.generateSecret(ctx, c, t, live)
}

func (e *environment) removeOrphan(ctx context.Context, c *cluster, k objectKey, f *driftv1.Finding) error {
	gvr, _, err := c.resource(schema.FromAPIVersionAndKind(f.GetApiVersion(), k.kind))
	if err != nil {
		return clusterError(err, "ask for the kinds that the cluster knows")
	}
	policy := metav1.DeletePropagationBackground
	err = c.dyn.Resource(gvr).Namespace(k.namespace).Delete(ctx, k.name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !apierrors.IsNotFound(err) {
		return clusterError(err, "remove "+k.kind+" "+k.name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.orphans[k] != nil {
		delete(e.orphans, k)
		e.announceResolved(f, resolutionReverted)
	}
	return nil
}
