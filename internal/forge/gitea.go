package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"code.gitea.io/sdk/gitea"
)

// giteaPage is the most that Gitea gives in one answer unless it is configured otherwise.
const giteaPage = 50

// maxPages bounds listings. A project with more open pull requests than that is not ours to search.
const maxPages = 40

// giteaService is Gitea or Forgejo, over https://gitea.com/gitea/go-sdk.
type giteaService struct {
	api         *gitea.Client
	owner, name string
}

// dialGitea makes the SDK's client without asking for the server's version: that would be a request more for each call.
func dialGitea(ctx context.Context, c *Client) (service, error) {
	api, err := gitea.NewClient(c.base.String(), gitea.SetGiteaVersion(""), gitea.SetContext(ctx), gitea.SetHTTPClient(c.http))
	if err != nil {
		return nil, err
	}
	return giteaService{api: api, owner: c.owner(), name: c.name()}, nil
}

// find goes through the open ones, newest first: Gitea's look-up by branches gives closed ones as well, and any of several.
func (g giteaService) find(_ context.Context, head, base string) (*PullRequest, error) {
	for page := 1; page <= maxPages; page++ {
		prs, _, err := g.api.ListRepoPullRequests(g.owner, g.name, gitea.ListPullRequestsOptions{
			ListOptions: gitea.ListOptions{Page: page, PageSize: giteaPage}, State: gitea.StateOpen, Sort: "recentupdate",
		})
		if err != nil {
			return nil, err
		}
		for _, pr := range prs {
			if pr.Head == nil || pr.Base == nil || pr.Head.RepoID != pr.Base.RepoID {
				continue
			}
			if pr.Head.Ref == head && (base == "" || pr.Base.Ref == base) {
				return fromGitea(pr), nil
			}
		}
		if len(prs) == 0 {
			break
		}
	}
	return nil, nil
}

func (g giteaService) create(ctx context.Context, p Proposal) (*PullRequest, []string, error) {
	pr, _, err := g.api.CreatePullRequest(g.owner, g.name, gitea.CreatePullRequestOption{Head: p.Head, Base: p.Base, Title: p.Title, Body: p.Body})
	if err != nil {
		return nil, nil, err
	}
	warnings := append(g.label(ctx, pr, p.Labels), g.ask(ctx, pr, p.Reviewers)...)
	return fromGitea(pr), warnings, nil
}

func (g giteaService) update(ctx context.Context, number int64, p Proposal) ([]string, error) {
	pr, _, err := g.api.GetPullRequest(g.owner, g.name, number)
	if err != nil {
		return nil, err
	}
	if pr.Title != p.Title || pr.Body != p.Body {
		if _, _, err := g.api.EditPullRequest(g.owner, g.name, number, gitea.EditPullRequestOption{Title: p.Title, Body: &p.Body}); err != nil {
			return nil, err
		}
	}
	return append(g.label(ctx, pr, p.Labels), g.ask(ctx, pr, p.Reviewers)...), nil
}

