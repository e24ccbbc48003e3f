package drift

import (
	"context"
	"fmt"
	"maps"
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

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// applyParallel is how many objects of one stage are applied at a time.
const applyParallel = 8

// apply writes the objects. The inventory is written before, with everything that may then be there, and after, with what is.
func (e *environment) apply(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory) (counts, error) {
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return counts{}, err
	}
	if err := e.writeIntent(ctx, c, want, objs, inv); err != nil {
		return counts{}, err
	}
	n, err := e.applyAll(ctx, c, objs, inv)
	if err != nil {
		// What was applied counts as it is now, the rest as it was: neither is drift.
		e.mu.Lock()
		mixed := maps.Clone(e.objects)
		e.mu.Unlock()
		for k, t := range objs {
			if t.applied != nil {
				mixed[k] = t
			}
		}
		e.replace(c, mixed)
		return n, err
	}
	e.replace(c, objs)
	if n.pruned, err = e.prune(ctx, c, inv.without(objs), metav1.DeletePropagationBackground); err != nil {
		return n, err
	}
	return n, e.writeInventory(ctx, c, want, objs)
}

// applyAll applies stage by stage: what others need first. It goes on after a refusal within a stage, so that one pass tells as
// much as it can.
func (e *environment) applyAll(ctx context.Context, c *cluster, objs map[objectKey]*tracked, inv *inventory) (counts, error) {
	var n counts
	var mu sync.Mutex
	known := map[objectKey]bool{}
	for _, it := range inv.items {
		known[it.key()] = true
	}
	for _, stage := range stages(objs) {
		var g errgroup.Group
		g.SetLimit(applyParallel)
		for _, t := range stage {
			g.Go(func() error {
				began := e.svc.cfg.Now().Add(-time.Second).Truncate(time.Second)
				live, err := e.applyOne(ctx, c, t)
				if err != nil {
					return err
				}
				t.applied = live
				mu.Lock()
				defer mu.Unlock()
				switch {
				case !known[t.key] && lastApply(live).Sub(live.GetCreationTimestamp().Time) <= time.Second:
					n.created++
				case e.moved(t.key, live, began):
					n.changed++
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// moved reports whether an apply changed an object. Without an earlier look at it the server's clock has to tell.
func (e *environment) moved(k objectKey, live *unstructured.Unstructured, began time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.objects[k]; old != nil && old.specHash != 0 {
		return old.specHash != compare.SpecHash(live)
	}
	return lastApply(live).After(began)
}

// stages puts objects into the order of package ssa and cuts it before the kinds that run something, so that their service
// accounts, configuration and secrets are there.
func stages(objs map[objectKey]*tracked) [][]*tracked {
	var first, templated, second []*unstructured.Unstructured
	for _, t := range objs {
		if isTemplated(t.declared()) { // made of other Secrets, which must be there
			templated = append(templated, t.declared())
			continue
		}
		switch t.key.kind {
		case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod":
			second = append(second, t.declared())
		default:
			first = append(first, t.declared())
		}
	}
	var out [][]*tracked
	for _, us := range [][]*unstructured.Unstructured{first, templated, second} {
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
func (e *environment) applyOne(ctx context.Context, c *cluster, t *tracked) (*unstructured.Unstructured, error) {
	r := c.dyn.Resource(t.gvr).Namespace(t.key.namespace)
	live, err := r.Apply(ctx, t.key.name, t.declared().DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return nil, clusterError(err, "apply "+t.key.kind+" "+t.key.name)
	}
	if live, err = e.generateSecret(ctx, c, t, live); err != nil {
		return nil, err
	}
	if err := e.learn(c, t, live); err != nil {
		return nil, err
	}
	return live, nil
}

// learn takes what the server made of the object as its baseline.
func (e *environment) learn(c *cluster, t *tracked, live *unstructured.Unstructured) error {
	b, err := c.comparer.MakeBaseline(t.declared(), live, FieldManager, generateManager)
	if err != nil {
		return fmt.Errorf("baseline of %s %s: %w", t.key.kind, t.key.name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.svc.ready.forget(t)
	if err := t.learn(b); err != nil {
		return fmt.Errorf("baseline of %s %s: %w", t.key.kind, t.key.name, err)
	}
	return nil
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

// replace makes objs the environment's objects. Findings of the same object go on, so that one which the apply did not settle
// keeps its onset.
func (e *environment) replace(c *cluster, objs map[objectKey]*tracked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cluster = c
	before := e.objects
	e.objects = objs
	for k, t := range objs {
		if old := before[k]; old != nil && old != t {
			t.findings, t.flaps, t.why = old.findings, old.flaps, old.why
			t.exists, t.uid, t.health, t.message = old.exists, old.uid, old.health, old.message
		}
		if t.applied != nil {
			e.judge(t, t.applied, versionOf(t.applied), resolutionDeployed)
			t.applied = nil
		}
		e.untrackedGone(k, resolutionDeployed)
	}
	for k, old := range before {
		if objs[k] == nil {
			for _, f := range old.findings {
				e.announceResolved(f, resolutionDeployed)
			}
		}
	}
}

// prune removes objects that are no longer declared. Claims are kept: data is not lost because a file is missing.
func (e *environment) prune(ctx context.Context, c *cluster, items []inventoryItem, how metav1.DeletionPropagation) (int32, error) {
	var pruned int32
	for _, it := range slices.Backward(items) {
		gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
		if meta.IsNoMatchError(err) {
			continue // the kind went away, and its objects with it
		}
		if err != nil {
			return pruned, clusterError(err, "ask for the kinds that the cluster knows")
		}
		removed, err := e.removeOurs(ctx, c, gvr, it.key(), how)
		if err != nil {
			return pruned, err
		}
		if removed {
			pruned++
		}
	}
	return pruned, nil
}

// removeOurs deletes an object if it is still the one that we applied: somebody may have removed ours and made another of the
// same name.
func (e *environment) removeOurs(
	ctx context.Context, c *cluster, gvr schema.GroupVersionResource, k objectKey, policy metav1.DeletionPropagation,
) (bool, error) {
	r := c.dyn.Resource(gvr).Namespace(k.namespace)
	live, err := r.Get(ctx, k.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, clusterError(err, "read "+k.kind+" "+k.name)
	}
	if !appliedByUs(live) {
		return false, nil
	}
	if keeps(live) {
		e.log.Warn("an object is no longer declared and is kept, because it holds data", "kind", k.kind, "name", k.name)
		return false, nil
	}
	uid := live.GetUID()
	err = r.Delete(ctx, k.name, metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return false, clusterError(err, "remove "+k.kind+" "+k.name)
	}
	return true, nil
}
