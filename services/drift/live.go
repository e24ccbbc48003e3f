package drift

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The live view reads on demand and keeps nothing: nothing is watched for it, and nobody who does not look at it pays for it. What it
// gives has been masked by a view (liveview.go) before it leaves.

// maxOwners is how far up the chain of owners is followed: Deployment, ReplicaSet, Pod is two.
const maxOwners = 8

// scene is an environment with the cluster that it is in, at the moment of one question.
type scene struct {
	e         *environment
	c         *cluster
	namespace string
	declared  map[objectKey]*tracked
	orphans   map[objectKey]schema.GroupVersionResource
}

// scene finds what a question is about. A cluster that cannot be reached is told at once instead of after a timeout.
func (s *Service) scene(parent string) (*scene, error) {
	e := s.environment(parent)
	if e == nil {
		return nil, notHere(parent)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cluster == nil {
		return nil, notHere(parent)
	}
	if e.down != nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"the cluster of %s cannot be reached, so that nobody knows what is in it now", parent).Because(e.down)
	}
	sc := &scene{
		e: e, c: e.cluster, namespace: e.shown().GetNamespace(), declared: make(map[objectKey]*tracked, len(e.objects)),
		orphans: make(map[objectKey]schema.GroupVersionResource, len(e.orphans)),
	}
	for k, t := range e.objects {
		sc.declared[k] = t
	}
	for k, o := range e.orphans {
		sc.orphans[k] = o.gvr
	}
	return sc, nil
}

// spot is where an object is read.
type spot struct {
	gvr schema.GroupVersionResource
	key objectKey
}

// locate finds what a reference names: a declared object, one that is no longer declared, or any other, which has to prove by its
// owners that it belongs here.
func (sc *scene) locate(ref *driftv1.ObjectRef) (spot, *tracked, error) {
	group, version, hasGroup := groupOf(ref.GetApiVersion())
	fits := func(k objectKey) bool {
		return strings.EqualFold(k.kind, ref.GetKind()) && k.name == ref.GetName() &&
			(ref.GetNamespace() == "" || ref.GetNamespace() == k.namespace) && (!hasGroup || k.group == group)
	}
	for k, t := range sc.declared {
		if fits(k) {
			return spot{gvr: t.gvr, key: k}, t, nil
		}
	}
	for k, gvr := range sc.orphans {
		if fits(k) {
			return spot{gvr: gvr, key: k}, nil, nil
		}
	}
	if ns := ref.GetNamespace(); ns != "" && ns != sc.namespace {
		return spot{}, nil, sc.notOfIt(ref)
	}
	gvk, err := sc.c.kindNamed(ref.GetKind(), group, version, hasGroup)
	if err != nil {
		return spot{}, nil, err
	}
	gvr, namespaced, err := sc.c.resource(gvk)
	if err != nil {
		return spot{}, nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	if !namespaced {
		return spot{}, nil, sc.notOfIt(ref)
	}
	return spot{gvr: gvr, key: objectKey{group: gvk.Group, kind: gvk.Kind, namespace: sc.namespace, name: ref.GetName()}}, nil, nil
}

// groupOf takes an apiVersion apart; given is false where it is empty.
func groupOf(apiVersion string) (group, version string, given bool) {
	if apiVersion == "" {
		return "", "", false
	}
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		return group, version, true
	}
	return "", apiVersion, true
}

// kindNamed finds a kind by what people call it: Pod, pods, ReplicaSet.
func (c *cluster) kindNamed(name, group, version string, hasGroup bool) (schema.GroupVersionKind, error) {
	asked := schema.GroupVersionResource{Group: group, Version: version, Resource: strings.ToLower(name)}
	gvk, err := c.mapper.KindFor(asked)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		gvk, err = c.mapper.KindFor(asked)
	}
	switch {
	case meta.IsNoMatchError(err), err == nil && hasGroup && gvk.Group != group:
		return gvk, errs.InvalidField("object.kind", "%q is no kind that the cluster knows; write it as in a manifest, such as Pod, with object.api_version for a custom resource", name)
	case meta.IsAmbiguousError(err):
		return gvk, errs.InvalidField("object.api_version", "is needed, because several kinds are called %q", name)
	case err != nil:
		return gvk, clusterError(err, "ask for the kinds that the cluster knows")
	}
	return gvk, nil
}

// notOfIt is the same answer for what is not there and for what is another's, so that nobody learns by asking what else is in a cluster.
func (sc *scene) notOfIt(ref *driftv1.ObjectRef) error {
	parts := strings.Split(sc.e.name, "/")
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "%s has no %s %s; see what it has: tow get -e %s/%s",
		sc.e.name, ref.GetKind(), ref.GetName(), parts[1], parts[3]).With("resource", ref.GetKind()+"/"+ref.GetName())
}

// read reads an object that belongs to the environment; nil where it is declared and gone.
func (sc *scene) read(ctx context.Context, p spot, declared bool) (*unstructured.Unstructured, error) {
	u, err := sc.get(ctx, p)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read "+p.key.kind+" "+p.key.name)
	}
	if declared {
		return u, nil
	}
	ours, err := sc.owns(ctx, u)
	if err != nil || !ours {
		return nil, err
	}
	return u, nil
}

