package rules

import (
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Absent is how a plan says that nothing stands at the path.
const Absent = "absent"

// emptyTree is the id of the tree without entries. Git keeps no empty folders, so it and "nothing there" are the same.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// Request is the part of a command that the fence looks at.
type Request struct {
	// Deployment is the resource name.
	Deployment string
	// RequestID is the idempotency key.
	RequestID string
	// Generation is the one to be written.
	Generation int64
	// RequestTime is when it was asked.
	RequestTime time.Time
	// ExpectBaseTree is the tree that must stand at the path before; empty for any, Absent for none.
	ExpectBaseTree string
	// Claims tells that only the claims of the deployment are to be written; its own commit comes later, by another request.
	Claims bool
}

// Verdict is the fence's decision.
type Verdict int

const (
	// Proceed means that the deployment is to be committed.
	Proceed Verdict = iota
	// Done means that Git holds this very deployment: tell its outcome again.
	Done
	// Superseded means that Git holds a newer generation.
	Superseded
	// Moved means that not the planned tree stands at the path.
	Moved
)

// Fence decides about a request by what Git holds at the tip: state is the environment's state file, nil when there is none,
// and tree is the id at the path, empty when there is nothing.
//
// A removed environment that is made anew begins at its first generation again. It is told from an old command by the time of
// the request: whatever was asked before the removal is superseded by it.
func Fence(r Request, state *State, tree string) Verdict {
	if state != nil {
		switch {
		case state.RequestID == r.RequestID && state.Deployment == r.Deployment:
			return Done
		case state.Deployment == r.Deployment && state.Generation == r.Generation && state.Claims:
			// The deployment's own commit after its claims, or more claims that those before them made possible.
		case r.Claims && state.Deployment == r.Deployment && state.Generation == r.Generation:
			return Done // late: what the claims were for is in Git, and they with it
		case state.Generation >= r.Generation && (!state.Removed || !r.RequestTime.After(state.RequestTime)):
			return Superseded
		}
	}
	if r.ExpectBaseTree != "" && !SameTree(r.ExpectBaseTree, tree) {
		return Moved
	}
	return Proceed
}

// SameTree compares two tree ids, for which Absent, "" and the empty tree are the same.
func SameTree(a, b string) bool { return normal(a) == normal(b) }

func normal(tree string) string {
	if tree == Absent || tree == emptyTree {
		return ""
	}
	return tree
}

// IsForeign tells whether somebody else changed the environment's folder since Towpath wrote the state file. A removed
// environment owns nothing any more.
func IsForeign(state State, tree string) bool {
	return !state.Removed && !SameTree(state.Tree, tree)
}

// PlanMoved is the error for a plan whose promise does not hold; what is "base" or "result".
func PlanMoved(what, expected, found string) error {
	msg := "the folder in Git is not what the plan was made on; plan again"
	if what == "result" {
		msg = "the deployment renders to something else than the plan showed; plan again"
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED, "%s", msg).
		With("moved", what).With("expected_tree", orAbsent(expected)).With("found_tree", orAbsent(found))
}

// SupersededBy is the error for a deployment that a newer one has overtaken.
func SupersededBy(state State) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_SUPERSEDED,
		"%s (generation %d) is in Git already; nothing is to be done", state.Deployment, state.Generation).
		With("deployment", state.Deployment)
}

func orAbsent(tree string) string {
	if normal(tree) == "" {
		return Absent
	}
	return tree
}
