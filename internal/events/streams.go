package events

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	payloadBucket   = "towpath-payloads"
	payloadStream   = "OBJ_" + payloadBucket
	duplicateWindow = 2 * time.Minute
)

// StreamsConfig sets what operators may want different. Zero values are the defaults.
type StreamsConfig struct {
	// Replicas of every stream: 1 (the default) for the embedded server, 3 for a cluster.
	Replicas int
	// EventsMaxAge is how long events are kept. Default 30 days.
	EventsMaxAge time.Duration
	// EventsMaxBytes limits the events' space on disk; the oldest go first. Default: no limit.
	EventsMaxBytes int64
	// DeadLetterMaxAge is how long dead letters are kept. Default 30 days.
	DeadLetterMaxAge time.Duration
}

func (c StreamsConfig) withDefaults() StreamsConfig {
	const month = 30 * 24 * time.Hour
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.EventsMaxAge <= 0 {
		c.EventsMaxAge = month
	}
	if c.EventsMaxBytes <= 0 {
		c.EventsMaxBytes = -1
	}
	if c.DeadLetterMaxAge <= 0 {
		c.DeadLetterMaxAge = month
	}
	return c
}

// streams lists what has to exist. The work queue refuses new commands when it is full instead of losing old ones; the
// catalog then keeps them in its change log.
func (c StreamsConfig) streams() []jetstream.StreamConfig {
	base := func(name, subjects, description string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects + ">"}, Description: description, Storage: jetstream.FileStorage,
			Replicas: c.Replicas, Duplicates: duplicateWindow, AllowDirect: true,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		}
	}
	commands := base(StreamCommands, prefixCommand, "Towpath: work still to be done")
	commands.Retention, commands.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
	evts := base(StreamEvents, prefixEvent, "Towpath: what happened")
	evts.MaxAge, evts.MaxBytes = c.EventsMaxAge, c.EventsMaxBytes
	desired := base(StreamDesired, prefixDesired, "Towpath: the desired state of each environment")
	desired.MaxMsgsPerSubject = 1
	dead := base(StreamDeadLetters, prefixDeadLetter, "Towpath: messages that could not be handled")
	dead.MaxAge = c.DeadLetterMaxAge
	pulls := base(StreamPulls, prefixPull, "Towpath: open pull requests")
	pulls.MaxMsgsPerSubject = 1
	policies := base(StreamPolicies, prefixPolicy, "Towpath: how drift treats each environment")
	policies.MaxMsgsPerSubject = 1
	open := base(StreamOpen, prefixOpen, "Towpath: open differences of each environment")
	open.MaxMsgsPerSubject = 1
	return []jetstream.StreamConfig{commands, evts, desired, dead, pulls, policies, open}
}

// payloads is the bucket of large bodies. Its age limit is the sweep: a body outlives every message of a stream with an
// age limit by a day, then goes, also when the message was never published or its removal failed.
func (c StreamsConfig) payloads() jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket: payloadBucket, Description: "Towpath: bodies too large for a message", Storage: jetstream.FileStorage,
		Replicas: c.Replicas, TTL: max(c.EventsMaxAge, c.DeadLetterMaxAge) + 24*time.Hour, MaxBytes: -1,
	}
}

// Ensure creates the streams and brings existing ones to the configuration; calling it again changes nothing. Only the
// catalog (or a connection without a role) changes existing streams, the other services create missing ones, and a
// read-only role only checks. Unavailable when the server does not answer or a stream is missing that this role may not
// create; Precondition when an existing stream cannot be changed to the configuration.
func (b *Bus) Ensure(ctx context.Context) error {
	cfg := b.cfg.Streams.withDefaults()
	for _, s := range cfg.streams() {
		if err := b.ensureStream(ctx, s); err != nil {
			return mapErr(ctx, "prepare stream "+s.Name, err)
		}
	}
	return mapErr(ctx, "prepare the store of large bodies", b.ensurePayloads(ctx, cfg.payloads()))
}

func (b *Bus) ensureStream(ctx context.Context, s jetstream.StreamConfig) error {
	have, err := b.js.Stream(ctx, s.Name)
	if b.cfg.Role.mayUpdateStreams() && (err != nil || !sameStream(have.CachedInfo().Config, s)) {
		_, err = b.js.CreateOrUpdateStream(ctx, s)
		return err
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) || !b.cfg.Role.mayCreateStreams() {
		return err
	}
	_, err = b.js.CreateStream(ctx, s)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another service was faster
	}
	return err
}

// sameStream reports whether a stream is as we want it in everything that we set. An update that changes nothing is not free: in
// the server it races with the creation of consumers of that stream.
func sameStream(have, want jetstream.StreamConfig) bool {
	merged := have
	merged.Subjects, merged.Description, merged.Storage, merged.Replicas = want.Subjects, want.Description, want.Storage, want.Replicas
	merged.Retention, merged.Discard, merged.AllowDirect = want.Retention, want.Discard, want.AllowDirect
	merged.Duplicates, merged.MaxAge, merged.MaxBytes = want.Duplicates, want.MaxAge, want.MaxBytes
	merged.MaxMsgs, merged.MaxMsgsPerSubject = want.MaxMsgs, want.MaxMsgsPerSubject
	merged.MaxMsgSize, merged.MaxConsumers = want.MaxMsgSize, want.MaxConsumers
	return reflect.DeepEqual(merged, have)
}

func (b *Bus) ensurePayloads(ctx context.Context, cfg jetstream.ObjectStoreConfig) error {
	have, err := b.js.ObjectStore(ctx, payloadBucket)
	if b.cfg.Role.mayUpdateStreams() && (err != nil || !sameBucket(ctx, have, cfg)) {
		_, err = b.js.CreateOrUpdateObjectStore(ctx, cfg)
		return err
	}
	if !errors.Is(err, jetstream.ErrBucketNotFound) || !b.cfg.Role.mayCreateStreams() {
		return err
	}
	_, err = b.js.CreateObjectStore(ctx, cfg)
	if errors.Is(err, jetstream.ErrBucketExists) {
		return nil
	}
	return err
}

func sameBucket(ctx context.Context, have jetstream.ObjectStore, want jetstream.ObjectStoreConfig) bool {
	st, err := have.Status(ctx)
	return err == nil && st.TTL() == want.TTL && st.Replicas() == want.Replicas && st.Description() == want.Description
}

// PendingCommand reports whether the work queue still holds a message of that subject, waiting or being handled. The
// subject may have wildcards.
func (b *Bus) PendingCommand(ctx context.Context, subject string) (bool, error) {
	if streamOf(subject) != StreamCommands {
		return false, errs.InvalidField("subject", "%q is not a command's subject; it starts with %s", subject, prefixCommand)
	}
	s, err := b.js.Stream(ctx, StreamCommands)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, mapErr(ctx, "look for a waiting command", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, mapErr(ctx, "look for a waiting command", err)
	}
	return len(info.State.Subjects) > 0, nil
}