func (sc *scene) get(ctx context.Context, p spot) (*unstructured.Unstructured, error) {
	if p.key.namespace == "" {
		return sc.c.dyn.Resource(p.gvr).Get(ctx, p.key.name, metav1.GetOptions{})
	}
	return sc.c.dyn.Resource(p.gvr).Namespace(p.key.namespace).Get(ctx, p.key.name, metav1.GetOptions{})
}

// owns follows the owners of an object up to one that is declared. A claim that a StatefulSet's template made has no owner.
func (sc *scene) owns(ctx context.Context, u *unstructured.Unstructured) (bool, error) {
	seen := map[types.UID]bool{}
	for range maxOwners {
		if t := sc.declared[keyOf(u)]; t != nil {
			return true, nil
		}
		if _, ok := sc.orphans[keyOf(u)]; ok || keyOf(u).kind == "PersistentVolumeClaim" && madeBy(u, sc.items()) {
			return true, nil
		}
		owner := metav1.GetControllerOf(u)
		if owner == nil && len(u.GetOwnerReferences()) > 0 {
			owner = &u.GetOwnerReferences()[0]
		}
		if owner == nil || seen[owner.UID] {
			return false, nil
		}
		seen[owner.UID] = true
		next, err := sc.ownerOf(ctx, u, owner)
		if next == nil || err != nil {
			return false, err
		}
		u = next
	}
	return false, nil
}

// ownerOf reads the owner that a reference names; nil where it is gone, or another of the same name.
func (sc *scene) ownerOf(ctx context.Context, u *unstructured.Unstructured, ref *metav1.OwnerReference) (*unstructured.Unstructured, error) {
	gvr, namespaced, err := sc.c.resource(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	if meta.IsNoMatchError(err) || err == nil && !namespaced {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	owner, err := sc.c.dyn.Resource(gvr).Namespace(u.GetNamespace()).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && owner.GetUID() != ref.UID {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read "+ref.Kind+" "+ref.Name)
	}
	return owner, nil
}

// items are the declared objects as the inventory has them.
func (sc *scene) items() []inventoryItem {
	out := make([]inventoryItem, 0, len(sc.declared))
	for k := range sc.declared {
		out = append(out, inventoryItem{Group: k.group, Kind: k.kind, Namespace: k.namespace, Name: k.name})
	}
	return out
}

// GetLiveObject gives an object from both sides.
func (l liveServer) GetLiveObject(ctx context.Context, req *driftv1.GetLiveObjectRequest) (*driftv1.LiveObject, error) {
	if req.GetObject() == nil {
		return nil, errs.InvalidField("object", "is not set: name the object by kind and name")
	}
	sc, err := l.s.scene(req.GetParent())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p, t, err := sc.locate(req.GetObject())
	if err != nil {
		return nil, err
	}
	_, orphan := sc.orphans[p.key]
	live, err := sc.read(ctx, p, t != nil || orphan)
	if err != nil {
		return nil, err
	}
	if live == nil && t == nil {
		return nil, sc.notOfIt(req.GetObject())
	}
	return sc.both(ctx, p, t, live)
}

// both shows the two sides of an object.
func (sc *scene) both(ctx context.Context, p spot, t *tracked, live *unstructured.Unstructured) (*driftv1.LiveObject, error) {
	out := &driftv1.LiveObject{Object: refOf(p.key, p.gvr), Owners: fieldOwners(live)}
	var declared *unstructured.Unstructured
	sc.e.mu.Lock()
	if t != nil {
		declared = t.declared().DeepCopy()
	}
	out.Status = sc.statusOf(p, t, live)
	result, owned := sc.judged(t, live)
	sc.e.mu.Unlock()
	out.Findings = append(sc.findingsOf(ctx, p.key), owned...)
	slices.SortFunc(out.Findings, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	out.Findings = slices.CompactFunc(out.Findings, func(a, b *driftv1.Finding) bool { return a.GetName() == b.GetName() })
	if declared != nil {
		out.File = sc.fileOf(ctx, p.key)
	}
	v := newView(sc.e.svc.comparer, declared, live)
	var err error
	if out.Desired, err = v.yaml(v.desired); err != nil {
		return nil, err
	}
	if out.Live, err = v.yaml(v.live); err != nil {
		return nil, err
	}
	if declared != nil && live != nil {
		if out.Comparable, err = v.yaml(v.comparable(result)); err != nil {
			return nil, err
		}
	}
	v.clean(out.Findings)
	return out, nil
}

// refOf names an object in answers.
func refOf(k objectKey, gvr schema.GroupVersionResource) *driftv1.ObjectRef {
	return &driftv1.ObjectRef{
		ApiVersion: schema.GroupVersion{Group: k.group, Version: gvr.Version}.String(), Kind: k.kind, Namespace: k.namespace, Name: k.name,
	}
}
