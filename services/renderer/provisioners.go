package renderer

import (
	"context"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/provisioner"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// LoadProvisioners reads provisioner files of the Score community as resource definitions.
func (s *Service) LoadProvisioners(ctx context.Context, req *rendererv1.LoadProvisionersRequest) (*rendererv1.LoadProvisionersResponse, error) {
	if len(req.GetFiles()) == 0 {
		return nil, errs.InvalidField("files", "is empty: send at least one provisioner file")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	loaded, err := provisioner.Load(req.GetFiles())
	if err != nil {
		return nil, err
	}
	return &rendererv1.LoadProvisionersResponse{Definitions: loaded.Definitions, Warnings: loaded.Warnings}, nil
}
