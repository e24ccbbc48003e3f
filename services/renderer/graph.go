package renderer

import (
	"context"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Graph gives the resources of an input, what they refer to and which definition answers each.
func (s *Service) Graph(ctx context.Context, req *rendererv1.GraphRequest) (*rendererv1.ResourceGraph, error) {
	if req.GetInput() == nil {
		return nil, errs.InvalidField("input", "is required: what to draw")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return render.Graph(req.GetInput())
}
