package drift

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

// What can keep an environment busy.
const (
	busySync   = "sync"
	busyRevert = "revert"
	busyRemove = "remove"
)

// counts says what a sync did.
type counts struct{ created, changed, pruned int32 }

// sync brings the cluster to a desired state: reads the tree from the committer, applies it stage by stage, prunes what the
// inventory has and the tree has not, and tells. Where the inventory says that the cluster is at that tree already (after a
// restart, or a deployment that changed nothing) it only looks, so that nothing that somebody changed meanwhile is overwritten
// before it was seen; force applies all the same.
func (e *environment) sync(ctx context.Context, want *eventsv1.DesiredState, force bool) error {
	started := e.svc.cfg.Now()
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return err
	}
	e.recall(ctx)
	switch {
	case force, !inv.at(want) && e.automatic():
		return e.deploy(ctx, c, want, inv, started)
	case inv.at(want):
		return e.adopt(ctx, c, want, inv, started)
	case e.synced == nil && inv.tree != "":
		return e.adoptOlder(ctx, c, want, inv, started)
	default:
		return nil // a person decides when; what Git says is shown as pending
	}
}

// deploy applies a desired state.
func (e *environment) deploy(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time) error {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	e.begin(busySync)
	defer e.end()
	n, err := e.apply(ctx, c, want, objs, inv)
	if err != nil {
		return err
	}
	e.watchClaims(c, want, objs)
	e.finish(want, started, n)
	return nil
}

// adopt takes over objects that were applied before, with the baselines of the inventory, and looks at them.
func (e *environment) adopt(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time) error {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	for k, t := range objs {
		t.base = inv.baselines[k]
		e.wantBaseline(t)
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	e.begin(busySync)
	defer e.end()
	e.replace(c, objs)
	if err := e.sweep(ctx); err != nil {
		return err
	}
	if inv.generation != want.GetGeneration() {
		if err := e.writeInventory(ctx, c, want, objs); err != nil {
			return err
		}
	}
	e.watchClaims(c, want, objs)
	e.finish(want, started, counts{})
	return nil
}

// adoptOlder adopts what the inventory says was applied last, where a newer state waits for a person to sync it: drift is
// told against what was applied. Git may no longer have that tree; then nothing can be told until the sync.
func (e *environment) adoptOlder(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time) error {
	older := inv.older(want)
	err := e.adopt(ctx, c, older, inv, started)
	if err != nil && !passes(err) {
		e.log.Warn("what was applied last cannot be read from Git; drift is not told until the next sync", "tree", inv.tree, "error", err)
		return nil
	}
	return err
}

// own makes the environment the owner of its namespace and has the kinds of its objects watched, from before anything is
// applied, so that an edit right behind our apply is not missed.
func (e *environment) own(ctx context.Context, c *cluster, namespace string, objs map[objectKey]*tracked) error {
	e.mu.Lock()
	old := e.cluster
	e.mu.Unlock()
	if old != nil && old != c {
		old.release(e)
	}
	down, err := c.claim(e, namespace)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.down = down
	e.mu.Unlock()
	c.watchEvidence()
	for _, t := range objs {
		c.watchKind(t.gvr)
	}
	c.awaitEvidence(ctx) // or what an autoscaler did is taken for an edit
	return nil
}

// load reads and checks the manifests of a desired state.
func (e *environment) load(ctx context.Context, c *cluster, want *eventsv1.DesiredState) (map[objectKey]*tracked, error) {
	files, err := e.manifests(ctx, want)
	if err != nil {
		return nil, err
	}
	objs := map[objectKey]*tracked{}
	for _, f := range files {
		us, err := manifest.Parse(f.name, f.content)
		if err != nil {
			return nil, err
		}
		for _, u := range us {
			t, err := e.track(c, want, u)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			if objs[t.key] != nil && want.GetClaimsOnly() {
				continue // what stands beside claims may be of another split, and is not applied with them
			}
			if objs[t.key] != nil {
				return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
					"%s: %s %s is declared twice; remove one of the two", f.name, u.GetKind(), u.GetName())
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
	if u.GetNamespace() == "" && namespaced {
		u.SetNamespace(want.GetNamespace())
	}
	if !namespaced || u.GetNamespace() != want.GetNamespace() {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"%s %s is outside of the environment's namespace %s; an environment may only make objects in its own namespace",
			u.GetKind(), u.GetName(), want.GetNamespace())
	}
	t := &tracked{key: e.svc.names.key(keyOf(u)), gvr: e.svc.names.resource(gvr)}
	t.declare(u)
	if t.key == (objectKey{kind: "ConfigMap", namespace: want.GetNamespace(), name: inventoryName}) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"ConfigMap %s is Towpath's own record of the environment; give yours another name", inventoryName)
	}
	// Checked here and not by the API server, whose message about a Secret's data would show it.
	if _, err = c.comparer.Prepare(u, compare.Baseline{}); err != nil {
		return nil, unusable(t, err)
	}
	return t, nil
}

func unusable(t *tracked, err error) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "%s %s: %s", t.key.kind, t.key.name, errs.Message(err)).Because(err)
}

// finish notes the sync and tells it. It is told also after a restart that found everything in place: the catalog may have
// missed it when this process ended right after the sync.
func (e *environment) finish(want *eventsv1.DesiredState, started time.Time, n counts) {
	now := e.svc.cfg.Now()
	e.mu.Lock()
	e.synced, e.syncTime, e.failed = want, now, nil
	e.tellLost(n)
	e.mu.Unlock()
	e.log.Info("synced", "generation", want.GetGeneration(), "commit", want.GetCommit(), "created", n.created,
		"changed", n.changed, "pruned", n.pruned, "ms", now.Sub(started).Milliseconds())
	e.announceSynced(want, started, now, n)
}

// clusterError sorts an API server's refusals (nothing helps but a change) from what may pass (wait and try again).
func clusterError(err error, what string) error {
	var ours *errs.Error
	var st apierrors.APIStatus
	answered := errors.As(err, &st)
	switch {
	case errors.As(err, &ours), errors.Is(err, context.Canceled):
		return err
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED, "the namespace is being removed; it is tried again by itself").Because(err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsNotFound(err),
		apierrors.IsMethodNotSupported(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsAlreadyExists(err):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "the cluster refused to %s: %s", what, st.Status().Message).Because(err)
	case apierrors.IsConflict(err):
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_APPLY_REFUSED, "somebody else changed the object while trying to %s; it is tried again by itself", what).Because(err)
	case apierrors.IsUnauthorized(err):
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster does not accept our credentials (to %s); renew the target's kubeconfig", what).Because(err)
	case answered && st.Status().Code >= 500:
		// A webhook that does not answer, for example: the cluster is there and says what is wrong.
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED, "the cluster could not %s: %s; it is tried again by itself", what, st.Status().Message).Because(err)
	default:
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster cannot be reached (to %s); it is tried again by itself", what).Because(err)
	}
}
