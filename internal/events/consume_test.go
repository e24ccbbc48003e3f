package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/wrapperspb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

func TestEachCommandHasItsEffectOnceAndLeavesTheQueue(t *testing.T) {
	s, catalog, committer := startBoth(t)
	var j journal
	for i := range 20 {
		publish(t, catalog, command(t, "dev", fmt.Sprint("id", i), fmt.Sprint(i)))
	}
	publish(t, catalog, command(t, "dev", "id3", "a copy of 3"))
	consume(t, committer, commands(), j.handler)
	js := plainJetStream(t, s, events.RoleCatalog)
	await(t, "the queue is empty", func() bool { return stored(t, js, events.StreamCommands) == 0 })
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
	}
	if d := cmp.Diff(want, j.all()); d != "" {
		t.Errorf("effects (-want +got):\n%s", d)
	}
}

func TestDeliveryCarriesWhatThePublisherGave(t *testing.T) {
	_, catalog, committer := startBoth(t)
	m := command(t, "dev", "a@7", "hello")
	m.Time = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	publish(t, catalog, m)
	got := make(chan events.Delivery, 1)
	consume(t, committer, commands(), func(_ context.Context, d events.Delivery) error { got <- d; return nil })
	d := <-got
	want := events.Envelope{
		Subject: m.Subject, ID: "a@7", Type: m.Type, Source: m.Source, Resource: m.Resource, Time: m.Time,
		Stream: events.StreamCommands, Sequence: 1, Stored: d.Stored, Delivered: 1,
	}
	if diff := cmp.Diff(want, d.Envelope); diff != "" {
		t.Errorf("envelope (-want +got):\n%s", diff)
	}
	if s, err := text(d); s != "hello" || err != nil {
		t.Errorf("body = %q, %v", s, err)
	}
}

func TestParkedLaneHoldsOnlyItselfAndKeepsItsOrder(t *testing.T) {
	_, catalog, committer := startBoth(t)
	const n = 120
	for i := range n {
		publish(t, catalog, command(t, "down", fmt.Sprint("down", i), fmt.Sprint(i)))
	}
	for i := range 10 {
		publish(t, catalog, command(t, "up", fmt.Sprint("up", i), fmt.Sprint(i)))
	}
	var up, down journal
	var repaired atomic.Bool
	var parks, resumed atomic.Int64
	cfg := commands()
	cfg.Parallel = 1 // a lane that waits must not hold the only slot
	cfg.OnPark = func(_ events.Delivery, err error, attempt int) {
		if errs.Is(err, errs.Unavailable) {
			parks.Store(int64(attempt))
		}
	}
	cfg.OnResume = func(events.Delivery) { resumed.Add(1) }
	consume(t, committer, cfg, func(ctx context.Context, d events.Delivery) error {
		if strings.HasSuffix(d.Subject, ".up") {
			return up.handler(ctx, d)
		}
		if !repaired.Load() {
			return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "the forge is down")
		}
		return down.handler(ctx, d)
	})
	await(t, "the other lane is done while one is parked", up.has(10))
	await(t, "the parked lane probes again and again", func() bool { return parks.Load() >= 8 })
	if got := down.all(); len(got) != 0 {
		t.Fatalf("the parked lane had effects: %v", got)
	}
	repaired.Store(true)
	await(t, "the parked lane catches up", down.has(n))
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	if d := cmp.Diff(want, down.all()); d != "" {
		t.Errorf("order of the lane (-want +got):\n%s", d)
	}
	if resumed.Load() != 1 {
		t.Errorf("OnResume was called %d times, want 1", resumed.Load())
	}
}

