package events

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	// residentPerLane messages of a lane keep their bodies in memory; the others are read again when their turn comes.
	residentPerLane = 8
	// residentBytes is ConsumerConfig.MaxResident's default: the bodies of all lanes together.
	residentBytes = 32 << 20
	// rememberSettled is how many settled messages are known, to answer late copies without handling them again.
	rememberSettled = 4096
	// releaseDelay is the pause before the server gives a returned message to another process.
	releaseDelay = 50 * time.Millisecond
)

// item is one message that is not settled. Its fields after the blank line belong to consumption.mu.
type item struct {
	place  place
	env    Envelope
	poison error
	size   int

	reply     string
	raw       *raw // nil when unloaded
	notBefore time.Time
}

// lane is the queue of messages that must stay in order.
type lane struct{ queue []*item }

// insert keeps the stream's order. The first message may be in work and stays first.
func (l *lane) insert(it *item) {
	i := len(l.queue)
	for i > 1 && later(l.queue[i-1].place, it.place) {
		i--
	}
	l.queue = slices.Insert(l.queue, i, it)
}

func later(a, b place) bool {
	if a.epoch != b.epoch {
		return a.epoch > b.epoch
	}
	return a.seq > b.seq
}

// unload drops a body. The caller holds mu.
func (c *consumption) unload(it *item) {
	if it.raw != nil {
		it.raw = nil
		c.resident -= it.size
	}
}

// drain works a lane off until it is empty.
func (c *consumption) drain(ctx context.Context, key string, l *lane) {
	for {
		c.mu.Lock()
		if len(l.queue) == 0 {
			delete(c.lanes, key)
			c.mu.Unlock()
			return
		}
		it := l.queue[0]
		c.mu.Unlock()
		if !c.settle(ctx, it) {
			return // ctx ended; release gives the rest back
		}
		c.mu.Lock()
		l.queue[0] = nil
		l.queue = l.queue[1:]
		c.unload(it)
		delete(c.items, it.place)
		c.remember(it.place)
		c.mu.Unlock()
	}
}

// remember notes a settled place. The caller holds mu.
func (c *consumption) remember(p place) {
	c.settled[p] = struct{}{}
	c.recent = append(c.recent, p)
	if len(c.recent) > rememberSettled {
		delete(c.settled, c.recent[0])
		c.recent = c.recent[1:]
	}
}

// settle tries a message until it is done or given up. False means that ctx ended first.
func (c *consumption) settle(ctx context.Context, it *item) bool {
	var t tally
	parked := false
	for {
		t.attempts++
		d, err := c.attempt(ctx, it, t.attempts)
		if err != nil && ctx.Err() != nil {
			return false
		}
		if errors.Is(err, errGone) {
			c.log.Warn("a message was removed from the stream before its turn", "subject", it.env.Subject, "sequence", it.env.Sequence)
			return c.confirm(ctx, it, ackDone)
		}
		act, delay := t.next(err, c.cfg.Delays, c.cfg.MaxFailures)
		switch act {
		case actionAck:
			if parked && c.cfg.OnResume != nil {
				c.cfg.OnResume(d)
			}
			return c.finish(ctx, it)
		case actionDeadLetter:
			return c.giveUp(ctx, it, d, err, t.attempts)
		case actionPark:
			parked = true
			c.log.Info("lane waits", "subject", it.env.Subject, "id", it.env.ID, "wait", t.parks+t.conflicts, "error", err)
			if c.cfg.OnPark != nil {
				c.cfg.OnPark(d, err, t.parks+t.conflicts)
			}
		case actionRetry:
			c.log.Warn("message failed; trying it again", "subject", it.env.Subject, "id", it.env.ID, "failures", t.failures, "error", err)
		}
		c.wait(ctx, it, delay, act == actionRetry)
		if ctx.Err() != nil {
			return false
		}
	}
}

// wait pauses the lane in place: giving the message back would let the ones behind it overtake. A counted wait is kept
// when the process ends, as the delay of the returned message.
func (c *consumption) wait(ctx context.Context, it *item, delay time.Duration, counted bool) {
	if counted {
		c.mu.Lock()
		it.notBefore = time.Now().Add(delay)
		c.mu.Unlock()
	}
	sleep(ctx, delay)
}

// attempt loads the body and calls the handler once.
func (c *consumption) attempt(ctx context.Context, it *item, n int) (d Delivery, err error) {
	d = Delivery{Envelope: it.env, Attempt: n}
	if it.poison != nil {
		return d, it.poison
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return d, ctx.Err()
	}
	r, err := c.load(ctx, it)
	if err != nil {
		return d, err
	}
	if d.Data, err = c.bus.body(ctx, it.env, r); err != nil {
		return d, err
	}
	ctx = propagator.Extract(ctx, propagation.HeaderCarrier(r.header))
	ctx, span := otel.Tracer(scope).Start(ctx, "process "+it.env.Type, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("messaging.destination.name", it.env.Subject), attribute.String("messaging.message.id", it.env.ID)))
	defer func() { endSpan(span, err) }()
	return d, c.call(ctx, d)
}

// call turns a panic into an internal error, so that one message cannot end the process for all.
func (c *consumption) call(ctx context.Context, d Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("handler panicked", "subject", d.Subject, "id", d.ID, "panic", p, "stack", string(debug.Stack()))
			err = errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the handler panicked").Because(fmt.Errorf("panic: %v", p))
		}
	}()
	return c.handle(ctx, d)
}

// errGone means that the message is no longer in the stream.
var errGone = errors.New("the message is no longer stored")

// load gives the message with its body, read again from the stream when it was unloaded.
func (c *consumption) load(ctx context.Context, it *item) (raw, error) {
	c.mu.Lock()
	r, epoch := it.raw, c.epoch
	c.mu.Unlock()
	if r != nil {
		return *r, nil
	}
	if epoch != it.place.epoch {
		return raw{}, errGone
	}
	stream, err := c.bus.js.Stream(ctx, c.cfg.Stream)
	if err != nil {
		return raw{}, unavailable("read a message", err)
	}
	if stream.CachedInfo().Created.UnixNano() != it.place.epoch {
		return raw{}, errGone
	}
	msg, err := stream.GetMsg(ctx, it.place.seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return raw{}, errGone
	}
	if err != nil {
		return raw{}, unavailable("read a message", err)
	}
	got := raw{subject: msg.Subject, header: msg.Header, data: msg.Data}
	c.mu.Lock()
	it.raw = &got
	c.resident += it.size
	c.mu.Unlock()
	return got, nil
}
