package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func failedEvent(name, reason string) events.Delivery {
	return delivery("deployment.failed", sec(20), &eventsv1.DeploymentFailed{Deployment: name, Stage: "commit", Reason: reason, Message: "no"})
}

func cancelledEvent(n int) events.Delivery {
	return delivery("deployment.cancelled", sec(30), &eventsv1.DeploymentCancelled{Deployment: dep(n), Generation: int64(n)})
}

// lastCommand gives the last command to deploy that was published.
func (b *lightBus) lastCommand(t testing.TB) *eventsv1.DeploymentRequested {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.sent) - 1; i >= 0; i-- {
		if cmd, ok := b.sent[i].Body.(*eventsv1.DeploymentRequested); ok {
			return cmd
		}
	}
	t.Fatal("no command was published")
	return nil
}

// cancels gives the requests to withdraw that were published.
func (b *lightBus) cancels() []events.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []events.Message
	for _, m := range b.sent {
		if m.Type == "dev.towpath.deployment.cancel" {
			out = append(out, m)
		}
	}
	return out
}

func (w *world) cancel(name string) (*catalogv1.Deployment, error) {
	return w.api.CancelDeployment(w.t.Context(), &catalogv1.CancelDeploymentRequest{Name: name, Comment: "a mistake"})
}

func TestCommittersAnswerDecidesWhatACancellationComesTo(t *testing.T) {
	for name, tc := range map[string]struct {
		answer    events.Delivery
		state     catalogv1.Deployment_State
		variables string
	}{
		"it was withdrawn":      {cancelledEvent(2), cancelled, "A=1"},
		"it was in Git already": {committedAt(2, 30), catalogv1.Deployment_STATE_SYNCING, "A=1 B=1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := shop(t)
			handle := <-b.handler
			w.deploy(devEnv, variable("A", "1"))
			sentTo(t, b, 1)
			must(t, handle(t.Context(), committedAt(1, 10)))
			d := w.deploy(devEnv, variable("B", "1"))
			sentTo(t, b, 2)
			for range 2 { // asking again is no mistake
				got, err := w.cancel(d.GetName())
				must(t, err)
				if got.GetState() != pending || got.GetCancellation().GetText() != "a mistake" || !strings.Contains(got.GetWaitingReason(), "cancelled by") {
					t.Fatalf("cancelled: %v", got)
				}
			}
			if got := variables(w.getEnv(devEnv).GetIntent()); got != "A=1" {
				t.Errorf("while it is cancelled the environment is meant to be %q", got)
			}
			eventually(t, func() error {
				if n := len(b.cancels()); n != 1 {
					return fmt.Errorf("%d requests to withdraw", n)
				}
				return nil
			})
			m := b.cancels()[0]
			shard := events.Shard(b.lastCommand(t).GetRepository().GetUrl(), b.lastCommand(t).GetRepository().GetBranch())
			if cmd := b.lastCommand(t); m.Subject != "towpath.cmd.commit."+shard+".shop.dev.cancel" || m.Body.(*eventsv1.CancelRequested).GetRequestId() != cmd.GetRequestId() {
				t.Errorf("request to withdraw: %v", m)
			}
			must(t, handle(t.Context(), tc.answer))
			if got := w.get(d.GetName()); got.GetState() != tc.state {
				t.Errorf("it is %s, want %s", got.GetState(), tc.state)
			}
			if got := variables(w.getEnv(devEnv).GetIntent()); got != tc.variables {
				t.Errorf("the environment is meant to be %q, want %q", got, tc.variables)
			}
			next := w.deploy(devEnv, variable("C", "1"))
			if all := sentTo(t, b, 3); all[2] != next.GetName() {
				t.Errorf("commands %v", all)
			}
		})
	}
}

func TestCancellationIsAskedForAgainAfterARestart(t *testing.T) {
	kv := memkv.New()
	w, b := lightWorld(t, kv)
	w.app("shop")
	w.env("shop", "dev")
	d := w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	_, err := w.cancel(d.GetName())
	must(t, err)
	w.stop()
	_, again := lightWorld(t, kv)
	eventually(t, func() error {
		if n := len(again.cancels()); n == 0 {
			return fmt.Errorf("no request to withdraw")
		}
		return nil
	})
	if got := again.commands(); len(got) != 0 {
		t.Errorf("the command was sent again: %v", got)
	}
}

