package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
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
	if _, err := parseWeekly(w.GetWeekly()); err != nil {
		return errs.InvalidField(at+".weekly", "%s", err)
	}
	if _, err := zone(w.GetTimeZone()); err != nil {
		return errs.InvalidField(at+".time_zone", "%s is no time zone; give one of the IANA database such as \"Europe/Berlin\", or none for UTC", quote(w.GetTimeZone()))
	}
	return nil
}

// FrozenUntil reports whether a window holds at a moment, and its end. A weekly window goes by the clocks on the wall of its
// zone: it is as much longer or shorter as the week in which they are changed. A time that does not exist or exists twice
// that night makes the window the longer one.
func FrozenUntil(w *catalogv1.FreezeWindow, now time.Time) (until time.Time, frozen bool) {
	if w.GetWeekly() == "" {
		until = w.GetEndTime().AsTime()
		return until, !now.Before(w.GetStartTime().AsTime()) && now.Before(until)
	}
	week, err := parseWeekly(w.GetWeekly())
	if err != nil {
		return time.Time{}, false // was checked when it was written
	}
	loc, err := zone(w.GetTimeZone())
	if err != nil {
		return time.Time{}, false
	}
	y, m, d := now.In(loc).Date()
	back := (int(now.In(loc).Weekday()) - int(week.from.day) + 7) % 7
	// The begin of today may be later than now, so the week before counts too.
	for _, days := range []int{back, back + 7} {
		begin := onTheWall(y, m, d-days, week.from, loc, false)
		end := onTheWall(y, m, d-days+week.days(), week.to, loc, true)
		if !now.Before(begin) && now.Before(end) {
			return end, true
		}
	}
	return time.Time{}, false
}

// onTheWall gives the moment at which the clocks of a zone show a time: of two the later or the earlier one, and of none the
// moments that it would be by the clocks before and after the change.
func onTheWall(y int, m time.Month, d int, at wallTime, loc *time.Location, later bool) time.Time {
	naive := time.Date(y, m, d, at.hour, at.minute, 0, 0, time.UTC)
	var all, real []time.Time
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := naive.Add(near).In(loc).Zone()
		t := naive.Add(-time.Duration(offset) * time.Second)
		all = append(all, t)
		if local := t.In(loc); local.Hour() == at.hour && local.Minute() == at.minute && local.Day() == naive.Day() {
			real = append(real, t)
		}
	}
	if len(real) > 0 {
		all = real
	}
	out := all[0]
	for _, t := range all[1:] {
		if t.After(out) == later && !t.Equal(out) {
			out = t
		}
	}
	return out
}

// weekly is a time of the week.
type weekly struct{ from, to wallTime }

type wallTime struct {
	day          time.Weekday
	hour, minute int
}

// days is how many days after the begin the end is.
func (w weekly) days() int {
	n := (int(w.to.day) - int(w.from.day) + 7) % 7
	if n == 0 && w.to.hour*60+w.to.minute <= w.from.hour*60+w.from.minute {
		return 7
	}
	return n
}

var (
	weeklyPattern = regexp.MustCompile(`^\s*([A-Za-z]{3})\s+(\d{1,2}):(\d{2})\s*-\s*([A-Za-z]{3})\s+(\d{1,2}):(\d{2})\s*$`)
	weekdays      = map[string]time.Weekday{
		"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
	}
)

func parseWeekly(s string) (weekly, error) {
	wrong := fmt.Errorf("%s is no time of the week; write it as \"Fri 16:00 - Mon 08:00\"", quote(s))
	m := weeklyPattern.FindStringSubmatch(s)
	if m == nil {
		return weekly{}, wrong
	}
	from, okFrom := parseWall(m[1], m[2], m[3])
	to, okTo := parseWall(m[4], m[5], m[6])
	if !okFrom || !okTo {
		return weekly{}, wrong
	}
	if from == to {
		return weekly{}, fmt.Errorf("%s begins and ends at the same time; lock the environment to hold it at all times", quote(s))
	}
	return weekly{from, to}, nil
}

func parseWall(day, hour, minute string) (wallTime, bool) {
	d, ok := weekdays[strings.ToLower(day)]
	h, err1 := strconv.Atoi(hour)
	m, err2 := strconv.Atoi(minute)
	return wallTime{d, h, m}, ok && err1 == nil && err2 == nil && h < 24 && m < 60
}

// zone finds a time zone. The machine's own is none: what a window means must not depend on where the server runs.
func zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("the machine's own time zone")
	}
	return time.LoadLocation(name)
}
