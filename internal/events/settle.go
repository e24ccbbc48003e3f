package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/towpath-dev/towpath/internal/errs"
)

// The acknowledgements of JetStream. They are sent to a message's reply subject, which is all that is kept of a message
// whose body was unloaded.
var (
	ackDone     = []byte("+ACK")
	ackProgress = []byte("+WPI")
)

func nakWithDelay(d time.Duration) []byte {
	return fmt.Appendf(nil, `-NAK {"delay": %d}`, d.Nanoseconds())
}

func ackTerm(reason string) []byte { return []byte("+TERM " + oneLine(reason)) }

// oneLine makes a text fit for a header and for an acknowledgement.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 1024 {
		s = strings.ToValidUTF8(s[:1024], "") + "..."
	}
	return s
}

// finish acknowledges a handled message and removes its body from the object store.
func (c *consumption) finish(ctx context.Context, it *item) bool {
	c.mu.Lock()
	object := ""
	if it.raw != nil {
		object = it.raw.header.Get(headerObject)
	}
	c.mu.Unlock()
	if !c.confirm(ctx, it, ackDone) {
		return false
	}
	if object != "" && c.cfg.Stream == StreamCommands {
		c.bus.dropObject(context.WithoutCancel(ctx), object)
	}
	return true
}

// confirm sends an acknowledgement until the server confirms it (a double ack). The effect has happened, so it goes on for
// a moment after ctx ends; false means that it was not confirmed even then, and the message will come again.
func (c *consumption) confirm(ctx context.Context, it *item, verb []byte) bool {
	grace := context.WithoutCancel(ctx)
	for failures := 1; ; failures++ {
		c.mu.Lock()
		reply, current := it.reply, it.place.epoch == c.epoch
		c.mu.Unlock()
		if !current {
			return true // the stream that held it is gone, nobody waits for an answer
		}
		attempt, cancel := context.WithTimeout(grace, min(c.bus.cfg.Timeout, c.cfg.AckWait))
		_, err := c.bus.nc.RequestWithContext(attempt, reply, verb)
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() != nil || c.bus.nc.IsClosed() {
			return false
		}
		c.log.Debug("acknowledgement not confirmed; sending it again", "subject", it.env.Subject, "error", err)
		sleep(ctx, grow(20*time.Millisecond, time.Second, failures))
	}
}

// giveUp stores a dead letter, says so, and removes the message from its consumer. A message of the dead letters' own
// stream is only removed, or a faulty reader would fill the disk.
func (c *consumption) giveUp(ctx context.Context, it *item, d Delivery, cause error, attempts int) bool {
	dead := DeadLetter{
		Stream: c.cfg.Stream, Subject: it.env.Subject, Sequence: it.env.Sequence, Consumer: c.cfg.Durable,
		Reason: errs.Message(cause), Kind: errs.KindOf(cause).String(), Attempts: attempts, Time: time.Now(),
	}
	c.log.Error("message given up", "subject", it.env.Subject, "id", it.env.ID, "type", it.env.Type, "attempts", attempts, "error", cause)
	if c.cfg.Stream != StreamDeadLetters && !c.bury(ctx, it, dead) {
		return false
	}
	if c.cfg.OnDeadLetter != nil {
		c.cfg.OnDeadLetter(ctx, d, dead)
	}
	return c.confirm(ctx, it, ackTerm(dead.Reason))
}

// bury publishes the dead letter until it is stored. The message itself stays where it is until then.
func (c *consumption) bury(ctx context.Context, it *item, dead DeadLetter) bool {
	for failures := 1; ctx.Err() == nil; failures++ {
		r, err := c.load(ctx, it)
		if errors.Is(err, errGone) {
			return true
		}
		if err == nil {
			err = c.bus.storeDeadLetter(ctx, r, it.place, dead)
		}
		if err == nil {
			return true
		}
		c.log.Warn("a dead letter was not stored; trying again", "subject", it.env.Subject, "error", err)
		sleep(ctx, grow(c.cfg.Delays.ParkMin, c.cfg.Delays.ParkMax, failures))
	}
	return false
}

func (b *Bus) storeDeadLetter(ctx context.Context, r raw, p place, dead DeadLetter) error {
	msg := &nats.Msg{Subject: deadLetterSubject(dead.Stream, dead.Subject), Header: nats.Header{}, Data: r.data}
	for k, v := range r.header {
		if k != jetstream.MsgIDHeader && !strings.HasPrefix(k, "Nats-") {
			msg.Header[k] = v
		}
	}
	dead.addTo(msg.Header)
	id := fmt.Sprintf("dead:%s:%s:%d:%d", dead.Stream, dead.Consumer, p.epoch, p.seq)
	_, err := b.store(ctx, msg, id)
	return err
}

// RetryDeadLetter sends a dead letter again to the stream it came from and removes it from StreamDeadLetters. seq is its
// sequence there (Envelope.Sequence). NotFound when there is none, Denied when this credential may not publish its
// subject. A second call while the first is running does not send it twice.
func (b *Bus) RetryDeadLetter(ctx context.Context, seq uint64) error {
	if !b.cfg.Role.mayRetry() {
		return denied("send again", StreamDeadLetters, nil)
	}
	stream, err := b.js.Stream(ctx, StreamDeadLetters)
	if err != nil {
		return mapErr(ctx, "read a dead letter", err)
	}
	stored, err := stream.GetMsg(ctx, seq)
	if err != nil {
		if isNoMessage(err) {
			return errs.NotFoundf(fmt.Sprintf("dead letter %d", seq), "it was retried already or is too old")
		}
		return mapErr(ctx, "read a dead letter", err)
	}
	dead := openDeadLetter(stored.Header)
	if streamOf(dead.Subject) != dead.Stream || dead.Stream == StreamDeadLetters || dead.Stream == "" {
		return poison("dead letter %d does not say where it came from; it cannot be sent again", seq)
	}
	msg := &nats.Msg{Subject: dead.Subject, Header: nats.Header{}, Data: stored.Data}
	for k, v := range stored.Header {
		if !strings.HasPrefix(k, "Nats-") {
			msg.Header[k] = v
		}
	}
	for _, k := range deadHeaders {
		msg.Header.Del(k)
	}
	id := fmt.Sprintf("%s.retry%d.%d", stored.Header.Get(headerID), stream.CachedInfo().Created.Unix(), seq)
	if _, err := b.store(ctx, msg, id); err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil && !isNoMessage(err) {
		return mapErr(ctx, "remove a dead letter that was sent again", err)
	}
	return nil
}
