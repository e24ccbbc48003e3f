package drift_test

import (
	"testing"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
)

// unmanaged is a policy that asks for unmanaged objects, or not.
func unmanaged(revision int64, told bool) *eventsv1.EnvironmentPolicy {
	return &eventsv1.EnvironmentPolicy{Revision: revision, AutomaticSync: true, SyncPolicy: &driftv1.SyncPolicy{ReportUnmanaged: told}}
}

func TestUnmanagedObjectsAreToldWhereThePolicyAsksForThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "by-hand", "--from-literal=a=b")
	e.deploy(web)
	e.staysClean("configmap/web-config")
	e.treat(unmanaged(1, true))
	f := e.awaitOne()
	if f.GetKind() != driftv1.Finding_KIND_UNMANAGED || f.GetObjectName() != "by-hand" || f.GetManager() != "kubectl-create" {
		t.Errorf("found %v", f)
	}
	// Of a kind that the environment does not declare, and what controllers and the control plane make is none.
	devclustertest.Kubectl(t, "-n", e.ns, "create", "serviceaccount", "robot")
	e.awaitCount(2)
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "serviceaccount", "robot")
	e.awaitCount(1)
	// Towpath removes only what it made.
	_, err := e.svc.RevertFindings(t.Context(), &driftv1.RevertFindingsRequest{Parent: e.name, Names: []string{f.GetName()}})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED {
		t.Errorf("revert of what is not ours: %v", err)
	}
	e.revert()
	e.awaitCount(1)
	e.treat(unmanaged(2, false))
	e.awaitCount(0)
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "by-hand", "-o", "name"); got == "" {
		t.Error("it was removed")
	}
}
