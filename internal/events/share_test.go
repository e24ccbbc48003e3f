package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

// sharer is one replica of a test and what it holds.
type sharer struct {
	stop func()

	mu     sync.Mutex
	held   map[string]events.Lease
	epochs []string
}

func share(t *testing.T, b *events.Bus, name string, shards []string, hold func(context.Context, events.Lease)) *sharer {
	t.Helper()
	return shareIn(t, b, events.ShareConfig{Shards: shards, TTL: time.Second, Name: name}, hold)
}

func shareIn(t *testing.T, b *events.Bus, cfg events.ShareConfig, hold func(context.Context, events.Lease)) *sharer {
	t.Helper()
	s := &sharer{held: map[string]events.Lease{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		cfg.Hold = func(ctx context.Context, l events.Lease) error {
			s.mu.Lock()
			s.held[l.Shard] = l
			s.epochs = append(s.epochs, l.Epoch)
			s.mu.Unlock()
			if hold != nil {
				hold(ctx, l)
			}
			<-ctx.Done()
			s.mu.Lock()
			delete(s.held, l.Shard)
			s.mu.Unlock()
			return nil
		}
		done <- b.Share(ctx, cfg)
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Share: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *sharer) has(n int) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.held) == n
	}
}

func TestReplicasShareEvenlyAndInheritFromEachOther(t *testing.T) {
	s := eventstest.Start(t)
	var all []*sharer
	for i := range 3 {
		all = append(all, share(t, eventstest.Connect(t, s, events.RoleCommitter), fmt.Sprint(i), events.Shards(), nil))
	}
	await(t, "a third for each", func() bool {
		total := 0
		for _, r := range all {
			r.mu.Lock()
			total += len(r.held)
			fair := len(r.held) == 5 || len(r.held) == 6
			r.mu.Unlock()
			if !fair {
				return false
			}
		}
		return total == 16
	})
	all[0].stop()
	await(t, "a half for those that are left", func() bool { return all[1].has(8)() && all[2].has(8)() })
	all[1].stop()
	await(t, "all for the last one", all[2].has(16))
	if !slices.IsSorted(all[0].epochs[:1]) || all[0].epochs[0] >= all[2].epochs[len(all[2].epochs)-1] {
		t.Errorf("epochs do not grow: %v, later %v", all[0].epochs, all[2].epochs)
	}
}

func TestAHolderStopsBeforeAnotherBegins(t *testing.T) {
	s := eventstest.Start(t)
	mute := eventstest.Connect(t, s, events.RoleCommitter)
	var mu sync.Mutex
	var story []string
	tell := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		story = append(story, what)
	}
	first := share(t, mute, "first", []string{"00"}, func(ctx context.Context, _ events.Lease) {
		tell("first begins")
		<-ctx.Done()
		tell("first ends")
	})
	await(t, "the first has it", first.has(1))
	mute.Close() // it cannot say goodbye
	second := share(t, eventstest.Connect(t, s, events.RoleCommitter), "second", []string{"00"}, func(context.Context, events.Lease) { tell("second begins") })
	await(t, "the second has it", second.has(1))
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"first begins", "first ends", "second begins"}; !slices.Equal(story, want) {
		t.Errorf("it went: %v", story)
	}
}

func TestLeasesAreWonAgainAfterTheServerLostThem(t *testing.T) {
	dir := t.TempDir()
	s := eventstest.StartIn(t, dir)
	r := share(t, eventstest.Connect(t, s, events.RoleCommitter), "only", events.Shards(), nil)
	await(t, "all", r.has(16))
	s.Shutdown()
	await(t, "none without a server", r.has(0))
	eventstest.StartIn(t, dir)
	await(t, "all again", r.has(16))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epochs[0] >= r.epochs[len(r.epochs)-1] {
		t.Errorf("epochs begin again: %v", r.epochs)
	}
}

