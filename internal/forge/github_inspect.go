package forge

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v75/github"
)

// inspect reads the project, the branch, its rules and hooks. A classic token tells its scopes in a header; a fine-grained one
// and a GitHub App tell nothing, and what they may not do is seen where a request is refused.
func (g githubService) inspect(ctx context.Context, branch string) (*Access, error) {
	repo, resp, err := g.api.Repositories.Get(ctx, g.owner, g.name)
	if err != nil {
		return nil, err
	}
	p := repo.GetPermissions()
	a := &Access{DefaultBranch: repo.GetDefaultBranch(), Read: true, Push: p["push"], Pull: p["push"]}
	if scopes, ok := resp.Header["X-Oauth-Scopes"]; ok && !hasScope(scopes, "repo") && (repo.GetPrivate() || !hasScope(scopes, "public_repo")) {
		a.Push, a.Pull = false, false
	}
	if repo.GetArchived() {
		a.Push, a.Pull = false, false
	}
	if me, _, err := g.api.Users.Get(ctx, ""); err == nil {
		a.Login = me.GetLogin()
	} else if err := onlyRefused(ctx, err, http.StatusForbidden); err != nil { // a GitHub App is no user
		return nil, err
	}
	if err := g.inspectBranch(ctx, a, branch); err != nil {
		return nil, err
	}
	hooks, _, err := g.api.Repositories.ListHooks(ctx, g.owner, g.name, &github.ListOptions{PerPage: 100})
	if err != nil {
		return a, onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound)
	}
	a.Webhooks = []string{}
	for _, h := range hooks {
		if h.GetActive() && h.GetConfig().GetURL() != "" {
			a.Webhooks = append(a.Webhooks, h.GetConfig().GetURL())
		}
	}
	return a, nil
}

func hasScope(headers []string, want string) bool {
	for s := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		if strings.TrimSpace(s) == want {
			return true
		}
	}
	return false
}

func (g githubService) inspectBranch(ctx context.Context, a *Access, branch string) error {
	if branch == "" {
		return nil
	}
	b, _, err := g.api.Repositories.GetBranch(ctx, g.owner, g.name, branch, 1)
	if err != nil {
		return onlyRefused(ctx, err, http.StatusNotFound) // the first deployment makes it
	}
	want, checks, err := g.rules(ctx, branch)
	if err != nil {
		return err
	}
	a.Approvals = want
	var rules []string
	if want > 0 {
		rules = append(rules, fmt.Sprintf("changes need a pull request with %d approvals", want))
	}
	if len(checks) > 0 {
		rules = append(rules, "checks must succeed first: "+strings.Join(checks, ", "))
	}
	if b.GetProtected() && len(rules) == 0 {
		rules = append(rules, "GitHub calls it protected, and the token may not see by which rules")
	}
	a.Protected, a.Why = b.GetProtected() || len(rules) > 0, strings.Join(rules, "; ")
	return nil
}

// rules gives how many approvals and which checks a branch demands: by rulesets, which everybody may read, and by the older
// branch protection, which only administrators may.
func (g githubService) rules(ctx context.Context, branch string) (approvals int, checks []string, err error) {
	set, _, err := g.api.Repositories.GetRulesForBranch(ctx, g.owner, g.name, branch, &github.ListOptions{PerPage: 100})
	if err = onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound); err != nil {
		return 0, nil, err
	}
	if set != nil {
		for _, r := range set.PullRequest {
			approvals = max(approvals, r.Parameters.RequiredApprovingReviewCount)
		}
		for _, r := range set.RequiredStatusChecks {
			for _, c := range r.Parameters.RequiredStatusChecks {
				checks = append(checks, c.Context)
			}
		}
	}
	old, _, err := g.api.Repositories.GetBranchProtection(ctx, g.owner, g.name, branch)
	if err != nil {
		excuse(ctx, err) // not protected that way, or not for this token's eyes
		return approvals, unique(checks), nil
	}
	if r := old.GetRequiredPullRequestReviews(); r != nil {
		approvals = max(approvals, r.RequiredApprovingReviewCount)
	}
	if c := old.GetRequiredStatusChecks(); c != nil && c.Checks != nil {
		for _, check := range *c.Checks {
			checks = append(checks, check.Context)
		}
	}
	return approvals, unique(checks), nil
}
