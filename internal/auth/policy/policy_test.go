package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestTheBuiltInPoliciesFitTheSchema(t *testing.T) {
	if err := policy.Check("builtin", policy.Builtin); err != nil {
		t.Fatal(err)
	}
	for _, a := range auth.Actions {
		text := fmt.Sprintf(`permit(principal, action == Action::%q, resource);`, a)
		if err := policy.Check("text", text); err != nil {
			t.Errorf("the schema does not know the action %s: %v", a, err)
		}
	}
}

func env(id, typ string) auth.Resource {
	app, e, _ := strings.Cut(id, "/")
	r := auth.ParseResource("applications/" + app + "/environments/" + e)
	r.Type = typ
	return r
}

func TestRolesHoldWhereTheyAreBound(t *testing.T) {
	user := auth.Caller{Subject: "users/ada"}
	app, typ := "applications/shop", "environmentTypes/production"
	dev, prod, other := env("shop/dev", "development"), env("shop/prod", "production"), env("blog/prod", "production")
	for _, c := range []struct {
		name   string
		caller auth.Caller
		action auth.Action
		on     auth.Resource
		want   bool
	}{
		{"nobody reads nothing", user, auth.Read, dev, false},
		{"nobody may ask who it is", user, auth.WhoAmI, auth.Everything, true},
		{"nobody reads nothing shared", user, auth.ReadShared, auth.Everything, false},
		{"a viewer reads", user.WithRole(auth.Viewer), auth.Read, dev, true},
		{"a viewer does not deploy", user.WithRole(auth.Viewer), auth.Deploy, dev, false},
		{"a deployer of a type deploys there", user.WithRole(auth.Deployer, typ), auth.Deploy, prod, true},
		{"and in other applications", user.WithRole(auth.Deployer, typ), auth.Deploy, other, true},
		{"but to no other type", user.WithRole(auth.Deployer, typ), auth.Deploy, dev, false},
		{"and sees which applications there are", user.WithRole(auth.Deployer, typ), auth.Read, auth.ParseResource(app), true},
		{"but does not read what spans them", user.WithRole(auth.Deployer, typ), auth.Read, auth.Everything, false},
		{"a deployer creates no environment", user.WithRole(auth.Deployer), auth.CreateEnvironment, dev, false},
		{"a developer of an application creates environments there", user.WithRole(auth.Developer, app), auth.CreateEnvironment, prod, true},
		{"but nowhere else", user.WithRole(auth.Developer, app), auth.CreateEnvironment, other, false},
		{"a developer does not unlock", user.WithRole(auth.Developer), auth.Unlock, dev, false},
		{"an operator does", user.WithRole(auth.Operator), auth.Unlock, dev, true},
		{"an operator of a type changes that type", user.WithRole(auth.Operator, typ), auth.ManageEnvironmentTypes, auth.ParseResource(typ), true},
		{"but no other", user.WithRole(auth.Operator, typ), auth.ManageEnvironmentTypes, auth.ParseResource("environmentTypes/staging"), false},
		{"an operator makes no tokens", user.WithRole(auth.Operator), auth.ManageAccess, auth.Everything, false},
		{"an admin does", user.WithRole(auth.Admin), auth.ManageAccess, auth.Everything, true},
		{"an admin of an application does not", user.WithRole(auth.Admin, app), auth.ManageAccess, auth.Everything, false},
		{"but does everything there", user.WithRole(auth.Admin, app), auth.Unlock, dev, true},
		{"a scope reads what is shared", user.WithRole(auth.Viewer, app), auth.ReadShared, auth.ParseResource("targets/default"), true},
		{"an environment of unknown type is in no type", user.WithRole(auth.Viewer, typ), auth.Read, env("shop/new", ""), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := policy.BuiltinOnly().Decide(c.caller, c.action, c.on); d.Allowed != c.want {
				t.Errorf("%s %s %v: %+v", c.caller.Subject, c.action, c.on, d)
			}
		})
	}
}

