package drift

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// plainlyHealthy reports whether a Deployment is one that kstatus finds current in every respect: nearly all are, and to ask kstatus, which
// makes structs of the status first, takes as long as to compare the object. false only means that kstatus is to be asked.
func plainlyHealthy(u *unstructured.Unstructured) bool {
	if u.Object["kind"] != "Deployment" || u.Object["apiVersion"] != "apps/v1" {
		return false
	}
	metadata, _ := u.Object["metadata"].(map[string]any)
	spec, _ := u.Object["spec"].(map[string]any)
	status, _ := u.Object["status"].(map[string]any)
	generation, ok := metadata["generation"].(int64)
	if !ok || metadata["deletionTimestamp"] != nil || status["observedGeneration"] != any(generation) {
		return false
	}
	replicas, ok := spec["replicas"].(int64)
	if !ok || replicas < 1 {
		return false
	}
	for _, k := range [...]string{"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"} {
		if n, ok := status[k].(int64); !ok || n != replicas {
			return false
		}
	}
	conditions, _ := status["conditions"].([]any)
	good := 0
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		switch {
		case m["type"] == "Available" && m["status"] == "True":
		case m["type"] == "Progressing" && m["status"] == "True" && m["reason"] == "NewReplicaSetAvailable":
		default:
			return false
		}
		good++
	}
	return good == 2
}
