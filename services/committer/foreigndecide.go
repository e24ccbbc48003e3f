package committer

import (
	"cmp"
	"context"
	"errors"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const (
	typeForeignDecision = "environment.foreign_decision"
	typeForeignResolved = "repository.foreign_resolved"
	// trailerForeign tells what was decided about which foreign tree.
	trailerForeign = "Towpath-Foreign"
)

// How a foreign change was resolved, as the event says. A decision that could not be carried out begins with "not done: ".
const (
	howOverwritten = "overwritten"
	howRestored    = "restored"
	howReverted    = "reverted"
	howAllowed     = "allowed"
	howAdopted     = "adopted"
	howNotDone     = "not done: "
)

// decide carries out what somebody decided about a foreign change. The state file at the tip says whether it is done, so that a
// redelivery does it once.
func (s *Service) decide(ctx context.Context, d events.Delivery) error {
	cmd := new(eventsv1.ForeignDecision)
	if err := d.Decode(cmd); err != nil {
		return err
	}
	t, err := newDecision(cmd)
	if t == nil {
		return err
	}
	o := outcome{}
	if err == nil {
		o, err = s.lanes.submit(ctx, t)
	}
	switch {
	case errors.Is(err, errNeedsBundle):
		o.how = howNotDone + "tree " + o.state.Tree + " is no longer in the repository; make a deployment of the environment instead"
	case err != nil && permanent(err):
		o.how = howNotDone + errs.Message(err)
	case err != nil:
		return err
	}
	return s.resolved(ctx, t, o)
}

func newDecision(cmd *eventsv1.ForeignDecision) (*task, error) {
	name := cmd.GetEnvironment() + "/deployments/0"
	dep, err := rules.ParseDeployment(name)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &task{dep: dep, renderStart: now, commitStart: now, decision: cmd, cmd: &eventsv1.DeploymentRequested{
		Deployment: name, Generation: 1, RequestId: cmd.GetRequestId(), Repository: cmd.GetRepository(), Path: cmd.GetPath(),
		Mode: eventsv1.DeploymentRequested_MODE_REMOVE, RequestTime: cmd.GetRequestTime(), Author: cmd.GetAuthor(), Message: cmd.GetMessage(),
	}}
	t.request = rules.Request{Deployment: name, RequestID: cmd.GetRequestId(), Generation: 1, RequestTime: cmd.GetRequestTime().AsTime()}
	if cmd.GetFoundTree() != "" && !isTreeID(cmd.GetFoundTree()) {
		return t, errs.InvalidField("found_tree", "is not a tree id of 40 hexadecimal digits")
	}
	switch cmd.GetDecision() {
	case eventsv1.ForeignDecision_DECISION_OVERWRITE, eventsv1.ForeignDecision_DECISION_RESTORE:
	default:
		return t, errs.InvalidField("decision", "is unknown")
	}
	return t, t.check()
}

func (t *task) restoresForeign() bool {
	return t.decision.GetDecision() == eventsv1.ForeignDecision_DECISION_RESTORE
}

// addDecision puts a decision on top of the fold, or ends it without a commit.
func (l *lane) addDecision(ctx context.Context, f *fold, t *task) error {
	t.dep.Part = l.partAt(t.dep, t.decision.GetPath())
	state, err := l.stateOf(ctx, f, t)
	if err != nil {
		return err
	}
	if state == nil || state.Removed {
		s := rules.State{Deployment: t.cmd.GetDeployment(), RequestTime: t.request.RequestTime, Path: t.cmd.GetPath(), Tree: git.EmptyTree.String()}
		if state != nil {
			s.Deployment, s.Generation, s.RequestTime = state.Deployment, state.Generation, state.RequestTime
		}
		state = &s
	}
	found, err := treeAt(ctx, f.reader, f.root, t.decision.GetPath())
	if err != nil {
		return err
	}
	verdict := rules.Decide(*state, t.request.RequestID, t.decision.GetPath(), t.decision.GetFoundTree(), treeText(found))
	if verdict != rules.DecisionStands && !l.fresh {
		return errStale
	}
	switch verdict {
	case rules.DecisionDone:
		t.finish(result{outcome: outcome{state: *state, commit: l.tip}})
		return nil
	case rules.DecisionMoot:
		t.finish(result{outcome: outcome{state: *state, how: howReverted}})
		return nil
	case rules.DecisionOutrun:
		l.scanDue = true // what stands there now is told
		t.finish(result{outcome: outcome{state: *state, how: howNotDone + "another change has come meanwhile; look at it and decide again"}})
		return nil
	}
	return l.writeDecision(ctx, f, t, *state, found)
}

func (l *lane) writeDecision(ctx context.Context, f *fold, t *task, state rules.State, found git.Hash) error {
	e := &entry{tasks: []*task{t}, state: state}
	e.state.Decided, e.state.Allowed = t.request.RequestID, ""
	var changes []git.Change
	if t.restoresForeign() {
		change, err := l.putBack(ctx, f, state)
		if err != nil {
			return err
		}
		changes, e.assigned = append(changes, change), true
	} else {
		e.state.Allowed = rules.OrAbsent(treeText(found))
	}
	changes = append(changes, git.Change{Path: t.dep.StatePath(), File: rules.EncodeState(e.state)})
	root, err := git.Splice(ctx, f.reader, f.objs, f.root, changes)
	if err != nil {
		return err
	}
	spec := l.commitSpec(t, f.tip, root)
	verb := "Allow to write over"
	if t.restoresForeign() {
		verb = "Put back"
	}
	spec.Message = rules.Words{Message: t.decision.GetMessage(), Default: verb + " " + t.decision.GetPath()}.Text()
	spec.Trailers = decisionTrailers(t)
	if e.commit, err = git.NewCommit(f.objs, spec); err != nil {
		return err
	}
	f.add(e, root)
	return nil
}

// putBack gives the edit that makes the folder what Towpath wrote.
func (l *lane) putBack(ctx context.Context, f *fold, state rules.State) (git.Change, error) {
	if state.Generation == 0 {
		return git.Change{}, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"Towpath has never written %s, so there is nothing to put back; remove it by hand, or allow to write over it", state.Path)
	}
	tree := git.NewHash(state.Tree)
	if tree == git.EmptyTree || tree.IsZero() {
		return git.Change{Path: state.Path, Delete: true}, nil
	}
	_, err := f.reader.Tree(ctx, tree)
	switch {
	case err == nil:
		return git.Change{Path: state.Path, Subtree: &tree}, nil
	case outage(err):
		return git.Change{}, err
	default:
		return git.Change{}, errNeedsBundle
	}
}

