package drift_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// An adoption hands ownership over object by object. Whenever the process dies on the way, the next one ends it: the objects are the
// same ones, nobody else owns what Git declares, and what somebody else added is still told.
func TestAHandoverThatIsCutOffAnywhereIsEndedByTheNextProcess(t *testing.T) {
	t.Parallel()
	manifests := configMap("one", "x") + configMap("two", "x") + configMap("three", "x")
	for _, c := range []struct {
		at    int64
		after bool
	}{{2, false}, {2, true}, {3, true}, {4, false}, {5, true}} {
		t.Run(fmt.Sprintf("write %d, after %t", c.at, c.after), func(t *testing.T) {
			w := newWorld(t, nil)
			e := w.newEnv(t)
			applyFile(t, e.ns, manifests)
			devclustertest.Kubectl(t, "-n", e.ns, "annotate", "configmap", "two", "team=blue")
			uids := func() string {
				return devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "one", "two", "three", "-o", "jsonpath={.items[*].metadata.uid}")
			}
			before := uids()
			w.stop()
			e.held = true
			e.want(manifests)
			w.child(t, c.at, c.after)
			w.start()
			e.awaitSynced()
			if now := uids(); now != before {
				t.Errorf("the objects are %s, were %s", now, before)
			}
			list, err := client(t).CoreV1().ConfigMaps(e.ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list.Items {
				for _, o := range m.ManagedFields {
					if o.Manager == "kubectl-client-side-apply" && strings.Contains(string(o.FieldsV1.GetRawBytes()), `"f:LOG_LEVEL"`) {
						t.Errorf("%s: %s still owns what Git declares", m.Name, o.Manager)
					}
				}
			}
			if f := e.awaitOne(); f.GetObjectName() != "two" || f.GetField() != "metadata.annotations[team]" {
				t.Errorf("found %v", f)
			}
			if n := len(told[eventsv1.DriftDetected](e, "drift.detected")); n != 1 {
				t.Errorf("%d findings were told, want one", n)
			}
		})
	}
}
