package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sec(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

func stamp(n int) *timestamppb.Timestamp { return timestamppb.New(sec(n)) }

const devEnv = "applications/shop/environments/dev"

func dep(n int) string { return fmt.Sprintf("%s/deployments/%d", devEnv, n) }

func committedAt(n, second int) events.Delivery {
	return delivery("deployment.committed", sec(second), &eventsv1.DeploymentCommitted{
		Deployment: dep(n), Generation: int64(n), Commit: fmt.Sprint("commit", n), Tree: fmt.Sprint("tree", n),
		RenderStartTime: stamp(second - 2), CommitStartTime: stamp(second - 1), CommitEndTime: stamp(second),
	})
}

func syncedAt(n, second int) events.Delivery {
	return delivery("environment.synced", sec(second), &eventsv1.EnvironmentSynced{
		Environment: devEnv, Deployment: dep(n), Generation: int64(n), StartTime: stamp(second - 1), EndTime: stamp(second),
	})
}

func healthAt(n, second int, sync driftv1.SyncState, h driftv1.Health, findings int32) events.Delivery {
	return delivery("environment.health", sec(second), &eventsv1.EnvironmentHealth{
		Environment: devEnv, Deployment: dep(n), Generation: int64(n), Sync: sync, Health: h, Time: stamp(second), Findings: findings,
	})
}

const (
	synced      = driftv1.SyncState_SYNC_STATE_SYNCED
	syncing     = driftv1.SyncState_SYNC_STATE_SYNCING
	healthy     = driftv1.Health_HEALTH_HEALTHY
	progressing = driftv1.Health_HEALTH_PROGRESSING
	degraded    = driftv1.Health_HEALTH_DEGRADED
)

// threeDeployments gives a store with three deployments of one environment, the first two in Git, the third sent: the state in
// which the events of all three can still come in any order.
func threeDeployments(t testing.TB) store.KV {
	t.Helper()
	kv := memkv.New()
	w, b := lightWorld(t, kv, func(c *catalog.Config) { c.Clock = func() time.Time { return epoch } })
	handle := <-b.handler
	w.app("shop")
	w.env("shop", "dev")
	for n := 1; n <= 3; n++ {
		w.deploy(devEnv, score("api", fmt.Sprint("api:", n)))
		eventually(t, func() error {
			if got := b.commands(); !slices.Contains(got, dep(n)) {
				return fmt.Errorf("commands %v", got)
			}
			return nil
		})
		if n < 3 {
			must(t, handle(t.Context(), committedAt(n, 10*n)))
		}
	}
	w.stop()
	return kv
}

// rowsAfter gives what the API shows after the events.
func rowsAfter(t testing.TB, kv store.KV, deliveries []events.Delivery) ([]*catalogv1.Deployment, *catalogv1.Environment) {
	t.Helper()
	bus := newLightBus()
	svc := catalog.New(catalog.Config{KV: kv, Bus: bus, Logger: quiet(), Clock: func() time.Time { return epoch }})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = svc.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	handle := <-bus.handler
	for _, d := range deliveries {
		must(t, handle(ctx, d))
	}
	var api handlers
	svc.Register(&api)
	list, err := api.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: devEnv})
	must(t, err)
	env, err := api.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: devEnv})
	must(t, err)
	return list.GetDeployments(), env
}

// handlers takes the catalog's handlers, to call them without a server where hundreds of catalogs are started.
type handlers struct{ catalogv1.CatalogServiceServer }

func (h *handlers) RegisterService(_ *grpc.ServiceDesc, impl any) {
	if s, ok := impl.(catalogv1.CatalogServiceServer); ok {
		h.CatalogServiceServer = s
	}
}

func TestEventsInOrder(t *testing.T) {
	kv := threeDeployments(t)
	list, env := rowsAfter(t, kv, []events.Delivery{
		syncedAt(1, 12), healthAt(1, 13, synced, progressing, 0), healthAt(1, 15, synced, healthy, 0),
		syncedAt(2, 22), healthAt(2, 23, synced, degraded, 1),
		committedAt(3, 30), syncedAt(3, 32), healthAt(3, 35, synced, healthy, 0),
		delivery("drift.detected", sec(40), &eventsv1.DriftDetected{Environment: devEnv, Open: 2}),
		delivery("drift.resolved", sec(41), &eventsv1.DriftResolved{Environment: devEnv, Open: 1}),
		healthAt(3, 50, synced, degraded, 1),
	})
	type row struct {
		State       string
		From, Until string
	}
	show := func(ts *timestamppb.Timestamp) string {
		if ts == nil {
			return ""
		}
		return ts.AsTime().Format("05")
	}
	var got []row
	for _, d := range list {
		got = append(got, row{d.GetState().String(), show(d.GetActiveFrom()), show(d.GetActiveUntil())})
	}
	want := []row{{"STATE_HEALTHY", "32", ""}, {"STATE_DEGRADED", "22", "32"}, {"STATE_HEALTHY", "12", "22"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deployments (-want +got):\n%s", diff)
	}
	wantLive := &catalogv1.Live{Sync: synced, Health: degraded, Findings: 1, Generation: 3, Time: stamp(50)}
	if diff := cmp.Diff(wantLive, env.GetLive(), protocmp.Transform()); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
	}
	if env.GetActiveDeployment() != dep(3) {
		t.Errorf("active = %s", env.GetActiveDeployment())
	}
}

