package events_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

func TestWhoMayPublishWhat(t *testing.T) {
	s := eventstest.Start(t)
	msgs := map[string]events.Message{
		"command": command(t, "dev", "c", "c"), "event": event(t, "dev", "e", "e"), "desired": desired(t, "dev", "d", "d"),
	}
	for role, may := range map[events.Role]string{
		events.RoleCatalog:   "command event desired",
		events.RoleCommitter: "event desired",
		events.RoleDrift:     "event",
		events.RoleGateway:   "",
		events.RoleOperator:  "",
	} {
		b := eventstest.Connect(t, s, role)
		for what, m := range msgs {
			err := b.Publish(t.Context(), m)
			allowed := strings.Contains(may, what)
			if allowed && err != nil || !allowed && !errs.Is(err, errs.Denied) {
				t.Errorf("%s publishes a %s: %v; allowed = %v", role, what, err, allowed)
			}
		}
	}
}

func TestOperatorsReadEventsAndNothingElse(t *testing.T) {
	s := eventstest.Start(t)
	catalog := eventstest.Connect(t, s, events.RoleCatalog)
	committer := eventstest.Connect(t, s, events.RoleCommitter)
	operator := eventstest.Connect(t, s, events.RoleOperator)
	var j journal
	consume(t, catalog, events.ConsumerConfig{Stream: events.StreamEvents, Durable: "catalog"}, j.handler)
	publish(t, committer, event(t, "dev", "1", "one"))
	await(t, "the catalog sees it", j.has(1))
	if d := tailN(t, operator, events.TailConfig{Stream: events.StreamEvents}, 1)[0]; d.ID != "1" {
		t.Errorf("the operator read %q, want 1", d.ID)
	}
	nc := plain(t, s, events.RoleOperator)
	refused := map[string]string{
		"reads commands":               "$JS.API.CONSUMER.CREATE.TOWPATH_COMMANDS.mine",
		"takes a command":              "$JS.API.STREAM.MSG.GET.TOWPATH_COMMANDS",
		"takes a service's messages":   "$JS.API.CONSUMER.MSG.NEXT.TOWPATH_EVENTS.catalog",
		"changes a service's consumer": "$JS.API.CONSUMER.CREATE.TOWPATH_EVENTS.catalog",
		"deletes a service's consumer": "$JS.API.CONSUMER.DELETE.TOWPATH_EVENTS.catalog",
		"acknowledges for a service":   "$JS.ACK.TOWPATH_EVENTS.catalog.1.1.1.1.0",
		"deletes the stream":           "$JS.API.STREAM.DELETE.TOWPATH_EVENTS",
		"empties the stream":           "$JS.API.STREAM.PURGE.TOWPATH_EVENTS",
		"publishes as JSON":            "towpath.json.shop.dev.deployment.committed",
		"writes a body into the store": "$O.towpath-payloads.C.x",
	}
	for what, subject := range refused {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if answer, err := nc.RequestWithContext(ctx, subject, []byte("{}")); err == nil {
			t.Errorf("an operator %s: %s", what, answer.Data)
		}
		cancel()
	}
	for _, subject := range []string{"towpath.cmd.>", "_INBOX_committer.>", ">", "$JS.ACK.>"} {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			continue
		}
		if _, err := sub.NextMsg(50 * time.Millisecond); err == nil || errors.Is(err, nats.ErrTimeout) && !refusedSubject(nc, subject) {
			t.Errorf("an operator may listen on %s: %v", subject, err)
		}
	}
}

// refusedSubject reports whether the last thing the server refused was this subscription.
func refusedSubject(nc *nats.Conn, subject string) bool {
	return nc.LastError() != nil && strings.Contains(nc.LastError().Error(), `"`+subject+`"`)
}