func (g giteaService) get(_ context.Context, number int64) (*PullRequest, error) {
	pr, _, err := g.api.GetPullRequest(g.owner, g.name, number)
	if err != nil {
		return nil, err
	}
	out := fromGitea(pr)
	if out.State == Open {
		if out.WaitsFor, err = g.waitsFor(pr); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (g giteaService) shut(ctx context.Context, number int64, comment string) error {
	closed := gitea.StateClosed
	pr, _, err := g.api.GetPullRequest(g.owner, g.name, number)
	if err != nil || pr.HasMerged || pr.State == closed {
		return err
	}
	if _, _, err := g.api.EditPullRequest(g.owner, g.name, number, gitea.EditPullRequestOption{State: &closed}); err != nil {
		return err
	}
	if comment == "" {
		return nil
	}
	_, _, err = g.api.CreateIssueComment(g.owner, g.name, number, gitea.CreateIssueCommentOption{Body: comment})
	if lastRefusal(ctx) == http.StatusForbidden {
		return nil
	}
	return err
}

func (g giteaService) merge(_ context.Context, number int64, m Merge) error {
	return g.accept(number, m, false)
}

func (g giteaService) schedule(ctx context.Context, number int64, m Merge) error {
	err := g.accept(number, m, true)
	if lastRefusal(ctx) == http.StatusConflict { // it is scheduled already
		return nil
	}
	return err
}

func (g giteaService) accept(number int64, m Merge, later bool) error {
	ok, _, err := g.api.MergePullRequest(g.owner, g.name, number, gitea.MergePullRequestOption{
		Style: gitea.MergeStyle(m.Method), Title: m.Title, Message: m.Body, HeadCommitId: m.HeadCommit, MergeWhenChecksSucceed: later,
	})
	if err == nil && !ok {
		return errors.New("refused") // the transport has noted why
	}
	return err
}

func (g giteaService) deleteBranch(_ context.Context, branch string) error {
	ok, resp, err := g.api.DeleteRepoBranch(g.owner, g.name, branch)
	if err == nil && !ok {
		return fmt.Errorf("refused with %s", resp.Status)
	}
	return err
}

// label adds labels that are missing, and makes those that the project does not have.
func (g giteaService) label(ctx context.Context, pr *gitea.PullRequest, labels []string) (warnings []string) {
	has := map[string]bool{}
	for _, l := range pr.Labels {
		has[strings.ToLower(l.Name)] = true
	}
	missing := without(labels, has)
	if len(missing) == 0 {
		return nil
	}
	known := g.labels()
	var ids []int64
	for _, name := range missing {
		id, ok := known[strings.ToLower(name)]
		if !ok {
			made, _, err := g.api.CreateLabel(g.owner, g.name, gitea.CreateLabelOption{Name: name, Color: "#6b7280"})
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("the label %q could not be made: %s", name, excuse(ctx, err)))
				continue
			}
			id = made.ID
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return warnings
	}
	if _, _, err := g.api.AddIssueLabels(g.owner, g.name, pr.Index, gitea.IssueLabelsOption{Labels: ids}); err != nil {
		warnings = append(warnings, fmt.Sprintf("the labels %s could not be set: %s", strings.Join(missing, ", "), excuse(ctx, err)))
	}
	return warnings
}

// labels gives the ids of the project's labels and its organisation's. What cannot be read is made, and told there.
func (g giteaService) labels() map[string]int64 {
	known := map[string]int64{}
	add := func(list func(gitea.ListOptions) ([]*gitea.Label, error)) {
		for page := 1; page <= maxPages; page++ {
			labels, err := list(gitea.ListOptions{Page: page, PageSize: giteaPage})
			if err != nil || len(labels) == 0 {
				return
			}
			for _, l := range labels {
				known[strings.ToLower(l.Name)] = l.ID
			}
		}
	}
	add(func(o gitea.ListOptions) ([]*gitea.Label, error) {
		labels, _, err := g.api.ListOrgLabels(g.owner, gitea.ListOrgLabelsOptions{ListOptions: o})
		return labels, err
	})
	add(func(o gitea.ListOptions) ([]*gitea.Label, error) {
		labels, _, err := g.api.ListRepoLabels(g.owner, g.name, gitea.ListLabelsOptions{ListOptions: o})
		return labels, err
	})
	return known
}

// ask asks those to review who have neither been asked nor reviewed. One at a time: a name that Gitea does not know, or that
// may not review, fails the whole request.
func (g giteaService) ask(ctx context.Context, pr *gitea.PullRequest, names []string) (warnings []string) {
	asked := map[string]bool{}
	for _, u := range pr.RequestedReviewers {
		asked[strings.ToLower(u.UserName)] = true
	}
	for _, t := range pr.RequestedReviewersTeams {
		asked[team+strings.ToLower(t.Name)] = true
	}
	if len(without(names, asked)) == 0 {
		return nil
	}
	reviews, _, err := g.api.ListPullReviews(g.owner, g.name, pr.Index, gitea.ListPullReviewsOptions{ListOptions: gitea.ListOptions{PageSize: giteaPage}})
	if err != nil {
		excuse(ctx, err)
	}
	for _, r := range reviews {
		if r.Reviewer != nil {
			asked[strings.ToLower(r.Reviewer.UserName)] = true
		}
	}
	for _, name := range without(names, asked) {
		var o gitea.PullReviewRequestOptions
		o.Reviewers, o.TeamReviewers = reviewers([]string{name})
		if _, err := g.api.CreateReviewRequests(g.owner, g.name, pr.Index, o); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s could not be asked to review: %s", name, excuse(ctx, err)))
		} else if len(o.TeamReviewers) > 0 && !g.teamAsked(ctx, pr.Index, o.TeamReviewers[0]) {
			warnings = append(warnings, name+" could not be asked to review: only projects of an organisation have teams")
		}
	}
	return warnings
}

