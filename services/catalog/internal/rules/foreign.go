package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// How the committer says that a foreign change ended, see events.v1.ForeignResolved.
const (
	foreignAllowed = "allowed"
	foreignNotDone = "not done: "
)

// ForeignPolicy is what happens to a foreign change of an environment: its type's policy, else its repository's, else Towpath wins.
func ForeignPolicy(typ *catalogv1.EnvironmentType, repo *catalogv1.Repository) committerv1.ForeignPolicy {
	return cmp.Or(typ.GetForeignPolicy(), repo.GetForeignPolicy(), committerv1.ForeignPolicy_FOREIGN_POLICY_OVERWRITE)
}

// NoteForeign notes in an environment's row what somebody else changed. The same finding again changes nothing that was decided
// since; another one in the same folder takes its place.
func NoteForeign(row *catalogv1.Environment, e *eventsv1.ForeignCommit, policy committerv1.ForeignPolicy, at time.Time) {
	next := &catalogv1.ForeignChange{
		Repository: e.GetRepository(), Branch: e.GetBranch(), Path: e.GetPath(), Commit: e.GetCommit(), ExpectedTree: e.GetExpectedTree(),
		FoundTree: e.GetFoundTree(), Author: e.GetAuthor(), ForeignCommit: e.GetForeignCommit(), Subject: e.GetSubject(), Time: e.GetTime(),
		NoticeTime: timestamppb.New(at), State: undecided(policy, e.GetPath()),
	}
	for i, f := range row.GetForeignChanges() {
		if f.GetRepository() != e.GetRepository() || f.GetBranch() != e.GetBranch() || f.GetPath() != e.GetPath() {
			continue
		}
		if f.GetFoundTree() == e.GetFoundTree() && f.GetExpectedTree() == e.GetExpectedTree() && f.GetForeignCommit() == e.GetForeignCommit() {
			return
		}
		row.ForeignChanges[i] = next
		return
	}
	row.ForeignChanges = append(row.ForeignChanges, next)
}

func undecided(policy committerv1.ForeignPolicy, path string) catalogv1.ForeignChange_State {
	switch policy {
	case committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD, committerv1.ForeignPolicy_FOREIGN_POLICY_ADOPT:
		if !IsStateFile(path) {
			return catalogv1.ForeignChange_STATE_HELD
		}
	}
	return catalogv1.ForeignChange_STATE_TOLD
}

// IsStateFile tells a finding about Towpath's own state file, which the next deployment writes anew: nobody decides about it.
func IsStateFile(path string) bool { return strings.HasPrefix(path, ".towpath/") }

// ResolveForeign notes how a foreign change ended; done is false when it stands and nothing was done about it.
func ResolveForeign(row *catalogv1.Environment, e *eventsv1.ForeignResolved, policy committerv1.ForeignPolicy) {
	row.ForeignChanges = slices.DeleteFunc(row.GetForeignChanges(), func(f *catalogv1.ForeignChange) bool {
		if f.GetPath() != e.GetPath() || f.GetBranch() != e.GetBranch() || f.GetRepository() != e.GetRepository() || f.GetFoundTree() != e.GetFoundTree() {
			return false
		}
		switch {
		case e.GetHow() == foreignAllowed:
			f.State = catalogv1.ForeignChange_STATE_DECIDED
			return false
		case strings.HasPrefix(e.GetHow(), foreignNotDone):
			f.State = undecided(policy, f.GetPath())
			if line := "The decision was " + e.GetHow(); !slices.Contains(f.GetNotAdopted(), line) {
				f.NotAdopted = append(f.GetNotAdopted(), line)
			}
			return false
		}
		return true
	})
}

