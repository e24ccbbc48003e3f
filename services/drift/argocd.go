package drift

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

const (
	engineArgoCD = "argocd"
	// argoManager is Argo CD's field manager with server-side apply.
	argoManager = "argocd-controller"
	argoGroup   = "argoproj.io"
	// argoTracking is how Argo CD marks what it applied; it begins with the Application's name.
	argoTracking   = "argocd.argoproj.io/tracking-id"
	argoRefresh    = "argocd.argoproj.io/refresh"
	argoFinalizer  = "resources-finalizer.argocd.argoproj.io"
	argoHere       = "https://kubernetes.default.svc"
	argoRequestKey = "towpath"
)

// argoCD is Argo CD for one environment: an Application of its own, in an AppProject that the application's environments share.
//
// The Application never prunes by itself: what Git no longer has is removed by an operation that names the objects, so that nothing
// that holds data can be among them. It does not heal itself either: whether a finding is reverted is decided by Towpath, which knows
// who made it.
type argoCD struct {
	e             *environment
	c             *cluster
	d             *eventsv1.DesiredState
	places        []enginePlace
	apps, project schema.GroupVersionResource
	version       string
	namespace     string
	name          string
	destination   string
}

func newArgoCD(e *environment, c *cluster, d *eventsv1.DesiredState, places []enginePlace) (*argoCD, error) {
	a := &argoCD{
		e: e, c: c, d: d, places: places, namespace: d.GetTarget().GetEngineNamespace(), name: labelValue(e.name),
		destination: d.GetTarget().GetEngineDestination(),
	}
	if a.namespace == "" {
		a.namespace = "argocd"
	}
	if a.destination == "" {
		a.destination = argoHere
	}
	var err error
	if a.apps, a.version, err = engineResource(c, "Argo CD", argoGroup, "Application", "v1alpha1"); err != nil {
		return nil, err
	}
	a.project, _, err = engineResource(c, "Argo CD", argoGroup, "AppProject", "v1alpha1")
	return a, err
}

func (a *argoCD) info() engineInfo {
	return engineInfo{
		name: engineArgoCD, title: "Argo CD", object: "Application " + a.namespace + "/" + a.name, manager: argoManager,
		follows: []engineObject{{a.apps, a.namespace, a.name}, {a.project, a.namespace, a.projectName()}},
		tracks:  func(u *unstructured.Unstructured) bool { return argoTracks(u, a.namespace, a.name) },
	}
}

// argoTracks reports whether the Application applied an object.
func argoTracks(u *unstructured.Unstructured, namespace, name string) bool {
	id := u.GetAnnotations()[argoTracking]
	if id == "" { // Argo CD can be told to mark by a label instead
		if u.GetLabels()["app.kubernetes.io/instance"] != name {
			return false
		}
		for _, m := range u.GetManagedFields() {
			if m.Manager == argoManager {
				return true
			}
		}
		return false
	}
	return strings.HasPrefix(id, name+":") || strings.HasPrefix(id, namespace+"_"+name+":")
}

// ensure is part of engine.
func (a *argoCD) ensure(ctx context.Context, p policy, _ []objectKey) error {
	if err := a.ensureProject(ctx, p); err != nil {
		return err
	}
	return a.e.ensureEngineObject(ctx, a.c, a.apps, a.application(p), a.e.name)
}

// application is what the Application should be.
func (a *argoCD) application(p policy) *unstructured.Unstructured {
	spec := map[string]any{
		"project":     a.projectName(),
		"destination": map[string]any{"server": a.destination, "namespace": a.d.GetNamespace()},
		"syncPolicy":  a.syncPolicy(p),
		// Towpath tells apart by evidence whether an autoscaler is entitled to replicas; Argo CD would fight it.
		"ignoreDifferences": []any{
			map[string]any{"group": "*", "kind": "*", "managedFieldsManagers": []any{"kube-controller-manager", "horizontal-pod-autoscaler", "vpa-updater", "keda-operator"}},
		},
	}
	if len(a.places) == 1 {
		spec["source"] = a.source(a.places[0])
	} else {
		var sources []any
		for _, p := range a.places {
			sources = append(sources, a.source(p))
		}
		spec["sources"] = sources
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": a.version, "kind": "Application",
		"metadata": map[string]any{"name": a.name, "namespace": a.namespace},
		"spec":     spec,
	}}
}

func (a *argoCD) source(p enginePlace) map[string]any {
	return map[string]any{
		"repoURL": p.url, "targetRevision": p.repository.GetBranch(), "path": p.path,
		"directory": map[string]any{"recurse": true},
	}
}

func argoOptions() []any {
	// With ServerSideApply it is honest who owns which field, which drift is told by.
	return []any{"ServerSideApply=true", "CreateNamespace=false", "RespectIgnoreDifferences=true"}
}

func (a *argoCD) syncPolicy(p policy) map[string]any {
	out := map[string]any{"syncOptions": argoOptions(), "retry": argoRetry(p.sync.GetRetry())}
	if p.automatic {
		out["automated"] = map[string]any{"prune": false, "selfHeal": false, "allowEmpty": true}
	}
	return out
}

