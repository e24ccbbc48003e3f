package committer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// errStale means that the fence would say no, but the tip was not fetched for this decision: fetch and ask again.
var errStale = errors.New("the decision needs a fresh tip")

// foldBytes is where a fold ends before its push could become too large; what is left goes into the next one.
const foldBytes = git.MaxPush / 2

// fold is one push in preparation: a chain of commits on the known tip, in memory.
type fold struct {
	tip, root git.Hash
	objs      *git.ObjectSet
	reader    git.Reader
	entries   []*entry
	byRequest map[string]*entry
	owners    rules.Owners
	// wrote are the environments whose state file is this fold's own.
	wrote map[string]bool
	// rest is what did not fit any more.
	rest []*task
	// sign is set with the first commit that is to be signed.
	sign signature
}

// entry is one commit of a fold.
type entry struct {
	// tasks are the deployment and duplicates of its command.
	tasks  []*task
	commit git.Hash
	state  rules.State
	// assigned tells that the tree was put there by its id alone, trusting that the remote has it.
	assigned bool
	foreign  *eventsv1.ForeignCommit
	// spread is what the commit does at several places; nil for a deployment that has one.
	spread *spreadEntry
}

// fold builds the commits for the tasks. Tasks that need none, or may not have one, get their result at once. An error is
// about the repository and not about any task.
func (l *lane) fold(ctx context.Context, tasks []*task) (*fold, error) {
	f := &fold{tip: l.tip, root: l.root, objs: git.NewObjectSet(), byRequest: map[string]*entry{}}
	f.reader = f.objs.Over(l.remote)
	for i, t := range tasks {
		if f.objs.Bytes() > foldBytes {
			f.rest = tasks[i:]
			break
		}
		if t.finished {
			continue
		}
		if e := f.byRequest[t.foldKey()]; e != nil {
			e.tasks = append(e.tasks, t)
			continue
		}
		err := l.add(ctx, f, t)
		switch {
		case err == nil:
		case errors.Is(err, errNeedsBundle):
			t.fail(err)
		case isForeign(err):
			l.hold(t, err)
		case errors.Is(err, errStale) || outage(err):
			return nil, err
		case errors.Is(err, git.ErrMissing) || !permanent(err):
			// What one folder is like must not stop the others; but what this lane knows may be wrong.
			l.suspect = true
			t.fail(internal(err))
		case !l.fresh:
			return nil, errStale
		default:
			t.fail(err)
		}
	}
	return f, nil
}

// add puts one deployment on top of the fold, or finishes it without.
func (l *lane) add(ctx context.Context, f *fold, t *task) error {
	if t.decision != nil {
		return l.addDecision(ctx, f, t)
	}
	if t.group != nil {
		return l.addGroup(ctx, f, t)
	}
	state, err := l.stateOf(ctx, f, t)
	if err != nil {
		return err
	}
	base, err := treeAt(ctx, f.reader, f.root, t.cmd.GetPath())
	if err != nil {
		return err
	}
	verdict := rules.Fence(t.request, state, treeText(base))
	if err := l.refuseWithdrawn(t, verdict); err != nil {
		return err
	}
	switch verdict {
	case rules.Done:
		return l.done(ctx, t, *state)
	case rules.Superseded:
		return l.superseded(ctx, t, *state)
	case rules.Moved:
		return rules.PlanMoved("base", t.cmd.GetExpectBaseTree(), treeText(base))
	}
	if err := errors.Join(l.index.owners.Check(t.dep.EnvironmentName(), t.cmd.GetPath()),
		f.owners.Check(t.dep.EnvironmentName(), t.cmd.GetPath())); err != nil {
		return err
	}
	return l.write(ctx, f, t, state, base)
}

// write makes the commit.
func (l *lane) write(ctx context.Context, f *fold, t *task, before *rules.State, base git.Hash) error {
	e := &entry{tasks: []*task{t}}
	change, err := l.change(ctx, f, t, e)
	if err != nil {
		return err
	}
	if err := t.checkPromises(); err != nil {
		return err
	}
	if err := l.foreignChange(ctx, f, t, before, base, e); err != nil {
		return err
	}
	changes := append(l.leave(t, before), change...)
	root, err := git.Splice(ctx, f.reader, f.objs, f.root, changes)
	if err != nil {
		return fmt.Errorf("splice %s: %w", t.cmd.GetPath(), err)
	}
	if t.claims() {
		if t.union, err = treeAt(ctx, f.reader, root, t.cmd.GetPath()); err != nil {
			return err
		}
	}
	tree := t.newTree()
	e.state = withForeign(newState(t), e.state)
	e.state.Unchanged = base == tree
	if e.state.FilesChanged, err = countChanges(ctx, f.reader, base, tree); err != nil {
		return err
	}
	root, err = git.Splice(ctx, f.reader, f.objs, root,
		[]git.Change{{Path: t.dep.StatePath(), File: rules.EncodeState(e.state)}})
	if err != nil {
		return fmt.Errorf("splice the state file: %w", err)
	}
	spec := l.commitSpec(t, f.tip, root)
	if err := l.sign(ctx, f, &spec); err != nil {
		return err
	}
	if e.commit, err = git.NewCommit(f.objs, spec); err != nil {
		return err
	}
	f.tip, f.root = e.commit, root
	f.entries = append(f.entries, e)
	f.byRequest[t.foldKey()] = e
	f.note(e)
	if !t.removes() {
		f.owners.Set(t.dep.EnvironmentName(), t.cmd.GetPath())
	}
	return nil
}

