package drift

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// remove takes an environment out of its cluster: the objects of the inventory, then the namespace if Towpath made it and
// nothing in it is kept, and waits until they are gone. It may be begun again at any point.
func (e *environment) remove(ctx context.Context, want *eventsv1.DesiredState) error {
	if want.GetTarget().GetName() == "" || want.GetNamespace() == "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.gone = true
		e.announceRemoved(want) // it never was anywhere
		return nil
	}
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return err
	}
	ns := want.GetNamespace()
	inv, err := e.readInventory(ctx, c, ns)
	if errs.ReasonOf(err) == errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED {
		// The namespace has been another environment's since: nothing of this one is left.
		e.removed(c, want)
		return nil
	}
	if err != nil {
		return err
	}
	e.begin(busyRemove)
	defer e.end()
	if byEngine(want.GetTarget()) {
		if err := e.removeByEngine(ctx, c, want, inv); err != nil {
			return err
		}
	}
	// In the foreground: an object is gone when what it made, such as pods, is gone too.
	if err := e.prune(ctx, c, inv.items, metav1.DeletePropagationForeground); err != nil {
		return err
	}
	w := e.waitFor(want)
	if err := e.awaitGone(ctx, c, inv.items, w); err != nil {
		return err
	}
	kept, err := e.removeNamespace(ctx, c, ns, inv.items, w)
	if err != nil {
		return err
	}
	e.removed(c, want, kept...)
	return nil
}

// removed forgets everything and tells that nothing is left but what was kept on purpose.
func (e *environment) removed(c *cluster, want *eventsv1.DesiredState, kept ...string) {
	c.release(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.objects {
		for _, f := range t.findings {
			e.announceResolved(f, resolutionDeployed)
		}
	}
	for k := range e.orphans {
		e.untrackedGone(k, resolutionDeployed)
	}
	e.objects, e.synced, e.gone, e.told = map[objectKey]*tracked{}, nil, true, nil
	e.contests, e.explain, e.ran = map[string]*contest{}, schedule{}, lastRun{}
	e.announceRemoved(want, kept...)
}

// awaitGone waits for finalizers, and tells which ones.
func (e *environment) awaitGone(ctx context.Context, c *cluster, items []inventoryItem, w *holdup) error {
	for left := slices.Clone(items); ; {
		var err error
		var there []string
		left = slices.DeleteFunc(left, func(it inventoryItem) bool {
			if err != nil {
				return false
			}
			var live *unstructured.Unstructured
			if live, err = e.lingering(ctx, c, it); live != nil {
				there = append(there, whyThere(live))
			}
			return err == nil && live == nil
		})
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if err := w.wait(ctx, there); err != nil {
			return err
		}
	}
}

// lingering reads an object that is to go; nil when it is gone, or stays by right: kept on purpose, or somebody else's.
func (e *environment) lingering(ctx context.Context, c *cluster, it inventoryItem) (*unstructured.Unstructured, error) {
	live, err := e.readItem(ctx, c, it)
	if err != nil || live == nil || !e.made(live) && live.GetDeletionTimestamp() == nil {
		return nil, err
	}
	if why, err := e.outlives(ctx, c, live); err != nil || why != "" {
		return nil, err
	}
	return live, nil
}

// readItem reads an object of the inventory, nil when there is none.
func (e *environment) readItem(ctx context.Context, c *cluster, it inventoryItem) (*unstructured.Unstructured, error) {
	gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
	if err != nil {
		return nil, nil //nolint:nilerr // the kind is gone; prune has told any other problem
	}
	live, err := c.dyn.Resource(gvr).Namespace(it.Namespace).Get(ctx, it.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read "+it.Kind+" "+it.Name)
	}
	return live, nil
}

// removeNamespace removes the namespace that Towpath made for the environment, and gives what is kept. A namespace that holds
// something that is kept stays, with it and without the inventory.
func (e *environment) removeNamespace(ctx context.Context, c *cluster, name string, items []inventoryItem, w *holdup) (kept []string, err error) {
	ns, err := c.dyn.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read namespace "+name)
	}
	ours := ns.GetLabels()[environmentLabel] == labelValue(e.name)
	if kept, err = e.awaitClaims(ctx, c, name, ours, items, w); err != nil {
		return nil, err
	}
	if !ours || len(kept) > 0 {
		e.log.Warn("the namespace stays: it is not ours or holds data", "namespace", name, "kept", kept)
		err := c.dyn.Resource(configMaps).Namespace(name).Delete(ctx, inventoryName, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, clusterError(err, "remove the inventory")
		}
		return kept, nil
	}
	if err := c.dyn.Resource(namespaces).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, clusterError(err, "remove namespace "+name)
	}
	return nil, e.awaitNamespace(ctx, c, name, w)
}

func (e *environment) awaitNamespace(ctx context.Context, c *cluster, name string, w *holdup) error {
	for {
		ns, err := c.dyn.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return clusterError(err, "read namespace "+name)
		}
		if err := w.wait(ctx, whyNamespace(ns)); err != nil {
			return err
		}
	}
}

// notHere is the answer about an environment that drift does not know.
func notHere(name string) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
		"%s has nothing in a cluster yet; deploy to it first", strings.TrimSuffix(name, "/status")).With("resource", name)
}
