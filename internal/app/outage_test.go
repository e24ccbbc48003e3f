package app_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestADeploymentOutlivesAnOutageOfGit(t *testing.T) {
	t.Parallel()
	host := gittest.NewServer(t)
	bare := host.Create("deployments")
	address, err := url.Parse(host.URL("deployments"))
	if err != nil {
		t.Fatal(err)
	}
	gate := apptest.NewGate(t, address.Host)
	s := apptest.Start(t, apptest.WithCluster(devclustertest.Shared(t)))
	apptest.Call(t, s.Catalog.UpdateRepository, &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", Url: "http://" + gate.Addr() + address.Path},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
	})
	o := newOutage(t, s.Client, "gitless")

	gate.Shut()
	o.deploy()
	o.waits()
	if tip := bare.Git("rev-list", "--count", "main"); tip != "1" {
		t.Errorf("the repository has %s commits during the outage, want 1", tip)
	}
	gate.Open(t)
	o.finishes()
	bare.Fsck()
	if got := bare.Git("rev-parse", "main"); got != o.last.GetCommit() {
		t.Errorf("the repository is at %s, the deployment at %s", got, o.last.GetCommit())
	}
}

func TestADeploymentOutlivesAnOutageOfTheEventServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, app string
		meanwhile func(t *testing.T, dir string)
	}{
		{"that keeps what it had stored", "eventless", func(*testing.T, string) {}},
		{"that loses all but its keys", "forgetful", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			server := eventstest.StartIn(t, dir)
			folder := filepath.Dir(server.SeedFile(events.RoleCatalog))
			s := apptest.Start(t, apptest.WithCluster(devclustertest.Shared(t)), apptest.WithNATS(server.ClientURL(), folder))
			o := newOutage(t, s.Client, c.app)

			server.Shutdown()
			o.deploy()
			o.waits()
			c.meanwhile(t, folder)
			eventstest.StartIn(t, dir) // on the same port
			o.finishes()
			s.Stop(t) // before the event server
		})
	}
}

func TestADeploymentOutlivesAnOutageOfTheCluster(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	s := apptest.Start(t, apptest.WithCluster(c))
	o := newOutage(t, s.Client, "clusterless")

	c.Kill(t)
	apptest.Await(t, "the environment is no longer shown as in sync", func() bool { return !o.inSync() })
	o.deploy()
	o.waits()
	if o.inSync() {
		t.Error("the environment is shown as in sync while its cluster is gone")
	}
	c.Start(t)
	o.finishes()
}

// outage deploys to an environment before, during and after something is gone.
type outage struct {
	t *testing.T
	*apptest.Client
	env  string
	last *catalogv1.Deployment
}

// newOutage brings a first deployment to its end.
func newOutage(t *testing.T, c *apptest.Client, app string) *outage {
	t.Helper()
	o := &outage{t: t, Client: c, env: c.NewEnvironment(t, app+"/dev")}
	o.last = c.WaitState(t, c.DeployScore(t, o.env, apptest.Score("web", map[string]string{"NUMBER": "1"})).GetName(), apptest.Healthy)
	return o
}

// deploy asks for a change, which is accepted whatever is gone.
func (o *outage) deploy() {
	o.t.Helper()
	o.last = o.DeployScore(o.t, o.env, apptest.Score("web", map[string]string{"NUMBER": "2"}))
}

// waits demands that the deployment says why it waits, and that nothing shows it as running.
func (o *outage) waits() {
	o.t.Helper()
	d := o.WaitWaiting(o.t, o.last.GetName())
	if d.GetState() > apptest.Syncing || d.GetActiveFrom() != nil {
		o.t.Errorf("during the outage the deployment is %v", d)
	}
	e := apptest.Call(o.t, o.Catalog.GetEnvironment, &catalogv1.GetEnvironmentRequest{Name: o.env})
	if e.GetActiveDeployment() == o.last.GetName() || e.GetLive().GetGeneration() == o.last.GetGeneration() && e.GetLive().GetSync() == driftv1.SyncState_SYNC_STATE_SYNCED {
		o.t.Errorf("during the outage the environment is shown as having followed: %v", e.GetLive())
	}
}

// finishes demands that the deployment ends well by itself.
func (o *outage) finishes() {
	o.t.Helper()
	d := o.WaitState(o.t, o.last.GetName(), apptest.Healthy)
	if d.GetWaitingReason() != "" {
		o.t.Errorf("it is healthy and waits: %s", d.GetWaitingReason())
	}
	apptest.Await(o.t, "the environment is in sync", o.inSync)
	o.last = d
}

func (o *outage) inSync() bool {
	o.t.Helper()
	return apptest.Call(o.t, o.Drift.GetEnvironmentStatus, &driftv1.GetEnvironmentStatusRequest{
		Name: o.env + "/status",
	}).GetSync() == driftv1.SyncState_SYNC_STATE_SYNCED
}