// change gives the edit of the environment's folder.
func (l *lane) change(ctx context.Context, f *fold, t *task, e *entry) ([]git.Change, error) {
	path := t.cmd.GetPath()
	switch {
	case t.removes():
		return []git.Change{{Path: path, Delete: true}}, nil
	case t.claims() && t.bundle != nil:
		return beside(path, t.bundle.files), nil
	case t.bundle != nil && len(t.bundle.files) == 0:
		return []git.Change{{Path: path, Delete: true}}, nil
	case t.bundle != nil:
		return []git.Change{{Path: path, Files: t.bundle.files}}, nil
	case !t.restores():
		return nil, errNeedsBundle
	}
	tree := t.newTree()
	if !tree.IsZero() {
		_, err := f.reader.Tree(ctx, tree)
		switch {
		case err == nil:
		case outage(err):
			return nil, err
		default:
			// Git no longer has it, or what it has is no tree.
			return nil, errNeedsBundle
		}
	}
	e.assigned = true
	return []git.Change{{Path: path, Subtree: &tree}}, nil
}

// beside puts files into a folder and leaves what else stands there.
func beside(path string, files map[string][]byte) []git.Change {
	out := make([]git.Change, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, git.Change{Path: path + "/" + name, File: files[name]})
	}
	return out
}

// leave removes the folder where the environment was before, when it moves to another one and nobody else lives there.
func (l *lane) leave(t *task, before *rules.State) []git.Change {
	if before == nil || before.Removed || before.Path == t.cmd.GetPath() || git.ValidatePath(before.Path) != nil ||
		l.index.owners.Check(t.dep.PlaceName(), before.Path) != nil {
		return nil
	}
	return []git.Change{{Path: before.Path, Delete: true}}
}

func newState(t *task) rules.State {
	s := rules.State{
		Deployment: t.cmd.GetDeployment(), Generation: t.cmd.GetGeneration(), RequestID: t.cmd.GetRequestId(),
		RequestTime: t.request.RequestTime, Set: t.cmd.GetSet(), Path: t.cmd.GetPath(), Tree: treeText(t.newTree()),
		Removed: t.removes(), Claims: t.claims(),
	}
	if s.Tree == "" && !s.Removed {
		s.Tree = git.EmptyTree.String() // a bundle without files is something else than a removal
	}
	if t.bundle != nil {
		s.SHA256, s.RendererVersion = t.bundle.sha256, t.bundle.version
	}
	return s
}

// done finishes a task whose request is in Git already.
func (l *lane) done(ctx context.Context, t *task, state rules.State) error {
	if !l.fresh {
		return errStale
	}
	commit, _, err := l.findCommit(ctx, t, 1)
	if err != nil {
		return err
	}
	if commit.Hash.IsZero() {
		// A squash or a cut history hides the commit; the tip holds what it wrote.
		commit.Hash = l.tip
	}
	t.finish(result{outcome: outcome{commit: commit.Hash, state: state, end: time.Now()}})
	return nil
}

// superseded finishes a task that a newer generation has overtaken: it may have been committed before that one, and then that
// is its outcome.
func (l *lane) superseded(ctx context.Context, t *task, newer rules.State) error {
	if !l.fresh {
		return errStale
	}
	commit, state, err := l.findCommit(ctx, t, 50)
	if err != nil {
		return err
	}
	if state == nil || state.Deployment != t.request.Deployment || state.RequestID != t.request.RequestID {
		return rules.SupersededBy(newer)
	}
	t.finish(result{outcome: outcome{commit: commit.Hash, state: *state, end: time.Now(), overtaken: true}})
	return nil
}

// findCommit looks for the task's commit among the last n that changed the environment's state file. With n = 1 it is known to
// be the last one, also when its message was rewritten.
func (l *lane) findCommit(ctx context.Context, t *task, n int) (git.Commit, *rules.State, error) {
	commits, _, err := git.ListCommits(ctx, l.remote, l.tip, git.ListOptions{Path: t.dep.StatePath(), Limit: n})
	if err != nil {
		if errors.Is(err, git.ErrMissing) {
			return git.Commit{}, nil, nil
		}
		return git.Commit{}, nil, err
	}
	for _, c := range commits {
		if n > 1 && c.Trailer(trailerDeployment) != t.request.Deployment {
			continue
		}
		state, err := readState(ctx, l.remote, c.Tree, t.dep)
		if errors.Is(err, git.ErrMissing) {
			err = nil
		}
		return c, state, err
	}
	return git.Commit{}, nil, nil
}
