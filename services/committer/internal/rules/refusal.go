package rules

import (
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Refusal is what a Git host refused for good.
type Refusal string

const (
	// RefusedBranch is a branch that nobody, or not Towpath, may push to: it is protected, or a hook says no. A pull request may
	// be the way.
	RefusedBranch Refusal = "branch"
	// RefusedCredentials are credentials that the host does not know (any more).
	RefusedCredentials Refusal = "credentials"
	// RefusedPermission are credentials that may not do this.
	RefusedPermission Refusal = "permission"
	// RefusedRepository is a repository that is not there, or not for these credentials.
	RefusedRepository Refusal = "repository"
	// RefusedSize is a push that the host finds too large.
	RefusedSize Refusal = "size"
	// RefusedContent are objects that the host could not store or did not like.
	RefusedContent Refusal = "content"
)

// remedies say what people can do.
var remedies = map[Refusal]string{
	RefusedBranch:      "allow Towpath's account to push to the branch, change what its protection or hook asks for, or have the repository's changes go by pull request",
	RefusedCredentials: "the host does not accept the repository's credentials; renew them",
	RefusedPermission:  "the host does not let the repository's credentials do this; give their account write access, or a token with that scope",
	RefusedRepository:  "the host has no such repository, or the credentials may not see it; check the repository's address and what the credentials may read",
	RefusedSize:        "the push is larger than the host takes; raise its limit, or make the deployment's files smaller",
	RefusedContent:     "the host could not store what was pushed; look for a full disk, a quota or an object check there",
}

// Remedy says what to do about it.
func (r Refusal) Remedy() string { return remedies[r] }

// Refused is the error for a host's no to a push, or to be read where branch is empty, in its words and with what to do. Words must
// hold no credentials any more.
func Refused(what Refusal, branch, words string) error {
	if words == "" {
		words = "it gives no reason"
	}
	reason := errorsv1.Reason_REASON_PUSH_REFUSED
	if what == RefusedSize {
		reason = errorsv1.Reason_REASON_TOO_LARGE
	}
	asked := "to be read"
	if branch != "" {
		asked = "the push to branch " + branch
	}
	return errs.New(errs.Precondition, reason, "the Git host refused %s: %s; %s", asked, words, what.Remedy()).
		With("host_says", words).With("refused", string(what)).With("remedy", what.Remedy())
}
