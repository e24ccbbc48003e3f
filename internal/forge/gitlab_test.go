package forge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

func TestGitLab(t *testing.T) {
	suite(t, func(t *testing.T) *site { f := newGitLab(t); return f.site(forge.GitLab, f.url+"/lab") })
}

func newGitLab(t *testing.T) *fake {
	return newFake(t, "group/sub/deployments", "/lab/api/v4", gitlabRoutes, refusals{
		unknown: no(http.StatusUnauthorized, "401 Unauthorized"),
		noWrite: reply{status: http.StatusForbidden, body: map[string]any{
			"error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token.", "scope": "api",
		}},
		notFound: no(http.StatusNotFound, "404 Project Not Found"),
	})
}

// gitlabRoutes answer as https://docs.gitlab.com/api/ says, by page: merge_requests, merge_request_approvals, projects, branches,
// notes, users, personal_access_tokens, project_webhooks.
var gitlabRoutes = []route{
	{"GET", `/user`, func(_ *fake, c call) reply { return ok(map[string]any{"id": 1, "username": c.user.login}) }},
	{"GET", `/users`, func(f *fake, c call) reply {
		name := c.query.Get("username")
		if f.members[name] == 0 {
			return ok([]any{})
		}
		return ok([]any{map[string]any{"id": f.members[name], "username": name}})
	}},
	{"GET", `/personal_access_tokens/self`, func(_ *fake, c call) reply {
		scopes := []string{"read_api"}
		if c.user.write {
			scopes = []string{"api"}
		}
		return ok(map[string]any{"id": 1, "scopes": scopes})
	}},
	{"GET", `/projects/([^/]+)`, func(*fake, call) reply {
		return ok(map[string]any{
			"id": 7, "default_branch": "main", "merge_method": "ff", "merge_requests_access_level": "enabled",
			"permissions": map[string]any{"project_access": map[string]any{"access_level": 30}, "group_access": nil},
		})
	}},
	{"GET", `/projects/([^/]+)/hooks`, func(_ *fake, c call) reply {
		if !c.user.write {
			return no(http.StatusForbidden, "403 Forbidden")
		}
		return ok([]any{})
	}},
	{"GET", `/projects/([^/]+)/approval_rules`, func(f *fake, _ call) reply {
		return ok([]any{map[string]any{"id": 1, "name": "any", "approvals_required": f.approvals, "applies_to_all_protected_branches": true}})
	}},
	{"GET", `/projects/([^/]+)/repository/branches/([^/]+)`, func(f *fake, c call) reply {
		if f.branches[c.path[1]] == "" {
			return no(http.StatusNotFound, "404 Branch Not Found")
		}
		closed := f.approvals > 0 && c.path[1] == "main"
		return ok(map[string]any{"name": c.path[1], "protected": closed, "can_push": !closed})
	}},
	{"DELETE", `/projects/([^/]+)/repository/branches/([^/]+)`, func(f *fake, c call) reply {
		if f.branches[c.path[1]] == "" {
			return no(http.StatusNotFound, "404 Branch Not Found")
		}
		delete(f.branches, c.path[1])
		return reply{status: http.StatusNoContent}
	}},
	{"GET", `/projects/([^/]+)/merge_requests`, func(f *fake, c call) reply {
		list := []any{}
		if p := f.open(c.query.Get("source_branch"), c.query.Get("target_branch")); p != nil {
			list = append(list, gitlabPull(f, p))
		}
		return ok(list)
	}},
	{"POST", `/projects/([^/]+)/merge_requests`, gitlabCreate},
	{"GET", `/projects/([^/]+)/merge_requests/(\d+)`, gitlabOne(func(f *fake, p *fakePull, _ call) reply {
		answer := gitlabPull(f, p)
		p.unchecked = false
		return ok(answer)
	})},
	{"PUT", `/projects/([^/]+)/merge_requests/(\d+)`, gitlabOne(gitlabUpdate)},
	{"PUT", `/projects/([^/]+)/merge_requests/(\d+)/merge`, gitlabOne(gitlabMerge)},
	{"GET", `/projects/([^/]+)/merge_requests/(\d+)/approvals`, gitlabOne(func(f *fake, p *fakePull, _ call) reply {
		return ok(map[string]any{"approvals_required": f.approvals, "approvals_left": max(0, f.approvals-len(p.approvedBy))})
	})},
	{"POST", `/projects/([^/]+)/merge_requests/(\d+)/notes`, gitlabOne(func(_ *fake, p *fakePull, c call) reply {
		p.comment = append(p.comment, c.text("body"))
		return reply{status: http.StatusCreated, body: map[string]any{"id": 1}}
	})},
}

