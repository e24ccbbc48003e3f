package drift

import (
	"cmp"
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The kinds by which Argo CD and Flux say what they manage.
var (
	applicationKind   = schema.GroupKind{Group: "argoproj.io", Kind: "Application"}
	kustomizationKind = schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}
)

// engineObject reads an object of an engine by "namespace/name".
func (c *cluster) engineObject(ctx context.Context, kind schema.GroupKind, field, name string) (*unstructured.Unstructured, error) {
	namespace, id, ok := strings.Cut(name, "/")
	if !ok || namespace == "" || id == "" || strings.Contains(id, "/") {
		return nil, errs.InvalidField(field, "%q is not namespace and name of one; write it like argocd/shop-prod", name)
	}
	m, err := c.mappingOf(kind)
	if meta.IsNoMatchError(err) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT, "%s has no %s: its custom resource definition is not installed", c.name, kind)
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	u, err := c.dyn.Resource(m).Namespace(namespace).Get(ctx, id, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT, "there is no %s %s in namespace %s of %s", kind.Kind, id, namespace, c.name)
	}
	if err != nil {
		return nil, clusterError(err, "read "+kind.Kind+" "+name)
	}
	return u, nil
}

// mappingOf finds the API of a kind in whichever version the cluster prefers.
func (c *cluster) mappingOf(kind schema.GroupKind) (schema.GroupVersionResource, error) {
	m, err := c.mapper.RESTMapping(kind)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		m, err = c.mapper.RESTMapping(kind)
	}
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return m.Resource, nil
}

// ofApplication reads the objects that an Argo CD Application manages.
func (c *cluster) ofApplication(ctx context.Context, name string) ([]*unstructured.Unstructured, *driftv1.SourceOfTruth, error) {
	app, err := c.engineObject(ctx, applicationKind, "argocd_application", name)
	if err != nil {
		return nil, nil, err
	}
	resources, _, _ := unstructured.NestedSlice(app.Object, "status", "resources")
	if len(resources) == 0 {
		return nil, nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT,
			"Application %s manages nothing yet: its status lists no resources; sync it once, and see that its controller runs", name)
	}
	var out []*unstructured.Unstructured
	for _, r := range resources {
		m, _ := r.(map[string]any)
		k := objectKey{group: text(m, "group"), kind: text(m, "kind"), namespace: text(m, "namespace"), name: text(m, "name")}
		u, err := c.read(ctx, k, text(m, "version"))
		if err != nil {
			return nil, nil, err
		}
		if u != nil {
			out = append(out, u)
		}
	}
	spec, _, _ := unstructured.NestedMap(app.Object, "spec", "source")
	if sources, _, _ := unstructured.NestedSlice(app.Object, "spec", "sources"); len(sources) > 0 {
		spec, _ = sources[0].(map[string]any)
	}
	commit, _, _ := unstructured.NestedString(app.Object, "status", "sync", "revision")
	return out, &driftv1.SourceOfTruth{
		Url: text(spec, "repoURL"), Revision: text(spec, "targetRevision"), Path: text(spec, "path"), Commit: commit, Automatic: syncsByItself(app),
	}, nil
}

// syncsByItself reports whether an Application applies what Git says without being asked.
func syncsByItself(app *unstructured.Unstructured) bool {
	automated, there, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	return there && automated["enabled"] != false
}

// ofKustomization reads the objects that a Flux Kustomization manages.
func (c *cluster) ofKustomization(ctx context.Context, name string) ([]*unstructured.Unstructured, *driftv1.SourceOfTruth, error) {
	ks, err := c.engineObject(ctx, kustomizationKind, "flux_kustomization", name)
	if err != nil {
		return nil, nil, err
	}
	entries, _, _ := unstructured.NestedSlice(ks.Object, "status", "inventory", "entries")
	if len(entries) == 0 {
		return nil, nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT,
			"Kustomization %s manages nothing yet: its inventory is empty; have it reconciled once, and see that its controller runs", name)
	}
	var out []*unstructured.Unstructured
	for _, e := range entries {
		m, _ := e.(map[string]any)
		k, ok := inventoryID(text(m, "id"))
		if !ok {
			continue
		}
		u, err := c.read(ctx, k, text(m, "v"))
		if err != nil {
			return nil, nil, err
		}
		if u != nil {
			out = append(out, u)
		}
	}
	path, _, _ := unstructured.NestedString(ks.Object, "spec", "path")
	commit, _, _ := unstructured.NestedString(ks.Object, "status", "lastAppliedRevision")
	suspended, _, _ := unstructured.NestedBool(ks.Object, "spec", "suspend")
	source := &driftv1.SourceOfTruth{Path: strings.Trim(strings.TrimPrefix(path, "./"), "/"), Commit: commit, Automatic: !suspended}
	c.fluxSource(ctx, ks, source)
	return out, source, nil
}

// fluxSource adds where a Kustomization has its files from. What cannot be read stays empty: it is for people.
func (c *cluster) fluxSource(ctx context.Context, ks *unstructured.Unstructured, s *driftv1.SourceOfTruth) {
	ref, _, _ := unstructured.NestedMap(ks.Object, "spec", "sourceRef")
	k := objectKey{group: "source.toolkit.fluxcd.io", kind: text(ref, "kind"), namespace: cmp.Or(text(ref, "namespace"), ks.GetNamespace()), name: text(ref, "name")}
	gvr, err := c.mappingOf(schema.GroupKind{Group: k.group, Kind: k.kind})
	if err != nil {
		return
	}
	u, err := c.dyn.Resource(gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
	if err != nil {
		return
	}
	s.Url, _, _ = unstructured.NestedString(u.Object, "spec", "url")
	at, _, _ := unstructured.NestedMap(u.Object, "spec", "ref")
	s.Revision = cmp.Or(text(at, "commit"), text(at, "semver"), text(at, "tag"), text(at, "branch"))
}

// inventoryID reads what a Kustomization's inventory calls an object: namespace_name_group_kind, where a name's colons are two underscores.
func inventoryID(id string) (objectKey, bool) {
	namespace, rest, ok := strings.Cut(id, "_")
	cut := strings.LastIndex(rest, "_")
	if !ok || cut < 0 {
		return objectKey{}, false
	}
	kind, rest := rest[cut+1:], rest[:cut]
	if cut = strings.LastIndex(rest, "_"); cut < 0 {
		return objectKey{}, false
	}
	return objectKey{group: rest[cut+1:], kind: kind, namespace: namespace, name: strings.ReplaceAll(rest[:cut], "__", ":")}, true
}