func TestKindOfErrorDecidesWhatHappensToAMessage(t *testing.T) {
	plainErr := errors.New("boom")
	for name, tc := range map[string]struct {
		fail     func(attempt int) error // nil is success
		attempts int
		dead     string // kind of the dead letter, "" for none
	}{
		"an outage never makes a dead letter, however long": {
			fail: until(12, errs.New(errs.Unavailable, 0, "down")), attempts: 12,
		},
		"a passed deadline is an outage": {
			fail: until(8, context.DeadlineExceeded), attempts: 8,
		},
		"a conflict is tried soon again, however often": {
			fail: until(14, errs.New(errs.Conflict, 0, "somebody was faster")), attempts: 14,
		},
		"an internal error may pass": {
			fail: until(3, plainErr), attempts: 3,
		},
		"an internal error that stays makes a dead letter after three attempts": {
			fail: always(plainErr), attempts: 3, dead: "internal",
		},
		"outages between internal errors do not count": {
			fail: func(n int) error {
				if n%2 == 1 {
					return errs.New(errs.Unavailable, 0, "down")
				}
				return plainErr
			}, attempts: 6, dead: "internal",
		},
		"an invalid message is a dead letter at once":   {fail: always(errs.New(errs.Invalid, 0, "no")), attempts: 1, dead: "invalid"},
		"a wrong state is a dead letter at once":        {fail: always(errs.New(errs.Precondition, 0, "no")), attempts: 1, dead: "precondition"},
		"a missing permission is a dead letter at once": {fail: always(errs.New(errs.Denied, 0, "no")), attempts: 1, dead: "denied"},
		"a panic counts as an internal error":           {fail: func(int) error { panic("handler") }, attempts: 3, dead: "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			s, catalog, committer := startBoth(t)
			var calls, after atomic.Int64
			dead := make(chan events.DeadLetter, 1)
			cfg := commands()
			cfg.MaxFailures = 3
			cfg.OnDeadLetter = func(_ context.Context, _ events.Delivery, d events.DeadLetter) { dead <- d }
			consume(t, committer, cfg, func(_ context.Context, d events.Delivery) error {
				if d.ID == "next" {
					after.Add(1)
					return nil
				}
				if n := int(calls.Add(1)); n != d.Attempt {
					t.Errorf("Attempt = %d on call %d", d.Attempt, n)
				}
				return tc.fail(d.Attempt)
			})
			publish(t, catalog, command(t, "dev", "first", "x"), command(t, "dev", "next", "y"))
			js := plainJetStream(t, s, events.RoleCatalog)
			await(t, "both messages are settled", func() bool { return stored(t, js, events.StreamCommands) == 0 })
			if after.Load() != 1 || int(calls.Load()) != tc.attempts {
				t.Errorf("calls = %d and %d of the next message, want %d and 1", calls.Load(), after.Load(), tc.attempts)
			}
			letters := stored(t, js, events.StreamDeadLetters)
			if tc.dead == "" {
				if letters != 0 {
					t.Errorf("%d dead letters, want none", letters)
				}
				return
			}
			got := <-dead
			if letters != 1 || got.Kind != tc.dead || got.Attempts != tc.attempts {
				t.Errorf("%d dead letters, %+v; want one of kind %s", letters, got, tc.dead)
			}
			if strings.Contains(got.Reason, "boom") {
				t.Errorf("the reason tells an internal cause: %q", got.Reason)
			}
		})
	}
}

func until(n int, err error) func(int) error {
	return func(attempt int) error {
		if attempt < n {
			return err
		}
		return nil
	}
}

func always(err error) func(int) error { return func(int) error { return err } }

