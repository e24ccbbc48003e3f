package guardrail

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/schema"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	policyKind  = "ValidatingAdmissionPolicy"
	bindingKind = "ValidatingAdmissionPolicyBinding"
	policyGroup = "admissionregistration.k8s.io/"
)

// policy is a ValidatingAdmissionPolicy, binding what puts it into force, each with the place of its document.
type policy struct {
	admissionv1.ValidatingAdmissionPolicy
	at    string
	bound bool
}

type binding struct {
	admissionv1.ValidatingAdmissionPolicyBinding
	at string
}

// object takes one object of a file.
func (l *loader) object(at string, o map[string]any) {
	kind, _ := o["kind"].(string)
	version, _ := o["apiVersion"].(string)
	if items, ok := o["items"].([]any); ok && kind == "List" {
		for i, item := range items {
			m, _ := item.(map[string]any)
			l.object(fmt.Sprintf("%s: items[%d]", at, i), m)
		}
		return
	}
	if kind != policyKind && kind != bindingKind || version != policyGroup+"v1" && version != policyGroup+"v1beta1" {
		l.wrong(at, "is a %q of %q; expected a list of guardrails, or a %s or %s of %sv1", kind, version, policyKind, bindingKind, policyGroup)
		return
	}
	o["apiVersion"] = policyGroup + "v1" // v1beta1 has the same fields
	problems := schema.Validate(o)
	for _, p := range problems {
		l.wrong(at+": "+p.Path, "%s", p.Text)
	}
	text, err := json.Marshal(o)
	if err != nil || len(problems) > 0 {
		return
	}
	if kind == policyKind {
		p := &policy{at: at}
		if err = json.Unmarshal(text, &p.ValidatingAdmissionPolicy); err == nil {
			l.policy(p)
		}
	} else {
		b := &binding{at: at}
		if err = json.Unmarshal(text, &b.ValidatingAdmissionPolicyBinding); err == nil {
			l.bindings = append(l.bindings, b)
		}
	}
	if err != nil {
		l.wrong(at, "cannot be read: %s", err)
	}
}

func (l *loader) policy(p *policy) {
	if other := l.policies[p.Name]; other != nil {
		l.wrong(p.at, "is the policy %s again, which is in %s", p.Name, other.at)
		return
	}
	if p.Spec.ParamKind != nil {
		l.wrong(p.at+": spec.paramKind", "cannot be given: objects with parameters are in the cluster; write their values into the expressions")
	}
	if len(p.Spec.AuditAnnotations) > 0 {
		l.warn("%s: the audit annotations of %s are left out: Towpath's audit trail has each deployment with its verdicts", p.at, p.Name)
	}
	if len(p.Spec.Validations) == 0 && len(p.Spec.AuditAnnotations) == 0 {
		l.wrong(p.at+": spec.validations", "is empty: expected at least one expression")
	}
	l.policies[p.Name], l.order = p, append(l.order, p)
}

// translate makes guardrails of policies that are bound.
func (l *loader) translate() {
	for _, b := range l.bindings {
		p := l.policies[b.Spec.PolicyName]
		switch {
		case p == nil:
			l.warn("%s: the binding %s is left out: the policy %q is in none of the files", b.at, b.Name, b.Spec.PolicyName)
		case b.Spec.ParamRef != nil:
			l.wrong(b.at+": spec.paramRef", "cannot be given: objects with parameters are in the cluster; write their values into the expressions")
		default:
			l.bind(p, b)
		}
	}
	for _, p := range l.order {
		if !p.bound {
			l.warn("%s: the policy %s is left out: nothing binds it, so that it does nothing in Kubernetes either; add a %s", p.at, p.Name, bindingKind)
			l.check(p, l.guardrail(p, p.Name, nil))
		}
	}
}

