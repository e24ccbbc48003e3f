package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestACrashAtAnyBoundaryLosesNothingAndDoesNothingTwice(t *testing.T) {
	t.Parallel()
	for _, boundary := range failpoint.Names() {
		t.Run(boundary, func(t *testing.T) {
			t.Parallel()
			c := newCrasher(t, strings.ReplaceAll(boundary, "_", "-"), 1)
			// The first passing of the boundary after a start, then the second and the third. What a crash left behind passes it,
			// too, so some of these crashes are during the recovery from the one before.
			for passing := 1; passing <= 3; passing++ {
				c.StartOrDie(t, fmt.Sprintf("%s@%d", boundary, passing))
				for asked := c.number; c.Alive(); {
					if c.number > asked+10 {
						t.Fatalf("no deployment passes %s", boundary)
					}
					c.settle()
					c.deploy()
				}
				c.Kill(t)
			}
			c.Start(t)
			c.settle()
			c.deploy()
			c.check(nothingSuperseded)
		})
	}
}

func TestKillsAtRandomMomentsLoseNothingAndDoNothingTwice(t *testing.T) {
	t.Parallel()
	const (
		seed  = 20240611
		kills = 30
	)
	random := rand.New(rand.NewPCG(seed, 0))
	moment := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
	c := newCrasher(t, "random", 3)
	for range kills {
		// Some of these kills are during the start.
		c.StartAndKill(t, c.startTime/2+moment(c.startTime/2+800*time.Millisecond))
		for c.Alive() {
			c.deploy()
			time.Sleep(moment(60 * time.Millisecond)) // people deploy now and then; what they do overlaps
		}
		c.Kill(t)
	}
	c.Start(t)
	for range c.envs {
		c.deploy()
	}
	c.check(someSuperseded)
}

// crasher deploys to some environments of a process that is killed again and again.
type crasher struct {
	*apptest.Process
	t    *testing.T
	envs []string
	// asked is the request that has no answer yet; it is repeated until it has one, as a client would.
	asked *catalogv1.CreateDeploymentRequest
	// all are the names of the deployments by environment and request id.
	all map[string]string
	// newest is the deployment that was answered last.
	newest string
	// number counts the requests.
	number int
	// startTime is how long a start takes.
	startTime time.Duration
}

func newCrasher(t *testing.T, app string, environments int) *crasher {
	t.Helper()
	c := &crasher{t: t, all: map[string]string{}, Process: apptest.NewProcess(t, apptest.WithCluster(devclustertest.Shared(t)))}
	began := time.Now()
	c.Start(t)
	c.startTime = time.Since(began)
	for i := range environments {
		env := c.NewEnvironment(t, fmt.Sprintf("%s/env%d", app, i))
		c.envs = append(c.envs, env)
		d := c.Deploy(t, env, "first", apptest.Scores(apptest.Score("web", map[string]string{"NUMBER": "0"})))
		c.all[env+"#first"] = d.GetName()
	}
	for _, env := range c.envs {
		c.WaitState(t, env+"/deployments/1", apptest.Healthy)
	}
	c.Kill(t)
	return c
}

// deploy gives the next environment another value of a variable, or repeats the request that got no answer. The process may die
// meanwhile.
func (c *crasher) deploy() {
	c.t.Helper()
	if c.asked == nil {
		c.number++
		number := strconv.Itoa(c.number)
		c.asked = &catalogv1.CreateDeploymentRequest{
			Parent: c.envs[c.number%len(c.envs)], RequestId: "r" + number,
			Change: &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
				Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/web/containers/main/variables/NUMBER",
				Value: structpb.NewStringValue(number),
			}}},
		}
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), apptest.Patience)
	defer cancel()
	d, err := c.Catalog.CreateDeployment(ctx, c.asked)
	if err != nil {
		if status.Code(err) != codes.Unavailable {
			c.t.Fatalf("deploy %s: %v", c.asked.GetRequestId(), err)
		}
		time.Sleep(5 * time.Millisecond) // the process is about to be gone
		return
	}
	c.all[c.asked.GetParent()+"#"+c.asked.GetRequestId()] = d.GetName()
	c.asked, c.newest = nil, d.GetName()
}

