package forge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

func TestGitHub(t *testing.T) {
	suite(t, func(t *testing.T) *site { f := newGitHub(t); return f.site(forge.GitHub, f.url) })
}

func newGitHub(t *testing.T) *fake {
	return newFake(t, "team/deployments", "/api", githubRoutes, refusals{
		unknown:  no(http.StatusUnauthorized, "Bad credentials"),
		noWrite:  no(http.StatusForbidden, "Resource not accessible by personal access token"),
		notFound: no(http.StatusNotFound, "Not Found"),
	})
}

// githubRoutes answer as https://docs.github.com/rest and https://docs.github.com/graphql say, by resource: pulls/pulls,
// pulls/reviews, pulls/review-requests, issues/labels, issues/comments, git/refs, branches/branches, repos/rules, repos/webhooks.
var githubRoutes = []route{
	{"GET", `/v3/user`, func(_ *fake, c call) reply { return ok(map[string]any{"login": c.user.login}) }},
	{"GET", `/v3/repos/([^/]+/[^/]+)`, githubRepo},
	{"GET", `/v3/repos/([^/]+/[^/]+)/hooks`, func(_ *fake, c call) reply {
		if !c.user.write {
			return no(http.StatusNotFound, "Not Found")
		}
		return ok([]any{})
	}},
	{"GET", `/v3/repos/([^/]+/[^/]+)/branches/([^/]+)`, func(f *fake, c call) reply {
		sha, found := f.branches[c.path[1]]
		if !found {
			return no(http.StatusNotFound, "Branch not found")
		}
		return ok(map[string]any{"name": c.path[1], "commit": map[string]any{"sha": sha}, "protected": f.approvals > 0 && c.path[1] == "main"})
	}},
	{"GET", `/v3/repos/([^/]+/[^/]+)/branches/([^/]+)/protection`, func(*fake, call) reply { return no(http.StatusNotFound, "Branch not protected") }},
	{"GET", `/v3/repos/([^/]+/[^/]+)/rules/branches/(.+)`, githubRules},
	{"GET", `/v3/repos/([^/]+/[^/]+)/pulls`, func(f *fake, c call) reply {
		list := []any{}
		head := strings.TrimPrefix(c.query.Get("head"), "team:")
		for _, p := range f.pulls {
			if p.state == c.query.Get("state") && p.head == head && (c.query.Get("base") == "" || p.base == c.query.Get("base")) {
				list = append(list, githubPull(f, p, false))
			}
		}
		return ok(list)
	}},
	{"POST", `/v3/repos/([^/]+/[^/]+)/pulls`, githubCreate},
	{"GET", `/v3/repos/([^/]+/[^/]+)/pulls/(\d+)`, githubOne(func(f *fake, p *fakePull, _ call) reply {
		answer := githubPull(f, p, true)
		p.unchecked = false // GitHub computes it when somebody asks
		return ok(answer)
	})},
	{"PATCH", `/v3/repos/([^/]+/[^/]+)/pulls/(\d+)`, githubOne(func(f *fake, p *fakePull, c call) reply {
		if s := c.text("title"); s != "" {
			p.title, p.body = s, c.text("body")
		}
		if s := c.text("state"); s != "" {
			p.state = s
		}
		return ok(githubPull(f, p, true))
	})},
	{"PUT", `/v3/repos/([^/]+/[^/]+)/pulls/(\d+)/merge`, githubOne(githubMerge)},
	{"GET", `/v3/repos/([^/]+/[^/]+)/pulls/(\d+)/reviews`, githubOne(func(_ *fake, p *fakePull, _ call) reply {
		return ok(each(p.approvedBy, func(who string) any { return map[string]any{"user": map[string]any{"login": who}, "state": "APPROVED"} }))
	})},
	{"POST", `/v3/repos/([^/]+/[^/]+)/pulls/(\d+)/requested_reviewers`, githubOne(func(f *fake, p *fakePull, c call) reply {
		names := texts(c.body["reviewers"])
		for _, n := range names {
			if f.members[n] == 0 {
				names = nil
			}
		}
		if len(names) == 0 || len(texts(c.body["team_reviewers"])) > 0 {
			return no(http.StatusUnprocessableEntity, "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the repository.")
		}
		addTo(&p.reviewers, names...)
		return reply{status: http.StatusCreated, body: githubPull(f, p, false)}
	})},
	{"POST", `/v3/repos/([^/]+/[^/]+)/issues/(\d+)/labels`, githubOne(func(_ *fake, p *fakePull, c call) reply {
		addTo(&p.labels, texts(c.list)...)
		return ok(each(p.labels, func(n string) any { return map[string]any{"name": n} }))
	})},
	{"POST", `/v3/repos/([^/]+/[^/]+)/issues/(\d+)/comments`, githubOne(func(_ *fake, p *fakePull, c call) reply {
		p.comment = append(p.comment, c.text("body"))
		return reply{status: http.StatusCreated, body: map[string]any{"id": 1}}
	})},
	{"DELETE", `/v3/repos/([^/]+/[^/]+)/git/refs/heads/(.+)`, func(f *fake, c call) reply {
		if f.branches[c.path[1]] == "" {
			return no(http.StatusUnprocessableEntity, "Reference does not exist")
		}
		delete(f.branches, c.path[1])
		return reply{status: http.StatusNoContent}
	}},
	{"POST", `/graphql`, githubGraph},
}

