package committer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// stagePull is where a deployment waits whose pull request is open.
const stagePull = "review"

// emptyInput stands for an input that a record leaves out; nothing is rendered from it.
var emptyInput = &rendererv1.RenderInput{}

// proposed tells that a deployment is at the head of its pull request and not in the branch.
func (o outcome) proposed() bool { return o.pull != nil && !o.pull.unchanged }

// endMerged tells of a deployment that was merged, and cleans up behind it. The order matters: the branch goes before the record,
// and the record last, because it is what brings any process back here.
func (s *Service) endMerged(ctx context.Context, client PullRequests, rec *record, t *task, o outcome) error {
	s.failpoint("pull_merged")
	t.pullRequest = s.mergedRequest(ctx, client, rec)
	if merged := t.pullRequest.GetTime(); merged.IsValid() && merged.AsTime().Before(o.end) {
		o.end = merged.AsTime()
	}
	t.bundle = &bundle{claims: rec.GetClaims()}
	if err := s.tellPull(ctx, t.dep, t.pullRequest); err != nil {
		return err
	}
	if err := s.announce(ctx, t, o); err != nil {
		return err
	}
	s.failpoint("merge_told")
	s.dropHead(ctx, client, rec)
	return s.dropRecord(ctx, rec)
}

// mergedRequest is what is told of a merged pull request. That it is merged is known from Git; a service that does not answer just
// now only leaves out who did it.
func (s *Service) mergedRequest(ctx context.Context, client PullRequests, rec *record) *eventsv1.DeploymentPullRequest {
	told := proto.CloneOf(rec.GetPullRequest())
	told.State, told.WaitsFor, told.Time = eventsv1.DeploymentPullRequest_STATE_MERGED, "", timestamppb.Now()
	for attempt := range 5 { // the branch may have moved a moment before the service has noted the merge
		if attempt > 0 {
			wait(ctx, 200*time.Millisecond)
		}
		pr, err := client.Get(ctx, told.GetNumber())
		if err != nil {
			s.log.Info("who merged a pull request cannot be told", "pull_request", told.GetUrl(), "error", err)
			return told
		}
		if pr.State != forge.Merged {
			continue
		}
		told.Actor = pr.Actor
		if !pr.Time.IsZero() {
			told.Time = timestamppb.New(pr.Time)
		}
		break
	}
	return told
}

// wait lets time pass, less when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// notOpen ends a pull request that the service says is not open. Git is asked once more behind that word: it may have been merged
// between the two looks.
func (s *Service) notOpen(ctx context.Context, w *watcher, client PullRequests, rec *record, pr *forge.PullRequest) (bool, error) {
	if _, ended, err := s.lookAtRecord(ctx, client, rec); err != nil || ended {
		return ended, err
	}
	if pr.State == forge.Closed {
		return true, s.endClosed(ctx, client, rec, pr)
	}
	if w.missing++; w.missing < takenBack {
		w.nudgeIn(ctx, time.Second)
		return false, nil
	}
	cause := errs.New(errs.Precondition, errorsv1.Reason_REASON_PULL_REQUEST_CLOSED,
		"pull request %s was merged%s and branch %s does not have it any more; somebody took it back, deploy again if that was a mistake",
		pr.URL, by(pr.Actor), rec.GetPullRequest().GetBranch())
	if err := s.endFailed(ctx, rec, cause, false); err != nil {
		return false, err
	}
	s.dropHead(ctx, client, rec)
	return true, s.dropRecord(ctx, rec)
}

// nudgeIn wakes the watcher after a while.
func (w *watcher) nudgeIn(ctx context.Context, after time.Duration) {
	w.pulls.alive.Go(func() {
		wait(ctx, min(after, w.pulls.svc.cfg.PullInterval))
		w.nudge()
	})
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + rules.Line(actor)
}

