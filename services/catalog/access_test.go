package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// as gives the API as somebody else sees it.
func (w *world) as(token string) (catalogv1.CatalogServiceClient, catalogv1.AccessServiceClient, *grpc.ClientConn) {
	w.t.Helper()
	conn, err := w.srv.DialLocal(rpc.WithToken(token))
	must(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return catalogv1.NewCatalogServiceClient(conn), catalogv1.NewAccessServiceClient(conn), conn
}

// token makes a token and gives its secret.
func (w *world) token(id string, role catalogv1.Token_Role, scopes ...string) string {
	w.t.Helper()
	tok, err := w.access.CreateToken(w.t.Context(), &catalogv1.CreateTokenRequest{TokenId: id, Token: &catalogv1.Token{Role: role, Scopes: scopes}})
	must(w.t, err)
	return tok.GetSecret()
}

func (w *world) bind(id string, role catalogv1.Token_Role, member string, scopes ...string) {
	w.t.Helper()
	_, err := w.access.CreateRoleBinding(w.t.Context(), &catalogv1.CreateRoleBindingRequest{
		RoleBindingId: id, RoleBinding: &catalogv1.RoleBinding{Role: role, Members: []string{member}, Scopes: scopes},
	})
	must(w.t, err)
}

func (w *world) policy(id, cedar string) error {
	_, err := w.access.CreatePolicy(w.t.Context(), &catalogv1.CreatePolicyRequest{PolicyId: id, Policy: &catalogv1.Policy{Cedar: cedar}})
	return err
}

// withIssuer lets people of an issuer in.
func withIssuer(t testing.TB, i *oidctest.Issuer) option {
	v, err := oidc.New([]oidc.Issuer{{URL: i.URL, Audiences: []string{"towpath"}}}, oidc.Options{Log: quiet(), MinRefresh: time.Nanosecond})
	must(t, err)
	return func(c *catalog.Config) { c.Identities = v }
}

// shops makes two applications, the first with environments of two types.
func (w *world) shops() {
	w.t.Helper()
	w.app("shop")
	w.app("blog")
	w.env("shop", "dev")
	w.env("blog", "dev")
	_, err := w.api.CreateEnvironment(w.t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "prod", Environment: &catalogv1.Environment{Type: "environmentTypes/production"},
	})
	must(w.t, err)
}

func names[T interface{ GetName() string }](rows []T) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.GetName())
	}
	return out
}

func denied(t testing.TB, err error) {
	t.Helper()
	wantError(t, err, codes.PermissionDenied, errorsv1.Reason_REASON_PERMISSION_DENIED)
}

func TestAScopedRoleSeesAndDoesWhatIsInItsScope(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.shops()
	ctx := t.Context()
	const shop, prod, dev = "applications/shop", "applications/shop/environments/prod", "applications/shop/environments/dev"
	for _, c := range []struct {
		name, scope        string
		apps, envs, inShop []string
		reads, not         []string
	}{
		{
			name: "application", scope: shop, apps: []string{shop}, envs: []string{dev, prod}, inShop: []string{dev, prod},
			reads: []string{shop, dev, prod}, not: []string{"applications/blog", "applications/blog/environments/dev"},
		},
		{
			name: "type", scope: "environmentTypes/production", apps: []string{"applications/blog", shop}, envs: []string{prod}, inShop: []string{prod},
			reads: []string{shop, prod}, not: []string{dev, "applications/shop/environments/none"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, _, _ := w.as(w.token("viewer-"+c.name, catalogv1.Token_ROLE_VIEWER, c.scope))
			apps, err := api.ListApplications(ctx, &catalogv1.ListApplicationsRequest{})
			must(t, err)
			envs, err := api.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
			must(t, err)
			inShop, err := api.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: shop})
			must(t, err)
			if d := cmp.Diff([][]string{c.apps, c.envs, c.inShop}, [][]string{names(apps.GetApplications()), names(envs.GetEnvironments()), names(inShop.GetEnvironments())}); d != "" {
				t.Errorf("lists (-want +got)\n%s", d)
			}
			get := func(name string) error {
				if strings.Contains(name, "/environments/") {
					_, err := api.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
					return err
				}
				_, err := api.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: name})
				return err
			}
			for _, name := range c.reads {
				must(t, get(name))
			}
			for _, name := range c.not {
				denied(t, get(name))
			}
			_, err = api.ListTargets(ctx, &catalogv1.ListTargetsRequest{})
			must(t, err) // shared by all
			_, err = api.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: shop})
			denied(t, err)
		})
	}
}

