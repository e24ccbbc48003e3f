package committer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// commit brings a batch into Git, with one push if all goes well. Every task gets its result.
func (l *lane) commit(ctx context.Context, batch []*task) {
	l.aim(batch[len(batch)-1].cmd.GetRepository())
	if err := l.refusesNow(); err != nil {
		l.giveBack(batch, err)
		return
	}
	l.fresh = false
	deadline, cancel := context.WithTimeout(ctx, l.svc.cfg.PushDeadline)
	defer cancel()
	l.commitUntil(deadline, l.pullAll(deadline, batch))
	if l.suspect {
		l.drop()
	}
	if l.scanDue && ctx.Err() == nil && l.known {
		if err := l.scan(ctx); err != nil {
			l.log.Info("the owned folders could not be compared now", "error", err)
		}
	}
}

// commitUntil tries until all tasks have a result or ctx ends.
func (l *lane) commitUntil(ctx context.Context, tasks []*task) {
	for attempt := 1; len(tasks) > 0; attempt++ {
		f, err := l.prepare(ctx, tasks)
		if err != nil {
			l.abort(ctx, tasks, err)
			return
		}
		if len(f.entries) > 0 {
			if err := l.announceForeign(ctx, f); err != nil {
				l.abort(ctx, tasks, err)
				return
			}
			err = l.push(ctx, f)
			if again := l.settle(ctx, f, err); again {
				pause(ctx, attempt)
				if ctx.Err() != nil {
					l.abort(ctx, tasks, errBusy(err))
					return
				}
				continue
			}
		}
		tasks = f.rest
	}
}

// prepare builds a fold on what is known, or on the fetched tip where that is not enough.
func (l *lane) prepare(ctx context.Context, tasks []*task) (*fold, error) {
	if !l.known {
		if err := l.refresh(ctx); err != nil {
			return nil, err
		}
	}
	f, err := l.fold(ctx, tasks)
	if errors.Is(err, errStale) {
		if err := l.refresh(ctx); err != nil {
			return nil, err
		}
		f, err = l.fold(ctx, tasks)
	}
	return f, err
}

func (l *lane) push(ctx context.Context, f *fold) error {
	start := time.Now()
	l.budget.Spend(l.svc.clock.now())
	err := l.remote.Push(ctx, l.ref.GetBranch(), l.tip, f.tip, f.objs)
	l.svc.metrics.pushed(pushResult(err), len(f.entries), time.Since(start))
	l.svc.health.pushed(ctx, l, f.tip, time.Since(start), err)
	return err
}

func pushResult(err error) string {
	var refused *git.Refused
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, git.ErrMoved):
		return "moved"
	case errors.Is(err, git.ErrUnknown):
		return "unknown"
	case errors.As(err, &refused):
		return "refused"
	case errs.Is(err, errs.Unavailable):
		return "unavailable"
	default:
		return "error"
	}
}

// settle acts on how a push ended. True means that the same tasks are to be tried again on a fresh tip; otherwise all tasks of
// the fold but its rest have their result.
func (l *lane) settle(ctx context.Context, f *fold, err error) (again bool) {
	var refused *git.Refused
	switch {
	case err == nil:
		l.succeed(f)
	case errors.Is(err, git.ErrMoved), errors.Is(err, git.ErrUnknown):
		// Whatever happened, the state files at the tip tell it. A push that is still under way cannot land later beside a new
		// one: both swap the same old tip.
		l.log.Info("push to be decided by the tip", "error", err)
		l.known, l.fresh = false, false
		return true
	case errs.ReasonOf(err) == errorsv1.Reason_REASON_TOO_LARGE && len(f.entries) > 1:
		l.split(ctx, f)
	case errors.As(err, &refused):
		l.refused(ctx, f, refused, err)
	default:
		l.abort(ctx, f.tasks(), err)
	}
	return false
}

func (l *lane) succeed(f *fold) {
	now := time.Now()
	l.tip, l.root = f.tip, f.root
	for _, e := range f.entries {
		for _, w := range e.written() {
			l.index.put(w.dep, w.state)
		}
		l.forgetForeign(e)
	}
	l.svc.hooks.pushed(l.key, l.ref, f.tip)
	l.svc.holdings.release(l.key)
	l.svc.views.moved(l.ref)
	for _, e := range f.entries {
		for _, t := range e.tasks {
			t.finish(result{outcome: e.outcome(now)})
		}
	}
	l.log.Info("pushed", "commits", len(f.entries), "tip", f.tip.String(), "objects", f.objs.Len(), "bytes", f.objs.Bytes())
}

// refused handles the host's no. A tree that was put back by its id may be gone at the host; then its deployment comes again
// with the files. One deployment's content may be what the host does not want, so the others get a push of their own.
func (l *lane) refused(ctx context.Context, f *fold, refused *git.Refused, err error) {
	var assigned, others []*task
	for _, e := range f.entries {
		if e.assigned {
			assigned = append(assigned, e.tasks...)
		} else {
			others = append(others, e.tasks...)
		}
	}
	switch {
	case refused.Status == 0 && len(assigned) > 0:
		for _, t := range assigned {
			t.fail(errNeedsBundle)
		}
		l.commitUntil(ctx, others)
	case refused.Status == 0 && len(f.entries) > 1:
		l.split(ctx, f)
	case l.passOn(ctx, f, err):
	default:
		l.abort(ctx, f.tasks(), err)
	}
}

// split tries the halves of a fold one after the other.
func (l *lane) split(ctx context.Context, f *fold) {
	half := len(f.entries) / 2
	l.commitUntil(ctx, tasksOf(f.entries[:half]))
	l.commitUntil(ctx, tasksOf(f.entries[half:]))
}

func (f *fold) tasks() []*task { return tasksOf(f.entries) }

func tasksOf(entries []*entry) []*task {
	var tasks []*task
	for _, e := range entries {
		tasks = append(tasks, e.tasks...)
	}
	return tasks
}

// abort gives all tasks the same error. What is neither an outage nor a definite no is an anomaly: the lane's knowledge may be
// wrong, so it is read again next time.
func (l *lane) abort(ctx context.Context, tasks []*task, err error) {
	l.heed(err)
	err = l.svc.credentials.retryRenewed(ctx, l.ref.GetCredentials(), err)
	err = hostError(ctx, l.ref.GetBranch(), err, l.svc.credentials.secrets(l.ref.GetCredentials()))
	if errors.Is(err, git.ErrMissing) {
		err = internal(err)
	}
	if errors.Is(err, context.Canceled) {
		err = errLaneMoved
	}
	if !outage(err) && !permanent(err) && !errors.Is(err, errLaneMoved) {
		l.log.Warn("the lane begins anew after an error", "error", err)
		l.suspect = true
	}
	for _, t := range tasks {
		t.fail(err)
	}
}

// pause keeps two writers that lose to each other from doing so in step; the first retries come at once.
func pause(ctx context.Context, attempt int) {
	if attempt < 3 {
		return
	}
	timer := time.NewTimer(rand.N(time.Duration(min(attempt, 20)) * 25 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
