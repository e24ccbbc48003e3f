package forge

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// gitlabService is GitLab, over https://gitlab.com/gitlab-org/api/client-go. Pull requests are called merge requests there.
type gitlabService struct {
	api     *gitlab.Client
	project string
}

// unlimited keeps the SDK from waiting by itself: who calls us decides when to ask again.
type unlimited struct{}

// Wait is gitlab.RateLimiter.
func (unlimited) Wait(context.Context) error { return nil }

func dialGitLab(ctx context.Context, c *Client) (service, error) {
	api, err := gitlab.NewClient("", gitlab.WithBaseURL(c.base.String()), gitlab.WithHTTPClient(c.http), gitlab.WithoutRetries(),
		gitlab.WithCustomLimiter(unlimited{}), gitlab.WithRequestOptions(gitlab.WithContext(ctx)))
	if err != nil {
		return nil, err
	}
	return gitlabService{api: api, project: c.cfg.Project}, nil
}

func (g gitlabService) find(_ context.Context, head, base string) (*PullRequest, error) {
	opened := "opened"
	o := &gitlab.ListProjectMergeRequestsOptions{State: &opened, SourceBranch: &head, ListOptions: gitlab.ListOptions{PerPage: 100}}
	if base != "" {
		o.TargetBranch = &base
	}
	mrs, _, err := g.api.MergeRequests.ListProjectMergeRequests(g.project, o)
	if err != nil {
		return nil, err
	}
	for _, mr := range mrs {
		if mr.SourceProjectID == mr.TargetProjectID {
			return fromGitLab(mr), nil
		}
	}
	return nil, nil
}

// create gives labels and reviewers with the merge request itself. GitLab makes labels that it does not have.
func (g gitlabService) create(ctx context.Context, p Proposal) (*PullRequest, []string, error) {
	ids, warnings := g.users(ctx, p.Reviewers)
	labels := gitlab.LabelOptions(p.Labels)
	o := &gitlab.CreateMergeRequestOptions{
		Title: &p.Title, Description: &p.Body, SourceBranch: &p.Head, TargetBranch: &p.Base, Labels: &labels,
	}
	if len(ids) > 0 {
		o.ReviewerIDs = &ids
	}
	mr, _, err := g.api.MergeRequests.CreateMergeRequest(g.project, o)
	if err != nil {
		return nil, nil, err
	}
	return fromGitLab(&mr.BasicMergeRequest), append(warnings, unasked(p.Reviewers, mr.Reviewers, warnings)...), nil
}

func (g gitlabService) update(ctx context.Context, number int64, p Proposal) ([]string, error) {
	mr, _, err := g.api.MergeRequests.GetMergeRequest(g.project, number, nil)
	if err != nil {
		return nil, err
	}
	var o gitlab.UpdateMergeRequestOptions
	changed := mr.Title != p.Title || mr.Description != p.Body
	if changed {
		o.Title, o.Description = &p.Title, &p.Body
	}
	has, asked := map[string]bool{}, map[string]bool{}
	for _, l := range mr.Labels {
		has[strings.ToLower(l)] = true
	}
	if missing := gitlab.LabelOptions(without(p.Labels, has)); len(missing) > 0 {
		o.AddLabels, changed = &missing, true
	}
	ids := []int64{}
	for _, u := range mr.Reviewers {
		asked[strings.ToLower(u.Username)] = true
		ids = append(ids, u.ID)
	}
	more, warnings := g.users(ctx, without(p.Reviewers, asked))
	if len(more) > 0 {
		ids, changed = append(ids, more...), true
		o.ReviewerIDs = &ids
	}
	if !changed {
		return warnings, nil
	}
	after, _, err := g.api.MergeRequests.UpdateMergeRequest(g.project, number, &o)
	if err != nil {
		return nil, err
	}
	return append(warnings, unasked(p.Reviewers, after.Reviewers, warnings)...), nil
}

// users gives the ids of reviewers. GitLab knows no teams that review; its approval rules do that.
func (g gitlabService) users(ctx context.Context, names []string) (ids []int64, warnings []string) {
	users, teams := reviewers(names)
	for _, t := range teams {
		warnings = append(warnings, fmt.Sprintf("%s%s could not be asked to review: GitLab asks users only; give the group an approval rule", team, t))
	}
	for _, name := range users {
		found, _, err := g.api.Users.ListUsers(&gitlab.ListUsersOptions{Username: &name})
		switch {
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("%s could not be asked to review: %s", name, excuse(ctx, err)))
		case len(found) == 0:
			warnings = append(warnings, name+" could not be asked to review: GitLab knows nobody of that name")
		default:
			ids = append(ids, found[0].ID)
		}
	}
	return ids, warnings
}

// unasked warns of reviewers that GitLab has dropped without a word: those who are not in the project, and all but one where
// its edition allows one.
func unasked(want []string, have []*gitlab.BasicUser, warned []string) (warnings []string) {
	asked := map[string]bool{}
	for _, u := range have {
		asked[strings.ToLower(u.Username)] = true
	}
	users, _ := reviewers(want)
	for _, name := range without(users, asked) {
		if !slices.ContainsFunc(warned, func(w string) bool { return strings.HasPrefix(w, name+" ") }) {
			warnings = append(warnings, name+" could not be asked to review: GitLab left the name out; is the user a member of the project, and does the edition allow several?")
		}
	}
	return warnings
}

func (g gitlabService) get(ctx context.Context, number int64) (*PullRequest, error) {
	mr, _, err := g.api.MergeRequests.GetMergeRequest(g.project, number, nil)
	if err != nil {
		return nil, err
	}
	out := fromGitLab(&mr.BasicMergeRequest)
	if out.State == Open {
		out.WaitsFor, err = g.waitsFor(ctx, mr)
	}
	return out, err
}

