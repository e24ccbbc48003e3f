package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

// TestThreeCatalogsOnOneEtcdLoseNothingWhileTheirLeaderIsKilled deploys to the same environments through all three at once. The
// one that publishes is killed in the middle, then started again.
func TestThreeCatalogsOnOneEtcdLoseNothingWhileTheirLeaderIsKilled(t *testing.T) {
	t.Parallel()
	r := startReplicas(t)
	envs := make([]string, 3)
	for i := range envs {
		envs[i] = r.catalogs[i].NewEnvironment(t, fmt.Sprintf("replicas/env%d", i)) // each through another replica
		r.catalogs[0].Deploy(t, envs[i], "first", apptest.Scores(apptest.Score("web", map[string]string{"NUMBER": "0"})))
	}
	const each = 12 // deployments of an environment through a replica
	var writers errgroup.Group
	half := make(chan struct{})
	var once sync.Once
	for e, env := range envs {
		for c := range r.catalogs {
			writers.Go(func() error {
				for n := range each {
					if n == each/2 {
						once.Do(func() { close(half) })
					}
					if err := r.deploy(t.Context(), env, c, fmt.Sprintf("e%d-c%d-n%d", e, c, n)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	<-half
	leader := r.leader(t)
	epoch := r.epoch(t)
	t.Logf("catalog %d leads and is killed", leader)
	r.catalogs[leader].Kill(t)
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	apptest.Await(t, "another catalog leads", func() bool { now := r.epoch(t); return now != 0 && now != epoch })
	other := r.catalogs[(leader+1)%3]
	for i, env := range envs { // after what was in flight, once more, told by a replica that did not take it
		d := r.catalogs[(leader+2)%3].Deploy(t, env, "last", setNumber(fmt.Sprint("last", i)))
		r.acked.Store(env+"#last", d.GetName())
		watchUntilSyncing(t, other, d.GetName())
	}
	r.catalogs[leader].Start(t)
	r.check(t, envs, 2+3*each)
}

// replicas is one installation with three catalogs, on an etcd and an event server of their own.
type replicas struct {
	etcd      *etcdtest.Server
	store     *etcdkv.DB
	catalogs  [3]*apptest.Process
	committer *apptest.Process
	// acked are the names of the deployments by environment and request id.
	acked sync.Map
}

// fleet is what the processes of an installation share.
type fleet struct {
	dir       string // of the event server
	bus       *events.Server
	listen    string
	addresses map[app.Target]string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir(), addresses: map[app.Target]string{}}
	f.startBus(t)
	f.listen = f.bus.Addr()
	t.Cleanup(func() { f.bus.Shutdown() })
	return f
}

// startBus starts the event server, also after its Shutdown.
func (f *fleet) startBus(t *testing.T) {
	t.Helper()
	var err error
	f.bus, err = events.StartServer(events.ServerConfig{Dir: f.dir, Listen: f.listen, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
}

// prepare makes a process. All are prepared before the first one starts, so that each knows all addresses.
func (f *fleet) prepare(t *testing.T, change apptest.Option, targets ...app.Target) *apptest.Process {
	t.Helper()
	return apptest.NewProcess(t, func(c *app.Config) {
		c.Targets, c.ServiceToken, c.AdminToken = targets, "a secret that all of them share", "tow_the0admin0of0several0catalogs"
		c.NATSURL, c.NATSSeeds = "nats://"+f.listen, f.dir+"/nats"
		for _, target := range targets {
			f.addresses[target] = c.GRPCListen
		}
		c.Addresses = f.addresses
		if change != nil {
			change(c)
		}
	})
}

func startReplicas(t *testing.T) *replicas {
	t.Helper()
	r := &replicas{etcd: etcdtest.Start(t)}
	f := newFleet(t)
	for i := range r.catalogs {
		r.catalogs[i] = f.prepare(t, func(c *app.Config) { c.Store = r.etcd.URL("replicas") + "?lease=2s" }, app.Catalog)
	}
	r.committer = f.prepare(t, nil, app.Committer, app.Renderer)
	for _, p := range append(r.catalogs[:], r.committer) {
		p.Start(t)
	}
	cfg, err := etcdkv.ParseURL("--store", r.etcd.URL("replicas"))
	if err != nil {
		t.Fatal(err)
	}
	if r.store, err = etcdkv.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

func setNumber(value string) *catalogv1.Change {
	return &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/web/containers/main/variables/NUMBER", Value: structpb.NewStringValue(value),
	}}}
}

// deploy asks one replica, and while that is gone the next one, with the same request id.
func (r *replicas) deploy(ctx context.Context, env string, through int, id string) error {
	ctx, cancel := context.WithTimeout(ctx, apptest.Patience)
	defer cancel()
	for ; ; through++ {
		try, stop := context.WithTimeout(ctx, apptest.Patience/4)
		d, err := r.catalogs[through%3].Catalog.CreateDeployment(try, &catalogv1.CreateDeploymentRequest{
			Parent: env, RequestId: id, Change: setNumber(id),
		})
		stop()
		switch {
		case err == nil:
			r.acked.Store(env+"#"+id, d.GetName())
			return nil
		case status.Code(err) != codes.Unavailable && status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil:
			return fmt.Errorf("deploy %s to %s: %w", id, env, err)
		}
	}
}

// leader finds the replica that holds the lease.
func (r *replicas) leader(t *testing.T) int {
	t.Helper()
	found := -1
	apptest.Await(t, "a catalog leads", func() bool {
		e, err := r.store.Get(t.Context(), etcdkv.LeasePrefix+"catalog")
		for i, c := range r.catalogs {
			if err == nil && strings.HasSuffix(string(e.Value), fmt.Sprintf("/%d", c.PID())) {
				found = i
			}
		}
		return found >= 0
	})
	return found
}

// epoch is that of the leader, 0 for none.
func (r *replicas) epoch(t *testing.T) int64 {
	t.Helper()
	e, err := r.store.Get(t.Context(), etcdkv.LeasePrefix+"catalog")
	if err != nil {
		return 0
	}
	return e.Rev
}

func watchUntilSyncing(t *testing.T, through *apptest.Process, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), apptest.Patience)
	defer cancel()
	stream, err := through.Catalog.WatchDeployment(ctx, &catalogv1.WatchDeploymentRequest{Name: name})
	for err == nil {
		var resp *catalogv1.WatchDeploymentResponse
		if resp, err = stream.Recv(); err == nil && resp.GetDeployment().GetState() == apptest.Syncing {
			return
		}
	}
	t.Fatalf("watching %s: %v", name, err)
}

// check demands that every acknowledged deployment is there once, in the order of generations, committed at most once, and told
// to subscribers once in each state.
func (r *replicas) check(t *testing.T, envs []string, perEnv int) {
	t.Helper()
	deployments := map[string]*catalogv1.Deployment{}
	for i, env := range envs {
		history := r.catalogs[i].History(t, env)
		if len(history) != perEnv {
			t.Errorf("%s has %d deployments, want %d", env, len(history), perEnv)
		}
		for n, d := range history {
			if d.GetGeneration() != int64(n+1) {
				t.Errorf("%s: place %d has generation %d", env, n+1, d.GetGeneration())
			}
			if want, ok := r.acked.Load(env + "#" + d.GetRequestId()); ok && want != d.GetName() {
				t.Errorf("request %s of %s was answered with %v, history has %s", d.GetRequestId(), env, want, d.GetName())
			}
			deployments[d.GetName()] = r.catalogs[i].WaitState(t, d.GetName(), apptest.Syncing, apptest.Superseded)
		}
	}
	r.acked.Range(func(request, name any) bool {
		if deployments[name.(string)] == nil {
			t.Errorf("request %v was acknowledged as %v, which is not there", request, name)
		}
		return true
	})
	r.checkTold(t, deployments)
	for _, p := range append(r.catalogs[:], r.committer) {
		p.Stop(t)
	}
	checkCommits(t, r.committer.DataDir, deployments)
}

// checkTold reads all events: each state of a deployment is there once, and its last one is.
func (r *replicas) checkTold(t *testing.T, deployments map[string]*catalogv1.Deployment) {
	t.Helper()
	told := map[string]int{}
	apptest.Await(t, "subscribers are told every deployment's state", func() bool {
		clear(told)
		ctx, cancel := context.WithTimeout(t.Context(), apptest.Patience)
		defer cancel()
		stream, err := r.catalogs[0].Events.WatchEvents(ctx, &eventsv1.WatchEventsRequest{StoredOnly: true})
		for err == nil {
			var e *eventsv1.WatchEventsResponse
			if e, err = stream.Recv(); err == nil && strings.HasSuffix(e.GetType(), "deployment.state") {
				told[e.GetSubject()+" "+e.GetData().GetFields()["state"].GetStringValue()]++
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for name, d := range deployments {
			if told[name+" "+strings.TrimPrefix(d.GetState().String(), "STATE_")] == 0 {
				return false
			}
		}
		return true
	})
	for what, n := range told {
		if n != 1 {
			t.Errorf("%s was told %d times", what, n)
		}
	}
}

// checkCommits compares Git with the deployments: each committed one has one commit, and generations only grow.
func checkCommits(t *testing.T, dataDir string, deployments map[string]*catalogv1.Deployment) {
	t.Helper()
	bare := apptest.BareRepository(t, dataDir)
	bare.Fsck()
	commits, generation := map[string]int{}, map[string]int64{}
	for line := range strings.Lines(bare.Git("log", "--reverse", "--format=%(trailers:key=Towpath-Deployment,valueonly,separator=%x2C)", "main")) {
		name := strings.TrimSpace(line)
		d := deployments[name]
		if d == nil {
			t.Errorf("a commit is of %q, which is not there", name)
			continue
		}
		commits[name]++
		env, _, _ := strings.Cut(name, "/deployments/")
		if d.GetGeneration() <= generation[env] {
			t.Errorf("%s was committed after generation %d", name, generation[env])
		}
		generation[env] = d.GetGeneration()
	}
	for name, d := range deployments {
		if n := commits[name]; n > 1 || n == 0 && d.GetState() == apptest.Syncing {
			t.Errorf("%s, %v, has %d commits", name, d.GetState(), n)
		}
	}
}