func TestPoisonBecomesADeadLetterWithoutReachingTheHandler(t *testing.T) {
	s, _, committer := startBoth(t)
	nc := plain(t, s, events.RoleCatalog)
	subject := "towpath.cmd.commit.main.shop.dev"
	good := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"s"},
		"ce-time": {"2026-01-01T00:00:00Z"}, "towpath-sealed-subject": {subject},
	}
	with := func(k, v string) nats.Header {
		h := nats.Header{}
		for k, v := range good {
			h[k] = slices.Clone(v)
		}
		h.Set(k, v)
		return h
	}
	poison := []*nats.Msg{
		{Subject: subject, Data: []byte("hello")},
		{Subject: subject, Header: with("ce-specversion", "0.3")},
		{Subject: subject, Header: with("ce-id", "")},
		{Subject: subject, Header: with("ce-time", "yesterday")},
		{Subject: subject, Header: with("content-encoding", "zstd"), Data: []byte("not zstd")},
		{Subject: subject, Header: with("content-encoding", "brotli"), Data: []byte("x")},
		{Subject: subject, Header: with("towpath-object", "0000.0000")},
		{Subject: subject, Header: with("towpath-sealed-subject", "towpath.evt.shop.dev.done")},
		{Subject: subject, Header: good, Data: []byte("\xff\xff\xff")}, // the handler's Decode refuses it
	}
	for _, m := range poison {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	var j journal
	consume(t, committer, commands(), j.handler)
	js := plainJetStream(t, s, events.RoleCatalog)
	await(t, "all are dead letters", func() bool { return stored(t, js, events.StreamDeadLetters) == len(poison) })
	await(t, "none is in the queue", func() bool { return stored(t, js, events.StreamCommands) == 0 })
	if got := j.all(); len(got) != 0 {
		t.Errorf("effects of poison: %q", got)
	}
}

func TestDeadLetterIsReadableAndCanBeSentAgain(t *testing.T) {
	s, catalog, committer := startBoth(t)
	publish(t, catalog, command(t, "dev", "id1", "work"))
	var fixed atomic.Bool
	var j journal
	consume(t, committer, commands(), func(ctx context.Context, d events.Delivery) error {
		if !fixed.Load() {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_LOCKED, "the environment is locked")
		}
		return j.handler(ctx, d)
	})
	dead := tailN(t, catalog, events.TailConfig{Stream: events.StreamDeadLetters}, 1)[0]
	want := &events.DeadLetter{
		Stream: events.StreamCommands, Subject: "towpath.cmd.commit.main.shop.dev", Sequence: 1, Consumer: "committer",
		Reason: "the environment is locked", Kind: "precondition", Attempts: 1, Time: dead.DeadLetter.Time,
	}
	if d := cmp.Diff(want, dead.DeadLetter); d != "" {
		t.Errorf("dead letter (-want +got):\n%s", d)
	}
	if body, err := text(dead); body != "work" || err != nil {
		t.Errorf("body of the dead letter = %q, %v", body, err)
	}
	fixed.Store(true)
	if err := committer.RetryDeadLetter(t.Context(), dead.Sequence); !errs.Is(err, errs.Denied) {
		t.Errorf("the committer sends a command again: %v, want Denied", err)
	}
	if err := catalog.RetryDeadLetter(t.Context(), dead.Sequence); err != nil {
		t.Fatal(err)
	}
	await(t, "the command works at last", j.has(1))
	js := plainJetStream(t, s, events.RoleCatalog)
	if n := stored(t, js, events.StreamDeadLetters); n != 0 {
		t.Errorf("%d dead letters left, want none", n)
	}
	if err := catalog.RetryDeadLetter(t.Context(), dead.Sequence); !errs.Is(err, errs.NotFound) {
		t.Errorf("second retry = %v, want NotFound", err)
	}
}

func TestLargeBodyTravelsThroughTheObjectStore(t *testing.T) {
	s, catalog, committer := startBoth(t)
	js := plainJetStream(t, s, events.RoleCatalog)
	noise := noise(3 << 20)
	subject, err := events.CommandSubject("main", "shop", "dev")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, catalog, message(subject, "large", wrapperspb.Bytes(noise)), message(subject, "large too", wrapperspb.Bytes(noise)),
		message(subject, "zeros", wrapperspb.Bytes(make([]byte, events.MaxBody-16))))
	if n := stored(t, js, "OBJ_towpath-payloads"); n < 2*3<<20/(128<<10) {
		t.Errorf("%d chunks stored, want two large bodies", n)
	}
	var sizes journal
	consume(t, committer, commands(), func(_ context.Context, d events.Delivery) error {
		var b wrapperspb.BytesValue
		if err := d.Decode(&b); err != nil {
			return err
		}
		sizes.add(fmt.Sprint(d.ID, " ", len(b.Value), " ", bytes.Equal(b.Value, noise)))
		return nil
	})
	await(t, "all are handled", sizes.has(3))
	want := []string{"large 3145728 true", "large too 3145728 true", "zeros 33554416 false"}
	if d := cmp.Diff(want, sizes.all()); d != "" {
		t.Errorf("bodies (-want +got):\n%s", d)
	}
	// What stays are the two small records that the objects were removed.
	await(t, "the bodies are removed", func() bool { return stored(t, js, "OBJ_towpath-payloads") == 2 })
}