func TestAnswersSentToAnotherSubjectAreNeverTakenForMessages(t *testing.T) {
	s, catalog, committer := startBoth(t)
	publish(t, catalog, event(t, "dev", "1", "one"), desired(t, "dev", "state", "state"))
	// Whoever may ask a server can name any subject for the answers, and the server publishes there for him.
	operator := plain(t, s, events.RoleOperator)
	for _, target := range []string{command(t, "dev", "", "").Subject, desired(t, "dev", "", "").Subject} {
		for _, question := range []string{"$JS.API.DIRECT.GET.TOWPATH_EVENTS", "$JS.API.STREAM.INFO.TOWPATH_EVENTS"} {
			if err := operator.PublishRequest(question, target, []byte(`{"seq":1}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := operator.Flush(); err != nil {
		t.Fatal(err)
	}
	var j journal
	consume(t, committer, commands(), j.handler)
	publish(t, catalog, command(t, "dev", "real", "real"))
	await(t, "the real command works", j.has(1))
	if got := j.all(); got[0] != "real" || len(got) != 1 {
		t.Errorf("effects = %q, want only the real command's", got)
	}
	if n := stored(t, plainJetStream(t, s, events.RoleCatalog), events.StreamDeadLetters); n != 0 {
		t.Errorf("%d answers reached the work queue", n)
	}
	if d := tailN(t, catalog, events.TailConfig{Stream: events.StreamDesired, LastPerSubject: true}, 1)[0]; d.ID != "state" {
		t.Errorf("the desired state is now %q", d.ID)
	}
}

func TestPlainSubscriberReadsJSON(t *testing.T) {
	s, catalog, _ := startBoth(t)
	sub, err := plain(t, s, events.RoleOperator).SubscribeSync("towpath.json.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	m := event(t, "dev", "7", "committed at last")
	await(t, "the subscription is active", func() bool {
		// Publishing the same id again sends no second copy, so an id per try.
		m.ID += "x"
		publish(t, catalog, m)
		n, _, err := sub.Pending()
		return err == nil && n > 0
	})
	msg, err := sub.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var body wrapperspb.StringValue
	if err := protojson.Unmarshal(msg.Data, &body); err != nil || body.Value != "committed at last" {
		t.Errorf("body %q: %q, %v", msg.Data, body.Value, err)
	}
	if msg.Subject != "towpath.json.shop.dev.deployment.committed" || msg.Header.Get("ce-type") != m.Type || msg.Header.Get("content-type") != "application/json" {
		t.Errorf("message %s with %v", msg.Subject, msg.Header)
	}
}

func TestTraceGoesFromThePublisherToTheHandler(t *testing.T) {
	_, catalog, committer := startBoth(t)
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4}, TraceFlags: trace.FlagsSampled})
	if err := catalog.Publish(trace.ContextWithSpanContext(t.Context(), parent), command(t, "dev", "1", "x")); err != nil {
		t.Fatal(err)
	}
	got := make(chan trace.SpanContext, 1)
	consume(t, committer, commands(), func(ctx context.Context, _ events.Delivery) error {
		got <- trace.SpanContextFromContext(ctx)
		return nil
	})
	if sc := <-got; sc.TraceID() != parent.TraceID() || !sc.IsSampled() {
		t.Errorf("the handler's trace is %s, want %s", sc.TraceID(), parent.TraceID())
	}
}

func TestPublishRefusesWhatCannotBeSent(t *testing.T) {
	_, catalog, _ := startBoth(t)
	valid := command(t, "dev", "id", "x")
	change := func(f func(*events.Message)) events.Message { m := valid; f(&m); return m }
	for name, m := range map[string]events.Message{
		"no subject":             change(func(m *events.Message) { m.Subject = "" }),
		"a wildcard subject":     change(func(m *events.Message) { m.Subject = "towpath.cmd.*" }),
		"a subject of no stream": change(func(m *events.Message) { m.Subject = "other.cmd.x" }),
		"a dead letter":          change(func(m *events.Message) { m.Subject = "towpath.dlq.a.b" }),
		"no id":                  change(func(m *events.Message) { m.ID = "" }),
		"a line break in the id": change(func(m *events.Message) { m.ID = "a\r\nb" }),
		"no type":                change(func(m *events.Message) { m.Type = "" }),
		"no source":              change(func(m *events.Message) { m.Source = "" }),
		"a resource not ASCII":   change(func(m *events.Message) { m.Resource = "caf\u00e9" }),
		"no body":                change(func(m *events.Message) { m.Body = nil }),
	} {
		if err := catalog.Publish(t.Context(), m); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	for name, tc := range map[string]struct {
		m     events.Message
		limit string
	}{
		"a body over the limit": {
			change(func(m *events.Message) { m.Body = wrapperspb.Bytes(make([]byte, events.MaxBody+1)) }), "33554432",
		},
		"a desired state that would need the object store": {
			change(func(m *events.Message) {
				m.Subject, m.Body = desired(t, "dev", "", "").Subject, wrapperspb.Bytes(noise(events.MaxInline))
			}), "524288",
		},
	} {
		err := catalog.Publish(t.Context(), tc.m)
		var e *errs.Error
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_TOO_LARGE || !errors.As(err, &e) || e.Meta["limit_bytes"] != tc.limit {
			t.Errorf("%s: %v, want REASON_TOO_LARGE with limit_bytes %s", name, err, tc.limit)
		}
	}
}

func TestLargeEventIsReadByServicesAndOnlyAnnouncedToOperators(t *testing.T) {
	s, catalog, _ := startBoth(t)
	large := event(t, "dev", "large", "")
	large.Body = wrapperspb.Bytes(noise(2 * events.MaxInline))
	publish(t, catalog, large, event(t, "dev", "small", "small"))
	for role, want := range map[events.Role][]string{
		events.RoleGateway:  {"large 1048580 <nil>", "small 7 <nil>"},
		events.RoleOperator: {"large 0 denied", "small 7 <nil>"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var got []string
		for d, err := range eventstest.Connect(t, s, role).Tail(ctx, events.TailConfig{Stream: events.StreamEvents}) {
			kind := "<nil>"
			if err != nil {
				kind = errs.KindOf(err).String()
			}
			if got = append(got, fmt.Sprint(d.ID, " ", len(d.Data), " ", kind)); len(got) == len(want) {
				break
			}
		}
		cancel()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s reads (-want +got):\n%s", role, d)
		}
	}
}

func TestInProcessConnectionNeedsNoNetwork(t *testing.T) {
	s := eventstest.Start(t)
	b, err := events.Connect(t.Context(), events.Config{Server: s, Role: events.RoleCatalog, Logger: eventstest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var j journal
	publish(t, b, command(t, "dev", "1", "one"))
	consume(t, b, events.ConsumerConfig{Stream: events.StreamCommands, Durable: "any"}, j.handler)
	await(t, "the command is handled", j.has(1))
}

func TestServerKeepsItsKeysPortAndFolder(t *testing.T) {
	dir := t.TempDir()
	s := eventstest.StartIn(t, dir)
	url := s.ClientURL()
	seeds := map[events.Role]string{}
	for _, r := range events.Roles {
		if mode := fileMode(t, s.SeedFile(r)); mode != 0o600 {
			t.Errorf("mode of %s = %o, want 600", s.SeedFile(r), mode)
		}
		seeds[r] = readFile(t, s.SeedFile(r))
	}
	if _, err := events.StartServer(events.ServerConfig{Dir: dir}); errs.ReasonOf(err) != errorsv1.Reason_REASON_IN_USE {
		t.Errorf("a second server in the folder: %v, want REASON_IN_USE", err)
	}
	if _, err := events.StartServer(events.ServerConfig{Dir: t.TempDir(), Listen: s.Addr()}); errs.ReasonOf(err) != errorsv1.Reason_REASON_IN_USE {
		t.Errorf("a second server on the port: %v, want REASON_IN_USE", err)
	}
	s.Shutdown()
	s = eventstest.StartIn(t, dir)
	if s.ClientURL() != url {
		t.Errorf("URL after a restart = %s, want %s", s.ClientURL(), url)
	}
	for _, r := range events.Roles {
		if readFile(t, s.SeedFile(r)) != seeds[r] {
			t.Errorf("the key of %s changed", r)
		}
	}
}

func TestServerRefusesAnUnsafeConfiguration(t *testing.T) {
	broken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(broken, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "nats", "drift.nk"), []byte("not a seed"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]events.ServerConfig{
		"no folder":                  {},
		"all interfaces without TLS": {Dir: t.TempDir(), Listen: "0.0.0.0:0"},
		"any host without TLS":       {Dir: t.TempDir(), Listen: ":0"},
		"no port":                    {Dir: t.TempDir(), Listen: "127.0.0.1"},
		"a damaged key":              {Dir: broken},
	} {
		s, err := events.StartServer(cfg)
		if err == nil {
			s.Shutdown()
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestConnectRefusesAWrongConfiguration(t *testing.T) {
	for name, cfg := range map[string]events.Config{
		"nothing to connect to": {},
		"a missing seed file":   {URL: "nats://127.0.0.1:1", NkeySeedFile: filepath.Join(t.TempDir(), "none.nk")},
		"not a URL":             {URL: "://"},
	} {
		b, err := events.Connect(t.Context(), cfg)
		if err == nil {
			b.Close()
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestStrangersAreNotLetIn(t *testing.T) {
	s := eventstest.Start(t)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("a connection without a key was accepted")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func removeStreams(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "nats", "jetstream")); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkPublishInProcess(b *testing.B) {
	s := eventstest.Start(b)
	bus, err := events.Connect(b.Context(), events.Config{Server: s, Role: events.RoleCatalog, Logger: eventstest.Logger(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bus.Close)
	if err := bus.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := bus.Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	m := event(b, "dev", "", strings.Repeat("towpath ", 100))
	for b.Loop() {
		m.ID = nats.NewInbox()
		publish(b, bus, m)
	}
}
