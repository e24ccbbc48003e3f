package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// ErrLeaseLost means that the process no longer holds the lease under which it worked; another one may hold it. errs.Unavailable.
var ErrLeaseLost = errors.New("store: the lease is lost")

// Elector lets one of several processes on one store do what only one may do at a time. Engines of which a process is the
// only user need none: see Alone.
type Elector interface {
	// Elect waits until this process holds the lease of that name; the error is ctx's, or ErrClosed. An outage of the store
	// is waited out.
	Elect(ctx context.Context, name string) (*Lease, error)
}

// Lease is the right to do something alone, until it is lost or given back. Two things keep a process that lost it without
// noticing (it was suspended, or cut off) from doing harm: Lost closes before the store gives the lease to another process,
// and what is written with Commit is refused once it did.
type Lease struct {
	epoch  int64
	fence  []Cond
	resign func(ctx context.Context) error

	once sync.Once
	lost chan struct{}
}

// NewLease is for engines: epoch is a number that grows with each holder, fence holds as long as this is the holder, resign
// lets others have it at once. The engine calls Lose when it must be taken for lost.
func NewLease(epoch int64, resign func(ctx context.Context) error, fence ...Cond) *Lease {
	return &Lease{epoch: epoch, fence: fence, resign: resign, lost: make(chan struct{})}
}

// Epoch is greater than that of every earlier holder; 0 where there is only one process.
func (l *Lease) Epoch() int64 { return l.epoch }

// Lost is closed when the process must stop at once.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Lose closes Lost. Again is fine.
func (l *Lease) Lose() { l.once.Do(func() { close(l.lost) }) }

// Commit is KV.Commit for what only the holder may write: the transaction fails with ErrLeaseLost, and changes nothing, when
// another process holds the lease or could.
func (l *Lease) Commit(ctx context.Context, kv KV, tx Tx) (int64, error) {
	tx.Conds = append(append(make([]Cond, 0, len(l.fence)+len(tx.Conds)), l.fence...), tx.Conds...)
	rev, err := kv.Commit(ctx, tx)
	if key, conflict := ConflictKey(err); conflict {
		for _, c := range l.fence {
			if c.Key == key {
				l.Lose()
				return 0, leaseLost()
			}
		}
	}
	return rev, err
}

func leaseLost() error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE,
		"another process does this now; this one stands by").Because(ErrLeaseLost)
}

// Alone is the Elector of a process that has its store to itself, as with boltkv and memkv: it always leads.
type Alone struct{}

// Elect implements Elector.
func (Alone) Elect(ctx context.Context, _ string) (*Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return NewLease(0, func(context.Context) error { return nil }), nil
}

// ElectorOf gives the engine's own elector, or Alone for an engine that only one process can use.
func ElectorOf(kv KV) Elector {
	if e, ok := kv.(Elector); ok {
		return e
	}
	return Alone{}
}

// resignTimeout bounds giving a lease back: it ends by itself soon after anyway.
const resignTimeout = 2 * time.Second

// Lead runs a task in one process at a time: it waits for the lease, runs the task until the lease is lost, and waits again.
// It ends with nil when ctx does, or with what the task gives while it holds the lease. The task must return soon after its
// context has ended; until then the process does not stand for election again.
func Lead(ctx context.Context, e Elector, name string, log *slog.Logger, task func(ctx context.Context, l *Lease) error) error {
	for {
		l, err := e.Elect(ctx, name)
		if err != nil {
			return unlessEnded(ctx, fmt.Errorf("lease %s: %w", name, err))
		}
		if l.Epoch() > 0 {
			log.Info("this process leads", "lease", name, "epoch", l.Epoch())
		}
		lost, err := underLease(ctx, l, task)
		if ctx.Err() != nil || !lost && !errors.Is(err, ErrLeaseLost) {
			return unlessEnded(ctx, err)
		}
		log.Warn("this process leads no longer; it stands by", "lease", name, "epoch", l.Epoch())
	}
}

// unlessEnded gives nil where ctx has ended: then that is why something failed.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// underLease runs the task and gives the lease back.
func underLease(ctx context.Context, l *Lease, task func(ctx context.Context, l *Lease) error) (lost bool, err error) {
	taskCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-l.Lost():
			cancel(leaseLost())
		case <-taskCtx.Done():
		}
	}()
	err = task(taskCtx, l)
	select {
	case <-l.Lost():
		lost = true
	default:
	}
	cancel(nil)
	<-watching
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer stop()
	_ = l.resign(late) // what fails here ends with the lease's time
	l.Lose()
	return lost, err
}

// KV gives the store with all its transactions made by Commit of the lease, for a worker that writes only as the holder.
func (l *Lease) KV(kv KV) KV {
	if len(l.fence) == 0 {
		return kv
	}
	return fenced{KV: kv, lease: l}
}

type fenced struct {
	KV
	lease *Lease
}

// Commit implements KV.
func (f fenced) Commit(ctx context.Context, tx Tx) (int64, error) {
	return f.lease.Commit(ctx, f.KV, tx)
}
