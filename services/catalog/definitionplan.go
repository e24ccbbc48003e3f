package catalog

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

const (
	// planWindow is how many environments are under way at once in a blast radius, and so what bounds its memory.
	planWindow = 32
	// planParallel is how many of them are rendered at once. The renderer has its own limit; this one leaves room for deployments.
	planParallel = 4
)

// definitionChange is a version that would be activated or archived.
type definitionChange struct {
	version rules.DefinitionVersion
	types   map[string]bool // whose resources it can change
	archive bool
	active  activeVersions
}

// PlanDefinition streams the blast radius of a version.
func (s definitionServer) PlanDefinition(r *catalogv1.PlanDefinitionRequest, stream grpc.ServerStreamingServer[catalogv1.PlanDefinitionResponse]) error {
	row, err := s.version(stream.Context(), "name", r.GetName())
	if err != nil {
		return err
	}
	sum, err := s.planDefinition(stream.Context(), row.Msg.GetContent(), r.GetArchive(), stream.Send)
	if err != nil {
		return err
	}
	return stream.Send(&catalogv1.PlanDefinitionResponse{Sum: sum})
}

// holdDefinition answers REASON_PLAN_MOVED when activating has another blast radius than the plan of that hash.
func (s *Service) holdDefinition(ctx context.Context, content *rendererv1.ResourceDefinition, hash string) error {
	sum, err := s.planDefinition(ctx, content, false, func(*catalogv1.PlanDefinitionResponse) error { return nil })
	if err != nil {
		return err
	}
	if sum.GetPlanHash() == hash {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED,
		"the blast radius is different now: %d environments would change and %d could not be rendered; plan again and look at the difference",
		sum.GetChanged(), sum.GetBroken()).With("moved", "environments")
}

