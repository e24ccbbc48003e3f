package committer_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/internal/forge/giteatest"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/services/committer"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(replicaEnv); config != "" {
		os.Exit(replicaMain(config)) // this process is a committer that a test started
	}
	goleak.VerifyTestMain(giteatest.M{M: m},
		// Connections that a shared HTTP client keeps for later, and the server's own log rotation.
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
	)
}

// patience bounds every wait of these tests; it is only reached when something is broken. Benchmarks of large repositories have more.
var patience = 20 * time.Second

// files is a renderer that makes a bundle of an input's variables: the key is the path, the value the content. A variable
// "fail" makes it answer with the error that onFail gives.
type files struct{ onFail func() error }

func (r files) Render(_ context.Context, req *rendererv1.RenderRequest, _ ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	b := &rendererv1.Bundle{Files: map[string][]byte{}, Sha256: strings.Repeat("5", 64)}
	for path, content := range req.GetInput().GetVariables() {
		if path == "fail" {
			return nil, r.onFail()
		}
		b.Files[path] = []byte(content)
	}
	tree, err := git.TreeID(b.GetFiles())
	if err == nil {
		b.Tree = tree.String()
	}
	return &rendererv1.RenderResponse{Bundle: b, RendererVersion: "test-1"}, nil
}

// world is one committer with real JetStream, and what the tests see of it.
type world struct {
	t       testing.TB
	cfg     committer.Config
	svc     *committer.Service
	server  *events.Server
	hands   *hands // of the clock, where a test turns it
	catalog *events.Bus
	repo    *committerv1.RepositoryRef
	bare    *gittest.Bare
	srv     *gittest.Server // of a remote repository, where a test needs it
	end     func()
	settle  func() // ends what changes the repository after stop, such as packing it anew

	mu   sync.Mutex
	seen []events.Delivery
	more chan struct{}
}

// option changes a world before it starts.
type option func(*world)

// embedded gives a world whose repository is kept by the committer's own process.
func embedded(t testing.TB, opts ...option) *world {
	t.Helper()
	dir := t.TempDir()
	repos, err := git.OpenRepos(dir, git.ReposOptions{})
	if err != nil {
		t.Fatal(err)
	}
	use := func(w *world) {
		w.cfg.Repos = repos
		w.settle = func() {
			if err := repos.Close(); err != nil {
				t.Error(err)
			}
		}
		w.repo.Url = "embedded:///shop"
		w.bare = gittest.OpenBare(t, filepath.Join(dir, "shop.git"))
	}
	return newWorld(t, append([]option{use}, opts...))
}

// remote gives a world whose repository is behind a real Git server.
func remote(t testing.TB, opts ...option) (*world, *gittest.Server) {
	t.Helper()
	srv := gittest.NewServer(t)
	use := func(w *world) {
		w.bare = srv.Create("shop")
		w.repo.Url = srv.URL("shop")
	}
	return newWorld(t, append([]option{use}, opts...)), srv
}

func newWorld(t testing.TB, opts []option) *world {
	t.Helper()
	server := eventstest.Start(t)
	w := &world{
		t: t, server: server, more: make(chan struct{}), end: func() {}, settle: func() {},
		repo: &committerv1.RepositoryRef{Name: "repositories/deploy", Branch: "main"},
		cfg: committer.Config{
			Renderer: files{}, Dir: t.TempDir(), TipInterval: time.Hour, PushDeadline: 10 * time.Second,
			Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
			Delays: events.Delays{
				Failure: []time.Duration{20 * time.Millisecond}, ParkMin: 20 * time.Millisecond, ParkMax: 100 * time.Millisecond,
			},
		},
	}
	w.catalog = eventstest.Connect(t, server, events.RoleCatalog)
	w.cfg.Bus = eventstest.Connect(t, server, events.RoleCommitter)
	for _, o := range opts {
		o(w)
	}
	w.follow()
	w.start()
	t.Cleanup(func() {
		w.stop()
		w.settle()
		if w.bare != nil && !t.Failed() {
			if _, err := os.Stat(w.bare.Dir); err == nil {
				w.bare.Fsck()
			}
		}
	})
	return w
}

// testLog writes to the test's log, and nowhere in benchmarks.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	if _, ok := l.t.(*testing.B); ok {
		return io.Discard.Write(p)
	}
	return l.t.Output().Write(p)
}

// start runs a committer; stop ends it, as the end of a process would.
func (w *world) start() {
	w.t.Helper()
	svc, err := committer.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.svc = svc
	if w.hands != nil {
		svc.SetClock(w.hands.now, w.hands.after)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	w.end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			w.t.Error("Run does not end")
		}
	})
}

func (w *world) stop() { w.end() }

// follow records all events and desired states.
func (w *world) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	var alive sync.WaitGroup
	for _, stream := range []string{events.StreamEvents, events.StreamDesired} {
		alive.Go(func() {
			for d, err := range w.catalog.Tail(ctx, events.TailConfig{Stream: stream}) {
				if err != nil {
					w.t.Errorf("follow %s: %v", stream, err)
					continue
				}
				w.mu.Lock()
				w.seen = append(w.seen, d)
				close(w.more)
				w.more = make(chan struct{})
				w.mu.Unlock()
			}
		})
	}
	w.t.Cleanup(func() {
		cancel()
		alive.Wait()
	})
}

// all gives the events of a type so far.
func (w *world) all(eventType string) []events.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []events.Delivery
	for _, d := range w.seen {
		if d.Type == "dev.towpath."+eventType {
			out = append(out, d)
		}
	}
	return out
}

