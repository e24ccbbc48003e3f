package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

var policyKind = collection[*catalogv1.Policy]{
	table: policies, name: "policies", singular: "policy", maxID: rules.MaxID,
	mutable:  []string{"description", "cedar"},
	complete: completePolicy,
	usedBy:   func(context.Context, *Service, string) (string, error) { return "", nil },
}

func completePolicy(ctx context.Context, s *Service, old, msg *catalogv1.Policy, tx *store.Tx) error {
	if old != nil && old.GetCedar() == msg.GetCedar() {
		return nil
	}
	if err := policy.Check("policy.cedar", msg.GetCedar()); err != nil {
		return err
	}
	e, err := s.cfg.KV.Get(ctx, keyPolicyGuard)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	tx.If(store.IfRev(keyPolicyGuard, e.Rev)).Put(keyPolicyGuard, nil)
	return s.refuseLockout(ctx, msg)
}

// refuseLockout refuses a policy with which no admin could keep roles and policies any more. The bootstrap token, to which
// policies do not apply, is a way back, not a way to work.
func (s *Service) refuseLockout(ctx context.Context, changed *catalogv1.Policy) error {
	docs := []policy.Document{{Name: changed.GetName(), Text: changed.GetCedar()}}
	var admins []auth.Caller
	for e, err := range store.All(ctx, s.cfg.KV, accessPrefix) {
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(e.Key, policies.Prefix()):
			row, err := policies.Decode(e)
			if err != nil {
				return err
			}
			if row.Msg.GetName() != changed.GetName() {
				docs = append(docs, policy.Document{Name: row.Msg.GetName(), Text: row.Msg.GetCedar()})
			}
		case strings.HasPrefix(e.Key, roleBindings.Prefix()):
			row, err := roleBindings.Decode(e)
			if err != nil {
				return err
			}
			if auth.RoleOf(row.Msg.GetRole()) == auth.Admin && len(row.Msg.GetScopes()) == 0 {
				admins = append(admins, asAdmins(row.Msg.GetMembers())...)
			}
		}
	}
	byToken, err := s.adminTokens(ctx)
	if err != nil {
		return err
	}
	admins = append(admins, byToken...)
	set, err := policy.New(docs)
	if err != nil {
		return err
	}
	if len(admins) == 0 { // then it is about those that will be
		admins = asAdmins([]string{"users/any-admin"})
	}
	if slices.ContainsFunc(admins, func(c auth.Caller) bool { return set.Decide(c, auth.ManageAccess, auth.Everything).Allowed }) {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"with this policy no admin could change roles and policies any more; let it except somebody who is admin everywhere, such as: unless { principal.admin.contains(Scope::\"everywhere\") }").
		With("state", "LOCKOUT").With("resource", changed.GetName())
}

// asAdmins gives the members of an admin binding as callers, a group as somebody who is in it.
func asAdmins(members []string) []auth.Caller {
	var out []auth.Caller
	for _, m := range members {
		c := auth.Caller{Subject: m, Role: auth.Admin}
		if g, ok := strings.CutPrefix(m, "groups/"); ok {
			c.Subject, c.Groups = "users/any-member", []string{g}
		}
		out = append(out, c)
	}
	return out
}

func (s *Service) adminTokens(ctx context.Context) ([]auth.Caller, error) {
	var out []auth.Caller
	for e, err := range store.All(ctx, s.cfg.KV, tokens.Prefix()) {
		if err != nil {
			return nil, err
		}
		row, err := tokens.Decode(e)
		if err != nil {
			return nil, err
		}
		c, end := tokenCaller(row.Msg), row.Msg.GetExpireTime()
		if c.Role == auth.Admin && c.Subject != auth.BootstrapSubject && (end == nil || end.AsTime().After(s.now())) {
			out = append(out, c)
		}
	}
	return out, nil
}

// CreatePolicy makes a policy.
func (a accessServer) CreatePolicy(ctx context.Context, r *catalogv1.CreatePolicyRequest) (*catalogv1.Policy, error) {
	defer a.s.accessChanged(ctx)
	return policyKind.create(ctx, a.s, r.GetPolicyId(), r.GetPolicy(), request{"policies", r.GetRequestId(), r})
}

// GetPolicy gives a policy.
func (a accessServer) GetPolicy(ctx context.Context, r *catalogv1.GetPolicyRequest) (*catalogv1.Policy, error) {
	row, err := policyKind.get(ctx, a.s, "name", r.GetName())
	return row.Msg, err
}

// ListPolicies lists policies by name.
func (a accessServer) ListPolicies(ctx context.Context, r *catalogv1.ListPoliciesRequest) (*catalogv1.ListPoliciesResponse, error) {
	list, next, err := policyKind.list(ctx, a.s, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListPoliciesResponse{Policies: list, NextPageToken: next}, err
}

// UpdatePolicy changes a policy.
func (a accessServer) UpdatePolicy(ctx context.Context, r *catalogv1.UpdatePolicyRequest) (*catalogv1.Policy, error) {
	defer a.s.accessChanged(ctx)
	return policyKind.update(ctx, a.s, r.GetPolicy(), r.GetUpdateMask())
}

// DeletePolicy removes a policy. It cannot lock anybody out: the admin role is no organisation's policy.
func (a accessServer) DeletePolicy(ctx context.Context, r *catalogv1.DeletePolicyRequest) (*emptypb.Empty, error) {
	defer a.s.accessChanged(ctx)
	return &emptypb.Empty{}, policyKind.remove(ctx, a.s, r.GetName(), r.GetEtag())
}
