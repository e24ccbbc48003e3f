package committer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// maxBlame is how many commits are looked at for the one that changed a folder. It is asked for only when somebody else did.
const maxBlame = 200

// finding is what somebody else did to a folder that Towpath owns or is about to write.
type finding struct {
	path string
	// expected is the tree that Towpath wrote there; empty when it wrote none.
	expected string
	found    git.Hash
	// allowed tells that somebody decided that it may be written over.
	allowed bool
}

// foreignChange tells whether somebody else changed the folder that the task is about to write. By the environment's policy
// Towpath's write wins, but only after everybody could know, or the task waits for a decision: then the error is errForeign.
// What the deployment itself makes is no change to decide about.
func (l *lane) foreignChange(ctx context.Context, f *fold, t *task, before *rules.State, base git.Hash, e *entry) error {
	place := t.dep.PlaceName()
	l.policies[t.dep.EnvironmentName()] = t.cmd.GetForeignPolicy()
	if before != nil {
		e.state.Decided = before.Decided
	}
	found, ok, err := l.findForeign(ctx, f, t, before, base)
	if err != nil || !ok {
		return err
	}
	e.state.Overwrote = rules.OrAbsent(treeText(found.found))
	if t.newTree() == found.found && !t.claims() {
		return nil // the deployment brings what they made
	}
	if found.allowed { // it was told before somebody could decide
		return nil
	}
	ev := l.told(place, found)
	if ev == nil {
		ev = l.foreignCommit(ctx, place, found)
	}
	if !holds(t.cmd.GetForeignPolicy()) {
		e.foreign = ev
		return nil
	}
	if !l.fresh {
		return errStale
	}
	if err := l.tellForeign(ctx, ev); err != nil {
		return err
	}
	return errForeign(ev)
}

// withForeign hands on what the state says of foreign changes.
func withForeign(s, from rules.State) rules.State {
	s.Decided, s.Overwrote = from.Decided, from.Overwrote
	return s
}

// findForeign compares what stands in Git with what Towpath wrote: where the environment lives, and where it is about to.
func (l *lane) findForeign(ctx context.Context, f *fold, t *task, before *rules.State, base git.Hash) (finding, bool, error) {
	path := t.cmd.GetPath()
	if before != nil && !before.Removed {
		found, err := treeAt(ctx, f.reader, f.root, before.Path)
		if err != nil {
			return finding{}, false, err
		}
		if rules.IsForeign(*before, treeText(found)) {
			return finding{before.Path, before.Tree, found, rules.Allows(*before, treeText(found))}, true, nil
		}
		if before.Path == path || strings.HasPrefix(path, before.Path+"/") || strings.HasPrefix(before.Path, path+"/") {
			return finding{}, false, nil
		}
	}
	if base.IsZero() {
		return finding{}, false, nil
	}
	return finding{path, "", base, before != nil && rules.Allows(*before, treeText(base))}, true, nil
}

// told gives the event of a finding that was told already, nil when it was not.
func (l *lane) told(place string, found finding) *eventsv1.ForeignCommit {
	ev := l.reported[place]
	if ev.GetPath() == found.path && rules.SameTree(ev.GetFoundTree(), treeText(found.found)) {
		return ev
	}
	return nil
}

func (l *lane) foreignCommit(ctx context.Context, place string, found finding) *eventsv1.ForeignCommit {
	environment := rules.EnvironmentOf(place)
	ev := &eventsv1.ForeignCommit{
		Repository: l.ref.GetName(), Branch: l.ref.GetBranch(), Path: found.path, Environment: environment,
		Commit: treeText(l.tip), ExpectedTree: found.expected, FoundTree: treeText(found.found), Policy: l.policies[environment],
	}
	l.blame(ctx, ev, found.path)
	return ev
}

