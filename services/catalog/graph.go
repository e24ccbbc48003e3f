package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// GetResourceGraph gives the workloads and resources of an environment, or of a deployment of it, and what needs what.
func (s manifestServer) GetResourceGraph(ctx context.Context, r *catalogv1.GetResourceGraphRequest) (*rendererv1.ResourceGraph, error) {
	input, _, err := s.inputOf(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	graph, err := s.cfg.Renderer.Graph(ctx, &rendererv1.GraphRequest{Input: input})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	return graph, nil
}