func githubRepo(_ *fake, c call) reply {
	a := ok(map[string]any{
		"id": 1, "default_branch": "main", "private": true, "permissions": map[string]any{"pull": true, "push": c.user.write, "admin": false},
	})
	if c.user.scopes != "" { // a classic token
		a.header = map[string]string{"X-OAuth-Scopes": c.user.scopes}
	}
	return a
}

func githubRules(f *fake, c call) reply {
	if f.approvals == 0 || c.path[1] != "main" {
		return ok([]any{})
	}
	return ok([]any{map[string]any{
		"type": "pull_request", "ruleset_source_type": "Repository", "ruleset_source": "team/deployments", "ruleset_id": 42,
		"parameters": map[string]any{"required_approving_review_count": f.approvals},
	}})
}

func githubOne(serve func(f *fake, p *fakePull, c call) reply) func(*fake, call) reply {
	return func(f *fake, c call) reply {
		p := f.pull(c.number(1))
		if p == nil {
			return no(http.StatusNotFound, "Not Found")
		}
		return serve(f, p, c)
	}
}

func githubCreate(f *fake, c call) reply {
	head, base := c.text("head"), c.text("base")
	switch {
	case f.branches[head] == "" || f.branches[base] == "":
		return reply{status: http.StatusUnprocessableEntity, body: map[string]any{
			"message": "Validation Failed", "errors": []any{map[string]any{"resource": "PullRequest", "field": "head", "code": "invalid"}},
		}}
	case f.open(head, base) != nil:
		return reply{status: http.StatusUnprocessableEntity, body: map[string]any{
			"message": "Validation Failed", "errors": []any{map[string]any{"resource": "PullRequest", "code": "custom", "message": "A pull request already exists for team:" + head + "."}},
		}}
	}
	return reply{status: http.StatusCreated, body: githubPull(f, f.add(head, base, c.text("title"), c.text("body")), true)}
}

