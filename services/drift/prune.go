package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// leftover is an object of the inventory that is no longer declared.
type leftover struct {
	item inventoryItem
	gvr  schema.GroupVersionResource
	live *unstructured.Unstructured
	// keep says why it stays; empty for what is to be removed.
	keep string
	// hook says that it is what an earlier sync ran.
	hook bool
}

// prunePlan is what a sync does with what is no longer declared.
type prunePlan struct {
	all []leftover
	// held says why the removal waits for a person; empty when it does not.
	held string
}

// removals are the objects that go when nothing holds them back. Hooks of earlier syncs are not counted: they were never a part of
// what the environment is.
func (p prunePlan) removals() (out []leftover) {
	for _, l := range p.all {
		if l.keep == "" && !l.hook {
			out = append(out, l)
		}
	}
	return out
}

// planPrune looks at what the inventory has and the declaration has not. It changes nothing.
func (e *environment) planPrune(ctx context.Context, c *cluster, inv *inventory, declared ...map[objectKey]*tracked) (prunePlan, error) {
	var plan prunePlan
	total := 0
	for _, it := range inv.items {
		if slices.ContainsFunc(declared, func(m map[objectKey]*tracked) bool { return m[it.key()] != nil }) {
			if !it.Hook {
				total++
			}
			continue
		}
		l, err := e.leftoverOf(ctx, c, it)
		if err != nil {
			return plan, err
		}
		if l == nil {
			continue
		}
		plan.all = append(plan.all, *l)
		if !l.hook {
			total++
		}
	}
	e.mu.Lock()
	p := e.policy()
	e.mu.Unlock()
	if p.sync.GetPruneDisabled() {
		for i := range plan.all {
			if l := &plan.all[i]; l.keep == "" && !l.hook {
				l.keep = "sync_policy.prune_disabled"
			}
		}
	}
	plan.held = holdPrune(p, len(plan.removals()), total)
	return plan, nil
}

// holdPrune says why the removal of so many of so many objects waits for a person, "" when it does not.
func holdPrune(p policy, remove, of int) string {
	switch {
	case remove == 0:
		return ""
	case p.pruneHeld:
		return "the environment was adopted, and nothing is removed from it before a person has confirmed that"
	case syncpolicy.PruneTooMuch(p.sync, remove, of):
		share := p.sync.GetMaxPrunePercent()
		if share == 0 {
			share = syncpolicy.DefaultMaxPrune
		}
		return fmt.Sprintf("%d of %d objects would be removed, more than the %d percent of sync_policy.max_prune_percent", remove, of, share)
	}
	return ""
}