// endClosed tells of a pull request that somebody has closed without a merge.
func (s *Service) endClosed(ctx context.Context, client PullRequests, rec *record, pr *forge.PullRequest) error {
	told := proto.CloneOf(rec.GetPullRequest())
	told.State, told.Actor, told.WaitsFor, told.Time = eventsv1.DeploymentPullRequest_STATE_CLOSED, pr.Actor, "", timestamppb.Now()
	if !pr.Time.IsZero() {
		told.Time = timestamppb.New(pr.Time)
	}
	if err := s.tellPull(ctx, rec.dep, told); err != nil {
		return err
	}
	s.waiting.forget(told.GetDeployment())
	s.metrics.finished.WithLabelValues("rejected").Inc()
	s.failpoint("close_told")
	s.dropHead(ctx, client, rec)
	return s.dropRecord(ctx, rec)
}

// endOvertaken ends a pull request whose environment has a newer deployment in the base already.
func (s *Service) endOvertaken(ctx context.Context, client PullRequests, rec *record, cause error) error {
	if err := client.Close(ctx, rec.GetPullRequest().GetNumber(), "Towpath: "+errs.Message(cause)+"."); err != nil {
		return err
	}
	if err := s.endFailed(ctx, rec, cause, true); err != nil {
		return err
	}
	s.dropHead(ctx, client, rec)
	return s.dropRecord(ctx, rec)
}

// endFailed tells that the deployment of a record will not be merged.
func (s *Service) endFailed(ctx context.Context, rec *record, cause error, superseded bool) error {
	name := rec.GetCommand().GetDeployment()
	ev := &eventsv1.DeploymentFailed{
		Deployment: name, Stage: stageCommit, Reason: rpc.ReasonName(errs.ReasonOf(cause)), Message: errs.Message(cause), Superseded: superseded,
	}
	if err := s.publish(ctx, rec.dep, typeFailed, name+"/failed/pull/"+shortDigest(ev.GetMessage()), name, ev); err != nil {
		return err
	}
	s.waiting.forget(name)
	s.metrics.finished.WithLabelValues("failed").Inc()
	return nil
}

// endOlder ends what the record says of an earlier deployment, when a later one has its head. Where the pull request is the same one
// and open, the earlier deployment cannot be merged any more. Otherwise it was merged or closed before the later one came, and that
// is its end.
func (s *Service) endOlder(ctx context.Context, client PullRequests, rec *record, t *task, open int64) error {
	if rec.GetCommand().GetDeployment() == t.cmd.GetDeployment() {
		return nil // another round of the same deployment
	}
	cause := rules.SupersededBy(rules.State{Deployment: t.cmd.GetDeployment(), Generation: t.cmd.GetGeneration()})
	if open == rec.GetPullRequest().GetNumber() {
		return s.endFailed(ctx, rec, cause, true)
	}
	look, err := s.lookTask(rec)
	if err != nil {
		return err
	}
	look.pull.look = true
	o, err := s.lanes.submit(ctx, look)
	switch {
	case err == nil && o.pull == nil:
		look.pullRequest = s.mergedRequest(ctx, client, rec)
		look.bundle = &bundle{claims: rec.GetClaims()}
		if err := s.tellPull(ctx, look.dep, look.pullRequest); err != nil {
			return err
		}
		return s.announce(ctx, look, o)
	case err != nil && !permanent(err):
		return err
	}
	pr, err := client.Get(ctx, rec.GetPullRequest().GetNumber())
	if err != nil {
		return err
	}
	if pr.State == forge.Open { // into another branch than today's
		err = client.Close(ctx, pr.Number, "Towpath: "+t.cmd.GetDeployment()+" took its place.")
	}
	if pr.State != forge.Closed || err != nil {
		return errors.Join(err, s.endFailed(ctx, rec, cause, true))
	}
	told := proto.CloneOf(rec.GetPullRequest())
	told.State, told.Actor, told.WaitsFor, told.Time = eventsv1.DeploymentPullRequest_STATE_CLOSED, pr.Actor, "", timestamppb.New(pr.Time)
	return s.tellPull(ctx, rec.dep, told)
}

