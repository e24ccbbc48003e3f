package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

func TestServerKilledBetweenPublishAndAck(t *testing.T) {
	dir := t.TempDir()
	url, kill := startChild(t, dir)
	connect := func(role events.Role) *events.Bus {
		b, err := events.Connect(t.Context(), events.Config{
			URL: url, Role: role, NkeySeedFile: dir + "/nats/" + string(role) + ".nk", Logger: eventstest.Logger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b
	}
	catalog, committer := connect(events.RoleCatalog), connect(events.RoleCommitter)
	if err := catalog.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, catalog, command(t, "dev", "a", "a"), command(t, "dev", "b", "b"))
	var effects journal
	started, proceed := make(chan struct{}, 10), make(chan struct{})
	cfg := commands()
	cfg.AckWait = time.Second
	consume(t, committer, cfg, func(ctx context.Context, d events.Delivery) error {
		started <- struct{}{}
		<-proceed
		return effects.handler(ctx, d)
	})
	<-started
	kill()
	await(t, "the connection is lost", func() bool { return !catalog.Connected() && !committer.Connected() })
	close(proceed) // the effect happens while nobody can be told
	await(t, "the first effect", effects.has(1))
	m := command(t, "dev", "c", "c")
	if err := catalog.Publish(t.Context(), m); errs.ReasonOf(err) != errorsv1.Reason_REASON_EVENTS_UNAVAILABLE || !errs.Is(err, errs.Unavailable) {
		t.Errorf("publish without a server = %v, want Unavailable with REASON_EVENTS_UNAVAILABLE", err)
	}
	again, _ := startChild(t, dir)
	if again != url {
		t.Fatalf("the server came back at %s, want %s", again, url)
	}
	publishWhenBack(t, catalog, m)
	await(t, "nothing is pending", func() bool {
		pending, err := catalog.PendingCommand(t.Context(), m.Subject)
		return err == nil && !pending
	})
	if d := cmp.Diff([]string{"a", "b", "c"}, effects.all()); d != "" {
		t.Errorf("effects (-want +got):\n%s", d)
	}
}

func publishWhenBack(t *testing.T, b *events.Bus, m events.Message) {
	t.Helper()
	await(t, "publishing works again", func() bool {
		err := b.Publish(t.Context(), m)
		if err != nil && !errs.Is(err, errs.Unavailable) {
			t.Fatalf("publish: %v", err)
		}
		return err == nil
	})
}

func TestConnectBeforeTheServerIsThere(t *testing.T) {
	dir := t.TempDir()
	s := eventstest.StartIn(t, dir)
	url, seed := s.ClientURL(), s.SeedFile(events.RoleCatalog)
	s.Shutdown()
	b, err := events.Connect(t.Context(), events.Config{URL: url, Role: events.RoleCatalog, NkeySeedFile: seed, Logger: eventstest.Logger(t)})
	if err != nil {
		t.Fatalf("Connect without a server: %v", err)
	}
	defer b.Close()
	if b.Connected() {
		t.Error("Connected without a server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !errs.Is(err, errs.Unavailable) {
		t.Errorf("Wait = %v, want the deadline and Unavailable", err)
	}
	if err := b.Publish(t.Context(), command(t, "dev", "a", "a")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Publish = %v, want Unavailable", err)
	}
	eventstest.StartIn(t, dir)
	if err := b.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, b, command(t, "dev", "a", "a")) // makes the streams by itself
}

func TestDeletedConsumerAndStreamAreMadeAgain(t *testing.T) {
	s, catalog, _ := startBoth(t)
	admin := plainJetStream(t, s, events.RoleCatalog)
	var j journal
	cfg := events.ConsumerConfig{Stream: events.StreamEvents, Durable: "catalog"}
	consume(t, catalog, cfg, j.handler)
	publish(t, catalog, event(t, "dev", "1", "1"), event(t, "dev", "2", "2"))
	await(t, "the first two", j.has(2))
	if err := admin.DeleteConsumer(t.Context(), events.StreamEvents, "catalog"); err != nil {
		t.Fatal(err)
	}
	publish(t, catalog, event(t, "dev", "3", "3"))
	await(t, "the third, by a new consumer that does not start over", j.has(3))
	// The catalog's own key may not delete streams; the server's owner does it through the file system.
	dir := t.TempDir()
	other := eventstest.StartIn(t, dir)
	b := eventstest.Connect(t, other, events.RoleCatalog)
	var k journal
	consume(t, b, cfg, k.handler)
	publish(t, b, event(t, "dev", "1", "1"))
	await(t, "the first", k.has(1))
	other.Shutdown()
	removeStreams(t, dir)
	eventstest.StartIn(t, dir)
	publishWhenBack(t, b, event(t, "dev", "2", "2"))
	await(t, "the second, from a new stream with the same sequence", k.has(2))
	if d := cmp.Diff([]string{"1", "2", "3"}, j.all()); d != "" {
		t.Errorf("effects (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"1", "2"}, k.all()); d != "" {
		t.Errorf("effects after the stream was lost (-want +got):\n%s", d)
	}
}

func TestTailGivesTheLastPerSubjectThenLiveOverARestart(t *testing.T) {
	dir := t.TempDir()
	s := eventstest.StartIn(t, dir)
	b := eventstest.Connect(t, s, events.RoleCatalog)
	publish(t, b, desired(t, "dev", "d1", "dev 1"), desired(t, "prod", "p1", "prod 1"), desired(t, "dev", "d2", "dev 2"))
	var j journal
	var caught atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		cfg := events.TailConfig{Stream: events.StreamDesired, LastPerSubject: true, CaughtUp: func() { caught.Add(1); j.add("caught up") }}
		for d, err := range b.Tail(ctx, cfg) {
			if err != nil {
				t.Errorf("Tail: %v", err)
				return
			}
			body, _ := text(d) // an empty text shows in the comparison
			j.add(body)
		}
	}()
	await(t, "the stored state", j.has(3))
	publish(t, b, desired(t, "dev", "d3", "dev 3"))
	await(t, "a live change", j.has(4))
	s.Shutdown()
	eventstest.StartIn(t, dir)
	publishWhenBack(t, b, desired(t, "prod", "p2", "prod 2"))
	await(t, "a change after the restart", j.has(5))
	cancel()
	<-done
	want := []string{"prod 1", "dev 2", "caught up", "dev 3", "prod 2"}
	if d := cmp.Diff(want, j.all()); d != "" {
		t.Errorf("seen (-want +got):\n%s", d)
	}
}

func TestTailStartsWhereItIsTold(t *testing.T) {
	_, b, _ := startBoth(t)
	var middle time.Time
	for i := range 6 {
		env := []string{"dev", "prod"}[i%2]
		publish(t, b, event(t, env, fmt.Sprint(i), fmt.Sprint(i)))
		if i == 3 {
			middle = tailN(t, b, events.TailConfig{Stream: events.StreamEvents, FromSeq: 4}, 1)[0].Stored
		}
	}
	for name, tc := range map[string]struct {
		cfg  events.TailConfig
		want []string
	}{
		"the beginning by default": {events.TailConfig{}, []string{"0", "1", "2", "3", "4", "5"}},
		"a sequence":               {events.TailConfig{FromSeq: 5}, []string{"4", "5"}},
		"a time":                   {events.TailConfig{FromTime: middle}, []string{"3", "4", "5"}},
		"the last of each subject": {events.TailConfig{LastPerSubject: true}, []string{"4", "5"}},
		"a filter":                 {events.TailConfig{Filter: []string{"towpath.evt.shop.prod.>"}}, []string{"1", "3", "5"}},
		"a filter and a sequence":  {events.TailConfig{Filter: []string{"towpath.evt.shop.prod.>"}, FromSeq: 3}, []string{"3", "5"}},
	} {
		tc.cfg.Stream = events.StreamEvents
		var got []string
		for _, d := range tailN(t, b, tc.cfg, len(tc.want)) {
			body, _ := text(d) // an empty text shows in the comparison
			got = append(got, body)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("from %s (-want +got):\n%s", name, d)
		}
	}
	for d, err := range b.Tail(t.Context(), events.TailConfig{Stream: events.StreamEvents, FromSeq: 100}) {
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.OutOfRange || e.Meta["last_sequence"] != "6" {
			t.Errorf("from a sequence that is not stored: %v, %v; want OutOfRange with last_sequence", d, err)
		}
	}
	for _, err := range b.Tail(t.Context(), events.TailConfig{Stream: events.StreamEvents, FromSeq: 1, NewOnly: true}) {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("two starts: %v, want Invalid", err)
		}
	}
}