func (g gitlabService) shut(ctx context.Context, number int64, comment string) error {
	mr, _, err := g.api.MergeRequests.GetMergeRequest(g.project, number, nil)
	if err != nil || mr.State == "closed" || mr.State == "merged" {
		return err
	}
	event := "close"
	if _, _, err := g.api.MergeRequests.UpdateMergeRequest(g.project, number, &gitlab.UpdateMergeRequestOptions{StateEvent: &event}); err != nil {
		return err
	}
	if comment == "" {
		return nil
	}
	_, _, err = g.api.Notes.CreateMergeRequestNote(g.project, number, &gitlab.CreateMergeRequestNoteOptions{Body: &comment})
	return onlyRefused(ctx, err, http.StatusForbidden)
}

func (g gitlabService) merge(ctx context.Context, number int64, m Merge) error {
	return g.accept(ctx, number, m, false)
}

func (g gitlabService) schedule(ctx context.Context, number int64, m Merge) error {
	return g.accept(ctx, number, m, true)
}

// accept merges. Whether there is a merge commit is a setting of the project in GitLab, only squashing can be asked for.
// https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
func (g gitlabService) accept(ctx context.Context, number int64, m Merge, later bool) error {
	if m.Method == Rebase {
		p, _, err := g.api.Projects.GetProject(g.project, nil)
		if err != nil {
			return err
		}
		if p.MergeMethod == gitlab.NoFastForwardMerge {
			return errWaits{`a change of the project's merge method to "fast-forward merge", for the merge method rebase`}
		}
	}
	squash := m.Method == Squash
	o := &gitlab.AcceptMergeRequestOptions{Squash: &squash}
	if m.HeadCommit != "" {
		o.SHA = &m.HeadCommit
	}
	if message := strings.TrimSpace(m.Title + "\n\n" + m.Body); message != "" {
		if squash {
			o.SquashCommitMessage = &message
		} else {
			o.MergeCommitMessage = &message
		}
	}
	if later {
		o.AutoMerge, o.MergeWhenPipelineSucceeds = &later, &later //nolint:staticcheck // the name before GitLab 17.11
	}
	_, _, err := g.api.MergeRequests.AcceptMergeRequest(g.project, number, o)
	if err != nil && lastRefusal(ctx) == http.StatusUnauthorized {
		// GitLab's word for a token that it knows and that may not merge.
		return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
			"the token may not merge into the branch (%s); %s", excuse(ctx, err), rights[GitLab])
	}
	return err
}

func (g gitlabService) deleteBranch(_ context.Context, branch string) error {
	_, err := g.api.Branches.DeleteBranch(g.project, branch)
	return err
}

// mergeStatuses are GitLab's reasons not to merge, https://docs.gitlab.com/api/merge_requests/#merge-status
var mergeStatuses = map[string]string{
	"approvals_syncing":          "the service's count of approvals",
	"checking":                   "the service's check for conflicts",
	"unchecked":                  "the service's check for conflicts",
	"preparing":                  "the service's check for conflicts",
	"ci_must_pass":               "a pipeline that succeeds",
	"ci_still_running":           "the pipeline",
	"commits_status":             "commits on its branch",
	"conflict":                   "a conflict with the target branch",
	"discussions_not_resolved":   "discussions that are not resolved",
	"draft_status":               "somebody who takes it out of draft",
	"external_status_checks":     "external status checks",
	"jira_association_missing":   "a Jira issue in its title or description",
	"locked_lfs_files":           "files that somebody has locked",
	"locked_paths":               "paths that somebody has locked",
	"merge_request_blocked":      "another merge request that blocks it",
	"merge_time":                 "the time after which it may be merged",
	"need_rebase":                "its branch, which must be brought up to date",
	"requested_changes":          "the changes that a reviewer asked for",
	"security_policy_violations": "security policies",
	"status_checks_must_pass":    "status checks",
	"title_regex":                "a title of the form that the project demands",
}

func (g gitlabService) waitsFor(ctx context.Context, mr *gitlab.MergeRequest) (string, error) {
	switch status := mr.DetailedMergeStatus; status {
	case "mergeable", "", "not_open":
		return "", nil
	case "not_approved":
		a, _, err := g.api.MergeRequestApprovals.GetConfiguration(g.project, mr.IID)
		if err = onlyRefused(ctx, err, http.StatusForbidden, http.StatusNotFound); err != nil {
			return "", err
		}
		if a == nil {
			return "approvals", nil
		}
		return cmp.Or(approvals(int(a.ApprovalsRequired-a.ApprovalsLeft), int(a.ApprovalsRequired)), "approvals"), nil
	default:
		return cmp.Or(mergeStatuses[status], strings.ReplaceAll(status, "_", " ")), nil
	}
}

func fromGitLab(mr *gitlab.BasicMergeRequest) *PullRequest {
	out := &PullRequest{
		Number: mr.IID, URL: mr.WebURL, State: Open, Title: mr.Title, Body: mr.Description, Head: mr.SourceBranch, HeadCommit: mr.SHA,
		Base: mr.TargetBranch, Time: first(mr.MergedAt, mr.ClosedAt, mr.UpdatedAt, mr.CreatedAt),
	}
	switch mr.State {
	case "merged":
		// A fast-forward has no commit of its own: the base became the head.
		out.State, out.MergeCommit = Merged, cmp.Or(mr.MergeCommitSHA, mr.SquashCommitSHA, mr.SHA)
		if mr.MergeUser != nil {
			out.Actor = mr.MergeUser.Username
		}
	case "closed":
		out.State = Closed
		if mr.ClosedBy != nil {
			out.Actor = mr.ClosedBy.Username
		}
	}
	return out
}
