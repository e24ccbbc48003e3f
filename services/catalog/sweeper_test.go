package catalog_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog"
)

// hands is a clock that a test moves.
type hands struct{ nanos atomic.Int64 }

func newHands() *hands {
	h := &hands{}
	h.nanos.Store(time.Now().Truncate(time.Microsecond).UnixNano()) // as rows have it
	return h
}

func (h *hands) now() time.Time            { return time.Unix(0, h.nanos.Load()) }
func (h *hands) forward(d time.Duration)   { h.nanos.Add(int64(d)) }
func (h *hands) option(c *catalog.Config)  { c.Clock, c.SweepEvery = h.now, 5*time.Millisecond }
func (h *hands) in(d time.Duration) string { return h.now().Add(d).UTC().Format(time.DateTime) }

func shown(e *catalogv1.Environment) string {
	if e.GetExpireTime() == nil {
		return "never"
	}
	return e.GetExpireTime().AsTime().Format(time.DateTime)
}

// sweptWorld is a light world with a clock, in which nothing ever answers for what is deployed.
func sweptWorld(t *testing.T) (*world, *hands) {
	t.Helper()
	h := newHands()
	w, _ := shop(t, h.option)
	return w, h
}

func (w *world) createFor(id string, ttl time.Duration) *catalogv1.Environment {
	w.t.Helper()
	r := creation(func(r *catalogv1.CreateEnvironmentRequest) { r.EnvironmentId, r.Change = id, score("api", "api:1") })
	if ttl > 0 {
		r.Ttl = durationpb.New(ttl)
	}
	e, err := w.api.CreateEnvironment(w.t.Context(), r)
	must(w.t, err)
	return e
}

// isDeleting waits until an environment is being removed, and gives the deployment that does it.
func (w *world) isDeleting(env string) *catalogv1.Deployment {
	w.t.Helper()
	var e *catalogv1.Environment
	eventually(w.t, func() error {
		if e = w.getEnv(env); e.GetState() != catalogv1.Environment_STATE_DELETING {
			return fmt.Errorf("%s is %s", env, e.GetState())
		}
		return nil
	})
	return w.get(e.GetLatestDeployment())
}

func TestEnvironmentIsDeletedWhenItsTimeEnds(t *testing.T) {
	w, clock := sweptWorld(t)
	soon, later, kept := w.createFor("soon", time.Hour), w.createFor("later", 2*time.Hour), w.createFor("kept", 0)
	if shown(soon) != clock.in(time.Hour) || shown(later) != clock.in(2*time.Hour) || shown(kept) != "never" {
		t.Errorf("they expire %s, %s, %s", shown(soon), shown(later), shown(kept))
	}
	clock.forward(time.Hour - time.Second)
	w.swept()
	if e := w.getEnv(soon.GetName()); e.GetState() != catalogv1.Environment_STATE_ACTIVE {
		t.Fatalf("removed before its time: %v", e)
	}
	clock.forward(time.Second)
	d := w.isDeleting(soon.GetName())
	if d.GetKind() != catalogv1.Deployment_KIND_REMOVAL || d.GetActor() != "system/sweeper" || d.GetOrigin() != "sweeper" || !strings.Contains(d.GetMessage(), "time to live") {
		t.Errorf("removal = %v", d)
	}
	for _, e := range []*catalogv1.Environment{later, kept} {
		if got := w.getEnv(e.GetName()); got.GetState() != catalogv1.Environment_STATE_ACTIVE {
			t.Errorf("%s is %s", e.GetName(), got.GetState())
		}
	}
}

// swept waits until the sweeper has looked once more, by an entry of the index without reason.
func (w *world) swept() {
	w.t.Helper()
	e, err := w.api.CreateEnvironment(w.t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
		r.EnvironmentId = fmt.Sprintf("canary-%d", time.Now().UnixNano()%1_000_000_000)
	}))
	must(w.t, err)
	key := e.GetName()[len("applications/"):]
	key = strings.Replace(key, "/environments/", "/", 1)
	putRow(w.t, w.kv, "removals/"+key, "") // without reason: it is taken out again
	eventually(w.t, func() error {
		if _, err := w.kv.Get(w.t.Context(), "removals/"+key); err == nil {
			return fmt.Errorf("the sweeper has not looked")
		}
		return nil
	})
}

