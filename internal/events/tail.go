package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// TailConfig configures Tail. At most one of FromSeq, FromTime, LastPerSubject and NewOnly is set; none means from the
// first stored message.
type TailConfig struct {
	// Stream is one of the Stream constants.
	Stream string
	// Filter limits the subjects; empty means all.
	Filter []string
	// FromSeq starts with the message of that sequence or the next one that passes the filter.
	FromSeq uint64
	// FromTime starts with the first message stored at or after that time.
	FromTime time.Time
	// LastPerSubject starts with the last message of each subject.
	LastPerSubject bool
	// NewOnly starts with the next message.
	NewOnly bool
	// CaughtUp is called once, when everything stored at the start has been yielded; at once when there was nothing.
	CaughtUp func()
}

func (c TailConfig) check() error {
	starts := 0
	for _, set := range []bool{c.FromSeq > 0, !c.FromTime.IsZero(), c.LastPerSubject, c.NewOnly} {
		if set {
			starts++
		}
	}
	if starts > 1 {
		return errs.InvalidField("start", "give only one of a sequence, a time, the last per subject and new only")
	}
	if c.Stream == "" {
		return errs.InvalidField("stream", "is empty")
	}
	return checkFilters(c.Stream, c.Filter)
}

// Tail follows a stream in order, without acknowledgements and without a position on the server. It goes on until the
// caller stops or ctx ends, over lost connections and restarts of the server, each message once.
//
// It yields an error beside a Delivery for a message that cannot be understood, and goes on; the Delivery then has the
// envelope only. It yields an error beside a zero Delivery and ends when it cannot go on: Invalid for a wrong
// configuration, Denied, or OutOfRange (REASON_COMPACTED, first_sequence and last_sequence in the metadata) when FromSeq
// is not stored: start again from what is there. The end of ctx is not an error.
func (b *Bus) Tail(ctx context.Context, cfg TailConfig) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		if err := cfg.check(); err != nil {
			yield(Delivery{}, err)
			return
		}
		if !b.cfg.Role.mayRead(cfg.Stream) {
			yield(Delivery{}, denied("read", cfg.Stream, nil))
			return
		}
		t := &tail{bus: b, cfg: cfg, yield: yield}
		for failures := 1; ctx.Err() == nil; failures++ {
			seen := t.last
			err := t.follow(ctx)
			if t.stopped || ctx.Err() != nil {
				return
			}
			if b.nc.IsClosed() {
				err = errs.New(errs.Precondition, errorsv1.Reason_REASON_EVENTS_UNAVAILABLE, "the connection to the event server was closed").Because(err)
			}
			switch errs.KindOf(err) {
			case errs.Invalid, errs.Precondition, errs.Denied, errs.OutOfRange:
				yield(Delivery{}, err)
				return
			}
			b.log.Info("following a stream was interrupted; going on", "stream", cfg.Stream, "after", t.last, "error", err)
			if t.last != seen {
				failures = 1
			}
			sleep(ctx, grow(20*time.Millisecond, 2*time.Second, failures))
		}
	}
}

// tail is one running Tail.
type tail struct {
	bus     *Bus
	cfg     TailConfig
	yield   func(Delivery, error) bool
	epoch   time.Time // creation of the stream
	last    uint64    // the last sequence seen
	resume  uint64    // where NewOnly goes on when nothing was seen yet
	stopped bool
	caught  bool
}

