// Package forge speaks with the services around Git hosts: GitHub, GitLab, and Gitea or Forgejo. It knows pull requests (merge
// requests at GitLab), branch protection and webhooks, and nothing of Towpath.
//
// What belongs here: one file per service over its maintained SDK, and what they have in common. What does not: Git itself
// (internal/git), and decisions about deployments (services/committer). Errors are of internal/errs and hold the service's
// words, never a token.
package forge

import (
	"context"
	"net/http"
	"time"
)

// Kind is whose API a service speaks.
type Kind string

// The kinds.
const (
	GitHub Kind = "github"
	GitLab Kind = "gitlab"
	Gitea  Kind = "gitea" // and Forgejo
)

// Config says which project of which service, and as whom.
type Config struct {
	// Kind is whose API it speaks.
	Kind Kind
	// URL is the service's base, such as https://git.example.com. Its API's path is the package's to know.
	URL string
	// Project is the project's path within the service, such as team/deployments.
	Project string
	// Token gives the API token. It is asked at each use, so that it may be renewed; no error of this package holds it.
	Token func(ctx context.Context) (string, error)
	// HTTPClient is for tests and proxies; a client with a timeout by default.
	HTTPClient *http.Client
}

// State is where a pull request is.
type State int

// The states.
const (
	Open State = iota + 1
	Merged
	Closed // without a merge
)

// PullRequest is what a service says of one.
type PullRequest struct {
	// Number is its number within the project.
	Number int64
	// URL is its address for a browser.
	URL string
	// Head and Base are the branches that it comes from and goes to.
	Head, Base string
	// HeadCommit is the commit at its head as the service knows it, hex.
	HeadCommit string
	// State is where it is.
	State State
	// MergeCommit is what the base became by the merge, hex; empty where the service does not say.
	MergeCommit string
	// Actor is who merged or closed it; empty where the service does not say.
	Actor string
	// Time is when it was merged or closed, else when it was last changed.
	Time time.Time
	// WaitsFor says for a person what it waits for: approvals, checks, conflicts. Empty when it can be merged or nobody knows.
	WaitsFor string
	// Title and Body are its text.
	Title, Body string
}

// Proposal is the text and the surroundings of a pull request.
type Proposal struct {
	// Head and Base are branches of the project.
	Head, Base string
	// Title is one line, Body is Markdown.
	Title, Body string
	// Labels are made where they do not exist.
	Labels []string
	// Reviewers are users, or teams as "team:name". Those that the service does not know are left out and told in Warnings.
	Reviewers []string
}

// MergeMethod is how a pull request is merged.
type MergeMethod string

// The methods.
const (
	MergeCommit MergeMethod = "merge"
	Squash      MergeMethod = "squash"
	Rebase      MergeMethod = "rebase"
)

// Merge says how a pull request is to be merged.
type Merge struct {
	Method MergeMethod
	// HeadCommit is the commit that was seen; a service that finds another one refuses with errs.Conflict.
	HeadCommit string
	// Title and Body of the commit, where one is made.
	Title, Body string
}

// Access is what the token may do with the project and what the service demands of a branch.
type Access struct {
	// Login is whom the service takes us for.
	Login string
	// Read, Push and Pull tell whether the token may read, push and open pull requests.
	Read, Push, Pull bool
	// Protected tells that the branch refuses at least some pushes, and Why by which rule, for a person.
	Protected bool
	Why       string
	// Barred tells that the branch certainly refuses pushes of the token's user; false where nobody can tell.
	Barred bool
	// Approvals is how many approvals the branch demands; 0 for none or where nobody can tell.
	Approvals int
	// DefaultBranch of the project.
	DefaultBranch string
	// Webhooks are the addresses that are told of pushes; nil where the token may not see them.
	Webhooks []string
}
