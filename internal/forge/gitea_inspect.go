package forge

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"code.gitea.io/sdk/gitea"
)

// inspect reads what Gitea says of us.
func (g giteaService) inspect(ctx context.Context, branch string) (*Access, error) {
	a := &Access{}
	repo, _, err := g.api.GetRepo(g.owner, g.name)
	if err != nil {
		return nil, err
	}
	a.DefaultBranch = repo.DefaultBranch
	if p := repo.Permissions; p != nil {
		a.Read, a.Push, a.Pull = p.Pull, p.Push, p.Push && repo.HasPullRequests
	}
	if me, _, err := g.api.GetMyUserInfo(); err == nil {
		a.Login = me.UserName
	} else if err := onlyRefused(ctx, err, http.StatusForbidden); err != nil {
		return nil, err
	}
	if repo.Archived {
		a.Push, a.Pull = false, false
	}
	if err := g.inspectScopes(ctx, a); err != nil {
		return nil, err
	}
	if err := g.inspectBranch(ctx, a, branch); err != nil {
		return nil, err
	}
	hooks, _, err := g.api.ListRepoHooks(g.owner, g.name, gitea.ListHooksOptions{ListOptions: gitea.ListOptions{PageSize: giteaPage}})
	if err != nil {
		return a, onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound)
	}
	a.Webhooks = []string{}
	for _, h := range hooks {
		if h.Active && h.Config["url"] != "" {
			a.Webhooks = append(a.Webhooks, h.Config["url"])
		}
	}
	return a, nil
}

// inspectScopes finds out what the token's scopes leave of its user's rights, which Gitea does not tell. It asks for a pull
// request from the default branch to itself: Gitea looks at the scopes first, and there can never be such a pull request.
func (g giteaService) inspectScopes(ctx context.Context, a *Access) error {
	if !a.Push || a.DefaultBranch == "" {
		return nil
	}
	_, _, err := g.api.CreatePullRequest(g.owner, g.name, gitea.CreatePullRequestOption{Head: a.DefaultBranch, Base: a.DefaultBranch, Title: "never"})
	if lastRefusal(ctx) == http.StatusForbidden {
		a.Push, a.Pull = false, false
	}
	return onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity)
}

func (g giteaService) inspectBranch(ctx context.Context, a *Access, branch string) error {
	if branch == "" {
		return nil
	}
	b, _, err := g.api.GetRepoBranch(g.owner, g.name, branch)
	if err != nil {
		return onlyRefused(ctx, err, http.StatusNotFound) // the first deployment makes it
	}
	if !b.Protected {
		return nil
	}
	a.Approvals = int(b.RequiredApprovals)
	var rules []string
	a.Barred = !b.UserCanPush
	if !b.UserCanPush {
		rules = append(rules, "the token's user may not push to it")
	}
	if b.RequiredApprovals > 0 {
		rules = append(rules, fmt.Sprintf("pull requests need %d approvals", b.RequiredApprovals))
	}
	if b.EnableStatusCheck {
		rules = append(rules, "checks must succeed first: "+strings.Join(b.StatusCheckContexts, ", "))
	}
	if p, _, err := g.api.GetBranchProtection(g.owner, g.name, cmp.Or(b.EffectiveBranchProtectionName, branch)); err == nil {
		if p.RequireSignedCommits {
			rules = append(rules, "commits must be signed")
		}
		if p.ProtectedFilePatterns != "" {
			rules = append(rules, "files that match "+p.ProtectedFilePatterns+" may not be changed")
		}
	} else if err := onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound); err != nil {
		return err
	}
	a.Protected, a.Why = len(rules) > 0, strings.Join(rules, "; ")
	return nil
}
