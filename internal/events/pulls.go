package events

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// PullSubject gives the subject of the record of an environment's pull request: towpath.pull.<app>.<env>.
func PullSubject(app, env string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixPull + app + "." + env, nil
}

// LastPull gives the record of an environment's pull request by its subject; false when there is none. Errors: Unavailable when
// nobody can tell now, Invalid for a record that cannot be understood.
func (b *Bus) LastPull(ctx context.Context, subject string) (Delivery, bool, error) {
	return b.last(ctx, StreamPulls, subject, "read the record of a pull request")
}

// last gives the last message of a subject; false when there is none.
func (b *Bus) last(ctx context.Context, stream, subject, what string) (Delivery, bool, error) {
	if !b.cfg.Role.mayRead(stream) {
		return Delivery{}, false, denied("read", stream, nil)
	}
	s, err := b.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Delivery{}, false, nil
	}
	if err != nil {
		return Delivery{}, false, mapErr(ctx, what, err)
	}
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if isNoMessage(err) {
		return Delivery{}, false, nil
	}
	if err != nil {
		return Delivery{}, false, mapErr(ctx, what, err)
	}
	r := raw{subject: msg.Subject, header: msg.Header, data: msg.Data}
	d := Delivery{Attempt: 1}
	meta := &jetstream.MsgMetadata{Stream: stream, Timestamp: msg.Time, NumDelivered: 1}
	meta.Sequence.Stream = msg.Sequence
	if d.Envelope, err = r.open(meta); err == nil {
		d.Data, err = b.body(ctx, d.Envelope, r)
	}
	return d, err == nil, err
}

// DropPull removes the record of a pull request, of that sequence or an earlier one. A record that was stored after it stays.
func (b *Bus) DropPull(ctx context.Context, subject string, sequence uint64) error {
	s, err := b.js.Stream(ctx, StreamPulls)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(sequence+1))
	}
	return mapErr(ctx, "remove the record of a pull request", err)
}
