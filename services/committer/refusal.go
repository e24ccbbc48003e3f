package committer

import (
	"errors"
	"net/http"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// refusalOf tells what a host refused for good, and in which words; false for everything else, what may work later included. It
// looks at the protocol only: a branch that was refused after the objects were taken, the status of the answer, an unpack error.
func refusalOf(err error) (what rules.Refusal, words string, ok bool) {
	var refused *git.Refused
	if !errors.As(err, &refused) {
		return "", "", false
	}
	switch refused.What() {
	case git.RefusedBranch:
		return rules.RefusedBranch, refused.Words, true
	case git.RefusedContent:
		if refused.Status == http.StatusRequestEntityTooLarge {
			return rules.RefusedSize, refused.Words, true
		}
		return rules.RefusedContent, refused.Words, true
	case git.RefusedAccess:
	}
	switch refused.Status {
	case http.StatusUnauthorized:
		return rules.RefusedCredentials, refused.Words, true
	case http.StatusNotFound:
		return rules.RefusedRepository, refused.Words, true
	default:
		return rules.RefusedPermission, refused.Words, true
	}
}

// branchRefuses tells whether the branch itself cannot be pushed to, by its protection or a hook, while the host takes the same
// objects: then a pull request may be the way.
func branchRefuses(err error) bool {
	what, _, ok := refusalOf(err)
	return ok && what == rules.RefusedBranch
}
