package forge

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// inspect reads the project, the token's own scopes, the branch and the hooks.
func (g gitlabService) inspect(ctx context.Context, branch string) (*Access, error) {
	p, _, err := g.api.Projects.GetProject(g.project, nil)
	if err != nil {
		return nil, err
	}
	level := gitlab.NoPermissions
	if p.Permissions != nil {
		level = max(level, value(p.Permissions.ProjectAccess).AccessLevel, value(p.Permissions.GroupAccess).AccessLevel)
	}
	a := &Access{DefaultBranch: p.DefaultBranch, Read: true}
	a.Push = level >= gitlab.DeveloperPermissions && !p.Archived
	a.Pull = a.Push && p.MergeRequestsAccessLevel != gitlab.DisabledAccessControl
	if err := g.inspectToken(ctx, a); err != nil {
		return nil, err
	}
	if err := g.inspectBranch(ctx, a, branch); err != nil {
		return nil, err
	}
	hooks, _, err := g.api.Projects.ListProjectHooks(g.project, &gitlab.ListProjectHooksOptions{ListOptions: gitlab.ListOptions{PerPage: 100}})
	if err != nil {
		return a, onlyRefused(ctx, err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
	}
	a.Webhooks = []string{}
	for _, h := range hooks {
		if h.PushEvents || h.MergeRequestsEvents {
			a.Webhooks = append(a.Webhooks, h.URL)
		}
	}
	return a, nil
}

// inspectToken asks what the token is for. OAuth tokens cannot be asked.
func (g gitlabService) inspectToken(ctx context.Context, a *Access) error {
	t, _, err := g.api.PersonalAccessTokens.GetSinglePersonalAccessToken()
	if err = onlyRefused(ctx, err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest); err != nil {
		return err
	}
	if t != nil && len(t.Scopes) > 0 {
		api := slices.Contains(t.Scopes, "api")
		a.Pull = a.Pull && api
		a.Push = a.Push && (api || slices.Contains(t.Scopes, "write_repository"))
	}
	me, _, err := g.api.Users.CurrentUser()
	if err = onlyRefused(ctx, err, http.StatusForbidden); err != nil {
		return err
	}
	if me != nil {
		a.Login = me.Username
	}
	return nil
}

func (g gitlabService) inspectBranch(ctx context.Context, a *Access, branch string) error {
	if branch == "" {
		return nil
	}
	b, _, err := g.api.Branches.GetBranch(g.project, branch)
	if err != nil {
		return onlyRefused(ctx, err, http.StatusNotFound) // the first deployment makes it
	}
	// Approval rules are not in every edition, and not for everybody's eyes.
	all, _, err := g.api.Projects.GetProjectApprovalRules(g.project, nil)
	if err = onlyRefused(ctx, err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound); err != nil {
		return err
	}
	for _, r := range all {
		here := len(r.ProtectedBranches) == 0 && (!r.AppliesToAllProtectedBranches || b.Protected) ||
			slices.ContainsFunc(r.ProtectedBranches, func(p *gitlab.ProtectedBranch) bool { return p.Name == branch })
		if here {
			a.Approvals = max(a.Approvals, int(r.ApprovalsRequired))
		}
	}
	var rules []string
	if b.Protected && !b.CanPush {
		rules = append(rules, "the token's user may not push to it")
	}
	if a.Approvals > 0 {
		rules = append(rules, fmt.Sprintf("merge requests need %d approvals", a.Approvals))
	}
	a.Barred = b.Protected && !b.CanPush
	a.Protected, a.Why = a.Barred, strings.Join(rules, "; ")
	return nil
}
