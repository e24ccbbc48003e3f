package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
)

const basicView = catalogv1.EnvironmentView_ENVIRONMENT_VIEW_BASIC

// listedEnv gives an environment as a slim list shows it.
func (w *world) listedEnv(name string) (*catalogv1.Environment, string) {
	w.t.Helper()
	page, err := w.api.ListEnvironments(w.t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-", View: basicView})
	must(w.t, err)
	for _, e := range page.GetEnvironments() {
		if e.GetName() == name {
			return e, page.GetResumeToken()
		}
	}
	w.t.Fatalf("%s is not listed", name)
	return nil, ""
}

// newestIs compares what the list, and the environment itself, tell of its newest deployment with the deployment.
func (w *world) newestIs(name string) {
	w.t.Helper()
	d := w.get(name)
	listed, _ := w.listedEnv(devEnv)
	reason := d.GetError().GetMessage()
	if reason == "" {
		reason = d.GetWaitingReason()
	}
	want := &catalogv1.Latest{
		Deployment: name, State: d.GetState().String(), Kind: d.GetKind().String(), Actor: d.GetActor(), Message: d.GetMessage(),
		CreateTime: d.GetCreateTime(), Reason: reason,
	}
	for where, got := range map[string]*catalogv1.Latest{"the list": listed.GetLatest(), "the environment": w.getEnv(devEnv).GetLatest()} {
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			w.t.Errorf("%s of %s (-want +got):\n%s", where, name, diff)
		}
	}
}

func TestAListTellsHowFarTheNewestDeploymentIs(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	if e, _ := w.listedEnv(devEnv); e.GetLatest() != nil {
		t.Errorf("before the first: %v", e.GetLatest())
	}
	w.deploy(devEnv, variable("A", "1"))
	w.newestIs(dep(1))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	w.newestIs(dep(1))
	w.needApprovals(1, true)
	w.deploy(devEnv, variable("B", "1"))
	w.newestIs(dep(2))
	if e, _ := w.listedEnv(devEnv); e.GetLatest().GetState() != "STATE_AWAITING_APPROVAL" || e.GetLatest().GetReason() == "" {
		t.Errorf("waiting for approval: %v", e.GetLatest())
	}
	_, err := w.api.RejectDeployment(t.Context(), &catalogv1.RejectDeploymentRequest{Name: dep(2)})
	must(t, err)
	w.newestIs(dep(2))
	w.deploy(devEnv, variable("C", "1"))
	w.newestIs(dep(3))
	w.deploy(devEnv, variable("D", "1"))
	approve(w.person("bob"), w, dep(4)) // which overtakes the one before it in the same transaction
	w.newestIs(dep(4))
	sentTo(t, b, 2) // commands in all
	must(t, handle(t.Context(), failedEvent(dep(4), "PUSH_REFUSED")))
	w.newestIs(dep(4))
	must(t, handle(t.Context(), failedEvent(dep(1), "PUSH_REFUSED"))) // late news of an older one hide nothing
	w.newestIs(dep(4))
}

func TestASlimListLeavesOutWhatIsHeavyAndNothingElse(t *testing.T) {
	w, _ := twoEnvironments(t)
	want := w.getEnv(devEnv)
	want.Intent, want.DefinitionPins, want.Place, want.LayoutPlace = nil, nil, nil, nil
	got, _ := w.listedEnv(devEnv)
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAWatchGoesOnWhereAListBegan(t *testing.T) {
	w, b := shop(t)
	_, token := w.listedEnv(devEnv)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := w.api.WatchEnvironments(ctx, &catalogv1.WatchEnvironmentsRequest{Parent: "applications/-", ResumeToken: token, View: basicView})
	must(t, err)
	until := func(state string) {
		t.Helper()
		for {
			m, err := stream.Recv()
			must(t, err)
			if m.GetEnvironment().GetIntent() != nil || m.GetCaughtUp() {
				t.Fatalf("told %v", m)
			}
			if m.GetEnvironment().GetName() == devEnv && m.GetEnvironment().GetLatest().GetState() == state {
				return
			}
		}
	}
	w.deploy(devEnv, variable("A", "1"))
	until("STATE_PENDING")
	sentTo(t, b, 1)
	must(t, (<-b.handler)(t.Context(), committedAt(1, 10)))
	until("STATE_SYNCING") // nothing of the environment itself changed
}

func TestAListTellsOfDeploymentsFromBeforeTheseRows(t *testing.T) {
	w, _ := shop(t)
	w.deploy(devEnv, variable("A", "1"))
	var tx store.Tx
	_, err := w.kv.Commit(t.Context(), *tx.Delete("newest/shop/dev"))
	must(t, err)
	w.newestIs(dep(1))
	w.deploy(devEnv, variable("A", "2"))
	w.newestIs(dep(2))
}

func TestANewEnvironmentOfAnOldNameHasNoNewestDeployment(t *testing.T) {
	w, d := twoEnvironments(t)
	removal, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	w.inState(removal.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.env("shop", "dev")
	if e, _ := w.listedEnv(devEnv); e.GetLatest() != nil {
		t.Errorf("of %s and its removal there is %v", d.GetName(), e.GetLatest())
	}
}

// Whoever deploys at the same time as news of earlier deployments come in, the list ends up with the newest and its state.
func TestManyAtOnceLeaveTheNewestInTheList(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	const each = 12
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			for n := range each {
				_, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable(fmt.Sprintf("V%d", i), fmt.Sprint(n))})
				w.must(err)
			}
		})
	}
	all.Go(func() {
		for n := 1; n <= 2*each; n++ {
			for {
				_, err := w.api.GetDeployment(context.Background(), &catalogv1.GetDeploymentRequest{Name: dep(n)})
				if err == nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			w.must(errors.Join(handle(context.Background(), committedAt(n, 10*n)), handle(context.Background(), failedEvent(dep(n), "PUSH_REFUSED"))))
		}
	})
	all.Wait()
	if n := w.getEnv(devEnv).GetGeneration(); n != 2*each {
		t.Fatalf("%d deployments", n)
	}
	w.newestIs(dep(2 * each))
}
