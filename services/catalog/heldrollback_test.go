package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

const qaEnv = "applications/shop/environments/qa"

// rolledBack has two environments that read an application's variable, the one rolled back.
func rolledBack(t *testing.T) (*world, *catalogv1.Deployment) {
	t.Helper()
	w := newWorld(t)
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	w.env("shop", "qa")
	_, err := w.variables().SetVariable(t.Context(), &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: appLevel, Value: "info"}})
	must(t, err)
	for _, env := range []string{devEnv, qaEnv} {
		w.inState(w.deploy(env, reading("api", "LOG_LEVEL")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	}
	w.inState(w.deploy(devEnv, reading("worker", "LOG_LEVEL")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv})
	must(t, err)
	return w, w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func (w *world) held(env, want string) {
	w.t.Helper()
	if got := w.getEnv(env).GetHeldByRollback(); got != want {
		w.t.Errorf("%s is held by %q, want %q", env, got, want)
	}
}

func (w *world) rollOut(value string) *catalogv1.SetVariableResponse {
	w.t.Helper()
	out, err := w.variables().SetVariable(w.t.Context(), &catalogv1.SetVariableRequest{
		Variable: &catalogv1.Variable{Name: appLevel, Value: value}, Rollout: catalogv1.Rollout_ROLLOUT_ALL,
	})
	must(w.t, err)
	return out
}

func TestAfterARollbackNothingDeploysByItselfUntilAPersonDoes(t *testing.T) {
	w, back := rolledBack(t)
	w.held(devEnv, back.GetName())
	w.held(qaEnv, "")
	l, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/shop"})
	must(t, err)
	if got := l.GetEnvironments()[0].GetHeldByRollback(); got != back.GetName() {
		t.Errorf("in the list it is held by %q", got)
	}

	out := w.rollOut("debug")
	if diff := cmp.Diff([]string{devEnv}, out.GetHeldEnvironments()); diff != "" {
		t.Errorf("what is left out differs (-want +got):\n%s", diff)
	}
	if len(out.GetDeployments()) != 1 || out.GetDeployments()[0].GetName() != qaEnv+"/deployments/2" || out.GetVariable().GetValue() != "debug" {
		t.Errorf("rolled out to %v", out.GetDeployments())
	}
	if latest := w.getEnv(devEnv).GetLatestDeployment(); latest != back.GetName() {
		t.Errorf("the newest deployment is %s, want the rollback", latest)
	}

	mine, err := w.variables().SetVariable(t.Context(), &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: devEnv + "/variables/OTHER", Value: "1"}})
	must(t, err)
	if len(mine.GetHeldEnvironments()) != 0 || len(mine.GetDeployments()) != 1 {
		t.Errorf("a person's change of that environment came to %v", mine)
	}
	w.held(devEnv, "")
	if out := w.rollOut("trace"); len(out.GetHeldEnvironments()) != 0 || len(out.GetDeployments()) != 2 {
		t.Errorf("after a person's deployment it is rolled out to %v, without %v", out.GetDeployments(), out.GetHeldEnvironments())
	}
}

func TestEveryDeploymentThatNamesTheEnvironmentEndsTheHold(t *testing.T) {
	for what, deploy := range map[string]func(*world) error{
		"a deployment": func(w *world) error {
			_, err := w.api.CreateDeployment(w.t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: reading("more", "LOG_LEVEL")})
			return err
		},
		"a promotion": func(w *world) error {
			_, err := w.api.Promote(w.t.Context(), &catalogv1.PromoteRequest{Name: devEnv, Promotion: &catalogv1.Promotion{From: qaEnv}})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, _ := rolledBack(t)
			w.t = t
			must(t, deploy(w))
			w.held(devEnv, "")
		})
	}
}

func TestARollbackThatNeverReachedGitHoldsNothing(t *testing.T) {
	w := newWorld(t)
	fails := make(chan bool, 8)
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		if <-fails {
			w.must(w.publish(devEnv, "deployment.failed", cmd.GetDeployment()+"-f", time.Now(), &eventsv1.DeploymentFailed{
				Deployment: cmd.GetDeployment(), Stage: "commit", Reason: "PUSH_REFUSED", Message: "no",
			}))
			return
		}
		w.succeed(cmd)
	})
	w.app("shop")
	w.env("shop", "dev")
	for i := range 2 {
		fails <- false
		w.inState(w.deploy(devEnv, reading(fmt.Sprintf("w%d", i), "X")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	}
	rollback := func() *catalogv1.Deployment {
		back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: devEnv + "/deployments/1"})
		must(t, err)
		return back
	}
	w.held(devEnv, "")
	back := rollback()
	w.held(devEnv, back.GetName()) // from here on nothing may come in between
	fails <- true
	w.inState(back.GetName(), catalogv1.Deployment_STATE_FAILED)
	eventually(t, func() error {
		if got := w.getEnv(devEnv).GetHeldByRollback(); got != "" {
			return fmt.Errorf("held by %s", got)
		}
		return nil
	})

	fails <- false
	back = w.inState(rollback().GetName(), catalogv1.Deployment_STATE_HEALTHY)
	d := w.deploy(devEnv, reading("next", "X"))
	w.held(devEnv, "")
	fails <- true
	w.inState(d.GetName(), catalogv1.Deployment_STATE_FAILED)
	eventually(t, func() error { // what runs is what the rollback put back
		if got := w.getEnv(devEnv).GetHeldByRollback(); got != back.GetName() {
			return fmt.Errorf("held by %q", got)
		}
		return nil
	})
}

func TestNobodySetsAHold(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	e, err := w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "dev",
		Environment: &catalogv1.Environment{Type: "environmentTypes/development", HeldByRollback: "x"},
	})
	if err == nil && e.GetHeldByRollback() != "" {
		t.Errorf("a new environment is held by %q", e.GetHeldByRollback())
	}
	if err != nil {
		wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	}
}