func argoRetry(r *driftv1.SyncRetry) map[string]any {
	limit, first, last := int64(5), "30s", "5m0s"
	switch {
	case r.GetLimit() < 0:
		limit = 0
	case r.GetLimit() > 0:
		limit = int64(r.GetLimit())
	}
	if d := r.GetBackoff().AsDuration(); d > 0 {
		first = d.String()
	}
	if d := r.GetMaxBackoff().AsDuration(); d > 0 {
		last = d.String()
	}
	return map[string]any{"limit": limit, "backoff": map[string]any{"duration": first, "factor": int64(2), "maxDuration": last}}
}

// ask is part of engine.
func (a *argoCD) ask(ctx context.Context, what engineRequest) (string, error) {
	r := a.c.dyn.Resource(a.apps).Namespace(a.namespace)
	for _, k := range what.release {
		if err := a.release(ctx, k); err != nil {
			return "", err
		}
	}
	if !what.apply {
		err := annotate(ctx, a.c, a.apps, a.namespace, a.name, map[string]any{argoRefresh: "normal"})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", clusterError(err, "ask Argo CD to look at Git")
		}
		return "", nil
	}
	app, err := r.Get(ctx, a.name, metav1.GetOptions{})
	if err != nil {
		return "", clusterError(err, "read "+a.info().object)
	}
	if app.Object["operation"] != nil {
		return "", errUnderWay // one at a time
	}
	token := strconv.FormatInt(a.e.svc.cfg.Now().UnixNano(), 36)
	sync := map[string]any{"syncOptions": argoOptions(), "prune": what.prune}
	if len(what.objects) > 0 {
		var some []any
		for _, k := range what.objects {
			some = append(some, map[string]any{"group": k.group, "kind": k.kind, "name": k.name, "namespace": k.namespace})
		}
		sync["resources"] = some
	}
	patch, err := json.Marshal(map[string]any{
		// Of two that ask at once, one is told to look again.
		"metadata": map[string]any{"resourceVersion": app.GetResourceVersion()},
		"operation": map[string]any{
			"initiatedBy": map[string]any{"username": FieldManager},
			"info":        []any{map[string]any{"name": argoRequestKey, "value": token}},
			"sync":        sync,
		},
	})
	if err != nil {
		return "", err
	}
	_, err = r.Patch(ctx, a.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: engineManager})
	if apierrors.IsConflict(err) {
		return "", errUnderWay
	}
	if err != nil {
		return "", clusterError(err, "ask Argo CD for a sync")
	}
	return token, nil
}

// look is part of engine.
func (a *argoCD) look(ctx context.Context) (engineReport, error) {
	app, err := a.c.dyn.Resource(a.apps).Namespace(a.namespace).Get(ctx, a.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return engineReport{doing: a.info().object + " is not there"}, nil
	}
	if err != nil {
		return engineReport{}, clusterError(err, "read "+a.info().object)
	}
	return argoReport(app, a.places), nil
}

// remove is part of engine. The finalizer that has Argo CD remove what it applied is set here and nowhere else: whoever deletes an
// Application by hand loses nothing. It is not set either where something is to be kept: Argo CD decides by its own, slightly older
// view of the cluster, and data is not left to that.
func (a *argoCD) remove(ctx context.Context, keep []objectKey) ([]string, error) {
	r := a.c.dyn.Resource(a.apps).Namespace(a.namespace)
	app, err := r.Get(ctx, a.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, a.leaveProject(ctx)
	}
	if err != nil {
		return nil, clusterError(err, "read "+a.info().object)
	}
	if err := engineOwner(app, a.e.name, a.info().object); err != nil {
		return nil, err
	}
	if app.GetDeletionTimestamp() != nil {
		return []string{whyThere(app)}, nil
	}
	var applied []objectKey
	for _, m := range argoResources(app.Object, "status", "resources") {
		applied = append(applied, objectKey{group: text(m, "group"), kind: text(m, "kind"), namespace: text(m, "namespace"), name: text(m, "name")})
	}
	_, more, err := a.e.expendable(ctx, a.c, applied)
	if err != nil {
		return nil, err
	}
	next := app.DeepCopy()
	if next.SetFinalizers(nil); len(keep)+len(more) == 0 {
		next.SetFinalizers([]string{argoFinalizer})
	}
	unstructured.RemoveNestedField(next.Object, "spec", "syncPolicy", "automated")
	if next, err = r.Update(ctx, next, metav1.UpdateOptions{FieldManager: engineManager}); err != nil {
		return nil, clusterError(err, "prepare the removal of "+a.info().object)
	}
	uid := next.GetUID()
	err = r.Delete(ctx, a.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, clusterError(err, "remove "+a.info().object)
	}
	return []string{a.info().object}, nil
}

// release takes Argo CD's mark off an object, which is then nobody's but its owner's.
func (a *argoCD) release(ctx context.Context, k objectKey) error {
	gvr, err := a.c.mapping(k)
	if err != nil {
		return clusterError(err, "ask for the kinds that the cluster knows")
	}
	err = annotate(ctx, a.c, gvr, k.namespace, k.name, map[string]any{argoTracking: nil, "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"})
	if err != nil && !apierrors.IsNotFound(err) {
		return clusterError(err, "keep "+k.kind+" "+k.name+" from being removed")
	}
	return nil
}