// leftoverOf looks at one object; nil for one that is gone or is not ours any more.
func (e *environment) leftoverOf(ctx context.Context, c *cluster, it inventoryItem) (*leftover, error) {
	gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
	if meta.IsNoMatchError(err) {
		return nil, nil // the kind went away, and its objects with it
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	live, err := e.readItem(ctx, c, it)
	if err != nil || live == nil || live.GetDeletionTimestamp() != nil || !appliedByUs(live) {
		return nil, err
	}
	l := &leftover{item: it, gvr: gvr, live: live, hook: it.Hook || isHookRun(live)}
	if l.keep = syncmark.Protected(live.GetAnnotations()); l.keep == "" {
		l.keep, err = e.outlives(ctx, c, live)
	}
	return l, err
}

// runPrune does what a plan says, and gives what it removed. What is held back is kept in mind and told.
func (e *environment) runPrune(ctx context.Context, c *cluster, plan prunePlan, confirmed bool) (int32, []inventoryItem, error) {
	var pruned int32
	var left []inventoryItem
	for _, l := range slices.Backward(plan.all) {
		switch {
		case l.keep != "":
			e.log.Warn("an object is no longer declared and is kept", "kind", l.item.Kind, "name", l.item.Name, "because", l.keep)
			e.sightLeftover(l)
			if l.item.Kept = isGenerated(l.live); l.item.Kept || strings.HasPrefix(l.keep, "sync_policy.") {
				left = append(left, l.item)
			}
			continue
		case plan.held != "" && !confirmed && !l.hook:
			l.item.Held = true
			left = append(left, l.item)
			continue
		}
		removed, err := e.removeOurs(ctx, c, l.gvr, l.item.key(), metav1.DeletePropagationBackground)
		if err != nil {
			return pruned, left, err
		}
		if removed {
			pruned++
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ran.held = nil
	for _, it := range left {
		if it.Held {
			e.ran.held = append(e.ran.held, it)
			e.untrackedGone(it.key(), resolutionDeployed)
		}
	}
	return pruned, left, nil
}

// sightLeftover has an object that stays looked at once more: what the policy keeps is told as orphaned.
func (e *environment) sightLeftover(l leftover) {
	e.sight(l.item.key(), sighting{gvr: l.gvr, object: l.live, uid: l.live.GetUID(), version: versionOf(l.live)})
}

// heldBack is the error of a sync that did everything but remove what the plan holds back.
func (e *environment) heldBack(plan prunePlan) error {
	app, env := splitName(e.name)
	var names []string
	for _, l := range plan.removals() {
		names = append(names, l.item.Kind+" "+l.item.Name)
	}
	slices.Sort(names)
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_PRUNE_HELD,
		"everything else is applied; not removed: %s, because %s; confirm it with tow sync -e %s/%s --confirm-prune, or declare them again",
		summarise(names), plan.held, app, env)
}

// splitName gives the ids of application and environment.
func splitName(name string) (app, env string) {
	parts := strings.Split(name, "/")
	return parts[1], parts[3]
}

func (i inventoryItem) ref() *driftv1.ObjectRef {
	return refOf(i.key(), schema.GroupVersionResource{Version: i.Version})
}

// heldRefs needs the mutex.
func (e *environment) heldRefs() (out []*driftv1.ObjectRef) {
	for _, it := range e.ran.held {
		out = append(out, it.ref())
	}
	return out
}

// isHeld reports whether an object that is no longer declared stays for a reason: a person has to confirm its removal, or data cannot be
// read without it. It needs the mutex.
func (e *environment) isHeld(k objectKey) bool {
	is := func(it inventoryItem) bool { return (it.Held || it.Kept) && it.key() == k }
	return slices.ContainsFunc(e.ran.held, is) || slices.ContainsFunc(e.ran.others, is)
}

// noteLeftovers tells in the answer what became of what is no longer declared.
func (r *syncRun) noteLeftovers(plan prunePlan, confirmed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, plan.changes(confirmed)...)
}

// changes says what the plan does with each object.
func (p prunePlan) changes(confirmed bool) (out []*driftv1.SyncChange) {
	for _, l := range p.all {
		x := &driftv1.SyncChange{Object: l.item.ref(), Action: driftv1.SyncChange_ACTION_PRUNE}
		switch {
		case l.keep != "":
			x.Action, x.Message = driftv1.SyncChange_ACTION_KEEP, "kept: "+l.keep
		case p.held != "" && !confirmed && !l.hook:
			x.Action, x.Message = driftv1.SyncChange_ACTION_KEEP, "held back until confirmed: "+p.held
		}
		out = append(out, x)
	}
	return out
}

// hookItems are the hooks and what is left out, as the inventory remembers them: the removal of the environment takes them along.
func hookItems(groups ...map[objectKey]*tracked) (out []inventoryItem) {
	for _, g := range groups {
		for _, t := range g {
			it := itemOf(t)
			it.Hook = true
			out = append(out, it)
		}
	}
	return out
}

// pruneHeld looks again at what an earlier sync held back, and removes it when nothing holds it back any more: the policy says otherwise
// by now. held is the error of what still waits for a person.
func (e *environment) pruneHeld(
	ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, declared ...map[objectKey]*tracked,
) (held, err error) {
	if !slices.ContainsFunc(inv.items, func(it inventoryItem) bool { return it.Held }) {
		return nil, nil
	}
	plan, err := e.planPrune(ctx, c, inv, declared...)
	if err != nil {
		return nil, err
	}
	_, left, err := e.runPrune(ctx, c, plan, false)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.ran.others = append(left, hookItems(declared[1:]...)...)
	e.mu.Unlock()
	if plan.held != "" {
		return e.heldBack(plan), nil
	}
	return nil, e.writeInventory(ctx, c, want, declared[0])
}