// bind makes the guardrails of a policy under one of its bindings.
func (l *loader) bind(p *policy, b *binding) {
	var enforcement rendererv1.Guardrail_Enforcement
	for _, action := range b.Spec.ValidationActions {
		switch action {
		case admissionv1.Deny:
			enforcement = rendererv1.Guardrail_ENFORCEMENT_DENY
		case admissionv1.Warn:
			if enforcement == rendererv1.Guardrail_ENFORCEMENT_UNSPECIFIED {
				enforcement = rendererv1.Guardrail_ENFORCEMENT_WARN
			}
		case admissionv1.Audit:
		default:
			l.wrong(b.at+": spec.validationActions", "%q is not known; expected Deny, Warn or Audit", action)
		}
	}
	if len(b.Spec.ValidationActions) == 0 {
		l.wrong(b.at+": spec.validationActions", "is empty; expected Deny, Warn or Audit")
	}
	p.bound = true
	var m matcher
	l.match(&m, p.at+": spec.matchConstraints", p.Spec.MatchConstraints)
	l.match(&m, b.at+": spec.matchResources", b.Spec.MatchResources)
	name := p.Name
	if slices.ContainsFunc(l.bindings, func(other *binding) bool { return other != b && other.Spec.PolicyName == p.Name }) {
		name += "-" + b.Name
	}
	made := l.guardrail(p, name, m.conditions)
	l.check(p, made)
	switch {
	case m.never != "":
		l.warn("%s: the policy %s is left out: %s", p.at, p.Name, m.never)
		return
	case enforcement == rendererv1.Guardrail_ENFORCEMENT_UNSPECIFIED:
		l.warn("%s: the policy %s is left out under the binding %s, which only audits", b.at, p.Name, b.Name)
		return
	}
	for i, g := range made {
		g.Enforcement, g.Kinds = enforcement, m.kinds
		l.add(g, fmt.Sprintf("%s: spec.validations[%d] of the policy %s", p.at, i, p.Name))
	}
}

// guardrail makes a guardrail of each validation.
func (l *loader) guardrail(p *policy, name string, match []*rendererv1.NamedExpression) []*rendererv1.Guardrail {
	conditions := slices.Clone(match)
	for _, c := range p.Spec.MatchConditions {
		conditions = append(conditions, &rendererv1.NamedExpression{Name: c.Name, Expression: c.Expression})
	}
	var variables []*rendererv1.NamedExpression
	for _, v := range p.Spec.Variables {
		variables = append(variables, &rendererv1.NamedExpression{Name: v.Name, Expression: v.Expression})
	}
	out := make([]*rendererv1.Guardrail, len(p.Spec.Validations))
	for i, v := range p.Spec.Validations {
		id := name
		if len(out) > 1 {
			id = fmt.Sprintf("%s-%d", name, i+1)
		}
		out[i] = &rendererv1.Guardrail{
			Name: label(id), Expression: v.Expression, Message: strings.TrimSpace(v.Message), MessageExpression: v.MessageExpression,
			Conditions: conditions, Variables: variables,
			IgnoreErrors: p.Spec.FailurePolicy != nil && *p.Spec.FailurePolicy == admissionv1.Ignore,
		}
	}
	return out
}

// label makes a guardrail's name, which begins with a letter.
func label(text string) string {
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		text = "p-" + text
	}
	name := definition.Shorten(text, 63)
	if len(name) < 2 {
		name = "policy-" + name
	}
	return name
}

var conditionPath = regexp.MustCompile(`^\.conditions\[(\d+)\]`)

// check compiles the expressions of a policy and names them as the policy has them.
func (l *loader) check(p *policy, made []*rendererv1.Guardrail) {
	for i, g := range made {
		first := len(g.GetConditions()) - len(p.Spec.MatchConditions) // those before are ours
		for _, f := range checkExpressions("", g) {
			at := conditionPath.ReplaceAllStringFunc(f.Path, func(text string) string {
				n, _ := strconv.Atoi(conditionPath.FindStringSubmatch(text)[1])
				return fmt.Sprintf(".matchConditions[%d]", n-first)
			})
			if tail, ok := strings.CutPrefix(at, ".message_expression"); ok {
				at = fmt.Sprintf(".validations[%d].messageExpression%s", i, tail)
			} else if strings.HasPrefix(at, ".expression") {
				at = fmt.Sprintf(".validations[%d]%s", i, at)
			}
			l.wrong(fmt.Sprintf("%s: the policy %s: spec%s", p.at, p.Name, at), "%s", f.Problem)
		}
	}
}
