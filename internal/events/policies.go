package events

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// DropPolicy removes the policy of an environment that is gone, of that sequence or an earlier one. One that was stored after it stays.
func (b *Bus) DropPolicy(ctx context.Context, subject string, sequence uint64) error {
	s, err := b.js.Stream(ctx, StreamPolicies)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(sequence+1))
	}
	return mapErr(ctx, "remove the policy of an environment", err)
}
