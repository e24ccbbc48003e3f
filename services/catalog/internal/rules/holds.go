package rules

import (
	"fmt"
	"strconv"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/weekly"
)

// Held says why nothing is deployed to an environment now.
type Held struct {
	// Lock is who locked it, Freeze the id of the window; one of them is set.
	Lock, Freeze string
	// Message is why, in somebody's words.
	Message string
	// Until is when it ends by itself; the zero Time for never.
	Until time.Time
	// Refuse says that deployments are refused meanwhile; else they wait.
	Refuse bool
}

// HeldBy gives what keeps a deployment of that kind from an environment at a moment, nil for nothing. Of several reasons the
// lock is told first, and one that refuses before one that lets wait.
//
// A lock holds everything: who set it wants the environment as it is, and unlocking is an action of its own. A freeze lets
// rollbacks pass, because going back to what ran is how an incident in the frozen time ends.
func HeldBy(lock *catalogv1.Lock, windows []*catalogv1.FreezeWindow, kind catalogv1.Deployment_Kind, now time.Time) *Held {
	var held *Held
	add := func(h *Held) {
		if held == nil || h.Refuse && !held.Refuse {
			held = h
		}
	}
	if LockHolds(lock, now) {
		h := &Held{Lock: lock.GetActor(), Message: lock.GetMessage(), Refuse: lock.GetHold() == catalogv1.Hold_HOLD_REFUSE}
		if lock.GetExpireTime() != nil {
			h.Until = lock.GetExpireTime().AsTime()
		}
		add(h)
	}
	if kind == catalogv1.Deployment_KIND_ROLLBACK {
		return held
	}
	for _, w := range windows {
		if until, frozen := FrozenUntil(w, now); frozen {
			add(&Held{Freeze: w.GetId(), Message: w.GetMessage(), Until: until, Refuse: w.GetHold() == catalogv1.Hold_HOLD_REFUSE})
		}
	}
	return held
}

// LockHolds reports whether a lock is there and has not expired.
func LockHolds(lock *catalogv1.Lock, now time.Time) bool {
	return lock != nil && (lock.GetExpireTime() == nil || now.Before(lock.GetExpireTime().AsTime()))
}

// Reason tells it to people.
func (h *Held) Reason() string {
	what := "locked by " + h.Lock
	if h.Freeze != "" {
		what = "frozen by the window " + strconv.Quote(h.Freeze)
	}
	if !h.Until.IsZero() {
		what += " until " + h.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if h.Message != "" {
		what += ": " + h.Message
	}
	return what
}

// Err is the error of a deployment that is refused.
func (h *Held) Err(env Env) error {
	if h.Freeze != "" {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_FROZEN,
			"%s is %s; deploy afterwards, or roll back if something is broken", env.Name(), h.Reason()).With("freeze", h.Freeze)
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_LOCKED,
		"%s is %s; talk to who locked it, or unlock it: tow unlock -e %s/%s", env.Name(), h.Reason(), env.App, env.ID).With("lock", h.Lock)
}

// CheckFreezes checks the freeze windows of an environment type.
func CheckFreezes(field string, windows []*catalogv1.FreezeWindow) error {
	seen := map[string]bool{}
	for i, w := range windows {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := CheckID(at+".id", w.GetId(), MaxID); err != nil {
			return err
		}
		if seen[w.GetId()] {
			return errs.InvalidField(at+".id", "%q is there twice; give each window an id of its own", w.GetId())
		}
		seen[w.GetId()] = true
		if err := checkFreeze(at, w); err != nil {
			return err
		}
	}
	return nil
}

func checkFreeze(at string, w *catalogv1.FreezeWindow) error {
	once := w.GetStartTime() != nil || w.GetEndTime() != nil
	switch {
	case once && w.GetWeekly() != "":
		return errs.InvalidField(at+".weekly", "is given beside start_time and end_time; a window happens once or every week")
	case once && w.GetTimeZone() != "":
		return errs.InvalidField(at+".time_zone", "is of no use without weekly; start_time and end_time say their zone themselves")
	case once && (w.GetStartTime() == nil || !w.GetStartTime().IsValid()):
		return errs.InvalidField(at+".start_time", "is missing; give begin and end, or weekly")
	case once && (w.GetEndTime() == nil || !w.GetEndTime().IsValid()):
		return errs.InvalidField(at+".end_time", "is missing; give begin and end, or weekly")
	case once && !w.GetStartTime().AsTime().Before(w.GetEndTime().AsTime()):
		return errs.InvalidField(at+".end_time", "is not after start_time")
	case once:
		return nil
	case w.GetWeekly() == "":
		return errs.InvalidField(at, "says no time; give start_time and end_time, or weekly such as \"Fri 16:00 - Mon 08:00\"")
	}
	if _, err := weekly.Parse(w.GetWeekly()); err != nil {
		return errs.InvalidField(at+".weekly", "%s", err)
	}
	if _, err := weekly.Zone(w.GetTimeZone()); err != nil {
		return errs.InvalidField(at+".time_zone", "%s is no time zone; give one of the IANA database such as \"Europe/Berlin\", or none for UTC", quote(w.GetTimeZone()))
	}
	return nil
}

// FrozenUntil reports whether a window holds at a moment, and its end. A weekly window goes by the clocks on the wall of its zone, see
// package weekly.
func FrozenUntil(w *catalogv1.FreezeWindow, now time.Time) (until time.Time, frozen bool) {
	if w.GetWeekly() == "" {
		until = w.GetEndTime().AsTime()
		return until, !now.Before(w.GetStartTime().AsTime()) && now.Before(until)
	}
	week, err := weekly.Parse(w.GetWeekly())
	if err != nil {
		return time.Time{}, false // was checked when it was written
	}
	loc, err := weekly.Zone(w.GetTimeZone())
	if err != nil {
		return time.Time{}, false
	}
	return week.Until(now, loc)
}
