package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

const (
	reviewing = catalogv1.Deployment_STATE_PULL_REQUEST_OPEN
	rejected  = catalogv1.Deployment_STATE_REJECTED
)

// pullSystem is the whole system whose deployments go to a project of a real Gitea.
type pullSystem struct {
	*apptest.System
	t *testing.T
	*gitea
	project string
}

func newPullSystem(t *testing.T, mode committerv1.WriteMode) *pullSystem {
	t.Helper()
	s := &pullSystem{t: t, gitea: startGitea(t), project: "towpath-bot/deployments"}
	s.call("POST", "/user/repos", map[string]any{"name": "deployments", "auto_init": true, "default_branch": "main"}, nil)
	s.System = apptest.Start(t, apptest.WithCluster(devclustertest.Shared(t)), func(c *app.Config) {
		c.PullInterval, c.PublicURL = 200*time.Millisecond, "https://towpath.test"
	})
	dir := filepath.Join(s.DataDir, "credentials")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "gitea"), []byte(s.user+":"+s.token), 0o600); err != nil {
		t.Fatal(err)
	}
	apptest.Call(t, s.Catalog.CreateRepository, &catalogv1.CreateRepositoryRequest{RepositoryId: "gitea", Repository: &catalogv1.Repository{
		Url: s.url + "/" + s.project + ".git", Credentials: "gitea", WriteMode: mode,
		Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA, Labels: []string{"production"}},
	}})
	return s
}

// environment makes an environment of an application that is kept in Gitea.
func (s *pullSystem) environment(short string) string {
	s.t.Helper()
	id, _, _ := strings.Cut(short, "/")
	apptest.Call(s.t, s.Catalog.CreateApplication, &catalogv1.CreateApplicationRequest{
		ApplicationId: id, Application: &catalogv1.Application{Owner: "teams/" + id, Repository: "repositories/gitea"},
	})
	return s.NewEnvironment(s.t, short)
}

// giteaPull is what Gitea says of a pull request.
type giteaPull struct {
	Number    int64
	State     string
	Title     string
	Body      string
	Merged    bool
	Labels    []struct{ Name string }
	Head      struct{ Ref, Sha string }
	Base      struct{ Sha string }
	Mergeable bool
}

func (s *pullSystem) pull(number int64) giteaPull {
	s.t.Helper()
	var pr giteaPull
	s.call("GET", fmt.Sprintf("/repos/%s/pulls/%d", s.project, number), nil, &pr)
	return pr
}

// merge merges as a person does, once Gitea has looked at the branch.
func (s *pullSystem) merge(number int64, how string) {
	s.t.Helper()
	apptest.Await(s.t, "Gitea finds the pull request mergeable", func() bool { return s.pull(number).Mergeable })
	s.call("POST", fmt.Sprintf("/repos/%s/pulls/%d/merge", s.project, number), map[string]any{"Do": how}, nil)
}

func (s *pullSystem) branches() string {
	s.t.Helper()
	var all []struct{ Name string }
	s.call("GET", "/repos/"+s.project+"/branches", nil, &all)
	var names []string
	for _, b := range all {
		names = append(names, b.Name)
	}
	return strings.Join(names, " ")
}

func (s *pullSystem) onlyMain() {
	s.t.Helper()
	apptest.Await(s.t, "the branches are gone", func() bool { return s.branches() == "main" })
}

