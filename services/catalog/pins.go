package catalog

import (
	"context"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// decided runs a decision and pins it. It is the one way to a decision, for plans and for deployments alike.
func (s *Service) decided(ctx context.Context, c current, decide func(context.Context, current) (decision, error)) (decision, error) {
	if err := mayReview(c); err != nil {
		return decision{}, err
	}
	next, err := decide(ctx, c)
	if err != nil || next.removal { // nothing is made by a removal
		return next, err
	}
	if err := rules.CheckSecretEngine(strategyField, c.site.target.GetEngine(), c.site.typ.GetDefaults().GetSecrets()); err != nil {
		return next, err
	}
	if err := s.checkEnginePlace(c); err != nil {
		return next, err
	}
	if next.restore == nil && !next.moves { // what is restored or moved was pinned then
		if next.state.Intent, err = s.pin(ctx, c, next.state); err != nil {
			return next, err
		}
		keepVariables(next)
	}
	next.summary = append(next.summary, rules.ApplicationSummary(c.state.Intent, next.state.Intent)...)
	return next, nil
}

// pin notes in an intent everything beside the set, the overlay and the environment's own variables that its rendering
// depends on, as it is now. Rendering the intent again later gives the same, whatever has changed since.
func (s *Service) pin(ctx context.Context, c current, state rules.State) (*catalogv1.Intent, error) {
	intent := proto.CloneOf(state.Intent)
	intent.Defaults = proto.CloneOf(c.site.typ.GetDefaults())
	if err := s.pinVariables(ctx, c, intent); err != nil {
		return nil, err
	}
	if err := s.pinDefinitions(ctx, c, state, intent); err != nil {
		return nil, err
	}
	return intent, s.pinOutputs(ctx, c.env, intent)
}

// input makes what the renderer gets, from what the intent has pinned.
func (s *Service) input(ctx context.Context, c current, state rules.State) (*rendererv1.RenderInput, error) {
	e, intent := c.row.Msg, state.Intent
	defaults := intent.GetDefaults()
	if defaults == nil {
		defaults = c.site.typ.GetDefaults() // of a deployment from before defaults were pinned, or of a type that has none
	}
	plain, secret := rules.Variables(intent)
	definitions, err := s.contents(ctx, intent.GetDefinitions())
	if err != nil {
		return nil, err
	}
	outputs, err := s.pinnedOutputs(ctx, c.env, intent)
	if err != nil {
		return nil, err
	}
	return &rendererv1.RenderInput{
		Application: c.env.App, Environment: c.env.ID, EnvironmentType: typeID(e.GetType()), Namespace: e.GetNamespace(),
		Workloads: state.Set.GetWorkloads(), Resources: state.Set.GetResources(), Overlay: intent.GetOverlay(),
		Variables: plain, SecretVariables: secret, Defaults: defaults, Definitions: definitions,
		Outputs: outputs, ClusterKinds: c.site.typ.GetSyncPolicy().GetClusterKinds(), Namespaces: c.site.typ.GetSyncPolicy().GetNamespaces(),
	}, nil
}
