package drift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

// What can keep an environment busy.
const (
	busySync   = "sync"
	busyRevert = "revert"
	busyRemove = "remove"
)

// applyParallel is how many objects of one stage are applied at a time.
const applyParallel = 8

// counts says what a sync did.
type counts struct{ created, changed, pruned int32 }

// sync brings the cluster to a desired state: reads the tree from the committer, applies it stage by stage, prunes what the
// inventory has and the tree has not, and tells. Where the inventory says that the cluster is at that tree already (after a
// restart) it only looks, so that nothing that somebody changed meanwhile is overwritten before it was seen; force applies all
// the same.
func (e *environment) sync(ctx context.Context, want *eventsv1.DesiredState, force bool) error {
	started := e.svc.cfg.Now()
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return err
	}
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return err
	}
	there := inv.at(want) && !force
	if !there && !want.GetAutomaticSync() && !force {
		return nil // a person decides when; what Git says is shown as pending
	}
	e.begin(busySync)
	defer e.end()
	if there {
		e.adopt(c, objs, inv)
		c.claim(ctx, e, want.GetNamespace(), objs)
		if err := e.sweep(ctx); err != nil {
			return err
		}
		e.finish(want, started, counts{}, inv.generation == want.GetGeneration())
		return e.writeInventory(ctx, c, want, objs)
	}
	n, err := e.apply(ctx, c, want, objs, inv)
	if err != nil {
		return err
	}
	e.finish(want, started, n, false)
	return nil
}

// load reads and checks the manifests of a desired state.
func (e *environment) load(ctx context.Context, c *cluster, want *eventsv1.DesiredState) (map[objectKey]*tracked, error) {
	tree, err := e.svc.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{
		Repository: want.GetRepository(), Commit: want.GetCommit(), Tree: want.GetTree(),
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree from Git: %w", rpc.FromStatus(err))
	}
	objs := map[objectKey]*tracked{}
	for _, f := range tree.GetFiles() {
		us, err := manifest.Parse(f.GetPath(), f.GetContent())
		if err != nil {
			return nil, err
		}
		for _, u := range us {
			t, err := e.track(c, want, u)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.GetPath(), err)
			}
			objs[t.key] = t
		}
	}
	return objs, nil
}

// track finds an object's API and refuses what an environment may not make.
func (e *environment) track(c *cluster, want *eventsv1.DesiredState, u *unstructured.Unstructured) (*tracked, error) {
	gvr, namespaced, err := c.resource(u.GroupVersionKind())
	if meta.IsNoMatchError(err) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
			"%s %s: the cluster does not know this kind; install its custom resource definition", u.GroupVersionKind(), u.GetName())
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	if u.GetNamespace() == "" {
		u.SetNamespace(want.GetNamespace())
	}
	if !namespaced || u.GetNamespace() != want.GetNamespace() {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"%s %s is outside of the environment's namespace %s; an environment may only make objects in its own namespace",
			u.GetKind(), u.GetName(), want.GetNamespace())
	}
	return &tracked{key: keyOf(u), gvr: gvr, desired: u}, nil
}

// apply writes the objects. The inventory is written before, with everything that may then be there, and after, with what is.
func (e *environment) apply(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory) (counts, error) {
	ns := want.GetNamespace()
	if err := e.ensureNamespace(ctx, c, ns); err != nil {
		return counts{}, err
	}
	if err := e.writeIntent(ctx, c, want, objs, inv); err != nil {
		return counts{}, err
	}
	// Events go to the new objects from here on, so that an edit right behind our apply is not missed.
	c.claim(ctx, e, ns, objs)
	n, err := e.applyAll(ctx, c, objs)
	if err == nil {
		n.pruned, err = e.prune(ctx, c, inv.without(objs))
	}
	if err != nil {
		e.mu.Lock()
		before := e.objects
		e.mu.Unlock()
		c.claim(ctx, e, ns, before)
		return n, err
	}
	e.replace(c, objs)
	return n, e.writeInventory(ctx, c, want, objs)
}

