package catalog

import (
	"context"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// Promote brings the set of another environment of the application to this one, by a new deployment. Variables and overlay are
// the target's own, as are definitions and guardrails that it is planned with.
func (s catalogServer) Promote(ctx context.Context, r *catalogv1.PromoteRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_PROMOTION, message: r.GetMessage(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r},
		decide:  s.promote("promotion", r.GetPromotion()),
	}, s.accept)
}

// promote prepares the decision of a promotion. field is where the request has p, for errors.
func (s *Service) promote(field string, p *catalogv1.Promotion) func(context.Context, current) (decision, error) {
	return func(ctx context.Context, c current) (decision, error) {
		from, err := s.sourceOf(ctx, field+".from", p.GetFrom(), c.env)
		if err != nil {
			return decision{}, err
		}
		env, _, _ := rules.EnvOfDeployment(from.GetName())
		if env == c.env {
			return decision{}, errs.InvalidField(field+".from", "is the environment that it would come to; roll back to one of its deployments instead")
		}
		source, err := s.set(ctx, from.GetIntent().GetSet())
		if err != nil {
			return decision{}, err
		}
		next, err := rules.Promote(c.state, source, p.GetWorkloads(), field)
		if err != nil {
			return decision{}, err
		}
		return decision{state: next, promotionOf: from.GetName(), summary: rules.Summary(c.state, next)}, nil
	}
}

// sourceOf reads the deployment that something is copied from: the one that is named, or the one that runs in the environment
// that is named. It stays within the application: other applications may be other people's business.
func (s *Service) sourceOf(ctx context.Context, field, name string, target rules.Env) (*catalogv1.Deployment, error) {
	env, number, err := parseSource(field, name)
	if err != nil {
		return nil, err
	}
	if env.App != target.App {
		return nil, errs.InvalidField(field, "%s is of another application; name an environment or deployment of applications/%s", name, target.App)
	}
	d, err := s.namedDeployment(ctx, env, number)
	if number == "active" && errs.Is(err, errs.NotFound) {
		if _, gone := s.environment(ctx, env); gone != nil {
			return nil, gone
		}
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"nothing runs in %s yet; wait for its deployment, or name one of `tow history -e %s/%s`", env.Name(), env.App, env.ID).With("state", "NOT_RUNNING")
	}
	if err != nil {
		return nil, err
	}
	if d.GetKind() == catalogv1.Deployment_KIND_REMOVAL || d.GetCommit() == "" {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s brought nothing into Git that could be copied; choose another of `tow history -e %s/%s`", d.GetName(), env.App, env.ID).
			With("state", stateName(d.GetState()))
	}
	return d, nil
}

// parseSource takes the name of an environment or deployment apart; the number of an environment is "active".
func parseSource(field, name string) (rules.Env, string, error) {
	if strings.Contains(name, "/deployments/") {
		return rules.ParseDeployment(field, name)
	}
	env, err := rules.ParseEnv(field, name)
	if err != nil {
		return env, "", errs.InvalidField(field, "%q is no environment or deployment; give applications/{application}/environments/{environment}, with /deployments/{number} for one of its deployments", name)
	}
	return env, "active", nil
}
