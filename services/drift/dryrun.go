package drift

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// dryRun says what a sync would do with each object, by dry runs at the API server with the rights of the sync itself. It writes nothing.
func (e *environment) dryRun(ctx context.Context, want *eventsv1.DesiredState, req *driftv1.SyncEnvironmentRequest) ([]*driftv1.SyncChange, error) {
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return nil, err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return nil, err
	}
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return nil, err
	}
	hooks, skipped := takeHooks(objs)
	part := objs
	partial := len(req.GetObjects())+len(req.GetWorkloads()) > 0
	if partial {
		if part, err = e.chosen(objs, req.GetObjects(), req.GetWorkloads(), want.GetNamespace()); err != nil {
			return nil, err
		}
	}
	var out []*driftv1.SyncChange
	for _, t := range part {
		change, err := e.tryObject(ctx, c, t)
		if err != nil {
			return nil, err
		}
		if change != nil {
			out = append(out, change)
		}
	}
	if partial {
		return out, nil
	}
	for _, h := range hooks {
		out = append(out, &driftv1.SyncChange{
			Object: refOf(h.key, h.gvr), Action: driftv1.SyncChange_ACTION_HOOK, Message: fmt.Sprint(marksOf(h.declared()).Phases),
		})
	}
	plan, err := e.planPrune(ctx, c, inv, objs, hooks, skipped)
	if err != nil {
		return nil, err
	}
	return append(out, plan.changes(req.GetConfirmPrune())...), nil
}

// tryObject says what an apply would do with one object; nil for nothing.
func (e *environment) tryObject(ctx context.Context, c *cluster, t *tracked) (*driftv1.SyncChange, error) {
	w, err := e.writer(c)
	if err != nil {
		return nil, err
	}
	change := &driftv1.SyncChange{Object: refOf(t.key, t.gvr), Action: driftv1.SyncChange_ACTION_CREATE}
	live, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).Get(ctx, t.key.name, metav1.GetOptions{})
	there := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, clusterError(err, "read "+t.key.kind+" "+t.key.name)
	}
	made, err := w.Resource(t.gvr).Namespace(t.key.namespace).
		Apply(ctx, t.key.name, t.declared().DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	switch {
	case apierrors.IsNotFound(err) && !there:
		change.Message = "its namespace or kind is made first, so that the cluster cannot check it before"
		return change, nil
	case err != nil:
		err = clusterError(withoutSecret(t.declared(), err), "apply "+t.key.kind+" "+t.key.name)
		if passes(err) {
			return nil, err
		}
		change.Action, change.Message = driftv1.SyncChange_ACTION_REFUSE, errs.Message(err)
		return change, nil
	case !there:
		return change, nil
	}
	change.Action = driftv1.SyncChange_ACTION_CHANGE
	if change.Fields, err = e.fieldsChanged(c, t, live, made); err != nil {
		return nil, err
	}
	if len(change.Fields) == 0 {
		return nil, nil
	}
	return change, nil
}

// fieldsChanged names the fields of a live object that an apply would change, as findings name them.
func (e *environment) fieldsChanged(c *cluster, t *tracked, live, made *unstructured.Unstructured) ([]string, error) {
	if compare.SpecHash(live) == compare.SpecHash(made) {
		return nil, nil
	}
	b, err := c.comparer.MakeBaseline(t.declared(), made, FieldManager, generateManager)
	if err != nil {
		return nil, fmt.Errorf("baseline of %s %s: %w", t.key.kind, t.key.name, err)
	}
	p, err := c.comparer.Prepare(t.declared(), b)
	if err != nil {
		return nil, unusable(t, err)
	}
	r := c.comparer.Compare(compare.Input{Prepared: p, Live: live, Self: FieldManager, OurManagers: []string{generateManager}})
	var out []string
	for _, f := range compare.NeedsApply(withoutGenerated(t.declared(), r).Findings) {
		out = append(out, f.Path)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
