package drift_test

import (
	"strings"
	"testing"

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
