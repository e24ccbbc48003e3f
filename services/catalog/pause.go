package catalog

import (
	"context"
	"sync"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// pause lets one call have the database for itself: what runs beside the calls ends and begins anew behind it, and other calls
// cannot write meanwhile. Make it with newPause.
type pause struct {
	mu     *sync.RWMutex // held for reading by each commit
	closed *bool         // under mu
	asked  chan pauseRequest
}

type pauseRequest struct {
	// begun is closed when nothing runs any more, over by the caller when it is done; then resumed gets how it went on.
	begun, over chan struct{}
	resumed     chan error
}

func newPause() pause {
	return pause{mu: &sync.RWMutex{}, closed: new(bool), asked: make(chan pauseRequest)}
}

// enter is called before a write and gives what to call behind it.
func (p pause) enter() (leave func(), err error) {
	p.mu.RLock()
	if *p.closed {
		p.mu.RUnlock()
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "a backup is being restored; try again when that is done")
	}
	return p.mu.RUnlock, nil
}

// close keeps writers out; it waits for those that are in.
func (p pause) close(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.closed = closed
}

// pauseWait bounds how long a call waits for its turn: Run may not run, or another call has the database.
const pauseWait = 30 * time.Second

// alone runs do while nothing else of this process uses the database, except for reading.
func (s *Service) alone(ctx context.Context, do func(context.Context) error) error {
	r := pauseRequest{begun: make(chan struct{}), over: make(chan struct{}), resumed: make(chan error, 1)}
	select {
	case s.pause.asked <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pauseWait):
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "the catalog cannot be stopped for this now; try again")
	}
	<-r.begun
	s.pause.close(true)
	err := do(context.WithoutCancel(ctx)) // what is begun is ended
	s.pause.close(false)
	close(r.over)
	if rerr := <-r.resumed; err == nil {
		err = rerr
	}
	return err
}

// unlessPaused runs work until ctx ends or work fails, with breaks for alone.
func (s *Service) unlessPaused(ctx context.Context, work func(context.Context) error) error {
	for {
		again, err := s.untilPause(ctx, work)
		if !again || err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

func (s *Service) untilPause(ctx context.Context, work func(context.Context) error) (again bool, err error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- work(inner) }()
	select {
	case err := <-ended:
		return false, err
	case r := <-s.pause.asked:
		cancel()
		if err := <-ended; err != nil { // it ends because it was cancelled
			s.log.Debug("what is paused ended with an error", "error", err)
		}
		close(r.begun)
		<-r.over
		s.tokens.purge()
		err := s.bootstrap(ctx)
		r.resumed <- err
		return true, err
	}
}
