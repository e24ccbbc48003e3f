package committer

import (
	"bytes"
	"context"
	"errors"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// maxStates is how many versions of a state file are looked at for one that can be believed.
const maxStates = 20

// remember notes what Towpath wrote last for a place, as far as this process knows. It is a memory, not a decision: it
// finds out that somebody set the branch back, or edited or removed a state file.
func (l *lane) remember(place string, state rules.State) { l.wrote[place] = state }

// undone gives what Towpath wrote where the tip no longer says so; now is the environment's state file, nil for none.
func (l *lane) undone(place string, now *rules.State) (rules.State, bool) {
	wrote, ok := l.wrote[place]
	return wrote, ok && rules.Undone(wrote, now)
}

// scanUndone tells of environments whose state file does not say what Towpath wrote.
func (l *lane) scanUndone(ctx context.Context) error {
	for place := range l.wrote {
		var now *rules.State
		if s, ok := l.index.states[place]; ok {
			now = &s
		}
		wrote, undone := l.undone(place, now)
		if !undone {
			continue
		}
		found, err := treeAt(ctx, l.remote, l.root, wrote.Path)
		if err != nil {
			return err
		}
		if err := l.tellUndone(ctx, place, wrote, found); err != nil {
			return err
		}
	}
	return nil
}

// tellUndone publishes that a state file is not what Towpath wrote, or, where the folder is not either, that.
func (l *lane) tellUndone(ctx context.Context, place string, wrote rules.State, found git.Hash) error {
	f := finding{path: wrote.Path, expected: wrote.Tree, found: found}
	if !rules.IsForeign(wrote, treeText(found)) {
		dep, err := rules.ParseDeployment(wrote.Deployment)
		if err != nil {
			return err
		}
		dep.Part = wrote.Part
		f.path = dep.StatePath()
	}
	if l.told(place, f) != nil {
		return nil
	}
	return l.tellForeign(ctx, l.foreignCommit(ctx, place, f))
}

// stateOf gives what Towpath wrote last for the task's environment: what the state file says, unless somebody removed it, edited
// it or set it back. Then it is what this process remembers, or what the file's history says; and a state file that nobody can
// make sense of counts as none, so that it stops nobody for ever.
func (l *lane) stateOf(ctx context.Context, f *fold, t *task) (*rules.State, error) {
	place := t.dep.PlaceName()
	state, err := readState(ctx, f.reader, f.root, t.dep)
	unreadable := err != nil && isStateFile(err)
	if err != nil && !unreadable {
		return nil, err
	}
	if f.wrote[place] { // by this very fold
		return state, nil
	}
	wrote, undone := l.undone(place, state)
	switch {
	case undone:
	case unreadable, state != nil && rules.Suspicious(t.request, *state):
		if !l.fresh {
			return nil, errStale
		}
		older, err := l.believable(ctx, t.dep, state)
		if err != nil || older == nil {
			return state, err
		}
		wrote = *older
	default:
		return state, nil
	}
	if !l.fresh {
		return nil, errStale
	}
	found, err := treeAt(ctx, f.reader, f.root, wrote.Path)
	if err != nil {
		return nil, err
	}
	l.remember(place, wrote)
	return &wrote, l.tellUndone(ctx, place, wrote, found)
}

// believable looks in the history of a state file for what Towpath wrote: the oldest version of the same request, which is
// another one only when somebody edited it; for an unreadable file the newest readable version. Nil when there is none.
func (l *lane) believable(ctx context.Context, dep rules.Deployment, now *rules.State) (*rules.State, error) {
	commits, _, err := git.ListCommits(ctx, l.remote, l.tip, git.ListOptions{Path: dep.StatePath(), Limit: maxStates, Scan: maxBlame})
	if errors.Is(err, git.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var best *rules.State
	for _, c := range commits {
		s, err := readState(ctx, l.remote, c.Tree, dep)
		switch {
		case err != nil && outage(err):
			return nil, err
		case err != nil || s == nil:
		case now == nil:
			return s, nil
		case s.Deployment == now.Deployment && s.RequestID == now.RequestID && s.Decided == now.Decided:
			best = s
		}
	}
	if best != nil && now != nil && bytes.Equal(rules.EncodeState(*best), rules.EncodeState(*now)) {
		return nil, nil
	}
	return best, nil
}

// forgetForeign drops what was told of the places that were written, after a write of Towpath.
func (l *lane) forgetForeign(e *entry) {
	for _, w := range e.written() {
		if e.tasks[0].decision.GetDecision() != eventsv1.ForeignDecision_DECISION_OVERWRITE {
			delete(l.reported, w.dep.PlaceName())
		}
		l.remember(w.dep.PlaceName(), w.state)
	}
}
