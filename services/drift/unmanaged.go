package drift

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// peoplesKinds are what people make in namespaces. Where a policy asks for unmanaged objects they are all watched; else only the kinds
// that environments declare are.
var peoplesKinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "persistentvolumeclaims"}, {Version: "v1", Resource: "pods"},
	{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"}, {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Version: "v1", Resource: "jobs"}, {Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}, {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, autoscalers,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
}

// reportsUnmanaged needs the mutex.
func (e *environment) reportsUnmanaged() bool { return e.policy().sync.GetReportUnmanaged() }

// unmanaged looks at an object that we did not apply: where the policy asks for it, one that nobody declared, owns or tracks is a
// finding. It needs the mutex.
func (e *environment) unmanaged(k objectKey, s sighting, resolution string) bool {
	found, ok := compare.Undeclared(s.object, false)
	switch {
	case !ok || ofTowpath(s.object) || !e.reportsUnmanaged() || s.object.GetDeletionTimestamp() != nil:
		return e.untrackedGone(k, resolution)
	case e.claims.watched[k] != nil || e.synced == nil || e.orphans[k].finding != nil || k.namespace != e.synced.GetNamespace():
		return false
	}
	f := e.finding(k, s.object, found)
	e.attribute(f, nil, s.gvr, 0, s.object.GetCreationTimestamp().Time)
	if e.hushes(k, f, s.gvr) {
		return false
	}
	e.orphans[k] = orphan{finding: f, gvr: s.gvr}
	e.announceFinding(f)
	return true
}

// ofTowpath reports whether we wrote the object in any way: as a manifest, which is kept because it holds data, or as the
// inventory. That another environment or a sync engine tracks it shows as an owner of its own.
func ofTowpath(u *unstructured.Unstructured) bool {
	return slices.ContainsFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return strings.HasPrefix(m.Manager, FieldManager)
	})
}

// survey looks for what is there already when a policy begins to ask for unmanaged objects, and ends these findings when it no
// longer does. It runs on the environment's goroutine.
func (e *environment) survey(ctx context.Context) {
	e.mu.Lock()
	want, c, synced := e.reportsUnmanaged(), e.cluster, e.synced
	if want == e.surveyed || c == nil || synced == nil || e.down != nil || e.gone {
		e.mu.Unlock()
		return
	}
	e.surveyed = want
	if !want {
		for k, o := range e.orphans {
			if o.finding.GetKind() == driftv1.Finding_KIND_UNMANAGED {
				e.untrackedGone(k, resolutionIgnored)
			}
		}
	}
	e.mu.Unlock()
	if !want {
		e.tell()
		return
	}
	for _, gvr := range peoplesKinds {
		c.watchKind(gvr)
		list, err := c.dyn.Resource(gvr).Namespace(synced.GetNamespace()).List(ctx, metav1.ListOptions{})
		if err != nil {
			if !apierrors.IsNotFound(err) && ctx.Err() == nil {
				e.log.Warn("a kind cannot be listed; unmanaged objects of it are not told", "kind", gvr.Resource, "error", err)
			}
			continue
		}
		for i := range list.Items {
			e.observe(gvr, &list.Items[i])
		}
	}
}
