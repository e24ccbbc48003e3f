package guardrail_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const deploymentYAML = `apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - {name: main, image: "nginx:latest", args: ["a b"]}
`

var bundle = &rendererv1.Bundle{
	Files: map[string][]byte{"deployment-api.yaml": []byte(deploymentYAML), "service-api.yaml": []byte("apiVersion: v1\nkind: Service\nmetadata: {name: api}\n")},
	Objects: []*rendererv1.ObjectRef{
		{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api", File: "deployment-api.yaml", Workload: "api"},
		{ApiVersion: "v1", Kind: "Service", Name: "api", File: "service-api.yaml", Workload: "api"},
	},
}

func request(guardrails ...*rendererv1.Guardrail) *rendererv1.RenderRequest {
	return &rendererv1.RenderRequest{
		Input:      &rendererv1.RenderInput{Application: "shop", Environment: "prod", EnvironmentType: "production"},
		Facts:      &rendererv1.DeploymentFacts{Kind: "CHANGE", Actor: "users/ann"},
		Guardrails: guardrails,
	}
}

func rule(name, expression string, kinds ...string) *rendererv1.Guardrail {
	return &rendererv1.Guardrail{Name: name, Expression: expression, Message: name + " is broken", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Kinds: kinds}
}

func TestVerdictsAreWhatDoesNotHold(t *testing.T) {
	for expression, want := range map[string]string{
		`object.spec.template.spec.containers.all(c, !c.image.endsWith(':latest'))`: "rule is broken",
		`object.spec.template.spec.containers.all(c, c.name == 'main')`:             "",
		`object.spec.replicas >= 2 && object.spec.replicas + 1 == 3`:                "",
		`object.metadata.?labels.?team.hasValue()`:                                  "rule is broken",
		`deployment.environment_type != 'production' || deployment.actor == 'users/ann' && deployment.kind == 'CHANGE' && deployment.application == 'shop' && deployment.environment == 'prod'`: "",
		`object.spec.nope == 1`: "rule is broken (it cannot be decided: no such key: nope)",
		`object.kind`:           "rule is broken (it gives string instead of true or false)",
		`object.spec.template.spec.containers[0].args[0].split(' ').size() == 2`: "",
		`[1, 2].map(a, [1, 2].map(b, a * b)).flatten().size() == 4`:              "",
	} {
		got, err := guardrail.Evaluate(t.Context(), request(rule("rule", expression, "Deployment")), bundle)
		text := ""
		if len(got) == 1 {
			text = got[0].GetMessage()
		}
		if err != nil || text != want {
			t.Errorf("%s: got %q, want %q (%v)", expression, text, want, err)
		}
	}
}

func TestVerdictsComeInOneOrder(t *testing.T) {
	warn := rule("aa", "false")
	warn.Enforcement, warn.Message = rendererv1.Guardrail_ENFORCEMENT_WARN, ""
	got, err := guardrail.Evaluate(t.Context(), request(warn, rule("zz", "false", "Service"), rule("bb", "false")), bundle)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, v := range got {
		lines = append(lines, v.GetGuardrail()+" "+v.GetObject().GetFile()+" "+v.GetMessage())
	}
	want := []string{
		"bb deployment-api.yaml bb is broken", "bb service-api.yaml bb is broken", "zz service-api.yaml zz is broken",
		"aa deployment-api.yaml does not hold: false", "aa service-api.yaml does not hold: false",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestCheckNamesEachWrongPlace(t *testing.T) {
	unset := rule("cc", "true")
	unset.Enforcement = 0
	err := guardrail.Check([]*rendererv1.Guardrail{
		rule("aa", "true"), rule("aa", "object.x ==\n  "), rule("bb", "deployment.who == 'x'"), unset, rule("dd", "1 + 1"), rule("ee", "true &&\n now() > 1"),
	})
	var e *errs.Error
	if !errors.As(err, &e) || e.Reason != errorsv1.Reason_REASON_INVALID_FIELD {
		t.Fatal(err)
	}
	var got []string
	for _, f := range e.Fields {
		got = append(got, f.Path+" "+f.Problem[:min(len(f.Problem), 24)])
	}
	want := []string{
		`guardrails[1].name "aa" is the name of guar`,
		`guardrails[1].expression:2:3 Syntax error: mismatched`,
		`guardrails[2].expression:1:11 deployment has no "who";`,
		`guardrails[3].enforcement is not set; use ENFORCEM`,
		`guardrails[4].expression:1:1 gives int; a guardrail i`,
		`guardrails[5].expression:2:5 undeclared reference to `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The limit counts work, so that it says the same on a busy machine.
func TestAnExpressionWithoutEndIsAVerdict(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	long := list + ".all(a, " + list + ".all(b, '" + strings.Repeat("ab", 2000) + "'.matches('(a|b)*" + strings.Repeat("[a-z]", 10) + "$')))"
	first, err := guardrail.Evaluate(t.Context(), request(rule("rule", long)), bundle)
	if err != nil || len(first) != 2 || !strings.Contains(first[0].GetMessage(), "cost limit exceeded") {
		t.Fatalf("%v %v", first, err)
	}
	again, err := guardrail.Evaluate(t.Context(), request(rule("rule", long)), bundle)
	if err != nil || !proto.Equal(first[0], again[0]) {
		t.Errorf("%v, then %v (%v)", first, again, err)
	}
}

func TestACallerWhoLeavesGetsNoVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := guardrail.Evaluate(ctx, request(rule("rule", "true")), bundle); err == nil {
		t.Errorf("%v", v)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("object.spec.replicas > 1")
	f.Add("deployment.kind == 'x' && [1].all(x, x > 0)")
	f.Add("((((")
	f.Fuzz(func(t *testing.T, expression string) {
		g := rule("rule", expression)
		if guardrail.Check([]*rendererv1.Guardrail{g}) != nil {
			return
		}
		if _, err := guardrail.Evaluate(t.Context(), request(g), bundle); err != nil && !errs.Is(err, errs.Timeout) {
			t.Errorf("%q compiles and fails: %v", expression, err)
		}
	})
}
