package committer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// The events' types, as they stand in subjects. The envelope's type has a reverse domain name before.
const (
	typeCommitted     = "deployment.committed"
	typeFailed        = "deployment.failed"
	typeWaiting       = "deployment.waiting"
	typeForeignCommit = "repository.foreign_commit"
	typeDesired       = "environment.desired"

	typePrefix = "dev.towpath."
	source     = "//towpath.dev/committer"
)

// publish stores one event of an environment. The same id is stored once.
func (s *Service) publish(ctx context.Context, dep rules.Deployment, eventType, id, resource string, body proto.Message) error {
	subject, err := events.EventSubject(dep.Application, dep.Environment, eventType)
	if err != nil {
		return err
	}
	return s.cfg.Bus.Publish(ctx, events.Message{
		Subject: subject, ID: id, Type: typePrefix + eventType, Source: source, Resource: resource, Body: body,
	})
}

// announce tells that the deployment is in Git: first the desired state, because whoever hears of the commit may look there.
// Their ids come from the deployment alone, so a redelivery is stored once.
func (s *Service) announce(ctx context.Context, t *task, o outcome) error {
	if o.proposed() {
		return nil // told already; the rest follows with its merge
	}
	if t.claims() {
		return s.announceClaims(ctx, t, o)
	}
	if !o.overtaken {
		subject, err := events.DesiredSubject(t.dep.Application, t.dep.Environment)
		if err != nil {
			return err
		}
		if err := s.cfg.Bus.Publish(ctx, events.Message{
			Subject: subject, ID: t.cmd.GetDeployment() + "/desired", Type: typePrefix + typeDesired, Source: source,
			Resource: t.dep.EnvironmentName(), Time: o.end, Body: s.withClaims(ctx, t, desired(t, o)),
		}); err != nil {
			return err
		}
	}
	o, err := s.leavePlaces(ctx, t, o)
	if err != nil {
		return err
	}
	return s.announceCommitted(ctx, t, o)
}

// announceCommitted tells of the commit alone.
func (s *Service) announceCommitted(ctx context.Context, t *task, o outcome) error {
	if err := s.overwritten(ctx, t, o); err != nil {
		return err
	}
	if err := s.publish(ctx, t.dep, typeCommitted, t.cmd.GetDeployment()+"/committed", t.cmd.GetDeployment(), committed(t, o)); err != nil {
		return err
	}
	s.waiting.forget(t.cmd.GetDeployment())
	s.metrics.finished.WithLabelValues("committed").Inc()
	s.failpoint("event_sent")
	return nil
}

func desired(t *task, o outcome) *eventsv1.DesiredState {
	return &eventsv1.DesiredState{
		Environment: t.dep.EnvironmentName(), Deployment: t.cmd.GetDeployment(), Generation: o.state.Generation,
		Repository: t.cmd.GetRepository(), Path: o.state.Path, Commit: o.commit.String(), Tree: o.tree(), Removed: o.state.Removed,
		Parts: o.parts, MainTree: o.mainTree(),
		Target: t.cmd.GetTarget(), Namespace: t.cmd.GetNamespace(), AutomaticSync: t.cmd.GetAutomaticSync(), SelfHeal: t.cmd.GetSelfHeal(),
		SyncPolicy: t.cmd.GetSyncPolicy(), EnvironmentType: t.cmd.GetEnvironmentType(), PruneHeld: t.cmd.GetPruneHeld(),
	}
}

func committed(t *task, o outcome) *eventsv1.DeploymentCommitted {
	return &eventsv1.DeploymentCommitted{
		Deployment: t.cmd.GetDeployment(), Generation: o.state.Generation, Repository: t.cmd.GetRepository().GetName(),
		Branch: t.cmd.GetRepository().GetBranch(), Path: o.state.Path, Commit: o.commit.String(), Tree: o.tree(),
		Parts: o.committedParts(), MainTree: o.mainTree(), Warnings: o.warnings,
		Sha256: o.state.SHA256, Unchanged: o.unchanged(), RendererVersion: o.state.RendererVersion, FilesChanged: o.state.FilesChanged,
		RenderStartTime: timestamppb.New(t.renderStart), CommitStartTime: timestamppb.New(t.commitStart), CommitEndTime: timestamppb.New(o.end),
		PullRequest: t.pullRequest,
	}
}