func TestTypeGivesTimeToLiveToThoseThatNameNone(t *testing.T) {
	w, clock := sweptWorld(t)
	ctx := t.Context()
	_, err := w.api.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{EnvironmentTypeId: "preview", EnvironmentType: &catalogv1.EnvironmentType{
		DefaultTtl: durationpb.New(72 * time.Hour),
	}})
	must(t, err)
	for id, tc := range map[string]struct {
		ttl  time.Duration
		want string
	}{"by-default": {0, clock.in(72 * time.Hour)}, "by-itself": {time.Hour, clock.in(time.Hour)}} {
		r := creation(func(r *catalogv1.CreateEnvironmentRequest) {
			r.EnvironmentId, r.Environment.Type = id, "environmentTypes/preview"
		})
		if tc.ttl > 0 {
			r.Ttl = durationpb.New(tc.ttl)
		}
		e, err := w.api.CreateEnvironment(ctx, r)
		must(t, err)
		if shown(e) != tc.want {
			t.Errorf("%s expires %s, want %s", id, shown(e), tc.want)
		}
	}
}

func TestEnvironmentIsExtendedAndKept(t *testing.T) {
	w, clock := sweptWorld(t)
	ctx := t.Context()
	a, k := w.createFor("aa", time.Hour).GetName(), w.createFor("kk", time.Hour).GetName()
	clock.forward(50 * time.Minute)
	e, err := w.api.ExtendEnvironment(ctx, &catalogv1.ExtendEnvironmentRequest{Name: a, Ttl: durationpb.New(time.Hour)})
	must(t, err)
	if shown(e) != clock.in(time.Hour) {
		t.Errorf("extended to %s, want %s", shown(e), clock.in(time.Hour))
	}
	e, err = w.api.ExtendEnvironment(ctx, &catalogv1.ExtendEnvironmentRequest{Name: k, Keep: true})
	must(t, err)
	if shown(e) != "never" {
		t.Errorf("kept until %s", shown(e))
	}
	clock.forward(55 * time.Minute) // beyond the first end of both
	w.swept()
	for _, env := range []string{a, k} {
		if e := w.getEnv(env); e.GetState() != catalogv1.Environment_STATE_ACTIVE {
			t.Errorf("%s is %s", env, e.GetState())
		}
	}
	clock.forward(5 * time.Minute)
	w.isDeleting(a)
	for name, tc := range map[string]struct {
		r      *catalogv1.ExtendEnvironmentRequest
		code   codes.Code
		reason errorsv1.Reason
	}{
		"while it is deleted": {&catalogv1.ExtendEnvironmentRequest{Name: a, Keep: true}, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE},
		"without a ttl":       {&catalogv1.ExtendEnvironmentRequest{Name: k}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"to the past":         {&catalogv1.ExtendEnvironmentRequest{Name: k, Ttl: durationpb.New(-time.Hour)}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"to what overflows":   {&catalogv1.ExtendEnvironmentRequest{Name: k, Ttl: &durationpb.Duration{Seconds: 1 << 40}}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"of nothing":          {&catalogv1.ExtendEnvironmentRequest{Name: newEnv, Keep: true}, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.ExtendEnvironment(ctx, tc.r)
			wantError(t, err, tc.code, tc.reason)
		})
	}
}

func TestFailedRemovalIsTriedAgainLaterAndLater(t *testing.T) {
	clock := newHands()
	w := quietWorld(t)
	w.start(clock.option)
	var seen commandLog
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		if cmd.GetMode() != eventsv1.DeploymentRequested_MODE_REMOVE || len(seen.list()) >= 2 {
			w.succeed(cmd)
			return
		}
		seen.add(cmd.GetDeployment())
		w.must(w.publish(devEnv, "deployment.failed", cmd.GetDeployment()+"-f", clock.now(), &eventsv1.DeploymentFailed{
			Deployment: cmd.GetDeployment(), Stage: "sync", Reason: "APPLY_REFUSED", Message: "a webhook says no",
		}))
	})
	w.app("shop")
	w.env("shop", "dev")
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	first, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	w.inState(first.GetName(), catalogv1.Deployment_STATE_FAILED)
	latest := func() string { return w.getEnv(devEnv).GetLatestDeployment() }
	clock.forward(30 * time.Second)
	w.swept()
	if latest() != first.GetName() {
		t.Errorf("tried again at once: %s", latest())
	}
	clock.forward(30 * time.Second)
	second := devEnv + "/deployments/3"
	eventually(t, func() error {
		if latest() != second {
			return fmt.Errorf("latest is %s", latest())
		}
		return nil
	})
	d := w.inState(second, catalogv1.Deployment_STATE_FAILED)
	if d.GetActor() != "system/sweeper" || !strings.Contains(d.GetMessage(), first.GetName()) {
		t.Errorf("second attempt = %v", d)
	}
	clock.forward(time.Minute) // two failures in a row: twice as long
	w.swept()
	if latest() != second {
		t.Errorf("tried again too early: %s", latest())
	}
	clock.forward(time.Minute)
	eventually(t, func() error {
		d, err := w.api.GetDeployment(t.Context(), &catalogv1.GetDeploymentRequest{Name: devEnv + "/deployments/4"})
		if err == nil && d.GetState() != catalogv1.Deployment_STATE_HEALTHY {
			err = fmt.Errorf("the third attempt is %s", d.GetState())
		}
		return err
	})
	_, err = w.api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: devEnv})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