// follow reads from one consumer until it breaks.
func (t *tail) follow(ctx context.Context) error {
	if err := t.bus.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := t.bus.untilChange(ctx)
	defer cancel()
	cfg, err := t.start(ctx)
	if err != nil {
		return err
	}
	cons, err := t.bus.js.CreateConsumer(ctx, t.cfg.Stream, cfg)
	if err != nil {
		return mapErr(ctx, "follow stream "+t.cfg.Stream, err)
	}
	name := cons.CachedInfo().Name
	defer t.forget(name)
	if cons.CachedInfo().NumPending == 0 {
		t.catchUp()
	}
	msgs, err := cons.Messages(jetstream.PullMaxMessages(64), jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(3*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return mapErr(ctx, "follow stream "+t.cfg.Stream, err)
	}
	defer msgs.Stop()
	for next := uint64(1); ; next++ {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("follow stream: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("follow stream: %w", err)
		}
		if meta.Sequence.Consumer != next {
			return fmt.Errorf("follow stream: message %d was lost on the way", next)
		}
		if err := t.deliver(ctx, msg, meta); err != nil || t.stopped {
			return err
		}
	}
}

// deliver yields one message.
func (t *tail) deliver(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if meta.Sequence.Stream > t.last {
		r := raw{subject: msg.Subject(), header: msg.Headers(), data: msg.Data()}
		d := Delivery{Attempt: 1}
		var err error
		if d.Envelope, err = r.open(meta); err == nil {
			d.Data, err = t.bus.body(ctx, d.Envelope, r)
		}
		if kind := errs.KindOf(err); err != nil && (kind == errs.Unavailable || kind == errs.Cancelled || kind == errs.Timeout) {
			return err // nothing was yielded: the message comes again
		}
		t.last = meta.Sequence.Stream
		if !t.yield(d, err) {
			t.stopped = true
			return nil
		}
	}
	if meta.NumPending == 0 {
		t.catchUp()
	}
	return nil
}

func (t *tail) catchUp() {
	if !t.caught && t.cfg.CaughtUp != nil {
		t.cfg.CaughtUp()
	}
	t.caught = true
}

// start says where the next consumer begins.
func (t *tail) start(ctx context.Context) (jetstream.ConsumerConfig, error) {
	cfg := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		FilterSubjects: t.cfg.Filter,
	}
	stream, err := t.bus.js.Stream(ctx, t.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := t.bus.Ensure(ctx); err != nil {
			return cfg, err
		}
		stream, err = t.bus.js.Stream(ctx, t.cfg.Stream)
	}
	if err != nil {
		return cfg, mapErr(ctx, "follow stream "+t.cfg.Stream, err)
	}
	info := stream.CachedInfo()
	first := t.epoch.IsZero()
	if !first && !info.Created.Equal(t.epoch) {
		// The stream was deleted and made again: nothing in it has been seen.
		t.last, t.resume, t.cfg.FromSeq, t.cfg.FromTime, t.cfg.NewOnly = 0, 0, 0, time.Time{}, false
	}
	t.epoch = info.Created
	if first && t.cfg.NewOnly {
		t.resume = info.State.LastSeq + 1
	}
	if first && t.cfg.FromSeq > 0 {
		if err := stored(t.cfg.FromSeq, info.State); err != nil {
			return cfg, err
		}
	}
	switch {
	case t.cfg.LastPerSubject:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if len(cfg.FilterSubjects) == 0 {
			cfg.FilterSubjects = []string{">"}
		}
	case max(t.last+1, t.resume, t.cfg.FromSeq) > 1:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(t.last+1, t.resume, t.cfg.FromSeq)
	case !t.cfg.FromTime.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &t.cfg.FromTime
	}
	return cfg, nil
}

// stored checks that following from a sequence misses nothing.
func stored(from uint64, s jetstream.StreamState) error {
	if from >= s.FirstSeq && from <= s.LastSeq+1 {
		return nil
	}
	return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED,
		"event %d is not stored; there are events %d to %d, start with one of them", from, s.FirstSeq, s.LastSeq).
		With("first_sequence", strconv.FormatUint(s.FirstSeq, 10)).With("last_sequence", strconv.FormatUint(s.LastSeq, 10))
}

// forget removes the consumer. When that fails the server does it after a minute.
func (t *tail) forget(name string) {
	if !t.bus.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := t.bus.js.DeleteConsumer(ctx, t.cfg.Stream, name); err != nil {
		t.bus.log.Debug("a consumer was not removed", "consumer", name, "error", err)
	}
}

func isNoMessage(err error) bool { return errors.Is(err, jetstream.ErrMsgNotFound) }
