// Package match chooses the resource definition that answers a request. It is pure, and its outcome does not depend on the
// order in which definitions are given: rendering, plans and `tow definition explain` must agree on every machine.
package match

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// DefaultClass is the class of requests and definitions that name none.
const DefaultClass = "default"

// AnyClass is the class of definitions that answer every class. One that names the class comes before it at equal criteria.
const AnyClass = "*"

// BuiltinPrefix begins the names of the definitions that are part of Towpath.
const BuiltinPrefix = "builtin/"

// Weights of the criteria. They are powers of two, so that two different choices of criteria never weigh the same: a tie can
// only come from two equal criteria.
const (
	weightResID   = 8
	weightEnv     = 4
	weightApp     = 2
	weightEnvType = 1
)

// none is the specificity of a definition that does not answer at all.
const none = -1

// candidate is a definition of the request's type with how well it answers.
type candidate struct {
	definition  *rendererv1.ResourceDefinition
	specificity int32
	// why tells what holds, or what does not.
	why string
}

// Find gives the definition that answers, nil when none does. Two definitions that answer equally well are
// REASON_AMBIGUOUS_DEFINITION.
func Find(req *rendererv1.MatchRequest, definitions []*rendererv1.ResourceDefinition) (*rendererv1.ResourceDefinition, error) {
	ranked := rank(req, definitions)
	if len(ranked) == 0 || ranked[0].specificity == none {
		return nil, nil
	}
	if len(ranked) > 1 && tie(ranked[0], ranked[1]) {
		one, other := ranked[0].definition.GetName(), ranked[1].definition.GetName()
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION,
			"%s and %s answer %s equally well: give one of them other criteria, or archive it", one, other, Describe(req)).
			With("other", other).With("definition", one)
	}
	return ranked[0].definition, nil
}

// Explain lists all definitions of the request's type, the winner first, and why each won or lost.
func Explain(req *rendererv1.MatchRequest, definitions []*rendererv1.ResourceDefinition) []*rendererv1.MatchCandidate {
	ranked := rank(req, definitions)
	ambiguous := len(ranked) > 1 && tie(ranked[0], ranked[1])
	var out []*rendererv1.MatchCandidate
	for i, c := range ranked {
		m := &rendererv1.MatchCandidate{Definition: c.definition.GetName(), Specificity: c.specificity}
		switch {
		case c.specificity == none:
			m.Reason = "lost: " + c.why
		case ambiguous && tie(c, ranked[0]):
			m.Reason = "cannot be chosen: " + c.why + ", and another definition holds as well"
		case i == 0:
			m.Won, m.Reason = true, "won: "+c.why
		case c.specificity == ranked[0].specificity && order(c) == order(ranked[0]):
			m.Reason = "lost: " + c.why + ", but " + ranked[0].definition.GetName() + " names the class"
		case c.specificity == ranked[0].specificity:
			m.Reason = "lost: " + c.why + ", but a definition of the organisation comes before one that is part of Towpath"
		default:
			m.Reason = fmt.Sprintf("lost: %s, but %s is more specific (%d)", c.why, ranked[0].definition.GetName(), ranked[0].specificity)
		}
		out = append(out, m)
	}
	return out
}

// Describe names a request in messages.
func Describe(req *rendererv1.MatchRequest) string {
	text := req.GetType() + "." + Class(req.GetClass())
	if req.GetResId() != "" {
		text += "#" + req.GetResId()
	}
	return text
}

// Class gives a class, the default one where none is named.
func Class(class string) string {
	if class == "" {
		return DefaultClass
	}
	return class
}

// Conflict gives the criteria that two definitions of one type and class have both, false when there are none. No request that
// these hold for could be answered.
func Conflict(a, b *rendererv1.ResourceDefinition) (string, bool) {
	if a.GetType() != b.GetType() || Class(a.GetClass()) != Class(b.GetClass()) {
		return "", false
	}
	for _, x := range criteriaOf(a) {
		for _, y := range criteriaOf(b) {
			if Text(x) == Text(y) {
				return Text(x), true
			}
		}
	}
	return "", false
}

// Text writes criteria for people, always in one order.
func Text(c *rendererv1.Criteria) string {
	var parts []string
	for _, f := range fields(c, &rendererv1.MatchRequest{}) {
		if f.want != "" {
			parts = append(parts, f.name+"="+f.want)
		}
	}
	if len(parts) == 0 {
		return "every request"
	}
	return strings.Join(parts, ", ")
}

// rank orders the definitions of the type: the best first, those of the organisation before those of Towpath, those that name the class
// before those of every class, then by name.
func rank(req *rendererv1.MatchRequest, definitions []*rendererv1.ResourceDefinition) []candidate {
	var out []candidate
	for _, d := range definitions {
		if d.GetType() == req.GetType() {
			out = append(out, judge(req, d))
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.specificity, a.specificity), cmp.Compare(order(a), order(b)), cmp.Compare(anyClass(a), anyClass(b)),
			strings.Compare(a.definition.GetName(), b.definition.GetName()))
	})
	return out
}

func tie(a, b candidate) bool {
	return a.specificity != none && a.specificity == b.specificity && order(a) == order(b) && anyClass(a) == anyClass(b)
}

// anyClass is 1 for what answers every class, and comes after what names the one that is asked for.
func anyClass(c candidate) int {
	if c.definition.GetClass() == AnyClass {
		return 1
	}
	return 0
}

// order is 1 for what is part of Towpath, and comes last.
func order(c candidate) int {
	if strings.HasPrefix(c.definition.GetName(), BuiltinPrefix) {
		return 1
	}
	return 0
}

func judge(req *rendererv1.MatchRequest, d *rendererv1.ResourceDefinition) candidate {
	c := candidate{definition: d, specificity: none}
	if have, want := Class(d.GetClass()), Class(req.GetClass()); have != want && have != AnyClass {
		c.why = fmt.Sprintf("it answers the class %s and the request is for %s", have, want)
		return c
	}
	var failed []string
	for _, criteria := range criteriaOf(d) {
		weight, problem := weigh(criteria, req)
		if problem != "" {
			failed = append(failed, problem)
			continue
		}
		if weight > c.specificity {
			c.specificity, c.why = weight, Text(criteria)+" holds"
			if weight == 0 {
				c.why = "it answers every request"
			}
		}
	}
	if c.specificity == none {
		c.why = strings.Join(failed, "; ")
	}
	return c
}

// criteriaOf gives a definition's criteria; without any it answers every request.
func criteriaOf(d *rendererv1.ResourceDefinition) []*rendererv1.Criteria {
	if len(d.GetCriteria()) == 0 {
		return []*rendererv1.Criteria{{}}
	}
	return d.GetCriteria()
}

type field struct {
	name, want, have string
	weight           int32
}

func fields(c *rendererv1.Criteria, req *rendererv1.MatchRequest) []field {
	return []field{
		{"res_id", c.GetResId(), req.GetResId(), weightResID}, {"env", c.GetEnv(), req.GetEnv(), weightEnv},
		{"app", c.GetApp(), req.GetApp(), weightApp}, {"env_type", c.GetEnvType(), req.GetEnvType(), weightEnvType},
	}
}

// weigh gives the sum of the weights of criteria that all hold, or the first one that does not.
func weigh(c *rendererv1.Criteria, req *rendererv1.MatchRequest) (sum int32, problem string) {
	for _, f := range fields(c, req) {
		switch f.want {
		case "":
		case f.have:
			sum += f.weight
		default:
			return 0, fmt.Sprintf("it is for %s %s and the request has %s", f.name, f.want, orNone(f.have))
		}
	}
	return sum, ""
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
