package app_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestFourProcessesDoWhatOneDoes(t *testing.T) {
	t.Parallel()
	f := startFour(t)
	j := journey{t: t, Client: f.catalog.Client, cluster: devclustertest.Shared(t), app: "split"}
	j.deploy()
	j.changeOneVariable()
	j.driftAndRevert()
	f.killedInTheMiddle(t, &j)
	j.rollBack()
	j.remove()
	for _, p := range []*apptest.Process{f.drift, f.committer, f.renderer, f.catalog} {
		p.Stop(t)
	}
	apptest.BareRepository(t, f.committer.DataDir).Fsck()
}

// four is one installation whose services run as processes of their own.
type four struct{ catalog, renderer, committer, drift *apptest.Process }

func startFour(t *testing.T) *four {
	t.Helper()
	f := &four{}
	addresses := map[app.Target]string{}
	prepare := func(target app.Target, opts ...apptest.Option) *apptest.Process {
		return apptest.NewProcess(t, append(opts, apptest.WithCluster(devclustertest.Shared(t)), func(c *app.Config) {
			c.Targets = append(c.Targets, target)
			c.ServiceToken = "a secret that the four of them share"
			addresses[target] = c.GRPCListen
			// All processes are prepared before the first one starts, so each sees all addresses then.
			c.Addresses = addresses
		})...)
	}
	f.catalog = prepare(app.Catalog, func(c *app.Config) { c.Targets = append(c.Targets, app.Gateway) })
	nats := func(c *app.Config) {
		c.NATSURL, c.NATSSeeds = "nats://"+f.catalog.NATSAddress(), f.catalog.DataDir+"/nats"
	}
	f.renderer = prepare(app.Renderer)
	f.committer = prepare(app.Committer, nats)
	f.drift = prepare(app.Drift, nats)
	for _, p := range []*apptest.Process{f.catalog, f.renderer, f.committer, f.drift} {
		p.Start(t)
	}
	f.catalog.Git = f.committer.HTTP
	return f
}

// killedInTheMiddle kills committer and drift at different moments of deployments that nevertheless end well.
func (f *four) killedInTheMiddle(t *testing.T, j *journey) {
	t.Helper()
	set := func(level string) string {
		return j.Deploy(t, j.env, "", &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{{
			Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/containers/main/variables/LOG_LEVEL",
			Value: structpb.NewStringValue(level),
		}}}).GetName()
	}
	f.drift.Kill(t)
	d := set("warn")
	j.WaitState(t, d, apptest.Syncing) // in Git; nobody applies it
	f.committer.Kill(t)
	f.drift.Start(t) // it cannot read what to apply
	j.WaitWaiting(t, d)
	f.committer.Start(t)
	j.WaitState(t, d, apptest.Healthy)

	f.committer.Kill(t)
	f.committer.Start(t, "ref_moved@1")
	d = set("error")
	f.committer.AwaitDeath(t) // it is in Git and nobody knows
	f.committer.Start(t)
	last := j.WaitState(t, d, apptest.Healthy)
	if got := gittest.Git(t, j.Clone(t), "log", "--format=%H", "--grep=^Towpath-Deployment: "+d+"$"); got != last.GetCommit() {
		t.Errorf("%s has the commits %q, want only %s", d, got, last.GetCommit())
	}
}
