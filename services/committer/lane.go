package committer

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// lane is the one writer of a branch. All it knows can be read again from the remote, and is thrown away at any anomaly.
type lane struct {
	svc *Service
	key string
	log *slog.Logger
	// shard is what the lane belongs to, and moves with to another replica; cancel ends the lane, ended is closed then.
	shard string
	// until is, in Unix nanoseconds, when the lane's push may go; what waits for it says so.
	until  atomic.Int64
	cancel context.CancelFunc
	ended  chan struct{}
	// wake is signalled when there is something in the queue, or a look at the tip was asked for.
	wake chan struct{}

	// These belong to lanes.mu.
	queue   []*task
	used    bool
	lookNow bool

	// These belong to the lane's goroutine.
	ref    *committerv1.RepositoryRef
	remote git.Remote
	// known tells that tip, root and index are set; fresh, that they were fetched for the present batch.
	known, fresh bool
	tip, root    git.Hash
	index        *index
	// suspect tells that something in the repository was not as it should be: forget what is known after the batch.
	suspect bool
	// scanDue tells that the tip has moved by somebody else and the owned folders were not compared since.
	scanDue bool
	// reported is the foreign change last told of, by place; wrote, what Towpath is known to have written; policies, what the
	// newest command said of foreign changes, by environment.
	reported map[string]*eventsv1.ForeignCommit
	wrote    map[string]rules.State
	policies map[string]committerv1.ForeignPolicy
	// budget spaces the pushes.
	budget rules.Budget
}

func newLane(svc *Service, key string, ref *committerv1.RepositoryRef) *lane {
	return &lane{
		svc: svc, key: key, ref: ref, shard: events.Shard(ref.GetUrl(), ref.GetBranch()), ended: make(chan struct{}), wake: make(chan struct{}, 1),
		index: newIndex(), reported: map[string]*eventsv1.ForeignCommit{}, wrote: map[string]rules.State{}, policies: map[string]committerv1.ForeignPolicy{},
		log: svc.log.With("repository", ref.GetName(), "branch", ref.GetBranch()),
	}
}

func (l *lane) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends or the lane was idle for long.
func (l *lane) run(ctx context.Context) {
	defer l.drop()
	look := time.NewTicker(l.svc.cfg.TipInterval)
	defer look.Stop()
	idle := time.NewTicker(l.svc.cfg.LaneIdle)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, t := range l.svc.lanes.abandon(l) {
				t.fail(errLaneMoved)
			}
			return
		case <-l.wake:
			l.linger(ctx)
			if batch := l.svc.lanes.take(l); len(batch) > 0 {
				l.commit(ctx, batch)
			}
			if l.svc.lanes.takeLook(l) {
				l.look(ctx)
			}
		case <-look.C:
			l.look(ctx)
		case <-idle.C:
			if l.svc.lanes.retire(l) {
				return
			}
		}
		l.svc.health.noted(l)
	}
}

// aim makes the lane use the repository reference of the newest command: credentials may have another name now.
func (l *lane) aim(ref *committerv1.RepositoryRef) {
	if l.ref.GetUrl() != ref.GetUrl() || l.ref.GetCredentials() != ref.GetCredentials() {
		l.drop()
	}
	l.ref = ref
}

// refresh fetches the tip and everything that decisions need.
func (l *lane) refresh(ctx context.Context) error {
	if l.remote == nil {
		remote, err := l.svc.open(ctx, l.ref, "lanes", git.Hooks{
			PackSent: func() { l.svc.failpoint("pack_sent") },
			RefMoved: func() { l.svc.failpoint("ref_moved") },
		})
		if err != nil {
			l.svc.health.asked(ctx, l, err)
			return err
		}
		l.remote = remote
	}
	tip, err := l.remote.Fetch(ctx, l.ref.GetBranch())
	l.svc.health.asked(ctx, l, err)
	if err != nil {
		return err
	}
	if !l.known || tip != l.tip {
		if err := l.moveTo(ctx, tip); err != nil {
			return err
		}
		l.svc.views.moved(l.ref)
	}
	l.fresh = true
	return nil
}

func (l *lane) moveTo(ctx context.Context, tip git.Hash) error {
	root := git.ZeroHash
	if !tip.IsZero() {
		c, err := l.remote.Commit(ctx, tip)
		if err != nil {
			return fmt.Errorf("read the tip: %w", err)
		}
		root = c.Tree
	}
	l.known = false
	l.svc.holdings.release(l.key)
	if err := l.index.refresh(ctx, l.remote, root, l.log); err != nil {
		return err
	}
	l.tip, l.root, l.known, l.scanDue = tip, root, true, true
	return nil
}

// drop forgets all that the lane knows.
func (l *lane) drop() {
	l.svc.holdings.release(l.key)
	if l.remote != nil {
		if err := l.remote.Close(); err != nil {
			l.log.Warn("a repository was not closed properly", "error", err)
		}
	}
	l.remote, l.known, l.fresh, l.suspect, l.index = nil, false, false, false, newIndex()
	l.tip, l.root = git.ZeroHash, git.ZeroHash
}

// look notices what others pushed.
func (l *lane) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.svc.cfg.PushDeadline)
	defer cancel()
	err := l.refresh(ctx)
	if err == nil {
		err = l.scan(ctx)
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case errs.Is(err, errs.Unavailable):
		l.log.Info("the branch cannot be looked at now", "error", err)
	default:
		l.log.Warn("the branch could not be looked at", "error", err)
		l.drop()
	}
}
