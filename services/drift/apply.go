package drift

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/fluxcd/pkg/ssa"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// applyParallel is how many objects of one stage are applied at a time.
const applyParallel = 8

// apply writes the objects. The inventory is written before, with everything that may then be there, and after, with what is.
func (r *syncRun) apply(ctx context.Context, confirmed bool) error {
	e, c := r.e, r.c
	if err := e.ensureNamespace(ctx, c, r.want.GetNamespace()); err != nil {
		return err
	}
	if err := e.writeIntent(ctx, c, r.want, r.everything(), r.inv); err != nil {
		return err
	}
	if err := e.takeFromOthers(ctx, c, r.objs); err != nil {
		return err
	}
	if err := r.waves(ctx); err != nil {
		// What was applied counts as it is now, the rest as it was: neither is drift.
		e.mu.Lock()
		mixed := maps.Clone(e.objects)
		e.mu.Unlock()
		for k, t := range r.objs {
			if t.applied != nil {
				mixed[k] = t
			}
		}
		e.replace(c, mixed)
		return r.failed(ctx, err)
	}
	e.resume(c, r.objs)
	e.replace(c, r.objs)
	plan, err := e.planPrune(ctx, c, r.inv, r.objs, r.hooks, r.skipped)
	if err != nil {
		return err
	}
	pruned, left, err := e.runPrune(ctx, c, plan, confirmed)
	r.n.pruned = pruned
	r.noteLeftovers(plan, confirmed)
	if err != nil {
		return err
	}
	if err := r.runHooks(ctx, syncmark.PostSync, nil); err != nil {
		return r.failed(ctx, err)
	}
	c.keepOutsiders(e, r.objs)
	e.mu.Lock()
	e.ran.others, e.ran.partial = append(left, hookItems(r.hooks, r.skipped)...), nil
	e.mu.Unlock()
	if err := e.writeInventory(ctx, c, r.want, r.objs); err != nil {
		return err
	}
	if plan.held != "" && !confirmed {
		return e.heldBack(plan)
	}
	return nil
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

// stages puts objects into the order of package ssa and cuts it: first kinds and namespaces, which others need to be there at all; before
// the kinds that run something, so that their service accounts, configuration and secrets are there.
func stages(objs map[objectKey]*tracked) [][]*tracked {
	var definitions, first, templated, second []*unstructured.Unstructured
	for _, t := range objs {
		u := t.declared()
		if isTemplated(u) { // made of other Secrets, which must be there
			templated = append(templated, u)
			continue
		}
		switch t.key.kind {
		case "CustomResourceDefinition", "Namespace":
			definitions = append(definitions, u)
		case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod":
			second = append(second, u)
		default:
			first = append(first, u)
		}
	}
	var out [][]*tracked
	for _, us := range [][]*unstructured.Unstructured{definitions, first, templated, second} {
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
	w, err := e.writer(c)
	if err != nil {
		return nil, err
	}
	live, err := w.Resource(t.gvr).Namespace(t.key.namespace).
		Apply(ctx, t.key.name, t.declared().DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return nil, clusterError(withoutSecret(t.declared(), err), "apply "+t.key.kind+" "+t.key.name)
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
	b, err := c.comparer.MakeBaseline(t.declared(), live, e.selfNow(), generateManager)
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

// prune removes objects with their environment. What holds data is kept: it is not lost because a file is missing.
func (e *environment) prune(ctx context.Context, c *cluster, items []inventoryItem, how metav1.DeletionPropagation) error {
	for _, it := range slices.Backward(items) {
		gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
		if meta.IsNoMatchError(err) {
			continue // the kind went away, and its objects with it
		}
		if err != nil {
			return clusterError(err, "ask for the kinds that the cluster knows")
		}
		if _, err := e.removeOurs(ctx, c, gvr, it.key(), how); err != nil {
			return err
		}
	}
	return nil
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
	if !e.made(live) {
		return false, nil
	}
	why, err := e.outlives(ctx, c, live)
	if err != nil {
		return false, err
	}
	if why != "" {
		e.log.Warn("an object is no longer declared and is kept", "kind", k.kind, "name", k.name, "because", why)
		return false, nil
	}
	if err := e.snapshot(ctx, c, live); err != nil {
		return false, err
	}
	uid := live.GetUID()
	w, err := e.writer(c)
	if err != nil {
		return false, err
	}
	err = w.Resource(gvr).Namespace(k.namespace).
		Delete(ctx, k.name, metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return false, clusterError(err, "remove "+k.kind+" "+k.name)
	}
	return true, nil
}
