package renderer

import (
	"context"
	"errors"
	"slices"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
	"github.com/towpath-dev/towpath/services/renderer/match"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// ExplainMatch lists the definitions of a type and why each won or lost.
func (s *Service) ExplainMatch(_ context.Context, req *rendererv1.ExplainMatchRequest) (*rendererv1.ExplainMatchResponse, error) {
	if req.GetMatch().GetType() == "" {
		return nil, errs.InvalidField("match.type", "is empty; give a resource type such as postgres")
	}
	all := slices.Clone(req.GetDefinitions())
	for _, d := range definition.Builtins() {
		all = append(all, d.Spec)
	}
	return &rendererv1.ExplainMatchResponse{Candidates: match.Explain(req.GetMatch(), all)}, nil
}

// CheckDefinition compiles a definition. The error names every place that is wrong.
func (s *Service) CheckDefinition(ctx context.Context, req *rendererv1.CheckDefinitionRequest) (*rendererv1.CheckDefinitionResponse, error) {
	if req.GetDefinition() == nil {
		return nil, errs.InvalidField("definition", "is required: what to check")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.check(ctx, req.GetDefinition()); err != nil {
		return nil, under("definition", err)
	}
	return &rendererv1.CheckDefinitionResponse{}, nil
}

// check tries a definition where it will run.
func (s *Service) check(ctx context.Context, spec *rendererv1.ResourceDefinition) error {
	if s.sandbox != nil {
		return s.sandbox.Check(ctx, spec)
	}
	_, err := definition.Compile(spec)
	return err
}

// CheckGuardrails compiles guardrails. The error names every place that is wrong, with line and column.
func (s *Service) CheckGuardrails(ctx context.Context, req *rendererv1.CheckGuardrailsRequest) (*rendererv1.CheckGuardrailsResponse, error) {
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return &rendererv1.CheckGuardrailsResponse{}, guardrail.Check(req.GetGuardrails())
}

// under puts the fields of an error below a field of the request.
func under(path string, err error) error {
	var e *errs.Error
	if errors.As(err, &e) {
		for i := range e.Fields {
			e.Fields[i].Path = path + "." + e.Fields[i].Path
		}
	}
	return err
}
