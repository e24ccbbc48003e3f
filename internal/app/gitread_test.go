package app_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// TestPeopleReadAndPushDeploymentsWithGit clones what towpathd keeps with tokens of several rights, and pushes to an owned folder.
func TestPeopleReadAndPushDeploymentsWithGit(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	env := s.NewEnvironment(t, "gitread/dev")
	d := s.WaitState(t, s.DeployScore(t, env, apptest.Score("api", nil)).GetName(), apptest.Syncing, apptest.Healthy)
	token := func(id string, role catalogv1.Token_Role, scopes ...string) string {
		return apptest.Call(t, s.Access.CreateToken, &catalogv1.CreateTokenRequest{
			TokenId: id, Token: &catalogv1.Token{Role: role, Scopes: scopes},
		}).GetSecret()
	}
	from := func(token string) string {
		return (&url.URL{Scheme: "http", Host: s.Git, Path: "/git/deployments.git", User: url.UserPassword("anybody", token)}).String()
	}

	t.Log("a viewer of everything clones; whole, shallow and without files")
	viewer := from(token("git-viewer", catalogv1.Token_ROLE_VIEWER))
	for name, flags := range map[string][]string{"whole": nil, "shallow": {"--depth=1"}, "partial": {"--filter=blob:none"}} {
		dir := filepath.Join(t.TempDir(), name)
		gittest.Git(t, t.TempDir(), append([]string{"clone", "--quiet", viewer, dir}, flags...)...)
		if tree := gittest.Git(t, dir, "rev-parse", "HEAD:environments/dev/gitread"); tree != d.GetTree() {
			t.Errorf("a %s clone has the tree %s, want %s", name, tree, d.GetTree())
		}
	}

	t.Log("nobody, strangers and those bound to an application do not: a repository is of all applications")
	for who, c := range map[string]struct{ url, says string }{
		"no token":                 {"http://" + s.Git + "/git/deployments.git", "could not read Username"},
		"a wrong token":            {from("tow_wrong"), "Authentication failed"},
		"a viewer of one":          {from(token("git-one", catalogv1.Token_ROLE_VIEWER, "applications/gitread")), "403"},
		"an admin, of what is not": {strings.Replace(from(s.Token), "deployments.git", "nothing.git", 1), "not found"},
	} {
		out, err := gittest.TryGit(t, t.TempDir(), "clone", c.url, filepath.Join(t.TempDir(), "x"))
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, want %q:\n%s", who, err, c.says, out)
		}
	}

	t.Log("a person's push goes the same way, and is told of as a change of others")
	work := s.Clone(t)
	folder := filepath.Join(work, "environments", "dev", "gitread")
	if err := os.WriteFile(filepath.Join(folder, "by-hand.yaml"), []byte("kind: ConfigMap\napiVersion: v1\nmetadata: {name: by-hand}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, work, "add", ".")
	gittest.Git(t, work, "commit", "--quiet", "-m", "by hand")
	if out, err := gittest.TryGit(t, work, "push", viewer, "HEAD:main"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a viewer's push: %v\n%s", err, out)
	}
	gittest.Git(t, work, "push", "--quiet", "origin", "HEAD:main")
	pushed := gittest.Git(t, work, "rev-parse", "HEAD")
	stream, err := s.Events.WatchEvents(t.Context(), &eventsv1.WatchEventsRequest{
		Application: "gitread", TypePrefix: "repository.", Since: timestamppb.New(time.Now().Add(-time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetData().GetFields()["commit"].GetStringValue() == pushed {
			break
		}
	}
	again := s.Clone(t)
	if tip := gittest.Git(t, again, "rev-parse", "HEAD"); tip != pushed {
		t.Errorf("a clone has %s, want %s", tip, pushed)
	}
}