func TestEveryInterleavingOfEventsEndsInTheSameRows(t *testing.T) {
	base := threeDeployments(t)
	all := []events.Delivery{
		committedAt(1, 10), committedAt(2, 20), committedAt(3, 30),
		syncedAt(1, 12), syncedAt(2, 22), syncedAt(3, 32), syncedAt(3, 60),
		healthAt(1, 13, syncing, progressing, 0), healthAt(1, 15, synced, healthy, 0),
		healthAt(2, 23, synced, degraded, 1), healthAt(2, 25, synced, healthy, 0),
		healthAt(3, 35, synced, healthy, 3), healthAt(3, 55, synced, degraded, 1),
		delivery("deployment.waiting", sec(28), &eventsv1.DeploymentWaiting{Deployment: dep(3), Stage: "commit", Reason: "git is down"}),
		delivery("deployment.failed", sec(33), &eventsv1.DeploymentFailed{Deployment: dep(2), Stage: "commit", Superseded: true}),
		delivery("deployment.failed", sec(24), &eventsv1.DeploymentFailed{Deployment: dep(1), Stage: "sync", Message: "refused"}),
		delivery("drift.detected", sec(40), &eventsv1.DriftDetected{Environment: devEnv, Open: 2}),
		delivery("drift.resolved", sec(41), &eventsv1.DriftResolved{Environment: devEnv, Open: 1}),
	}
	rapid.Check(t, func(rt *rapid.T) {
		var chosen []events.Delivery
		for _, d := range all {
			// Some events may never come.
			if rapid.IntRange(0, 3).Draw(rt, "keep") > 0 {
				chosen = append(chosen, d)
			}
		}
		order := rapid.Permutation(chosen).Draw(rt, "order")
		for _, d := range chosen {
			if rapid.Bool().Draw(rt, "again") {
				order = append(order, d)
			}
		}
		wantList, wantEnv := rowsAfter(t, copyOf(t, base), chosen)
		gotList, gotEnv := rowsAfter(t, copyOf(t, base), order)
		opts := cmp.Options{
			protocmp.Transform(), protocmp.IgnoreFields(&catalogv1.Deployment{}, "etag", "waiting_reason"),
			protocmp.IgnoreFields(&catalogv1.Environment{}, "etag"),
		}
		if diff := cmp.Diff(wantList, gotList, opts) + cmp.Diff(wantEnv, gotEnv, opts); diff != "" {
			rt.Fatalf("(-in order +shuffled):\n%s", diff)
		}
	})
}

func TestReportsOfAGoneOrEarlierEnvironmentAreLeftOut(t *testing.T) {
	kv := threeDeployments(t)
	clock := sec(100)
	w, b := lightWorld(t, kv, func(c *catalog.Config) { c.Clock = func() time.Time { return clock } })
	handle := <-b.handler
	ctx := t.Context()
	d, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	removed := delivery("environment.removed", sec(120), &eventsv1.EnvironmentRemoved{Environment: devEnv, Deployment: d.GetName(), Generation: d.GetGeneration()})
	for range 2 {
		must(t, handle(ctx, removed))
	}
	must(t, handle(ctx, healthAt(3, 130, synced, healthy, 0)))
	clock = sec(200)
	w.env("shop", "dev")
	must(t, handle(ctx, healthAt(3, 230, synced, healthy, 7)))
	must(t, handle(ctx, syncedAt(3, 231)))
	must(t, handle(ctx, removed))
	env := w.getEnv(devEnv)
	if env.GetLive().GetGeneration() != 0 || env.GetActiveDeployment() != "" || env.GetGeneration() != 4 {
		t.Errorf("the new environment took in reports of the old one: %v", env)
	}
	if got := w.deploy(devEnv, score("api", "api:9")); got.GetGeneration() != 5 {
		t.Errorf("generation = %d, want 5: history goes on", got.GetGeneration())
	}
}
