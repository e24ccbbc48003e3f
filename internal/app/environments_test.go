package app_test

import (
	"slices"
	"strings"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// One call makes an environment with three workloads that are all available when its deployment is healthy; a copy of it is
// made by another call, what was tried there is promoted, and nothing is left of the copy when it is deleted.
func TestAnEnvironmentIsMadeByOneCallCopiedPromotedAndDeleted(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	apptest.Call(t, s.Catalog.CreateApplication, &catalogv1.CreateApplicationRequest{ApplicationId: "lives"})
	create := func(id, from string, change *catalogv1.Change) *catalogv1.Environment {
		e := apptest.Call(t, s.Catalog.CreateEnvironment, &catalogv1.CreateEnvironmentRequest{
			Parent: "applications/lives", EnvironmentId: id, Environment: &catalogv1.Environment{Type: "environmentTypes/development"}, From: from, Change: change,
		})
		s.WaitState(t, e.GetLatestDeployment(), apptest.Healthy)
		available := strings.Fields(cluster.Kubectl(t, "-n", e.GetNamespace(), "get", "deployments", "-o",
			"jsonpath={range .items[*]}{.metadata.name}:{.status.availableReplicas}{'\\n'}{end}"))
		if slices.Sort(available); !slices.Equal(available, []string{"api:1", "web:1", "worker:1"}) {
			t.Errorf("available in %s: %v", id, available)
		}
		return e
	}
	documents := []string{apptest.Score("api", map[string]string{"LEVEL": "info"}), apptest.Score("web", nil), apptest.Score("worker", nil)}
	dev := create("dev", "", apptest.Scores(documents...))
	preview := create("preview", dev.GetName(), apptest.Scores(apptest.Score("api", map[string]string{"LEVEL": "debug"})))
	if preview.GetOrigin().GetKind() != catalogv1.Origin_KIND_CLONE || preview.GetOrigin().GetSource() != dev.GetLatestDeployment() {
		t.Errorf("origin = %v", preview.GetOrigin())
	}

	promoted := apptest.Call(t, s.Catalog.Promote, &catalogv1.PromoteRequest{Name: dev.GetName(), Promotion: &catalogv1.Promotion{From: preview.GetName()}})
	promoted = s.WaitState(t, promoted.GetName(), apptest.Healthy)
	if promoted.GetPromotionOf() != preview.GetLatestDeployment() || promoted.GetFilesChanged() != 1 {
		t.Errorf("promotion = %v", promoted)
	}
	back := apptest.Call(t, s.Catalog.Rollback, &catalogv1.RollbackRequest{Name: dev.GetName()})
	back, first := s.WaitState(t, back.GetName(), apptest.Healthy), s.Deployment(t, dev.GetLatestDeployment())
	if back.GetTree() != first.GetTree() || back.GetSha256() != first.GetSha256() || first.GetSha256() == "" || back.GetRendererVersion() != first.GetRendererVersion() {
		t.Errorf("back = %v, want what %v made", back, first)
	}
	list := apptest.Call(t, s.Catalog.ListEnvironments, &catalogv1.ListEnvironmentsRequest{Parent: "applications/lives"}).GetEnvironments()
	if r := list[0].GetRunning(); r.GetDeployment() != back.GetName() || r.GetVersion() != "1" || r.GetCommit() != back.GetCommit() || r.GetSince() == nil {
		t.Errorf("running = %v", r)
	}

	removal := apptest.Call(t, s.Catalog.DeleteEnvironment, &catalogv1.DeleteEnvironmentRequest{Name: preview.GetName()})
	s.WaitState(t, removal.GetName(), apptest.Healthy)
	if left := gittest.Git(t, s.Clone(t), "ls-tree", "-r", "--name-only", "HEAD", "environments/preview/lives"); left != "" {
		t.Errorf("left in Git: %s", left)
	}
	if left := cluster.Kubectl(t, "get", "namespace", preview.GetNamespace(), "--ignore-not-found", "-o", "name"); left != "" {
		t.Errorf("left in the cluster: %s", left)
	}
	if history := s.History(t, preview.GetName()); len(history) != 2 {
		t.Errorf("the history has %d deployments, want 2", len(history))
	}
}
