package events

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// abandoned is after how long the server drops a fenced consumer that nobody reads: its shard has no holder at all then.
const abandoned = time.Hour

// durable is the name that the server knows.
func (c ConsumerConfig) durable() string {
	if c.Epoch == "" {
		return c.Durable
	}
	return c.Durable + "-" + c.Epoch
}

func (c ConsumerConfig) checkEpoch() error {
	if c.Epoch == "" {
		return nil
	}
	if c.Stream != StreamCommands {
		return errs.InvalidField("epoch", "is only for %s: other streams would begin again with each epoch", StreamCommands)
	}
	if p := tokenProblem(c.durable()); p != "" {
		return errs.InvalidField("epoch", "%s", p)
	}
	return nil
}

// openFenced makes the consumer of this epoch. In a work queue two consumers cannot have the same subjects, so the one of an earlier
// epoch goes first. That is the fence: its holder can neither take nor settle a message any more, and what it had not settled comes
// here at once. The server keeps the consumer in memory: what is not settled is in the stream in any case.
func (c *consumption) openFenced(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	want := jetstream.ConsumerConfig{
		Durable: c.cfg.durable(), AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, AckWait: c.cfg.AckWait,
		MaxAckPending: c.cfg.MaxWaiting, FilterSubjects: c.cfg.Filter, MemoryStorage: true, InactiveThreshold: abandoned,
	}
	cons, err := stream.CreateOrUpdateConsumer(ctx, want)
	if !inTheWay(err) {
		return cons, mapErr(ctx, "open consumer "+want.Durable, err)
	}
	if err := c.removeEarlier(ctx, stream); err != nil {
		return nil, err
	}
	cons, err = stream.CreateOrUpdateConsumer(ctx, want)
	return cons, mapErr(ctx, "open consumer "+want.Durable, err)
}

// inTheWay recognises the refusal of a consumer whose subjects another one has.
func inTheWay(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNotUnique || api.ErrorCode == codeUnfiltered)
}

// The server's codes for consumers of a work queue that overlap.
const (
	codeUnfiltered jetstream.ErrorCode = 10099
	codeNotUnique  jetstream.ErrorCode = 10100
)

// removeEarlier removes what earlier holders left. Where a later one has been here, this lease is over.
func (c *consumption) removeEarlier(ctx context.Context, stream jetstream.Stream) error {
	list := stream.ConsumerNames(ctx)
	var old []string
	for name := range list.Name() {
		epoch, ours := strings.CutPrefix(name, c.cfg.Durable+"-")
		switch {
		case ours && epoch > c.cfg.Epoch:
			return errFenced
		case ours && epoch < c.cfg.Epoch, slices.Contains(c.cfg.Replaces, name):
			old = append(old, name)
		}
	}
	if err := list.Err(); err != nil {
		return mapErr(ctx, "list consumers", err)
	}
	for _, name := range old {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return mapErr(ctx, "remove consumer "+name, err)
		}
		c.log.Info("the consumer of an earlier holder was removed", "consumer", name)
	}
	return nil
}

// errFenced says that a later holder has taken over; Share ends the lease.
var errFenced = errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE, "another replica has taken over the shard")

// removeFenced gives everything back that is not settled, at once, by removing the consumer. Where that fails the next holder does it.
func (c *consumption) removeFenced() {
	if !c.bus.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.bus.cfg.Timeout)
	defer cancel()
	err := c.bus.js.DeleteConsumer(ctx, c.cfg.Stream, c.cfg.durable())
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		c.log.Debug("a consumer was not removed; the next holder does it", "consumer", c.cfg.durable(), "error", err)
	}
}
