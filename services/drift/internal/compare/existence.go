package compare

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// systemObjects are what the control plane puts into every namespace, by "group/Kind", name or "*" for all of the kind.
var systemObjects = map[string][]string{
	"/ConfigMap":                     {"kube-root-ca.crt", "openshift-service-ca.crt"},
	"/ServiceAccount":                {"default"},
	"/Event":                         {"*"},
	"/Endpoints":                     {"*"},
	"events.k8s.io/Event":            {"*"},
	"discovery.k8s.io/EndpointSlice": {"*"},
	"coordination.k8s.io/Lease":      {"*"},
	"metrics.k8s.io/PodMetrics":      {"*"},
}

// Undeclared judges a live object that is not declared. Ours (by the inventory or a tracking label, which the caller knows)
// is Orphaned. Anything else is Unmanaged, unless another object owns it or the control plane put it there: then ok is
// false. The manager is the last writer according to managedFields.
func Undeclared(live *unstructured.Unstructured, ours bool) (f Finding, ok bool) {
	if live == nil || !ours && isSystem(live) {
		return Finding{}, false
	}
	f = Finding{Kind: Orphaned, Manager: UnknownManager, Note: "no longer declared; the manager is the last writer"}
	if !ours {
		f.Kind, f.Note = Unmanaged, "never declared; the manager is the last writer"
	}
	m, _ := live.Object["metadata"].(map[string]any)
	var writers []*owner
	for _, o := range readOwners(m, func(string) bool { return false }) {
		if o.subresource != "status" {
			writers = append(writers, &o)
		}
	}
	if len(writers) > 0 {
		last := latest(writers)
		f.Manager, f.Operation, f.Time = last.manager, last.op(), last.at
	}
	return f, true
}

// terminating is the finding of a declared object that somebody deletes.
func terminating(live *unstructured.Unstructured) Finding {
	f := Finding{Kind: Terminating, Manager: UnknownManager, Note: "a deletion leaves no owner"}
	if at := live.GetDeletionTimestamp(); at != nil {
		f.Time = at.UTC()
		if grace := live.GetDeletionGracePeriodSeconds(); grace != nil {
			f.Time = f.Time.Add(-time.Duration(*grace) * time.Second) // the timestamp is when its time is up
		}
	}
	if left := live.GetFinalizers(); len(left) > 0 {
		f.Note += "; it waits for " + strings.Join(left, ", ")
	}
	return f
}

// isSystem says that an object follows from another one or from the namespace itself.
func isSystem(live *unstructured.Unstructured) bool {
	m, _ := live.Object["metadata"].(map[string]any)
	if owners, _ := m["ownerReferences"].([]any); len(owners) > 0 {
		return true
	}
	gvk := live.GroupVersionKind()
	names := systemObjects[gvk.Group+"/"+gvk.Kind]
	return slices.Contains(names, "*") || slices.Contains(names, live.GetName()) ||
		isSecret(gvk) && live.Object["type"] == "kubernetes.io/service-account-token"
}
