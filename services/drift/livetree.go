package drift

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// maxNodes bounds the tree. A person looks at a few hundred objects at the most; a runaway Job must not fill our memory.
const maxNodes = 2000

var (
	replicaSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	jobs        = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
)

// children are the kinds that the controllers of built-in kinds make.
var children = map[string][]schema.GroupVersionResource{
	"Deployment.apps": {replicaSets, pods}, "StatefulSet.apps": {pods, claims}, "DaemonSet.apps": {pods}, "ReplicaSet.apps": {pods},
	"CronJob.batch": {jobs, pods}, "Job.batch": {pods}, "ReplicationController": {pods}, "Pod": nil,
}

// madeByOthers are the kinds that controllers of custom resources make most.
var madeByOthers = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"}, replicaSets, jobs, {Group: "batch", Version: "v1", Resource: "cronjobs"}, pods, claims,
	{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"},
	{Version: "v1", Resource: "serviceaccounts"}, {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, autoscalers,
}

// tree is what an environment has in its cluster.
type tree struct {
	nodes     []*driftv1.ObjectNode
	objects   map[types.UID]*unstructured.Unstructured
	truncated bool
}

// grow reads the declared objects and what they own. Lists come from the API server's cache.
func (sc *scene) grow(ctx context.Context) (*tree, error) {
	t := &tree{objects: map[types.UID]*unstructured.Unstructured{}}
	byOwner := map[types.UID][]*unstructured.Unstructured{}
	present := map[objectKey]*unstructured.Unstructured{}
	kinds, err := sc.kindsToList()
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		list, err := sc.list(ctx, k)
		if err != nil {
			return nil, err
		}
		for i := range list {
			u := &list[i]
			if sc.ours(keyOf(u)) {
				present[keyOf(u)] = u
				continue
			}
			for _, ref := range u.GetOwnerReferences() {
				byOwner[ref.UID] = append(byOwner[ref.UID], u)
			}
			if len(u.GetOwnerReferences()) == 0 && u.GetKind() == "PersistentVolumeClaim" {
				if set := sc.setOf(u, present); set != nil {
					byOwner[set.GetUID()] = append(byOwner[set.GetUID()], u)
				}
			}
		}
	}
	for _, k := range slices.SortedFunc(sc.keys(), compareKeys) {
		t.plant(sc, k, present[k], byOwner)
	}
	return t, nil
}

func (sc *scene) ours(k objectKey) bool {
	_, orphan := sc.orphans[k]
	return sc.declared[k] != nil || orphan
}

// keys are the roots of the tree: what is declared, and what no longer is.
func (sc *scene) keys() func(yield func(objectKey) bool) {
	return func(yield func(objectKey) bool) {
		for k := range sc.declared {
			if !yield(k) {
				return
			}
		}
		for k := range sc.orphans {
			if sc.declared[k] == nil && !yield(k) {
				return
			}
		}
	}
}

func compareKeys(a, b objectKey) int {
	return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name), strings.Compare(a.namespace, b.namespace), strings.Compare(a.group, b.group))
}

// kindsToList gives the declared kinds, then those that their controllers may have made. Declared kinds come first, so that a
// StatefulSet is known before its claims.
func (sc *scene) kindsToList() ([]kindIn, error) {
	roots, more := map[kindIn]bool{}, map[kindIn]bool{}
	groups := map[schema.GroupVersion]bool{}
	for k := range sc.keys() {
		gvr := sc.orphans[k]
		if t := sc.declared[k]; t != nil {
			gvr = t.gvr
		}
		roots[kindIn{gvr, k.namespace}] = true
		known := children[strings.TrimSuffix(k.kind+"."+k.group, ".")]
		if strings.Contains(k.group, ".") && !strings.HasSuffix(k.group, ".k8s.io") || strings.HasSuffix(k.group, ".x-k8s.io") {
			known = madeByOthers
			groups[gvr.GroupVersion()] = true
		}
		for _, c := range known {
			more[kindIn{c, cmp.Or(k.namespace, sc.namespace)}] = true
		}
	}
	for gv := range groups {
		own, err := sc.c.namespacedKinds(gv)
		if err != nil {
			return nil, err
		}
		for _, gvr := range own {
			more[kindIn{gvr, sc.namespace}] = true
		}
	}
	byName := func(a, b kindIn) int { return strings.Compare(a.gvr.String()+a.namespace, b.gvr.String()+b.namespace) }
	out := slices.SortedFunc(maps.Keys(roots), byName)
	for _, l := range slices.SortedFunc(maps.Keys(more), byName) {
		if !roots[l] {
			out = append(out, l)
		}
	}
	return out, nil
}

