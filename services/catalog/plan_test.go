package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const devPath = "environments/dev/shop"

func TestPlanTellsTheExactDiffAndDoesNothing(t *testing.T) {
	w, b := shop(t)
	ctx := t.Context()
	w.deploy(devEnv, &catalogv1.Change{Scores: []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:1"}, {Content: []byte("web"), Image: "web:1"}}})
	w.committer.put(devPath, map[string][]byte{
		"api.yaml": []byte("name: api\nimage: api:1\nlevel: \n"), "old.yaml": []byte("name: old\n"),
	})
	eventually(t, func() error {
		if n := len(b.commands()); n != 1 {
			return fmt.Errorf("%d commands", n)
		}
		return nil
	})
	before := w.getEnv(devEnv)
	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "debug"}}})
	must(t, err)
	if diff := cmp.Diff([]string{"LOG_LEVEL set to debug"}, plan.GetSummary()); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, f := range plan.GetFiles() {
		got = append(got, f.GetPath()+" "+f.GetAction().String())
	}
	want := []string{"api.yaml ACTION_MODIFY", "old.yaml ACTION_DELETE", "web.yaml ACTION_ADD"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantDiff := "--- a/api.yaml\n+++ b/api.yaml\n@@ -1,3 +1,3 @@\n name: api\n image: api:1\n-level: \n+level: debug\n"
	if diff := cmp.Diff(wantDiff, plan.GetFiles()[0].GetDiff()); diff != "" {
		t.Errorf("diff (-want +got):\n%s", diff)
	}
	if plan.GetBaseTree() == "" || plan.GetTree() == "" || len(plan.GetPlanHash()) != 64 {
		t.Errorf("plan = %v", plan)
	}
	if after := w.getEnv(devEnv); after.GetEtag() != before.GetEtag() || len(b.commands()) != 1 {
		t.Error("planning changed something")
	}
}

func TestDeploymentHoldsToItsPlan(t *testing.T) {
	change := score("api", "api:1")
	for name, tc := range map[string]struct {
		between func(*world)
		moved   string
	}{
		"nothing moved":           {func(*world) {}, ""},
		"the branch moved":        {func(w *world) { w.committer.put(devPath, map[string][]byte{"x": []byte("y")}) }, "base_tree"},
		"somebody else deployed":  {func(w *world) { w.deploy(devEnv, score("web", "web:1")) }, "set,tree"},
		"somebody set a variable": {func(w *world) { w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"A": "1"}}) }, "variables"},
		"the environment type changed": {func(w *world) {
			_, err := w.api.UpdateEnvironmentType(w.t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: &catalogv1.EnvironmentType{
				Name: "environmentTypes/development", Defaults: &rendererv1.EnvironmentDefaults{Replicas: 7}, AutomaticSync: true, Target: "targets/default",
			}})
			must(w.t, err)
		}, "environment_type"},
		"the renderer changed": {func(w *world) {
			w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
				out := bundleOf(r.GetInput())
				out.RendererVersion = "v2"
				return out, nil
			})
		}, "renderer_version"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := shop(t)
			plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: change})
			must(t, err)
			tc.between(w)
			d, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: change, PlanHash: plan.GetPlanHash()})
			if tc.moved == "" {
				must(t, err)
				if d.GetPlannedTree() != plan.GetTree() || d.GetPlannedBaseTree() != "absent" {
					t.Errorf("pinned %q on %q", d.GetPlannedTree(), d.GetPlannedBaseTree())
				}
				return
			}
			if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != tc.moved {
				t.Errorf("moved = %q, want %q", e.Meta["moved"], tc.moved)
			}
		})
	}
}

