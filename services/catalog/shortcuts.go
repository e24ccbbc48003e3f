package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// SetImage deploys another image of one container.
func (s catalogServer) SetImage(ctx context.Context, r *catalogv1.SetImageRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: r.GetMessage(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r},
		decide: s.shortcut(func(from rules.State) (*catalogv1.Change, error) {
			return rules.SetImage(from, r.GetWorkload(), r.GetContainer(), r.GetImage())
		}),
	}, s.accept)
}

// ScaleWorkload deploys another number of replicas, in this environment alone.
func (s catalogServer) ScaleWorkload(ctx context.Context, r *catalogv1.ScaleWorkloadRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: r.GetMessage(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r},
		decide: s.shortcut(func(from rules.State) (*catalogv1.Change, error) {
			return rules.Scale(from, r.GetWorkload(), r.GetReplicas())
		}),
	}, s.accept)
}

// shortcut prepares the decision of a change that is made of what the environment is at that moment.
func (s *Service) shortcut(make func(rules.State) (*catalogv1.Change, error)) func(context.Context, current) (decision, error) {
	return func(ctx context.Context, c current) (decision, error) {
		change, err := make(c.state)
		if err != nil {
			return decision{}, err
		}
		decide, err := s.change(ctx, change)
		if err != nil {
			return decision{}, err
		}
		return decide(ctx, c)
	}
}
