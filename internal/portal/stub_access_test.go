package portal_test

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	adminToken     = "tow_admin"
	viewerToken    = "tow_viewer"
	deployerToken  = "tow_deployer"
	developerToken = "tow_developer"
	approverToken  = "tow_approver" // a viewer to whom a policy gives more
	shopDev        = "applications/shop/environments/dev"
)

// stubCallers are those that the stub knows, by token.
var stubCallers = map[string]auth.Caller{
	adminToken:     {Subject: "tokens/admin", Role: auth.Admin, Method: auth.MethodToken},
	viewerToken:    {Subject: "tokens/looker", Role: auth.Viewer, Method: auth.MethodToken},
	deployerToken:  {Subject: "tokens/ci", Role: auth.Deployer, Method: auth.MethodToken},
	developerToken: {Subject: "users/ada", DisplayName: "Ada Lovelace", Groups: []string{"checkout"}, Role: auth.Developer, Method: auth.MethodOIDC},
	approverToken:  {Subject: "users/bo", Groups: []string{"on-call"}, Role: auth.Viewer, Method: auth.MethodOIDC},
}

// onCall is the organisation's own policy in the stub.
const onCall = `permit (principal in Group::"on-call", action in [Action::"approve", Action::"unlock", Action::"rollback"], resource);`

// stubServices register what more parts of the portal call; each part's test files append theirs.
var stubServices []func(r grpc.ServiceRegistrar, s *stub)

// stubPolicies are the built-in policies and the organisation's own.
func stubPolicies(types auth.Types) (policy.Authorizer, error) {
	set, err := policy.New([]policy.Document{{Name: "policies/on-call", Text: onCall}})
	return policy.Authorizer{Policies: func(context.Context) (*policy.Set, error) { return set, nil }, Types: types}, err
}

// Authenticate knows the callers above, and those that the test adds.
func (s *stub) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	if c, ok := stubCallers[token]; ok {
		return c, nil
	}
	if s.people != nil {
		return s.people(ctx, token)
	}
	return auth.Caller{}, errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "the token is not valid")
}

// EnvironmentType tells policies the type of an environment.
func (s *stub) EnvironmentType(_ context.Context, app, env string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env("applications/" + app + "/environments/" + env)
	if err != nil {
		return "", nil // one that is not there has no type
	}
	return strings.TrimPrefix(e.GetType(), "environmentTypes/"), nil
}

func (s *stub) WhoAmI(ctx context.Context, _ *catalogv1.WhoAmIRequest) (*catalogv1.WhoAmIResponse, error) {
	c, _ := auth.CallerFrom(ctx)
	return &catalogv1.WhoAmIResponse{
		Subject: c.Subject, Role: c.Role.Proto(), Groups: c.Groups, DisplayName: c.DisplayName, Method: c.Method, Grants: []*catalogv1.Grant{{Role: c.Role.Proto()}},
	}, nil
}

// ListAllowedActions decides by the real policies, so that the pages offer what production would.
func (s *stub) ListAllowedActions(ctx context.Context, r *catalogv1.ListAllowedActionsRequest) (*catalogv1.ListAllowedActionsResponse, error) {
	decide, err := stubPolicies(s)
	if err != nil {
		return nil, err
	}
	c, _ := auth.CallerFrom(ctx)
	out := &catalogv1.ListAllowedActionsResponse{}
	for _, action := range auth.Actions {
		d, err := decide.Decide(ctx, c, action, auth.ParseResource(r.GetResource()))
		if err != nil {
			return nil, err
		}
		if d.Allowed {
			out.Actions = append(out.Actions, string(action))
		}
	}
	return out, nil
}