// withdrawOlder closes the pull request of an earlier deployment when a later one has nothing to propose: what the base has is what is
// wanted now.
func (s *Service) withdrawOlder(ctx context.Context, client PullRequests, rec *record, t *task) error {
	if rec == nil {
		return nil
	}
	if rec.GetCommand().GetDeployment() == t.cmd.GetDeployment() {
		return s.dropRecord(ctx, rec)
	}
	cause := rules.SupersededBy(rules.State{Deployment: t.cmd.GetDeployment(), Generation: t.cmd.GetGeneration()})
	why := "Towpath: " + t.cmd.GetDeployment() + " wants what the branch has already, so nothing is left to be merged."
	if err := client.Close(ctx, rec.GetPullRequest().GetNumber(), why); err != nil {
		return forgeError(err)
	}
	if err := s.endFailed(ctx, rec, cause, true); err != nil {
		return err
	}
	s.dropHead(ctx, client, rec)
	return s.dropRecord(ctx, rec)
}

// withdrawPull closes the pull request of a deployment that was cancelled. It answers the outcome when somebody merged it before that.
func (s *Service) withdrawPull(ctx context.Context, t *task) (merged bool, err error) {
	if t.cmd.GetRepository().GetForge().GetKind() == committerv1.Forge_KIND_UNSPECIFIED {
		return false, nil
	}
	client, err := s.forge(t.cmd.GetRepository())
	if err != nil {
		return false, err
	}
	unlock := s.pulls.locks.lock(ctx, t.dep.EnvironmentName())
	if unlock == nil {
		return false, context.Cause(ctx)
	}
	defer unlock()
	rec, err := s.lastRecord(ctx, t.dep)
	if err != nil {
		return false, err
	}
	if rec == nil || rec.GetCommand().GetDeployment() != t.cmd.GetDeployment() {
		err := s.withdrawUnrecorded(ctx, client, t)
		if permanent(err) { // there may never have been one, and a service that does not let us in cannot tell
			s.log.Warn("whether a cancelled deployment has a pull request cannot be told", "deployment", t.cmd.GetDeployment(), "error", err)
			err = nil
		}
		return false, err
	}
	why := "Towpath: " + t.cmd.GetDeployment() + " was cancelled."
	if err := client.Close(ctx, rec.GetPullRequest().GetNumber(), why); err != nil {
		return false, forgeError(err)
	}
	s.failpoint("pull_closed")
	_, merged, err = s.lookAtRecord(ctx, client, rec) // somebody may have merged it before it was closed
	if err != nil || merged {
		return merged, err
	}
	s.dropHead(ctx, client, rec)
	return false, s.dropRecord(ctx, rec)
}

// withdrawUnrecorded closes a pull request that was opened for the deployment and not noted any more.
func (s *Service) withdrawUnrecorded(ctx context.Context, client PullRequests, t *task) error {
	pr, err := client.Find(ctx, t.dep.HeadBranch(), t.cmd.GetRepository().GetBranch())
	if err != nil {
		return forgeError(err)
	}
	if pr == nil || !hasMarker(pr, t.cmd.GetDeployment()) {
		return nil
	}
	if err := client.Close(ctx, pr.Number, "Towpath: "+t.cmd.GetDeployment()+" was cancelled."); err != nil {
		return forgeError(err)
	}
	return client.DeleteBranch(ctx, t.dep.HeadBranch())
}

// dropHead deletes the branch of a pull request that has ended, unless somebody else's commit is at its head: that would be lost. A
// branch that stays is in nobody's way, because the next deployment takes it over.
func (s *Service) dropHead(ctx context.Context, client PullRequests, rec *record) {
	head := rec.GetPullRequest().GetHead()
	err := s.foreignAtHead(ctx, rec)
	if err == nil {
		err = client.DeleteBranch(ctx, head)
	}
	if err != nil {
		s.log.Info("the branch of a pull request stays", "branch", head, "error", err)
		return
	}
	s.failpoint("head_deleted")
}

