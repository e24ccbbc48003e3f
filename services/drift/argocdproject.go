package drift

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argoShare begins the annotation in which each environment notes what it needs of its application's AppProject. The project's spec
// follows from all of them, so that processes which look after different environments of one application do not undo each other.
const argoShare = "environments.towpath.dev/"

// argoNeeds is one environment's share of a project.
type argoNeeds struct {
	Server     string   `json:"server"`
	Namespaces []string `json:"namespaces"`
	Sources    []string `json:"sources"`
	Kinds      []string `json:"kinds,omitempty"`
	Account    string   `json:"account,omitempty"`
}

func (a *argoCD) projectName() string { return "towpath-" + strings.Split(a.e.name, "/")[1] }

func (a *argoCD) shareKey() string { return argoShare + strings.Split(a.e.name, "/")[3] }

// ensureProject lets the application's project allow what this environment needs, and nothing that no environment needs.
func (a *argoCD) ensureProject(ctx context.Context, p policy) error {
	need := argoNeeds{Server: a.destination, Namespaces: append([]string{a.d.GetNamespace()}, p.sync.GetNamespaces()...), Kinds: p.sync.GetClusterKinds()}
	for _, place := range a.places {
		if !slices.Contains(need.Sources, place.url) {
			need.Sources = append(need.Sources, place.url)
		}
	}
	as, err := engineAccount(a.d, p)
	if err != nil {
		return err
	}
	if need.Account = as.name; as.namespace != "" {
		need.Account = as.namespace + ":" + as.name
	}
	b, err := json.Marshal(need)
	if err != nil {
		return err
	}
	live, err := a.c.dyn.Resource(a.project).Namespace(a.namespace).Get(ctx, a.projectName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return clusterError(err, "read AppProject "+a.projectName())
	}
	shares := argoShares(live)
	shares[a.shareKey()] = string(b)
	return a.e.ensureEngineObject(ctx, a.c, a.project, a.projectOf(shares), "")
}

// argoShares are what the environments noted in a project.
func argoShares(project *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	if project == nil {
		return out
	}
	for k, v := range project.GetAnnotations() {
		if strings.HasPrefix(k, argoShare) {
			out[k] = v
		}
	}
	return out
}

// projectOf is the project that the shares make.
func (a *argoCD) projectOf(shares map[string]string) *unstructured.Unstructured {
	sources, places, kinds, accounts := map[string]bool{}, map[[2]string]bool{}, map[string]bool{}, map[[3]string]bool{}
	for _, text := range shares {
		var n argoNeeds
		if json.Unmarshal([]byte(text), &n) != nil {
			continue // somebody edited it; its environment puts it right
		}
		for _, s := range n.Sources {
			sources[s] = true
		}
		for _, ns := range n.Namespaces {
			places[[2]string{n.Server, ns}] = true
			if n.Account != "" {
				accounts[[3]string{n.Server, ns, n.Account}] = true
			}
		}
		for _, k := range n.Kinds {
			kinds[k] = true
		}
	}
	spec := map[string]any{
		"description": "Kept by Towpath for " + strings.Join(strings.Split(a.e.name, "/")[:2], "/"),
		"sourceRepos": []any{}, "destinations": []any{}, "clusterResourceWhitelist": []any{},
	}
	for _, s := range slices.Sorted(maps.Keys(sources)) {
		spec["sourceRepos"] = append(spec["sourceRepos"].([]any), s)
	}
	for _, d := range slices.SortedFunc(maps.Keys(places), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		spec["destinations"] = append(spec["destinations"].([]any), map[string]any{"server": d[0], "namespace": d[1]})
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		kind, group, _ := strings.Cut(k, ".")
		spec["clusterResourceWhitelist"] = append(spec["clusterResourceWhitelist"].([]any), map[string]any{"group": group, "kind": kind})
	}
	// Argo CD acts as them where its application.sync.impersonation.enabled is set.
	var as []any
	for _, x := range slices.SortedFunc(maps.Keys(accounts), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
		as = append(as, map[string]any{"server": x[0], "namespace": x[1], "defaultServiceAccount": x[2]})
	}
	if as != nil {
		spec["destinationServiceAccounts"] = as
	}
	notes := map[string]any{}
	for k, v := range shares {
		notes[k] = v
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": a.version, "kind": "AppProject",
		"metadata": map[string]any{"name": a.projectName(), "namespace": a.namespace, "annotations": notes},
		"spec":     spec,
	}}
}

// leaveProject takes this environment's share out of the project, which goes with the last one.
func (a *argoCD) leaveProject(ctx context.Context) error {
	r := a.c.dyn.Resource(a.project).Namespace(a.namespace)
	live, err := r.Get(ctx, a.projectName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return clusterError(err, "read AppProject "+a.projectName())
	}
	shares := argoShares(live)
	if _, ok := shares[a.shareKey()]; !ok {
		return nil
	}
	delete(shares, a.shareKey())
	version := live.GetResourceVersion()
	if len(shares) == 0 {
		err := r.Delete(ctx, a.projectName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
		if err != nil && !apierrors.IsNotFound(err) {
			return clusterError(err, "remove AppProject "+a.projectName())
		}
		return nil
	}
	next := live.DeepCopy()
	notes := next.GetAnnotations()
	delete(notes, a.shareKey())
	next.SetAnnotations(notes)
	next.Object["spec"] = a.projectOf(shares).Object["spec"]
	if _, err := r.Update(ctx, next, metav1.UpdateOptions{FieldManager: engineManager}); err != nil {
		return clusterError(err, "write AppProject "+a.projectName())
	}
	return nil
}
