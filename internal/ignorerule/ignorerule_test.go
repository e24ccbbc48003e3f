package ignorerule_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/ignorerule"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func service(field string) *driftv1.Finding {
	return &driftv1.Finding{ApiVersion: "v1", ObjectKind: "Service", ObjectName: "web", Field: field, Manager: "kubectl"}
}

func matches(r *driftv1.IgnoreRule, f *driftv1.Finding, at time.Time) bool {
	return ignorerule.Compile([]*driftv1.IgnoreRule{r}).Match(f, at) != nil
}

func TestARuleIsAboutWhatItNamesAndNothingElse(t *testing.T) {
	port := service("spec.ports[port=80]")
	knative := &driftv1.Finding{ApiVersion: "serving.knative.dev/v1", ObjectKind: "Service", ObjectName: "web", Field: "spec"}
	deployment := &driftv1.Finding{ApiVersion: "apps/v1", ObjectKind: "Deployment", ObjectName: "web", Field: "spec.replicas"}
	for name, c := range map[string]struct {
		rule    *driftv1.IgnoreRule
		finding *driftv1.Finding
		want    bool
	}{
		"the very field":                   {&driftv1.IgnoreRule{Field: "spec.ports[port=80]"}, port, true},
		"a field above":                    {&driftv1.IgnoreRule{Field: "spec"}, port, true},
		"a field below":                    {&driftv1.IgnoreRule{Field: "spec.ports[port=80].nodePort"}, port, false},
		"another item":                     {&driftv1.IgnoreRule{Field: "spec.ports[port=8080]"}, port, false},
		"any item":                         {&driftv1.IgnoreRule{Field: "spec.ports[*]"}, port, true},
		"a name that only begins so":       {&driftv1.IgnoreRule{Field: "spec.por"}, port, false},
		"a key with dots in brackets":      {&driftv1.IgnoreRule{Field: "metadata.annotations[a.b/c]"}, service("metadata.annotations[a.b/c]"), true},
		"a key with a bracket in quotes":   {&driftv1.IgnoreRule{Field: "data[*]"}, service(`data["a]b"]`), true},
		"the kind":                         {&driftv1.IgnoreRule{ObjectKind: "Service"}, port, true},
		"the kind of another project":      {&driftv1.IgnoreRule{ObjectKind: "Service"}, knative, false},
		"the kind with its group":          {&driftv1.IgnoreRule{ObjectKind: "Service.serving.knative.dev"}, knative, true},
		"a built-in kind without group":    {&driftv1.IgnoreRule{ObjectKind: "Deployment"}, deployment, true},
		"a built-in kind with its group":   {&driftv1.IgnoreRule{ObjectKind: "Deployment.apps"}, deployment, true},
		"another name":                     {&driftv1.IgnoreRule{ObjectName: "api"}, port, false},
		"another manager":                  {&driftv1.IgnoreRule{Field: "spec", Manager: "helm"}, port, false},
		"nothing at all":                   {&driftv1.IgnoreRule{}, port, false},
		"a field that cannot be read":      {&driftv1.IgnoreRule{Field: "spec..ports"}, port, false},
		"one that is over":                 {&driftv1.IgnoreRule{Field: "spec", ExpireTime: timestamppb.New(now)}, port, false},
		"one that is over in a moment":     {&driftv1.IgnoreRule{Field: "spec", ExpireTime: timestamppb.New(now.Add(1))}, port, true},
		"the whole object that is missing": {&driftv1.IgnoreRule{ObjectKind: "Service", ObjectName: "web"}, service(""), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(c.rule, c.finding, now); got != c.want {
				t.Errorf("%v about %v: %t, want %t", c.rule, c.finding, got, c.want)
			}
		})
	}
}

func TestWildcardsWidenARuleAndBracketsKeepTheirKeys(t *testing.T) {
	part := rapid.SampledFrom([]string{".spec", ".ports", "[port=80]", "[name=a,x=b]", "[a.b/c]", `["a]b.c"]`, "[=v]", "[0]"})
	rapid.Check(t, func(t *rapid.T) {
		parts := append([]string{".metadata"}, rapid.SliceOfN(part, 0, 6).Draw(t, "parts")...)
		field := strings.TrimPrefix(strings.Join(parts, ""), ".")
		f := service(field)
		if !matches(ignorerule.For(f), f, now) {
			t.Fatalf("the rule for %q is not about it", field)
		}
		n := rapid.IntRange(1, len(parts)).Draw(t, "up to")
		wide := append([]string{}, parts[:n]...)
		for i := 1; i < n; i++ {
			if rapid.Bool().Draw(t, "any") {
				wide[i] = "[*]"
			}
		}
		rule := &driftv1.IgnoreRule{Field: strings.TrimPrefix(strings.Join(wide, ""), ".")}
		if !matches(rule, f, now) {
			t.Fatalf("%q is not about %q", rule.GetField(), field)
		}
		narrow := &driftv1.IgnoreRule{Field: field + ".more"}
		if matches(narrow, f, now) {
			t.Fatalf("%q is about %q, which is more than it names", narrow.GetField(), field)
		}
		end := now.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "seconds")) * time.Second)
		rule.ExpireTime = timestamppb.New(end)
		if matches(rule, f, now) != now.Before(end) {
			t.Fatalf("a rule until %v is wrong at %v", end, now)
		}
	})
}

func FuzzFieldsAreReadWithoutPanic(f *testing.F) {
	f.Add("spec.ports[port=80]")
	f.Add(`data["a]b"]`)
	f.Fuzz(func(t *testing.T, field string) {
		r := &driftv1.IgnoreRule{Field: field, ObjectKind: "Service"}
		if ignorerule.Check("rule", r, now) == nil && !matches(r, service(field), now) {
			t.Errorf("%q is taken and is not about itself", field)
		}
	})
}
