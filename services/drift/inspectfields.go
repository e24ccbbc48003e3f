package drift

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// controllers are the managers whose fields nobody declares: what they write, they write again.
var controllers = map[string]bool{
	"kube-controller-manager": true, "kube-scheduler": true, "kubelet": true, "cloud-controller-manager": true, "kube-apiserver": true,
	"cluster-autoscaler": true, "cert-manager-cainjector": true, "snapshot-controller": true, "csi-provisioner": true,
}

// applied are the entries of managedFields by those who declare.
func applied(u *unstructured.Unstructured) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return controllers[m.Manager] || m.Subresource == "status" || m.FieldsV1 == nil
	})
}

// appliers names who declares something of the object.
func appliers(u *unstructured.Unstructured) []string {
	var out []string
	for _, m := range applied(u) {
		out = append(out, m.Manager)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// declaredOf gives of an object the fields that somebody declared, by who owns them: without status, what the server allocated and what
// controllers wrote. Applying it again changes nothing. Values of a Secret are left out.
func declaredOf(u *unstructured.Unstructured) map[string]any {
	owned := fieldpath.NewSet()
	for _, m := range applied(u) {
		var set fieldpath.Set
		if set.FromJSON(m.FieldsV1.GetRawReader()) == nil {
			owned = owned.Union(&set)
		}
	}
	out, _ := kept(u.DeepCopy().Object, owned).(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	delete(out, "status")
	if u.GetKind() == "Secret" && u.GetAPIVersion() == "v1" {
		delete(out, "data")
		delete(out, "stringData")
	}
	out["apiVersion"], out["kind"] = u.GetAPIVersion(), u.GetKind()
	out["metadata"] = declaredMeta(u, out)
	return out
}

// declaredMeta keeps of metadata what a manifest may say.
func declaredMeta(u *unstructured.Unstructured, declared map[string]any) map[string]any {
	owned, _ := declared["metadata"].(map[string]any)
	meta := map[string]any{"name": u.GetName()}
	if u.GetNamespace() != "" {
		meta["namespace"] = u.GetNamespace()
	}
	for _, part := range []string{"labels", "annotations"} {
		values, _ := owned[part].(map[string]any)
		delete(values, kubectlCopy)
		if len(values) > 0 {
			meta[part] = values
		}
	}
	return meta
}

// kept gives the part of a value that a set of fields names. An element that is named as a whole, without anything below it, is kept
// as a whole.
func kept(v any, set *fieldpath.Set) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			pe := fieldpath.PathElement{FieldName: &k}
			if below, deeper := set.Children.Get(pe); deeper {
				out[k] = kept(x, below)
			} else if set.Members.Has(pe) {
				out[k] = x
			}
		}
		return out
	case []any:
		out := []any{}
		for i, x := range v {
			below, named := elementFor(set, x, i)
			switch {
			case below != nil:
				out = append(out, kept(x, below))
			case named:
				out = append(out, x)
			}
		}
		return out
	default:
		return v
	}
}

// elementFor finds what a set says of a list's item: what is named below it, and whether it is named itself.
func elementFor(set *fieldpath.Set, item any, index int) (below *fieldpath.Set, named bool) {
	for pe := range set.Children.All() {
		if isElement(pe, item, index) {
			below, _ = set.Children.Get(pe)
			return below, true
		}
	}
	for pe := range set.Members.All() {
		if isElement(pe, item, index) {
			return nil, true
		}
	}
	return nil, false
}

func isElement(pe fieldpath.PathElement, item any, index int) bool {
	switch {
	case pe.Index != nil:
		return *pe.Index == index
	case pe.Value != nil:
		return fmt.Sprint((*pe.Value).Unstructured()) == fmt.Sprint(item)
	case pe.Key != nil:
		m, ok := item.(map[string]any)
		for _, f := range *pe.Key {
			if fmt.Sprint(f.Value.Unstructured()) != fmt.Sprint(m[f.Name]) {
				return false
			}
		}
		return ok
	}
	return false
}

// isTracking tells a label or annotation by which Argo CD or Flux says that an object is its own.
func isTracking(key string) bool {
	return key == "argocd.argoproj.io/tracking-id" || key == "argocd.argoproj.io/installation-id" ||
		strings.HasPrefix(key, "kustomize.toolkit.fluxcd.io/") && (strings.HasSuffix(key, "/name") || strings.HasSuffix(key, "/namespace"))
}