// applyAll applies stage by stage: what others need first.
func (e *environment) applyAll(ctx context.Context, c *cluster, objs map[objectKey]*tracked) (counts, error) {
	var n counts
	var mu sync.Mutex
	for _, stage := range stages(objs) {
		var g errgroup.Group
		g.SetLimit(applyParallel)
		for _, t := range stage {
			g.Go(func() error {
				created, changed, err := e.applyOne(ctx, c, t)
				mu.Lock()
				defer mu.Unlock()
				if created {
					n.created++
				} else if changed {
					n.changed++
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// stages puts objects into the order of package ssa and cuts it before the kinds that run something, so that their service
// accounts, configuration and secrets are there.
func stages(objs map[objectKey]*tracked) [][]*tracked {
	var first, second []*unstructured.Unstructured
	for _, t := range objs {
		switch t.key.kind {
		case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod":
			second = append(second, t.desired)
		default:
			first = append(first, t.desired)
		}
	}
	var out [][]*tracked
	for _, us := range [][]*unstructured.Unstructured{first, second} {
		sort.Sort(ssa.SortableUnstructureds(us))
		stage := make([]*tracked, 0, len(us))
		for _, u := range us {
			stage = append(stage, objs[keyOf(u)])
		}
		out = append(out, stage)
	}
	return out
}

// applyOne applies one object by server-side apply and keeps what the server made of it as its baseline. Package ssa's
// manager is not used for this: it does not give the server's answer, which the baseline is made of (docs/adr/0006).
func (e *environment) applyOne(ctx context.Context, c *cluster, t *tracked) (created, changed bool, err error) {
	began := e.svc.cfg.Now().Add(-time.Second).Truncate(time.Second)
	r := c.dyn.Resource(t.gvr).Namespace(t.key.namespace)
	send := t.desired.DeepCopy()
	live, err := r.Apply(ctx, t.key.name, send, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return false, false, clusterError(err, "apply "+t.key.kind+" "+t.key.name)
	}
	if live, err = e.generateSecret(ctx, c, t, live); err != nil {
		return false, false, err
	}
	if t.baseline, err = e.svc.comparer.MakeBaseline(t.desired, live, FieldManager, generateManager); err != nil {
		return false, false, fmt.Errorf("baseline of %s %s: %w", t.key.kind, t.key.name, err)
	}
	if t.prepared, err = e.svc.comparer.Prepare(t.desired, t.baseline); err != nil {
		return false, false, fmt.Errorf("prepare %s %s: %w", t.key.kind, t.key.name, err)
	}
	created = !live.GetCreationTimestamp().Time.Before(began)
	changed = lastApply(live).After(began)
	t.applied = live
	return created, changed, nil
}

// lastApply is when our fields last changed.
func lastApply(u *unstructured.Unstructured) time.Time {
	for _, m := range u.GetManagedFields() {
		if m.Manager == FieldManager && m.Operation == metav1.ManagedFieldsOperationApply && m.Time != nil {
			return m.Time.Time
		}
	}
	return time.Time{}
}

// replace makes newly applied objects the environment's. Findings of the same object go on, so that one which the apply did
// not settle keeps its onset.
func (e *environment) replace(c *cluster, objs map[objectKey]*tracked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cluster = c
	for k, t := range objs {
		if old := e.objects[k]; old != nil {
			t.findings = old.findings
		}
		e.judge(t, t.applied, resolutionDeployed)
		t.applied = nil
	}
	for k, old := range e.objects {
		if objs[k] == nil {
			for _, f := range old.findings {
				e.announceResolved(f, resolutionDeployed)
			}
		}
	}
	for k, f := range e.orphans {
		if objs[k] != nil {
			delete(e.orphans, k)
			e.announceResolved(f, resolutionDeployed)
		}
	}
	e.objects = objs
}

// adopt takes over objects that were applied before this process began, with the baselines of the inventory.
func (e *environment) adopt(c *cluster, objs map[objectKey]*tracked, inv *inventory) {
	for k, t := range objs {
		t.baseline = inv.baselines[k]
		p, err := e.svc.comparer.Prepare(t.desired, t.baseline)
		if err != nil {
			e.log.Error("an object cannot be compared", "kind", k.kind, "name", k.name, "error", err)
			delete(objs, k)
			continue
		}
		t.prepared = p
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cluster, e.objects = c, objs
}

// finish notes the sync and tells it. A restart that found everything in place tells nothing again.
func (e *environment) finish(want *eventsv1.DesiredState, started time.Time, n counts, known bool) {
	now := e.svc.cfg.Now()
	e.mu.Lock()
	e.synced, e.syncTime = want, now
	e.mu.Unlock()
	if !known {
		e.log.Info("synced", "generation", want.GetGeneration(), "commit", want.GetCommit(), "created", n.created,
			"changed", n.changed, "pruned", n.pruned, "ms", now.Sub(started).Milliseconds())
	}
	// It is told also when it was known: the catalog may have missed it when this process ended right after the sync.
	e.announceSynced(want, started, now, n)
}

// prune removes objects that are no longer declared. Claims are kept: data is not lost because a file is missing.
func (e *environment) prune(ctx context.Context, c *cluster, keys []inventoryItem) (int32, error) {
	var pruned int32
	for _, it := range slices.Backward(keys) {
		gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
		if meta.IsNoMatchError(err) {
			continue // the kind went away, and its objects with it
		}
		if err != nil {
			return pruned, clusterError(err, "ask for the kinds that the cluster knows")
		}
		if it.retained() {
			e.log.Warn("an object is no longer declared and is kept, because it holds data", "kind", it.Kind, "name", it.Name)
			continue
		}
		r := c.dyn.Resource(gvr).Namespace(it.Namespace)
		live, err := r.Get(ctx, it.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return pruned, clusterError(err, "read "+it.Kind+" "+it.Name)
		}
		if !appliedByUs(live) {
			continue // somebody removed ours and made another of the same name
		}
		uid, policy := live.GetUID(), metav1.DeletePropagationBackground
		err = r.Delete(ctx, it.Name, metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return pruned, clusterError(err, "remove "+it.Kind+" "+it.Name)
		}
		pruned++
	}
	return pruned, nil
}

// clusterError sorts an API server's refusals (nothing helps but a change) from what may pass (wait and try again).
func clusterError(err error, what string) error {
	var ours *errs.Error
	var st apierrors.APIStatus
	switch {
	case errors.As(err, &ours), errors.Is(err, context.Canceled):
		return err
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsNotFound(err),
		apierrors.IsMethodNotSupported(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsAlreadyExists(err):
		errors.As(err, &st)
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "the cluster refused to %s: %s", what, st.Status().Message).Because(err)
	case apierrors.IsConflict(err):
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_APPLY_REFUSED, "somebody else changed the object while trying to %s; try again", what).Because(err)
	case apierrors.IsUnauthorized(err):
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster does not accept our credentials (to %s); renew the target's kubeconfig", what).Because(err)
	default:
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster cannot be reached (to %s); it is tried again by itself", what).Because(err)
	}
}
