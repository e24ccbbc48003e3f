package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// hold validates what would be deployed: it renders, and no guardrail may deny it. With a plan it also demands that the same
// comes out as was planned, and pins that for the committer, which checks it again at the push.
func (s *Service) hold(ctx context.Context, o order, c current, next decision, d *catalogv1.Deployment) error {
	c.kind = o.kind
	switch {
	case o.planHash != "" || d.GetApprovalsRequired() > 0: // people approve a plan
		return s.holdToPlan(ctx, o, c, next, d)
	case o.kind == catalogv1.Deployment_KIND_REMOVAL:
		return nil
	case next.moves:
		return s.holdMove(ctx, c, next, d)
	case next.restore != nil: // the tree is there already; its set may be one that today's renderer would refuse
		verdicts, _, err := s.judgeRestored(ctx, c, next)
		if err != nil {
			return err
		}
		return judge(d, verdicts)
	}
	resp, err := s.render(ctx, c, next.state)
	if err := s.orAwait(ctx, c, next.state, d, err); err != nil {
		return err
	}
	return judge(d, resp.GetVerdicts())
}

func (s *Service) holdToPlan(ctx context.Context, o order, c current, next decision, d *catalogv1.Deployment) error {
	p, err := s.plan(ctx, c, next)
	if err != nil {
		return err
	}
	if o.planHash != "" {
		if err := s.plans.check(o.planHash, p.parts); err != nil {
			return err
		}
	}
	s.holdTo(d, p)
	return judge(d, p.verdicts)
}

// judge refuses what a guardrail denies, and notes in the deployment what others warn of.
func judge(d *catalogv1.Deployment, verdicts []*rendererv1.Verdict) error {
	var denied []*rendererv1.Verdict
	for _, v := range verdicts {
		if v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_DENY {
			denied = append(denied, v)
			continue
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	if len(denied) == 0 {
		return nil
	}
	first, more := denied[0], ""
	if len(denied) > 1 {
		more = fmt.Sprintf(" (and %d more; a plan lists all)", len(denied)-1)
	}
	object := strings.Trim(first.GetObject().GetKind()+"/"+first.GetObject().GetName(), "/")
	place := object
	if first.GetPath() != "" {
		place += " at " + first.GetPath()
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_GUARDRAIL, "the guardrail %s refuses %s: %s%s",
		first.GetGuardrail(), place, first.GetMessage(), more).
		With("guardrail", first.GetGuardrail()).With("object", object).With("path", first.GetPath()).With("message", first.GetMessage()).
		With("denied", strconv.Itoa(len(denied)))
}

// judgeRestored asks the guardrails about a tree that is put back. They are asked about objects that are rendered, so that this is
// possible where rendering the deployment's intent still gives that tree; where it does not, the tree is put back as it is and
// the warning says so.
func (s *Service) judgeRestored(ctx context.Context, c current, next decision) (verdicts []*rendererv1.Verdict, warning string, err error) {
	if len(c.site.typ.GetGuardrails()) == 0 {
		return nil, "", nil
	}
	resp, err := s.render(ctx, c, next.state)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) || ctx.Err() != nil {
		return nil, "", err // a rule must not be passed by because the renderer was away
	}
	if resp.GetBundle().GetTree() == next.restore.GetTree() { // never so after an error: what is restored has a tree
		return resp.GetVerdicts(), "", nil
	}
	return nil, "guardrails were not asked: rendering " + next.restore.GetName() + " again does not give the tree that is put back", nil
}

// render makes the bundle and asks the guardrails; what the renderer says about bad input goes through unchanged.
func (s *Service) render(ctx context.Context, c current, state rules.State) (*rendererv1.RenderResponse, error) {
	return s.rendered(ctx, c, state, false)
}

// renderClaims makes the claims alone, for resources whose outputs are not known yet.
func (s *Service) renderClaims(ctx context.Context, c current, state rules.State) (*rendererv1.RenderResponse, error) {
	return s.rendered(ctx, c, state, true)
}

func (s *Service) rendered(ctx context.Context, c current, state rules.State, claimsOnly bool) (*rendererv1.RenderResponse, error) {
	input, err := s.input(ctx, c, state)
	if err != nil {
		return nil, err
	}
	kind := c.kind
	if kind == catalogv1.Deployment_KIND_UNSPECIFIED {
		kind = catalogv1.Deployment_KIND_CHANGE
	}
	resp, err := s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{
		Input: input, Guardrails: c.site.typ.GetGuardrails(), ClaimsOnly: claimsOnly,
		Facts: &rendererv1.DeploymentFacts{Kind: strings.TrimPrefix(kind.String(), "KIND_"), Actor: actor(ctx)},
	})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	if !claimsOnly { // the claims are not all that the definitions are for
		keepUsed(state.Intent, resp)
	}
	rules.KeepOutputs(state.Intent, resp.GetClaims())
	return resp, nil
}