// await waits until ok holds of what was seen; ok is asked after each event.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		more := w.more
		w.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-more:
		case <-deadline.C:
			w.t.Fatalf("%s does not happen; seen: %s", what, w.summary())
		}
	}
}

func (w *world) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, d := range w.seen {
		out = append(out, strings.TrimPrefix(d.Type, "dev.towpath.")+" "+d.ID)
	}
	return strings.Join(out, ", ")
}

// find waits for the first event of a type about a resource and reads it into body.
func find[M proto.Message](w *world, eventType, resource string, body M) M {
	w.t.Helper()
	w.await(eventType+" of "+resource, func() bool {
		for _, d := range w.all(eventType) {
			if d.Resource == resource {
				if err := d.Decode(body); err != nil {
					w.t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
	return body
}

func (w *world) committed(name string) *eventsv1.DeploymentCommitted {
	w.t.Helper()
	w.await("an end of "+name, func() bool { return w.has("deployment.committed", name) || w.has("deployment.failed", name) })
	if w.has("deployment.failed", name) {
		w.t.Fatalf("%s failed: %v", name, w.failed(name))
	}
	return find(w, "deployment.committed", name, &eventsv1.DeploymentCommitted{})
}

func (w *world) failed(name string) *eventsv1.DeploymentFailed {
	w.t.Helper()
	return find(w, "deployment.failed", name, &eventsv1.DeploymentFailed{})
}

func (w *world) has(eventType, resource string) bool {
	return slices.ContainsFunc(w.all(eventType), func(d events.Delivery) bool { return d.Resource == resource })
}

// desired gives the last desired state of an environment.
func (w *world) desired(environment string) *eventsv1.DesiredState {
	w.t.Helper()
	last := &eventsv1.DesiredState{}
	for _, d := range w.all("environment.desired") {
		if d.Resource == environment {
			if err := d.Decode(last); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return last
}

func name(env string, n int) string {
	return "applications/shop/environments/" + env + "/deployments/" + strconv.Itoa(n)
}

// birth is when the first deployments were asked for; each generation comes a second later.
var birth = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// change is a deployment of files to shop/env, whose number is its generation.
func (w *world) change(env string, n int, vars map[string]string, mods ...func(*eventsv1.DeploymentRequested)) *eventsv1.DeploymentRequested {
	cmd := &eventsv1.DeploymentRequested{
		Deployment: name(env, n), Generation: int64(n), RequestId: fmt.Sprintf("request-%s-%d", env, n),
		Mode:       eventsv1.DeploymentRequested_MODE_RENDER,
		Input:      &rendererv1.RenderInput{Application: "shop", Environment: env, Namespace: "shop-" + env, Variables: vars},
		Repository: w.repo, Path: "environments/" + env + "/shop", Set: "sets/abc",
		Author:      &eventsv1.Author{Subject: "users/ada", DisplayName: "Ada Lovelace", Email: "ada@example.com"},
		RequestTime: timestamppb.New(birth.Add(time.Duration(n) * time.Second)), Namespace: "shop-" + env, AutomaticSync: true,
		Target: &eventsv1.TargetRef{Name: "targets/local", Engine: "native"},
	}
	for _, m := range mods {
		m(cmd)
	}
	return cmd
}

func remove(cmd *eventsv1.DeploymentRequested) {
	cmd.Mode, cmd.Input = eventsv1.DeploymentRequested_MODE_REMOVE, nil
}

func restore(tree string) func(*eventsv1.DeploymentRequested) {
	return func(cmd *eventsv1.DeploymentRequested) {
		cmd.Mode, cmd.RestoreTree = eventsv1.DeploymentRequested_MODE_RESTORE, tree
	}
}

// send publishes a command as the catalog does; the same command may be sent again.
func (w *world) send(cmd *eventsv1.DeploymentRequested) {
	w.t.Helper()
	parts := strings.Split(cmd.GetDeployment(), "/")
	subject, err := events.CommandSubject(events.Shard(cmd.GetRepository().GetUrl(), cmd.GetRepository().GetBranch()), parts[1], parts[3])
	if err == nil {
		w.mu.Lock()
		id := fmt.Sprintf("%s@%d", cmd.GetDeployment(), time.Now().UnixNano())
		w.mu.Unlock()
		err = w.catalog.Publish(context.Background(), events.Message{
			Subject: subject, ID: id, Type: "dev.towpath.deployment.requested", Source: "//towpath.dev/catalog",
			Resource: cmd.GetDeployment(), Body: cmd,
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// settled waits until no command is left in the queue.
func (w *world) settled() {
	w.t.Helper()
	w.poll("an empty queue", func() bool {
		pending, err := w.catalog.PendingCommand(context.Background(), "towpath.cmd.>")
		return err == nil && !pending
	})
}

func (w *world) poll(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s does not happen; seen: %s", what, w.summary())
		}
	}
}

// commits counts the commits on the branch.
func (w *world) commits() int {
	w.t.Helper()
	return len(w.bare.Log("main"))
}

func cloneRef(r *committerv1.RepositoryRef) *committerv1.RepositoryRef {
	return proto.CloneOf(r)
}

// lostTree is the id of a bundle that no repository of these tests has before it is rendered.
func lostTree(t testing.TB) string {
	t.Helper()
	id, err := git.TreeID(map[string][]byte{"a.yaml": []byte("lost")})
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// bootstrap opens the embedded repository once, which makes it.
func (w *world) bootstrap() {
	w.t.Helper()
	r, err := git.Open(w.t.Context(), git.Config{URL: w.repo.GetUrl(), Repos: w.cfg.Repos})
	if err == nil {
		err = r.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
