package app_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

// run is towpathd's command line.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errout bytes.Buffer
	code = app.Main("test", args, &out, &errout)
	return code, out.String(), errout.String()
}

func TestASystemGoesOnInEtcdAsItWasInItsFile(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	etcd := etcdtest.Start(t)
	file := f.prepare(t, nil, app.Catalog)
	committer := f.prepare(t, nil, app.Committer, app.Renderer)
	file.Start(t)
	committer.Start(t)

	create := &catalogv1.CreateApplicationRequest{ApplicationId: "bank", RequestId: "bank"}
	apptest.Call(t, file.Catalog.CreateApplication, create)
	old := apptest.Call(t, file.Catalog.CreateApplication, &catalogv1.CreateApplicationRequest{ApplicationId: "old"})
	env := file.NewEnvironment(t, "shop/dev")
	first := file.Deploy(t, env, "one", apptest.Scores(apptest.Score("web", map[string]string{"NUMBER": "0"})))
	file.WaitState(t, first.GetName(), apptest.Syncing)
	f.bus.Shutdown() // what comes now is accepted and not published
	second := file.Deploy(t, env, "two", setNumber("1"))
	file.WaitWaiting(t, second.GetName())
	history := len(file.History(t, env))
	migrate := []string{"migrate", "bolt-to-etcd", "--data-dir", file.DataDir, "--store", etcd.URL("moved")}
	if code, _, stderr := run(migrate...); code != 1 || !strings.Contains(stderr, "another towpathd uses this data folder") {
		t.Errorf("migrating a server that runs: code %d, %s", code, stderr)
	}
	file.Kill(t)
	committer.Kill(t)

	if code, stdout, stderr := run(migrate...); code != 0 || !strings.Contains(stdout, "rows copied and compared, sha256") {
		t.Fatalf("migrate: code %d, %s%s", code, stdout, stderr)
	}
	f.startBus(t)
	moved := f.prepare(t, func(c *app.Config) { c.Store = etcd.URL("moved") + "?lease=2s" }, app.Catalog)
	committer.Start(t)
	moved.Start(t)
	if code, _, stderr := run(migrate...); code != 1 || !strings.Contains(stderr, "is in use already") {
		t.Errorf("migrating into a store in use: code %d, %s", code, stderr)
	}
	if got := len(moved.History(t, env)); got != history {
		t.Errorf("history has %d deployments, had %d", got, history)
	}
	moved.WaitState(t, second.GetName(), apptest.Syncing)
	if again := moved.Deploy(t, env, "one", apptest.Scores(apptest.Score("web", map[string]string{"NUMBER": "0"}))); again.GetName() != first.GetName() {
		t.Errorf("a repeated request made %s, its answer was %s", again.GetName(), first.GetName())
	}
	update := func(name, etag string) error {
		_, err := moved.Catalog.UpdateApplication(t.Context(), &catalogv1.UpdateApplicationRequest{
			Application: &catalogv1.Application{Name: name, Etag: etag, DisplayName: "Changed"},
		})
		return err
	}
	if err := update(old.GetName(), old.GetEtag()); status.Code(err) != codes.Aborted {
		t.Errorf("an etag of before the migration: %v, want Aborted", err)
	}
	if again := apptest.Call(t, moved.Catalog.CreateApplication, create); update(again.GetName(), again.GetEtag()) != nil {
		t.Error("the etag of a repeated request's answer is not the application's")
	}
	third := moved.Deploy(t, env, "three", setNumber("2"))
	moved.WaitState(t, third.GetName(), apptest.Syncing)
	r := &replicas{committer: committer}
	r.catalogs[0] = moved
	deployments := map[string]*catalogv1.Deployment{}
	for _, d := range moved.History(t, env) {
		deployments[d.GetName()] = d
	}
	r.checkTold(t, deployments)
	moved.Stop(t)
	committer.Stop(t)
	checkCommits(t, committer.DataDir, deployments)
}

func TestAStoreForSeveralProcessesNeedsWhatTheyShare(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		says []string
	}{
		{"no etcd URL", []string{"serve", "--store", "redis://a:1"}, []string{"--store:", "etcd://host:2379"}},
		{"alone", []string{"serve", "--store", "etcd://a:2379/x"}, []string{"--nats-url: is needed with --store", "--admin-token-file: is needed with --store"}},
		{"a password in the URL", []string{"serve", "--store", "etcd://u:hidden@a:2379/x"}, []string{"password-file"}},
		{"migrate without a store", []string{"migrate", "bolt-to-etcd", "--data-dir", "."}, []string{"--data-dir: holds no catalog", "--store: is needed"}},
		{"migrate without anything", []string{"migrate", "bolt-to-etcd"}, []string{"--data-dir: is needed", "--store: is needed"}},
	}
	for _, tt := range tests {
		if tt.args[0] == "serve" {
			tt.args = append(tt.args, "--data-dir", t.TempDir())
		}
		code, _, stderr := run(tt.args...)
		for _, want := range tt.says {
			if code != 2 || !strings.Contains(stderr, want) || strings.Contains(stderr, "hidden") {
				t.Errorf("%s: code %d, want 2 and %q in:\n%s", tt.name, code, want, stderr)
			}
		}
	}
}
