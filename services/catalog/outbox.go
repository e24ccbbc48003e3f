package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// outbox turns what is written into what is published. It follows the store's change log, so that nothing can be written and
// never published: after a crash it goes on from its last stored position, which lags what the event server has acknowledged.
// Subscribers hear of each state; the committer gets commands, one of an environment at a time (lane.go).
//
// It is one goroutine. Only it writes the rows under sentPrefix and keyPosition.
type outbox struct {
	*Service
	// cfg hides the service's: its store takes writes only while this process holds the lease.
	cfg   Config
	lanes map[rules.Env]*lane
	// done is a revision up to which everything is published; saved is what of it is stored.
	done, saved int64
	// last is the revision that was handled last, lastAt when. More of that transaction may follow, but at once.
	last   int64
	lastAt time.Time
	// bookings and parcels are what the next flush publishes.
	bookings []booking
	parcels  map[rules.Env]*parcel
	// down tells that the event server could not be reached and deployments were told so.
	down bool
}

const (
	// saveEvery is how often the position is stored. What was published since is published again after a crash, with the
	// same message ids.
	saveEvery = time.Second
	// lookEvery is how often lanes are looked at for what got lost, refillEvery how often desired states are.
	lookEvery   = 5 * time.Second
	refillEvery = 10 * time.Minute
	// heldEvery is how often it is looked whether a lock or freeze has ended.
	heldEvery = 250 * time.Millisecond
)

// runOutbox publishes until ctx ends.
func (s *Service) runOutbox(ctx context.Context, l *store.Lease) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		start := time.Now()
		o := &outbox{Service: s, cfg: s.underLease(l), lanes: map[rules.Env]*lane{}, down: true} // as far as an earlier run may have told
		err := o.run(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrLeaseLost) {
			return unlessEnded(ctx, err)
		}
		if err == nil {
			wait = 50 * time.Millisecond
			continue
		}
		s.log.Warn("publishing was interrupted; it goes on from the stored position", "error", err)
		if time.Since(start) > time.Minute {
			wait = 50 * time.Millisecond
		}
		if err := sleep(ctx, wait); err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

func (o *outbox) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := o.persist(ctx, func() error { return o.cfg.Bus.Ensure(ctx) }); err != nil {
		return err
	}
	if err := o.loadPosition(ctx); err != nil {
		return err
	}
	changes, failed := o.watch(ctx)
	if err := o.rescan(ctx); err != nil {
		return err
	}
	save, look, refill := time.NewTicker(saveEvery), time.NewTicker(min(lookEvery, o.cfg.RepublishAfter)), time.NewTicker(refillEvery)
	held := time.NewTicker(min(heldEvery, o.cfg.RepublishAfter))
	defer held.Stop()
	defer save.Stop()
	defer look.Stop()
	defer refill.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-changes:
			if err := o.handle(ctx, gather(c, changes)); err != nil {
				return err
			}
		case err := <-failed:
			if !errors.Is(err, store.ErrCompacted) {
				return err
			}
			return o.skip(ctx)
		case <-refill.C:
			if err := errors.Join(o.refill(ctx), o.flush(ctx)); err != nil {
				return err
			}
		case <-held.C:
			if err := errors.Join(o.lookAtHeld(ctx, false), o.flush(ctx)); err != nil {
				return err
			}
		case <-save.C:
			if time.Since(o.lastAt) > saveEvery/2 {
				o.done = max(o.done, o.last)
			}
			if err := o.savePosition(ctx); err != nil {
				return err
			}
		case <-look.C:
			if err := errors.Join(o.lookAround(ctx), o.lookAtHeld(ctx, true), o.flush(ctx)); err != nil {
				return err
			}
		}
	}
}

// skip goes on after the end of the log. What happened in between cannot be told to subscribers any more; unfinished
// deployments are all in the open rows, which the next run reads.
func (o *outbox) skip(ctx context.Context) (err error) {
	o.log.Warn("the change log was cut behind the outbox; unfinished deployments are looked at anew", "position", o.done)
	if o.done, err = store.Revision(ctx, o.cfg.KV); err != nil {
		return err
	}
	return o.savePosition(ctx)
}

// watch follows the log in its own goroutine, because a watch blocks while there is nothing. What is in the channel's buffer
// when the outbox ends is still in the log.
func (o *outbox) watch(ctx context.Context) (<-chan store.Change, <-chan error) {
	changes, failed := make(chan store.Change, maxChanges), make(chan error, 1)
	after := o.done
	go func() {
		for c, err := range o.cfg.KV.Watch(ctx, deployments.Prefix(), after) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case changes <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return changes, failed
}

// rescan reads the unfinished deployments, however long history is, and goes on with them. A command whose publishing was cut
// short by a crash is published again with the same id.
func (o *outbox) rescan(ctx context.Context) error {
	var resume []*lane
	for e, err := range store.All(ctx, o.cfg.KV, openPrefix) {
		if err != nil {
			return err
		}
		env, generation, ok := envOfDepKey(e.Key[len(openPrefix):])
		if !ok {
			continue
		}
		d, err := o.deployment(ctx, env, generation)
		if errs.Is(err, errs.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l, err := o.lane(ctx, env)
		if err != nil {
			return err
		}
		if len(resume) == 0 || resume[len(resume)-1] != l {
			resume = append(resume, l)
		}
		l.note(generation, d)
	}
	for _, l := range resume {
		if err := o.resume(ctx, l); err != nil {
			return err
		}
	}
	if err := o.refill(ctx); err != nil {
		return err
	}
	return o.flush(ctx)
}

// persist repeats what an outage makes impossible. The outbox has nothing else to do meanwhile: all its work is publishing.
func (o *outbox) persist(ctx context.Context, try func() error) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := try()
		if err == nil && o.down {
			o.down = false
			return o.wait(ctx, "")
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if k := errs.KindOf(err); k != errs.Unavailable && k != errs.Timeout {
			return err
		}
		o.down = true
		if err := o.wait(ctx, unreachable); err != nil {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// unreachable is why a deployment waits that cannot be sent.
const unreachable = "the event server cannot be reached; the deployment goes on by itself when it can"

// wait notes in the deployments that wait to be sent why they do, or with an empty reason that they no longer do. It is called
// again and again during an outage, for those that were accepted meanwhile.
func (o *outbox) wait(ctx context.Context, reason string) error {
	for e, err := range store.All(ctx, o.cfg.KV, openPrefix) {
		if err != nil {
			return err
		}
		env, generation, ok := envOfDepKey(e.Key[len(openPrefix):])
		if !ok {
			continue
		}
		_, err := o.moveDeployment(ctx, env, generation, func(d *catalogv1.Deployment) {
			if d.GetState() == catalogv1.Deployment_STATE_PENDING && (reason != "" || d.GetWaitingReason() == unreachable) {
				d.WaitingReason = reason
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *outbox) loadPosition(ctx context.Context) error {
	e, err := o.cfg.KV.Get(ctx, keyPosition)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.done, err = strconv.ParseInt(string(e.Value), 10, 64); err != nil {
		return fmt.Errorf("row %q is damaged: %w", keyPosition, err)
	}
	o.saved = o.done
	return nil
}

func (o *outbox) savePosition(ctx context.Context) error {
	if o.done == o.saved {
		return nil
	}
	var tx store.Tx
	tx.Put(keyPosition, strconv.AppendInt(nil, o.done, 10))
	if _, err := o.cfg.KV.Commit(ctx, tx); err != nil {
		return err
	}
	o.saved = o.done
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
