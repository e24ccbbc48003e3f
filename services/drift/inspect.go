package drift

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// maxInspected bounds what is read for an adoption; an environment of more would not fit into a command either.
const maxInspected = 5000

// InspectObjects reads what would be adopted. It changes nothing.
func (i inspectServer) InspectObjects(ctx context.Context, req *driftv1.InspectObjectsRequest) (*driftv1.InspectObjectsResponse, error) {
	selector, err := labels.Parse(req.GetSelector())
	if err != nil {
		return nil, errs.InvalidField("selector", "is no label selector: %v; write it as for kubectl -l, such as app=shop,tier!=test", err)
	}
	t := req.GetTarget()
	c, err := i.s.cluster(&eventsv1.TargetRef{
		Name: t.GetName(), Engine: t.GetEngine(), Kubeconfig: t.GetKubeconfig(), Context: t.GetContext(), Server: t.GetServer(),
		Credentials: t.GetCredentials(), RequestLimit: t.GetRequestLimit(),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	out := &driftv1.InspectObjectsResponse{ReadTime: timestamppb.New(i.s.cfg.Now())}
	var found []*unstructured.Unstructured
	switch {
	case req.GetArgocdApplication() != "":
		found, out.Source, err = c.ofApplication(ctx, req.GetArgocdApplication())
	case req.GetFluxKustomization() != "":
		found, out.Source, err = c.ofKustomization(ctx, req.GetFluxKustomization())
	case req.GetNamespace() != "":
		found, err = c.ofNamespace(ctx, req.GetNamespace(), selector)
	default:
		return nil, errs.InvalidField("namespace", "is empty; say where to look")
	}
	if err != nil {
		return nil, err
	}
	scaled := scaledByOthers(found)
	for _, u := range found {
		o, err := inspected(u, scaled)
		if err != nil {
			return nil, err
		}
		if o != nil {
			out.Objects = append(out.Objects, o)
		}
	}
	slices.SortFunc(out.Objects, func(a, b *driftv1.InspectedObject) int {
		return cmp.Or(strings.Compare(a.GetObject().GetKind(), b.GetObject().GetKind()), strings.Compare(a.GetObject().GetNamespace(), b.GetObject().GetNamespace()),
			strings.Compare(a.GetObject().GetName(), b.GetObject().GetName()))
	})
	return out, nil
}

// neverAdopted are kinds that nobody declares.
var neverAdopted = map[string]bool{"events": true, "endpoints": true, "endpointslices": true, "leases": true, "controllerrevisions": true, "bindings": true}

// ofNamespace lists everything in a namespace that can be declared.
func (c *cluster) ofNamespace(ctx context.Context, namespace string, selector labels.Selector) ([]*unstructured.Unstructured, error) {
	if _, err := c.dyn.Resource(namespaces).Get(ctx, namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT, "there is no namespace %s in %s", namespace, c.name)
	} else if err != nil && !apierrors.IsForbidden(err) {
		return nil, clusterError(err, "read namespace "+namespace)
	}
	groups, err := discovery.ServerPreferredNamespacedResources(discovery.NewDiscoveryClient(c.probe))
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	if err != nil {
		// An aggregated API that does not answer may hold objects of the namespace; leaving them out in silence would be wrong.
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster does not tell all of its kinds: %v", err)
	}
	var out []*unstructured.Unstructured
	for _, g := range groups {
		gv, err := schema.ParseGroupVersion(g.GroupVersion)
		if err != nil {
			continue // no object can be of it
		}
		for _, r := range g.APIResources {
			if neverAdopted[r.Name] || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "patch") || strings.Contains(r.Name, "/") {
				continue
			}
			list, err := c.dyn.Resource(gv.WithResource(r.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return nil, clusterError(err, "list "+r.Name)
			}
			for j := range list.Items {
				out = append(out, &list.Items[j])
			}
			if len(out) > maxInspected {
				return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_TOO_LARGE,
					"namespace %s has more than %d objects; adopt a part of it with a selector", namespace, maxInspected)
			}
		}
	}
	return out, nil
}

// read reads one object that an engine says it manages; nil where it is gone.
func (c *cluster) read(ctx context.Context, k objectKey, version string) (*unstructured.Unstructured, error) {
	gvr, namespaced, err := c.resource(schema.GroupVersionKind{Group: k.group, Version: version, Kind: k.kind})
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	var r interface {
		Get(ctx context.Context, name string, o metav1.GetOptions, sub ...string) (*unstructured.Unstructured, error)
	} = c.dyn.Resource(gvr)
	if namespaced {
		r = c.dyn.Resource(gvr).Namespace(k.namespace)
	}
	u, err := r.Get(ctx, k.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read "+k.kind+" "+k.name)
	}
	return u, nil
}

// scaledByOthers are the objects whose replicas an autoscaler sets.
func scaledByOthers(all []*unstructured.Unstructured) map[string]bool {
	out := map[string]bool{}
	for _, u := range all {
		if u.GetKind() == "HorizontalPodAutoscaler" {
			kind, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "kind")
			name, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "name")
			out[u.GetNamespace()+"/"+kind+"/"+name] = true
		}
	}
	return out
}

// inspected gives what somebody declared of an object; nil for what nobody did.
func inspected(u *unstructured.Unstructured, scaled map[string]bool) (*driftv1.InspectedObject, error) {
	k := keyOf(u)
	if _, foreign := compare.Undeclared(u, false); !foreign || k.name == inventoryName && k.kind == "ConfigMap" {
		return nil, nil // another object's, or the control plane's own
	}
	declared := declaredOf(u)
	managers := appliers(u)
	if len(managers) == 0 {
		return nil, nil
	}
	if scaled[k.namespace+"/"+k.kind+"/"+k.name] {
		unstructured.RemoveNestedField(declared, "spec", "replicas") // or each sync would undo what the autoscaler did
	}
	text, err := yaml.Marshal(declared)
	if err != nil {
		return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "%s %s cannot be written as YAML", k.kind, k.name).Because(err)
	}
	return &driftv1.InspectedObject{
		Object:   &driftv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: k.kind, Namespace: k.namespace, Name: k.name},
		Declared: string(text), Managers: managers, Uid: string(u.GetUID()), Generation: u.GetGeneration(), Problem: problemOf(u),
	}, nil
}

// problemOf says why an object should stay where it is.
func problemOf(u *unstructured.Unstructured) string {
	switch k := keyOf(u); {
	case u.GetDeletionTimestamp() != nil:
		return "it is being deleted"
	case u.GetNamespace() == "":
		return "it belongs to the whole cluster; an environment has what is in its namespace"
	case k.group == "" && k.kind == "Secret":
		return "it holds values, which do not go into Git; it stays in the cluster and the workloads go on reading it by its name. " +
			"To have Towpath keep it, choose a secret strategy for the environment type (existing, external-secrets or sealed-secrets)"
	case k.group == "" && k.kind == "Pod":
		return "it is a pod without a controller, which cannot be changed in place; put it into a Deployment or a Job"
	}
	return ""
}