// blame fills in who made the newest commit that changed the path. Where that cannot be told, because history is cut or was
// rewritten, it stays empty: a wrong name is worse than none.
func (l *lane) blame(ctx context.Context, ev *eventsv1.ForeignCommit, path string) {
	c, ok, err := git.LastChange(ctx, l.remote, l.tip, path, maxBlame)
	if err != nil {
		l.log.Info("nobody can tell who changed a folder", "path", path, "error", err)
	}
	if err != nil || !ok {
		return
	}
	ev.ForeignCommit, ev.Time = c.Hash.String(), timestamppb.New(c.AuthorTime)
	ev.Subject = rules.Line(firstLine(c.Message))
	if c.Trailer(trailerDeployment) == "" { // an own one means that the branch was set back, by somebody whom Git does not name
		ev.Author = rules.Signature(c.Author.Name, c.Author.Email)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
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

// tellForeign publishes a finding, once as far as this lane remembers.
func (l *lane) tellForeign(ctx context.Context, ev *eventsv1.ForeignCommit) error {
	place := l.placeOf(ev)
	if l.reported[place] == ev {
		return nil
	}
	dep, err := rules.ParseDeployment(ev.GetEnvironment() + "/deployments/0")
	if err != nil {
		return err
	}
	// The same finding has the same id, so that looking twice, or by two processes, does not tell twice.
	id := foreignID("foreign", l.key, ev.GetPath(), ev.GetForeignCommit(), ev.GetExpectedTree(), ev.GetFoundTree())
	if err := l.svc.publish(ctx, dep, typeForeignCommit, id, ev.GetEnvironment(), ev); err != nil {
		return err
	}
	l.log.Warn("somebody else changed a folder that Towpath owns", "path", ev.GetPath(), "commit", ev.GetForeignCommit(),
		"author", ev.GetAuthor(), "expected", ev.GetExpectedTree(), "found", ev.GetFoundTree())
	l.svc.metrics.foreign.Inc()
	l.reported[place] = ev
	return nil
}

func foreignID(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return kind + "/" + hex.EncodeToString(sum[:16])
}

// scan compares all owned folders of the branch with their state files after somebody else has moved it.
func (l *lane) scan(ctx context.Context) error {
	if !l.scanDue {
		return nil
	}
	if err := l.scanUndone(ctx); err != nil {
		return err
	}
	find := folderFinder(ctx, l.remote, l.root)
	for place, state := range l.index.states {
		if _, undone := l.undone(place, &state); undone || state.Removed {
			continue
		}
		found, err := find(state.Path)
		if err != nil {
			return err
		}
		if err := l.compare(ctx, place, state, found); err != nil {
			return err
		}
		l.remember(place, state)
	}
	l.scanDue = false
	return nil
}

// compare tells of one folder: that somebody changed it, or that what was told of no longer stands.
func (l *lane) compare(ctx context.Context, place string, state rules.State, found git.Hash) error {
	f := finding{path: state.Path, expected: state.Tree, found: found}
	switch {
	case !rules.IsForeign(state, treeText(found)):
		return l.tellGone(ctx, place, state)
	case l.told(place, f) != nil:
		return nil
	case rules.Allows(state, treeText(found)): // told and decided, maybe by an earlier process
		return nil
	}
	return l.tellForeign(ctx, l.foreignCommit(ctx, place, f))
}

// tellGone publishes that a finding no longer stands because somebody took it back. What a deployment or a decision did was told
// with that.
func (l *lane) tellGone(ctx context.Context, place string, state rules.State) error {
	ev := l.reported[place]
	if ev == nil {
		return nil
	}
	delete(l.reported, place)
	if was := l.wrote[place]; was.Deployment != state.Deployment || was.Decided != state.Decided {
		return nil // another process wrote, and told
	}
	dep, err := rules.ParseDeployment(rules.EnvironmentOf(place) + "/deployments/0")
	if err != nil {
		return err
	}
	id := foreignID("resolved", l.key, ev.GetPath(), ev.GetForeignCommit(), ev.GetExpectedTree(), ev.GetFoundTree())
	err = l.svc.publish(ctx, dep, typeForeignResolved, id, ev.GetEnvironment(), &eventsv1.ForeignResolved{
		Environment: ev.GetEnvironment(), Repository: ev.GetRepository(), Branch: ev.GetBranch(), Path: ev.GetPath(),
		FoundTree: ev.GetFoundTree(), How: howReverted, Commit: treeText(l.tip),
	})
	if err != nil {
		l.reported[place] = ev
	}
	return err
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

// holds tells whether deployments wait for a decision by that policy.
func holds(p committerv1.ForeignPolicy) bool {
	return p == committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD || p == committerv1.ForeignPolicy_FOREIGN_POLICY_ADOPT
}
