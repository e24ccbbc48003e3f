package committer

import (
	"context"
	"fmt"
	"slices"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// placed is one place that has what the deployment brings.
type placed struct {
	part      string
	ref       *committerv1.RepositoryRef
	commit    git.Hash
	state     rules.State
	end       time.Time
	overtaken bool
}

// wrote is a state file that a commit writes.
type wrote struct {
	dep   rules.Deployment
	state rules.State
}

// spreadEntry is what one commit does at several places.
type spreadEntry struct {
	placed   []placed
	states   []wrote
	foreigns []*eventsv1.ForeignCommit
}

// written gives the state files that the commit wrote.
func (e *entry) written() []wrote {
	if e.spread != nil {
		return e.spread.states
	}
	return []wrote{{dep: e.tasks[0].dep, state: e.state}}
}

// foreigns gives the foreign changes that the commit writes over.
func (e *entry) foreigns() []*eventsv1.ForeignCommit {
	switch {
	case e.spread != nil:
		return e.spread.foreigns
	case e.foreign != nil:
		return []*eventsv1.ForeignCommit{e.foreign}
	default:
		return nil
	}
}

// outcome is what the commit means to its tasks, once it is durable.
func (e *entry) outcome(now time.Time) outcome {
	o := outcome{commit: e.commit, state: e.state, end: now}
	if e.spread != nil {
		for _, p := range e.spread.placed {
			if p.commit.IsZero() {
				p.commit, p.end = e.commit, now
			}
			o.placed = append(o.placed, p)
		}
	}
	return o
}

// placeOf gives the name of the place that a foreign change is at.
func (l *lane) placeOf(ev *eventsv1.ForeignCommit) string {
	for _, states := range []map[string]rules.State{l.index.states, l.wrote} {
		for place, state := range states {
			if state.Part == "" || rules.EnvironmentOf(place) != ev.GetEnvironment() {
				continue
			}
			dep, err := rules.ParseDeployment(state.Deployment)
			dep.Part = state.Part
			if state.Path == ev.GetPath() || err == nil && dep.StatePath() == ev.GetPath() {
				return place
			}
		}
	}
	return ev.GetEnvironment()
}

// share is a place that is to be written.
type share struct {
	*task
	before *rules.State
	base   git.Hash
	change []git.Change
	// foreign is what the state file says of a foreign change that is written over.
	foreign rules.State
}

// addGroup puts what a deployment has in this branch on top of the fold, or finishes it without: places that hold it already are
// left alone.
func (l *lane) addGroup(ctx context.Context, f *fold, t *task) error {
	if t.group.leaving {
		return l.addLeaves(ctx, f, t)
	}
	e := &entry{tasks: []*task{t}, spread: &spreadEntry{}}
	todo, err := l.weigh(ctx, f, t, e)
	if err != nil {
		return err
	}
	if len(todo) > 0 {
		if err := t.checkWhole(); err != nil {
			return err
		}
		defer l.lend(t.group.places, t.group.leaves)()
		if err := l.claimFolders(f, t, todo); err != nil {
			return err
		}
		for i, s := range todo {
			if todo[i].change, err = l.change(ctx, f, s.task, e); err == nil {
				err = s.checkPromises()
			}
			if err != nil {
				return err
			}
		}
	}
	if len(todo) == 0 || t.group.survey {
		t.finish(result{outcome: outcome{placed: e.spread.placed}})
		return nil
	}
	return l.writeGroup(ctx, f, t, e, todo)
}

// weigh asks the fence about each place. Those that hold the deployment go into the entry, the others are to be written.
func (l *lane) weigh(ctx context.Context, f *fold, t *task, e *entry) ([]share, error) {
	var todo []share
	for _, p := range t.group.places {
		p = p.renewed()
		state, err := l.stateOf(ctx, f, p)
		if err != nil {
			return nil, err
		}
		base, err := treeAt(ctx, f.reader, f.root, p.cmd.GetPath())
		if err != nil {
			return nil, err
		}
		verdict := rules.Fence(p.request, state, treeText(base))
		if verdict == rules.Done && t.group.again && state.Whole != t.group.whole {
			verdict = rules.Proceed
		}
		switch verdict {
		case rules.Done:
			err = l.done(ctx, p, *state)
		case rules.Superseded:
			err = l.superseded(ctx, p, *state)
		default:
			if !t.group.survey && !t.group.begun {
				err = l.refuseWithdrawn(p, verdict)
			}
			if verdict == rules.Moved && err == nil {
				err = rules.PlanMoved("base", p.cmd.GetExpectBaseTree(), treeText(base))
			}
			todo = append(todo, share{task: p, before: state, base: base})
		}
		if err != nil {
			return nil, err
		}
		if p.finished {
			o := (<-p.done).outcome
			e.spread.placed = append(e.spread.placed, placed{
				part: p.dep.Part, ref: p.cmd.GetRepository(), commit: o.commit, state: o.state, end: o.end, overtaken: o.overtaken,
			})
		}
	}
	return todo, nil
}

// checkWhole holds all files together against what a plan promised.
func (t *task) checkWhole() error {
	want := t.cmd.GetExpectTree()
	if want == "" || t.group.whole == "" && !t.removes() || t.claims() || rules.SameTree(want, t.group.whole) {
		return nil
	}
	return rules.PlanMoved("result", want, t.group.whole)
}

// lend has the environment own none of the folders that the group's commit takes or leaves, so that its places can change them among
// each other. The answer puts all back as it was; what a push makes durable is noted then.
func (l *lane) lend(places []*task, leaves []*leaf) (back func()) {
	old := map[string]string{}
	for _, leaf := range leaves {
		places = append(places[:len(places):len(places)], leaf.task)
	}
	for _, p := range places {
		name := p.dep.PlaceName()
		path := ""
		if state, ok := l.index.states[name]; ok && !state.Removed {
			path = state.Path
		}
		old[name] = path
		l.index.owners.Set(name, "")
	}
	return func() {
		for name := range old {
			l.index.owners.Set(name, "")
		}
		for name, path := range old {
			if path != "" {
				l.index.owners.Set(name, path)
			}
		}
	}
}

// claimFolders checks that the group's places may own their folders.
func (l *lane) claimFolders(f *fold, t *task, todo []share) error {
	l.spare(t.group.leaves)
	for _, p := range t.group.places {
		name, path := p.dep.PlaceName(), p.cmd.GetPath()
		if slices.ContainsFunc(todo, func(s share) bool { return s.dep.Part == p.dep.Part }) {
			if err := l.index.owners.Check(name, path); err != nil {
				return err
			}
			if err := f.owners.Check(name, path); err != nil {
				return err
			}
		}
		l.index.owners.Set(name, path)
	}
	return nil
}

// writeGroup makes the commit.
func (l *lane) writeGroup(ctx context.Context, f *fold, t *task, e *entry, todo []share) error {
	var removed, made []git.Change
	for i, s := range todo {
		var err error
		if todo[i].foreign, err = l.foreignPlace(ctx, f, s.task, s.before, s.base, e); err != nil {
			return err
		}
		if s.before == nil || !slices.Contains(t.group.listed, s.before.Path) {
			removed = append(removed, l.leave(s.task, s.before)...)
		}
		made = append(made, s.change...)
	}
	left, err := l.leaveFolders(ctx, f, t, e, todo)
	if err != nil {
		return err
	}
	root, err := git.Splice(ctx, f.reader, f.objs, f.root, slices.Concat(removed, left, made))
	if err != nil {
		return fmt.Errorf("splice %s: %w", t.cmd.GetPath(), err)
	}
	for _, s := range todo {
		state, err := l.shareState(ctx, f, t, s, root, e)
		if err != nil {
			return err
		}
		e.spread.states = append(e.spread.states, wrote{dep: s.dep, state: state})
		e.spread.placed = append(e.spread.placed, placed{part: s.dep.Part, ref: s.cmd.GetRepository(), state: state})
		if s.dep.Part == "" || !t.group.main {
			e.state = state
		}
	}
	return l.sealGroup(ctx, f, t, e, root, l.commitSpec)
}

// foreignPlace is foreignChange for one of several places: it puts the event into the entry, once, and gives what the place's state file
// is to say.
func (l *lane) foreignPlace(ctx context.Context, f *fold, t *task, before *rules.State, base git.Hash, e *entry) (rules.State, error) {
	one := &entry{tasks: e.tasks}
	if err := l.foreignChange(ctx, f, t, before, base, one); err != nil {
		return rules.State{}, err
	}
	if one.foreign != nil && !slices.ContainsFunc(e.spread.foreigns, sameForeign(one.foreign)) {
		e.spread.foreigns = append(e.spread.foreigns, one.foreign)
	}
	return one.state, nil
}

// sealGroup writes the state files and the commit, and puts it on top of the fold.
func (l *lane) sealGroup(
	ctx context.Context, f *fold, t *task, e *entry, root git.Hash, spec func(t *task, parent, root git.Hash) git.CommitSpec,
) error {
	files := make([]git.Change, 0, len(e.spread.states))
	for _, w := range e.spread.states {
		files = append(files, git.Change{Path: w.dep.StatePath(), File: rules.EncodeState(w.state)})
	}
	root, err := git.Splice(ctx, f.reader, f.objs, root, files)
	if err != nil {
		return fmt.Errorf("splice the state files: %w", err)
	}
	if e.commit, err = git.NewCommit(f.objs, spec(t, f.tip, root)); err != nil {
		return err
	}
	f.tip, f.root = e.commit, root
	f.entries = append(f.entries, e)
	f.byRequest[t.foldKey()] = e
	f.note(e)
	for _, w := range e.spread.states {
		if !w.state.Removed {
			f.owners.Set(w.dep.PlaceName(), w.state.Path)
		}
	}
	return nil
}

// shareState gives the state file of a place as it is after the splice.
func (l *lane) shareState(ctx context.Context, f *fold, t *task, s share, root git.Hash, e *entry) (rules.State, error) {
	var err error
	if s.claims() {
		if s.union, err = treeAt(ctx, f.reader, root, s.cmd.GetPath()); err != nil {
			return rules.State{}, err
		}
	}
	tree := s.newTree()
	state := withForeign(newState(s.task), s.foreign)
	state.Part, state.Unchanged = s.dep.Part, s.base == tree
	if state.FilesChanged, err = countChanges(ctx, f.reader, s.base, tree); err != nil {
		return rules.State{}, err
	}
	if !t.group.split {
		return state, nil
	}
	state.Whole = t.group.whole
	if s.dep.Part == "" {
		state.Parts = slices.Clone(t.group.others)
		for _, p := range e.spread.placed {
			state.Parts = append(state.Parts, p.partState())
		}
	}
	return state, nil
}

func (p placed) partState() rules.PartState {
	s := rules.PartState{
		ID: p.part, Repository: p.ref.GetName(), URL: p.ref.GetUrl(), Branch: p.ref.GetBranch(), Path: p.state.Path,
		Tree: nothing(p.state.Tree), FilesChanged: p.state.FilesChanged,
	}
	if !p.commit.IsZero() {
		s.Commit = p.commit.String()
	}
	return s
}

// nothing gives the text of a tree id in which a tree without entries is nothing.
func nothing(tree string) string {
	if rules.SameTree(tree, "") {
		return ""
	}
	return tree
}
