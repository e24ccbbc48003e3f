package committer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// pullHead is what stands on the branch of an environment's pull requests.
type pullHead struct {
	tip    git.Hash
	commit git.Commit
	state  *rules.State
	// ours tells that the commit is what Towpath writes and nothing else.
	ours bool
}

// pullAll handles those tasks of a batch that go by pull request, and gives the others. All of them are decided by tips that were
// fetched for them: nothing at the host compares the base with what we think that it is.
func (l *lane) pullAll(ctx context.Context, batch []*task) []*task {
	mine := slices.DeleteFunc(slices.Clone(batch), func(t *task) bool { return t.pull == nil })
	if len(mine) == 0 {
		return batch
	}
	err := l.refresh(ctx)
	for _, t := range mine {
		switch {
		case err != nil:
			l.abort(ctx, []*task{t}, err)
		case t.pull.look:
			if err := l.lookAtPull(ctx, t); err != nil {
				l.abort(ctx, []*task{t}, err)
			}
		default:
			if err := l.proposePull(ctx, t); err != nil {
				l.abort(ctx, []*task{t}, err)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(batch), func(t *task) bool { return t.pull != nil })
}

// proposePull puts the task's commit at the head of its pull request, on top of the base's tip. The swap is against the head's tip
// and not a fast-forward: what stood there was ours and is replaced, or is somebody else's and told of first.
func (l *lane) proposePull(ctx context.Context, t *task) error {
	for attempt := 1; ; attempt++ {
		f, err := l.fold(ctx, []*task{t})
		if err != nil || t.finished || len(f.entries) == 0 {
			return err
		}
		e := f.entries[0]
		before, err := treeAt(ctx, l.remote, l.root, t.cmd.GetPath())
		if err != nil {
			return err
		}
		p := &proposal{commit: e.commit, base: l.tip, state: e.state, before: before, after: t.newTree()}
		if p.unchanged, err = l.needsNoPull(ctx, t, e, before); err != nil {
			return err
		}
		if p.unchanged {
			t.finish(result{outcome: outcome{commit: l.tip, state: e.state, end: time.Now(), pull: p}})
			return nil
		}
		h, err := l.headOf(ctx, t)
		if err != nil {
			return err
		}
		if h.state != nil && h.state.Generation > t.request.Generation && h.state.RequestTime.After(t.request.RequestTime) {
			return rules.SupersededBy(*h.state)
		}
		if !h.tip.IsZero() && !h.ours {
			p.foreign = &h.commit
		}
		err = l.announceForeign(ctx, f)
		if err == nil {
			err = l.moveHead(ctx, t, h, e, f.objs, p)
		}
		switch again, err := l.again(ctx, err, e, t); {
		case err != nil || t.finished:
			return err
		case !again:
			t.finish(result{outcome: outcome{commit: p.commit, state: p.state, pull: p, end: time.Now()}})
			return nil
		}
		pause(ctx, attempt)
		if err := l.refresh(ctx); err != nil {
			return err
		}
	}
}

// again decides what follows a push to a head: true for another attempt. A tree that was put there by its id may be gone at the
// host, and then the task comes again with its files.
func (l *lane) again(ctx context.Context, err error, e *entry, t *task) (bool, error) {
	var refused *git.Refused
	switch {
	case err == nil:
		return false, nil
	case (errors.Is(err, git.ErrMoved) || errors.Is(err, git.ErrUnknown)) && ctx.Err() == nil:
		return true, nil
	case errors.Is(err, git.ErrMoved), errors.Is(err, git.ErrUnknown):
		return false, errBusy(err)
	case errors.As(err, &refused) && refused.Status == 0 && e != nil && e.assigned:
		t.fail(errNeedsBundle)
		return false, nil
	}
	return false, err
}

// needsNoPull tells whether the base has all that the commit would bring but for its generation: then nobody has to look at
// anything. A removal must leave its state file even where nothing stood, else its environment could not begin anew.
func (l *lane) needsNoPull(ctx context.Context, t *task, e *entry, before git.Hash) (bool, error) {
	if !rules.SameTree(treeText(before), e.state.Tree) {
		return false, nil
	}
	state, err := readState(ctx, l.remote, l.root, t.dep)
	if err != nil || state == nil || state.Removed {
		return t.removes(), err
	}
	return !t.removes() && state.Path == e.state.Path && rules.SameTree(state.Tree, e.state.Tree), nil
}

// moveHead pushes the entry's commit to the head, unless what stands there is the same.
func (l *lane) moveHead(ctx context.Context, t *task, h pullHead, e *entry, objs *git.ObjectSet, p *proposal) error {
	if !h.tip.IsZero() {
		root, err := l.rootOf(ctx, objs, e.commit)
		if err != nil {
			return err
		}
		if h.commit.Tree == root && slices.Equal(h.commit.Parents, parents(l.tip)) {
			p.commit, p.foreign = h.tip, nil // an earlier attempt put it there; a signature may differ
			return nil
		}
	}
	if p.foreign != nil { // the text of the pull request tells it to everybody
		l.log.Warn("a commit of somebody else at the head of a pull request is replaced", "head", t.pull.head,
			"commit", p.foreign.Hash.String(), "author", p.foreign.Author.Name)
	}
	return l.pushHead(ctx, t.pull.head, h.tip, e.commit, objs)
}

func (l *lane) pushHead(ctx context.Context, branch string, old, tip git.Hash, objs *git.ObjectSet) error {
	start := time.Now()
	err := l.remote.Push(ctx, branch, old, tip, objs)
	l.budget.Spend(l.svc.clock.now())
	l.svc.metrics.pushed(pushResult(err), 0, time.Since(start))
	l.svc.health.pushed(ctx, l, git.ZeroHash, time.Since(start), err)
	if err == nil {
		l.log.Info("pushed", "head", branch, "commit", tip.String())
	}
	return err
}

func (l *lane) rootOf(ctx context.Context, objs *git.ObjectSet, commit git.Hash) (git.Hash, error) {
	c, err := objs.Over(l.remote).Commit(ctx, commit)
	return c.Tree, err
}

func parents(tip git.Hash) []git.Hash {
	if tip.IsZero() {
		return nil
	}
	return []git.Hash{tip}
}

// headOf fetches the head of a task's pull request and tells whose it is.
func (l *lane) headOf(ctx context.Context, t *task) (pullHead, error) {
	var h pullHead
	var err error
	if h.tip, err = l.remote.Fetch(ctx, t.pull.head); err != nil || h.tip.IsZero() {
		return h, err
	}
	if h.commit, err = l.remote.Commit(ctx, h.tip); err != nil {
		return h, fmt.Errorf("read the head: %w", err)
	}
	h.state, err = readState(ctx, l.remote, h.commit.Tree, t.dep)
	if permanent(err) && !errors.Is(err, git.ErrMissing) { // somebody has made the state file unreadable: it is not ours
		h.state, err = nil, nil
	}
	if err != nil {
		return h, err
	}
	if h.tip == t.pull.known {
		h.ours = true
		return h, nil
	}
	h.ours, err = l.isOurs(ctx, h, t)
	return h, err
}

// isOurs tells whether a commit is what Towpath writes on top of one of its parents and nothing else. A host's button that brings a
// branch up to date makes such a commit too, by a merge; a reviewer's fix is none.
func (l *lane) isOurs(ctx context.Context, h pullHead, t *task) (bool, error) {
	if valid := h.state != nil && git.ValidatePath(h.state.Path) == nil; !valid {
		return false, nil
	}
	tree, err := treeAt(ctx, l.remote, h.commit.Tree, h.state.Path)
	if err != nil || !rules.SameTree(treeText(tree), h.state.Tree) {
		return false, err
	}
	for _, parent := range h.commit.Parents {
		p, err := l.remote.Commit(ctx, parent)
		if errors.Is(err, git.ErrMissing) {
			continue
		}
		if err != nil {
			return false, err
		}
		before, err := readState(ctx, l.remote, p.Tree, t.dep)
		if err != nil {
			return false, err
		}
		if before != nil && before.RequestID == h.state.RequestID && before.Deployment == h.state.Deployment {
			continue // on top of ours: it would be the same whatever it changes in our folder
		}
		root, err := git.Splice(ctx, l.remote, git.NewObjectSet(), p.Tree, l.moved(*h.state, tree, before))
		if err != nil || root == h.commit.Tree {
			return err == nil, err
		}
	}
	return len(h.commit.Parents) == 0 && l.tip.IsZero(), nil
}

// moved are the changes that put a state and its tree onto another base.
func (l *lane) moved(state rules.State, tree git.Hash, before *rules.State) []git.Change {
	var changes []git.Change
	if before != nil && !before.Removed && before.Path != state.Path && git.ValidatePath(before.Path) == nil {
		changes = append(changes, git.Change{Path: before.Path, Delete: true})
	}
	if tree.IsZero() {
		changes = append(changes, git.Change{Path: state.Path, Delete: true})
	} else {
		changes = append(changes, git.Change{Path: state.Path, Subtree: &tree})
	}
	dep, _ := rules.ParseDeployment(state.Deployment) // it is in a state file that was read under this name
	return append(changes, git.Change{Path: dep.StatePath(), File: rules.EncodeState(state)})
}

// lookAtPull decides what became of an open pull request: the base's state file tells, whichever way it was merged. One that is
// still open is put onto the base's tip, unless somebody else's commit is at its head: that one stays.
func (l *lane) lookAtPull(ctx context.Context, t *task) error {
	state, err := readState(ctx, l.remote, l.root, t.dep)
	if err != nil {
		return err
	}
	before, err := treeAt(ctx, l.remote, l.root, t.cmd.GetPath())
	if err != nil {
		return err
	}
	switch rules.Fence(t.request, state, treeText(before)) {
	case rules.Done:
		return l.mergedPull(ctx, t, *state)
	case rules.Superseded:
		return l.superseded(ctx, t, *state)
	}
	h, err := l.headOf(ctx, t)
	if err != nil {
		return err
	}
	p := &proposal{base: l.tip, before: before, commit: h.tip}
	switch {
	case h.tip.IsZero():
	case !h.ours:
		p.foreign = &h.commit
	case h.state.RequestID != t.request.RequestID || h.state.Deployment != t.request.Deployment:
		p.taken = true
	case slices.Contains(h.commit.Parents, l.tip):
		p.state = *h.state
	default:
		if p.commit, p.state, err = l.resplice(ctx, t, h, state, before); err != nil {
			return err
		}
	}
	t.finish(result{outcome: outcome{commit: p.commit, state: p.state, pull: p, end: time.Now()}})
	return nil
}

// resplice makes the same change anew on the base's tip. A head that moved meanwhile is looked at the next time.
func (l *lane) resplice(ctx context.Context, t *task, h pullHead, before *rules.State, base git.Hash) (git.Hash, rules.State, error) {
	state := *h.state
	tree, err := treeAt(ctx, l.remote, h.commit.Tree, state.Path)
	if err != nil {
		return h.tip, state, err
	}
	state.Unchanged = base == tree
	if state.FilesChanged, err = countChanges(ctx, l.remote, base, tree); err != nil {
		return h.tip, state, err
	}
	objs := git.NewObjectSet()
	root, err := git.Splice(ctx, objs.Over(l.remote), objs, l.root, l.moved(state, tree, before))
	if err != nil {
		return h.tip, state, fmt.Errorf("splice %s onto the base: %w", state.Path, err)
	}
	commit, err := l.headCommit(ctx, objs, t, root)
	if err != nil {
		return h.tip, state, err
	}
	err = l.pushHead(ctx, t.pull.head, h.tip, commit, objs)
	if errors.Is(err, git.ErrMoved) || errors.Is(err, git.ErrUnknown) {
		l.log.Info("the head of a pull request moved; it is looked at again", "head", t.pull.head, "error", err)
		return h.tip, state, nil
	}
	if err == nil {
		l.svc.failpoint("head_respliced")
	}
	return commit, state, err
}

// headCommit makes the commit of a head anew on the base's tip.
func (l *lane) headCommit(ctx context.Context, objs *git.ObjectSet, t *task, root git.Hash) (git.Hash, error) {
	spec := l.commitSpec(t, l.tip, root)
	if err := l.sign(ctx, &fold{}, &spec); err != nil {
		return git.ZeroHash, err
	}
	return git.NewCommit(objs, spec)
}

// mergedPull finishes a task whose request is in the base. What stands at the tip counts: reviewers may have changed the tree in the
// merge, or on the branch before it, and then that is what they let in.
func (l *lane) mergedPull(ctx context.Context, t *task, state rules.State) error {
	at := l.tip
	now, err := treeAt(ctx, l.remote, l.root, state.Path)
	if err != nil {
		return err
	}
	if rules.SameTree(treeText(now), state.Tree) {
		found, _, err := l.findCommit(ctx, t, 1)
		if err != nil {
			return err
		}
		if !found.Hash.IsZero() {
			at = found.Hash
		}
	} else if !state.Removed {
		state.Tree = treeText(now)
		if now.IsZero() {
			state.Tree = git.EmptyTree.String()
		}
		state.SHA256 = "" // that of the bundle, which this is not
	}
	t.finish(result{outcome: outcome{commit: at, state: state, end: time.Now()}})
	return nil
}
