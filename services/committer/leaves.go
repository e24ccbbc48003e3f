package committer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// errLeftover marks the error of a deployment that stands at its new places, while an old one cannot be removed yet.
var errLeftover = errors.New("an old place is left over")

func isLeftover(err error) bool { return errors.Is(err, errLeftover) }

// leaf is a place that the environment leaves.
type leaf struct {
	*task
	movedTo string
	// keep tells that somebody else owns the folder by now.
	keep bool
}

// leavePlaces removes the places that the environment has left, after its new ones are in Git and told. A repository that cannot be
// reached holds the deployment up; one that refuses for good does not, and the leftover is told to people.
func (s *Service) leavePlaces(ctx context.Context, t *task, o outcome) (outcome, error) {
	if len(o.later) > 0 {
		s.failpoint("desired_sent")
	}
	for _, g := range o.later {
		_, err := s.lanes.submit(ctx, g)
		switch {
		case err == nil:
			s.failpoint("place_left")
		case permanent(err):
			for _, leaf := range g.group.leaves {
				w := fmt.Sprintf("the old place in %s could not be removed: %s; remove the folder by hand", whereIs(leaf.task), errs.Message(err))
				o.warnings = append(o.warnings, w)
			}
			s.log.Warn("an old place is left over", "deployment", t.cmd.GetDeployment(), "place", whereIs(g), "error", err)
		case outage(err) && !errs.Is(err, errs.Cancelled):
			return o, errs.New(errs.Unavailable, errs.ReasonOf(err),
				"the environment stands at its new place, and waits for its old one in %s to be removed: %s", whereIs(g), errs.Message(err)).
				Because(errors.Join(errLeftover, err))
		default:
			return o, err
		}
	}
	return o, nil
}

// whereIs names a place for a person.
func whereIs(t *task) string {
	ref := t.cmd.GetRepository()
	return fmt.Sprintf("%s (branch %s, folder %s)", ref.GetName(), ref.GetBranch(), t.cmd.GetPath())
}

// addLeaves removes places from this branch in a commit of their own. What a newer deployment has taken since stays.
func (l *lane) addLeaves(ctx context.Context, f *fold, t *task) error {
	e := &entry{tasks: []*task{t}, spread: &spreadEntry{}}
	back := l.lend(nil, t.group.leaves)
	l.spare(t.group.leaves)
	back()
	var held []share
	for _, p := range t.group.places {
		state, err := readState(ctx, f.reader, f.root, p.dep)
		if err != nil {
			return err
		}
		held = append(held, share{task: p, before: state})
	}
	changes, err := l.leaveFolders(ctx, f, t, e, held)
	if err != nil {
		return err
	}
	root, err := git.Splice(ctx, f.reader, f.objs, f.root, changes)
	if err != nil {
		return fmt.Errorf("splice %s: %w", t.cmd.GetPath(), err)
	}
	if len(e.spread.states) == 0 && (root == f.root || len(changes) == 0) {
		if !l.fresh {
			return errStale
		}
		t.finish(result{})
		return nil
	}
	return l.sealGroup(ctx, f, t, e, root, l.leaveSpec)
}

func (l *lane) leaveSpec(t *task, parent, root git.Hash) git.CommitSpec {
	spec := l.commitSpec(t, parent, root)
	spec.Message = rules.DefaultSubject("Leave the old place of", t.dep)
	return spec
}

// leaveFolders gives the removals of the folders that are left, and puts their state files into the entry: a file that says where the
// environment went, so that an older command that comes late is refused. A place of the environment that goes on has its state
// file already. held are the places that the environment has in this branch, with their state files as they are at the tip.
func (l *lane) leaveFolders(ctx context.Context, f *fold, t *task, e *entry, held []share) ([]git.Change, error) {
	var changes []git.Change
	for _, leaf := range t.group.leaves {
		at := slices.IndexFunc(held, func(s share) bool { return s.dep.Part == leaf.dep.Part })
		var before *rules.State
		var err error
		if at >= 0 {
			before = held[at].before
		} else if before, err = readState(ctx, f.reader, f.root, leaf.dep); err != nil {
			return nil, err
		}
		path, ok := leftFolder(leaf.task, before, at >= 0)
		if !ok {
			continue
		}
		var told rules.State
		if before.Path == path { // else what stands there is not what this file tells of
			if told, err = l.foreignPlace(ctx, f, leaf.task, before, git.ZeroHash, e); err != nil {
				return nil, err
			}
		}
		if !leaf.keep {
			changes = append(changes, git.Change{Path: path, Delete: true})
		}
		if at >= 0 {
			continue
		}
		mark := withForeign(newState(leaf.task), told)
		mark.Part, mark.Path, mark.Tree, mark.Removed, mark.MovedTo = leaf.dep.Part, path, "", true, leaf.movedTo
		base, err := treeAt(ctx, f.reader, f.root, path)
		if err != nil {
			return nil, err
		}
		if mark.FilesChanged, err = countChanges(ctx, f.reader, base, git.ZeroHash); err != nil {
			return nil, err
		}
		e.spread.states = append(e.spread.states, wrote{dep: leaf.dep, state: mark})
	}
	return changes, nil
}

// leftFolder gives the folder to remove for a place that is left. The state file at the tip decides what was ours: without one, or
// with one of a newer deployment, nothing is. Where the same file goes on for the place's new folder, the old one is still known
// from the command when this deployment has moved the file before, with its claims or with its commit.
func leftFolder(leaf *task, before *rules.State, goesOn bool) (string, bool) {
	switch {
	case before == nil || before.Generation > leaf.cmd.GetGeneration():
		return "", false
	case goesOn && before.Deployment == leaf.cmd.GetDeployment():
		return leaf.cmd.GetPath(), true
	case before.Removed || git.ValidatePath(before.Path) != nil:
		return "", false
	case goesOn:
		return before.Path, before.Path == leaf.cmd.GetPath()
	default:
		return before.Path, true
	}
}

func sameForeign(a *eventsv1.ForeignCommit) func(*eventsv1.ForeignCommit) bool {
	return func(b *eventsv1.ForeignCommit) bool { return a.GetPath() == b.GetPath() }
}

// spare marks the places whose folders somebody else owns by now. The environment's own folders are lent at that moment.
func (l *lane) spare(leaves []*leaf) {
	for _, leaf := range leaves {
		leaf.keep = l.index.owners.Check(leaf.dep.PlaceName(), leaf.cmd.GetPath()) != nil
	}
}
