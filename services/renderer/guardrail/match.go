package guardrail

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/towpath-dev/towpath/services/renderer/schema"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// matcher says which objects a policy is asked about.
type matcher struct {
	// kinds are all that can be meant, where they can be listed: the others are not even asked about.
	kinds      []string
	listed     bool
	conditions []*rendererv1.NamedExpression
	// never says why no rendered object can be meant.
	never string
}

func (m *matcher) condition(name, expression string) {
	m.conditions = append(m.conditions, &rendererv1.NamedExpression{Name: name, Expression: expression})
}

// maxKinds is how many kinds a guardrail lists.
const maxKinds = 64

// match takes the rules of a policy, or those by which a binding narrows it.
func (l *loader) match(m *matcher, at string, rules *admissionv1.MatchResources) {
	if rules == nil {
		return
	}
	exact := rules.MatchPolicy != nil && *rules.MatchPolicy == admissionv1.Exact
	if len(rules.ResourceRules) > 0 {
		var parts []string
		kinds, all := []string{}, true
		for i, rule := range rules.ResourceRules {
			text := l.rule(fmt.Sprintf("%s.resourceRules[%d]", at, i), rule, exact)
			if text == "" {
				continue
			}
			parts = append(parts, text)
			found, ok := kindsOf(rule)
			kinds, all = append(kinds, found...), all && ok
		}
		switch {
		case len(parts) == 0 || all && len(kinds) == 0:
			m.never = "its rules are about nothing that is rendered into a namespace"
			return
		case all && !m.listed && len(kinds) <= maxKinds:
			slices.Sort(kinds)
			m.kinds, m.listed = slices.Compact(kinds), true
		}
		if text := strings.Join(parts, " || "); text != "true" {
			m.condition("resource-rules", text)
		}
	}
	for i, rule := range rules.ExcludeResourceRules {
		if text := l.rule(fmt.Sprintf("%s.excludeResourceRules[%d]", at, i), rule, exact); text != "" {
			m.condition("exclude-resource-rules", "!("+text+")")
		}
	}
	if text := selector("object.metadata.?labels.orValue({})", rules.ObjectSelector); text != "" {
		m.condition("object-selector", text)
	}
	l.namespaces(m, at, rules.NamespaceSelector)
}

// namespaces takes the selector of namespaces as far as a namespace is known before it exists: by its name.
func (l *loader) namespaces(m *matcher, at string, s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	known := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	unknown := false
	for k, v := range s.MatchLabels {
		if k == "kubernetes.io/metadata.name" {
			known.MatchLabels[k] = v
		} else {
			unknown = true
		}
	}
	for _, e := range s.MatchExpressions {
		if e.Key == "kubernetes.io/metadata.name" {
			known.MatchExpressions = append(known.MatchExpressions, e)
		} else {
			unknown = true
		}
	}
	if unknown {
		l.warn("%s.namespaceSelector: of a namespace only its name is known when objects are rendered; what the selector says of other labels is left out, so that the policy is asked in more namespaces", at)
	}
	if text := selector("namespaceObject.metadata.labels", known); text != "" {
		m.condition("namespace-selector", text)
	}
}

// rule gives the expression that is true for objects that a rule is about; empty when it can be about none.
func (l *loader) rule(at string, r admissionv1.NamedRuleWithOperations, exact bool) string {
	if !slices.ContainsFunc(r.Operations, func(o admissionv1.OperationType) bool {
		return o == admissionv1.OperationAll || o == admissionv1.Create || o == admissionv1.Update
	}) {
		l.warn("%s: is about %v alone and left out: rendered objects are created and updated", at, r.Operations)
		return ""
	}
	if r.Scope != nil && *r.Scope == admissionv1.ClusterScope {
		return ""
	}
	var resources []string
	for _, name := range r.Resources {
		switch name, sub, isSub := strings.Cut(name, "/"); {
		case !isSub || name == "*" && sub == "*":
			resources = append(resources, name)
		default:
			l.warn("%s: the subresource %s/%s is left out: whole objects are rendered", at, name, sub)
		}
	}
	if len(resources) == 0 {
		return ""
	}
	var parts []string
	in := func(word string, values []string) {
		if !slices.Contains(values, "*") {
			parts = append(parts, word+" in ["+quoted(values)+"]")
		}
	}
	in("request.resource.group", r.APIGroups)
	in("request.resource.resource", resources)
	if exact {
		in("request.resource.version", r.APIVersions)
	}
	if len(r.ResourceNames) > 0 {
		parts = append(parts, "object.metadata.name in ["+quoted(r.ResourceNames)+"]")
	}
	if len(parts) == 0 {
		return "true"
	}
	return "(" + strings.Join(parts, " && ") + ")"
}

func quoted(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strconv.Quote(v)
	}
	return strings.Join(out, ", ")
}

// kindsOf lists the kinds that a rule can be about, where all of them are Kubernetes' own.
func kindsOf(r admissionv1.NamedRuleWithOperations) (out []string, ok bool) {
	if slices.Contains(r.APIGroups, "*") || slices.Contains(r.Resources, "*") || slices.Contains(r.Resources, "*/*") {
		return nil, false
	}
	for _, group := range r.APIGroups {
		own := false
		for _, k := range schema.Kinds() {
			if k.Group != group {
				continue
			}
			own = true
			if slices.Contains(r.Resources, k.Plural) && k.Scope == schema.Namespaced {
				out = append(out, strings.TrimSuffix(k.Name+"."+group, "."))
			}
		}
		if !own {
			return nil, false
		}
	}
	return out, true
}

// selector gives the expression of a label selector, empty for one that is always true.
func selector(labels string, s *metav1.LabelSelector) string {
	if s == nil {
		return ""
	}
	var parts []string
	keys := make([]string, 0, len(s.MatchLabels))
	for k := range s.MatchLabels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s[?%q] == optional.of(%q)", labels, k, s.MatchLabels[k]))
	}
	for _, e := range s.MatchExpressions {
		has := fmt.Sprintf("%q in %s", e.Key, labels)
		within := fmt.Sprintf("(%s && %s[%q] in [%s])", has, labels, e.Key, quoted(e.Values))
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			parts = append(parts, within)
		case metav1.LabelSelectorOpNotIn:
			parts = append(parts, "!"+within)
		case metav1.LabelSelectorOpExists:
			parts = append(parts, has)
		case metav1.LabelSelectorOpDoesNotExist:
			parts = append(parts, "!("+has+")")
		}
	}
	return strings.Join(parts, " && ")
}
