package catalog_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// renderAll renders everything that an input has, so that whatever changes makes another tree.
func renderAll(version string) func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
	return func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		in, files := r.GetInput(), map[string][]byte{}
		for _, name := range slices.Sorted(maps.Keys(in.GetWorkloads())) {
			doc, err := proto.MarshalOptions{Deterministic: true}.Marshal(in.GetWorkloads()[name])
			if err != nil {
				return nil, err
			}
			var vars []string
			for _, k := range slices.Sorted(maps.Keys(in.GetVariables())) {
				vars = append(vars, k+"="+in.GetVariables()[k])
			}
			files[name+".yaml"] = fmt.Appendf(nil, "%x\nreplicas: %d\nvars: %s\nby: %s\n", doc, in.GetDefaults().GetReplicas(), strings.Join(vars, ","), version)
		}
		return &rendererv1.RenderResponse{
			Bundle: &rendererv1.Bundle{Files: files, Tree: treeID(files), Sha256: "sha-" + treeID(files)}, RendererVersion: version,
		}, nil
	}
}

// movingWorld has a deployment that ran, and after it everything that a rendering depends on changed.
func movingWorld(t *testing.T) (w *world, then, now *catalogv1.Deployment, modes *commandLog) {
	t.Helper()
	w, modes = newWorld(t), &commandLog{}
	w.renderer.set(renderAll("v1"))
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		modes.add(cmd.GetMode().String())
		w.succeedWith(cmd)
	})
	w.app("shop")
	w.env("shop", "dev")
	healthy := func(d *catalogv1.Deployment) *catalogv1.Deployment {
		return w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	}
	then = healthy(w.deploy(devEnv, &catalogv1.Change{
		Scores: []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:1"}}, Variables: map[string]string{"LOG_LEVEL": "info", "GONE": "x"},
	}))
	_, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: &catalogv1.EnvironmentType{
		Name: "environmentTypes/development", Target: "targets/default", AutomaticSync: true, Defaults: &rendererv1.EnvironmentDefaults{Replicas: 5},
	}})
	must(t, err)
	w.renderer.set(renderAll("v2"))
	now = healthy(w.deploy(devEnv, &catalogv1.Change{
		Scores: []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:2"}}, Variables: map[string]string{"LOG_LEVEL": "debug"}, VariableDrops: []string{"GONE"},
	}))
	return w, then, now, modes
}

// succeedWith is succeed with what the world's renderer makes.
func (w *world) succeedWith(cmd *eventsv1.DeploymentRequested) {
	resp := &rendererv1.RenderResponse{} // a tree that is put back is not rendered: nobody knows what it was made by
	tree := cmd.GetRestoreTree()
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RENDER {
		var err error
		if resp, err = w.renderer.Render(w.t.Context(), &rendererv1.RenderRequest{Input: cmd.GetInput()}); err != nil {
			w.must(err)
			return
		}
		tree = resp.GetBundle().GetTree()
	} else {
		w.committer.mu.Lock()
		resp.Bundle = &rendererv1.Bundle{Files: w.committer.trees[tree]}
		w.committer.mu.Unlock()
	}
	w.committer.put(cmd.GetPath(), resp.GetBundle().GetFiles())
	at, committed := cmd.GetRequestTime().AsTime(), committedEvent(cmd, tree)
	committed.Sha256, committed.RendererVersion = resp.GetBundle().GetSha256(), resp.GetRendererVersion()
	w.must(w.desire(cmd, tree))
	w.must(w.publish(devEnv, "deployment.committed", cmd.GetDeployment()+"-c", at, committed))
	w.must(w.publish(devEnv, "environment.synced", cmd.GetDeployment()+"-s", at, syncedEvent(cmd.GetDeployment(), cmd.GetGeneration(), at)))
	w.must(w.publish(devEnv, "environment.health", cmd.GetDeployment()+"-h", at, healthEvent(cmd.GetDeployment(), cmd.GetGeneration(), at)))
}

func TestRollbackGivesTheTreeOfThenWhateverHasChangedSince(t *testing.T) {
	w, then, now, modes := movingWorld(t)
	ctx := t.Context()
	if then.GetTree() == now.GetTree() {
		t.Fatal("nothing has changed")
	}
	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, RollbackTo: then.GetName()})
	must(t, err)
	back, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv, Deployment: then.GetName(), PlanHash: plan.GetPlanHash()})
	must(t, err)
	back = w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if plan.GetTree() != then.GetTree() || back.GetTree() != then.GetTree() || back.GetPlannedTree() != then.GetTree() {
		t.Errorf("planned %s, came to %s, want %s", plan.GetTree(), back.GetTree(), then.GetTree())
	}
	if back.GetSha256() != then.GetSha256() || then.GetSha256() == "" || back.GetRendererVersion() != "v1" {
		t.Errorf("made by %q of %q, want what the deployment of then says", back.GetSha256(), back.GetRendererVersion())
	}
	if !proto.Equal(back.GetIntent(), then.GetIntent()) || back.GetIntent().GetDefaults().GetReplicas() != then.GetIntent().GetDefaults().GetReplicas() {
		t.Errorf("intent = %v, want %v", back.GetIntent(), then.GetIntent())
	}
	if e := w.getEnv(devEnv); !proto.Equal(e.GetIntent(), then.GetIntent()) {
		t.Errorf("the environment is meant to be %v", e.GetIntent())
	}
	if got := modes.list(); got[len(got)-1] != "MODE_RESTORE" {
		t.Errorf("commands = %v", got)
	}
	// And forth again.
	forth, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv, Deployment: now.GetName()})
	must(t, err)
	if forth = w.inState(forth.GetName(), catalogv1.Deployment_STATE_HEALTHY); forth.GetTree() != now.GetTree() || forth.GetRendererVersion() != "v2" {
		t.Errorf("forth = %v", forth)
	}
}