func TestOnlyCommittersAndDriftMayShareEachItsOwn(t *testing.T) {
	s := eventstest.Start(t)
	for _, role := range []events.Role{events.RoleGateway, events.RoleOperator} {
		err := eventstest.Connect(t, s, role).Share(t.Context(), events.ShareConfig{Shards: events.Shards()})
		if !errs.Is(err, errs.Denied) {
			t.Errorf("%s: %v, want Denied", role, err)
		}
		if err := plain(t, s, role).Publish("$KV.towpath-leases.shard.00", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := plain(t, s, events.RoleDrift).Publish("$KV.towpath-leases.shard.01", nil); err != nil {
		t.Fatal(err)
	}
	r := share(t, eventstest.Connect(t, s, events.RoleCommitter), "only", events.Shards(), nil)
	d := shareIn(t, eventstest.Connect(t, s, events.RoleDrift), events.ShareConfig{Group: "drift", Name: "drift", Shards: events.Shards(), TTL: time.Second}, nil)
	await(t, "nobody else has a lease", r.has(16))
	await(t, "drift has its own", d.has(16))
}

func TestWhoIsStartedAgainInItsPlaceHasItsShardsAtOnce(t *testing.T) {
	s := eventstest.Start(t)
	cfg := events.ShareConfig{Group: "drift", Name: "a", Place: "host a:7081", Shards: events.Shards(), TTL: 10 * time.Minute}
	killed := eventstest.Connect(t, s, events.RoleDrift)
	before := shareIn(t, killed, cfg, nil)
	await(t, "all are held", before.has(16))
	killed.Close() // nothing is given back
	after := shareIn(t, eventstest.Connect(t, s, events.RoleDrift), cfg, nil)
	await(t, "all are held again, long before the TTL", after.has(16))
}

func TestAnEarlierHoldersAcknowledgementsReachNothing(t *testing.T) {
	s := eventstest.Start(t)
	catalog := eventstest.Connect(t, s, events.RoleCatalog)
	cfg := func(epoch string) events.ConsumerConfig {
		return events.ConsumerConfig{
			Stream: events.StreamCommands, Durable: "committer-0a", Epoch: epoch, Replaces: []string{"committer"}, Filter: []string{events.ShardFilter("main")},
		}
	}
	// What an earlier version has left: one consumer for everything.
	old, err := plainJetStream(t, s, events.RoleCommitter).CreateOrUpdateConsumer(t.Context(), events.StreamCommands,
		jetstream.ConsumerConfig{Durable: "committer", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, catalog, command(t, "dev", "1", "one"))
	late, err := old.Next()
	if err != nil {
		t.Fatal(err)
	}
	working, finish := make(chan struct{}), make(chan struct{})
	var slow journal
	first := eventstest.Connect(t, s, events.RoleCommitter)
	fenced := make(chan error, 1)
	go func() {
		fenced <- first.Consume(t.Context(), cfg("1"), func(ctx context.Context, d events.Delivery) error {
			close(working)
			<-finish
			return slow.handler(ctx, d)
		})
	}()
	<-working // it came at once, although the one before had taken it
	var second journal
	hold := make(chan struct{})
	consume(t, eventstest.Connect(t, s, events.RoleCommitter), cfg("2"), func(ctx context.Context, d events.Delivery) error {
		if err := second.handler(ctx, d); err != nil {
			return err
		}
		<-hold
		return nil
	})
	await(t, "the second has it", second.has(1))
	if err := late.DoubleAck(t.Context()); err == nil {
		t.Error("the old consumer's acknowledgement was taken")
	}
	close(finish)
	await(t, "the first has done it", slow.has(1)) // and acknowledges it, which nobody hears
	if pending, err := catalog.PendingCommand(t.Context(), "towpath.cmd.>"); err != nil || !pending {
		t.Errorf("a late acknowledgement took the command from its holder: %t, %v", pending, err)
	}
	close(hold)
	await(t, "it is done", func() bool {
		pending, err := catalog.PendingCommand(t.Context(), "towpath.cmd.>")
		return err == nil && !pending
	})
	if err := <-fenced; !errs.Is(err, errs.Precondition) {
		t.Errorf("the first ended with %v", err)
	}
}
