package events

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// shareBucket holds the leases. It is kept in memory: a lease that is lost with its server is won again at once, and none outlives
// the process that has the server inside.
const (
	shareBucket = "towpath-leases"
	shareStream = "KV_" + shareBucket

	prefixReplica = "replica."
	prefixShard   = "shard."
)

// Lease is the right to work on a shard.
type Lease struct {
	Shard string
	// Epoch grows with every lease of the shard. A holder whose epoch is lower than another's is over.
	Epoch string
}

// ShareConfig says what is shared and what its holder does.
type ShareConfig struct {
	// Shards are what is shared, as tokens.
	Shards []string
	// TTL is after how long without a sign of life a replica counts as gone. It stops by itself after two thirds of that. Default 10 s.
	TTL time.Duration
	// Group keeps what is shared apart from what others share; a token.
	Group string
	// Place is what only one living process can have, such as its host with the port that it listens on. An earlier session of the same
	// place is over, so its shards are free at once instead of after the TTL. May be empty.
	Place string
	// Name tells people which replica this is. Default: the host and the process id.
	Name string
	// Hold works on a shard until its context ends, which is before anybody else can have the lease; it must then return soon. An
	// error before that ends Share, other than that of a consumer that was fenced off.
	Hold func(ctx context.Context, lease Lease) error
	// Seen is called when a shard has another holder than before, "" for none; mine tells this replica's own. It must not block.
	Seen func(shard, holder string, mine bool)
}

// Share divides shards among all replicas that call it, until ctx ends: each has about the same number, one that joins gets its
// part from the others, one that leaves gives its part back, and one that dies is replaced after the TTL. A shard has one holder at
// most, as far as clocks run equally fast; what a holder does must be fenced all the same, because a process may stop for any time
// between looking at its context and the effect.
//
// A replica lives as long as it renews one key. Others judge that by their own clock, from when they saw the last renewal, so no
// clocks are compared. Who takes over removes that key first, on condition that it is unchanged, so a replica learns from its
// next renewal that it was given up.
func (b *Bus) Share(ctx context.Context, cfg ShareConfig) error {
	if !b.cfg.Role.mayShare() {
		return denied("share", shareBucket, nil)
	}
	if cfg.TTL <= 0 {
		cfg.TTL = 10 * time.Second
	}
	if cfg.Name == "" {
		cfg.Name = processName()
	}
	if cfg.Seen == nil {
		cfg.Seen = func(string, string, bool) {}
	}
	for failures := 1; ctx.Err() == nil; failures++ {
		s := &session{bus: b, cfg: cfg, id: rand.Text(), log: b.log.With("replica", cfg.Name), table: newShareTable(), held: map[string]*hold{}}
		start := time.Now()
		err := s.run(ctx)
		var fatal *holdError
		if errors.As(err, &fatal) {
			return fatal.error
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how sharing is stopped; its error says the same
		}
		if time.Since(start) > cfg.TTL {
			failures = 1
		}
		s.log.Warn("all leases are given up; they are asked for again", "error", err)
		sleep(ctx, grow(20*time.Millisecond, 2*time.Second, failures))
	}
	return nil
}

// holdError is an error of Hold.
type holdError struct{ error }

// session is one life of a replica, from its first sign of life until it stops or is given up.
type session struct {
	bus *Bus
	cfg ShareConfig
	id  string
	log *slog.Logger

	kv    jetstream.KeyValue
	era   int64 // when the bucket was made: epochs grow also when the bucket was lost
	rev   uint64
	table *shareTable
	held  map[string]*hold
	ended chan *hold
	born  uint64 // the first rev

	// alive ends when the lease may go to others soon; nothing is held after that.
	alive    context.Context //nolint:containedctx // it is the life of what the session holds
	stop     context.CancelCauseFunc
	deadline *time.Timer
}

// hold is one shard that this replica has.
type hold struct {
	lease  Lease
	rev    uint64
	cancel context.CancelFunc
	err    error
	given  bool // we wanted it to end
}

var errLeaseLost = errors.New("the lease could not be renewed in time")

