package auth_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	_ "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
)

// eachMethod calls f for every RPC of Towpath's protos.
func eachMethod(t *testing.T, f func(full, name string)) {
	t.Helper()
	n := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "towpath.") {
			return true
		}
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				n++
				f("/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()), string(s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	if n < 30 {
		t.Fatalf("only %d methods were found; the protos are not linked in", n)
	}
}

func TestEveryMethodHasAnAccessRule(t *testing.T) {
	eachMethod(t, func(full, _ string) {
		rule, ok := auth.MethodRule(full)
		if !ok {
			t.Errorf("%s has no rule: add it to methods", full)
			return
		}
		if !slices.Contains(auth.Actions, rule.Action) {
			t.Errorf("%s has the action %q, which auth.Actions does not name", full, rule.Action)
		}
	})
}

// Each place names fields that the request has, and each list names rows that the response has.
func TestEveryRuleFitsItsMessages(t *testing.T) {
	eachMethod(t, func(full, _ string) {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(full, "/"), "/", ".")))
		if err != nil {
			t.Fatal(err)
		}
		m := d.(protoreflect.MethodDescriptor)
		rule, _ := auth.MethodRule(full)
		places := []auth.Place{rule.On}
		for _, c := range rule.Also {
			places = append(places, c.On)
		}
		for _, p := range places {
			for _, f := range fieldsIn(p.Doc) {
				if !hasField(m.Input(), f) {
					t.Errorf("%s: %s has no field %s", full, m.Input().Name(), f)
				}
			}
		}
		if rule.Rows != "" && m.Output().Fields().ByName(protoreflect.Name(rule.Rows)) == nil {
			t.Errorf("%s: %s has no field %s", full, m.Output().Name(), rule.Rows)
		}
	})
}

var quoted = regexp.MustCompile("`([^`]+)`")

// fieldsIn takes the fields out of a place's description.
func fieldsIn(doc string) []string {
	var out []string
	for _, q := range quoted.FindAllStringSubmatch(doc, -1) {
		switch {
		case strings.Contains(q[1], "{"):
			for _, b := range regexp.MustCompile(`{([a-z_.]+)}`).FindAllStringSubmatch(q[1], -1) {
				out = append(out, b[1])
			}
		case q[1] != "-" && strings.ToLower(q[1]) == q[1]:
			out = append(out, q[1])
		}
	}
	return out
}

func hasField(m protoreflect.MessageDescriptor, path string) bool {
	first, rest, more := strings.Cut(path, ".")
	fd := m.Fields().ByName(protoreflect.Name(first))
	if fd == nil || !more {
		return fd != nil
	}
	return fd.Message() != nil && hasField(fd.Message(), rest)
}

func TestResourceNamesAreOfTheirApplicationOrEnvironment(t *testing.T) {
	for name, want := range map[string]auth.Resource{
		"":                                   auth.Everything,
		"applications/-":                     auth.Everything,
		"applications/-/environments/-":      auth.Everything,
		"applications/shop":                  {Kind: auth.Application, ID: "shop"},
		"applications/shop/environments/-":   {Kind: auth.Application, ID: "shop"},
		"applications/shop/drafts/next":      {Kind: auth.Application, ID: "shop"},
		"applications/shop/variables/A":      {Kind: auth.Application, ID: "shop"},
		"applications/shop/environments/dev": {Kind: auth.Environment, ID: "shop/dev"},
		"applications/shop/environments/dev/deployments/7": {Kind: auth.Environment, ID: "shop/dev"},
		"applications/shop/environments/dev/variables/A":   {Kind: auth.Environment, ID: "shop/dev"},
		"environmentTypes/production":                      {Kind: auth.EnvironmentType, ID: "production"},
		"resourceDefinitions/postgres/versions/3":          {Kind: auth.ResourceDefinition, ID: "postgres"},
		"tokens/ci": auth.Everything,
		"sets/abc":  auth.Everything,
		"//":        auth.Everything,
	} {
		want.Name = name
		if got := auth.ParseResource(name); got != want {
			t.Errorf("%q: got %+v, want %+v", name, got, want)
		}
	}
}

func TestAGreaterRoleEverywhereSwallowsLesserGrants(t *testing.T) {
	c := auth.Caller{Subject: "users/ada"}.WithRole(auth.Viewer, "applications/shop").WithRole(auth.Operator, "environmentTypes/staging").
		WithRole(auth.Deployer, "environmentTypes/staging").WithRole(auth.Developer)
	if len(c.Grants) != 1 || c.Grants[0] != (auth.Grant{Role: auth.Operator, Scope: "environmentTypes/staging"}) || c.Role != auth.Developer {
		t.Errorf("got %+v", c)
	}
	if c.Greatest() != auth.Operator {
		t.Errorf("greatest is %s", c.Greatest())
	}
	if other := c.WithRole(auth.Operator, "environmentTypes/production"); other.Key() == c.Key() || c.Sealed().Key() != c.Key() {
		t.Error("the key does not tell grants apart")
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add("applications/shop/environments/dev/deployments/1")
	f.Add("applications/-/environments/-")
	f.Fuzz(func(t *testing.T, name string) {
		r := auth.ParseResource(name)
		if r.ID == "" || r.Name != name {
			t.Errorf("%q: %+v", name, r)
		}
		if r.Kind == auth.Environment && !strings.HasPrefix(name, "applications/"+strings.Replace(r.ID, "/", "/environments/", 1)) {
			t.Errorf("%q became %+v", name, r)
		}
	})
}
