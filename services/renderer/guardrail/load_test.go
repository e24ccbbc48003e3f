package guardrail_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
)

// policyFile is a policy with its binding.
func policyFile(name, spec, binding string) string {
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: " + name + "}\nspec: " + spec +
		"\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: " + name + "}\nspec: " + binding + "\n"
}

const (
	deployments = `matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}`
	denies      = `{policyName: p, validationActions: [Deny]}`
)

func TestSeveralFilesLoadInOrder(t *testing.T) {
	got, warned, err := guardrail.Load(map[string][]byte{
		"b.yaml": []byte("- {name: own, enforcement: warn, expression: 'true', variables: [{name: a, expression: '1'}], conditions: [{name: c, expression: 'variables.a == 1'}]}\n---\n\n"),
		"a.yaml": []byte(policyFile("p", `{`+deployments+`, failurePolicy: Ignore, auditAnnotations: [{key: k, valueExpression: "'x'"}], matchConditions: [{name: m, expression: "true"}],
  variables: [{name: v, expression: "1"}], validations: [{expression: "variables.v == 1", message: one}, {expression: "true", messageExpression: "'two'"}]}`, denies)),
		"c.yaml": []byte(strings.ReplaceAll(policyFile("0.example.com", `{`+deployments+`, validations: [{expression: "true"}]}`, `{policyName: 0.example.com, validationActions: [Warn, Audit]}`), "/v1\n", "/v1beta1\n")),
		"d.yaml": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, g := range got {
		lines = append(lines, strings.Join(append([]string{g.GetName(), g.GetEnforcement().String(), g.GetMessage(), g.GetMessageExpression()}, g.GetKinds()...), "|"))
	}
	want := []string{"own|ENFORCEMENT_WARN||", "p-1|ENFORCEMENT_DENY|one||Deployment.apps", "p-2|ENFORCEMENT_DENY||'two'|Deployment.apps", "p-0-example-com|ENFORCEMENT_WARN|||Deployment.apps"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.yaml: the audit annotations of p are left out: Towpath's audit trail has each deployment with its verdicts"}, warned); diff != "" {
		t.Error(diff)
	}
	if c := got[1].GetConditions(); len(c) != 2 || c[1].GetName() != "m" || !got[1].GetIgnoreErrors() || len(got[2].GetVariables()) != 1 {
		t.Errorf("%v", got[1])
	}
}

func TestWhatDoesNothingIsLeftOutWithAWarning(t *testing.T) {
	for name, c := range map[string][2]string{
		"a policy without a binding": {strings.Split(policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, denies), "---")[0], "the policy p is left out: nothing binds it"},
		"a binding without a policy": {strings.Split(policyFile("p", "{}", denies), "---")[1], `the binding p is left out: the policy "p" is in none of the files`},
		"one that only audits":       {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, `{policyName: p, validationActions: [Audit]}`), "which only audits"},
		"one about the cluster":      {policyFile("p", `{matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [nodes]}]}, validations: [{expression: "true"}]}`, denies), "about nothing that is rendered into a namespace"},
		"one about deletions":        {policyFile("p", `{matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [pods]}]}, validations: [{expression: "true"}]}`, denies), "is about [DELETE] alone and left out"},
	} {
		got, warned, err := guardrail.Load(map[string][]byte{"f.yaml": []byte(c[0])})
		if err != nil || len(got) != 0 || !strings.Contains(strings.Join(warned, "\n"), c[1]) {
			t.Errorf("%s: %v %q %v", name, got, warned, err)
		}
	}
	for name, c := range map[string][2]string{
		"a subresource":        {`{matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments, deployments/scale]}]}, validations: [{expression: "true"}]}`, "the subresource deployments/scale is left out"},
		"labels of namespaces": {`{matchConstraints: {namespaceSelector: {matchLabels: {team: shop}}, resourceRules: [{apiGroups: ["*"], apiVersions: [v1], operations: [CREATE], resources: ["*"]}]}, validations: [{expression: "true"}]}`, "of a namespace only its name is known"},
	} {
		got, warned, err := guardrail.Load(map[string][]byte{"f.yaml": []byte(policyFile("p", c[0], denies))})
		if err != nil || len(got) != 1 || !strings.Contains(strings.Join(warned, "\n"), c[1]) {
			t.Errorf("%s: %v %q %v", name, got, warned, err)
		}
	}
}

func TestWhatCannotBeTakenIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":                 {"a: [", "f.yaml: is not YAML"},
		"text":                    {"hello", "f.yaml: is neither a list of guardrails nor"},
		"another kind":            {"apiVersion: v1\nkind: Secret\n", `f.yaml: is a "Secret" of "v1"; expected a list of guardrails`},
		"another kind in a List":  {"apiVersion: v1\nkind: List\nitems: [{kind: Pod}]\n", `f.yaml: items[0]: is a "Pod"`},
		"a duplicate key":         {"- {name: a, name: b}", "f.yaml: is not YAML"},
		"a guardrail":             {"- {name: aa, enforcement: deny, expression: 'nope'}", "f.yaml: guardrails[0].expression:1:1: undeclared reference to 'nope'"},
		"a later document":        {"- {name: aa, enforcement: deny, expression: 'true'}\n---\n- {name: bb, enforcement: no}", "f.yaml, document 2: guardrails[0].enforcement: is not one of deny, warn"},
		"one name twice":          {"- {name: aa, enforcement: deny, expression: 'true'}\n---\n- {name: aa, enforcement: deny, expression: 'true'}", `f.yaml, document 2: guardrails[0]: is called "aa", as f.yaml: guardrails[0] is`},
		"a field of a policy":     {policyFile("p", `{`+deployments+`, validation: [], validations: [{expression: "true"}]}`, denies), `spec.validation: is not a field that Kubernetes 1.36.3 has here; did you mean "validations"?`},
		"params":                  {policyFile("p", `{`+deployments+`, paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: "params.x == 1"}]}`, denies), "spec.paramKind: cannot be given"},
		"a word params":           {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}, {expression: "params.x == 1"}]}`, denies), "f.yaml: the policy p: spec.validations[1].expression:1:1: there are no params"},
		"a paramRef":              {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, `{policyName: p, validationActions: [Deny], paramRef: {name: x}}`), "document 2: spec.paramRef: cannot be given"},
		"an authorizer":           {policyFile("p", `{`+deployments+`, validations: [{expression: "authorizer.group('').resource('pods').check('get').allowed()"}]}`, denies), "spec.validations[0].expression:1:1: there is no authorizer"},
		"who asks":                {policyFile("p", `{`+deployments+`, matchConditions: [{name: m, expression: "request.userInfo.username == 'x'"}], validations: [{expression: "true"}]}`, denies), "the policy p: spec.matchConditions[0].expression:1:8: there is no request.userInfo"},
		"a later variable":        {policyFile("p", `{`+deployments+`, variables: [{name: a, expression: "variables.b"}, {name: b, expression: "1"}], validations: [{expression: "true"}]}`, denies), `the policy p: spec.variables[0].expression:1:10: there is no variable "b" before this`},
		"a message that is none":  {policyFile("p", `{`+deployments+`, validations: [{expression: "true", messageExpression: "1"}]}`, denies), "spec.validations[0].messageExpression:1:1: gives int; a message is text"},
		"no validations":          {policyFile("p", `{`+deployments+`}`, denies), "spec.validations: is empty"},
		"no actions":              {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, `{policyName: p}`), "spec.validationActions: is missing: expected a list"},
		"an unknown action":       {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, `{policyName: p, validationActions: [Nope]}`), `spec.validationActions: "Nope" is not known`},
		"a policy twice":          {policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, denies) + "---\n" + policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, denies), "document 3: is the policy p again, which is in f.yaml"},
		"a pattern that is none":  {"- {name: aa, enforcement: deny, expression: \"object.kind.matches('(')\"}", "invalid matches argument"},
		"more than a type can be": {strings.Repeat("- {name: aa, enforcement: deny, expression: 'true'}\n", 101), "is the name of guardrails[0] too"},
	} {
		_, _, err := guardrail.Load(map[string][]byte{"f.yaml": []byte(c.text)})
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want …%s…, got %v", name, c.want, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(policyFile("p", `{`+deployments+`, validations: [{expression: "true"}]}`, denies)))
	f.Add([]byte("- {name: aa, enforcement: deny, expression: 'true'}"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, _, err := guardrail.Load(map[string][]byte{"f.yaml": text})
		if err == nil && guardrail.Check(got) != nil {
			t.Errorf("%q loads and does not check: %v", text, guardrail.Check(got))
		}
	})
}
