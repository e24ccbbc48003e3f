package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func (f *fake) CheckAccess(_ context.Context, r *catalogv1.CheckAccessRequest) (*catalogv1.CheckAccessResponse, error) {
	if r.GetAction() == "rollback" {
		return &catalogv1.CheckAccessResponse{Allowed: true, Rules: []string{"builtin/deployer"}, Message: "tokens/ada may rollback by builtin/deployer"}, nil
	}
	return &catalogv1.CheckAccessResponse{Message: "tokens/ada may not " + r.GetAction() + ": no role and no policy permits it"}, nil
}

func (f *fake) CreateRoleBinding(_ context.Context, r *catalogv1.CreateRoleBindingRequest) (*catalogv1.RoleBinding, error) {
	b := r.GetRoleBinding()
	b.Name = "roleBindings/" + r.GetRoleBindingId()
	return b, nil
}

func (f *fake) ListRoleBindings(context.Context, *catalogv1.ListRoleBindingsRequest) (*catalogv1.ListRoleBindingsResponse, error) {
	return &catalogv1.ListRoleBindingsResponse{RoleBindings: []*catalogv1.RoleBinding{
		{Name: "roleBindings/admins", Role: catalogv1.Token_ROLE_ADMIN, Members: []string{"groups/platform", "users/ada"}},
		{Name: "roleBindings/checkout", Role: catalogv1.Token_ROLE_DEVELOPER, Members: []string{"groups/checkout"}, Scopes: []string{"applications/shop"}},
	}}, nil
}

func (f *fake) CreatePolicy(_ context.Context, r *catalogv1.CreatePolicyRequest) (*catalogv1.Policy, error) {
	p := r.GetPolicy()
	p.Name = "policies/" + r.GetPolicyId()
	return p, nil
}

func (f *fake) DeletePolicy(context.Context, *catalogv1.DeletePolicyRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func TestCanI(t *testing.T) {
	f := startFake(t)
	if r := run(t, f, []string{"auth", "can-i", "rollback", "shop/prod"}).want(t, 0); r.stdout != "yes\n" || !strings.Contains(r.stderr, "builtin/deployer") {
		t.Errorf("%+v", r)
	}
	if r := run(t, f, []string{"auth", "can-i", "unlock", "environmentTypes/production"}).want(t, 6); r.stdout != "no\n" || !strings.Contains(r.stderr, "no role and no policy") {
		t.Errorf("%+v", r)
	}
	run(t, f, []string{"auth", "can-i", "deploy", "shop", "--as", "users/bob", "--as-group", "a,b"}).want(t, 6)
	run(t, f, []string{"auth", "can-i", "deploy", "--as-group", "a"}).want(t, 2)
	run(t, f, []string{"auth", "can-i"}).want(t, 2)
	var asked []string
	for _, m := range f.called("CheckAccess") {
		r := m.(*catalogv1.CheckAccessRequest)
		asked = append(asked, r.GetAction()+" "+r.GetResource()+" "+r.GetSubject()+strings.Join(r.GetGroups(), "+"))
	}
	if want := []string{"rollback applications/shop/environments/prod ", "unlock environmentTypes/production ", "deploy applications/shop users/boba+b"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestRoleBindingsAndPolicies(t *testing.T) {
	f := startFake(t)
	run(t, f, []string{"role-binding", "create", "checkout", "--role", "operator", "--member", "groups/checkout,users/ada", "--scope", "applications/shop"}).want(t, 0)
	got := f.called("CreateRoleBinding")[0].(*catalogv1.CreateRoleBindingRequest)
	if b := got.GetRoleBinding(); b.GetRole() != catalogv1.Token_ROLE_OPERATOR || len(b.GetMembers()) != 2 || len(b.GetScopes()) != 1 || got.GetRequestId() == "" {
		t.Errorf("sent %v", got)
	}
	r := run(t, f, []string{"role-binding", "list"}).want(t, 0)
	if !strings.Contains(r.stdout, "everywhere") || !strings.Contains(r.stdout, "applications/shop") {
		t.Error(r.stdout)
	}
	file := filepath.Join(t.TempDir(), "a.cedar")
	if err := os.WriteFile(file, []byte("forbid (principal, action, resource);"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, f, []string{"policy", "create", "frozen", "--file", file}).want(t, 0)
	if p := f.called("CreatePolicy")[0].(*catalogv1.CreatePolicyRequest); p.GetPolicy().GetCedar() != "forbid (principal, action, resource);" {
		t.Errorf("sent %v", p)
	}
	run(t, f, []string{"policy", "delete", "frozen", "--yes"}).want(t, 0)
	for _, args := range [][]string{
		{"role-binding", "create", "x", "--role", "boss", "--member", "users/a"},
		{"role-binding", "create", "x", "--role", "viewer"},
		{"role-binding", "create", "x", "--role", "viewer", "--member", "users/a", "--scope", "shop"},
		{"policy", "create", "x"},
		{"policy", "create", "x", "--file", "none.cedar"},
		{"token", "create", "x", "--role", "viewer", "--scope", "shop"},
	} {
		run(t, f, args).want(t, 2)
	}
}

// Tokens of identity providers are got at each call: from a file that is renewed, or from a helper.
func TestTokensThatAreRenewed(t *testing.T) {
	f := startFake(t)
	dir := t.TempDir()
	token, config := filepath.Join(dir, "token"), filepath.Join(dir, "config.yaml")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []option{setenv("TOW_TOKEN", ""), setenv("TOW_CONFIG", config)}
	write(secret + "\n")
	for name, c := range map[string]struct {
		flag, value string
	}{
		"a file":                     {"--token-path", token},
		"a helper":                   {"--token-exec", "cat " + token},
		"a helper of kubectl's form": {"--token-exec", "sed s/.*/{\"status\":{\"token\":\"&\"}}/ " + token},
	} {
		t.Run(name, func(t *testing.T) {
			write(secret + "\n")
			r := run(t, f, []string{"login", "--server", f.addr, c.flag, c.value}, env...).want(t, 0)
			if !strings.Contains(r.stdout, "each time") {
				t.Error(r.stdout)
			}
			b, err := os.ReadFile(config)
			if err != nil || strings.Contains(string(b), secret) {
				t.Errorf("the token is stored: %s, %v", b, err)
			}
			run(t, f, []string{"whoami"}, env...).want(t, 0)
			write("another")
			run(t, f, []string{"whoami"}, env...).want(t, 6)
			write("")
			run(t, f, []string{"whoami"}, env...).want(t, 6)
		})
	}
	run(t, f, []string{"login", "--server", f.addr, "--token-exec", "false"}, env...).want(t, 6)
	run(t, f, []string{"login", "--server", f.addr, "--token-exec", "/none"}, env...).want(t, 6)
	run(t, f, []string{"login", "--server", f.addr, "--token-path", "/none"}, env...).want(t, 6)
	run(t, f, []string{"login", "--server", f.addr, "--token-path", token, "--token-exec", "x"}, env...).want(t, 2)
	write(secret)
	run(t, f, []string{"whoami"}, append(env, setenv("TOW_TOKEN_FILE", token))...).want(t, 0)
}

func TestTooManyCallsSayWhenToTryAgain(t *testing.T) {
	f := startFake(t)
	f.fail("WhoAmI", errs.New(errs.Exhausted, errorsv1.Reason_REASON_RATE_LIMITED, "tokens/ada makes too many calls; try again in 3 s").With("retry_after", "3"))
	if r := run(t, f, []string{"whoami"}).want(t, 8); !strings.Contains(r.stderr, "hint: wait 3 s") {
		t.Error(r.stderr)
	}
}
