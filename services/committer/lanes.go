package committer

import (
	"context"
	"sync"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// lanes is the set of running lanes, one goroutine each. It accepts work between start and stop only.
type lanes struct {
	svc *Service

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // the lanes' life is Run's, not that of the call that opens one
	byKey map[string]*lane
	alive sync.WaitGroup
}

func (ls *lanes) start(ctx context.Context) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.ctx, ls.byKey = ctx, map[string]*lane{}
}

// stop waits for the lanes, whose context has ended; what they had not done stays in JetStream.
func (ls *lanes) stop() {
	ls.mu.Lock()
	ls.ctx = nil
	ls.mu.Unlock()
	ls.alive.Wait()
}

// submit hands a task to its lane and waits for the result. When too much waits already for this branch the answer is
// errs.Conflict, so that a branch with a slow host does not take all workers.
func (ls *lanes) submit(ctx context.Context, t *task) (outcome, error) {
	mine := *t // the lane may still look at an earlier submission of the same deployment
	mine.done = make(chan result, 1)
	if err := ls.enqueue(&mine); err != nil {
		return outcome{}, err
	}
	select {
	case r := <-mine.done:
		return r.outcome, r.err
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	}
}

func (ls *lanes) enqueue(t *task) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.open(laneKey(t.cmd.GetRepository()), t.cmd.GetRepository())
	if l == nil {
		return context.Canceled
	}
	if len(l.queue) >= ls.svc.cfg.MaxBatch || len(l.queue) >= max(1, ls.svc.cfg.Workers/2) {
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT, "too much waits for this branch; it is tried again")
	}
	l.queue = append(l.queue, t)
	ls.svc.metrics.queued.Inc()
	l.notify()
	return nil
}

// watch makes sure that the branch has a lane, which looks at its tip from time to time.
func (ls *lanes) watch(ref *committerv1.RepositoryRef) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.open(laneKey(ref), ref); l != nil {
		l.used = true
	}
}

// look makes the lane look at its tip soon, if there is one.
func (ls *lanes) look(key string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.byKey[key]; l != nil {
		l.lookNow = true
		l.notify()
	}
}

// open gives the lane of a key; nil when the committer does not run. The caller holds mu.
func (ls *lanes) open(key string, ref *committerv1.RepositoryRef) *lane {
	if ls.ctx == nil || ls.ctx.Err() != nil {
		return nil
	}
	l := ls.byKey[key]
	if l == nil {
		l = newLane(ls.svc, key, ref)
		ls.byKey[key] = l
		ls.svc.metrics.lanes.Inc()
		ctx, cancel := context.WithCancel(ls.ctx)
		l.cancel = cancel
		ls.alive.Go(func() {
			defer close(l.ended)
			defer cancel()
			l.run(ctx)
		})
	}
	l.used = true
	return l
}

// take gives the next batch of a lane.
func (ls *lanes) take(l *lane) []*task {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := min(len(l.queue), ls.svc.cfg.MaxBatch)
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	if len(l.queue) > 0 {
		l.notify()
	} else {
		l.queue = nil
	}
	ls.svc.metrics.queued.Sub(float64(n))
	return batch
}

// takeLook tells whether a look at the tip was asked for.
func (ls *lanes) takeLook(l *lane) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	look := l.lookNow
	l.lookNow = false
	return look
}

// retire closes a lane that nobody used since the last call; true means that it is gone and must end.
func (ls *lanes) retire(l *lane) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.used || len(l.queue) > 0 {
		l.used = false
		return false
	}
	ls.remove(l)
	return true
}

// remove takes the lane out of the set. The caller holds mu.
func (ls *lanes) remove(l *lane) {
	delete(ls.byKey, l.key)
	ls.svc.metrics.lanes.Dec()
}

// abandon takes out a lane whose context has ended and gives what nobody did.
func (ls *lanes) abandon(l *lane) []*task {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.remove(l)
	left := l.queue
	l.queue = nil
	ls.svc.metrics.queued.Sub(float64(len(left)))
	return left
}
