package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Handler has the effect of one message. It is called again after an error that may pass and, after a crash or a lost
// acknowledgement, also after success: the effect must be idempotent. Its context carries the publisher's trace and ends
// with Consume's.
//
// The kind of the error decides (errs.KindOf):
//   - nil: the message is done.
//   - Unavailable, Timeout: the lane parks and tries again, forever, without counting.
//   - Conflict: soon again.
//   - Internal, Cancelled, a panic, an error that is none of ours: counted, and a dead letter after MaxFailures.
//   - all others can never work: a dead letter at once. The handler should have said so where people look.
type Handler func(ctx context.Context, d Delivery) error

// ConsumerConfig configures Consume.
type ConsumerConfig struct {
	// Stream is one of the Stream constants.
	Stream string
	// Durable names the position that the server keeps. Consumers of the same name share the messages. On StreamEvents it
	// must be one of Durables.
	Durable string
	// Filter limits the subjects. On StreamCommands the filters of different durables must not overlap.
	Filter []string
	// Epoch, where given, makes the durable one that only this process has, for as long as it holds a lease: its name is Durable
	// with the epoch behind it. It takes the place of those with an earlier epoch, whose late acknowledgements then reach nothing,
	// and is removed at the end. For StreamCommands only.
	Epoch string
	// Replaces names other durables that are removed where they stand in the way of one with an epoch.
	Replaces []string
	// NewOnly makes a durable that does not exist yet start with the next message instead of the first stored one.
	NewOnly bool
	// Lane names the lane of a message. Within a lane messages are handled one after the other in the stream's order; a lane
	// that waits holds up no other. Default: the subject. It sees no body, because bodies are loaded when their turn comes.
	Lane func(Envelope) string
	// Parallel is how many handlers run at the same time. A lane that waits does not count. Default 16.
	Parallel int
	// Slots, where given, is what handlers of several consumers share instead of Parallel; its capacity is their number.
	Slots chan struct{}
	// AckWait is how long the server waits for a sign of life before it gives the message to somebody else; signs are sent
	// every third of it. Default 30 s.
	AckWait time.Duration
	// MaxWaiting limits the messages taken from the server and not settled yet; one lane with that many waiting messages
	// would hold up the others. Their bodies are not kept in memory. Default 10,000.
	MaxWaiting int
	// MaxResident limits the bodies kept in memory, in bytes. Default 32 MiB.
	MaxResident int
	// MaxFailures is the number of attempts with an internal error that make a dead letter. Default 5.
	MaxFailures int
	// Delays between attempts.
	Delays Delays
	// OnPark is called each time a lane has to wait for something that is unavailable, with the number of the wait from 1,
	// so that the service can show the reason. It must not block.
	OnPark func(d Delivery, err error, attempt int)
	// OnResume is called when a parked message was handled after all. It must not block.
	OnResume func(d Delivery)
	// OnDeadLetter is called after a message was given up and stored in StreamDeadLetters. After a crash it may be called again.
	OnDeadLetter func(ctx context.Context, d Delivery, dead DeadLetter)
}

func (c ConsumerConfig) complete() (ConsumerConfig, error) {
	if !slices.Contains([]string{StreamCommands, StreamEvents, StreamDesired, StreamDeadLetters}, c.Stream) {
		return c, errs.InvalidField("stream", "%q is none of this package's streams", c.Stream)
	}
	if p := tokenProblem(c.Durable); p != "" {
		return c, errs.InvalidField("durable", "%s", p)
	}
	if c.Stream == StreamEvents && !slices.Contains(Durables, c.Durable) {
		return c, errs.InvalidField("durable", "%q is not protected from operators; use one of %q or add it to that list", c.Durable, Durables)
	}
	if err := checkFilters(c.Stream, c.Filter); err != nil {
		return c, err
	}
	if c.Lane == nil {
		c.Lane = func(e Envelope) string { return e.Subject }
	}
	if c.Parallel <= 0 {
		c.Parallel = 16
	}
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = 10_000
	}
	if c.MaxResident <= 0 {
		c.MaxResident = residentBytes
	}
	if c.MaxFailures <= 0 {
		c.MaxFailures = 5
	}
	if c.Slots == nil {
		c.Slots = make(chan struct{}, c.Parallel)
	}
	if err := c.checkEpoch(); err != nil {
		return c, err
	}
	c.Delays = c.Delays.withDefaults()
	return c, nil
}

