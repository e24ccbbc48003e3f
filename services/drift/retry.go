package drift

import (
	"context"
	"errors"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// backoff is when to try again after an error, and whether to. What may pass by itself is tried without end. What the cluster refused is
// tried as often as the policy says: somebody may mend the cluster (a missing kind, a quota) without a new commit.
func (e *environment) backoff(err error) (time.Duration, bool) {
	if err == nil {
		return 0, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.policy()
	switch {
	case errors.Is(err, errUnderWay):
		return engineLook, true
	case errs.ReasonOf(err) == errorsv1.Reason_REASON_PRUNE_HELD:
		return 0, false // a person, another policy or another deployment ends it
	case errs.ReasonOf(err) == errorsv1.Reason_REASON_SYNC_WINDOW:
		now := e.svc.cfg.Now()
		next := syncpolicy.Open(p.sync.GetWindows(), now).Next
		return max(next.Sub(now), time.Second), !next.IsZero()
	case !passes(err):
		return syncpolicy.Pause(p.sync.GetRetry(), e.ran.refused)
	}
	return min(firstRetry<<min(max(e.attempts-1, 0), 10), lastRetry), true
}

// windowAllows refuses a sync outside of the policy's windows.
func (e *environment) windowAllows(byHand bool) error {
	e.mu.Lock()
	windows := e.policy().sync.GetWindows()
	e.mu.Unlock()
	o := syncpolicy.Open(windows, e.svc.cfg.Now())
	if o.Automatic || byHand && o.Manual {
		return nil
	}
	until, kind, person := "no window opens again", errs.Unavailable, ""
	if !o.Next.IsZero() {
		until = "it goes on by itself at " + o.Next.UTC().Format("2006-01-02 15:04 UTC")
	}
	if app, env := splitName(e.name); o.Manual {
		person = "; a person may sync it now: tow sync -e " + app + "/" + env
	}
	if byHand {
		kind = errs.Precondition
	}
	return errs.New(kind, errorsv1.Reason_REASON_SYNC_WINDOW, "the environment is not synced now because of its sync window %q; %s%s", o.Window, until, person).
		With("window", o.Window)
}

// waitForWindow tells drift against what was applied last while what Git says waits for a window.
func (e *environment) waitForWindow(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, started time.Time, closed error) error {
	if e.synced == nil && inv.tree != "" && !inv.at(want) {
		if err := e.adoptOlder(ctx, c, want, inv, started); err != nil {
			return err
		}
	}
	return closed
}

// nextWindow is when the next window opens; zero while the environment may be synced. It needs the mutex.
func (e *environment) nextWindow() time.Time {
	windows := e.policy().sync.GetWindows()
	if len(windows) == 0 {
		return time.Time{}
	}
	return syncpolicy.Open(windows, e.svc.cfg.Now()).Next
}
