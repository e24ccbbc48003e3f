package catalog_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/services/catalog"
)

// clock is a service's time, moved by the test.
type clock struct{ seconds atomic.Int64 }

func (c *clock) option(cfg *catalog.Config) {
	cfg.Clock = func() time.Time { return sec(int(c.seconds.Load())) }
	cfg.RepublishAfter = 10 * time.Millisecond // looks often
}

func (w *world) lock(l *catalogv1.Lock) *catalogv1.Environment {
	w.t.Helper()
	e, err := w.api.LockEnvironment(w.t.Context(), &catalogv1.LockEnvironmentRequest{Name: devEnv, Lock: l})
	must(w.t, err)
	return e
}

// waits waits until a deployment shows why it waits.
func (w *world) waits(name, why string) {
	w.t.Helper()
	eventually(w.t, func() error {
		if d := w.get(name); d.GetState() != pending || !strings.Contains(d.GetWaitingReason(), why) {
			return fmt.Errorf("%s waits: %q, want %q", d.GetState(), d.GetWaitingReason(), why)
		}
		return nil
	})
}

func TestDeploymentsWaitForTheEndOfALock(t *testing.T) {
	w, b := shop(t)
	e := w.lock(&catalogv1.Lock{Message: "load test"})
	if l := e.GetLock(); l.GetHold() != catalogv1.Hold_HOLD_QUEUE || l.GetActor() == "" || l.GetCreateTime() == nil {
		t.Errorf("lock = %v", l)
	}
	w.deploy(devEnv, variable("A", "1"))
	w.waits(dep(1), "locked by tokens/bootstrap-admin: load test")
	w.deploy(devEnv, variable("B", "1"))
	w.waits(dep(2), "locked by")
	if len(b.commands()) != 0 {
		t.Errorf("sent in spite of the lock: %v", b.commands())
	}
	e, err := w.person("bob").UnlockEnvironment(t.Context(), &catalogv1.UnlockEnvironmentRequest{Name: devEnv})
	must(t, err)
	if e.GetLock() != nil {
		t.Errorf("lock = %v", e.GetLock())
	}
	if all := sentTo(t, b, 1); all[0] != dep(2) {
		t.Errorf("commands %v", all)
	}
	eventually(t, func() error {
		if d := w.get(dep(2)); d.GetWaitingReason() != "" {
			return fmt.Errorf("it waits: %s", d.GetWaitingReason())
		}
		return nil
	})
	w.inState(dep(1), catalogv1.Deployment_STATE_SUPERSEDED)
	_, err = w.api.UnlockEnvironment(t.Context(), &catalogv1.UnlockEnvironmentRequest{Name: devEnv}) // twice is no mistake
	must(t, err)
}

func TestLockThatExpiresLetsDeploymentsGoOnByThemselves(t *testing.T) {
	c := &clock{}
	w, b := shop(t, c.option)
	w.lock(&catalogv1.Lock{Message: "an hour", ExpireTime: stamp(3600)})
	w.deploy(devEnv, variable("A", "1"))
	w.waits(dep(1), "until 2026-03-01 13:00 UTC: an hour")
	c.seconds.Store(3600)
	sentTo(t, b, 1)
	if e := w.getEnv(devEnv); e.GetLock() != nil {
		t.Errorf("lock = %v", e.GetLock())
	}
}

func TestLockThatRefuses(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	w.lock(&catalogv1.Lock{Message: "audit", Hold: catalogv1.Hold_HOLD_REFUSE})
	bob := w.person("bob")
	for name, call := range map[string]func() error{
		"change": func() error {
			_, err := bob.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("B", "1")})
			return err
		},
		"rollback": func() error {
			_, err := bob.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: dep(1)})
			return err
		},
		"removal": func() error {
			_, err := bob.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
			return err
		},
		"another lock": func() error {
			_, err := bob.LockEnvironment(t.Context(), &catalogv1.LockEnvironmentRequest{Name: devEnv, Lock: &catalogv1.Lock{}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if e := wantError(t, call(), codes.FailedPrecondition, errorsv1.Reason_REASON_LOCKED); e.Meta["lock"] != "tokens/bootstrap-admin" || !strings.Contains(e.Msg, "tow unlock -e shop/dev") {
				t.Errorf("error = %v, meta %v", e, e.Meta)
			}
		})
	}
	w.lock(&catalogv1.Lock{Message: "audit goes on"}) // its author says it anew
	if l := w.getEnv(devEnv).GetLock(); l.GetMessage() != "audit goes on" || l.GetHold() != catalogv1.Hold_HOLD_QUEUE {
		t.Errorf("lock = %v", l)
	}
}

func TestLockInThePastIsRefused(t *testing.T) {
	w, _ := shop(t)
	_, err := w.api.LockEnvironment(t.Context(), &catalogv1.LockEnvironmentRequest{Name: devEnv, Lock: &catalogv1.Lock{ExpireTime: stamp(0)}})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "lock.expire_time" {
		t.Errorf("fields = %v", e.Fields)
	}
}