func TestANewEnvironmentNeedsARoleOnItsTypeAndSource(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.shops()
	create := func(api catalogv1.CatalogServiceClient, app, id, typ, from string) error {
		_, err := api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
			Parent: "applications/" + app, EnvironmentId: id, Environment: &catalogv1.Environment{Type: "environmentTypes/" + typ}, From: from,
		})
		return err
	}
	byType, _, _ := w.as(w.token("by-type", catalogv1.Token_ROLE_DEVELOPER, "environmentTypes/development"))
	must(t, create(byType, "shop", "mine", "development", ""))
	denied(t, create(byType, "shop", "other", "production", ""))
	denied(t, create(byType, "shop", "copy", "development", "applications/shop/environments/prod"))
	denied(t, create(byType, "shop", "none", "", ""))
	_, err := byType.UpdateEnvironment(t.Context(), &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: "applications/shop/environments/mine", Type: "environmentTypes/production"},
	})
	denied(t, err) // out of the scope it could not come back
	byApp, _, _ := w.as(w.token("by-app", catalogv1.Token_ROLE_DEVELOPER, "applications/shop"))
	must(t, create(byApp, "shop", "yours", "production", ""))
	denied(t, create(byApp, "blog", "yours", "development", ""))
}

func TestAnEnvironmentThatChangesItsTypeChangesHands(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.shops()
	api, _, _ := w.as(w.token("by-type", catalogv1.Token_ROLE_VIEWER, "environmentTypes/staging"))
	get := func() error {
		_, err := api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: "applications/shop/environments/dev"})
		return err
	}
	denied(t, get())
	_, err := w.api.UpdateEnvironment(t.Context(), &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: "applications/shop/environments/dev", Type: "environmentTypes/staging"},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"type"}},
	})
	must(t, err)
	eventually(t, get)
}

func TestBindingsGiveRolesToPeopleAndGroups(t *testing.T) {
	issuer := oidctest.Start(t)
	w, _ := lightWorld(t, memkv.New(), withIssuer(t, issuer))
	w.shops()
	ctx := t.Context()
	api, access, _ := w.as(issuer.Token(map[string]any{"sub": "ada", "name": "Ada", "groups": []string{"checkout"}}))
	list := func() error {
		_, err := api.ListTargets(ctx, &catalogv1.ListTargetsRequest{})
		return err
	}
	denied(t, list())
	w.bind("ada", catalogv1.Token_ROLE_VIEWER, "users/ada")
	must(t, list())
	w.bind("checkout", catalogv1.Token_ROLE_OPERATOR, "groups/checkout", "applications/shop")
	who, err := access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	must(t, err)
	want := &catalogv1.WhoAmIResponse{
		Subject: "users/ada", Role: catalogv1.Token_ROLE_OPERATOR, Groups: []string{"checkout"}, DisplayName: "Ada", Method: "oidc",
		Grants: []*catalogv1.Grant{{Role: catalogv1.Token_ROLE_VIEWER}, {Role: catalogv1.Token_ROLE_OPERATOR, Scope: "applications/shop"}},
	}
	if d := cmp.Diff(want, who, protocmp.Transform()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	b, err := w.access.GetRoleBinding(ctx, &catalogv1.GetRoleBindingRequest{Name: "roleBindings/ada"})
	must(t, err)
	b.Members = []string{"users/bob"}
	updated, err := w.access.UpdateRoleBinding(ctx, &catalogv1.UpdateRoleBindingRequest{RoleBinding: b, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"members"}}})
	must(t, err)
	_, err = w.access.UpdateRoleBinding(ctx, &catalogv1.UpdateRoleBindingRequest{RoleBinding: b})
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH)
	who, err = access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	must(t, err)
	if len(who.GetGrants()) != 1 {
		t.Errorf("the binding of bob still is ada's: %v", who)
	}
	_, err = w.access.DeleteRoleBinding(ctx, &catalogv1.DeleteRoleBindingRequest{Name: "roleBindings/checkout"})
	must(t, err)
	denied(t, list())
	all, err := w.access.ListRoleBindings(ctx, &catalogv1.ListRoleBindingsRequest{})
	must(t, err)
	if d := cmp.Diff([]*catalogv1.RoleBinding{updated}, all.GetRoleBindings(), protocmp.Transform()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWrongBindingsAndTokensNameTheField(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	for _, c := range []struct {
		name   string
		role   catalogv1.Token_Role
		member string
		scope  string
		field  string
	}{
		{"no role", 0, "users/ada", "", "role_binding.role"},
		{"no member", 1, "", "", "role_binding.members[0]"},
		{"a token", 1, "tokens/ci", "", "role_binding.members[0]"},
		{"a path for a user", 1, "users/ada/admin", "", "role_binding.members[0]"},
		{"half a service account", 1, "serviceAccounts/ci", "", "role_binding.members[0]"},
		{"a line break", 1, "users/ada\n", "", "role_binding.members[0]"},
		{"a scope of nothing", 1, "users/ada", "applications/", "role_binding.scopes[0]"},
		{"an environment as a scope", 1, "users/ada", "applications/shop/environments/dev", "role_binding.scopes[0]"},
		{"all applications", 1, "users/ada", "applications/-", "role_binding.scopes[0]"},
		{"a target as a scope", 1, "users/ada", "targets/default", "role_binding.scopes[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &catalogv1.RoleBinding{Role: c.role, Members: []string{c.member}}
			if c.scope != "" {
				b.Scopes = []string{c.scope}
			}
			_, err := w.access.CreateRoleBinding(t.Context(), &catalogv1.CreateRoleBindingRequest{RoleBindingId: "wrong", RoleBinding: b})
			e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
			if e.Fields[0].Path != c.field {
				t.Errorf("field %s, want %s", e.Fields[0].Path, c.field)
			}
		})
	}
	_, err := w.access.CreateToken(t.Context(), &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: 1, Scopes: []string{"applications/shop", "shop"}}})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "token.scopes[1]" {
		t.Errorf("fields %v", e.Fields)
	}
}

