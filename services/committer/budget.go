package committer

import (
	"context"
	"errors"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

const (
	// showAfter is how long a deployment waits for the push budget before people are told; shorter waits are what a push takes.
	showAfter = time.Second
	// unsaidLimit is how long a host is left alone that asks for fewer requests and does not say for how long.
	unsaidLimit = 30 * time.Second
)

// clock is the time of budgets, which tests turn by hand.
type clock struct {
	now   func() time.Time
	after func(d time.Duration) <-chan time.Time
}

var wallClock = clock{now: time.Now, after: time.After}

// linger waits for the push budget. Without one, or when the branch was quiet, it does not wait at all; what comes in meanwhile
// shares the push. What the host imposes is not waited for here: it may be long, and its deployments wait in the stream.
func (l *lane) linger(ctx context.Context) {
	for ctx.Err() == nil && l.refusesNow() == nil {
		now := l.svc.clock.now()
		next := l.budget.Next(int(l.ref.GetPushBudget()), now)
		if !next.After(now) {
			break
		}
		l.until.Store(next.UnixNano())
		select {
		case <-ctx.Done():
		case <-l.svc.clock.after(next.Sub(now)):
		}
	}
	l.until.Store(0)
}

// heed notes that the host asks for fewer requests.
func (l *lane) heed(err error) {
	var limit *git.Limited
	if !errors.As(err, &limit) {
		return
	}
	wait := limit.Wait
	if wait <= 0 {
		wait = unsaidLimit
	}
	l.budget.Impose(l.svc.clock.now().Add(wait))
	l.log.Warn("the Git host asks for fewer requests; the branch is left alone for a while", "wait", wait)
}

// refusesNow is why nothing is asked of the host at the moment; nil when something may be.
func (l *lane) refusesNow() error {
	until := l.budget.Imposed()
	if !until.After(l.svc.clock.now()) {
		return nil
	}
	return errLimited(until)
}

// giveBack returns tasks without having done anything: they come again.
func (l *lane) giveBack(tasks []*task, err error) {
	for _, t := range tasks {
		t.fail(err)
	}
}

// await waits for a task's result, and shows what it waits for when that takes long.
func (ls *lanes) await(ctx context.Context, t *task) (outcome, error) {
	soon := time.NewTimer(showAfter)
	defer soon.Stop()
	for {
		select {
		case r := <-t.done:
			return r.outcome, r.err
		case <-ctx.Done():
			return outcome{}, context.Cause(ctx)
		case <-soon.C:
			if at := ls.waitsUntil(t); !at.IsZero() && t.show != nil {
				t.show(errBudget(at))
			}
			soon.Reset(showAfter)
		}
	}
}

// waitsUntil gives when the push budget lets the task's lane push, the zero time when that is not what it waits for.
func (ls *lanes) waitsUntil(t *task) time.Time {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.byKey[laneKey(t.cmd.GetRepository())]
	if l == nil {
		return time.Time{}
	}
	if at := l.until.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// The reasons name a time and no duration, so that a deployment that is tried again shows the same and not a new one.
func errBudget(at time.Time) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_RATE_LIMITED,
		"the repository's push budget is used up; the next push goes at %s and takes all that waits with it", at.UTC().Format(time.TimeOnly+" UTC"))
}

func errLimited(until time.Time) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_RATE_LIMITED,
		"the Git host asks for fewer requests; it is left alone until %s", until.UTC().Format(time.TimeOnly+" UTC"))
}
