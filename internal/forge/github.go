package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v75/github"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// githubService is GitHub, GitHub Enterprise Cloud with data residency, or GitHub Enterprise Server, over
// https://github.com/google/go-github.
type githubService struct {
	api         *github.Client
	owner, name string
	graph       string // address of the GraphQL API, which alone knows merging later
}

// dialGitHub finds the API's address: a host of its own at GitHub's, a path at a server of one's own.
// https://docs.github.com/en/enterprise-server@3.17/rest/using-the-rest-api/getting-started-with-the-rest-api
func dialGitHub(_ context.Context, c *Client) (service, error) {
	rest, graph := c.base.JoinPath("api", "v3"), c.base.JoinPath("api", "graphql")
	switch host := strings.TrimPrefix(c.base.Hostname(), "www."); {
	case host == "github.com" || strings.HasSuffix(host, ".ghe.com"):
		if !strings.HasPrefix(host, "api.") {
			host = "api." + host
		}
		rest, graph = &url.URL{Scheme: c.base.Scheme, Host: host, Path: "/"}, &url.URL{Scheme: c.base.Scheme, Host: host, Path: "/graphql"}
	case host == "api.github.com":
		rest, graph = &url.URL{Scheme: c.base.Scheme, Host: host, Path: "/"}, &url.URL{Scheme: c.base.Scheme, Host: host, Path: "/graphql"}
	}
	if !strings.HasSuffix(rest.Path, "/") {
		rest.Path += "/"
	}
	api := github.NewClient(c.http)
	api.BaseURL, api.UploadURL = rest, rest
	return githubService{api: api, owner: c.owner(), name: c.name(), graph: graph.String()}, nil
}

func (g githubService) find(ctx context.Context, head, base string) (*PullRequest, error) {
	prs, _, err := g.api.PullRequests.List(ctx, g.owner, g.name, &github.PullRequestListOptions{
		State: "open", Head: g.owner + ":" + head, Base: base, ListOptions: github.ListOptions{PerPage: 100},
	})
	if err != nil {
		return nil, err
	}
	for _, pr := range prs {
		// A head that GitHub cannot make sense of gives all pull requests instead of none.
		if pr.GetHead().GetRef() == head && pr.GetHead().GetRepo().GetID() == pr.GetBase().GetRepo().GetID() {
			return fromGitHub(pr), nil
		}
	}
	return nil, nil
}

func (g githubService) create(ctx context.Context, p Proposal) (*PullRequest, []string, error) {
	pr, _, err := g.api.PullRequests.Create(ctx, g.owner, g.name, &github.NewPullRequest{
		Title: &p.Title, Body: &p.Body, Head: &p.Head, Base: &p.Base,
	})
	if err != nil {
		return nil, nil, err
	}
	return fromGitHub(pr), append(g.label(ctx, pr, p.Labels), g.ask(ctx, pr, p.Reviewers)...), nil
}

func (g githubService) update(ctx context.Context, number int64, p Proposal) ([]string, error) {
	pr, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(number))
	if err != nil {
		return nil, err
	}
	if pr.GetTitle() != p.Title || pr.GetBody() != p.Body {
		if _, _, err := g.api.PullRequests.Edit(ctx, g.owner, g.name, int(number), &github.PullRequest{Title: &p.Title, Body: &p.Body}); err != nil {
			return nil, err
		}
	}
	return append(g.label(ctx, pr, p.Labels), g.ask(ctx, pr, p.Reviewers)...), nil
}

func (g githubService) get(ctx context.Context, number int64) (*PullRequest, error) {
	pr, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(number))
	if err != nil {
		return nil, err
	}
	out := fromGitHub(pr)
	if out.State == Open {
		out.WaitsFor, err = g.waitsFor(ctx, pr)
	}
	return out, err
}