// Consume handles messages until ctx ends, then waits for running handlers, gives the rest back to the server and returns
// nil. Lost connections, restarts of the server and consumers or streams that somebody deleted are repaired on the way. An
// error means that the configuration cannot work: Invalid, Precondition or Denied.
func (b *Bus) Consume(ctx context.Context, cfg ConsumerConfig, handle Handler) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if cfg.AckWait <= 0 {
		cfg.AckWait = b.cfg.AckWait
	}
	if !b.cfg.Role.mayConsume(cfg.Stream) {
		return denied("consume", cfg.Stream, nil)
	}
	c := &consumption{
		bus: b, cfg: cfg, handle: handle, slots: cfg.Slots,
		log:   b.log.With("stream", cfg.Stream, "durable", cfg.Durable),
		items: map[place]*item{}, lanes: map[string]*lane{}, settled: map[place]struct{}{},
	}
	return c.run(ctx)
}

// place is a message's identity: streams that were deleted and made again reuse sequences, so their creation counts.
type place struct {
	epoch int64
	seq   uint64
}

// consumption is one running Consume.
type consumption struct {
	bus    *Bus
	cfg    ConsumerConfig
	handle Handler
	log    *slog.Logger
	slots  chan struct{} // held while a handler runs
	lanesG sync.WaitGroup

	mu       sync.Mutex
	epoch    int64 // creation of the stream, Unix nanoseconds; 0 before the first look
	items    map[place]*item
	lanes    map[string]*lane
	resident int                // bytes of bodies in memory
	settled  map[place]struct{} // recently settled, so that a copy on its way is not handled again
	recent   []place            // the same, oldest first
}

func (c *consumption) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var alive sync.WaitGroup
	alive.Go(func() { c.keepAlive(ctx) })
	err := c.pull(ctx)
	cancel()
	c.lanesG.Wait()
	alive.Wait()
	if c.cfg.Epoch != "" {
		c.removeFenced()
		return err
	}
	c.release()
	return err
}

// pull opens the consumer and reads, again and again.
func (c *consumption) pull(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		cons, err := c.open(ctx)
		if err == nil {
			failures = 0
			err = c.read(ctx, cons)
		} else {
			failures++
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how a consumer is stopped; its error says the same
		}
		if c.bus.nc.IsClosed() {
			return unavailable("be used: the connection was closed", err)
		}
		switch errs.KindOf(err) {
		case errs.Invalid, errs.Precondition, errs.Denied:
			return err
		}
		c.log.Warn("consumer interrupted; opening it again", "error", err)
		sleep(ctx, grow(c.cfg.Delays.ParkMin/4+1, c.cfg.Delays.ParkMax, failures+1))
	}
	return nil
}

// open finds or makes the durable consumer. One that was deleted continues with the first message that is not settled here.
func (c *consumption) open(ctx context.Context) (jetstream.Consumer, error) {
	if err := c.bus.Wait(ctx); err != nil {
		return nil, err
	}
	js := c.bus.js
	stream, err := js.Stream(ctx, c.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := c.bus.Ensure(ctx); err != nil {
			return nil, err
		}
		stream, err = js.Stream(ctx, c.cfg.Stream)
	}
	if err != nil {
		return nil, mapErr(ctx, "open stream "+c.cfg.Stream, err)
	}
	resume := c.enter(stream.CachedInfo().Created.UnixNano())
	if c.cfg.Epoch != "" {
		return c.openFenced(ctx, stream)
	}
	want := jetstream.ConsumerConfig{Durable: c.cfg.Durable, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1}
	cons, err := stream.Consumer(ctx, c.cfg.Durable)
	switch {
	case err == nil:
		want = cons.CachedInfo().Config // where it starts cannot be changed and does not matter any more
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, mapErr(ctx, "open consumer "+c.cfg.Durable, err)
	case resume > 0 && c.cfg.Stream != StreamCommands: // a work queue's consumer may start only at the beginning, and holds only what is not done
		want.DeliverPolicy, want.OptStartSeq = jetstream.DeliverByStartSequencePolicy, resume
	case resume == 0 && c.cfg.NewOnly && c.cfg.Stream != StreamCommands:
		want.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	want.AckWait, want.MaxAckPending, want.FilterSubject, want.FilterSubjects = c.cfg.AckWait, c.cfg.MaxWaiting, "", c.cfg.Filter
	if len(c.cfg.Filter) == 1 {
		want.FilterSubject, want.FilterSubjects = c.cfg.Filter[0], nil
	}
	cons, err = stream.CreateOrUpdateConsumer(ctx, want)
	return cons, mapErr(ctx, "open consumer "+c.cfg.Durable, err)
}

// enter notes the stream's epoch and gives the sequence from which a lost consumer continues, 0 for a stream not seen before.
func (c *consumption) enter(epoch int64) (resume uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		if c.epoch != 0 {
			c.log.Warn("the stream was made again; messages it had lost are sent again by their publishers")
		}
		c.epoch = epoch
		return 0
	}
	for p := range c.items {
		if p.epoch == epoch && (resume == 0 || p.seq < resume) {
			resume = p.seq
		}
	}
	if resume == 0 {
		for p := range c.settled {
			if p.epoch == epoch {
				resume = max(resume, p.seq+1)
			}
		}
	}
	return resume
}

