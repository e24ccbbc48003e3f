package drift

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
)

// What is taken for healthy without kstatus, kstatus takes for current too, whatever a Deployment says of itself; and a settled one is.
func TestNothingIsPlainlyHealthyThatKstatusDoesNotFindCurrent(t *testing.T) {
	settled := 0
	rapid.Check(t, func(t *rapid.T) {
		few := func(what string) any {
			return rapid.SampledFrom([]any{int64(2), int64(2), int64(2), int64(2), int64(1), int64(0), nil}).Draw(t, what)
		}
		text := func(what string, usual any, others ...any) any { return usually(t, what, usual, others...) }
		st := map[string]any{"observedGeneration": few("observed")}
		for _, k := range []string{"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"} {
			st[k] = few(k)
		}
		conditions := []any{
			map[string]any{"type": text("type", "Available", "Stalled", "Ready"), "status": text("status", "True", "False", "Unknown"), "reason": "x"},
			map[string]any{"type": text("type2", "Progressing", "Reconciling"), "status": text("status2", "True", "False"), "reason": text("reason", "NewReplicaSetAvailable", "ReplicaSetUpdated", "ProgressDeadlineExceeded")},
		}
		if rapid.IntRange(0, 5).Draw(t, "more") == 0 {
			conditions = append(conditions, map[string]any{"type": "ReplicaFailure", "status": "True"})
		}
		st["conditions"] = conditions
		metadata := map[string]any{"name": "web", "generation": few("generation")}
		if rapid.IntRange(0, 9).Draw(t, "deleted") == 0 {
			metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		}
		for _, m := range []map[string]any{st, metadata} {
			for k, v := range m {
				if v == nil {
					delete(m, k)
				}
			}
		}
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
			"spec": map[string]any{"replicas": int64(2), "progressDeadlineSeconds": int64(600)}, "status": st}}
		if !plainlyHealthy(u) {
			return
		}
		settled++
		if r, err := status.Compute(u); err != nil || r.Status != status.CurrentStatus {
			t.Fatalf("%v: kstatus says %v %v", u.Object, r, err)
		}
	})
	if settled == 0 {
		t.Error("no Deployment was plainly healthy")
	}
}

// usually draws the first value, and one of the others now and then.
func usually(t *rapid.T, what string, usual any, others ...any) any {
	if rapid.IntRange(0, 12).Draw(t, "another "+what) > 0 {
		return usual
	}
	return rapid.SampledFrom(others).Draw(t, what)
}