func TestWaitingDeploymentIsCancelledAtOnce(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1) // and has no outcome, so that what follows waits
	w.deploy(devEnv, variable("B", "1"))
	w.deploy(devEnv, variable("C", "1"))
	_, err := w.cancel(dep(2))
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); !strings.Contains(e.Msg, dep(3)) {
		t.Errorf("error = %v", e)
	}
	for _, n := range []int{3, 2} {
		got, err := w.cancel(dep(n))
		must(t, err)
		if got.GetState() != cancelled || got.GetEndTime() == nil {
			t.Fatalf("cancelled: %v", got)
		}
	}
	if got := variables(w.getEnv(devEnv).GetIntent()); got != "A=1" {
		t.Errorf("the environment is meant to be %q", got)
	}
	must(t, handle(t.Context(), committedAt(1, 10)))
	last := w.deploy(devEnv, variable("D", "1"))
	if all := sentTo(t, b, 2); all[1] != last.GetName() || variables(last.GetIntent()) != "A=1 D=1" {
		t.Errorf("commands %v, intent %v", all, last.GetIntent())
	}
	for _, n := range []int{1, 3} {
		_, err = w.cancel(dep(n))
		wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	}
}

func TestRemovalThatIsCancelledLeavesTheEnvironmentInUse(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	sentTo(t, b, 2)
	_, err = w.cancel(dep(2))
	must(t, err)
	must(t, handle(t.Context(), cancelledEvent(2)))
	if e := w.getEnv(devEnv); e.GetState() != catalogv1.Environment_STATE_ACTIVE {
		t.Errorf("environment %s", e.GetState())
	}
	w.deploy(devEnv, variable("B", "1"))
}

func TestRetryDeploysWhatEndedTooSoon(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	retry := func(n int) (*catalogv1.Deployment, error) {
		return w.api.RetryDeployment(t.Context(), &catalogv1.RetryDeploymentRequest{Name: dep(n), RequestId: fmt.Sprint("retry-", n)})
	}
	_, err := retry(1)
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "PENDING" {
		t.Errorf("meta = %v", e.Meta)
	}
	must(t, handle(t.Context(), committedAt(1, 10)))
	d, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("B", "1"), Message: "b"})
	must(t, err)
	sentTo(t, b, 2)
	must(t, handle(t.Context(), failedEvent(d.GetName(), "PUSH_REFUSED")))
	for range 2 { // the second is the same call once more
		again, err := retry(2)
		must(t, err)
		if again.GetName() != dep(3) || again.GetRetryOf() != dep(2) || again.GetMessage() != "b" || variables(again.GetIntent()) != "A=1 B=1" {
			t.Fatalf("retry: %v", again)
		}
	}
	sentTo(t, b, 3)
	must(t, handle(t.Context(), committedAt(3, 40)))
	_, err = w.api.RetryDeployment(t.Context(), &catalogv1.RetryDeploymentRequest{Name: dep(2)})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); !strings.Contains(e.Msg, "undo") {
		t.Errorf("error = %v", e)
	}
}

// Whoever cancels races with the outbox that sends. Whatever wins, a deployment is never both cancelled at once and sent.
func TestCancelledDeploymentIsNeverSent(t *testing.T) {
	w, b := shop(t)
	const n = 40
	var all sync.WaitGroup
	names := make([]string, n)
	for i := range n {
		env := fmt.Sprintf("race-%d", i)
		w.env("shop", env)
		all.Go(func() {
			d, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{
				Parent: "applications/shop/environments/" + env, Change: variable("A", "1"),
			})
			w.must(err)
			names[i] = d.GetName()
			_, err = w.api.CancelDeployment(context.Background(), &catalogv1.CancelDeploymentRequest{Name: d.GetName()})
			w.must(err)
		})
	}
	all.Wait()
	asked := map[string]bool{}
	eventually(t, func() error { // everything that is still in line was sent and is asked back
		for _, m := range b.cancels() {
			asked[m.Resource] = true
		}
		for _, name := range names {
			if w.get(name).GetState() == pending && !asked[name] {
				return fmt.Errorf("%s is not asked back", name)
			}
		}
		return nil
	})
	for _, name := range b.commands() {
		if !asked[name] {
			t.Errorf("%s is %s and was sent", name, w.get(name).GetState())
		}
	}
}
