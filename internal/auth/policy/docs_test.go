package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	_ "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
)

func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheTableInTheDocumentationIsFresh(t *testing.T) {
	table, err := policy.Table()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page(t), table) {
		t.Error("docs/access.md is stale: run `make docs`")
	}
}

// The examples of the page do what the page says of them.
func TestTheExamplesInTheDocumentationDoWhatTheySay(t *testing.T) {
	var docs []policy.Document
	for _, m := range regexp.MustCompile("(?s)```cedar\n(.*?)```").FindAllStringSubmatch(page(t), -1) {
		if err := policy.Check("docs/access.md", m[1]); err != nil {
			t.Fatalf("%s\n%v", m[1], err)
		}
		docs = append(docs, policy.Document{Name: "policies/example", Text: m[1]})
	}
	if len(docs) != 3 {
		t.Fatalf("the page has %d examples, want 3", len(docs))
	}
	developer := auth.Caller{Subject: "users/ada", Groups: []string{"checkout"}, Role: auth.Developer}
	in := func(c auth.Caller, groups ...string) auth.Caller { c.Groups = groups; return c }
	admin := auth.Caller{Subject: "users/root", Role: auth.Admin}
	viewer := auth.Caller{Subject: "users/bob", Role: auth.Viewer}
	dev, prod, payroll := env("shop/dev", "development"), env("shop/prod", "production"), env("payroll/dev", "development")
	for _, c := range []struct {
		name    string
		example int
		caller  auth.Caller
		action  auth.Action
		on      auth.Resource
		want    bool
	}{
		{"a developer deploys to development", 0, developer, auth.Deploy, dev, true},
		{"but not to production", 0, developer, auth.Deploy, prod, false},
		{"but rolls back there", 0, developer, auth.Rollback, prod, true},
		{"a release manager deploys to production", 0, in(developer, "release-managers"), auth.Deploy, prod, true},
		{"an admin too", 0, admin, auth.Promote, prod, true},
		{"a release manager without a role does not", 0, in(auth.Caller{Subject: "users/eve"}, "release-managers"), auth.Deploy, prod, false},
		{"a viewer unlocks nothing", 1, viewer, auth.Unlock, prod, false},
		{"on call she does", 1, in(viewer, "on-call"), auth.Unlock, prod, true},
		{"and approves", 1, in(viewer, "on-call"), auth.Approve, prod, true},
		{"but does not deploy", 1, in(viewer, "on-call"), auth.Deploy, prod, false},
		{"a viewer does not see payroll", 2, viewer, auth.Read, payroll, false},
		{"but sees others", 2, viewer, auth.Read, dev, true},
		{"the team sees it", 2, in(viewer, "payroll"), auth.Read, payroll, true},
		{"an admin sees it", 2, admin, auth.Read, payroll, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := policy.New(docs[c.example : c.example+1])
			if err != nil {
				t.Fatal(err)
			}
			if d := set.Decide(c.caller, c.action, c.on); d.Allowed != c.want {
				t.Errorf("%+v", d)
			}
		})
	}
}

// The schema that policies are checked against and the roles name the same actions as the code.
func TestEveryActionIsInTheSchemaAndOfSomeRole(t *testing.T) {
	for _, a := range auth.Actions {
		if !policy.Permits(auth.Admin, a) {
			t.Errorf("no role permits %s", a)
		}
		if !regexp.MustCompile(`\b` + string(a) + `\b`).MatchString(policy.Schema) {
			t.Errorf("the schema does not name %s", a)
		}
	}
	for _, named := range regexp.MustCompile(`Action::"([^"]+)"`).FindAllStringSubmatch(policy.Builtin, -1) {
		found := false
		for _, a := range auth.Actions {
			found = found || string(a) == named[1]
		}
		if !found {
			t.Errorf("builtin.cedar names %s, which is no action", named[1])
		}
	}
}