func (s *session) run(ctx context.Context) (err error) {
	s.alive, s.stop = context.WithCancelCause(ctx)
	s.ended = make(chan *hold, len(s.cfg.Shards))
	defer s.stop(nil)
	watch, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // its consumer goes with the connection or by its age
	defer s.leave(ctx)
	tick := time.NewTicker(s.cfg.TTL / 4)
	defer tick.Stop()
	for {
		select {
		case <-s.alive.Done():
			return context.Cause(s.alive)
		case h := <-s.ended:
			if err := s.returned(ctx, h); err != nil {
				return err
			}
		case e, ok := <-watch.Updates():
			if !ok {
				return errors.New("the leases cannot be watched any more")
			}
			s.see(e)
			if e == nil {
				s.buryDead(ctx) // an earlier session of this place
			}
		case <-tick.C:
			if err := s.renew(ctx); err != nil {
				return err
			}
			s.buryDead(ctx)
		}
		s.balance(ctx)
	}
}

// open gives the first sign of life and begins to look at the others.
func (s *session) open(ctx context.Context) (jetstream.KeyWatcher, error) {
	if err := s.bus.Wait(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.kv, err = s.bus.leases(ctx); err != nil {
		return nil, err
	}
	status, err := s.kv.Status(ctx)
	if err != nil {
		return nil, mapErr(ctx, "read the leases", err)
	}
	if b, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		s.era = b.StreamInfo().Created.Unix()
	}
	sent := time.Now()
	if s.rev, err = s.kv.Create(ctx, s.key(prefixReplica+s.id), s.value()); err != nil {
		return nil, mapErr(ctx, "announce the replica", err)
	}
	s.born = s.rev
	s.deadline = time.AfterFunc(time.Until(sent.Add(s.patience())), func() { s.stop(errLeaseLost) })
	watch, err := s.kv.WatchAll(s.alive)
	return watch, mapErr(ctx, "watch the leases", err)
}

func (s *session) patience() time.Duration { return s.cfg.TTL * 2 / 3 }

// shareValue is what stands in the bucket, for this package and for people.
type shareValue struct {
	Session string `json:"session"`
	Name    string `json:"name"`
	Place   string `json:"place,omitempty"`
}

func (s *session) value() []byte {
	data, err := json.Marshal(shareValue{s.id, s.cfg.Name, s.cfg.Place})
	if err != nil {
		panic(err) // some strings
	}
	return data
}

// renew gives a sign of life. Only an answer that says that we are given up ends the session; without an answer the deadline does.
func (s *session) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.TTL/4)
	defer cancel()
	sent := time.Now()
	rev, err := s.kv.Update(ctx, s.key(prefixReplica+s.id), s.value(), s.rev)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// Another revision: ours, whose answer was lost, or we are gone.
		sent = time.Now()
		var e jetstream.KeyValueEntry
		if e, err = s.kv.Get(ctx, s.key(prefixReplica+s.id)); errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("%w: others have given this replica up", errLeaseLost)
		}
		if err == nil {
			rev = e.Revision()
		}
	}
	switch {
	case err == nil:
		s.rev = rev
		if s.deadline.Stop() {
			s.deadline.Reset(time.Until(sent.Add(s.patience())))
		}
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrStreamNotFound):
		if s.bus.Connected() {
			return fmt.Errorf("the leases are gone with their server: %w", err)
		}
	default:
		s.log.Info("the leases could not be renewed now", "error", err)
	}
	return nil
}

func (s *session) see(e jetstream.KeyValueEntry) {
	if e == nil {
		s.table.complete = true
		return
	}
	key, ours := strings.CutPrefix(e.Key(), s.key(""))
	if !ours {
		return
	}
	var v shareValue
	if e.Operation() == jetstream.KeyValuePut && json.Unmarshal(e.Value(), &v) != nil {
		v = shareValue{} // nobody's: it can be taken
	}
	if shard, changed := s.table.see(key, v, e.Revision(), time.Now()); changed {
		s.cfg.Seen(shard, v.Name, v.Session == s.id)
	}
}

// balance takes what is free and gives over what is more than this replica's part.
func (s *session) balance(ctx context.Context) {
	if !s.table.complete || s.alive.Err() != nil {
		return
	}
	mine := map[string]bool{}
	for shard, h := range s.held {
		mine[shard] = !h.given
	}
	take, give := s.table.plan(s.id, s.cfg.Shards, mine, time.Now(), s.cfg.TTL)
	for _, shard := range give {
		h := s.held[shard]
		h.given = true
		h.cancel()
	}
	for _, shard := range take {
		if s.held[shard] == nil && !s.take(ctx, shard) {
			return // somebody was faster, or there is no connection: what the table says is old
		}
	}
}