func decisionTrailers(t *task) []git.Trailer {
	verb := "overwrite"
	if t.restoresForeign() {
		verb = "restore"
	}
	all := []git.Trailer{
		{Key: trailerForeign, Value: verb + " " + rules.OrAbsent(t.decision.GetFoundTree())},
		{Key: "Towpath-Application", Value: t.dep.Application},
		{Key: "Towpath-Environment", Value: t.dep.Environment},
	}
	if actor := rules.Line(t.cmd.GetAuthor().GetSubject()); actor != "" {
		all = append(all, git.Trailer{Key: "Towpath-Actor", Value: actor})
	}
	return all
}

// add puts a commit that is ready on top.
func (f *fold) add(e *entry, root git.Hash) {
	f.tip, f.root = e.commit, root
	f.entries = append(f.entries, e)
	f.byRequest[e.tasks[0].key()] = e
	f.note(e)
}

// note remembers which places' state files are this fold's own.
func (f *fold) note(e *entry) {
	if f.wrote == nil {
		f.wrote = map[string]bool{}
	}
	for _, w := range e.written() {
		f.wrote[w.dep.PlaceName()] = true
	}
}

// resolved tells what became of a decision.
func (s *Service) resolved(ctx context.Context, t *task, o outcome) error {
	how := howAllowed
	if t.restoresForeign() {
		how = howRestored
	}
	ev := &eventsv1.ForeignResolved{
		Environment: t.decision.GetEnvironment(), Repository: t.cmd.GetRepository().GetName(), Branch: t.cmd.GetRepository().GetBranch(),
		Path: t.decision.GetPath(), FoundTree: t.decision.GetFoundTree(), How: cmp.Or(o.how, how), Commit: treeText(o.commit),
	}
	return s.publish(ctx, t.dep, typeForeignResolved, foreignID("decided", t.decision.GetRequestId()), ev.GetEnvironment(), ev)
}

// overwritten tells of each place where a deployment wrote over a foreign change; the state files say so, whatever happened in
// between.
func (s *Service) overwritten(ctx context.Context, t *task, o outcome) error {
	places := o.placed
	if len(places) == 0 {
		places = []placed{{ref: t.cmd.GetRepository(), commit: o.commit, state: o.state, overtaken: o.overtaken}}
	}
	for _, p := range places {
		if p.state.Overwrote == "" || p.overtaken {
			continue
		}
		if err := s.tellOverwritten(ctx, t, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) tellOverwritten(ctx context.Context, t *task, p placed) error {
	found, how := p.state.Overwrote, howOverwritten
	if rules.SameTree(found, p.state.Tree) {
		how = howAdopted
	}
	if found == rules.Absent {
		found = ""
	}
	return s.publish(ctx, t.dep, typeForeignResolved, foreignID("overwritten", t.cmd.GetDeployment(), p.part), t.dep.EnvironmentName(), &eventsv1.ForeignResolved{
		Environment: t.dep.EnvironmentName(), Repository: p.ref.GetName(), Branch: p.ref.GetBranch(),
		Path: p.state.Path, FoundTree: found, How: how, Commit: p.commit.String(),
	})
}

// partAt gives the part of an environment that owns a folder; empty for its main place.
func (l *lane) partAt(dep rules.Deployment, path string) string {
	for place, state := range l.index.states {
		if state.Path == path && rules.EnvironmentOf(place) == dep.EnvironmentName() {
			return state.Part
		}
	}
	return ""
}