func TestOrganisationPoliciesGiveAndTakeAway(t *testing.T) {
	set, err := policy.New([]policy.Document{{Name: "policies/org", Text: `
permit (principal in Group::"sre", action == Action::"unlock", resource);
forbid (principal, action == Action::"deploy", resource in EnvironmentType::"production")
unless { principal in Group::"release" };`}})
	if err != nil {
		t.Fatal(err)
	}
	prod := env("shop/prod", "production")
	dev := auth.Caller{Subject: "users/ada"}.WithRole(auth.Developer)
	if d := set.Decide(dev, auth.Deploy, prod); d.Allowed || !slices.Equal(d.Rules, []string{"policies/org#1"}) {
		t.Errorf("forbid: %+v", d)
	}
	dev.Groups = []string{"release", "sre"}
	for _, a := range []auth.Action{auth.Deploy, auth.Unlock} {
		if d := set.Decide(dev, a, prod); !d.Allowed || d.Whole {
			t.Errorf("%s: %+v", a, d)
		}
	}
	boot := auth.Caller{Subject: auth.BootstrapSubject, Role: auth.Admin}
	if d := set.Decide(boot, auth.Deploy, prod); !d.Allowed {
		t.Errorf("the bootstrap token: %+v", d)
	}
}

func TestBadCedarNamesLineAndColumn(t *testing.T) {
	for name, c := range map[string]struct{ text, place string }{
		"a typing mistake":          {"permit (principal, action, resource);\nforbit (principal, action, resource);", "policy.cedar:2:8"},
		"an unknown action":         {"forbid (principal,\n action == Action::\"deplyo\", resource);", "policy.cedar:1:1"},
		"an unknown entity":         {"\n  forbid (principal, action, resource in Team::\"a\");", "policy.cedar:2:3"},
		"an unknown attribute":      {`forbid (principal, action, resource) when { principal.age > 3 };`, "policy.cedar:1:1"},
		"a comparison of two types": {`forbid (principal, action, resource) when { principal.hasRole == "yes" };`, "policy.cedar:1:1"},
		"nothing":                   {"// nothing", "policy.cedar"},
	} {
		t.Run(name, func(t *testing.T) {
			err := policy.Check("policy.cedar", c.text)
			e, ok := err.(*errs.Error)
			if !ok || e.Kind != errs.Invalid || len(e.Fields) == 0 || e.Fields[0].Path != c.place {
				t.Fatalf("got %v, want it at %s", err, c.place)
			}
			t.Log(e.Fields[0].Problem)
		})
	}
}

func TestAnUnreadableDocumentClosesTheDoor(t *testing.T) {
	set, err := policy.New([]policy.Document{{Name: "policies/bad", Text: "forbid ("}})
	if err == nil || !strings.Contains(err.Error(), "policies/bad") {
		t.Fatalf("error = %v", err)
	}
	admin := auth.Caller{Subject: "users/ada", Role: auth.Admin}
	if set.Decide(admin, auth.Read, auth.Everything).Allowed {
		t.Error("an admin is let in")
	}
	if !set.Decide(auth.Caller{Subject: auth.BootstrapSubject, Role: auth.Admin}, auth.ManageAccess, auth.Everything).Allowed {
		t.Error("the bootstrap token is not let in")
	}
}

func BenchmarkDecide(b *testing.B) {
	c := auth.Caller{Subject: "users/ada", Groups: []string{"a", "b"}}.WithRole(auth.Developer, "applications/shop").Sealed()
	r := env("shop/dev", "development")
	b.Run("known", func(b *testing.B) {
		s := policy.BuiltinOnly()
		for b.Loop() {
			s.Decide(c, auth.Deploy, r)
		}
	})
	b.Run("new", func(b *testing.B) {
		s := policy.BuiltinOnly()
		for i := 0; b.Loop(); i++ {
			r.ID = fmt.Sprintf("shop/dev%d", i)
			s.Decide(c, auth.Deploy, r)
		}
	})
}