func (g githubService) shut(ctx context.Context, number int64, comment string) error {
	pr, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(number))
	if err != nil || pr.GetState() == "closed" {
		return err
	}
	closed := "closed"
	if _, _, err := g.api.PullRequests.Edit(ctx, g.owner, g.name, int(number), &github.PullRequest{State: &closed}); err != nil {
		return err
	}
	if comment == "" {
		return nil
	}
	_, _, err = g.api.Issues.CreateComment(ctx, g.owner, g.name, int(number), &github.IssueComment{Body: &comment})
	return onlyRefused(ctx, err, http.StatusForbidden)
}

// merge looks first: GitHub lets an administrator's token merge over the branch's protection.
func (g githubService) merge(ctx context.Context, number int64, m Merge) error {
	pr, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(number))
	if err != nil {
		return err
	}
	if pr.GetState() == "open" && (m.HeadCommit == "" || pr.GetHead().GetSHA() == m.HeadCommit) {
		why, err := g.waitsFor(ctx, pr)
		if err != nil {
			return err
		}
		if why != "" {
			return errWaits{why}
		}
	}
	_, _, err = g.api.PullRequests.Merge(ctx, g.owner, g.name, int(number), m.Body, &github.PullRequestOptions{
		CommitTitle: m.Title, SHA: m.HeadCommit, MergeMethod: string(m.Method),
	})
	return err
}

const enableAutoMerge = `mutation($id: ID!, $method: PullRequestMergeMethod!, $head: GitObjectID, $title: String, $body: String) {
  enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $method, expectedHeadOid: $head, commitHeadline: $title, commitBody: $body}) {
    clientMutationId
  }
}`

// schedule switches auto-merge on, which only GraphQL can: https://docs.github.com/graphql/reference/mutations#enablepullrequestautomerge
func (g githubService) schedule(ctx context.Context, number int64, m Merge) error {
	pr, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(number))
	if err != nil {
		return err
	}
	if pr.AutoMerge != nil {
		return nil
	}
	variables := map[string]any{"id": pr.GetNodeID(), "method": strings.ToUpper(string(m.Method))}
	for name, v := range map[string]string{"head": m.HeadCommit, "title": m.Title, "body": m.Body} {
		if v != "" {
			variables[name] = v
		}
	}
	req, err := g.api.NewRequest("POST", g.graph, map[string]any{"query": enableAutoMerge, "variables": variables})
	if err != nil {
		return err
	}
	var answer struct{ Errors []struct{ Message string } }
	if _, err := g.api.Do(ctx, req, &answer); err != nil {
		return err
	}
	if len(answer.Errors) > 0 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"GitHub does not merge it later (%s); allow auto-merge in the settings of the project", cut(answer.Errors[0].Message, maxWords, "..."))
	}
	return nil
}

func (g githubService) deleteBranch(ctx context.Context, branch string) error {
	_, err := g.api.Git.DeleteRef(ctx, g.owner, g.name, "heads/"+branch)
	var refused *github.ErrorResponse
	if errors.As(err, &refused) && strings.Contains(refused.Message, "Reference does not exist") {
		excuse(ctx, err)
		return nil
	}
	return err
}

// label adds labels that are missing; GitHub makes those that the project does not have.
// https://docs.github.com/rest/issues/labels#add-labels-to-an-issue
func (g githubService) label(ctx context.Context, pr *github.PullRequest, labels []string) []string {
	has := map[string]bool{}
	for _, l := range pr.Labels {
		has[strings.ToLower(l.GetName())] = true
	}
	missing := without(labels, has)
	if len(missing) == 0 {
		return nil
	}
	if _, _, err := g.api.Issues.AddLabelsToIssue(ctx, g.owner, g.name, pr.GetNumber(), missing); err != nil {
		return []string{fmt.Sprintf("the labels %s could not be set: %s", strings.Join(missing, ", "), excuse(ctx, err))}
	}
	return nil
}

