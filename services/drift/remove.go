package drift

import (
	"context"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

var claims = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}

// removePoll is how often removal looks whether finalizers are through.
const removePoll = 200 * time.Millisecond

// remove takes an environment out of its cluster: the objects of the inventory, then the namespace if Towpath made it and no
// claim in it holds data, and waits until they are gone. It may be begun again at any point.
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
	if _, err := e.prune(ctx, c, inv.items); err != nil {
		return err
	}
	if err := e.awaitGone(ctx, c, inv.items); err != nil {
		return err
	}
	if err := e.removeNamespace(ctx, c, ns); err != nil {
		return err
	}
	e.removed(c, want)
	return nil
}

// removed forgets everything and tells that nothing is left.
func (e *environment) removed(c *cluster, want *eventsv1.DesiredState) {
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
	e.contests, e.explain = map[string]*contest{}, schedule{}
	e.announceRemoved(want)
}

// awaitGone waits for finalizers.
func (e *environment) awaitGone(ctx context.Context, c *cluster, items []inventoryItem) error {
	tick := time.NewTicker(removePoll)
	defer tick.Stop()
	for left := slices.Clone(items); ; {
		var err error
		left = slices.DeleteFunc(left, func(it inventoryItem) bool {
			return holdsData(it.key()) || err == nil && e.isGone(ctx, c, it, &err)
		})
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (e *environment) isGone(ctx context.Context, c *cluster, it inventoryItem, problem *error) bool {
	gvr, _, err := c.resource(schema.GroupVersionKind{Group: it.Group, Version: it.Version, Kind: it.Kind})
	if err != nil {
		return true // the kind is gone; prune has told any other problem
	}
	live, err := c.dyn.Resource(gvr).Namespace(it.Namespace).Get(ctx, it.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true
	case err != nil:
		*problem = clusterError(err, "read "+it.Kind+" "+it.Name)
		return false
	}
	return !appliedByUs(live) && live.GetDeletionTimestamp() == nil
}

// removeNamespace removes the namespace that Towpath made for the environment. One that holds claims stays, with them and
// without the inventory.
func (e *environment) removeNamespace(ctx context.Context, c *cluster, name string) error {
	ns, err := c.dyn.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return clusterError(err, "read namespace "+name)
	}
	kept, err := c.dyn.Resource(claims).Namespace(name).List(ctx, metav1.ListOptions{})
	if err != nil {
		return clusterError(err, "list the claims of namespace "+name)
	}
	if ns.GetLabels()[environmentLabel] != labelValue(e.name) || len(kept.Items) > 0 {
		e.log.Warn("the namespace stays: it is not ours or holds data", "namespace", name, "claims", len(kept.Items))
		err := c.dyn.Resource(configMaps).Namespace(name).Delete(ctx, inventoryName, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return clusterError(err, "remove the inventory")
		}
		return nil
	}
	if err := c.dyn.Resource(namespaces).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return clusterError(err, "remove namespace "+name)
	}
	return e.awaitNamespace(ctx, c, name)
}

func (e *environment) awaitNamespace(ctx context.Context, c *cluster, name string) error {
	tick := time.NewTicker(removePoll)
	defer tick.Stop()
	for {
		_, err := c.dyn.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return clusterError(err, "read namespace "+name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// notHere is the answer about an environment that drift does not know.
func notHere(name string) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
		"%s has nothing in a cluster yet; deploy to it first", strings.TrimSuffix(name, "/status")).With("resource", name)
}
