package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// begin gives a new deployment its first state. What its environment's type asks for is pinned: a rule that changes later
// changes nothing for what is accepted.
func (s *Service) begin(ctx context.Context, o order, c current, d *catalogv1.Deployment, now time.Time) {
	d.Origin = o.origin
	if d.Origin == "" {
		d.Origin = originOf(ctx)
	}
	if o.retry != nil {
		d.RetryOf, d.PromotionOf, d.Rerender = o.retry.GetName(), o.retry.GetPromotionOf(), o.retry.GetRerender()
	}
	rule := c.site.typ.GetApprovals()
	// An order of Towpath's own, such as the end of a TTL, was agreed to when that was set.
	if rule.GetRequired() == 0 || o.origin != "" {
		rules.Accept(d, now)
		return
	}
	d.ApprovalsRequired, d.AuthorMayApprove = rule.GetRequired(), rule.GetAuthorMayApprove()
	rules.Await(d, now)
}

// holdTo pins a plan: what people see, and what the committer checks at the push.
func (s *Service) holdTo(d *catalogv1.Deployment, p planned) {
	d.PlanHash, d.AwaitedOutputs, d.PlannedTree, d.PlannedBaseTree = s.plans.remember(p.parts), p.awaited, "", ""
	if len(p.awaited) > 0 {
		return // what comes out hangs on what the cluster says, and claims are committed before it
	}
	d.PlannedBaseTree = p.base
	p.pinBases(d)
	if d.GetKind() != catalogv1.Deployment_KIND_REMOVAL {
		d.PlannedTree = p.parts.Tree
	}
}

// ApproveDeployment votes for a deployment that waits for approval. Whoever votes sees the plan; it is made again here, and
// one that has moved voids all votes. With the last vote the deployment gets in line, held to its plan.
func (s catalogServer) ApproveDeployment(ctx context.Context, r *catalogv1.ApproveDeploymentRequest) (*catalogv1.Deployment, error) {
	return s.vote(ctx, r.GetName(), "approved", func(c current, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		d := row.Msg
		if err := rules.MayApprove(d, actor(ctx)); err != nil {
			return err
		}
		if h := r.GetPlanHash(); h != "" && h != d.GetPlanHash() {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED,
				"the plan of %s is another one now; look at it and approve that: plan_hash %s", d.GetName(), d.GetPlanHash()).With("moved", "plan_hash")
		}
		if c.row.Msg.GetState() == catalogv1.Environment_STATE_DELETING {
			return wrongState(d, "approved", "its environment is being removed")
		}
		if d.GetKind() != catalogv1.Deployment_KIND_MOVE {
			if err := s.refuseMoving(ctx, c); err != nil {
				return err
			}
		}
		if by, err := s.underWay(ctx, c.env); err != nil || by != "" {
			return errors.Join(err, inTheWay(d, by))
		}
		again, p, err := s.replan(ctx, c, d)
		if err != nil {
			return err
		}
		if moved := s.plans.check(d.GetPlanHash(), p.parts); moved != nil {
			if err := s.voidPlan(ctx, c, row, again, p, moved); err != nil {
				return err
			}
			return moved
		}
		if err := judge(proto.CloneOf(d), p.verdicts); err != nil { // a guardrail may be newer than the deployment
			return err
		}
		return s.approve(ctx, c, row, r.GetComment(), tx)
	})
}

// RejectDeployment ends a deployment that waits for approval.
func (s catalogServer) RejectDeployment(ctx context.Context, r *catalogv1.RejectDeploymentRequest) (*catalogv1.Deployment, error) {
	return s.vote(ctx, r.GetName(), "rejected", func(c current, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		now, by := s.now(), actor(ctx)
		reject := func(d *catalogv1.Deployment) {
			rules.Vote(d, by, false, r.GetComment(), now)
			d.WaitingReason = ""
			rules.Reject(d, now)
		}
		if err := s.moved(ctx, tx, row, reject); err != nil {
			return err
		}
		return s.settleIntent(ctx, tx, c.env, row.Msg, reject)
	})
}

