// Package clusterstest tries drift with three clusters and two processes of its own. It is a package of itself so that the
// clusters start once.
package clusterstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/drift"
)

// patience is how long a test waits for what should come; the machine may be busy compiling.
const patience = 60 * time.Second

// replicaEnv carries the configuration of a drift process.
const replicaEnv = "TOWPATH_TEST_DRIFT"

type replicaConfig struct {
	URL, Seed, Git, Address string
	TTL                     time.Duration
}

func TestMain(m *testing.M) {
	if c := os.Getenv(replicaEnv); c != "" {
		os.Exit(replicaMain(c))
	}
	os.Exit(m.Run())
}

// files serves trees as the committer does: a file each.
type files string

func (f files) GetTree(_ context.Context, in *committerv1.GetTreeRequest, _ ...grpc.CallOption) (*committerv1.Tree, error) {
	content, err := os.ReadFile(filepath.Join(string(f), in.GetTree()))
	if err != nil {
		return nil, err
	}
	return &committerv1.Tree{Tree: in.GetTree(), Files: []*committerv1.File{{Path: "manifests.yaml", Content: content}}}, nil
}

// anyone is the processes of the installation.
type anyone struct{}

func (anyone) Authenticate(context.Context, string) (auth.Caller, error) {
	return auth.Caller{Subject: auth.ServiceSubject, Role: auth.Admin, Method: auth.MethodService}.Sealed(), nil
}

// replicaMain is a drift process: the real service behind a real server, until it is killed or interrupted.
func replicaMain(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	err := func() error {
		var c replicaConfig
		if err := json.Unmarshal([]byte(config), &c); err != nil {
			return err
		}
		listener, err := net.Listen("tcp", c.Address)
		if err != nil {
			return err
		}
		bus, err := events.Connect(ctx, events.Config{URL: c.URL, Role: events.RoleDrift, NkeySeedFile: c.Seed, Name: c.Address, Logger: log})
		if err != nil {
			return err
		}
		defer bus.Close()
		svc, err := drift.New(drift.Config{
			Bus: bus, Committer: files(c.Git), MaskKey: []byte("0123456789abcdef0123456789abcdef"), Log: log, LeaseTTL: c.TTL,
			Connect: func(t *eventsv1.TargetRef) (*rest.Config, error) {
				return clientcmd.BuildConfigFromFlags("", t.GetKubeconfig())
			},
			Address: func() string { return c.Address },
			Dial:    func(a string) (*grpc.ClientConn, error) { return rpc.Dial(a, rpc.WithToken("secret")) },
		})
		if err != nil {
			return err
		}
		server, err := rpc.NewServer(rpc.ServerConfig{Log: log, Authenticator: anyone{}, Authorizer: policy.Static()})
		if err != nil {
			return err
		}
		svc.Register(server)
		go func() { _ = server.Serve(ctx, listener) }()
		return svc.Run(ctx)
	}()
	if err != nil {
		log.Error("the process ends", "error", err)
		return 1
	}
	return 0
}

// world is three clusters, an event server and two drift processes.
type world struct {
	t        *testing.T
	git      string
	server   *events.Server
	publish  *events.Bus
	clusters [3]*devclustertest.Cluster
	replicas [2]*replica
	envs     []*env

	mu   sync.Mutex
	told map[string]int // drift.detected and drift.resolved by finding
}

type replica struct {
	address string
	cmd     *exec.Cmd
	client  driftv1.DriftServiceClient
}

type env struct {
	name, ns string
	cluster  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, git: t.TempDir(), server: eventstest.Start(t), told: map[string]int{}}
	w.publish = eventstest.Connect(t, w.server, events.RoleCommitter)
	w.follow(eventstest.Connect(t, w.server, events.RoleCatalog))
	for i := range w.clusters {
		w.clusters[i] = devclustertest.Start(t, devclustertest.Options{})
	}
	for i := range w.replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.replicas[i] = &replica{address: l.Addr().String()}
		_ = l.Close() // the process takes it
		w.start(i)
	}
	return w
}

