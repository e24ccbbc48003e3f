package catalog

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

var roleBindingKind = collection[*catalogv1.RoleBinding]{
	table: roleBindings, name: "roleBindings", singular: "role_binding", maxID: rules.MaxID,
	mutable: []string{"description", "role", "members", "scopes"},
	complete: func(_ context.Context, _ *Service, _, msg *catalogv1.RoleBinding, _ *store.Tx) error {
		if auth.RoleOf(msg.GetRole()) == auth.Nobody {
			return errs.InvalidField("role_binding.role", "is missing; give ROLE_VIEWER, ROLE_DEPLOYER, ROLE_DEVELOPER, ROLE_OPERATOR or ROLE_ADMIN")
		}
		if len(msg.GetMembers()) == 0 {
			return errs.InvalidField("role_binding.members", "is empty; name users/{user}, groups/{group} or serviceAccounts/{namespace}/{name}")
		}
		if err := rules.CheckMembers("role_binding.members", msg.GetMembers()); err != nil {
			return err
		}
		return rules.CheckScopes("role_binding.scopes", msg.GetScopes())
	},
	usedBy: func(context.Context, *Service, string) (string, error) { return "", nil },
}

// CreateRoleBinding makes a role binding.
func (a accessServer) CreateRoleBinding(ctx context.Context, r *catalogv1.CreateRoleBindingRequest) (*catalogv1.RoleBinding, error) {
	defer a.s.accessChanged(ctx)
	return roleBindingKind.create(ctx, a.s, r.GetRoleBindingId(), r.GetRoleBinding(), request{"roleBindings", r.GetRequestId(), r})
}

// GetRoleBinding gives a role binding.
func (a accessServer) GetRoleBinding(ctx context.Context, r *catalogv1.GetRoleBindingRequest) (*catalogv1.RoleBinding, error) {
	row, err := roleBindingKind.get(ctx, a.s, "name", r.GetName())
	return row.Msg, err
}

// ListRoleBindings lists role bindings by name.
func (a accessServer) ListRoleBindings(ctx context.Context, r *catalogv1.ListRoleBindingsRequest) (*catalogv1.ListRoleBindingsResponse, error) {
	list, next, err := roleBindingKind.list(ctx, a.s, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListRoleBindingsResponse{RoleBindings: list, NextPageToken: next}, err
}

// UpdateRoleBinding changes a role binding.
func (a accessServer) UpdateRoleBinding(ctx context.Context, r *catalogv1.UpdateRoleBindingRequest) (*catalogv1.RoleBinding, error) {
	defer a.s.accessChanged(ctx)
	return roleBindingKind.update(ctx, a.s, r.GetRoleBinding(), r.GetUpdateMask())
}

// DeleteRoleBinding removes a role binding.
func (a accessServer) DeleteRoleBinding(ctx context.Context, r *catalogv1.DeleteRoleBindingRequest) (*emptypb.Empty, error) {
	defer a.s.accessChanged(ctx)
	return &emptypb.Empty{}, roleBindingKind.remove(ctx, a.s, r.GetName(), r.GetEtag())
}