// githubMerge lets an administrator's token merge over the rules, as GitHub does.
func githubMerge(f *fake, p *fakePull, c call) reply {
	if p.state != "open" {
		return no(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	if sha := c.text("sha"); sha != "" && sha != p.sha {
		return no(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	}
	f.merge(p, c.user.login)
	return ok(map[string]any{"sha": p.mergeCommit, "merged": true, "message": "Pull Request successfully merged"})
}

func githubGraph(f *fake, c call) reply {
	variables, _ := c.body["variables"].(map[string]any)
	var number int64
	if _, err := fmt.Sscanf(fmt.Sprint(variables["id"]), "PR_%d", &number); err != nil || !strings.Contains(c.text("query"), "enablePullRequestAutoMerge(") {
		return ok(map[string]any{"errors": []any{map[string]any{"message": "Could not resolve to a node"}}})
	}
	p := f.pull(number)
	if f.ready(p) {
		return ok(map[string]any{"errors": []any{map[string]any{"message": "Pull request Pull request is in clean status"}}})
	}
	p.auto = true
	return ok(map[string]any{"data": map[string]any{"enablePullRequestAutoMerge": map[string]any{"clientMutationId": nil}}})
}

func githubPull(f *fake, p *fakePull, whole bool) map[string]any {
	side := func(ref, sha string) map[string]any {
		return map[string]any{"ref": ref, "sha": sha, "repo": map[string]any{"id": 1}}
	}
	login := func(n string) any { return map[string]any{"login": n} }
	m := map[string]any{
		"number": p.number, "node_id": fmt.Sprintf("PR_%d", p.number), "html_url": fmt.Sprintf("%s/team/deployments/pull/%d", f.url, p.number),
		"state": "open", "title": p.title, "body": p.body, "user": login("towpath-bot"), "head": side(p.head, p.sha), "base": side(p.base, f.branches[p.base]),
		"created_at": p.updated, "updated_at": p.updated, "labels": each(p.labels, func(n string) any { return map[string]any{"name": n} }),
		"requested_reviewers": each(p.reviewers, login), "merge_commit_sha": fmt.Sprintf("%040x", 0xfeed), // GitHub's own trial
	}
	if p.auto {
		m["auto_merge"] = map[string]any{"merge_method": "merge"}
	}
	if p.state != "open" {
		m["state"], m["closed_at"] = "closed", p.updated
	}
	if p.state == "merged" {
		m["merged_at"], m["merge_commit_sha"] = p.updated, p.mergeCommit
	}
	if whole {
		m["merged"], m["mergeable_state"] = p.state == "merged", "clean"
		switch {
		case p.unchecked:
			m["mergeable_state"] = "unknown"
		case !f.ready(p):
			m["mergeable_state"] = "blocked"
		}
		if p.mergedBy != "" {
			m["merged_by"] = login(p.mergedBy)
		}
	}
	return m
}

func TestAClassicTokenOfGitHubWithoutScopeMayNotPush(t *testing.T) {
	f := newGitHub(t)
	f.tokens["classic"] = fakeUser{login: "towpath-bot", write: true, scopes: "read:org"}
	s := f.site(forge.GitHub, f.url)
	c := s.clientWith(t, func(cfg *forge.Config) { cfg.Token = fixed("classic") })
	if a, err := c.Inspect(t.Context(), "main"); err != nil || !a.Read || a.Push || a.Pull {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestGitHubWithoutAutomaticMergeSaysSo(t *testing.T) {
	f := newGitHub(t)
	s := f.site(forge.GitHub, f.url)
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	// It has not looked for conflicts yet, so there is something to wait for; and then there is nothing.
	_, err := c.AutoMerge(t.Context(), pr.Number, forge.Merge{})
	wantError(t, err, errs.Precondition, "check for conflicts")
	if says := metaOf(err)["auto_merge"]; !strings.Contains(says, "clean status") {
		t.Errorf("why it is not merged later: %q", says)
	}
}

func TestTextThatIsTooLongIsCut(t *testing.T) {
	f := newGitHub(t)
	s := f.site(forge.GitHub, f.url)
	s.commit(t, "towpath/shop")
	p := proposal("towpath/shop")
	p.Title, p.Body = strings.Repeat("ä ", 300), strings.Repeat("ä", 80_000)
	pr, _, err := s.client(t).Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(pr.Title) > 250 || len(pr.Body) > 60_000 || !utf8.ValidString(pr.Title) || !utf8.ValidString(pr.Body) || !strings.Contains(pr.Body, "(cut") {
		t.Errorf("%d and %d bytes", len(pr.Title), len(pr.Body))
	}
}