// teamAsked looks whether Gitea has taken a team: in a user's project it drops teams without a word.
func (g giteaService) teamAsked(ctx context.Context, number int64, name string) bool {
	pr, _, err := g.api.GetPullRequest(g.owner, g.name, number)
	if err != nil {
		excuse(ctx, err)
		return true
	}
	return slices.ContainsFunc(pr.RequestedReviewersTeams, func(t *gitea.Team) bool { return strings.EqualFold(t.Name, name) })
}

// waitsFor says what the base's protection still demands. Gitea tells only the doers themselves; so it is put together from
// the branch, the reviews and the checks.
func (g giteaService) waitsFor(pr *gitea.PullRequest) (string, error) {
	var parts []string
	if pr.Draft {
		parts = append(parts, "somebody who takes it out of draft")
	}
	branch, _, err := g.api.GetRepoBranch(g.owner, g.name, pr.Base.Ref)
	if err != nil {
		return "", err
	}
	if branch.Protected {
		reviews, err := g.missingReviews(pr, int(branch.RequiredApprovals))
		if err != nil {
			return "", err
		}
		parts = append(parts, reviews)
		if branch.EnableStatusCheck {
			checks, err := g.missingChecks(pr.Head.Sha, branch.StatusCheckContexts)
			if err != nil {
				return "", err
			}
			parts = append(parts, checks)
		}
	}
	why := waits(parts...)
	switch {
	case !pr.Mergeable && !pr.Draft:
		return waits(why, "the service's check for conflicts, or a conflict with "+pr.Base.Ref), nil
	case why == "" && branch.Protected && !branch.UserCanMerge:
		return "somebody who may merge into " + pr.Base.Ref, nil
	default:
		return why, nil
	}
}

func (g giteaService) missingReviews(pr *gitea.PullRequest, want int) (string, error) {
	reviews, _, err := g.api.ListPullReviews(g.owner, g.name, pr.Index, gitea.ListPullReviewsOptions{ListOptions: gitea.ListOptions{PageSize: giteaPage}})
	if err != nil {
		return "", err
	}
	last := map[string]*gitea.PullReview{} // only a person's last word counts
	for _, r := range reviews {
		if r.Reviewer != nil && r.Official && !r.Dismissed && (r.State == gitea.ReviewStateApproved || r.State == gitea.ReviewStateRequestChanges) {
			last[r.Reviewer.UserName] = r
		}
	}
	have, rejected := 0, ""
	for name, r := range last {
		if r.State == gitea.ReviewStateApproved {
			have++
		} else {
			rejected = "the changes that " + name + " asked for"
		}
	}
	return waits(approvals(have, want), rejected), nil
}

func (g giteaService) missingChecks(commit string, want []string) (string, error) {
	status, _, err := g.api.GetCombinedStatus(g.owner, g.name, commit)
	if err != nil {
		return "", err
	}
	good := map[string]bool{}
	for _, s := range status.Statuses {
		good[strings.ToLower(s.Context)] = s.State == gitea.StatusSuccess
	}
	if missing := without(want, good); len(missing) > 0 {
		return "checks (" + strings.Join(missing, ", ") + ")", nil
	}
	for name, ok := range good {
		if !ok && len(want) == 0 {
			return "checks (" + name + ")", nil
		}
	}
	return "", nil
}

func fromGitea(pr *gitea.PullRequest) *PullRequest {
	out := &PullRequest{
		Number: pr.Index, URL: pr.HTMLURL, State: Open, Title: pr.Title, Body: pr.Body, Time: first(pr.Merged, pr.Closed, pr.Updated, pr.Created),
	}
	if pr.Head != nil {
		// Once the branch is gone, Gitea names a reference of its own here and keeps the name in the label.
		out.Head, out.HeadCommit = pr.Head.Ref, pr.Head.Sha
		if strings.HasPrefix(out.Head, "refs/pull/") && pr.Head.Name != "" {
			out.Head = pr.Head.Name
		}
	}
	if pr.Base != nil {
		out.Base = pr.Base.Ref
	}
	switch {
	case pr.HasMerged:
		out.State, out.MergeCommit = Merged, value(pr.MergedCommitID)
		if pr.MergedBy != nil {
			out.Actor = pr.MergedBy.UserName
		}
	case pr.State == gitea.StateClosed:
		out.State = Closed
	}
	return out
}