// planDefinition renders every environment that the change can reach with and without it, and sends those that differ, in the
// order of their names.
func (s *Service) planDefinition(ctx context.Context, content *rendererv1.ResourceDefinition, archive bool, send func(*catalogv1.PlanDefinitionResponse) error) (*catalogv1.DefinitionPlanSum, error) {
	change, err := s.definitionChange(ctx, content, archive)
	if err != nil {
		return nil, err
	}
	sum := &catalogv1.DefinitionPlanSum{}
	digest := &rules.PlanDigest{}
	digest.Add(&catalogv1.PlanDefinitionResponse{Environment: content.GetName()})
	var window []rules.Env
	flush := func() error {
		results, err := s.planWindow(ctx, change, window)
		if err != nil {
			return err
		}
		sum.Environments += int64(len(window))
		window = window[:0]
		for _, r := range results {
			switch {
			case r.GetError() != "":
				sum.Broken++
			case len(r.GetResources())+len(r.GetFiles()) > 0:
				sum.Changed++
			default:
				continue
			}
			digest.Add(r)
			if err := send(r); err != nil {
				return err
			}
		}
		return nil
	}
	for e, err := range store.All(ctx, s.cfg.KV, environments.Prefix()) {
		if err != nil {
			return nil, err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return nil, err
		}
		reached, err := s.reaches(ctx, change, row.Msg)
		if err != nil {
			return nil, err
		}
		if !reached {
			continue
		}
		env, err := rules.ParseEnv("name", row.Msg.GetName())
		if err != nil {
			return nil, err
		}
		if window = append(window, env); len(window) == planWindow {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	sum.PlanHash = digest.Sum()
	return sum, nil
}

func (s *Service) definitionChange(ctx context.Context, content *rendererv1.ResourceDefinition, archive bool) (definitionChange, error) {
	v, _, err := rules.ParseDefinitionVersion("name", content.GetName())
	if err != nil {
		return definitionChange{}, err
	}
	active, err := s.activeDefinitions(ctx)
	if err != nil {
		return definitionChange{}, err
	}
	c := definitionChange{version: v, archive: archive, active: active, types: map[string]bool{content.GetType(): true}}
	if n, ok := active.Versions[v.ID]; ok { // the version that it takes the place of may be of another type
		before, err := s.content(ctx, rules.DefinitionVersion{ID: v.ID, Number: n}.Name())
		if err != nil {
			return c, err
		}
		c.types[before.GetType()] = true
	}
	return c, nil
}

// reaches reports whether the change can mean anything to an environment: something was deployed to it, it uses one of the
// types, and it is not pinned to a version of its own.
func (s *Service) reaches(ctx context.Context, change definitionChange, e *catalogv1.Environment) (bool, error) {
	if e.GetLatestDeployment() == "" || e.GetState() == catalogv1.Environment_STATE_DELETING {
		return false, nil
	}
	if e.GetDefinitionPins()[rules.Definitions+"/"+change.version.ID] != "" {
		return false, nil
	}
	if len(e.GetIntent().GetDefinitions()) == 0 { // of a deployment from before definitions were noted, or without any resource
		state, err := s.state(ctx, e.GetIntent())
		if err != nil {
			return false, err
		}
		return rules.MayAskFor(state, change.types), nil
	}
	types, err := s.typesOf(ctx, e.GetIntent().GetDefinitions())
	if err != nil {
		return false, err
	}
	for t := range change.types {
		if types[t] {
			return true, nil
		}
	}
	return false, nil
}

// planWindow looks at some environments at once.
func (s *Service) planWindow(ctx context.Context, change definitionChange, envs []rules.Env) ([]*catalogv1.PlanDefinitionResponse, error) {
	out := make([]*catalogv1.PlanDefinitionResponse, len(envs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(planParallel)
	for i, env := range envs {
		g.Go(func() error {
			var err error
			out[i], err = s.impact(ctx, change, env)
			return err
		})
	}
	return out, g.Wait()
}

// impact renders one environment as its next deployment would, with and without the change.
func (s *Service) impact(ctx context.Context, change definitionChange, env rules.Env) (*catalogv1.PlanDefinitionResponse, error) {
	out := &catalogv1.PlanDefinitionResponse{Environment: env.Name()}
	c, err := s.current(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return out, nil // removed meanwhile
	}
	if err != nil {
		return nil, err
	}
	after := change.active.with(change.version)
	if change.archive {
		after = change.active
		if change.active.Versions[change.version.ID] == change.version.Number {
			after = after.without(change.version.ID)
		}
	}
	before, err := s.renderWith(ctx, c, change.active)
	if isOutage(err) {
		return nil, err
	}
	next, err := s.renderOrClaims(ctx, c, after, before)
	switch {
	case isOutage(err):
		return nil, err
	case err != nil:
		out.Error = errs.Message(err)
		return out, nil
	}
	out.Resources, out.Files = rules.Impact(before, next)
	return out, nil
}

// renderOrClaims renders as renderWith does. Where a claim would be new, its outputs are not known yet; then it gives the claims
// beside the files that stand before, because the rest can only be rendered when the cluster has fulfilled them.
func (s *Service) renderOrClaims(ctx context.Context, c current, active activeVersions, before *rendererv1.RenderResponse) (*rendererv1.RenderResponse, error) {
	input, err := s.inputWith(ctx, c, active)
	if err != nil {
		return nil, err
	}
	resp, claims, err := s.renderInput(ctx, input)
	if err != nil || !claims {
		return resp, err
	}
	files := maps.Clone(before.GetBundle().GetFiles())
	if files == nil {
		files = map[string][]byte{}
	}
	maps.Copy(files, resp.GetBundle().GetFiles())
	return &rendererv1.RenderResponse{Answers: resp.GetAnswers(), Bundle: &rendererv1.Bundle{Files: files}}, nil
}

// isOutage tells an error that says nothing about the environment.
func isOutage(err error) bool {
	if err == nil {
		return false
	}
	k := errs.KindOf(err)
	return k != errs.Invalid && k != errs.Precondition && k != errs.NotFound
}

// renderWith renders an environment's intent as its next deployment would, were these definitions active.
func (s *Service) renderWith(ctx context.Context, c current, active activeVersions) (*rendererv1.RenderResponse, error) {
	input, err := s.inputWith(ctx, c, active)
	if err != nil {
		return nil, err
	}
	resp, err := s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: input})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	return resp, nil
}

// inputWith makes what the renderer would get for an environment's next deployment, were these definitions active.
func (s *Service) inputWith(ctx context.Context, c current, active activeVersions) (*rendererv1.RenderInput, error) {
	intent, err := s.pin(ctx, c, c.state)
	if err != nil {
		return nil, err
	}
	if active, err = active.pinned(c.row.Msg.GetDefinitionPins()); err != nil {
		return nil, err
	}
	if intent.Definitions, err = s.reachable(ctx, active, c.state); err != nil {
		return nil, err
	}
	return s.input(ctx, c, rules.State{Intent: intent, Set: c.state.Set})
}

// ExplainMatch tells which definition answers a request in an environment, as it would be for its next deployment.
func (s definitionServer) ExplainMatch(ctx context.Context, r *catalogv1.ExplainMatchRequest) (*catalogv1.ExplainMatchResponse, error) {
	env, err := rules.ParseEnv("environment", r.GetEnvironment())
	if err != nil {
		return nil, err
	}
	row, err := s.environment(ctx, env)
	if err != nil {
		return nil, err
	}
	active, err := s.activeDefinitions(ctx)
	if err != nil {
		return nil, err
	}
	if active, err = active.pinned(row.Msg.GetDefinitionPins()); err != nil {
		return nil, err
	}
	var all []*rendererv1.ResourceDefinition // without their archives: nothing is rendered
	for _, name := range active.names() {
		d, err := s.content(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	resp, err := s.cfg.Renderer.ExplainMatch(ctx, &rendererv1.ExplainMatchRequest{
		Match: &rendererv1.MatchRequest{
			Type: r.GetType(), Class: r.GetClass(), ResId: r.GetResId(), App: env.App, Env: env.ID, EnvType: typeID(row.Msg.GetType()),
		},
		Definitions: slices.DeleteFunc(all, func(d *rendererv1.ResourceDefinition) bool { return d.GetType() != r.GetType() }),
	})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	if len(resp.GetCandidates()) == 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION,
			"no resource definition answers the type %q; see `tow definition list`", r.GetType()).With("type", r.GetType())
	}
	return &catalogv1.ExplainMatchResponse{Candidates: resp.GetCandidates()}, nil
}
