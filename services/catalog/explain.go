package catalog

import (
	"context"
	"fmt"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// ExplainEnvironment tells where the fields of an environment's objects come from, and of the variables among these places who wrote
// them.
func (s manifestServer) ExplainEnvironment(ctx context.Context, r *catalogv1.ExplainEnvironmentRequest) (*catalogv1.ExplainEnvironmentResponse, error) {
	input, deployment, err := s.inputOf(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	told, err := s.cfg.Renderer.Explain(ctx, &rendererv1.ExplainRequest{Input: input, Object: r.GetObject(), Path: r.GetPath()})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	out := &catalogv1.ExplainEnvironmentResponse{Fields: told.GetFields(), Deployment: deployment}
	byKey, err := s.variablesIn(ctx, deployment, out)
	if err != nil {
		return nil, err
	}
	names := manifest.Names{Application: input.GetApplication(), Environment: input.GetEnvironment(), EnvironmentType: input.GetEnvironmentType()}
	names.Variable = func(key string) string { return variableText(byKey[key], key, names) }
	for _, f := range out.GetFields() {
		f.Text = names.Line(f)
	}
	return out, nil
}

// variablesIn adds the variables that fields come from, as they were when the deployment was made, and gives them by key.
func (s manifestServer) variablesIn(ctx context.Context, deployment string, out *catalogv1.ExplainEnvironmentResponse) (map[string]*catalogv1.Variable, error) {
	env, number, err := rules.ParseDeployment("name", deployment)
	if err != nil {
		return nil, err
	}
	d, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return nil, err
	}
	byKey, seen := map[string]*catalogv1.Variable{}, map[string]bool{}
	for _, f := range out.GetFields() {
		for _, key := range manifest.VariablesOf(f.GetOrigin(), seen) {
			sc := valueScope(env, d.GetIntent(), key)
			v, err := s.variableVersion(ctx, sc, key, d.GetIntent().GetVariableVersions()[sc.Variable(key)])
			if errs.Is(err, errs.NotFound) { // an intent may have values that nobody wrote as a variable, such as those of an import
				continue
			}
			if err != nil {
				return nil, err
			}
			byKey[key] = v
			out.Variables = append(out.Variables, v)
		}
	}
	return byKey, nil
}

// valueScope gives whose value of a variable an intent has: the environment's wins.
func valueScope(env rules.Env, intent *catalogv1.Intent, key string) rules.Scope {
	_, plain := intent.GetVariables()[key]
	_, secret := intent.GetSecretVariables()[key]
	if plain || secret {
		return rules.Scope{App: env.App, Env: env.ID}
	}
	return rules.Scope{App: env.App}
}

// variableText is what an explanation calls a variable.
func variableText(v *catalogv1.Variable, key string, names manifest.Names) string {
	if v == nil {
		return "variable " + key + " of " + names.Application + "/" + names.Environment
	}
	owner := names.Application
	if strings.Contains(v.GetName(), "/environments/") {
		owner += "/" + names.Environment
	}
	by := v.GetUpdateActor()
	if i := strings.LastIndexByte(by, '/'); i >= 0 {
		by = by[i+1:]
	}
	if by != "" {
		by = ", by " + by
	}
	return fmt.Sprintf("variable %s of %s (version %d%s)", key, owner, v.GetVersion(), by)
}

// DiffManifests compares what two deployments made of Kubernetes objects.
func (s manifestServer) DiffManifests(ctx context.Context, r *catalogv1.DiffManifestsRequest) (*rendererv1.BundleDiff, error) {
	var sides [2]*rendererv1.Bundle
	for i, name := range []string{r.GetFrom(), r.GetTo()} {
		bundle, err := s.bundleOf(ctx, name)
		if err != nil {
			return nil, err
		}
		sides[i] = bundle
	}
	return manifest.Compare(sides[0].GetFiles(), sides[1].GetFiles(), sides[1].GetObjects()), nil
}

// bundleOf renders what an environment or deployment pinned; its claims alone while their outputs are not known.
func (s *Service) bundleOf(ctx context.Context, name string) (*rendererv1.Bundle, error) {
	input, _, err := s.inputOf(ctx, name)
	if err != nil {
		return nil, err
	}
	resp, _, err := s.renderInput(ctx, input)
	return resp.GetBundle(), err
}

// renderInput renders; the claims alone, and claims is true then, while their outputs are not known.
func (s *Service) renderInput(ctx context.Context, input *rendererv1.RenderInput) (resp *rendererv1.RenderResponse, claims bool, err error) {
	resp, err = s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: input})
	if claims = outputsMissing(rpc.FromStatus(err)); claims {
		resp, err = s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: input, ClaimsOnly: true})
	}
	if err != nil {
		return nil, claims, rpc.FromStatus(err)
	}
	return resp, claims, nil
}
