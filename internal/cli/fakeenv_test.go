package cli_test

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (f *fake) CreateEnvironment(_ context.Context, r *catalogv1.CreateEnvironmentRequest) (*catalogv1.Environment, error) {
	e := &catalogv1.Environment{Name: r.GetParent() + "/environments/" + r.GetEnvironmentId(), Type: r.GetEnvironment().GetType()}
	if r.GetTtl() != nil {
		e.ExpireTime = timestamppb.New(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	}
	if r.GetFrom() != "" || r.GetChange() != nil {
		e.LatestDeployment = dev + "/deployments/2"
	}
	return e, nil
}

func (f *fake) ExtendEnvironment(_ context.Context, r *catalogv1.ExtendEnvironmentRequest) (*catalogv1.Environment, error) {
	e := &catalogv1.Environment{Name: r.GetName()}
	if !r.GetKeep() {
		e.ExpireTime = timestamppb.New(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	}
	return e, nil
}

func (f *fake) Promote(_ context.Context, r *catalogv1.PromoteRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_PROMOTION, r.GetMessage()), nil
}