// read takes messages from the server into the lanes until something goes wrong. It never waits for a lane.
func (c *consumption) read(ctx context.Context, cons jetstream.Consumer) error {
	iter, err := cons.Messages(jetstream.PullMaxMessages(64), jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(3*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return mapErr(ctx, "read messages", err)
	}
	defer iter.Stop()
	open, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go c.watchConsumer(open, cancel)
	for {
		msg, err := iter.Next(jetstream.NextContext(open))
		if err != nil {
			c.drainIterator(ctx, iter)
			return fmt.Errorf("read messages: %w", errors.Join(err, context.Cause(open)))
		}
		if err := c.accept(ctx, msg); err != nil {
			return err
		}
	}
}

// drainIterator takes what the client has received already, or the server would wait AckWait for it.
func (c *consumption) drainIterator(ctx context.Context, iter jetstream.MessagesContext) {
	iter.Drain()
	for c.bus.Connected() {
		msg, err := iter.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			return
		}
		if c.accept(ctx, msg) != nil {
			return
		}
	}
}

// watchConsumer looks after every change of the connection whether the consumer is still there. The client would notice
// only when heartbeats are missing.
func (c *consumption) watchConsumer(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		c.bus.mu.Lock()
		changed := c.bus.changed
		c.bus.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		if c.bus.Wait(ctx) != nil {
			return
		}
		_, err := c.bus.js.Consumer(ctx, c.cfg.Stream, c.cfg.durable())
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			cancel(unavailable("find consumer "+c.cfg.Durable, err))
			return
		}
	}
}

// accept puts a message into its lane.
func (c *consumption) accept(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	r := raw{subject: msg.Subject(), header: msg.Headers(), data: msg.Data()}
	it := &item{reply: msg.Reply(), raw: &r, size: len(r.data)}
	it.env, it.poison = r.open(meta)
	key := c.cfg.Lane(it.env)

	c.mu.Lock()
	defer c.mu.Unlock()
	it.place = place{c.epoch, meta.Sequence.Stream}
	if _, done := c.settled[it.place]; done {
		return c.bus.nc.Publish(it.reply, ackDone)
	}
	if old := c.items[it.place]; old != nil {
		old.reply = it.reply // the same message once more, after a reconnect: only the way to answer is new
		return nil
	}
	c.items[it.place] = it
	l := c.lanes[key]
	if l == nil {
		l = &lane{}
		c.lanes[key] = l
		c.lanesG.Go(func() { c.drain(ctx, key, l) })
	}
	l.insert(it)
	c.resident += it.size
	if len(l.queue) > residentPerLane || c.resident > c.cfg.MaxResident {
		c.unload(it)
	}
	return nil
}

// keepAlive tells the server that messages are being worked on or wait for their turn, so that it gives them to nobody else.
func (c *consumption) keepAlive(ctx context.Context) {
	tick := time.NewTicker(c.cfg.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		replies := make([]string, 0, len(c.items))
		for _, it := range c.items {
			replies = append(replies, it.reply)
		}
		c.mu.Unlock()
		for _, r := range replies {
			if c.bus.nc.Publish(r, ackProgress) != nil {
				break // no connection; the server gives the messages out again and accept knows them
			}
		}
	}
}

// release gives what is left back to the server, so that another process need not wait for AckWait.
func (c *consumption) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 || !c.bus.Connected() {
		return
	}
	for _, it := range c.items {
		if c.bus.nc.Publish(it.reply, nakWithDelay(max(time.Until(it.notBefore), releaseDelay))) != nil {
			return // no connection: AckWait does it
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.bus.cfg.Timeout)
	defer cancel()
	if err := c.bus.nc.FlushWithContext(ctx); err != nil {
		c.log.Debug("messages were not given back; the server does it after a while", "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