// settle waits until the newest deployment has ended, or the process has died.
func (c *crasher) settle() {
	c.t.Helper()
	apptest.Await(c.t, c.newest+" ends, or the process", func() bool {
		if !c.Alive() || c.newest == "" {
			return true
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), apptest.Patience)
		defer cancel()
		d, err := c.Catalog.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: c.newest})
		if err != nil && status.Code(err) != codes.Unavailable {
			c.t.Fatal(err)
		}
		return d.GetState() > apptest.Syncing
	})
}

const (
	nothingSuperseded = false
	someSuperseded    = true
)

// check demands that everything that was accepted has ended well, in Git exactly once and in order, and in the cluster.
func (c *crasher) check(mayBeSuperseded bool) {
	t := c.t
	t.Helper()
	if c.asked != nil {
		t.Fatalf("request %s has no answer", c.asked.GetRequestId())
	}
	deployments := map[string]*catalogv1.Deployment{}
	for _, env := range c.envs {
		history := c.History(t, env)
		last := history[len(history)-1]
		c.WaitState(t, last.GetName(), apptest.Healthy)
		for _, d := range history {
			d = c.WaitState(t, d.GetName(), apptest.Healthy, apptest.Superseded)
			deployments[d.GetName()] = d
			if c.all[env+"#"+d.GetRequestId()] != d.GetName() {
				t.Errorf("%s is of request %s, whose answer was %s", d.GetName(), d.GetRequestId(), c.all[env+"#"+d.GetRequestId()])
			}
			if !mayBeSuperseded && d.GetState() == apptest.Superseded {
				t.Errorf("%s was superseded though each was waited for", d.GetName())
			}
		}
		c.checkCluster(env, last.GetGeneration())
	}
	if len(deployments) != len(c.all) {
		t.Errorf("%d deployments, want one for each of %d requests", len(deployments), len(c.all))
	}
	c.Stop(t)
	c.checkGit(deployments)
	t.Logf("%d deployments; a start takes %v", len(deployments), c.startTime)
}

func (c *crasher) checkCluster(env string, generation int64) {
	t := c.t
	t.Helper()
	var st *driftv1.EnvironmentStatus
	apptest.Await(t, env+" is in sync", func() bool {
		st = apptest.Call(t, c.Drift.GetEnvironmentStatus, &driftv1.GetEnvironmentStatusRequest{Name: env + "/status"})
		return st.GetSync() == driftv1.SyncState_SYNC_STATE_SYNCED && st.GetGeneration() == generation
	})
	if st.GetFindings() != 0 {
		t.Errorf("%s has %d findings that nobody made", env, st.GetFindings())
	}
}

func (c *crasher) checkGit(deployments map[string]*catalogv1.Deployment) {
	t := c.t
	t.Helper()
	bare := apptest.BareRepository(t, c.DataDir)
	bare.Fsck()
	commits := map[string][]string{}
	generation := map[string]int64{}
	log := bare.Git("log", "--reverse", "--format=%H %(trailers:key=Towpath-Deployment,valueonly,separator=%x2C)", "main")
	for line := range strings.Lines(log) {
		commit, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		d := deployments[name]
		if d == nil {
			t.Errorf("commit %s is of %q, which does not exist", commit, name)
			continue
		}
		commits[name] = append(commits[name], commit)
		env, _, _ := strings.Cut(name, "/deployments/")
		if d.GetGeneration() <= generation[env] {
			t.Errorf("%s comes after generation %d", name, generation[env])
		}
		generation[env] = d.GetGeneration()
	}
	for name, d := range deployments {
		got := commits[name]
		switch {
		case len(got) > 1, len(got) == 0 && d.GetState() == apptest.Healthy:
			t.Errorf("%s, %v, has the commits %v, want exactly one", name, d.GetState(), got)
		case len(got) == 1 && d.GetCommit() != got[0] && (d.GetCommit() != "" || d.GetState() == apptest.Healthy):
			t.Errorf("%s names commit %q, Git has %s", name, d.GetCommit(), got[0])
		}
	}
	for _, env := range c.envs {
		last := deployments[fmt.Sprintf("%s/deployments/%d", env, generation[env])]
		if tree := gittest.Git(t, bare.Dir, "rev-parse", "main:"+last.GetPath()); tree != last.GetTree() {
			t.Errorf("Git has tree %s, %s has %s", tree, last.GetName(), last.GetTree())
		}
	}
}