func TestStoppedConsumerGivesItsMessagesBackAtOnce(t *testing.T) {
	s, catalog, committer := startBoth(t)
	for i := range 30 {
		publish(t, catalog, command(t, "dev", fmt.Sprint("id", i), fmt.Sprint(i)))
	}
	cfg := commands()
	cfg.AckWait = time.Minute // longer than the test: only giving back can help
	started := make(chan struct{}, 100)
	stop := consume(t, committer, cfg, func(ctx context.Context, _ events.Delivery) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	<-started
	stop()
	var j journal
	other := eventstest.Connect(t, s, events.RoleCommitter)
	consume(t, other, cfg, j.handler)
	await(t, "another process handles all", j.has(30))
}

func TestHandlerLongerThanAckWaitIsNotDisturbed(t *testing.T) {
	s, catalog, committer := startBoth(t)
	publish(t, catalog, command(t, "dev", "slow", "slow"), command(t, "dev", "queued", "queued"))
	cfg := commands()
	cfg.AckWait = 300 * time.Millisecond
	release, delivered := make(chan struct{}), make(chan int, 10)
	h := func(_ context.Context, d events.Delivery) error {
		delivered <- d.Delivered
		<-release
		return nil
	}
	consume(t, committer, cfg, h)
	<-delivered
	consume(t, eventstest.Connect(t, s, events.RoleCommitter), cfg, h)
	select {
	case n := <-delivered:
		t.Fatalf("the message was given to somebody else (delivery %d) while it was being handled", n)
	case <-time.After(4 * cfg.AckWait): // the time itself is what is tested
	}
	close(release)
	js := plainJetStream(t, s, events.RoleCatalog)
	await(t, "both are done", func() bool { return stored(t, js, events.StreamCommands) == 0 })
}

func TestConsumeRefusesAConfigurationThatCannotWork(t *testing.T) {
	s, catalog, committer := startBoth(t)
	for name, cfg := range map[string]events.ConsumerConfig{
		"a filter for another stream":   {Stream: events.StreamCommands, Durable: "committer", Filter: []string{"towpath.evt.>"}},
		"an unknown stream":             {Stream: "OTHER", Durable: "committer"},
		"no durable":                    {Stream: events.StreamCommands},
		"a durable with a dot":          {Stream: events.StreamCommands, Durable: "a.b"},
		"a durable operators could use": {Stream: events.StreamEvents, Durable: "mine"},
	} {
		if err := committer.Consume(t.Context(), cfg, nil); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: error = %v, want Invalid", name, err)
		}
	}
	var j journal
	publish(t, catalog, command(t, "dev", "1", "1"))
	consume(t, committer, commands(), j.handler)
	await(t, "the first consumer has started", j.has(1))
	second := events.ConsumerConfig{Stream: events.StreamCommands, Durable: "second"}
	if err := committer.Consume(t.Context(), second, j.handler); !errs.Is(err, errs.Precondition) {
		t.Errorf("a second durable for the same commands: %v, want Precondition", err)
	}
	drift := eventstest.Connect(t, s, events.RoleDrift)
	if err := drift.Consume(t.Context(), commands(), j.handler); !errs.Is(err, errs.Denied) {
		t.Errorf("drift consumes commands: %v, want Denied", err)
	}
}