// take wins a shard and begins to hold it.
func (s *session) take(ctx context.Context, shard string) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.TTL/4)
	defer cancel()
	key := prefixShard + shard
	rev, err := s.kv.Update(ctx, s.key(key), s.value(), s.table.shards[shard].rev)
	if err != nil {
		s.log.Debug("a shard was not taken", "shard", shard, "error", err)
		return false
	}
	if _, changed := s.table.see(key, shareValue{Session: s.id, Name: s.cfg.Name}, rev, time.Now()); changed {
		s.cfg.Seen(shard, s.cfg.Name, true)
	}
	h := &hold{lease: Lease{Shard: shard, Epoch: fmt.Sprintf("%010x%010x", s.era, rev)}, rev: rev}
	life, end := context.WithCancel(s.alive)
	h.cancel = end
	s.held[shard] = h
	go func() {
		h.err = s.cfg.Hold(life, h.lease)
		s.ended <- h
	}()
	return true
}

// returned frees a shard whose work has ended.
func (s *session) returned(ctx context.Context, h *hold) error {
	h.cancel()
	delete(s.held, h.lease.Shard)
	if !h.given && s.alive.Err() == nil && h.err != nil {
		if errors.Is(h.err, errFenced) {
			return h.err
		}
		return &holdError{h.err}
	}
	s.free(ctx, h)
	return nil
}

func (s *session) free(ctx context.Context, h *hold) {
	ctx, cancel := context.WithTimeout(ctx, s.bus.cfg.Timeout)
	defer cancel()
	if err := s.kv.Delete(ctx, s.key(prefixShard+h.lease.Shard), jetstream.LastRevision(h.rev)); err != nil {
		s.log.Debug("a shard was not given back; it is taken over later", "shard", h.lease.Shard, "error", err)
	}
}

// buryDead removes the keys of replicas that give no sign of life. Whoever still lives has changed its key meanwhile and stays.
func (s *session) buryDead(ctx context.Context) {
	for id, r := range s.table.replicas {
		if id == s.id || time.Since(r.at) <= s.cfg.TTL && !s.followed(r) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, s.cfg.TTL/4)
		err := s.kv.Delete(ctx, s.key(prefixReplica+id), jetstream.LastRevision(r.rev))
		cancel()
		if err == nil {
			s.log.Warn("a replica gives no sign of life; its shards are taken over", "other", r.name)
		}
	}
}

// followed reports whether a replica's place is this one's by now.
func (s *session) followed(r shareRow) bool {
	return s.cfg.Place != "" && r.place == s.cfg.Place && r.rev < s.born
}

// key is the key of something in the bucket.
func (s *session) key(name string) string {
	if s.cfg.Group == "" {
		return name
	}
	return s.cfg.Group + "-" + name
}

// leave ends what is held and gives it back.
func (s *session) leave(ctx context.Context) {
	s.deadline.Stop()
	s.stop(nil)
	var last []*hold
	for range s.held {
		last = append(last, <-s.ended)
	}
	ctx = context.WithoutCancel(ctx)
	if !s.bus.Connected() {
		return
	}
	for _, h := range last {
		s.free(ctx, h)
	}
	ctx, cancel := context.WithTimeout(ctx, s.bus.cfg.Timeout)
	defer cancel()
	if err := s.kv.Delete(ctx, s.key(prefixReplica+s.id), jetstream.LastRevision(s.rev)); err != nil {
		s.log.Debug("the replica was not signed off; others notice after a while", "error", err)
	}
}

// leases opens the bucket, and makes it where there is none.
func (b *Bus) leases(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, shareBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: shareBucket, Description: "Towpath: who works on what", Storage: jetstream.MemoryStorage,
			Replicas: b.cfg.Streams.withDefaults().Replicas, History: 1,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = b.js.KeyValue(ctx, shareBucket)
		}
	}
	return kv, mapErr(ctx, "open the leases", err)
}

func (r Role) mayShare() bool { return r == "" || grants[r].shares }

// shareGroups are the groups of the roles that share: no role can touch the leases of another.
var shareGroups = map[Role]string{RoleCommitter: "", RoleDrift: "drift-"}

// shareSubjects is what sharing takes: the role's part of the bucket, and to see what consumers earlier holders have left.
func shareSubjects(r Role) []string {
	own := "$KV." + shareBucket + "." + shareGroups[r]
	return append(readSubjects(shareStream),
		own+prefixShard+"*", own+prefixReplica+"*", "$JS.API.STREAM.CREATE."+shareStream, "$JS.FC."+shareStream+".>", "$JS.FC.*.*."+shareStream+".>",
		"$JS.API.CONSUMER.NAMES."+StreamCommands)
}