// ask asks those to review who have neither been asked nor reviewed. One at a time: a single name that GitHub does not know
// fails the whole request.
func (g githubService) ask(ctx context.Context, pr *github.PullRequest, names []string) (warnings []string) {
	asked := map[string]bool{strings.ToLower(pr.GetUser().GetLogin()): false}
	for _, u := range pr.RequestedReviewers {
		asked[strings.ToLower(u.GetLogin())] = true
	}
	for _, t := range pr.RequestedTeams {
		asked[team+strings.ToLower(t.GetSlug())] = true
	}
	if len(without(names, asked)) == 0 {
		return nil
	}
	reviews, _, err := g.api.PullRequests.ListReviews(ctx, g.owner, g.name, pr.GetNumber(), &github.ListOptions{PerPage: 100})
	if err != nil {
		excuse(ctx, err)
	}
	for _, r := range reviews {
		asked[strings.ToLower(r.GetUser().GetLogin())] = true
	}
	for _, name := range without(names, asked) {
		var r github.ReviewersRequest
		r.Reviewers, r.TeamReviewers = reviewers([]string{name})
		if _, _, err := g.api.PullRequests.RequestReviewers(ctx, g.owner, g.name, pr.GetNumber(), r); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s could not be asked to review: %s", name, excuse(ctx, err)))
		}
	}
	return warnings
}

// waitsFor goes by GitHub's own judgement. Only for "blocked", which does not say by what, the rules and reviews are read.
// https://docs.github.com/graphql/reference/enums#mergestatestatus
func (g githubService) waitsFor(ctx context.Context, pr *github.PullRequest) (string, error) {
	base := pr.GetBase().GetRef()
	switch pr.GetMergeableState() {
	case "clean", "has_hooks", "unstable":
		return "", nil
	case "dirty":
		return "a conflict with " + base, nil
	case "behind":
		return "its branch, which must be brought up to date with " + base, nil
	case "draft":
		return "somebody who takes it out of draft", nil
	case "blocked":
		return g.blockedBy(ctx, pr)
	default: // unknown: GitHub computes it when somebody asks, and says so the next time
		return "the service's check for conflicts", nil
	}
}

func (g githubService) blockedBy(ctx context.Context, pr *github.PullRequest) (string, error) {
	want, checks, err := g.rules(ctx, pr.GetBase().GetRef())
	if err != nil {
		return "", err
	}
	reviews, _, err := g.api.PullRequests.ListReviews(ctx, g.owner, g.name, pr.GetNumber(), &github.ListOptions{PerPage: 100})
	if err != nil {
		return "", err
	}
	last := map[string]string{} // only a person's last word counts
	for _, r := range reviews {
		if s := r.GetState(); s == "APPROVED" || s == "CHANGES_REQUESTED" || s == "DISMISSED" {
			last[r.GetUser().GetLogin()] = s
		}
	}
	have, rejected := 0, ""
	for name, state := range last {
		switch state {
		case "APPROVED":
			have++
		case "CHANGES_REQUESTED":
			rejected = "the changes that " + name + " asked for"
		}
	}
	missing := waits(approvals(have, want), rejected)
	if missing == "" && len(checks) > 0 {
		missing = "checks (" + strings.Join(checks, ", ") + ")"
	}
	if missing == "" {
		missing = "approvals or checks that " + pr.GetBase().GetRef() + " demands"
	}
	return missing, nil
}

func fromGitHub(pr *github.PullRequest) *PullRequest {
	out := &PullRequest{
		Number: int64(pr.GetNumber()), URL: pr.GetHTMLURL(), State: Open, Title: pr.GetTitle(), Body: pr.GetBody(),
		Head: pr.GetHead().GetRef(), HeadCommit: pr.GetHead().GetSHA(), Base: pr.GetBase().GetRef(),
		Time: first(pr.MergedAt.GetTime(), pr.ClosedAt.GetTime(), pr.UpdatedAt.GetTime(), pr.CreatedAt.GetTime()),
	}
	switch {
	case pr.GetMerged() || pr.MergedAt != nil:
		// Before the merge, the same field names GitHub's own trial of it.
		out.State, out.MergeCommit, out.Actor = Merged, pr.GetMergeCommitSHA(), pr.GetMergedBy().GetLogin()
	case pr.GetState() == "closed":
		out.State = Closed
	}
	return out
}
