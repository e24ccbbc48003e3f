package drift_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func TestWhatKeepsPodsFromBeingThereAtAllIsTheReason(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	devclustertest.Kubectl(t, "-n", e.ns, "create", "quota", "none", "--hard=pods=0")
	e.deploy(stateful)
	await(e, "environment.health", func(h *eventsv1.EnvironmentHealth) bool {
		return strings.Contains(h.GetMessage(), "StatefulSet/db") && strings.Contains(h.GetMessage(), "FailedCreate") && strings.Contains(h.GetMessage(), "exceeded quota: none")
	})
}

func TestASecretInAWarningIsNotInTheReason(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	devclustertest.Kubectl(t, "-n", e.ns, "create", "quota", "none", "--hard=pods=0")
	secret := "ghp_" + strings.Repeat("a1B2c3", 6)
	later := metav1.NewTime(time.Now().Add(time.Minute)) // so that it is the newest warning
	_, err := client(t).CoreV1().Events(e.ns).Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "told"}, Type: "Warning", Reason: "FailedCreate", Message: "pull with " + secret + " failed", Count: 1,
		InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: e.ns, Name: "db"}, FirstTimestamp: later, LastTimestamp: later,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.deploy(stateful)
	h := await(e, "environment.health", func(h *eventsv1.EnvironmentHealth) bool { return strings.Contains(h.GetMessage(), "FailedCreate") })
	if !strings.Contains(h.GetMessage(), "not shown") || strings.Contains(h.GetMessage(), secret) {
		t.Errorf("told %q", h.GetMessage())
	}
}