func gitlabOne(serve func(f *fake, p *fakePull, c call) reply) func(*fake, call) reply {
	return func(f *fake, c call) reply {
		p := f.pull(c.number(1))
		if p == nil {
			return no(http.StatusNotFound, "404 Not found")
		}
		return serve(f, p, c)
	}
}

func gitlabCreate(f *fake, c call) reply {
	head, base := c.text("source_branch"), c.text("target_branch")
	switch {
	case f.branches[head] == "":
		return reply{status: http.StatusBadRequest, body: map[string]any{"message": map[string]any{"source_branch": []string{"does not exist"}}}}
	case f.open(head, base) != nil:
		return reply{status: http.StatusConflict, body: map[string]any{
			"message": []string{fmt.Sprintf("Another open merge request already exists for this source branch: !%d", f.open(head, base).number)},
		}}
	}
	p := f.add(head, base, c.text("title"), c.text("description"))
	gitlabText(f, p, c, "labels")
	return reply{status: http.StatusCreated, body: gitlabPull(f, p)}
}

// gitlabText sets labels and reviewers; those that the project does not know are dropped without a word.
func gitlabText(f *fake, p *fakePull, c call, labels string) {
	addTo(&p.labels, strings.Split(c.text(labels), ",")...)
	if ids, given := c.body["reviewer_ids"].([]any); given {
		p.reviewers = nil
		for _, id := range ids {
			if n, isNumber := id.(float64); isNumber {
				addTo(&p.reviewers, f.memberByID(n))
			}
		}
	}
}

func gitlabUpdate(f *fake, p *fakePull, c call) reply {
	if s := c.text("title"); s != "" {
		p.title, p.body = s, c.text("description")
	}
	gitlabText(f, p, c, "add_labels")
	if c.text("state_event") == "close" {
		p.state = "closed"
	}
	return ok(gitlabPull(f, p))
}

func gitlabMerge(f *fake, p *fakePull, c call) reply {
	if p.state != "open" {
		return no(http.StatusMethodNotAllowed, "405 Method Not Allowed")
	}
	if sha := c.text("sha"); sha != "" && sha != p.sha {
		return no(http.StatusConflict, "SHA does not match HEAD of source branch: "+p.sha)
	}
	if !f.ready(p) {
		if c.body["auto_merge"] == true {
			p.auto = true
			return ok(gitlabPull(f, p))
		}
		return no(http.StatusMethodNotAllowed, "405 Method Not Allowed")
	}
	if p.unchecked {
		return no(http.StatusUnprocessableEntity, "Branch cannot be merged")
	}
	f.merge(p, c.user.login)
	return ok(gitlabPull(f, p))
}

func gitlabPull(f *fake, p *fakePull) map[string]any {
	m := map[string]any{
		"id": 100 + p.number, "iid": p.number, "project_id": 7, "source_project_id": 7, "target_project_id": 7, "title": p.title, "description": p.body,
		"source_branch": p.head, "target_branch": p.base, "sha": p.sha, "web_url": fmt.Sprintf("%s/lab/%s/-/merge_requests/%d", f.url, f.path, p.number),
		"state": map[string]string{"open": "opened"}[p.state], "created_at": p.updated, "updated_at": p.updated, "labels": p.labels,
		"reviewers": each(p.reviewers, func(n string) any { return map[string]any{"id": f.members[n], "username": n} }), "detailed_merge_status": "mergeable",
		"merge_when_pipeline_succeeds": p.auto,
	}
	switch {
	case p.state == "merged":
		m["state"], m["merge_commit_sha"], m["merged_at"], m["merge_user"] = "merged", p.mergeCommit, p.updated, map[string]any{"username": p.mergedBy}
		m["detailed_merge_status"] = "not_open"
	case p.state == "closed":
		m["state"], m["closed_at"], m["detailed_merge_status"] = "closed", p.updated, "not_open"
	case p.unchecked:
		m["detailed_merge_status"] = "checking"
	case !f.ready(p):
		m["detailed_merge_status"] = "not_approved"
	}
	return m
}

func TestGitLabsWordForMayNotMergeIsNotThatTheTokenIsWrong(t *testing.T) {
	f := newGitLab(t)
	s := f.site(forge.GitLab, f.url+"/lab")
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	down := no(http.StatusUnauthorized, "401 Unauthorized")
	f.mu.Lock()
	f.down = &down
	f.mu.Unlock()
	err := c.Merge(t.Context(), pr.Number, forge.Merge{})
	wantError(t, err, errs.Denied, "Developer")
}
