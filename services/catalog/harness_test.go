package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const adminSecret = "tow_test0admin0secret0of0the0suite"

// world is a catalog with everything around it: a real store, a real event server in its own folder, a renderer that is a
// function, and what a test plays of committer and drift.
type world struct {
	t         testing.TB
	kv        store.KV
	server    *events.Server
	bus       *events.Bus // the catalog's
	outside   *events.Bus // no role's: plays committer and drift
	renderer  *fakeRenderer
	committer *fakeCommitter
	svc       *catalog.Service
	conn      *grpc.ClientConn
	srv       *rpc.Server
	api       catalogv1.CatalogServiceClient
	access    catalogv1.AccessServiceClient
	dial      func(secret string) *grpc.ClientConn // connects as somebody else
	stop      func()                               // ends Run and the API
	mayFail   bool                                 // Run may
}

type option func(*catalog.Config)

// newWorld starts it all and waits until the catalog is ready.
func newWorld(t testing.TB, opts ...option) *world {
	t.Helper()
	w := quietWorld(t)
	w.start(opts...)
	return w
}

// quietWorld starts everything but the catalog.
func quietWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, kv: memkv.New(), renderer: &fakeRenderer{}, committer: &fakeCommitter{}, stop: func() {}}
	var err error
	if w.server, err = events.StartServer(events.ServerConfig{Dir: t.TempDir(), Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.server.Shutdown)
	connect := func(r events.Role) *events.Bus {
		b, err := events.Connect(t.Context(), events.Config{Server: w.server, Role: r, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b
	}
	w.bus, w.outside = connect(events.RoleCatalog), connect(events.RoleCommitter)
	if err := w.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.stop(); _ = w.kv.Close() })
	return w
}

// start starts a catalog on what is there; again after stop, as a restarted process.
func (w *world) start(opts ...option) {
	w.t.Helper()
	cfg := catalog.Config{
		KV: w.kv, Bus: w.bus, Renderer: w.renderer, Committer: w.committer, Logger: quiet(), BootstrapToken: adminSecret,
	}
	for _, o := range opts {
		o(&cfg)
	}
	w.svc = catalog.New(cfg)
	srv, err := rpc.NewServer(rpc.ServerConfig{
		Log: quiet(), Authenticator: w.svc.Authenticator(), Authorizer: w.svc.Authorizer(), Auditor: w.svc.Auditor(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.svc.Register(srv)
	w.srv = srv
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(ctx, nil) })
	running.Go(func() {
		if err := w.svc.Run(ctx); err != nil && !w.mayFail {
			w.t.Errorf("Run: %v", err)
		}
	})
	if w.conn, err = srv.DialLocal(rpc.WithToken(adminSecret)); err != nil {
		w.t.Fatal(err)
	}
	conn := w.conn
	w.dial = func(secret string) *grpc.ClientConn {
		c, err := srv.DialLocal(rpc.WithToken(secret))
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = c.Close() })
		return c
	}
	w.stop = sync.OnceFunc(func() {
		_ = conn.Close()
		cancel()
		running.Wait()
	})
	w.api, w.access = catalogv1.NewCatalogServiceClient(w.conn), catalogv1.NewAccessServiceClient(w.conn)
	select {
	case <-w.svc.Ready():
	case <-time.After(20 * time.Second):
		w.t.Fatal("the catalog was not ready within 20 s")
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// app makes applications/{id} and env makes an environment of it, both with nothing special.
func (w *world) app(id string) *catalogv1.Application {
	w.t.Helper()
	a, err := w.api.CreateApplication(w.t.Context(), &catalogv1.CreateApplicationRequest{ApplicationId: id})
	must(w.t, err)
	return a
}

func (w *world) env(app, id string) *catalogv1.Environment {
	w.t.Helper()
	e, err := w.api.CreateEnvironment(w.t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/" + app, EnvironmentId: id, Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
	})
	must(w.t, err)
	return e
}

func (w *world) deploy(env string, change *catalogv1.Change) *catalogv1.Deployment {
	w.t.Helper()
	d, err := w.api.CreateDeployment(w.t.Context(), &catalogv1.CreateDeploymentRequest{Parent: env, Change: change})
	must(w.t, err)
	return d
}

func (w *world) get(deployment string) *catalogv1.Deployment {
	w.t.Helper()
	d, err := w.api.GetDeployment(w.t.Context(), &catalogv1.GetDeploymentRequest{Name: deployment})
	must(w.t, err)
	return d
}