// foreignAtHead is an error when the head is another commit than the one that we know to have been merged, closed or put there.
func (s *Service) foreignAtHead(ctx context.Context, rec *record) error {
	ref := proto.CloneOf(rec.GetCommand().GetRepository())
	ref.Branch = rec.GetPullRequest().GetHead()
	var tip git.Hash
	err := s.reading(ctx, ref, func(v *view) error {
		var err error
		tip, err = s.views.fetch(ctx, v, ref.GetBranch(), time.Now())
		return err
	})
	known := []string{treeText(git.ZeroHash), rec.GetPullRequest().GetCommit()}
	if err == nil && rec.GetForeignCommit() == "" && !slices.Contains(known, treeText(tip)) {
		return s.ownCommit(ctx, ref, rec, tip)
	}
	if err == nil && rec.GetForeignCommit() != "" && treeText(tip) != rec.GetForeignCommit() && !tip.IsZero() {
		return fmt.Errorf("commit %s at its head is not known", tip)
	}
	return err
}

// ownCommit lets a head be deleted that we put there ourselves just before, when only the record does not say so yet.
func (s *Service) ownCommit(ctx context.Context, ref *committerv1.RepositoryRef, rec *record, tip git.Hash) error {
	return s.reading(ctx, ref, func(v *view) error {
		c, err := v.remote.Commit(ctx, tip)
		if err != nil {
			return err
		}
		if c.Trailer(trailerDeployment) != rec.GetCommand().GetDeployment() {
			return fmt.Errorf("commit %s at its head is not Towpath's", tip)
		}
		return nil
	})
}

func (s *Service) dropRecord(ctx context.Context, rec *record) error {
	return s.cfg.Bus.DropPull(ctx, rec.subject, rec.sequence)
}

// mergeBody is the text of a merge by ourselves: the trailers that tell which deployment it is.
func (s *Service) mergeBody(rec *record) string {
	t, err := s.lookTask(rec)
	if err != nil {
		return ""
	}
	text := ""
	for _, tr := range trailers(t) {
		text += tr.Key + ": " + tr.Value + "\n"
	}
	return text
}

// pullText gathers what a pull request says.
func (s *Service) pullText(ctx context.Context, t *task, p *proposal) rules.PullText {
	text := rules.PullText{
		Deployment: t.dep, Verb: verb(t.cmd.GetMode()), Name: t.cmd.GetDeployment(), Generation: t.cmd.GetGeneration(), RequestID: t.cmd.GetRequestId(),
		Message: t.cmd.GetMessage(), Actor: t.cmd.GetAuthor().GetSubject(), Type: t.cmd.GetPullRequest().GetEnvironmentType(),
		Link: t.cmd.GetPullRequest().GetLink(), RollbackOf: t.cmd.GetRollbackOf(), Summary: t.cmd.GetPullRequest().GetSummary(),
		Path: t.cmd.GetPath(), Files: p.state.FilesChanged,
	}
	if p.foreign != nil {
		text.Replaced = fmt.Sprintf("%s by %s (%s)", p.foreign.Hash, p.foreign.Author.Name, rules.Line(subjectOf(p.foreign.Message)))
	}
	before, err := s.treeFiles(ctx, t.cmd.GetRepository(), p.base, p.before)
	var after map[string][]byte
	if err == nil {
		at := proto.CloneOf(t.cmd.GetRepository())
		at.Branch = t.dep.HeadBranch()
		after, err = s.treeFiles(ctx, at, p.commit, p.after)
	}
	if err != nil {
		text.Diff = "The difference cannot be shown: " + errs.Message(err)
		return text
	}
	text.Diff = manifest.Compare(before, after, nil).GetText()
	return text
}

func subjectOf(message string) string {
	for i, r := range message {
		if r == '\n' {
			return message[:i]
		}
	}
	return message
}

// treeFiles reads a tree for a text. The readers' mirror is asked, so that the lane goes on with its work.
func (s *Service) treeFiles(ctx context.Context, ref *committerv1.RepositoryRef, commit, tree git.Hash) (map[string][]byte, error) {
	if tree.IsZero() {
		return nil, nil
	}
	answer, err := s.GetTree(ctx, &committerv1.GetTreeRequest{Repository: ref, Commit: treeText(commit), Tree: tree.String()})
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(answer.GetFiles()))
	for _, f := range answer.GetFiles() {
		out[f.GetPath()] = f.GetContent()
	}
	return out, nil
}