// vote changes a deployment that waits for approval.
func (s *Service) vote(ctx context.Context, name, verb string, change func(current, store.Row[*catalogv1.Deployment], *store.Tx) error) (*catalogv1.Deployment, error) {
	env, number, err := rules.ParseDeployment("name", name)
	if err != nil {
		return nil, err
	}
	found, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return nil, err
	}
	unlock, err := s.envs.lock(ctx, envKey(env))
	if err != nil {
		return nil, err
	}
	defer unlock()
	err = retry(ctx, func() error {
		row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, found.GetGeneration()))
		if err != nil {
			return orNotFound(err, name, "")
		}
		if row.Msg.GetState() != catalogv1.Deployment_STATE_AWAITING_APPROVAL {
			return wrongState(row.Msg, verb, "only one that waits for approval can be")
		}
		c, err := s.current(ctx, env)
		if err != nil {
			return err
		}
		var tx store.Tx
		if err := change(c, row, &tx); err != nil {
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

// approve adds the vote, and with the last one that the deployment goes ahead.
func (s *Service) approve(ctx context.Context, c current, row store.Row[*catalogv1.Deployment], comment string, tx *store.Tx) error {
	now, by := s.now(), actor(ctx)
	cast := func(d *catalogv1.Deployment) {
		rules.Vote(d, by, true, comment, now)
		if rules.Approved(d) {
			rules.Proceed(d, now)
		}
	}
	if err := s.moved(ctx, tx, row, cast); err != nil {
		return err
	}
	d := proto.CloneOf(row.Msg)
	if cast(d); !rules.Approved(d) {
		return nil
	}
	e := proto.CloneOf(c.row.Msg)
	if err := s.goAhead(ctx, tx, c.env, e, d, nil); err != nil {
		return err
	}
	return environments.Update(tx, c.row.ID, c.row.Rev, e)
}

// replan decides and plans a waiting deployment again, on what its environment is meant to be now: another deployment may
// have gone ahead, and variables, definitions and the environment's type may have changed.
func (s *Service) replan(ctx context.Context, c current, d *catalogv1.Deployment) (decision, planned, error) {
	mine, err := s.state(ctx, d.GetIntent())
	if err != nil {
		return decision{}, planned{}, err
	}
	next := decision{state: mine, summary: d.GetSummary()}
	switch {
	case d.GetKind() == catalogv1.Deployment_KIND_MOVE:
		c, next, err = s.redecidedMove(ctx, c, d)
	case d.GetKind() == catalogv1.Deployment_KIND_REMOVAL:
		next.removal = true
	case d.GetKind() == catalogv1.Deployment_KIND_ROLLBACK && !d.GetRerender():
		next.restore, err = s.rollbackOf(ctx, d)
	default:
		next, err = s.decided(ctx, c, func(ctx context.Context, c current) (decision, error) { return s.redecided(ctx, c, d, mine) })
	}
	if err != nil {
		return next, planned{}, err
	}
	c.kind = d.GetKind()
	p, err := s.plan(ctx, c, next)
	return next, p, err
}

// redecided gives what a waiting deployment's change leads to on what its environment is meant to be now.
func (s *Service) redecided(ctx context.Context, c current, d *catalogv1.Deployment, mine rules.State) (decision, error) {
	e, err := s.cfg.KV.Get(ctx, awaitingPrefix+depKey(c.env, d.GetGeneration()))
	if err != nil {
		return decision{}, err
	}
	intent := &catalogv1.Intent{}
	if err := proto.Unmarshal(e.Value, intent); err != nil {
		return decision{}, err
	}
	next := decision{state: mine, summary: d.GetSummary()}
	if d.GetRerender() {
		if next.rerender, err = s.rollbackOf(ctx, d); err != nil {
			return next, err
		}
	}
	if rules.SameChange(intent, c.row.Msg.GetIntent()) {
		return next, nil
	}
	base, err := s.state(ctx, intent)
	if err != nil {
		return decision{}, err
	}
	next.state, err = rules.RebaseState(base, mine, c.state)
	next.summary = rules.Summary(c.state, next.state)
	return next, err
}

// voidPlan gives a waiting deployment the plan of now. The votes on the old one no longer count.
func (s *Service) voidPlan(ctx context.Context, c current, row store.Row[*catalogv1.Deployment], next decision, p planned, why error) error {
	var e *errs.Error
	moved := "plan"
	if errors.As(why, &e) && e.Meta["moved"] != "" {
		moved = e.Meta["moved"]
	}
	var tx store.Tx
	if err := s.putSet(ctx, &tx, next.state.Set); err != nil {
		return err
	}
	if err := putBase(&tx, row.ID, c.row.Msg.GetIntent()); err != nil {
		return err
	}
	err := s.moved(ctx, &tx, row, func(d *catalogv1.Deployment) {
		d.Intent, d.Summary = next.state.Intent, next.summary
		rules.Replan(d, p.parts.Hash(), moved)
		s.holdTo(d, p)
	})
	if err != nil {
		return err
	}
	tx.If(store.IfRev(environments.Key(c.row.ID), c.row.Rev))
	_, err = s.cfg.KV.Commit(ctx, tx)
	return err
}

// underWay names the deployment that the committer has now, "" for none. Its outcome decides what the next one is made on.
func (s *Service) underWay(ctx context.Context, env rules.Env) (string, error) {
	e, err := s.cfg.KV.Get(ctx, sentPrefix+envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var last sent
	if err := json.Unmarshal(e.Value, &last); err != nil {
		return "", err
	}
	d, err := s.deployment(ctx, env, last.Generation)
	if errs.Is(err, errs.NotFound) || err == nil && !rules.InLine(d.GetState()) {
		return "", nil
	}
	return d.GetName(), err
}

// inTheWay is the error of a vote while another deployment is on its way into Git, nil for none.
func inTheWay(d *catalogv1.Deployment, by string) error {
	if by == "" {
		return nil
	}
	return wrongState(d, "approved", by+" is on its way into Git and moves the plan; approve when that is there")
}

// wrongState is the error of a call that a deployment's state does not allow.
func wrongState(d *catalogv1.Deployment, verb, why string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is %s and cannot be %s: %s",
		d.GetName(), stateName(d.GetState()), verb, why).With("state", stateName(d.GetState()))
}
