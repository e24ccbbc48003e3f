package committer

import "github.com/towpath-dev/towpath/internal/git"

// Putting a tree somewhere that the remote has already is one entry in the folder above it: the files are not sent again, not even
// compared. That is what a rollback, a promotion that renders to the same, a copy of an environment and a move are.

// assignable reports whether a rendered bundle need not be sent: its tree is known to have been on the remote. It asks nobody, because
// an ordinary deployment makes a tree that nobody has. A remote that has dropped it since refuses the push, and the files are sent.
func (t *task) assignable(r git.Reader) bool {
	return t.bundle != nil && !t.whole && !t.claims() && git.Holds(r, t.newTree())
}

// assign puts the task's tree at the path by its id alone.
func assign(path string, t *task, e *entry) []git.Change {
	tree := t.newTree()
	e.assigned = true
	return []git.Change{{Path: path, Subtree: &tree}}
}
