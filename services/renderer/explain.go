package renderer

import (
	"context"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Explain tells where the fields of rendered objects come from.
func (s *Service) Explain(ctx context.Context, req *rendererv1.ExplainRequest) (*rendererv1.ExplainResponse, error) {
	if req.GetInput() == nil {
		return nil, errs.InvalidField("input", "is required: what to render")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return render.Explain(req.GetInput(), s.options(ctx), req.GetObject(), req.GetPath())
}

// DiffBundles compares two bundles by object and field.
func (s *Service) DiffBundles(ctx context.Context, req *rendererv1.DiffBundlesRequest) (*rendererv1.BundleDiff, error) {
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return manifest.Compare(req.GetBefore(), req.GetAfter(), nil), nil
}
