package drift_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkEditToFinding measures from an edit's request to drift.detected as a subscriber receives it over NATS.
func BenchmarkEditToFinding(b *testing.B) {
	w := newWorld(b, nil)
	e := w.newEnv(b)
	e.deploy(web)
	c := client(b)
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		patch := fmt.Appendf(nil, `{"data":{"KEY_%d":"x"}}`, n)
		at := time.Now()
		if _, err := c.CoreV1().ConfigMaps(e.ns).Patch(b.Context(), "web-config", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "bench"}); err != nil {
			b.Fatal(err)
		}
		took = append(took, w.received(b, fmt.Sprintf("data[KEY_%d]", n)).Sub(at))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[min(len(took)*99/100, len(took)-1)].Microseconds())/1000, "p99-ms")
}

// received gives when the finding of a field arrived.
func (w *world) received(t testing.TB, field string) time.Time {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		w.mu.Lock()
		for _, r := range slices.Backward(w.seen) {
			d := &eventsv1.DriftDetected{}
			if r.typ == "drift.detected" && proto.Unmarshal(r.data, d) == nil && d.GetFinding().GetField() == field {
				w.mu.Unlock()
				return r.at
			}
			if r.typ == "drift.detected" {
				break // the newest one is another's
			}
		}
		w.mu.Unlock()
		time.Sleep(500 * time.Microsecond)
	}
	t.Fatalf("no finding of %s", field)
	return time.Time{}
}