func TestPlanTravelsToTheCommitter(t *testing.T) {
	w := newWorld(t)
	commands := make(chan *eventsv1.DeploymentRequested, 10)
	w.commands(func(cmd *eventsv1.DeploymentRequested) { commands <- cmd })
	w.app("shop")
	w.env("shop", "dev")
	base := w.committer.put(devPath, map[string][]byte{"x": []byte("y")})
	change := score("api", "api:1")
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: change})
	must(t, err)
	_, err = w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{
		Parent: devEnv, Change: change, PlanHash: plan.GetPlanHash(), Message: "first", RequestId: "r1",
	})
	must(t, err)
	cmd := <-commands
	if cmd.GetExpectTree() != plan.GetTree() || cmd.GetExpectBaseTree() != base || cmd.GetMode() != eventsv1.DeploymentRequested_MODE_RENDER {
		t.Errorf("command = %v", cmd)
	}
	if cmd.GetMessage() != "first" || cmd.GetNamespace() != "shop-dev" || cmd.GetPath() != devPath || !cmd.GetAutomaticSync() ||
		cmd.GetTarget().GetName() != "targets/default" || cmd.GetRepository().GetUrl() != "embedded:///deployments" ||
		cmd.GetAuthor().GetSubject() != "tokens/bootstrap-admin" || cmd.GetInput().GetWorkloads()["api"] == nil || cmd.GetRequestTime() == nil {
		t.Errorf("command = %v", cmd)
	}
}

func TestRollbackRestoresTheTreeOfTheLastGoodDeployment(t *testing.T) {
	w := newWorld(t)
	var restored commandLog
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RESTORE {
			restored.add(cmd.GetRestoreTree())
		}
		if strings.Contains(cmd.GetMessage(), "fail") {
			w.must(w.publish(devEnv, "deployment.failed", cmd.GetDeployment()+"-f", cmd.GetRequestTime().AsTime(), &eventsv1.DeploymentFailed{
				Deployment: cmd.GetDeployment(), Stage: "commit", Reason: "PUSH_REFUSED", Message: "protected branch",
			}))
			return
		}
		w.succeed(cmd)
	})
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	healthyNow := func(d *catalogv1.Deployment) *catalogv1.Deployment {
		return w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	}
	_, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	d1 := healthyNow(w.deploy(devEnv, score("api", "api:1")))
	d2 := healthyNow(w.deploy(devEnv, score("api", "api:2")))
	healthyNow(w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"UNUSED": "x"}})) // the same tree as d2

	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, RollbackTo: d1.GetName()})
	must(t, err)
	if plan.GetTree() != d1.GetTree() || plan.GetBaseTree() != d2.GetTree() || len(plan.GetFiles()) != 1 {
		t.Errorf("plan = %v", plan)
	}
	back, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv, Message: "api:2 is broken"})
	must(t, err)
	back = healthyNow(back)
	if back.GetRollbackOf() != d1.GetName() || back.GetTree() != d1.GetTree() || back.GetIntent().GetSet() != d1.GetIntent().GetSet() ||
		back.GetKind() != catalogv1.Deployment_KIND_ROLLBACK || !slices.Equal(restored.list(), []string{d1.GetTree()}) {
		t.Errorf("rollback = %v, restored %v", back, restored.list())
	}
	if diff := cmp.Diff([]string{"api: image api:2 -> api:1", "UNUSED unset (was x)"}, back.GetSummary()); diff != "" {
		t.Error(diff)
	}

	// A deployment that never reached Git changed the intent; going back takes it back to what runs.
	d, err := w.api.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: score("web", "web:1"), Message: "fail"})
	must(t, err)
	if f := w.inState(d.GetName(), catalogv1.Deployment_STATE_FAILED); f.GetError().GetReason() != "PUSH_REFUSED" || f.GetError().GetStage() != "commit" {
		t.Errorf("failure = %v", f.GetError())
	}
	_, err = w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv, Deployment: d.GetName()})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	again, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv})
	must(t, err)
	if again.GetRollbackOf() != back.GetName() {
		t.Errorf("rollback of %s, want %s", again.GetRollbackOf(), back.GetName())
	}
	healthyNow(again)
}
