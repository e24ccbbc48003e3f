package drift

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// An environment makes objects in its own namespace. Its policy may let it make some elsewhere: kinds outside of namespaces, and objects
// in other namespaces. Those are outsiders: the events of a namespace go to its owner, and theirs go by their own names.

// allowed refuses an object that the environment may not make, and names what would allow it.
func (e *environment) allowed(u *unstructured.Unstructured, namespaced bool, own string) error {
	e.mu.Lock()
	p := e.policy().sync
	e.mu.Unlock()
	gvk := u.GroupVersionKind()
	switch {
	case namespaced && u.GetNamespace() == own:
		return nil
	case namespaced && slices.Contains(p.GetNamespaces(), u.GetNamespace()):
		return nil
	case namespaced:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"%s %s is in namespace %s, outside of the environment's namespace %s; sync_policy.namespaces of the environment type does not have it: "+
				"tow type update --sync-namespace %s", u.GetKind(), u.GetName(), u.GetNamespace(), own, u.GetNamespace()).With("field", "sync_policy.namespaces")
	case gvk.Group == "" && gvk.Kind == "Namespace" && u.GetName() == own:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"Namespace %s is the environment's own, which Towpath makes and removes; take it out of the manifests", own)
	case syncpolicy.AllowsKind(p, gvk.Group, gvk.Kind):
		return nil
	}
	qualified := gvk.GroupKind().String()
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
		"%s %s belongs to the whole cluster, outside of the environment's namespace %s; sync_policy.cluster_kinds of the environment type does not have %s: "+
			"tow type update --cluster-kind %s", u.GetKind(), u.GetName(), own, qualified, qualified).With("field", "sync_policy.cluster_kinds")
}

// claimOutsiders makes the environment the one that hears of its objects outside of its namespace. One that another environment has
// is refused: two that declare the same object would undo each other for ever.
func (c *cluster) claimOutsiders(e *environment, own string, objs map[objectKey]*tracked) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range objs {
		if other := c.outsiders[k]; k.namespace != own && other != nil && other != e {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
				"%s %s outside of namespace %s is declared by %s too; give it another name, or declare it once", k.kind, k.name, own, other.name)
		}
	}
	for k := range objs {
		if k.namespace != own {
			c.outsiders[k] = e
		}
	}
	return nil
}

// keepOutsiders forgets those that are no longer declared, after a sync that was through.
func (c *cluster) keepOutsiders(e *environment, objs map[objectKey]*tracked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.outsiders, func(k objectKey, x *environment) bool { return x == e && objs[k] == nil })
}

// ownerOf gives the environment that an object belongs to, nil for nobody's.
func (c *cluster) ownerOf(u *unstructured.Unstructured) *environment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.outsiders) > 0 {
		if e := c.outsiders[keyOf(u)]; e != nil {
			return e
		}
	}
	return c.namespaces[u.GetNamespace()]
}

// ownerOfHead is ownerOf for an object that is not decoded.
func (c *cluster) ownerOfHead(group string, h *wire.Head) *environment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.outsiders) > 0 {
		if e := c.outsiders[objectKey{group: group, kind: string(h.Kind), namespace: string(h.Namespace), name: string(h.Name)}]; e != nil {
			return e
		}
	}
	return c.namespaces[string(h.Namespace)]
}

var definitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// defined are kinds whose definitions are among the manifests: the cluster may not know them before these are applied.
type defined map[schema.GroupVersionKind]definedKind

type definedKind struct {
	gvr        schema.GroupVersionResource
	namespaced bool
}

// definitions reads the custom resource definitions among objects.
func definitions(us []*unstructured.Unstructured) defined {
	out := defined{}
	for _, u := range us {
		if u.GroupVersionKind().GroupKind() != definitionKind {
			continue
		}
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
		scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
		versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		for _, v := range versions {
			m, _ := v.(map[string]any)
			name, _ := m["name"].(string)
			gv := schema.GroupVersion{Group: group, Version: name}
			if served, ok := m["served"].(bool); ok && served && name != "" {
				out[gv.WithKind(kind)] = definedKind{gvr: gv.WithResource(plural), namespaced: scope == "Namespaced"}
			}
		}
	}
	return out
}

// find finds the API of a kind, in the cluster or among the definitions that come with it.
func (d defined) find(c *cluster, gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	gvr, namespaced, err := c.resource(gvk)
	if k, ok := d[gvk]; ok && meta.IsNoMatchError(err) {
		return k.gvr, k.namespaced, nil
	}
	return gvr, namespaced, err
}
