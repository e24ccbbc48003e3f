package catalog

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxComments bounds what people can say about one deployment.
const maxComments = 100

// CancelDeployment withdraws a deployment that is not in Git yet. One that the committer has is withdrawn by a command to it,
// and its answer decides. From the moment of this call nothing that comes later is made on top of it.
func (s catalogServer) CancelDeployment(ctx context.Context, r *catalogv1.CancelDeploymentRequest) (*catalogv1.Deployment, error) {
	by := actor(ctx)
	return s.alter(ctx, r.GetName(), func(ctx context.Context, env rules.Env, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		d := row.Msg
		if !rules.BeforeCommit(d.GetState()) {
			why := "it has ended"
			if d.GetCommit() != "" || d.GetState() == catalogv1.Deployment_STATE_SYNCING {
				why = "it is in Git; go back with a rollback"
			}
			return wrongState(d, "cancelled", why)
		}
		if d.GetCancellation() != nil {
			return nil // asked for already
		}
		if err := s.refuseBuiltUpon(ctx, env, d); err != nil {
			return err
		}
		e, err := s.cfg.KV.Get(ctx, sentPrefix+envKey(env))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		last, err := decodeSent(e)
		if err != nil {
			return err
		}
		tx.If(store.IfRev(sentPrefix+envKey(env), e.Rev)) // it must not be sent at this very moment
		now := s.now()
		cancel := func(d *catalogv1.Deployment) {
			d.Cancellation = &catalogv1.Comment{Actor: by, Text: r.GetComment(), Time: timestamppb.New(now)}
			if last.Generation != d.GetGeneration() && !rules.Reviewing(d.GetState()) {
				rules.Cancel(d, now)
				return
			}
			d.WaitingReason = "cancelled by " + by + "; the committer has it and answers whether it is in Git already"
		}
		return errors.Join(s.moved(ctx, tx, row, cancel), s.settleIntent(ctx, tx, env, d, cancel))
	})
}

// refuseBuiltUpon refuses to cancel a deployment that a later one in line was made on: that one brings its change too.
func (s *Service) refuseBuiltUpon(ctx context.Context, env rules.Env, d *catalogv1.Deployment) error {
	if !rules.WithCommitter(d.GetState()) {
		return nil
	}
	e, err := s.environment(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	newest, err := s.newestThat(ctx, env, e.Msg, rules.Carries)
	if err != nil || newest.GetGeneration() <= d.GetGeneration() || !rules.WithCommitter(newest.GetState()) {
		return err
	}
	return wrongState(d, "cancelled", newest.GetName()+" was made on top of it and brings its change too; cancel that one first")
}

// CommentDeployment adds a comment.
func (s catalogServer) CommentDeployment(ctx context.Context, r *catalogv1.CommentDeploymentRequest) (*catalogv1.Deployment, error) {
	by := actor(ctx)
	return s.alter(ctx, r.GetName(), func(ctx context.Context, _ rules.Env, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		if len(row.Msg.GetComments()) >= maxComments {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_TOO_LARGE,
				"%s has %d comments already, which is the most; put the rest where your team writes", row.Msg.GetName(), maxComments).With("limit", "comments")
		}
		now := timestamppb.New(s.now())
		return s.moved(ctx, tx, row, func(d *catalogv1.Deployment) {
			d.Comments = append(d.Comments, &catalogv1.Comment{Actor: by, Text: r.GetText(), Time: now})
		})
	})
}

// alter changes a deployment's row in one transaction, again when somebody else was faster.
func (s *Service) alter(ctx context.Context, name string,
	change func(context.Context, rules.Env, store.Row[*catalogv1.Deployment], *store.Tx) error,
) (*catalogv1.Deployment, error) {
	env, number, err := rules.ParseDeployment("name", name)
	if err != nil {
		return nil, err
	}
	found, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return nil, err
	}
	err = retry(ctx, func() error {
		row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, found.GetGeneration()))
		if err != nil {
			return orNotFound(err, name, "")
		}
		var tx store.Tx
		if err := change(ctx, env, row, &tx); err != nil || len(tx.Ops) == 0 {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.deployment(ctx, env, found.GetGeneration())
}

// RetryDeployment deploys what a deployment meant to that ended before it did.
func (s catalogServer) RetryDeployment(ctx context.Context, r *catalogv1.RetryDeploymentRequest) (*catalogv1.Deployment, error) {
	env, number, err := rules.ParseDeployment("name", r.GetName())
	if err != nil {
		return nil, err
	}
	of, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return nil, err
	}
	o := order{
		env: env, kind: of.GetKind(), message: r.GetMessage(), retry: of, decide: s.again(of),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r},
	}
	if o.message == "" {
		o.message = of.GetMessage()
	}
	accept := s.accept
	switch of.GetKind() {
	case catalogv1.Deployment_KIND_REMOVAL:
		accept = s.acceptRemoval
	case catalogv1.Deployment_KIND_MOVE:
		accept, o.decide = s.acceptMove, s.relocation
		o.current = func(ctx context.Context) (current, error) { return s.moving(ctx, env) }
	}
	return s.deploy(ctx, o, func(ctx context.Context, o order) (*catalogv1.Deployment, error) {
		if err := s.mayRetry(ctx, env, of); err != nil {
			return nil, err
		}
		return accept(ctx, o)
	})
}

// mayRetry refuses to try again what did not fail, and what would undo a later deployment: the intent is the one of then.
func (s *Service) mayRetry(ctx context.Context, env rules.Env, of *catalogv1.Deployment) error {
	switch of.GetState() {
	case catalogv1.Deployment_STATE_FAILED, catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED:
	default:
		return wrongState(of, "tried again", "only one that failed, was rejected or was cancelled can be")
	}
	e, err := s.environment(ctx, env)
	if err != nil {
		return err
	}
	newest, err := s.newestThat(ctx, env, e.Msg, rules.Carries)
	if err != nil || newest.GetGeneration() <= of.GetGeneration() {
		return err
	}
	return wrongState(of, "tried again", "it would undo "+newest.GetName()+", which came after it; make the change anew")
}

// again decides what a deployment meant then.
func (s *Service) again(of *catalogv1.Deployment) func(context.Context, current) (decision, error) {
	return func(ctx context.Context, c current) (decision, error) {
		state, err := s.state(ctx, of.GetIntent())
		if err != nil {
			return decision{}, err
		}
		next := decision{state: state, summary: rules.Summary(c.state, state)}
		if of.GetKind() == catalogv1.Deployment_KIND_ROLLBACK && !of.GetRerender() {
			next.restore, err = s.rollbackOf(ctx, of)
		}
		return next, err
	}
}
