package forge_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/forge/giteatest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func metaOf(err error) map[string]string {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.Meta
	}
	return nil
}

func TestGitea(t *testing.T) { suite(t, giteaSite) }

func giteaSite(t *testing.T) *site {
	s := giteatest.Get(t)
	owner, reviewer := s.NewUser(t), s.NewUser(t)
	p := s.NewProject(t, owner, true)
	p.Add(t, reviewer, "write")
	files := 0
	return &site{
		config: forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(owner.Token)},
		login:  owner.Name, reviewer: reviewer.Name,
		commit: func(t *testing.T, branch string) string {
			files++
			return p.Commit(t, reviewer, branch, fmt.Sprintf("environments/file-%d.yaml", files), fmt.Sprintf("count: %d\n", files))
		},
		tip: func(t *testing.T, branch string) string { return p.Tip(t, branch) },
		protect: func(t *testing.T, n int) {
			p.Protect(t, "main", map[string]any{"required_approvals": n})
		},
		act: func(t *testing.T, number int64, what string) { giteaAct(t, p, reviewer, number, what) },
		see: func(t *testing.T, number int64) sight { return giteaSee(t, p, number) },
		token: func(t *testing.T, what string) string {
			switch what {
			case "read-only":
				return s.NewToken(t, owner, "read:repository", "read:user")
			case "outsider":
				return s.NewUser(t).Token
			default:
				return "0123456789abcdef0123456789abcdef01234567"
			}
		},
	}
}

func giteaAct(t *testing.T, p *giteatest.Project, as giteatest.User, number int64, what string) {
	t.Helper()
	at := fmt.Sprintf("/pulls/%d", number)
	switch what {
	case "approve":
		p.Do(t, as, "POST", at+"/reviews", map[string]any{"event": "APPROVED", "body": "Good"}, nil)
	case "merge":
		p.Do(t, as, "POST", at+"/merge", map[string]any{"Do": "merge"}, nil)
	case "close", "reopen":
		p.Do(t, as, "PATCH", at, map[string]any{"state": map[string]string{"close": "closed", "reopen": "open"}[what]}, nil)
	}
}

func giteaSee(t *testing.T, p *giteatest.Project, number int64) (out sight) {
	t.Helper()
	var pr struct {
		Labels             []struct{ Name string }
		RequestedReviewers []struct{ Login string } `json:"requested_reviewers"`
	}
	p.Do(t, p.Owner, "GET", fmt.Sprintf("/pulls/%d", number), nil, &pr)
	for _, l := range pr.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	for _, r := range pr.RequestedReviewers {
		out.Reviewers = append(out.Reviewers, r.Login)
	}
	var comments []struct{ Body string }
	p.Do(t, p.Owner, "GET", fmt.Sprintf("/issues/%d/comments", number), nil, &comments)
	for _, c := range comments {
		out.Comments = append(out.Comments, c.Body)
	}
	return out
}

func TestAProtectedBranchOfGiteaRefusesThePushWithItsWords(t *testing.T) {
	s := giteatest.Get(t)
	owner := s.NewUser(t)
	p := s.NewProject(t, owner, true)
	p.Protect(t, "main", nil)
	dir := t.TempDir()
	gittest.Git(t, dir, "clone", "-q", p.URLFor(owner), "work")
	gittest.Git(t, dir+"/work", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "direct")
	out, err := gittest.TryGit(t, dir+"/work", "push", "origin", "HEAD:main")
	if err == nil || !strings.Contains(out, "Not allowed to push to protected branch main") {
		t.Errorf("%v: %s", err, out)
	}
	c, err := forge.New(forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(owner.Token)})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Inspect(t.Context(), "main")
	if err != nil || !a.Protected || !strings.Contains(a.Why, "may not push") {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestATeamOfGiteaIsAskedToReview(t *testing.T) {
	s := giteatest.Get(t)
	owner, member := s.NewUser(t), s.NewUser(t)
	p := s.NewTeamProject(t, owner, "platform", member)
	c, err := forge.New(forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(owner.Token)})
	if err != nil {
		t.Fatal(err)
	}
	p.Commit(t, member, "towpath/shop", "a.yaml", "a: 1\n")
	proposal := proposal("towpath/shop")
	proposal.Reviewers = []string{"team:platform"}
	pr, warnings, err := c.Create(t.Context(), proposal)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", err, warnings)
	}
	var seen struct {
		Teams []struct{ Name string } `json:"requested_reviewers_teams"`
	}
	p.Do(t, owner, "GET", fmt.Sprintf("/pulls/%d", pr.Number), nil, &seen)
	if len(seen.Teams) != 1 || seen.Teams[0].Name != "platform" {
		t.Errorf("asked are %v", seen.Teams)
	}
}