// CommittedOver drops what a deployment's commit has ended, should nobody have told so: findings on what Towpath wrote before it.
func CommittedOver(row *catalogv1.Environment, e *eventsv1.DeploymentCommitted) {
	trees := map[string]string{e.GetPath(): e.GetTree()}
	if len(e.GetParts()) > 0 {
		trees[e.GetPath()] = e.GetMainTree()
	}
	for _, p := range e.GetParts() {
		trees[p.GetPath()] = p.GetTree()
	}
	row.ForeignChanges = slices.DeleteFunc(row.GetForeignChanges(), func(f *catalogv1.ForeignChange) bool {
		if IsStateFile(f.GetPath()) {
			return f.GetBranch() == e.GetBranch() && f.GetRepository() == e.GetRepository()
		}
		tree, ok := trees[f.GetPath()]
		if !ok { // the environment does not stand there any more
			return f.GetBranch() == e.GetBranch() && f.GetRepository() == e.GetRepository()
		}
		return !e.GetUnchanged() && f.GetExpectedTree() != tree
	})
}

// FindForeign gives the foreign change that a call means: that in the folder, or the only one where the folder is left out.
func FindForeign(env Env, changes []*catalogv1.ForeignChange, path string) (*catalogv1.ForeignChange, error) {
	var found []*catalogv1.ForeignChange
	var paths []string
	for _, f := range changes {
		if path == "" || f.GetPath() == path {
			found = append(found, f)
		}
		paths = append(paths, f.GetPath())
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(changes) == 0 || path == "":
		if len(changes) > 0 {
			return nil, errs.InvalidField("path", "is empty and others changed several folders of %s; name one of %s", env.Name(), strings.Join(paths, ", "))
		}
		return nil, errs.NotFoundf("a foreign change of "+env.Name(), "nobody but Towpath changed its folder, as far as is known")
	}
	return nil, errs.NotFoundf("a foreign change of "+path, "others changed %s", strings.Join(paths, ", "))
}

// ForeignKey identifies a finding: a change that comes back later is another one.
func ForeignKey(env Env, f *catalogv1.ForeignChange) string {
	h := sha256.New()
	for _, part := range []string{env.Name(), f.GetRepository(), f.GetBranch(), f.GetPath(), f.GetExpectedTree(), f.GetFoundTree(), f.GetForeignCommit(),
		f.GetNoticeTime().AsTime().Format(time.RFC3339Nano)} {
		h.Write([]byte(part + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// CheckDecision refuses a decision that cannot be carried out: about another tree than stands there, or about what needs none.
func CheckDecision(f *catalogv1.ForeignChange, foundTree string) error {
	if foundTree != "" && foundTree != f.GetFoundTree() {
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_FOREIGN_CHANGE,
			"another change stands in %s by now: tree %s instead of %s; look at it and decide again", f.GetPath(), orNothing(f.GetFoundTree()), foundTree).
			With("found_tree", f.GetFoundTree())
	}
	if IsStateFile(f.GetPath()) {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s is Towpath's own record and is written anew by the next deployment; there is nothing to decide", f.GetPath())
	}
	return nil
}

func orNothing(tree string) string { return cmp.Or(tree, "of nothing") }

// DraftOfForeign names the draft that adopts a foreign change: git-{environment}-{short commit}.
func DraftOfForeign(env Env, f *catalogv1.ForeignChange) string {
	short := cmp.Or(f.GetForeignCommit(), f.GetFoundTree(), f.GetCommit())
	name := env.ID
	if len(name) > 40 {
		name = strings.TrimRight(name[:40], "-")
	}
	return "git-" + name + "-" + short[:min(12, len(short))]
}

// ForeignLine tells of a foreign change in one line.
func ForeignLine(f *catalogv1.ForeignChange) string {
	what := "changed "
	if f.GetFoundTree() == "" {
		what = "removed "
	}
	line := cmp.Or(f.GetAuthor(), "Somebody") + " " + what + f.GetPath()
	if c := f.GetForeignCommit(); c != "" {
		line += " in commit " + c[:min(12, len(c))]
	}
	if s := f.GetSubject(); s != "" {
		line += " (" + s + ")"
	}
	return line
}