func TestPoliciesHoldAtOnce(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.shops()
	ctx := t.Context()
	dev, _, _ := w.as(w.token("dev", catalogv1.Token_ROLE_DEVELOPER))
	get := func(app string) error {
		_, err := dev.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: "applications/" + app})
		return err
	}
	must(t, get("shop"))
	must(t, w.policy("secret-shop", `forbid (principal, action, resource in Application::"shop") unless { principal.admin.contains(Scope::"everywhere") };`))
	denied(t, get("shop"))
	must(t, get("blog"))
	apps, err := dev.ListApplications(ctx, &catalogv1.ListApplicationsRequest{})
	must(t, err)
	envs, err := dev.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
	must(t, err)
	if d := cmp.Diff([]string{"applications/blog", "applications/blog/environments/dev"}, append(names(apps.GetApplications()), names(envs.GetEnvironments())...)); d != "" {
		t.Errorf("lists of a forbidden application (-want +got)\n%s", d)
	}
	_, err = dev.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: "applications/shop"})
	denied(t, err)
	p, err := w.access.GetPolicy(ctx, &catalogv1.GetPolicyRequest{Name: "policies/secret-shop"})
	must(t, err)
	p.Cedar = `forbid (principal, action == Action::"unlock", resource in Application::"shop");`
	_, err = w.access.UpdatePolicy(ctx, &catalogv1.UpdatePolicyRequest{Policy: p})
	must(t, err)
	must(t, get("shop"))
	_, err = w.access.DeletePolicy(ctx, &catalogv1.DeletePolicyRequest{Name: "policies/secret-shop"})
	must(t, err)
	list, err := w.access.ListPolicies(ctx, &catalogv1.ListPoliciesRequest{})
	must(t, err)
	if len(list.GetPolicies()) != 0 {
		t.Errorf("left: %v", list)
	}
}