// What a crash of an earlier version may have left is finished by the next start: an environment that is being removed by
// nothing, and one that expires without standing in the index.
func TestSweeperFinishesWhatWasLeft(t *testing.T) {
	w, clock := sweptWorld(t)
	w.deploy(devEnv, score("api", "api:1"))
	expiring := w.createFor("expiring", time.Hour)
	w.stop()
	row, err := w.kv.Get(t.Context(), "environments/shop/dev")
	must(t, err)
	e := &catalogv1.Environment{}
	must(t, proto.Unmarshal(row.Value, e))
	e.State = catalogv1.Environment_STATE_DELETING
	value, err := proto.Marshal(e)
	must(t, err)
	var tx store.Tx
	tx.Put("environments/shop/dev", value)
	for entry, err := range store.All(t.Context(), w.kv, "expiries/") {
		must(t, err)
		tx.Delete(entry.Key)
	}
	_, err = w.kv.Commit(t.Context(), tx)
	must(t, err)
	clock.forward(time.Hour)
	w.start(clock.option, func(c *catalog.Config) { c.Bus = newLightBus() })
	if d := w.isDeleting(expiring.GetName()); d.GetKind() != catalogv1.Deployment_KIND_REMOVAL {
		t.Errorf("removal = %v", d)
	}
	eventually(t, func() error {
		if d := w.get(w.getEnv(devEnv).GetLatestDeployment()); d.GetKind() != catalogv1.Deployment_KIND_REMOVAL {
			return fmt.Errorf("nothing removes %s", devEnv)
		}
		return nil
	})
}

func TestUnusedEnvironmentExpiresToo(t *testing.T) {
	w, clock := sweptWorld(t)
	r := creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Ttl = durationpb.New(time.Hour) })
	_, err := w.api.CreateEnvironment(t.Context(), r)
	must(t, err)
	clock.forward(time.Hour)
	eventually(t, func() error {
		_, err := w.api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: newEnv})
		if err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
	for e, err := range store.All(t.Context(), w.kv, "expiries/") {
		must(t, err)
		t.Errorf("the index still has %s", e.Key)
	}
}
