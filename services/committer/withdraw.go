package committer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const (
	typeCancel    = "deployment.cancel"
	typeCancelled = "deployment.cancelled"
	// cancelToken is the last part of the subject of a request to withdraw: such a request does not wait behind the command
	// that it is about.
	cancelToken = ".cancel"
)

// errWithdrawn is a lane's answer to a task that somebody cancelled and that is not in Git.
var errWithdrawn = errs.New(errs.Precondition, errorsv1.Reason_REASON_CANCELLED, "the deployment was cancelled before it was in Git")

// withdrawals are the requests, deployment and idempotency key, that people do not want any more. They live as long as the
// request to withdraw is in the stream: it is acknowledged when the command is gone from there, so that nothing forgets one
// while the other can still come.
type withdrawals struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (w *withdrawals) add(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys == nil {
		w.keys = map[string]bool{}
	}
	w.keys[key] = true
}

func (w *withdrawals) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key]
}

func (w *withdrawals) forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
}

// withdraw handles a request to withdraw a deployment. While its command is in the stream, whoever works on that answers: the
// request only has it know, and comes again. When the command is gone, what Git holds is the answer.
func (s *Service) withdraw(ctx context.Context, d events.Delivery) error {
	cmd := new(eventsv1.CancelRequested)
	if err := d.Decode(cmd); err != nil {
		return err
	}
	t, err := withdrawal(cmd)
	if err != nil {
		return err
	}
	s.withdrawals.add(t.key())
	pending, err := s.cfg.Bus.PendingCommand(ctx, strings.TrimSuffix(d.Subject, cancelToken))
	if err != nil {
		return err
	}
	if pending {
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT, "the command is still at work; it sees that it was cancelled")
	}
	o, err := s.lanes.submit(ctx, t)
	switch {
	case err == nil && o.state.Claims: // its claims are in Git and stay there; it is not
		err = s.cancelled(ctx, t)
	case err == nil:
		err = s.announceCommitted(ctx, t, o)
	case permanent(err):
		err = s.cancelled(ctx, t)
	}
	if err == nil {
		s.withdrawals.forget(t.key())
	}
	return err
}

// withdrawal makes a task that looks for the deployment in Git and does nothing else.
func withdrawal(cmd *eventsv1.CancelRequested) (*task, error) {
	dep, err := rules.ParseDeployment(cmd.GetDeployment())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &task{dep: dep, renderStart: now, commitStart: now, cmd: &eventsv1.DeploymentRequested{
		Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), RequestId: cmd.GetRequestId(), Repository: cmd.GetRepository(),
		Path: cmd.GetPath(), Mode: eventsv1.DeploymentRequested_MODE_REMOVE, RequestTime: timestamppb.New(now),
	}}
	t.request = rules.Request{
		Deployment: cmd.GetDeployment(), RequestID: cmd.GetRequestId(), Generation: cmd.GetGeneration(), RequestTime: now,
	}
	return t, t.check()
}

// withdrawn tells whether the task is of a deployment that somebody cancelled.
func (s *Service) withdrawn(t *task) bool { return s.withdrawals.has(t.key()) }

// cancelled tells that a deployment was withdrawn. The id comes from the deployment alone: the command and the request to
// withdraw it may both find that out.
func (s *Service) cancelled(ctx context.Context, t *task) error {
	name := t.cmd.GetDeployment()
	if merged, err := s.withdrawPull(ctx, t); err != nil || merged {
		return err
	}
	err := s.publish(ctx, t.dep, typeCancelled, name+"/cancelled", name, &eventsv1.DeploymentCancelled{
		Deployment: name, Generation: t.cmd.GetGeneration(),
	})
	if err != nil {
		return err
	}
	s.log.Info("deployment withdrawn", "deployment", name)
	s.waiting.forget(name)
	s.metrics.finished.WithLabelValues("cancelled").Inc()
	return nil
}

// refuseWithdrawn ends a task that is not in Git and that somebody cancelled.
func (l *lane) refuseWithdrawn(t *task, verdict rules.Verdict) error {
	if verdict != rules.Proceed && verdict != rules.Moved || !l.svc.withdrawn(t) {
		return nil
	}
	return errWithdrawn
}

func isWithdrawn(err error) bool { return errors.Is(err, errWithdrawn) }
