package committer

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/forge/webhook"
	"github.com/towpath-dev/towpath/internal/git"
)

func TestWhoIsMeantByAWebhook(t *testing.T) {
	ref := func(url, branch string) *committerv1.RepositoryRef {
		return &committerv1.RepositoryRef{
			Name: "repositories/deploy", Url: url, Branch: branch, Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA, WebhookCredentials: "hooks"},
		}
	}
	one := []*committerv1.RepositoryRef{ref("https://git.example.com/team/one.git", "main"), ref("https://git.example.com/team/one.git", "production")}
	two := append(slices.Clone(one), ref("https://git.example.com/team/two.git", "main"))
	urls := []string{"https://git.example.com/team/one.git", "git@git.example.com:team/one.git"}
	mine := "1111111111111111111111111111111111111111"
	for name, c := range map[string]struct {
		known []*committerv1.RepositoryRef
		event webhook.Event
		want  []string
		ours  bool
	}{
		"a branch of the one repository":                 {one, webhook.Event{URLs: urls, Branch: "production"}, []string{"https://git.example.com/team/one.git#production"}, false},
		"a branch that nothing is written to":            {one, webhook.Event{URLs: urls, Branch: "feature"}, []string{"https://git.example.com/team/one.git"}, false},
		"the one of several that the host names":         {two, webhook.Event{URLs: urls, Branch: "main"}, []string{"https://git.example.com/team/one.git#main"}, false},
		"the only one, by another address":               {one, webhook.Event{URLs: []string{"http://internal/one.git"}, Branch: "main"}, []string{"https://git.example.com/team/one.git#main"}, false},
		"none of several, by another address":            {two, webhook.Event{URLs: []string{"http://internal/one.git"}, Branch: "main"}, nil, false},
		"a commit of our own":                            {one, webhook.Event{URLs: urls, Branch: "main", After: mine}, []string{"https://git.example.com/team/one.git#main"}, true},
		"our commit, but on a branch we did not push to": {one, webhook.Event{URLs: urls, Branch: "production", After: mine}, []string{"https://git.example.com/team/one.git#production"}, false},
		"a repository that nobody knows":                 {nil, webhook.Event{URLs: urls, Branch: "main"}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hooks{}
			for _, r := range c.known {
				h.learn(laneKey(r), r)
			}
			h.pushed(laneKey(one[0]), one[0], git.NewHash(mine))
			refs, ours := h.meant("repositories/deploy", &c.event, c.event.Branch)
			var got []string
			for _, r := range refs {
				if r.GetBranch() == c.event.Branch {
					got = append(got, r.GetUrl()+"#"+r.GetBranch())
				} else {
					got = append(got, r.GetUrl())
				}
			}
			if d := cmp.Diff(c.want, got); d != "" || ours != c.ours {
				t.Errorf("%s\nours is %t", d, ours)
			}
		})
	}
}

func TestAPullRequestIsToldOfByItsBranch(t *testing.T) {
	var told []string
	s := &Service{views: newViews(nil, 0)}
	s.lanes, s.pulls = &lanes{svc: s}, newPulls(s)
	s.hooks.pullRequests = func(ref *committerv1.RepositoryRef, head string) {
		told = append(told, ref.GetUrl()+" "+ref.GetBranch()+" "+head)
	}
	r := &committerv1.RepositoryRef{
		Name: "repositories/deploy", Url: "https://git.example.com/team/one.git", Branch: "main",
		Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITLAB, WebhookCredentials: "hooks"},
	}
	s.hooks.learn(laneKey(r), r)
	for _, state := range []forge.State{forge.Open, forge.Merged} {
		s.heed(r.GetName(), &webhook.Event{Kind: webhook.PullRequest, Head: "towpath/shop", Base: "main", State: state, Number: 1})
	}
	s.heed(r.GetName(), &webhook.Event{Kind: webhook.Ping})
	want := "https://git.example.com/team/one.git main towpath/shop"
	if d := cmp.Diff([]string{want, want}, told); d != "" {
		t.Error(d)
	}
}