func TestBadCedarIsRefusedWithItsPlace(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	e := wantError(t, w.policy("bad", "permit (principal, action, resource);\n\n  forbid (principal, acton, resource);"), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if !strings.HasPrefix(e.Fields[0].Path, "policy.cedar:3:") {
		t.Errorf("fields %v", e.Fields)
	}
	must(t, w.policy("good", `permit (principal, action == Action::"unlock", resource);`))
	_, err := w.access.UpdatePolicy(t.Context(), &catalogv1.UpdatePolicyRequest{Policy: &catalogv1.Policy{Name: "policies/good", Cedar: `permit (principal, action == Action::"unlok", resource);`}})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
}

func TestNoPolicyLocksOutEveryAdmin(t *testing.T) {
	const nobody = `forbid (principal, action, resource);`
	const platform = `forbid (principal, action == Action::"manageAccess", resource) unless { principal in Group::"platform" };`
	w, _ := lightWorld(t, memkv.New())
	locked := func(err error) {
		t.Helper()
		wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	}
	locked(w.policy("nobody", nobody))
	locked(w.policy("platform", platform)) // nobody is there yet who could
	w.bind("platform", catalogv1.Token_ROLE_ADMIN, "groups/platform")
	must(t, w.policy("platform", platform))
	locked(w.policy("rest", `forbid (principal in Group::"platform", action == Action::"manageAccess", resource);`)) // only both together
	locked(w.policy("nobody", nobody))
	// The bootstrap token goes on all the same.
	other, _, _ := w.as(w.token("admin", catalogv1.Token_ROLE_ADMIN))
	_, err := other.ListTargets(t.Context(), &catalogv1.ListTargetsRequest{})
	must(t, err)
	_, access, _ := w.as(w.token("admin-two", catalogv1.Token_ROLE_ADMIN))
	_, err = access.ListTokens(t.Context(), &catalogv1.ListTokensRequest{})
	denied(t, err)
}

func TestCheckAccessTellsWhyAndForWhom(t *testing.T) {
	issuer := oidctest.Start(t)
	w, _ := lightWorld(t, memkv.New(), withIssuer(t, issuer))
	w.shops()
	w.bind("checkout", catalogv1.Token_ROLE_DEPLOYER, "groups/checkout", "environmentTypes/development")
	must(t, w.policy("frozen", `forbid (principal, action == Action::"deploy", resource == Environment::"blog/dev") unless { principal.admin.contains(Scope::"everywhere") };`))
	_, ada, _ := w.as(issuer.Token(map[string]any{"groups": []string{"checkout"}}))
	w.token("ci", catalogv1.Token_ROLE_DEVELOPER, "applications/shop")
	for _, c := range []struct {
		name   string
		caller catalogv1.AccessServiceClient
		ask    *catalogv1.CheckAccessRequest
		want   bool
		rule   string
	}{
		{"herself", ada, &catalogv1.CheckAccessRequest{Action: "deploy", Resource: "applications/shop/environments/dev"}, true, "builtin/deployer"},
		{"herself elsewhere", ada, &catalogv1.CheckAccessRequest{Action: "deploy", Resource: "applications/shop/environments/prod"}, false, ""},
		{"herself by name", ada, &catalogv1.CheckAccessRequest{Action: "rollback", Resource: "applications/shop/environments/dev", Subject: "users/ada"}, true, "builtin/deployer"},
		{"forbidden", ada, &catalogv1.CheckAccessRequest{Action: "deploy", Resource: "applications/blog/environments/dev"}, false, "policies/frozen#0"},
		{"somebody in a group", w.access, &catalogv1.CheckAccessRequest{Action: "sync", Resource: "applications/shop/environments/dev", Subject: "users/bob", Groups: []string{"checkout"}}, true, "builtin/deployer"},
		{"somebody in no group", w.access, &catalogv1.CheckAccessRequest{Action: "sync", Resource: "applications/shop/environments/dev", Subject: "users/bob"}, false, ""},
		{"a token", w.access, &catalogv1.CheckAccessRequest{Action: "revert", Resource: "applications/shop/environments/prod", Subject: "tokens/ci"}, true, "builtin/developer"},
		{"everything", w.access, &catalogv1.CheckAccessRequest{Action: "manageAccess"}, true, "builtin/admin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.caller.CheckAccess(t.Context(), c.ask)
			must(t, err)
			if got.GetAllowed() != c.want || c.rule != "" && !slices.Contains(got.GetRules(), c.rule) || got.GetMessage() == "" {
				t.Errorf("got %v", got)
			}
		})
	}
	_, err := ada.CheckAccess(t.Context(), &catalogv1.CheckAccessRequest{Action: "read", Subject: "users/bob"})
	denied(t, err)
	_, err = ada.CheckAccess(t.Context(), &catalogv1.CheckAccessRequest{Action: "read", Groups: []string{"admins"}})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	for field, ask := range map[string]*catalogv1.CheckAccessRequest{
		"action":   {Action: "deplyo"},
		"resource": {Action: "read", Resource: "shop"},
		"subject":  {Action: "read", Subject: "groups/checkout"},
	} {
		_, err := w.access.CheckAccess(t.Context(), ask)
		if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != field {
			t.Errorf("%v: fields %v", ask, e.Fields)
		}
	}
	_, err = w.access.CheckAccess(t.Context(), &catalogv1.CheckAccessRequest{Action: "read", Subject: "tokens/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestAllowedActionsAreWhatCheckAccessAllows(t *testing.T) {
	issuer := oidctest.Start(t)
	w, _ := lightWorld(t, memkv.New(), withIssuer(t, issuer))
	w.shops()
	w.bind("checkout", catalogv1.Token_ROLE_DEPLOYER, "groups/checkout", "environmentTypes/development")
	must(t, w.policy("frozen", `forbid (principal, action == Action::"deploy", resource == Environment::"blog/dev");`))
	_, ada, _ := w.as(issuer.Token(map[string]any{"groups": []string{"checkout"}}))
	_, nobody, _ := w.as(issuer.Token(map[string]any{"sub": "nobody"}))
	for _, resource := range []string{"", "applications/shop", "applications/shop/environments/dev", "applications/shop/environments/prod", "applications/blog/environments/dev", "targets/default"} {
		for who, caller := range map[string]catalogv1.AccessServiceClient{"ada": ada, "nobody": nobody, "admin": w.access} {
			var want []string
			for _, action := range auth.Actions {
				d, err := caller.CheckAccess(t.Context(), &catalogv1.CheckAccessRequest{Action: string(action), Resource: resource})
				must(t, err)
				if d.GetAllowed() {
					want = append(want, string(action))
				}
			}
			got, err := caller.ListAllowedActions(t.Context(), &catalogv1.ListAllowedActionsRequest{Resource: resource})
			must(t, err)
			if d := cmp.Diff(want, got.GetActions()); d != "" {
				t.Errorf("%s on %q: %s", who, resource, d)
			}
		}
	}
	got, err := ada.ListAllowedActions(t.Context(), &catalogv1.ListAllowedActionsRequest{Resource: "applications/shop/environments/dev"})
	must(t, err)
	if a := got.GetActions(); !slices.Contains(a, "deploy") || slices.Contains(a, "deleteEnvironment") {
		t.Errorf("a deployer there may %v", a)
	}
	_, err = ada.ListAllowedActions(t.Context(), &catalogv1.ListAllowedActionsRequest{Resource: "shop"})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "resource" {
		t.Errorf("fields %v", e.Fields)
	}
}

func TestAnotherReplicaFollowsWithinMoments(t *testing.T) {
	kv := memkv.New()
	issuer := oidctest.Start(t)
	one, _ := lightWorld(t, kv, withIssuer(t, issuer))
	two, _ := lightWorld(t, kv, withIssuer(t, issuer))
	one.shops()
	ctx := t.Context()
	there, _, _ := two.as(issuer.Token(nil))
	read := func() error {
		_, err := there.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: "applications/shop"})
		return err
	}
	denied(t, read())
	one.bind("ada", catalogv1.Token_ROLE_VIEWER, "users/ada")
	eventually(t, read)
	isDenied := func() error {
		if err := read(); status.Code(err) != codes.PermissionDenied {
			return fmt.Errorf("got %v", err)
		}
		return nil
	}
	must(t, one.policy("shut", `forbid (principal == User::"ada", action, resource);`))
	eventually(t, isDenied)
	secret := one.token("ci", catalogv1.Token_ROLE_VIEWER)
	ci, _, _ := two.as(secret)
	_, err := ci.ListTargets(ctx, &catalogv1.ListTargetsRequest{})
	must(t, err)
	_, err = one.access.DeleteToken(ctx, &catalogv1.DeleteTokenRequest{Name: "tokens/ci"})
	must(t, err)
	start := time.Now()
	eventually(t, func() error {
		if _, err := ci.ListTargets(ctx, &catalogv1.ListTargetsRequest{}); status.Code(err) != codes.Unauthenticated {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("a revoked token worked %s longer in the other replica", took)
	}
}

func TestAServiceAsksForItsOwnCallers(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	secret := w.token("ci", catalogv1.Token_ROLE_DEVELOPER, "applications/shop")
	// Somebody else's header means nothing.
	_, access, _ := w.as(secret)
	ctx := withHeader(t.Context(), auth.CarriedTokenHeader, adminSecret)
	who, err := access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	must(t, err)
	if who.GetSubject() != "tokens/ci" {
		t.Errorf("a caller became %v by a header", who)
	}
}

func withHeader(ctx context.Context, key, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, key, value)
}

func TestDecisionsTellActionAndResource(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.shops()
	z := w.svc.Authorizer()
	c := auth.Caller{Subject: "tokens/ci"}.WithRole(auth.Viewer, "environmentTypes/production")
	ctx, rec := auth.WithRecord(context.Background())
	d, err := z.Decide(ctx, c, auth.Rollback, auth.ParseResource("applications/shop/environments/prod/deployments/3"))
	must(t, err)
	auth.NoteDecision(ctx, d)
	if d.Allowed || rec.Decision.Action != auth.Rollback || rec.Decision.Resource != "applications/shop/environments/prod/deployments/3" {
		t.Errorf("%+v", rec)
	}
	if e := d.Err(c); !errs.Is(e, errs.Denied) {
		t.Errorf("%v", e)
	}
}