func (w *world) getEnv(name string) *catalogv1.Environment {
	w.t.Helper()
	e, err := w.api.GetEnvironment(w.t.Context(), &catalogv1.GetEnvironmentRequest{Name: name})
	must(w.t, err)
	return e
}

// inState waits until a deployment is in a state.
func (w *world) inState(deployment string, state catalogv1.Deployment_State) *catalogv1.Deployment {
	w.t.Helper()
	var d *catalogv1.Deployment
	eventually(w.t, func() error {
		if d = w.get(deployment); d.GetState() != state {
			return fmt.Errorf("%s is %s, want %s", deployment, d.GetState(), state)
		}
		return nil
	})
	return d
}

// commands takes what the committer gets, one after the other, and answers with handle.
func (w *world) commands(handle func(*eventsv1.DeploymentRequested)) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		err := w.outside.Consume(ctx, events.ConsumerConfig{Stream: events.StreamCommands, Durable: "committer", Filter: []string{"towpath.cmd.commit.>"}},
			func(_ context.Context, d events.Delivery) error {
				cmd := &eventsv1.DeploymentRequested{}
				if err := d.Decode(cmd); err != nil {
					return err
				}
				handle(cmd)
				return nil
			})
		if err != nil && ctx.Err() == nil {
			w.t.Errorf("consume commands: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

// emit publishes an event as committer or drift would.
func (w *world) emit(env, kind string, id string, at time.Time, body proto.Message) {
	w.t.Helper()
	must(w.t, w.publish(env, kind, id, at, body))
}

func (w *world) publish(env, kind, id string, at time.Time, body proto.Message) error {
	var app, e string
	if _, err := fmt.Sscanf(replaceSlashes(env), "applications %s environments %s", &app, &e); err != nil {
		return err
	}
	subject, err := events.EventSubject(app, e, kind)
	if err != nil {
		return err
	}
	return w.outside.Publish(context.Background(), events.Message{
		Subject: subject, ID: id, Type: "dev.towpath." + kind, Source: "//towpath.dev/test", Resource: env, Time: at, Body: body,
	})
}

func replaceSlashes(s string) string {
	return string(bytes.ReplaceAll([]byte(s), []byte("/"), []byte(" ")))
}

// fakeRenderer is a pure function like the real one: its one file tells the whole input.
type fakeRenderer struct {
	rendererv1.RendererServiceClient // what no test calls
	mu                               sync.Mutex
	load                             func(*rendererv1.LoadWorkloadsRequest) (*rendererv1.LoadWorkloadsResponse, error)
	render                           func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error)
	calls                            int
}

func (f *fakeRenderer) set(render func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.render = render
}

func (f *fakeRenderer) LoadWorkloads(_ context.Context, r *rendererv1.LoadWorkloadsRequest, _ ...grpc.CallOption) (*rendererv1.LoadWorkloadsResponse, error) {
	if f.load != nil {
		return f.load(r)
	}
	out := &rendererv1.LoadWorkloadsResponse{Workloads: map[string]*structpb.Struct{}}
	for _, file := range r.GetFiles() { // the content is the workload's name
		out.Workloads[string(file.GetContent())] = workload(file.GetImage())
	}
	return out, nil
}

func (f *fakeRenderer) Render(_ context.Context, r *rendererv1.RenderRequest, _ ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	f.mu.Lock()
	render := f.render
	f.calls++
	f.mu.Unlock()
	if render != nil {
		return render(r)
	}
	return bundleOf(r.GetInput()), nil
}

// CheckGuardrails takes all: what compiles is the real renderer's to say.
func (f *fakeRenderer) CheckGuardrails(context.Context, *rendererv1.CheckGuardrailsRequest, ...grpc.CallOption) (*rendererv1.CheckGuardrailsResponse, error) {
	return &rendererv1.CheckGuardrailsResponse{}, nil
}

func bundleOf(in *rendererv1.RenderInput) *rendererv1.RenderResponse {
	files := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(in.GetWorkloads())) {
		files[name+".yaml"] = fmt.Appendf(nil, "name: %s\nimage: %s\nlevel: %s\n", name,
			in.GetWorkloads()[name].GetFields()["containers"].GetStructValue().GetFields()["main"].GetStructValue().GetFields()["image"].GetStringValue(),
			in.GetVariables()["LOG_LEVEL"])
	}
	return &rendererv1.RenderResponse{Bundle: &rendererv1.Bundle{Files: files, Tree: treeID(files), Sha256: "sha-" + treeID(files)}, RendererVersion: "v1"}
}

