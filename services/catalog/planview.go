package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// planOf makes the plan of a decision as the API shows it.
func (s *Service) planOf(ctx context.Context, c current, next decision) (*catalogv1.Plan, error) {
	p, err := s.plan(ctx, c, next)
	if err != nil {
		return nil, err
	}
	files, err := p.fileChanges(c)
	if err != nil {
		return nil, err
	}
	if p.warnings, err = s.warnOfCrowd(ctx, c, p.warnings); err != nil {
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
	diff := rules.CompareObjects(p.before, p.after, p.refs)
	if !diff.All {
		p.warnings = append(p.warnings, "there are more differences than are told field by field; the files have all of them")
	}
	out := &catalogv1.Plan{
		Intent: next.state.Intent, Summary: next.summary, Files: files, BaseTree: withoutAbsent(p.base),
		Tree: withoutAbsent(p.parts.Tree), Sha256: p.parts.SHA256, Warnings: p.warnings, PlanHash: s.plans.remember(p.parts),
		OpenFindings: live.Msg.GetLive().GetFindings(), Objects: diff.Objects, Fields: diff.Fields, Text: diff.Text, Verdicts: p.verdicts, Drift: drift,
		Hold: s.holdReason(c), AwaitedOutputs: p.awaited,
	}
	if !next.removal {
		out.SetOperations = rules.Diff(rules.DocumentOf(c.state.Set), rules.DocumentOf(next.state.Set))
	}
	out.WriteMode = rules.WriteModeOf(c.site.typ, c.site.repo)
	out.Place = c.site.place
	if c.move != nil {
		out.FromPlace = c.move.from.place
	}
	out.ApprovalsRequired = c.site.typ.GetApprovals().GetRequired()
	return out, nil
}

// planDecision gives what a plan's request asks for as the decision of a deployment.
func (s *Service) planDecision(ctx context.Context, r *catalogv1.PlanDeploymentRequest) (catalogv1.Deployment_Kind, func(context.Context, current) (decision, error), error) {
	switch {
	case r.GetRollbackTo() != "":
		return catalogv1.Deployment_KIND_ROLLBACK, s.goBackTo("rollback_to", r.GetRollbackTo(), r.GetRerender()), nil
	case r.GetPromotion() != nil:
		return catalogv1.Deployment_KIND_PROMOTION, s.promote("promotion", r.GetPromotion()), nil
	case r.GetRemoval():
		return catalogv1.Deployment_KIND_REMOVAL, s.removal, nil
	}
	decide, err := s.change(ctx, r.GetChange())
	return catalogv1.Deployment_KIND_CHANGE, decide, err
}
