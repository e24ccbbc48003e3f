package committer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// foreignChange tells whether somebody else changed the folder that the task is about to write. Towpath's write wins, but only
// after everybody could know.
func (l *lane) foreignChange(ctx context.Context, f *fold, t *task, before *rules.State) (*eventsv1.ForeignCommit, error) {
	if before == nil || before.Removed {
		return nil, nil
	}
	found, err := treeAt(ctx, f.reader, f.root, before.Path)
	if err != nil || !rules.IsForeign(*before, treeText(found)) {
		return nil, err
	}
	if reported, ok := l.reported[t.dep.PlaceName()]; ok && reported == found {
		return nil, nil
	}
	return l.foreignCommit(t.dep.PlaceName(), *before, found), nil
}

func (l *lane) foreignCommit(environment string, state rules.State, found git.Hash) *eventsv1.ForeignCommit {
	return &eventsv1.ForeignCommit{
		Repository: l.ref.GetName(), Branch: l.ref.GetBranch(), Path: state.Path, Environment: rules.EnvironmentOf(environment),
		Commit: treeText(l.tip), ExpectedTree: state.Tree, FoundTree: treeText(found),
	}
}

// announceForeign publishes what the fold is about to write over.
func (l *lane) announceForeign(ctx context.Context, f *fold) error {
	for _, e := range f.entries {
		for _, ev := range e.foreigns() {
			if err := l.tellForeign(ctx, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lane) tellForeign(ctx context.Context, ev *eventsv1.ForeignCommit) error {
	// The same finding has the same id, so that looking twice does not tell twice.
	sum := sha256.Sum256([]byte(strings.Join([]string{l.key, ev.GetPath(), ev.GetCommit(), ev.GetFoundTree()}, "\n")))
	dep, err := rules.ParseDeployment(ev.GetEnvironment() + "/deployments/0")
	if err != nil {
		return err
	}
	if err := l.svc.publish(ctx, dep, typeForeignCommit, "foreign/"+hex.EncodeToString(sum[:16]), ev.GetEnvironment(), ev); err != nil {
		return err
	}
	l.log.Warn("somebody else changed a folder that Towpath owns", "path", ev.GetPath(), "commit", ev.GetCommit(),
		"expected", ev.GetExpectedTree(), "found", ev.GetFoundTree())
	l.svc.metrics.foreign.Inc()
	l.reported[l.placeOf(ev)] = git.NewHash(ev.GetFoundTree())
	return nil
}

// scan compares all owned folders of the branch with their state files after somebody else has moved it.
func (l *lane) scan(ctx context.Context) error {
	if !l.scanDue {
		return nil
	}
	find := folderFinder(ctx, l.remote, l.root)
	for environment, state := range l.index.states {
		if state.Removed {
			continue
		}
		found, err := find(state.Path)
		if err != nil {
			return err
		}
		if !rules.IsForeign(state, treeText(found)) {
			delete(l.reported, environment)
			continue
		}
		if reported, ok := l.reported[environment]; ok && reported == found {
			continue
		}
		if err := l.tellForeign(ctx, l.foreignCommit(environment, state, found)); err != nil {
			return err
		}
	}
	l.scanDue = false
	return nil
}

// folderFinder looks up many paths of one tree and reads each folder on the way once.
func folderFinder(ctx context.Context, r git.Reader, root git.Hash) func(path string) (git.Hash, error) {
	read := map[git.Hash]map[string]git.Entry{}
	return func(path string) (git.Hash, error) {
		at := git.Entry{Mode: git.ModeDir, Hash: root}
		for name := range strings.SplitSeq(path, "/") {
			if !at.IsDir() || at.Hash.IsZero() {
				return git.ZeroHash, nil
			}
			entries, ok := read[at.Hash]
			if !ok {
				var err error
				if entries, err = entriesByName(ctx, r, at.Hash); err != nil {
					return git.ZeroHash, err
				}
				read[at.Hash] = entries
			}
			at = entries[name]
		}
		return at.Hash, nil
	}
}