func TestRollbackThatRendersAnewTakesTheIntentOfThenAndTheRestOfToday(t *testing.T) {
	w, then, _, modes := movingWorld(t)
	ctx := t.Context()
	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, RollbackTo: then.GetName(), Rerender: true})
	must(t, err)
	back, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: devEnv, Deployment: then.GetName(), Rerender: true, PlanHash: plan.GetPlanHash()})
	must(t, err)
	back = w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if back.GetTree() != plan.GetTree() || back.GetTree() == then.GetTree() {
		t.Errorf("came to %s, planned %s, then it was %s", back.GetTree(), plan.GetTree(), then.GetTree())
	}
	in := back.GetIntent()
	if in.GetSet() != then.GetIntent().GetSet() || in.GetVariables()["LOG_LEVEL"] != "info" || in.GetVariables()["GONE"] != "x" || in.GetDefaults().GetReplicas() != 5 {
		t.Errorf("intent = %v, want set and variables of then and defaults of today", in)
	}
	if back.GetKind() != catalogv1.Deployment_KIND_ROLLBACK || back.GetRollbackOf() != then.GetName() || !back.GetRerender() || back.GetRendererVersion() != "v2" {
		t.Errorf("rollback = %v", back)
	}
	if got := modes.list(); got[len(got)-1] != "MODE_RENDER" {
		t.Errorf("commands = %v", got)
	}
}

func TestRemovalIsPlannedAndHeldToItsPlan(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	d := w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	ctx := t.Context()
	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, Removal: true})
	must(t, err)
	if plan.GetBaseTree() != d.GetTree() || plan.GetTree() != "" || len(plan.GetFiles()) != 1 ||
		plan.GetFiles()[0].GetAction() != catalogv1.FileChange_ACTION_DELETE || len(plan.GetWarnings()) != 0 {
		t.Errorf("plan = %v", plan)
	}
	base := w.committer.put(devPath, map[string][]byte{"db.yaml": []byte("kind: PersistentVolumeClaim\n")})
	_, err = w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv, PlanHash: plan.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "base_tree" {
		t.Errorf("moved = %q", e.Meta["moved"])
	}
	if e := w.getEnv(devEnv); e.GetState() != catalogv1.Environment_STATE_ACTIVE {
		t.Errorf("state = %s", e.GetState())
	}
	plan, err = w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, Removal: true})
	must(t, err)
	if len(plan.GetWarnings()) != 1 || !strings.Contains(plan.GetWarnings()[0], "claims are kept") {
		t.Errorf("warnings = %v, want that claims are kept", plan.GetWarnings())
	}
	removal, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv, PlanHash: plan.GetPlanHash()})
	must(t, err)
	if removal.GetPlannedBaseTree() != base {
		t.Errorf("held to %q, want %q", removal.GetPlannedBaseTree(), base)
	}
	w.inState(removal.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestRemovalTellsWhatItWaitsForAndWhatIsKept(t *testing.T) {
	w := newWorld(t)
	held := make(chan *eventsv1.DeploymentRequested, 1)
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		if cmd.GetMode() != eventsv1.DeploymentRequested_MODE_REMOVE {
			w.succeed(cmd)
			return
		}
		w.must(w.publish(devEnv, "deployment.committed", "c", cmd.GetRequestTime().AsTime(), committedEvent(cmd, "")))
		w.must(w.publish(devEnv, "deployment.waiting", "w", cmd.GetRequestTime().AsTime(), &eventsv1.DeploymentWaiting{
			Deployment: cmd.GetDeployment(), Stage: "sync", Reason: "ConfigMap web (finalizer example.com/hold)",
		}))
		held <- cmd
	})
	w.app("shop")
	w.env("shop", "dev")
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	removal, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	cmd := <-held
	eventually(t, func() error {
		if d := w.get(removal.GetName()); !strings.Contains(d.GetWaitingReason(), "example.com/hold") {
			return fmt.Errorf("waits for %q in %s", d.GetWaitingReason(), d.GetState())
		}
		return nil
	})
	if e := w.getEnv(devEnv); e.GetState() != catalogv1.Environment_STATE_DELETING {
		t.Errorf("state = %s", e.GetState())
	}
	for _, id := range []string{"r", "r-again"} {
		w.emit(devEnv, "environment.removed", id, cmd.GetRequestTime().AsTime(), &eventsv1.EnvironmentRemoved{
			Environment: devEnv, Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Retained: []string{"PersistentVolumeClaim data in namespace shop-dev"},
		})
	}
	d := w.inState(removal.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if want := []string{"removed the environment", "kept PersistentVolumeClaim data in namespace shop-dev"}; !slices.Equal(d.GetSummary(), want) || d.GetWaitingReason() != "" {
		t.Errorf("summary = %q, waits for %q", d.GetSummary(), d.GetWaitingReason())
	}
}