func TestFreezeHoldsChangesAndLetsRollbacksPass(t *testing.T) {
	c := &clock{}
	w, b := shop(t, c.option)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	w.setType(&catalogv1.EnvironmentType{Freezes: []*catalogv1.FreezeWindow{
		{Id: "sunday", Weekly: "Sun 00:00 - Mon 00:00", Message: "quiet day"},
	}}, "freezes")
	w.deploy(devEnv, variable("B", "1"))
	w.waits(dep(2), `frozen by the window "sunday" until 2026-03-02 00:00 UTC: quiet day`)
	_, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: dep(1)})
	must(t, err)
	if all := sentTo(t, b, 2); all[1] != dep(3) {
		t.Errorf("commands %v", all)
	}
	must(t, handle(t.Context(), committedAt(3, 20)))
	w.deploy(devEnv, variable("C", "1"))
	w.waits(dep(4), "sunday")
	c.seconds.Store(12 * 3600) // midnight
	if all := sentTo(t, b, 3); all[2] != dep(4) {
		t.Errorf("commands %v", all)
	}
	must(t, handle(t.Context(), committedAt(4, 30)))

	w.setType(&catalogv1.EnvironmentType{Freezes: []*catalogv1.FreezeWindow{
		{Id: "release", StartTime: stamp(0), EndTime: stamp(30 * 3600), Hold: catalogv1.Hold_HOLD_REFUSE},
	}}, "freezes")
	_, err = w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("D", "1")})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_FROZEN); e.Meta["freeze"] != "release" {
		t.Errorf("meta = %v", e.Meta)
	}
}

func TestFreezeTakenOutOfTheTypeLetsDeploymentsGoOn(t *testing.T) {
	c := &clock{}
	w, b := shop(t, c.option)
	w.setType(&catalogv1.EnvironmentType{Freezes: []*catalogv1.FreezeWindow{{Id: "sunday", Weekly: "Sun 00:00 - Mon 00:00"}}}, "freezes")
	w.deploy(devEnv, variable("A", "1"))
	w.waits(dep(1), "sunday")
	w.setType(&catalogv1.EnvironmentType{}, "freezes")
	sentTo(t, b, 1)
}

func TestFreezesAreCheckedWhenTheyAreWritten(t *testing.T) {
	w, _ := shop(t)
	for name, tc := range map[string]struct {
		windows []*catalogv1.FreezeWindow
		field   string
	}{
		"no time":            {[]*catalogv1.FreezeWindow{{Id: "aa"}}, "environment_type.freezes[0]"},
		"both kinds of time": {[]*catalogv1.FreezeWindow{{Id: "aa", StartTime: stamp(0), EndTime: stamp(1), Weekly: "Fri 16:00 - Mon 08:00"}}, "environment_type.freezes[0].weekly"},
		"no end":             {[]*catalogv1.FreezeWindow{{Id: "aa", StartTime: stamp(0)}}, "environment_type.freezes[0].end_time"},
		"no begin":           {[]*catalogv1.FreezeWindow{{Id: "aa", EndTime: stamp(0)}}, "environment_type.freezes[0].start_time"},
		"end before begin":   {[]*catalogv1.FreezeWindow{{Id: "aa", StartTime: stamp(5), EndTime: stamp(5)}}, "environment_type.freezes[0].end_time"},
		"no weekday":         {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fre 16:00 - Mon 08:00"}}, "environment_type.freezes[0].weekly"},
		"no hour":            {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fri 24:00 - Mon 08:00"}}, "environment_type.freezes[0].weekly"},
		"no length":          {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fri 16:00 - Fri 16:00"}}, "environment_type.freezes[0].weekly"},
		"no zone":            {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fri 16:00 - Mon 08:00", TimeZone: "Europe/Atlantis"}}, "environment_type.freezes[0].time_zone"},
		"the machine's zone": {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fri 16:00 - Mon 08:00", TimeZone: "Local"}}, "environment_type.freezes[0].time_zone"},
		"a zone for once":    {[]*catalogv1.FreezeWindow{{Id: "aa", StartTime: stamp(0), EndTime: stamp(5), TimeZone: "UTC"}}, "environment_type.freezes[0].time_zone"},
		"one id twice":       {[]*catalogv1.FreezeWindow{{Id: "aa", Weekly: "Fri 16:00 - Mon 08:00"}, {Id: "aa", Weekly: "Fri 16:00 - Mon 08:00"}}, "environment_type.freezes[1].id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
				EnvironmentTypeId: "frozen", EnvironmentType: &catalogv1.EnvironmentType{Freezes: tc.windows},
			})
			if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
		})
	}
}

func TestOriginIsWhatTheClientSays(t *testing.T) {
	w, _ := shop(t)
	if d := w.deploy(devEnv, variable("A", "1")); d.GetOrigin() != "api" {
		t.Errorf("origin = %q", d.GetOrigin())
	}
	for header, want := range map[string]string{"portal": "portal", "Not An Id": "api", strings.Repeat("x", 40): "api"} {
		ctx := withHeader(t.Context(), "x-towpath-origin", header)
		d, err := w.api.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("A", "1")})
		must(t, err)
		if d.GetOrigin() != want {
			t.Errorf("origin of %q = %q", header, d.GetOrigin())
		}
	}
}
