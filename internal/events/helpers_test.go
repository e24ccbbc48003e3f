package events_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

// childServer, when set, makes this binary an event server that a test can kill like a machine that loses power.
const childServer = "TOWPATH_TEST_EVENT_SERVER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childServer); dir != "" {
		s, err := events.StartServer(events.ServerConfig{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.ClientURL())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// startChild starts a server in a process of its own. The returned function kills it without any warning.
func startChild(t *testing.T, dir string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childServer+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill() // SIGKILL; it may have ended by itself
			_ = cmd.Wait()         // always an error: it was killed
		})
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child server did not start: %v", err)
	}
	return line[:len(line)-1], kill
}

// await polls a condition; the deadline is far away because machines that run tests are busy.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// quick are delays for tests.
var quick = events.Delays{
	Failure: []time.Duration{5 * time.Millisecond}, ParkMin: 5 * time.Millisecond, ParkMax: 20 * time.Millisecond,
	ConflictMin: time.Millisecond, ConflictMax: 5 * time.Millisecond,
}

// consume runs Consume until the test ends or the returned function is called, and fails the test on an error.
func consume(t *testing.T, b *events.Bus, cfg events.ConsumerConfig, h events.Handler) (stop func()) {
	t.Helper()
	if cfg.Delays.ParkMin == 0 {
		cfg.Delays = quick
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, cfg, h) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Consume: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// commands is the usual consumer of commands.
func commands() events.ConsumerConfig {
	return events.ConsumerConfig{Stream: events.StreamCommands, Durable: "committer"}
}

func command(t testing.TB, env, id, body string) events.Message {
	t.Helper()
	subject, err := events.CommandSubject("main", "shop", env)
	if err != nil {
		t.Fatal(err)
	}
	return message(subject, id, wrapperspb.String(body))
}

func event(t testing.TB, env, id, body string) events.Message {
	t.Helper()
	subject, err := events.EventSubject("shop", env, "deployment.committed")
	if err != nil {
		t.Fatal(err)
	}
	return message(subject, id, wrapperspb.String(body))
}

func desired(t testing.TB, env, id, body string) events.Message {
	t.Helper()
	subject, err := events.DesiredSubject("shop", env)
	if err != nil {
		t.Fatal(err)
	}
	return message(subject, id, wrapperspb.String(body))
}

func message(subject, id string, body proto.Message) events.Message {
	return events.Message{
		Subject: subject, ID: id, Type: "dev.towpath.test", Source: "//towpath.dev/test",
		Resource: "applications/shop", Body: body,
	}
}

func publish(t testing.TB, b *events.Bus, msgs ...events.Message) {
	t.Helper()
	for _, m := range msgs {
		if err := b.Publish(t.Context(), m); err != nil {
			t.Fatalf("publish %s: %v", m.ID, err)
		}
	}
}

func text(d events.Delivery) (string, error) {
	var s wrapperspb.StringValue
	err := d.Decode(&s)
	return s.Value, err
}

// journal records what handlers saw.
type journal struct {
	mu   sync.Mutex
	seen []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, s)
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.seen...)
}

func (j *journal) has(n int) func() bool { return func() bool { return len(j.all()) >= n } }

func (j *journal) handler(_ context.Context, d events.Delivery) error {
	s, err := text(d)
	if err != nil {
		return err
	}
	j.add(s)
	return nil
}

// plain is a NATS client as anybody could write it, with a role's key.
func plain(t *testing.T, s *events.Server, role events.Role) *nats.Conn {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(s.SeedFile(role))
	if err != nil {
		t.Fatal(err)
	}
	opts := []nats.Option{key, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if role != events.RoleOperator {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+string(role)))
	}
	nc, err := nats.Connect(s.ClientURL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func plainJetStream(t *testing.T, s *events.Server, role events.Role) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(plain(t, s, role), jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stored counts the messages of a stream.
func stored(t *testing.T, js jetstream.JetStream, stream string) int {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

// tailN takes n deliveries from a Tail.
func tailN(t *testing.T, b *events.Bus, cfg events.TailConfig, n int) []events.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []events.Delivery
	for d, err := range b.Tail(ctx, cfg) {
		if err != nil {
			t.Fatalf("Tail: %v", err)
		}
		if got = append(got, d); len(got) == n {
			return got
		}
	}
	t.Fatalf("Tail ended after %d of %d messages", len(got), n)
	return nil
}

func startBoth(t *testing.T) (*events.Server, *events.Bus, *events.Bus) {
	t.Helper()
	s := eventstest.Start(t)
	return s, eventstest.Connect(t, s, events.RoleCatalog), eventstest.Connect(t, s, events.RoleCommitter)
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func fileMode(t *testing.T, elem ...string) os.FileMode {
	t.Helper()
	info, err := os.Stat(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
