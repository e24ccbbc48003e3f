package drift

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

// What can keep an environment busy.
const (
	busySync   = "sync"
	busyLook   = "look" // nothing is applied
	busyRevert = "revert"
	busyRemove = "remove"
)

// counts says what a sync did.
type counts struct{ created, changed, pruned int32 }

// syncOptions say what a person asked for beside what Git says.
type syncOptions struct {
	// force applies also what seems to be there already.
	force bool
	// confirmed removes what is held back.
	confirmed bool
}

// sync brings the cluster to a desired state: reads the tree from the committer, applies it stage by stage, prunes what the
// inventory has and the tree has not, and tells. Where the inventory says that the cluster is at that tree already (after a
// restart, or a deployment that changed nothing) it only looks, so that nothing that somebody changed meanwhile is overwritten
// before it was seen; force applies all the same.
func (e *environment) sync(ctx context.Context, want *eventsv1.DesiredState, force bool) error {
	_, err := e.syncAs(ctx, want, syncOptions{force: force})
	return err
}

// syncAs is sync with all that a person can ask for. It gives what was done with each object.
func (e *environment) syncAs(ctx context.Context, want *eventsv1.DesiredState, o syncOptions) ([]*driftv1.SyncChange, error) {
	started := e.svc.cfg.Now()
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return nil, err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return nil, err
	}
	if byEngine(want.GetTarget()) {
		return nil, e.syncByEngine(ctx, c, want, inv, o.force, started)
	}
	switch {
	case o.force, !inv.at(want) && e.automatic():
		if err := e.windowAllows(o.force); err != nil {
			return nil, e.waitForWindow(ctx, c, want, inv, started, err)
		}
		return e.deploy(ctx, c, want, inv, started, o)
	case inv.at(want):
		return nil, e.adopt(ctx, c, want, inv, started)
	case e.synced == nil && inv.tree != "":
		return nil, e.adoptOlder(ctx, c, want, inv, started)
	default:
		return nil, nil // a person decides when; what Git says is shown as pending
	}
}

// deploy applies a desired state.
func (e *environment) deploy(
	ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time, o syncOptions,
) ([]*driftv1.SyncChange, error) {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return nil, err
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return nil, err
	}
	r := e.newRun(c, want, objs, inv, o.force)
	e.begin(busySync)
	defer e.end()
	defer e.doing("")
	if err := r.apply(ctx, o.confirmed); err != nil {
		return r.changes, err
	}
	e.watchClaims(c, want, objs)
	e.finish(want, started, r.n)
	return r.changes, nil
}

// adopt takes over objects that were applied before, with the baselines of the inventory, and looks at them.
func (e *environment) adopt(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time) error {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	hooks, skipped := takeHooks(objs)
	if err := e.overlayPartial(ctx, c, want, inv, objs); err != nil {
		return err
	}
	for k, t := range objs {
		t.base = inv.baselines[k]
		e.wantBaseline(t)
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	e.recallRun(inv, objs, hooks)
	e.begin(busyLook)
	defer e.end()
	e.resume(c, objs)
	e.replace(c, objs)
	if err := e.sweep(ctx); err != nil {
		return err
	}
	held, err := e.pruneHeld(ctx, c, want, inv, objs, hooks, skipped)
	if err != nil {
		return err
	}
	if inv.generation != want.GetGeneration() {
		if err := e.writeInventory(ctx, c, want, objs); err != nil {
			return err
		}
	}
	e.watchClaims(c, want, objs)
	if held != nil {
		return held
	}
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
	if err := c.claimOutsiders(e, namespace, objs); err != nil {
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
	var read []manifestOf
	var all []*unstructured.Unstructured
	for _, f := range files {
		us, err := manifest.Parse(f.name, f.content)
		if err != nil {
			return nil, err
		}
		for _, u := range us {
			read = append(read, manifestOf{f.name, u})
		}
		all = append(all, us...)
	}
	kinds := definitions(all)
	objs := map[objectKey]*tracked{}
	for _, r := range read {
		t, err := e.track(c, want, kinds, r.object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.file, err)
		}
		if objs[t.key] != nil && want.GetClaimsOnly() {
			continue // what stands beside claims may be of another split, and is not applied with them
		}
		if objs[t.key] != nil {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
				"%s: %s %s is declared twice; remove one of the two", r.file, r.object.GetKind(), r.object.GetName())
		}
		objs[t.key] = t
	}
	return objs, nil
}

// manifestOf is an object with the file that declares it.
type manifestOf struct {
	file   string
	object *unstructured.Unstructured
}

// track finds an object's API and refuses what an environment may not make.
func (e *environment) track(c *cluster, want *eventsv1.DesiredState, kinds defined, u *unstructured.Unstructured) (*tracked, error) {
	gvr, namespaced, err := kinds.find(c, u.GroupVersionKind())
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
	if !namespaced {
		u.SetNamespace("")
	}
	if err := e.allowed(u, namespaced, want.GetNamespace()); err != nil {
		return nil, err
	}
	if err := checkMarks(u); err != nil {
		return nil, err
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
	e.ran.attempts, e.ran.refused = nil, 0
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
	case rightMissing(err, what) != nil:
		return rightMissing(err, what)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED, "the namespace is being removed; it is tried again by itself").Because(err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsNotFound(err),
		apierrors.IsMethodNotSupported(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsAlreadyExists(err):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "the cluster refused to %s: %s", what, st.Status().Message).Because(err)
	case answered && strings.Contains(st.Status().Message, "failed to create typed patch object"): // 500, though nothing helps but a change
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