func TestTailOfNewMessagesOnly(t *testing.T) {
	_, b, _ := startBoth(t)
	publish(t, b, event(t, "dev", "old", "old"))
	ready, got := make(chan struct{}), make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range b.Tail(ctx, events.TailConfig{Stream: events.StreamEvents, NewOnly: true, CaughtUp: func() { close(ready) }}) {
			if err != nil {
				t.Error(err)
			}
			got <- d.ID
		}
	}()
	<-ready
	publish(t, b, event(t, "dev", "new", "new"))
	if id := <-got; id != "new" {
		t.Errorf("got %q, want new", id)
	}
	cancel()
	<-done
}

func TestPendingCommandTellsWhatIsStillInTheQueue(t *testing.T) {
	_, catalog, committer := startBoth(t)
	m := command(t, "dev", "a", "a")
	check := func(subject string) bool {
		t.Helper()
		pending, err := catalog.PendingCommand(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		return pending
	}
	if check(m.Subject) {
		t.Error("pending before it was published")
	}
	publish(t, catalog, m)
	if !check(m.Subject) || !check("towpath.cmd.commit.main.>") || check(command(t, "prod", "", "").Subject) {
		t.Error("want exactly the published subject pending")
	}
	started, proceed := make(chan struct{}), make(chan struct{})
	consume(t, committer, commands(), func(context.Context, events.Delivery) error {
		close(started)
		<-proceed
		return nil
	})
	<-started
	if !check(m.Subject) {
		t.Error("not pending while it is being handled")
	}
	close(proceed)
	await(t, "it is no longer pending", func() bool { return !check(m.Subject) })
	if _, err := catalog.PendingCommand(t.Context(), "towpath.evt.a.b.c"); !errs.Is(err, errs.Invalid) {
		t.Errorf("an event's subject: %v, want Invalid", err)
	}
}

func TestEnsureMayBeCalledByAllAtAnyTime(t *testing.T) {
	s := eventstest.Start(t)
	var buses []*events.Bus
	for _, role := range []events.Role{events.RoleDrift, events.RoleCommitter, events.RoleCatalog, events.RoleDrift} {
		buses = append(buses, eventstest.Connect(t, s, role)) // Connect calls Ensure
	}
	for _, b := range slices.Backward(buses) {
		if err := b.Ensure(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}
