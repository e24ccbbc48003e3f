package drift_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/services/drift"
)

// patience is how long a test waits for what should come; the machine may be busy compiling.
const patience = 30 * time.Second

// mainFunc lets goleak look after the shared cluster has stopped.
type mainFunc func() int

func (f mainFunc) Run() int { return f() }

func TestMain(m *testing.M) {
	// What "kubectl edit" runs: it adds a key to the ConfigMap of the tests.
	if err := os.Setenv("KUBE_EDITOR", "sed -i /LOG_LEVEL:/{p;s/LOG_LEVEL/EXTRA/}"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(mainFunc(func() int { return devclustertest.Run(m) }))
}

// git serves trees as the committer does; fail makes it fail as one that is away does.
type git struct {
	mu    sync.Mutex
	trees map[string][]*committerv1.File
	away  atomic.Bool
	asked atomic.Int64
}

func (g *git) GetTree(_ context.Context, in *committerv1.GetTreeRequest, _ ...grpc.CallOption) (*committerv1.Tree, error) {
	g.asked.Add(1)
	if g.away.Load() {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the committer is away")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	files, ok := g.trees[in.GetTree()]
	if !ok {
		return nil, errs.NotFoundf(in.GetTree(), "")
	}
	return &committerv1.Tree{Tree: in.GetTree(), Files: files}, nil
}

// put keeps manifests as a tree of one file and gives its id.
func (g *git) put(manifests string) string {
	sum := sha256.Sum256([]byte(manifests))
	id := hex.EncodeToString(sum[:20])
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trees[id] = []*committerv1.File{{Path: "manifests.yaml", Content: []byte(manifests)}, {Path: "README.md", Content: []byte("no manifest: {")}}
	return id
}

// world is one drift service with its event server and its Git.
type world struct {
	t       testing.TB
	git     *git
	svc     *drift.Service
	cfg     drift.Config
	publish *events.Bus
	catalog *events.Bus
	stop    func()

	mu   sync.Mutex
	seen []received
}

// received is one event as a subscriber got it.
type received struct {
	typ, subject string
	at           time.Time
	data         []byte
}

// newWorld starts a drift service on the shared cluster, or on another one with cfg.
func newWorld(t testing.TB, cfg *rest.Config) *world {
	t.Helper()
	if cfg == nil {
		cfg = devclustertest.Config(t)
	}
	// A transport of its own, so that its connections end with the test.
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	server := eventstest.Start(t)
	w := &world{t: t, git: &git{trees: map[string][]*committerv1.File{}}, publish: eventstest.Connect(t, server, events.RoleCommitter)}
	w.cfg = drift.Config{
		Bus: eventstest.Connect(t, server, events.RoleDrift), Committer: w.git, MaskKey: []byte("0123456789abcdef0123456789abcdef"),
		Connect: func(*eventsv1.TargetRef) (*rest.Config, error) { return rest.CopyConfig(cfg), nil },
		Log:     slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	w.catalog = eventstest.Connect(t, server, events.RoleCatalog)
	w.follow(w.catalog)
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start begins the service; stop ends it, and start may follow again.
func (w *world) start() {
	w.t.Helper()
	svc, err := drift.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	w.svc = svc
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the service ended with: %v", err)
		}
	})
}

// follow collects all events.
func (w *world) follow(b *events.Bus) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range b.Tail(ctx, events.TailConfig{Stream: events.StreamEvents}) {
			if err != nil {
				w.t.Errorf("read events: %v", err)
				return
			}
			w.mu.Lock()
			w.seen = append(w.seen, received{typ: strings.TrimPrefix(d.Type, "dev.towpath."), subject: d.Subject, at: time.Now(), data: d.Data})
			w.mu.Unlock()
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// env is one environment of a test.
type env struct {
	*world
	t          testing.TB
	name, ns   string
	generation int64
	selfHeal   bool
	manual     bool
	tree       string
}

// newEnv makes an environment in a namespace of its own.
func (w *world) newEnv(t testing.TB) *env {
	t.Helper()
	return w.envIn(t, devclustertest.Namespace(t))
}

func (w *world) envIn(t testing.TB, ns string) *env {
	return &env{world: w, t: t, ns: ns, name: "applications/" + ns + "/environments/dev"}
}

func (e *env) deployment() string { return fmt.Sprintf("%s/deployments/%d", e.name, e.generation) }

// want publishes a desired state, as the committer does.
func (e *env) want(manifests string) {
	e.t.Helper()
	e.tree = e.git.put(manifests)
	e.send(false)
}

func (e *env) send(removed bool) {
	e.t.Helper()
	e.generation++
	subject, err := events.DesiredSubject(strings.Split(e.name, "/")[1], "dev")
	if err != nil {
		e.t.Fatal(err)
	}
	d := &eventsv1.DesiredState{
		Environment: e.name, Deployment: e.deployment(), Generation: e.generation, Tree: e.tree, Commit: "commit-of-" + e.tree, Removed: removed,
		Repository: &committerv1.RepositoryRef{Name: "repositories/main", Url: "embedded:///main", Branch: "main"},
		Target:     &eventsv1.TargetRef{Name: "targets/local", Engine: "native"}, Namespace: e.ns,
		AutomaticSync: !e.manual, SelfHeal: e.selfHeal,
	}
	if err := e.publish.Publish(e.t.Context(), events.Message{
		Subject: subject, ID: e.deployment() + "/desired", Type: "dev.towpath.environment.desired", Source: "//towpath.dev/committer", Body: d,
	}); err != nil {
		e.t.Fatal(err)
	}
}

// deploy publishes a desired state and waits until it is synced.
func (e *env) deploy(manifests string) *eventsv1.EnvironmentSynced {
	e.t.Helper()
	e.want(manifests)
	return e.awaitSynced()
}

func (e *env) awaitSynced() *eventsv1.EnvironmentSynced {
	e.t.Helper()
	return await(e, "environment.synced", func(s *eventsv1.EnvironmentSynced) bool { return s.GetGeneration() == e.generation })
}

// remove asks for the environment's removal.
func (e *env) remove() { e.t.Helper(); e.send(true) }

// told gives all events of a type about the environment.
func told[M any, P interface {
	*M
	proto.Message
}](e *env, typ string) []P {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []P
	for _, r := range e.seen {
		if r.typ != typ || !strings.HasPrefix(r.subject, "towpath.evt."+strings.Split(e.name, "/")[1]+".dev.") {
			continue
		}
		m := P(new(M))
		if err := proto.Unmarshal(r.data, m); err != nil {
			e.t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// await waits for an event.
func await[M any, P interface {
	*M
	proto.Message
}](e *env, typ string, match func(P) bool) P {
	e.t.Helper()
	var found P
	eventually(e.t, func() string {
		all := told[M, P](e, typ)
		for _, m := range all {
			if match(m) {
				found = m
				return ""
			}
		}
		return fmt.Sprintf("no matching %s among %v; status: %v", typ, all, e.status())
	})
	return found
}

// eventually polls until check returns the empty string, and otherwise fails with its last complaint.
func eventually(t testing.TB, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(15 * time.Millisecond)
	}
}

func (e *env) status() *driftv1.EnvironmentStatus {
	st, err := e.svc.GetEnvironmentStatus(context.Background(), &driftv1.GetEnvironmentStatusRequest{Name: e.name + "/status"})
	if err != nil {
		return nil
	}
	return st
}

func (e *env) findings() []*driftv1.Finding {
	e.t.Helper()
	resp, err := e.svc.ListFindings(e.t.Context(), &driftv1.ListFindingsRequest{Parent: e.name})
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.GetFindings()
}

// awaitOne waits until there is exactly one finding.
func (e *env) awaitOne() *driftv1.Finding {
	e.t.Helper()
	e.awaitCount(1)
	return e.findings()[0]
}

func (e *env) awaitCount(n int) {
	e.t.Helper()
	eventually(e.t, func() string {
		if fs := e.findings(); len(fs) != n {
			return fmt.Sprintf("%d findings, want %d: %v", len(fs), n, fs)
		}
		return ""
	})
}

// staysClean makes an edit that drift does see, takes it back, and checks that nothing else was found up to then: events of
// one kind come in order, so what was to be found of what happened before has been.
func (e *env) staysClean(kinds ...string) {
	e.t.Helper()
	for i, object := range kinds {
		mark := fmt.Sprintf("mark-%d-%d", time.Now().UnixNano(), i)
		devclustertest.Kubectl(e.t, "-n", e.ns, "label", object, mark+"=x")
		f := e.awaitOne()
		if f.GetField() != "metadata.labels["+mark+"]" {
			e.t.Fatalf("found %v, want only the label %s", f, mark)
		}
		devclustertest.Kubectl(e.t, "-n", e.ns, "label", object, mark+"-")
		e.awaitCount(0)
	}
}

func (e *env) revert(names ...string) *driftv1.RevertFindingsResponse {
	e.t.Helper()
	resp, err := e.svc.RevertFindings(e.t.Context(), &driftv1.RevertFindingsRequest{Parent: e.name, Names: names})
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

func (e *env) sync() {
	e.t.Helper()
	if _, err := e.svc.SyncEnvironment(e.t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name}); err != nil {
		e.t.Fatal(err)
	}
}

// clientOf makes a client whose connections end with the test: goleak is watching.
func clientOf(t testing.TB, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	cfg.QPS, cfg.Burst = 1000, 1000
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	client, err := kubernetes.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func client(t testing.TB) *kubernetes.Clientset { return clientOf(t, devclustertest.Config(t)) }

var rogue = metav1.UpdateOptions{FieldManager: "rogue-operator"}
