package catalog

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// checkDefaults asks the renderer whether it would take the defaults of an environment type that changes them, by rendering nothing
// with them. Else the next deployment of each of its environments would fail, and not the mistake.
func checkDefaults(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType) error {
	if msg.GetDefaults() == nil || proto.Equal(old.GetDefaults(), msg.GetDefaults()) {
		return nil
	}
	_, err := s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: &rendererv1.RenderInput{
		Application: "none", Environment: "none", Namespace: "none", Defaults: msg.GetDefaults(),
	}})
	if err != nil {
		return rules.InDefinition(rpc.FromStatus(err), "input.defaults", "environment_type.defaults")
	}
	return nil
}
