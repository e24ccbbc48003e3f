package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// planOf makes the plan of a decision as the API shows it.
func (s *Service) planOf(ctx context.Context, c current, next decision) (*catalogv1.Plan, error) {
	p, err := s.plan(ctx, c, next)
	if err != nil {
		return nil, err
	}
	files, err := fileChanges(p.before, p.after)
	if err != nil {
		return nil, err
	}
	live, err := s.live(ctx, c.env)
	if err != nil {
		return nil, err
	}
	drift, err := s.findingLines(ctx, c.env)
	if err != nil {
		return nil, err
	}
	objects, fields, all := rules.CompareObjects(p.before, p.after, p.refs)
	if !all {
		p.warnings = append(p.warnings, "there are more differences than are told field by field; the files have all of them")
	}
	out := &catalogv1.Plan{
		Intent: next.state.Intent, Summary: next.summary, Files: files, BaseTree: withoutAbsent(p.parts.BaseTree),
		Tree: withoutAbsent(p.parts.Tree), Sha256: p.parts.SHA256, Warnings: p.warnings, PlanHash: s.plans.remember(p.parts),
		OpenFindings: live.Msg.GetLive().GetFindings(), Objects: objects, Fields: fields, Verdicts: p.verdicts, Drift: drift,
		Hold: s.holdReason(c), AwaitedOutputs: p.awaited,
	}
	if c.kind != catalogv1.Deployment_KIND_REMOVAL {
		out.SetOperations = rules.Diff(rules.DocumentOf(c.state.Set), rules.DocumentOf(next.state.Set))
	}
	out.ApprovalsRequired = c.site.typ.GetApprovals().GetRequired()
	return out, nil
}

// planDecision gives what a plan's request asks for as the decision of a deployment.
func (s *Service) planDecision(ctx context.Context, r *catalogv1.PlanDeploymentRequest) (catalogv1.Deployment_Kind, func(context.Context, current) (decision, error), error) {
	switch {
	case r.GetRollbackTo() != "":
		decide, err := s.rollbackPlan(r)
		return catalogv1.Deployment_KIND_ROLLBACK, decide, err
	case r.GetPromotion() != nil:
		decide, err := s.promotionPlan(r.GetPromotion())
		return catalogv1.Deployment_KIND_PROMOTION, decide, err
	case r.GetRemoval():
		return catalogv1.Deployment_KIND_REMOVAL, func(_ context.Context, c current) (decision, error) { return removal(c), nil }, nil
	}
	decide, err := s.change(ctx, r.GetChange())
	return catalogv1.Deployment_KIND_CHANGE, decide, err
}

// removal is the decision to take an environment away.
func removal(c current) decision {
	return decision{state: c.state, summary: []string{"removed the environment"}}
}

// The decisions of promotions, new environments and re-rendering rollbacks have files of their own; these interfaces are all that
// plans need of them.
type (
	promoter interface {
		promote(field string, p *catalogv1.Promotion) func(context.Context, current) (decision, error)
	}
	creator interface {
		planCreation(ctx context.Context, env rules.Env, n *catalogv1.NewEnvironment) (*catalogv1.Plan, error)
	}
	rerenderer interface {
		goBackTo(field, name string, rerender bool) func(context.Context, current) (decision, error)
	}
)

func (s *Service) rollbackPlan(r *catalogv1.PlanDeploymentRequest) (func(context.Context, current) (decision, error), error) {
	if !r.GetRerender() {
		return s.goBack("rollback_to", r.GetRollbackTo()), nil
	}
	if with, ok := any(s).(rerenderer); ok {
		return with.goBackTo("rollback_to", r.GetRollbackTo(), true), nil
	}
	return nil, errs.InvalidField("rerender", "cannot be planned by this server; plan the rollback without it")
}

func (s *Service) promotionPlan(p *catalogv1.Promotion) (func(context.Context, current) (decision, error), error) {
	if with, ok := any(s).(promoter); ok {
		return with.promote("promotion", p), nil
	}
	return nil, errs.InvalidField("promotion", "cannot be planned by this server; plan a change with the set of the other environment in change.set")
}

func (s *Service) creationPlan(ctx context.Context, env rules.Env, n *catalogv1.NewEnvironment) (*catalogv1.Plan, error) {
	if with, ok := any(s).(creator); ok {
		return with.planCreation(ctx, env, n)
	}
	return nil, errs.InvalidField("creation", "cannot be planned by this server; create the environment empty and plan its first deployment")
}
