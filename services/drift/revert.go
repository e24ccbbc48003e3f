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
func (e *environment) revert(ctx context.Context, by decider, names []string) ([]*driftv1.Finding, error) {
	e.mu.Lock()
	chosen, err := e.choose(names)
	c, synced := e.cluster, e.synced
	e.mu.Unlock()
	if err != nil || len(chosen) == 0 {
		return nil, err
	}
	if err := e.refuseInFlight(); err != nil {
		return nil, err
	}
	e.begin(busyRevert)
	defer e.end()
	e.mu.Lock()
	e.decided = by
	e.mu.Unlock()
	var done []*driftv1.Finding
	remade := false
	for k, fs := range chosen {
		if fs[0].GetKind() == driftv1.Finding_KIND_MISSING {
			// The whole namespace may be gone.
			if err := e.ensureNamespace(ctx, c, k.namespace); err != nil {
				return done, err
			}
			remade = true
		}
		gone, err := e.revertObject(ctx, c, k, fs)
		done = append(done, gone...)
		if err != nil {
			return done, err
		}
	}
	slices.SortFunc(done, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	if remade && synced != nil {
		// Objects that were made anew have new values from the server, which the next start must know.
		e.mu.Lock()
		objs := maps.Clone(e.objects)
		e.mu.Unlock()
		return done, e.writeInventory(ctx, c, synced, objs)
	}
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
	for k, o := range e.orphans {
		if o.finding.GetKind() != driftv1.Finding_KIND_UNMANAGED {
			add(k, o.finding)
		} else if left[o.finding.GetName()] {
			return nil, notOurs(o.finding)
		}
	}
	for k, o := range e.quiet.byObject { // only those that somebody names: a person may think again
		for _, f := range o.findings {
			if len(names) > 0 {
				add(k, f)
			}
		}
	}
	if len(left) > 0 {
		gone := slices.Sorted(maps.Keys(left))
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_FINDING_GONE,
			"%s is not there (any more); list the findings again", gone[0]).With("resource", gone[0])
	}
	return out, nil
}

// notOurs refuses to remove what Towpath did not make.
func notOurs(f *driftv1.Finding) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
		"%s %s is not Towpath's: it was made by %q; remove it there, or ignore the finding", f.GetObjectKind(), f.GetObjectName(), f.GetManager()).With("resource", f.GetName())
}

// revertObject puts one object right: what was added is removed by a patch that only works on the version that was looked at,
// what was changed or taken away comes back by an apply. It gives the findings that are gone; one that is still there afterwards
// is an error.
func (e *environment) revertObject(ctx context.Context, c *cluster, k objectKey, fs []*driftv1.Finding) ([]*driftv1.Finding, error) {
	e.mu.Lock()
	t := e.objects[k]
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
			return nil, clusterError(err, "read "+k.kind+" "+k.name)
		}
		if err != nil {
			live = nil
		}
		live, err = e.putRight(ctx, c, t, live, fields)
		if err == nil {
			return e.reverted(t, live, fs)
		}
		moved := apierrors.IsConflict(err) || apierrors.IsInvalid(err) || errs.Is(err, errs.Conflict)
		if !moved || try == revertTries {
			return nil, clusterError(err, "revert "+k.kind+" "+k.name)
		}
	}
}

// reverted looks at an object after we put it right.
func (e *environment) reverted(t *tracked, live *unstructured.Unstructured, fs []*driftv1.Finding) ([]*driftv1.Finding, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.judge(t, live, versionOf(live), resolutionReverted)
	var gone []*driftv1.Finding
	for _, f := range fs {
		if left := t.findings[f.GetName()]; left != nil {
			return gone, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
				"%s %s: %s is still not as declared after it was put back; look for an admission webhook or controller that sets it (the last writer is %q)",
				t.key.kind, t.key.name, left.GetField(), left.GetManager()).With("resource", f.GetName())
		}
		f = proto.CloneOf(f)
		f.Resolution = e.endedBy(f, resolutionReverted)
		gone = append(gone, f)
	}
	return gone, nil
}

// putRight makes one attempt on one version of the object and gives the object as it is then. An error is the API server's own.
func (e *environment) putRight(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured, fields map[string]bool) (*unstructured.Unstructured, error) {
	w, err := e.writer(c)
	if err != nil {
		return nil, err
	}
	r := w.Resource(t.gvr).Namespace(t.key.namespace)
	remade, declared := live == nil, t.declared()
	if live != nil {
		found := e.compare(t, live).Findings
		wanted := slices.DeleteFunc(slices.Clone(found), func(f compare.Finding) bool { return !fields[f.Path] })
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
		if declared, err = onlyChosen(declared, found, fields); err != nil {
			return nil, err
		}
	}
	if e.engineInUse() {
		return e.putRightByEngine(ctx, c, t, fields, remade)
	}
	live, err = r.Apply(ctx, t.key.name, declared.DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return nil, withoutSecret(t.declared(), err)
	}
	if live, err = e.generateSecret(ctx, c, t, live); err != nil || !remade {
		return live, err
	}
	return live, e.learn(c, t, live)
}

// removeOrphan deletes an object that is no longer declared.
func (e *environment) removeOrphan(ctx context.Context, c *cluster, k objectKey, f *driftv1.Finding) ([]*driftv1.Finding, error) {
	gvr, _, err := c.resource(schema.FromAPIVersionAndKind(f.GetApiVersion(), k.kind))
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	if _, err := e.removeOurs(ctx, c, gvr, k, metav1.DeletePropagationBackground); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.untrackedGone(k, resolutionReverted)
	f = proto.CloneOf(f)
	f.Resolution = e.endedBy(f, resolutionReverted)
	return []*driftv1.Finding{f}, nil
}
