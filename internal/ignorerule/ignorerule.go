// Package ignorerule says which findings people have said do not count. The catalog checks rules with it and drift matches them, so
// that what one accepts the other understands.
//
// It is pure. A rule matches too little rather than too much: what it does not clearly name stays drift.
package ignorerule

import (
	"strings"
	"time"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/findingpath"
)

// Set are the rules of one environment, ready to be matched. The zero value and nil match nothing.
type Set struct {
	rules []compiled
}

type compiled struct {
	rule  *driftv1.IgnoreRule
	field []string
}

// Compile makes a set. A rule that cannot be read matches nothing.
func Compile(rules []*driftv1.IgnoreRule) *Set {
	s := &Set{}
	for _, r := range rules {
		field, ok := parts(r.GetField())
		if ok && !namesNothing(r) {
			s.rules = append(s.rules, compiled{r, field})
		}
	}
	return s
}

// Match gives the first rule that keeps a finding from being told at that time, nil for none.
func (s *Set) Match(f *driftv1.Finding, now time.Time) *driftv1.IgnoreRule {
	if s == nil {
		return nil
	}
	var field []string
	for _, c := range s.rules {
		if expired(c.rule, now) || !ofObject(c.rule, f) {
			continue
		}
		if field == nil {
			var ok bool
			if field, ok = parts(f.GetField()); !ok {
				return nil
			}
		}
		if below(c.field, field) {
			return c.rule
		}
	}
	return nil
}

// NextExpiry gives when the next rule ends, zero where none does.
func (s *Set) NextExpiry(now time.Time) time.Time {
	var next time.Time
	if s == nil {
		return next
	}
	for _, c := range s.rules {
		if c.rule.GetExpireTime() == nil || expired(c.rule, now) {
			continue
		}
		if at := c.rule.GetExpireTime().AsTime(); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

func expired(r *driftv1.IgnoreRule, now time.Time) bool {
	return r.GetExpireTime() != nil && !now.Before(r.GetExpireTime().AsTime())
}

func ofObject(r *driftv1.IgnoreRule, f *driftv1.Finding) bool {
	if r.GetObjectName() != "" && r.GetObjectName() != f.GetObjectName() || r.GetManager() != "" && r.GetManager() != f.GetManager() {
		return false
	}
	kind, group, grouped := strings.Cut(r.GetObjectKind(), ".")
	switch of := groupOf(f.GetApiVersion()); {
	case kind == "":
		return true
	case kind != f.GetObjectKind():
		return false
	case grouped:
		return group == of
	default:
		return builtin(of)
	}
}

func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// builtin tells Kubernetes' own groups: a kind without its group means one of these, so that a rule about Services is not about those
// of another project.
func builtin(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

// KindOf gives the kind of a finding's object as rules name it.
func KindOf(f *driftv1.Finding) string {
	if g := groupOf(f.GetApiVersion()); g != "" {
		return f.GetObjectKind() + "." + g
	}
	return f.GetObjectKind()
}

// For gives the rule for just the place of a finding.
func For(f *driftv1.Finding) *driftv1.IgnoreRule {
	return &driftv1.IgnoreRule{ObjectKind: KindOf(f), ObjectName: f.GetObjectName(), Field: f.GetField()}
}

func namesNothing(r *driftv1.IgnoreRule) bool {
	return r.GetObjectKind() == "" && r.GetObjectName() == "" && r.GetField() == "" && r.GetManager() == ""
}

// Check refuses a rule that cannot be meant; prefix is the request's field.
func Check(prefix string, r *driftv1.IgnoreRule, now time.Time) error {
	var fields []errs.Field
	bad := func(path, problem string) {
		fields = append(fields, errs.Field{Path: prefix + "." + path, Problem: problem})
	}
	if namesNothing(r) {
		bad("field", "names nothing, and neither do object_kind, object_name and manager: everything would be ignored; name what is meant")
	}
	if k := r.GetObjectKind(); k != "" {
		name, _, _ := strings.Cut(k, ".")
		if name == "" || name[0] < 'A' || name[0] > 'Z' || strings.ContainsAny(k, " /*") || strings.HasSuffix(k, ".") {
			bad("object_kind", "is no kind; write it as Service or Deployment.apps")
		}
	}
	if _, ok := parts(r.GetField()); !ok {
		bad("field", "is no field as findings name it, such as spec.ports[port=80] or metadata.annotations[*]")
	}
	if t := r.GetExpireTime(); t != nil && (!t.IsValid() || expired(r, now)) {
		bad("expire_time", "is past; give a time that is to come, or none for ever")
	}
	if len(fields) == 0 {
		return nil
	}
	return errs.InvalidFields(fields...)
}

// below reports whether a field is the rule's or within it.
func below(rule, field []string) bool {
	if len(rule) > len(field) {
		return false
	}
	for i, p := range rule {
		if p != "*" && p != field[i] {
			return false
		}
	}
	return true
}

// parts takes a field apart. A rule may write a part with or without brackets.
func parts(field string) ([]string, bool) {
	steps, ok := findingpath.Parse(field)
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.Text
	}
	return out, ok
}
