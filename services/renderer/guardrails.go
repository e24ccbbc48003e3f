package renderer

import (
	"context"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// LoadGuardrails reads guardrails from files. The error names every place that is wrong.
func (s *Service) LoadGuardrails(ctx context.Context, req *rendererv1.LoadGuardrailsRequest) (*rendererv1.LoadGuardrailsResponse, error) {
	if len(req.GetFiles()) == 0 {
		return nil, errs.InvalidField("files", "is empty: send at least one file")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	guardrails, warnings, err := guardrail.Load(req.GetFiles())
	if err != nil {
		return nil, err
	}
	return &rendererv1.LoadGuardrailsResponse{Guardrails: guardrails, Warnings: warnings}, nil
}

// ListStarterGuardrails gives guardrails to begin with.
func (s *Service) ListStarterGuardrails(context.Context, *rendererv1.ListStarterGuardrailsRequest) (*rendererv1.ListStarterGuardrailsResponse, error) {
	guardrails, err := guardrail.Starter()
	if err != nil {
		return nil, err
	}
	return &rendererv1.ListStarterGuardrailsResponse{Guardrails: guardrails}, nil
}