func TestDeploymentsGoByPullRequestThroughARealGitea(t *testing.T) {
	t.Parallel()
	s := newPullSystem(t, committerv1.WriteMode_WRITE_MODE_PULL_REQUEST)
	env := s.environment("review/dev")

	first := s.DeployScore(t, env, apptest.Score("web", nil))
	open := s.WaitState(t, first.GetName(), reviewing)
	pr := s.pull(open.GetPullRequest().GetNumber())
	if pr.State != "open" || pr.Head.Ref != "towpath/review/dev" || !strings.Contains(pr.Body, "Deployment web") ||
		!strings.Contains(pr.Body, "https://towpath.test/") || !strings.HasPrefix(open.GetPullRequest().GetUrl(), s.url) {
		t.Errorf("the pull request is %+v, the deployment says %v", pr, open.GetPullRequest())
	}
	var labels []string
	for _, l := range pr.Labels {
		labels = append(labels, l.Name)
	}
	if got := strings.Join(labels, " "); !strings.Contains(got, "towpath") || !strings.Contains(got, "production") {
		t.Errorf("its labels are %q", got)
	}
	if !strings.Contains(open.GetWaitingReason(), open.GetPullRequest().GetUrl()) {
		t.Errorf("it waits for %q", open.GetWaitingReason())
	}

	// The base moves by somebody else: the branch follows and stays mergeable.
	s.call("POST", "/repos/"+s.project+"/contents/by-hand.txt", map[string]any{"content": "aGFuZA==", "branch": "main", "message": "by hand"}, nil)
	before := pr.Head.Sha
	apptest.Await(t, "the head follows its base", func() bool { return s.pull(pr.Number).Head.Sha != before })
	s.merge(pr.Number, "merge")
	done := s.WaitState(t, first.GetName(), apptest.Healthy)
	if p := done.GetPullRequest(); p.GetState() != catalogv1.PullRequest_STATE_MERGED || p.GetActor() != s.user || done.GetCommit() == "" {
		t.Errorf("it was merged as %v", p)
	}
	s.onlyMain()

	// A second deployment takes over the open pull request of the one before it.
	second := s.DeployScore(t, env, apptest.Score("web", map[string]string{"A": "1"}))
	was := s.WaitState(t, second.GetName(), reviewing)
	third := s.DeployScore(t, env, apptest.Score("web", map[string]string{"A": "2"}))
	is := s.WaitState(t, third.GetName(), reviewing)
	s.WaitState(t, second.GetName(), apptest.Superseded)
	if was.GetPullRequest().GetNumber() != is.GetPullRequest().GetNumber() {
		t.Errorf("the third has pull request %v, the second %v", is.GetPullRequest(), was.GetPullRequest())
	}
	s.merge(is.GetPullRequest().GetNumber(), "squash")
	s.WaitState(t, third.GetName(), apptest.Healthy)
	s.onlyMain()

	// Closed by a person: the deployment is rejected, and the next one does not bring what was refused.
	fourth := s.DeployScore(t, env, apptest.Score("other", nil))
	open = s.WaitState(t, fourth.GetName(), reviewing)
	s.call("PATCH", fmt.Sprintf("/repos/%s/pulls/%d", s.project, open.GetPullRequest().GetNumber()), map[string]any{"state": "closed"}, nil)
	refused := s.WaitState(t, fourth.GetName(), rejected)
	if e := refused.GetError(); e.GetReason() != "PULL_REQUEST_CLOSED" || !strings.Contains(e.GetMessage(), "closed") {
		t.Errorf("it was rejected as %v", e)
	}
	s.onlyMain()
	fifth := s.DeployScore(t, env, apptest.Score("web", map[string]string{"A": "3"}))
	open = s.WaitState(t, fifth.GetName(), reviewing)
	if body := s.pull(open.GetPullRequest().GetNumber()).Body; strings.Contains(body, "Deployment other") {
		t.Errorf("what was refused is in the next one:\n%s", body)
	}
	apptest.Call(t, s.Catalog.CancelDeployment, &catalogv1.CancelDeploymentRequest{Name: fifth.GetName(), Comment: "a mistake"})
	s.WaitState(t, fifth.GetName(), catalogv1.Deployment_STATE_CANCELLED)
	if s.pull(open.GetPullRequest().GetNumber()).State != "closed" {
		t.Error("the pull request of a cancelled deployment is open")
	}
	s.onlyMain()
}

func TestAProtectedBranchOfARealGiteaGetsAPullRequest(t *testing.T) {
	t.Parallel()
	s := newPullSystem(t, committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST)
	env := s.environment("protected/dev")
	free := s.DeployScore(t, env, apptest.Score("web", nil))
	if d := s.WaitState(t, free.GetName(), apptest.Healthy); d.GetPullRequest() != nil {
		t.Errorf("a branch that takes pushes got %v", d.GetPullRequest())
	}
	s.call("POST", "/repos/"+s.project+"/branch_protections", map[string]any{"rule_name": "main", "enable_push": false}, nil)
	d := s.DeployScore(t, env, apptest.Score("web", map[string]string{"A": "1"}))
	open := s.WaitState(t, d.GetName(), reviewing)
	s.merge(open.GetPullRequest().GetNumber(), "rebase")
	s.WaitState(t, d.GetName(), apptest.Healthy)
	s.onlyMain()
}
