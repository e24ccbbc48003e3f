package catalog

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// runProjection takes in what the other services report until ctx ends. Each event is acknowledged after its transaction. Events
// of one environment are handled in their order, and it would not matter if they were not: see rules.
func (s *Service) runProjection(ctx context.Context) error {
	if err := s.ensured(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	cfg := events.ConsumerConfig{
		Stream: events.StreamEvents, Durable: "catalog",
		Lane: func(e events.Envelope) string { // towpath.evt.<application>.<environment>.<type>
			t := strings.SplitN(e.Subject, ".", 5)
			return strings.Join(t[:min(4, len(t))], ".")
		},
		OnDeadLetter: func(_ context.Context, d events.Delivery, dead events.DeadLetter) {
			s.log.Error("an event could not be taken in", "type", d.Type, "resource", d.Resource, "reason", dead.Reason)
		},
	}
	return s.cfg.Bus.Consume(ctx, cfg, s.project)
}

// ensured waits until the streams are there.
func (s *Service) ensured(ctx context.Context) error {
	for {
		err := s.cfg.Bus.Ensure(ctx)
		if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Timeout) {
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// project takes one event in. Handling it again changes nothing.
func (s *Service) project(ctx context.Context, d events.Delivery) error {
	switch strings.TrimPrefix(d.Type, typePrefix) {
	case "deployment.waiting":
		return onDeployment(ctx, s, d, &eventsv1.DeploymentWaiting{}, rules.Wait)
	case "deployment.committed":
		if err := onDeployment(ctx, s, d, &eventsv1.DeploymentCommitted{}, rules.Commit); err != nil {
			return err
		}
		if err := onEvent(ctx, s, d, &eventsv1.DeploymentCommitted{}, s.onCommittedOver); err != nil {
			return err
		}
		return onEvent(ctx, s, d, &eventsv1.DeploymentCommitted{}, s.onCommitted)
	case "deployment.pull_request":
		return onDeployment(ctx, s, d, &eventsv1.DeploymentPullRequest{}, rules.Review)
	case "repository.foreign_commit":
		return onEvent(ctx, s, d, &eventsv1.ForeignCommit{}, s.onForeign)
	case "repository.foreign_resolved":
		return onEvent(ctx, s, d, &eventsv1.ForeignResolved{}, s.onForeignResolved)
	case "deployment.cancelled":
		return onDeployment(ctx, s, d, &eventsv1.DeploymentCancelled{}, rules.Withdrawn)
	case "deployment.failed":
		return onDeployment(ctx, s, d, &eventsv1.DeploymentFailed{}, rules.Fail)
	case "deployment.claims":
		return onEvent(ctx, s, d, &eventsv1.ClaimsCommitted{}, s.onClaims)
	case "resource.outputs":
		return onEvent(ctx, s, d, &eventsv1.ResourceOutputsReported{}, s.onOutputs)
	case "environment.synced":
		return onEvent(ctx, s, d, &eventsv1.EnvironmentSynced{}, s.onSynced)
	case "environment.health":
		return onEvent(ctx, s, d, &eventsv1.EnvironmentHealth{}, s.onHealth)
	case "environment.removed":
		return onEvent(ctx, s, d, &eventsv1.EnvironmentRemoved{}, s.onRemoved)
	case "drift.detected":
		return onEvent(ctx, s, d, &eventsv1.DriftDetected{}, func(ctx context.Context, e *eventsv1.DriftDetected, at time.Time) error {
			if err := s.noteFinding(ctx, e.GetEnvironment(), e.GetFinding(), e.GetOpen(), at); err != nil {
				return err
			}
			if err := s.recordFinding(ctx, e.GetEnvironment(), e.GetFinding(), at); err != nil {
				return err
			}
			return s.countFindings(ctx, e.GetEnvironment(), e.GetOpen(), at)
		})
	case "drift.resolved":
		return onEvent(ctx, s, d, &eventsv1.DriftResolved{}, func(ctx context.Context, e *eventsv1.DriftResolved, at time.Time) error {
			if err := s.noteFinding(ctx, e.GetEnvironment(), e.GetFinding(), e.GetOpen(), at); err != nil {
				return err
			}
			if err := s.recordFinding(ctx, e.GetEnvironment(), e.GetFinding(), at); err != nil {
				return err
			}
			return s.countFindings(ctx, e.GetEnvironment(), e.GetOpen(), at)
		})
	}
	return nil // of no concern for history
}

func onEvent[E proto.Message](ctx context.Context, _ *Service, d events.Delivery, e E, handle func(context.Context, E, time.Time) error) error {
	if err := d.Decode(e); err != nil {
		return err
	}
	return handle(ctx, e, d.Time.UTC())
}

// onDeployment handles an event that concerns one deployment and nothing else.
func onDeployment[E interface {
	proto.Message
	GetDeployment() string
}](ctx context.Context, s *Service, d events.Delivery, e E, move func(*catalogv1.Deployment, E, time.Time)) error {
	return onEvent(ctx, s, d, e, func(ctx context.Context, e E, at time.Time) error {
		env, generation, ok := rules.EnvOfDeployment(e.GetDeployment())
		if !ok {
			return errs.InvalidField("deployment", "%q is no deployment", e.GetDeployment())
		}
		found, err := s.moveDeployment(ctx, env, generation, func(row *catalogv1.Deployment) { move(row, e, at) })
		if err == nil && !found {
			s.log.Warn("an event is about a deployment that this catalog does not have", "type", d.Type, "deployment", e.GetDeployment())
		}
		return err
	})
}

// moveDeployment changes one deployment's row; false when there is none.
func (s *Service) moveDeployment(ctx context.Context, env rules.Env, generation int64, move func(*catalogv1.Deployment)) (found bool, err error) {
	err = retry(ctx, func() error {
		row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, generation))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		var tx store.Tx
		if err := s.moved(ctx, &tx, row, move); err != nil || len(tx.Ops) == 0 {
			return err
		}
		if err := s.settleIntent(ctx, &tx, env, row.Msg, move); err != nil {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	return found, err
}

// moved adds a row's change to the transaction, nothing when it does not change.
func (s *Service) moved(ctx context.Context, tx *store.Tx, row store.Row[*catalogv1.Deployment], move func(*catalogv1.Deployment)) error {
	next := proto.CloneOf(row.Msg)
	move(next)
	if proto.Equal(next, row.Msg) {
		return nil
	}
	markChanged(next, next.GetState() != row.Msg.GetState())
	next.UpdateTime = timestamppb.New(s.now())
	if rules.IsFinal(next.GetState()) {
		tx.Delete(openPrefix + row.ID)
	} else if rules.IsFinal(row.Msg.GetState()) {
		tx.Put(openPrefix+row.ID, nil)
	}
	if row.Msg.GetState() == catalogv1.Deployment_STATE_AWAITING_APPROVAL && next.GetState() != row.Msg.GetState() {
		tx.Delete(awaitingPrefix + row.ID)
	}
	if err := s.followLatest(ctx, tx, next); err != nil {
		return err
	}
	return deployments.Update(tx, row.ID, row.Rev, next)
}

// onSynced notes that a deployment has reached the cluster, and what that means for those before it.
func (s *Service) onSynced(ctx context.Context, e *eventsv1.EnvironmentSynced, at time.Time) error {
	return s.onRow(ctx, e.GetDeployment(), func(env rules.Env, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		synced := proto.CloneOf(row.Msg)
		rules.Sync(synced, e, at)
		synced.Commit = cmp.Or(synced.GetCommit(), e.GetCommit()) // the committer's own word may come later
		next, err := s.nextActive(ctx, env, synced.GetGeneration())
		if err != nil {
			return err
		}
		move := func(d *catalogv1.Deployment) {
			rules.Sync(d, e, at)
			if next != nil { // late: another has taken its place already, and overtook it if it had not ended
				rules.Succeed(d, next)
			}
		}
		if err := s.moved(ctx, tx, row, move); err != nil {
			return err
		}
		if row.Msg.GetKind() == catalogv1.Deployment_KIND_MOVE { // its commit may be told later
			if err := s.settleIntent(ctx, tx, env, row.Msg, move); err != nil {
				return err
			}
		}
		if err := s.overtake(ctx, tx, env, synced.GetGeneration(), synced); err != nil {
			return err
		}
		return s.activate(ctx, tx, env, synced)
	})
}

// onRow changes what an event about a deployment is about, in one transaction; nothing when this catalog does not have it.
func (s *Service) onRow(ctx context.Context, name string, change func(rules.Env, store.Row[*catalogv1.Deployment], *store.Tx) error) error {
	env, generation, ok := rules.EnvOfDeployment(name)
	if !ok {
		return errs.InvalidField("deployment", "%q is no deployment", name)
	}
	return retry(ctx, func() error {
		row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, generation))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var tx store.Tx
		if err := change(env, row, &tx); err != nil || len(tx.Ops) == 0 {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
}

// nextActive gives the first deployment behind generation that has reached the cluster, nil for none.
func (s *Service) nextActive(ctx context.Context, env rules.Env, generation int64) (*catalogv1.Deployment, error) {
	r := store.ScanRange{Prefix: envKey(env) + "/", After: depKey(env, generation), Limit: 32}
	for row, err := range deployments.Range(ctx, s.cfg.KV, r) {
		if err != nil {
			return nil, err
		}
		if row.Msg.GetActiveFrom() != nil {
			return row.Msg, nil
		}
	}
	return nil, nil
}

// overtake ends the deployments before one that has reached the cluster: back to the one that ran before it, which was dealt
// with what is before that when it came.
func (s *Service) overtake(ctx context.Context, tx *store.Tx, env rules.Env, generation int64, by *catalogv1.Deployment) error {
	at := by.GetActiveFrom().AsTime()
	r := store.ScanRange{Prefix: envKey(env) + "/", After: depKey(env, generation), Limit: 32, Reverse: true}
	for row, err := range deployments.Range(ctx, s.cfg.KV, r) {
		if err != nil {
			return err
		}
		err = s.moved(ctx, tx, row, func(d *catalogv1.Deployment) {
			if !rules.IsFinal(d.GetState()) || d.GetState() == catalogv1.Deployment_STATE_SUPERSEDED {
				rules.Overtake(d, at)
			}
			rules.Succeed(d, by)
		})
		if err != nil {
			return err
		}
		if row.Msg.GetActiveFrom() != nil || len(tx.Ops) > store.MaxTxOps/2 {
			return nil
		}
	}
	return nil
}