// namespacedKinds gives the kinds of an API group that can be listed in a namespace.
func (c *cluster) namespacedKinds(gv schema.GroupVersion) ([]schema.GroupVersionResource, error) {
	list, err := discovery.NewDiscoveryClient(c.probe).ServerResourcesForGroupVersion(gv.String())
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds of "+gv.String())
	}
	var out []schema.GroupVersionResource
	for _, r := range list.APIResources {
		if r.Namespaced && slices.Contains(r.Verbs, "list") && !strings.Contains(r.Name, "/") {
			out = append(out, gv.WithResource(r.Name))
		}
	}
	return out, nil
}

// list reads a kind from the API server's cache. A kind that we may not list, or that is gone, has no children to show.
func (sc *scene) list(ctx context.Context, l kindIn) ([]unstructured.Unstructured, error) {
	r := sc.c.dyn.Resource(l.gvr)
	options := metav1.ListOptions{ResourceVersion: "0"}
	var list *unstructured.UnstructuredList
	var err error
	if l.namespace == "" {
		list, err = r.List(ctx, options)
	} else {
		list, err = r.Namespace(l.namespace).List(ctx, options)
	}
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err), apierrors.IsMethodNotSupported(err):
		sc.e.log.Debug("a kind cannot be listed for the tree", "kind", l.gvr.Resource, "error", err)
		return nil, nil
	case err != nil:
		return nil, clusterError(err, "list "+l.gvr.Resource)
	}
	return list.Items, nil
}

// setOf gives the StatefulSet whose template a claim was made from.
func (sc *scene) setOf(claim *unstructured.Unstructured, present map[objectKey]*unstructured.Unstructured) *unstructured.Unstructured {
	for k, u := range present {
		item := inventoryItem{Group: k.group, Kind: k.kind, Namespace: k.namespace, Name: k.name}
		if k.kind == "StatefulSet" && k.namespace == claim.GetNamespace() && madeBy(claim, []inventoryItem{item}) {
			return u
		}
	}
	return nil
}

// plant adds a root with all below it.
func (t *tree) plant(sc *scene, k objectKey, u *unstructured.Unstructured, byOwner map[types.UID][]*unstructured.Unstructured) {
	if u != nil {
		t.branch(sc, u, "", byOwner)
		return
	}
	if len(t.nodes) >= maxNodes {
		t.truncated = true
		return
	}
	n := &driftv1.ObjectNode{Object: refOf(k, sc.orphans[k]), Declared: sc.declared[k] != nil, Health: driftv1.Health_HEALTH_DEGRADED, Message: "is missing"}
	if d := sc.declared[k]; d != nil {
		n.Object = refOf(k, d.gvr)
	}
	t.nodes = append(t.nodes, n)
}

func (t *tree) branch(sc *scene, u *unstructured.Unstructured, owner types.UID, byOwner map[types.UID][]*unstructured.Unstructured) {
	if t.objects[u.GetUID()] != nil {
		return // owned twice, or a circle
	}
	if len(t.nodes) >= maxNodes {
		t.truncated = true
		return
	}
	t.objects[u.GetUID()] = u
	t.nodes = append(t.nodes, sc.node(u, owner))
	below := byOwner[u.GetUID()]
	slices.SortFunc(below, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(strings.Compare(a.GetKind(), b.GetKind()), b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), strings.Compare(a.GetName(), b.GetName()))
	})
	for _, c := range below {
		t.branch(sc, c, u.GetUID(), byOwner)
	}
}

// node shows one object. Of a declared one the environment knows what its pods say.
func (sc *scene) node(u *unstructured.Unstructured, owner types.UID) *driftv1.ObjectNode {
	k := keyOf(u)
	n := &driftv1.ObjectNode{
		Object: &driftv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: k.kind, Namespace: k.namespace, Name: k.name},
		Uid:    string(u.GetUID()), OwnerUid: string(owner), CreateTime: timestamppb.New(u.GetCreationTimestamp().Time),
	}
	n.Health, n.Message = healthOf(u)
	if d := sc.declared[k]; d != nil {
		n.Declared = true
		sc.e.mu.Lock()
		n.Findings = int32(len(d.findings))
		if n.Health != driftv1.Health_HEALTH_HEALTHY && d.why != "" && d.why != n.Message {
			n.Message = strings.TrimPrefix(n.Message+"; "+d.why, "; ")
		}
		sc.e.mu.Unlock()
	} else if owner == "" {
		n.Findings = 1 // an orphan is one itself
	}
	if k.kind == "Pod" && k.group == "" {
		var p corev1.Pod
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p) == nil {
			n.Pod = podState(&p)
			n.Message = cmp.Or(podReason(&p), n.Message)
		}
	}
	return n
}

// GetObjectTree gives what an environment has in its cluster.
func (l liveServer) GetObjectTree(ctx context.Context, req *driftv1.GetObjectTreeRequest) (*driftv1.ObjectTree, error) {
	sc, err := l.s.scene(req.GetParent())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := sc.grow(ctx)
	if err != nil {
		return nil, err
	}
	return &driftv1.ObjectTree{Nodes: t.nodes, Truncated: t.truncated}, nil
}