// conclude decides what becomes of a deployment that is not in Git: told as failed and done with, or shown as waiting and tried
// again by the bus.
func (s *Service) conclude(ctx context.Context, t *task, d events.Delivery, stage string, err error) error {
	switch kind := errs.KindOf(err); {
	case isWithdrawn(err):
		return s.cancelled(ctx, t)
	case permanent(err):
		return s.fail(ctx, t.dep, t.cmd.GetDeployment(), d.Sequence, stage, err)
	case kind == errs.Unavailable || kind == errs.Timeout:
		s.wait(ctx, t, d, stage, err)
	}
	return err
}

// fail publishes that the deployment ended here. The command's sequence makes a redelivery tell it once, and a command that was
// sent again tell it again.
func (s *Service) fail(ctx context.Context, dep rules.Deployment, deployment string, sequence uint64, stage string, err error) error {
	reason := errs.ReasonOf(err)
	ev := &eventsv1.DeploymentFailed{
		Deployment: deployment, Stage: stage, Reason: rpc.ReasonName(reason), Message: errs.Message(err),
		Superseded: reason == errorsv1.Reason_REASON_SUPERSEDED,
	}
	id := fmt.Sprintf("%s/failed/%d", deployment, sequence)
	if err := s.publish(ctx, dep, typeFailed, id, deployment, ev); err != nil {
		return err
	}
	s.log.Info("deployment not committed", "deployment", deployment, "stage", stage, "reason", ev.GetReason(), "error", err)
	s.waiting.forget(deployment)
	s.health.served(deployment)
	s.metrics.finished.WithLabelValues("failed").Inc()
	return nil
}

// wait tells once per reason why the deployment does not go on. The deployment waits in any case, so a lost event is only
// logged.
func (s *Service) wait(ctx context.Context, t *task, d events.Delivery, stage string, err error) {
	ev := &eventsv1.DeploymentWaiting{
		Deployment: t.cmd.GetDeployment(), Stage: stage, Reason: errs.Message(err), Attempts: int32(min(d.Attempt, 1<<30)),
	}
	if !s.waiting.changed(ev.GetDeployment(), stage+"\n"+ev.GetReason()) {
		return
	}
	id := fmt.Sprintf("%s/waiting/%d", ev.GetDeployment(), time.Now().UnixNano())
	if err := s.publish(ctx, t.dep, typeWaiting, id, ev.GetDeployment(), ev); err != nil {
		s.waiting.forget(ev.GetDeployment())
		s.log.Info("a waiting deployment could not be shown", "deployment", ev.GetDeployment(), "error", err)
	}
}

// deadLetter tells of a command that the bus has given up.
func (s *Service) deadLetter(ctx context.Context, d events.Delivery, dead events.DeadLetter) {
	if d.Type == typePrefix+typeCancel { // the deployment goes on as if nobody had asked; the catalog asks again
		s.log.Error("a request to withdraw a deployment was given up", "deployment", d.Resource, "reason", dead.Reason)
		return
	}
	if d.Type == typePrefix+typeForeignDecision { // the catalog asks again
		s.log.Error("a decision about a foreign change was given up", "environment", d.Resource, "reason", dead.Reason)
		return
	}
	dep, err := rules.ParseDeployment(d.Resource)
	var cmd eventsv1.DeploymentRequested
	if err != nil && d.Decode(&cmd) == nil {
		d.Resource = cmd.GetDeployment()
		dep, err = rules.ParseDeployment(d.Resource)
	}
	if err != nil {
		s.log.Error("a command without a deployment's name was given up", "subject", d.Subject, "id", d.ID)
		return
	}
	cause := errs.New(errs.Precondition, errorsv1.Reason_REASON_INTERNAL,
		"given up after %d attempts: %s; the command is kept among the dead letters and can be sent again", dead.Attempts, dead.Reason)
	for attempt := 1; ctx.Err() == nil; attempt++ {
		err := s.fail(ctx, dep, d.Resource, d.Sequence, stageCommit, cause)
		if err == nil || permanent(err) || attempt == 5 {
			return
		}
		s.log.Warn("a given up deployment could not be shown; trying again", "deployment", d.Resource, "error", err)
		pause(ctx, 20)
	}
}
