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

func TestAnEventOfAPullRequestHasTheRepositorysOnesLookedAt(t *testing.T) {
	s := &Service{views: newViews(nil, 0)}
	s.lanes = &lanes{svc: s}
	s.pulls = newPulls(s)
	r := &committerv1.RepositoryRef{
		Name: "repositories/deploy", Url: "https://git.example.com/team/one.git", Branch: "main",
		Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITLAB, WebhookCredentials: "hooks"},
	}
	here := &watcher{repository: repositoryKey(r.GetUrl()), wake: make(chan struct{}, 1)}
	elsewhere := &watcher{repository: repositoryKey("https://git.example.com/team/two.git"), wake: make(chan struct{}, 1)}
	s.pulls.watchers = map[string]*watcher{"here": here, "elsewhere": elsewhere}
	s.hooks.learn(laneKey(r), r)
	for _, c := range []struct {
		what  string
		event webhook.Event
		wakes bool
	}{
		{"opened", webhook.Event{Kind: webhook.PullRequest, Head: "towpath/shop/dev", Base: "main", State: forge.Open, Number: 1}, true},
		{"merged", webhook.Event{Kind: webhook.PullRequest, Head: "towpath/shop/dev", Base: "main", State: forge.Merged, Number: 1}, true},
		{"a ping", webhook.Event{Kind: webhook.Ping}, false},
	} {
		s.heed(r.GetName(), &c.event)
		if woken := len(here.wake) > 0; woken != c.wakes {
			t.Errorf("%s: looked at is %t", c.what, woken)
		}
		for len(here.wake) > 0 {
			<-here.wake
		}
	}
	if len(elsewhere.wake) > 0 {
		t.Error("another repository's pull request is looked at")
	}
}