// start runs a replica.
func (w *world) start(i int) {
	w.t.Helper()
	r := w.replicas[i]
	config, err := json.Marshal(replicaConfig{
		URL: w.server.ClientURL(), Seed: w.server.SeedFile(events.RoleDrift), Git: w.git, Address: r.address, TTL: 3 * time.Second,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), replicaEnv+"="+string(config))
	r.cmd.Stderr = w.t.Output()
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	cmd := r.cmd
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if r.client != nil {
		return
	}
	conn, err := rpc.Dial(r.address, rpc.WithToken("secret"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	r.client = driftv1.NewDriftServiceClient(conn)
}

// kill is kill -9.
func (w *world) kill(i int) {
	_ = w.replicas[i].cmd.Process.Kill()
	_ = w.replicas[i].cmd.Wait() // it says that it was killed
}

// follow counts what is told of findings.
func (w *world) follow(b *events.Bus) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range b.Tail(ctx, events.TailConfig{Stream: events.StreamEvents}) {
			if err == nil && strings.HasPrefix(d.Type, "dev.towpath.drift.") {
				w.mu.Lock()
				w.told[d.Type+" "+d.Resource]++
				w.mu.Unlock()
			}
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *world) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for k, n := range w.told {
		out[k] = n
	}
	return out
}

// deploy makes an environment of one ConfigMap.
func (w *world) deploy(cluster int, id string) {
	w.t.Helper()
	e := &env{name: "applications/" + id + "/environments/dev", ns: id, cluster: cluster}
	w.envs = append(w.envs, e)
	const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {LOG_LEVEL: info}\n"
	if err := os.WriteFile(filepath.Join(w.git, "tree-"+id), []byte(manifest), 0o600); err != nil {
		w.t.Fatal(err)
	}
	subject, err := events.DesiredSubject(id, "dev")
	if err != nil {
		w.t.Fatal(err)
	}
	d := &eventsv1.DesiredState{
		Environment: e.name, Deployment: e.name + "/deployments/1", Generation: 1, Tree: "tree-" + id, Commit: "c", Namespace: id, AutomaticSync: true,
		Repository: &committerv1.RepositoryRef{Name: "repositories/main", Url: "embedded:///main", Branch: "main"},
		Target:     &eventsv1.TargetRef{Name: targetName(cluster), Engine: "native", Kubeconfig: w.clusters[cluster].Kubeconfig()},
	}
	err = w.publish.Publish(w.t.Context(), events.Message{
		Subject: subject, ID: e.name + "/1", Type: "dev.towpath.environment.desired", Source: "//towpath.dev/committer", Body: d,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func targetName(cluster int) string { return fmt.Sprintf("targets/c%d", cluster) }

// edit changes an environment's object as somebody else, and gives what should be found.
func (w *world) edit(e *env, label string) {
	w.t.Helper()
	w.clusters[e.cluster].Kubectl(w.t, "-n", e.ns, "label", "configmap/settings", label+"=x")
}

func eventually(t *testing.T, check func() string) {
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
		time.Sleep(50 * time.Millisecond)
	}
}

// status asks a replica. Any other refusal than to try again in a moment fails the test.
func (w *world) status(through int, e *env) *driftv1.EnvironmentStatus {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	st, err := w.replicas[through].client.GetEnvironmentStatus(ctx, &driftv1.GetEnvironmentStatusRequest{Name: e.name + "/status"})
	if c := status.Code(err); c != codes.OK && c != codes.Unavailable && c != codes.NotFound && c != codes.DeadlineExceeded {
		w.t.Errorf("status of %s: %v", e.name, err)
	}
	return st
}

func (w *world) awaitSync(through int, envs []*env, want driftv1.SyncState) {
	w.t.Helper()
	eventually(w.t, func() string {
		for _, e := range envs {
			if st := w.status(through, e); st == nil || st.GetSync() != want {
				return fmt.Sprintf("%s through %d is %v, want %v", e.name, through, st, want)
			}
		}
		return ""
	})
}

// awaitFindings waits until a replica lists so many findings of all environments, and gives them.
func (w *world) awaitFindings(through, n int) []*driftv1.Finding {
	w.t.Helper()
	var got []*driftv1.Finding
	eventually(w.t, func() string {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		got = nil
		for token := ""; ; { // small pages, to go over the seams
			l, err := w.replicas[through].client.ListFindings(ctx, &driftv1.ListFindingsRequest{
				Parent: "applications/-/environments/-", PageSize: 2, PageToken: token,
			})
			if err != nil {
				if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded {
					w.t.Errorf("list: %v", err)
				}
				return "list: " + err.Error()
			}
			got = append(got, l.GetFindings()...)
			if token = l.GetNextPageToken(); token == "" {
				break
			}
		}
		if len(got) != n {
			return fmt.Sprintf("%d findings through %d, want %d: %v", len(got), through, n, got)
		}
		return ""
	})
	return got
}

func (w *world) target(through, cluster int) *driftv1.TargetStatus {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	st, err := w.replicas[through].client.GetTargetStatus(ctx, &driftv1.GetTargetStatusRequest{Name: targetName(cluster) + "/status"})
	if err != nil {
		return nil
	}
	return st
}

func (w *world) on(cluster int) []*env {
	return slices.Collect(func(yield func(*env) bool) {
		for _, e := range w.envs {
			if e.cluster == cluster && !yield(e) {
				return
			}
		}
	})
}

func TestThreeClustersAndTwoDriftProcessesOfWhichOneIsKilled(t *testing.T) {
	w := newWorld(t)
	for c := range w.clusters {
		for i := range 4 {
			w.deploy(c, fmt.Sprintf("shop-%d-%d", c, i))
		}
	}
	w.awaitSync(0, w.envs, driftv1.SyncState_SYNC_STATE_SYNCED)
	w.awaitSync(1, w.envs, driftv1.SyncState_SYNC_STATE_SYNCED)
	eventually(t, func() string { // both look after something, and either tells of both
		shares := map[string]int32{}
		for c := range w.clusters {
			st := w.target(0, c)
			if !st.GetReachable() || st.GetVersion() == "" {
				return fmt.Sprintf("target %d: %v", c, st)
			}
			for _, r := range st.GetReplicas() {
				shares[r.GetReplica()] += r.GetEnvironments()
			}
		}
		if shares[w.replicas[0].address]+shares[w.replicas[1].address] != 12 || len(shares) != 2 {
			return fmt.Sprintf("environments by process: %v", shares)
		}
		return ""
	})
	for c := range w.clusters {
		w.edit(w.on(c)[0], "first")
	}
	before := w.awaitFindings(0, 3)
	for i, f := range w.awaitFindings(1, 3) {
		if !proto.Equal(f, before[i]) {
			t.Errorf("the other process tells %v, want %v", f, before[i])
		}
	}
	watch := watchAll(t, w.replicas[0].client)

	w.kill(1)
	if err := <-watch; status.Code(err) != codes.Unavailable {
		t.Errorf("the watch over all processes ended with %v, want UNAVAILABLE", err)
	}
	for c := range w.clusters {
		w.edit(w.on(c)[1], "second")
	}
	after := w.awaitFindings(0, 6)
	w.checkSame(before, after)

	w.clusterGoesAndComes(2)

	w.start(1)
	w.awaitSync(1, w.envs, driftv1.SyncState_SYNC_STATE_SYNCED)
	eventually(t, func() string {
		n := int32(0)
		for c := range w.clusters {
			for _, r := range w.target(0, c).GetReplicas() {
				if r.GetReplica() == w.replicas[1].address {
					n += r.GetEnvironments()
				}
			}
		}
		if n == 0 {
			return "the process that came back has no part"
		}
		return ""
	})
	w.checkSame(after, w.awaitFindings(1, 7))
	for what, n := range w.counts() {
		if n != 1 || !strings.HasPrefix(what, "dev.towpath.drift.detected ") {
			t.Errorf("told %d times: %s", n, what)
		}
	}
}

// watchAll watches the findings of all environments and gives how that ends.
func watchAll(t *testing.T, c driftv1.DriftServiceClient) <-chan error {
	t.Helper()
	stream, err := c.WatchFindings(t.Context(), &driftv1.WatchFindingsRequest{Parent: "applications/-/environments/-"})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetCaughtUp() {
			if n != 3 || r.GetResumeToken() == "" {
				t.Errorf("%d findings before the watch had caught up with token %q, want 3", n, r.GetResumeToken())
			}
			break
		}
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// checkSame checks that findings are the same ones as before, others may be beside them.
func (w *world) checkSame(before, after []*driftv1.Finding) {
	w.t.Helper()
	for _, f := range before {
		if !slices.ContainsFunc(after, func(g *driftv1.Finding) bool { return proto.Equal(f, g) }) {
			w.t.Errorf("%v is not among the findings any more: %v", f, after)
		}
	}
}

// clusterGoesAndComes stops a cluster: its environments are unknown, the others are looked after as before, and it comes back by
// itself.
func (w *world) clusterGoesAndComes(gone int) {
	w.t.Helper()
	w.clusters[gone].Stop(w.t)
	eventually(w.t, func() string {
		for _, e := range w.on(gone) {
			st := w.status(0, e)
			if st.GetSync() != driftv1.SyncState_SYNC_STATE_UNSPECIFIED || st.GetHealth() != driftv1.Health_HEALTH_UNSPECIFIED || st.GetSeenTime() == nil {
				return fmt.Sprintf("%s on a stopped cluster is %v", e.name, st)
			}
		}
		if st := w.target(0, gone); st == nil || st.GetReachable() || st.GetMessage() == "" {
			return fmt.Sprintf("the stopped cluster is %v", st)
		}
		return ""
	})
	w.edit(w.on(0)[2], "meanwhile")
	w.awaitFindings(0, 7)
	w.awaitSync(0, w.on(0), driftv1.SyncState_SYNC_STATE_SYNCED)
	w.clusters[gone].Start(w.t)
	w.awaitSync(0, w.on(gone), driftv1.SyncState_SYNC_STATE_SYNCED)
	w.awaitFindings(0, 7)
}