func treeID(files map[string][]byte) string {
	h := sha1.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s\x00%s\x00", name, files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func workload(image string) *structpb.Struct {
	s, err := structpb.NewStruct(map[string]any{
		"apiVersion": "score.dev/v1b1",
		"containers": map[string]any{"main": map[string]any{"image": image, "variables": map[string]any{"LOG_LEVEL": "info"}}},
	})
	if err != nil {
		panic(err)
	}
	return s
}

// fakeCommitter is a repository in memory: trees by path, and all trees that ever were.
type fakeCommitter struct {
	committerv1.CommitterServiceClient
	mu    sync.Mutex
	paths map[string]map[string][]byte
	trees map[string]map[string][]byte
}

func (f *fakeCommitter) GetTree(_ context.Context, r *committerv1.GetTreeRequest, _ ...grpc.CallOption) (*committerv1.Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files, ok := f.paths[r.GetPath()]
	if r.GetTree() != "" {
		if files, ok = f.trees[r.GetTree()]; !ok {
			return nil, rpc.ToStatus(errs.NotFoundf("tree "+r.GetTree(), ""), "").Err()
		}
	}
	out := &committerv1.Tree{}
	if !ok {
		return out, nil
	}
	out.Tree = treeID(files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out.Files = append(out.Files, &committerv1.File{Path: name, Content: files[name]})
	}
	return out, nil
}

func (f *fakeCommitter) put(path string, files map[string][]byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paths == nil {
		f.paths, f.trees = map[string]map[string][]byte{}, map[string]map[string][]byte{}
	}
	id := treeID(files)
	f.paths[path], f.trees[id] = files, files
	return id
}

// plays answers commands as committer and drift would when everything goes well.
func (w *world) plays() {
	w.commands(func(cmd *eventsv1.DeploymentRequested) { w.succeed(cmd) })
}

func (w *world) succeed(cmd *eventsv1.DeploymentRequested) {
	env := cmd.GetDeployment()[:bytes.Index([]byte(cmd.GetDeployment()), []byte("/deployments/"))]
	at := time.Now()
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_REMOVE {
		w.must(w.publish(env, "deployment.committed", cmd.GetDeployment()+"-c", at, committedEvent(cmd, "")))
		w.must(w.publish(env, "environment.removed", cmd.GetDeployment()+"-r", at, &eventsv1.EnvironmentRemoved{
			Environment: env, Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(),
		}))
		return
	}
	files := bundleOf(cmd.GetInput()).GetBundle().GetFiles()
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RESTORE {
		w.committer.mu.Lock()
		files = w.committer.trees[cmd.GetRestoreTree()]
		w.committer.mu.Unlock()
	}
	tree := w.committer.put(cmd.GetPath(), files)
	w.must(w.desire(cmd, tree))
	w.must(w.publish(env, "deployment.committed", cmd.GetDeployment()+"-c", at, committedEvent(cmd, tree)))
	w.must(w.publish(env, "environment.synced", cmd.GetDeployment()+"-s", at, syncedEvent(cmd.GetDeployment(), cmd.GetGeneration(), at)))
	w.must(w.publish(env, "environment.health", cmd.GetDeployment()+"-h", at, healthEvent(cmd.GetDeployment(), cmd.GetGeneration(), at)))
}

// desire publishes an environment's desired state, as the committer does after a commit.
func (w *world) desire(cmd *eventsv1.DeploymentRequested, tree string) error {
	subject, err := events.DesiredSubject(cmd.GetInput().GetApplication(), cmd.GetInput().GetEnvironment())
	if err != nil {
		return err
	}
	return w.outside.Publish(context.Background(), events.Message{
		Subject: subject, ID: cmd.GetDeployment() + "/desired", Type: "dev.towpath.environment.desired", Source: "//towpath.dev/test",
		Body: &eventsv1.DesiredState{Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Tree: tree},
	})
}

// must is for goroutines, where Fatal may not be called.
func (w *world) must(err error) {
	if err != nil {
		w.t.Errorf("%v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until check gives nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %v", err)
		}
		time.Sleep(wait)
	}
}

// wantError checks code and reason of an RPC's error and gives it as one of ours.
func wantError(t testing.TB, err error, code codes.Code, reason errorsv1.Reason) *errs.Error {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("code = %s, want %s: %v", status.Code(err), code, err)
	}
	var e *errs.Error
	if !errors.As(rpc.FromStatus(err), &e) || e.Reason != reason {
		t.Fatalf("error = %#v, want reason %s", rpc.FromStatus(err), reason)
	}
	return e
}
