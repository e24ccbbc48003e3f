package rules

// Allows tells whether somebody decided that the foreign tree, empty when nothing is there, may be written over.
func Allows(s State, tree string) bool { return s.Allowed != "" && SameTree(s.Allowed, tree) }

// OrAbsent is a tree id for state files and trailers, where empty would mean that nothing is said.
func OrAbsent(tree string) string { return orAbsent(tree) }

// Undone tells whether the state file at the tip, nil when there is none, is not what Towpath wrote last: it was removed, its
// generation was edited, or the branch was set back to before it. A later state, whoever wrote it, undoes nothing.
func Undone(wrote State, now *State) bool {
	switch {
	case wrote.Removed:
		return false
	case now == nil:
		return true
	case wrote.Deployment == now.Deployment && wrote.RequestID == now.RequestID:
		return wrote.Generation != now.Generation || wrote.Path != now.Path
	default:
		return now.Generation < wrote.Generation && now.RequestTime.Before(wrote.RequestTime)
	}
}

// Suspicious tells whether a state file would end the request as superseded although its own request came before: either the
// request is a late copy, or somebody edited the generation.
func Suspicious(r Request, s State) bool {
	return !s.Removed && s.Generation >= r.Generation && s.RequestTime.Before(r.RequestTime) && s.Deployment != r.Deployment
}

// DecisionVerdict says what is to be done about a decision on a foreign change.
type DecisionVerdict int

const (
	// DecisionStands means that it is to be carried out.
	DecisionStands DecisionVerdict = iota
	// DecisionDone means that it was.
	DecisionDone
	// DecisionMoot means that the folder is as Towpath wrote it.
	DecisionMoot
	// DecisionOutrun means that another foreign tree stands there than the decision is about.
	DecisionOutrun
)

// Decide judges a decision, by its request id, on the tree that it is about, by what Git holds at the tip: the environment's state
// and the tree at the path. Empty trees mean that nothing is there.
func Decide(s State, requestID, path, about, tree string) DecisionVerdict {
	switch {
	case s.Decided == requestID:
		return DecisionDone
	case s.Path == path && !IsForeign(s, tree):
		return DecisionMoot
	case !SameTree(about, tree):
		return DecisionOutrun
	default:
		return DecisionStands
	}
}
