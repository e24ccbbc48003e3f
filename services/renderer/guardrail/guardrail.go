// Package guardrail asks rules in CEL about rendered objects. The same rules and objects give the same verdicts, always and
// everywhere: expressions see no clock and nothing random, their work is limited by counting it, and a verdict never depends on
// how long something took. Rules change no byte of a bundle.
//
// Expressions have what Kubernetes gives to its ValidatingAdmissionPolicies, by Kubernetes' own libraries, so that a policy says
// here what it will say in the cluster.
package guardrail

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// patience ends an evaluation that the limits on its work did not. It gives an error and no verdict.
const patience = 20 * time.Second

// maxMessage is the longest message that an expression may give, as in Kubernetes.
const maxMessage = 5 << 10

// Check compiles guardrails. Its error names each that is wrong, with line and column in its expression.
func Check(guardrails []*rendererv1.Guardrail) error {
	var fields []errs.Field
	seen := map[string]int{}
	for i, g := range guardrails {
		path := fmt.Sprintf("guardrails[%d]", i)
		if first, twice := seen[g.GetName()]; twice {
			fields = append(fields, errs.Field{Path: path + ".name", Problem: fmt.Sprintf("%q is the name of guardrails[%d] too", g.GetName(), first)})
		}
		seen[g.GetName()] = i
		if e := g.GetEnforcement(); e != rendererv1.Guardrail_ENFORCEMENT_DENY && e != rendererv1.Guardrail_ENFORCEMENT_WARN {
			fields = append(fields, errs.Field{Path: path + ".enforcement", Problem: "is not set; use ENFORCEMENT_DENY or ENFORCEMENT_WARN"})
		}
		fields = append(fields, checkExpressions(path, g)...)
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}

// checkExpressions compiles all expressions of a guardrail. A variable sees those before it, everything else sees all.
func checkExpressions(path string, g *rendererv1.Guardrail) (fields []errs.Field) {
	var known []string
	check := func(path, expression, wanted string, of *cel.Type) {
		p, problems := compile(expression)
		if p != nil {
			problems = unknownVariables(p.tree, known)
			if t := p.tree.GetType(p.tree.Expr().ID()); of != nil && !t.IsExactType(of) && !t.IsExactType(cel.DynType) {
				problems = append(problems, problem{"1:1", fmt.Sprintf("gives %s; %s", t, wanted)})
			}
		}
		for _, each := range problems {
			fields = append(fields, errs.Field{Path: path + ":" + each.at, Problem: each.text})
		}
	}
	for i, v := range g.GetVariables() {
		at := fmt.Sprintf("%s.variables[%d]", path, i)
		if slices.Contains(known, v.GetName()) {
			fields = append(fields, errs.Field{Path: at + ".name", Problem: fmt.Sprintf("%q is the name of another variable too", v.GetName())})
		}
		check(at+".expression", v.GetExpression(), "", nil)
		known = append(known, v.GetName())
	}
	for i, c := range g.GetConditions() {
		check(fmt.Sprintf("%s.conditions[%d].expression", path, i), c.GetExpression(), "a condition is true when the guardrail is asked", cel.BoolType)
	}
	check(path+".expression", g.GetExpression(), "a guardrail is true when all is well", cel.BoolType)
	if g.GetMessageExpression() != "" {
		check(path+".message_expression", g.GetMessageExpression(), "a message is text", cel.StringType)
	}
	return fields
}

// Evaluate gives the guardrails that do not hold, the denying ones first, then by name and file. An expression that cannot be
// evaluated for an object does not hold for it, unless the guardrail says so.
func Evaluate(ctx context.Context, req *rendererv1.RenderRequest, bundle *rendererv1.Bundle) ([]*rendererv1.Verdict, error) {
	if len(req.GetGuardrails()) == 0 {
		return nil, nil
	}
	if err := Check(req.GetGuardrails()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out []*rendererv1.Verdict
	for _, ref := range bundle.GetObjects() {
		asked := slices.DeleteFunc(slices.Clone(req.GetGuardrails()), func(g *rendererv1.Guardrail) bool { return !ofKind(g.GetKinds(), ref.GetApiVersion(), ref.GetKind()) })
		if len(asked) == 0 {
			continue
		}
		object, err := decode(bundle.GetFiles()[ref.GetFile()])
		if err != nil {
			return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "read %s again", ref.GetFile()).Because(err)
		}
		vars := words(req, ref, object)
		for _, g := range asked {
			v, err := ask(ctx, g, vars)
			if err != nil {
				return nil, err
			}
			if v != nil {
				v.Object = ref
				out = append(out, v)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *rendererv1.Verdict) int {
		return cmp.Or(cmp.Compare(a.GetEnforcement(), b.GetEnforcement()), strings.Compare(a.GetGuardrail(), b.GetGuardrail()),
			strings.Compare(a.GetObject().GetFile(), b.GetObject().GetFile()))
	})
	return out, nil
}

// ofKind reports whether a guardrail with these kinds is asked about an object.
func ofKind(kinds []string, apiVersion, kind string) bool {
	if len(kinds) == 0 {
		return true
	}
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	return slices.Contains(kinds, kind) || group != "" && (slices.Contains(kinds, kind+"."+group) || slices.Contains(kinds, "*."+group))
}

// ask gives what is wrong with an object, nil when the guardrail holds or is not meant for it.
func ask(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) (*rendererv1.Verdict, error) {
	vars["variables"] = lazily(ctx, g, vars)
	problem := decide(ctx, g, vars)
	var path string
	if problem != "" {
		path = look(ctx, g, vars)
	}
	if ctx.Err() != nil {
		return nil, errs.New(errs.Timeout, errorsv1.Reason_REASON_TIMEOUT, "the guardrail %s was not decided in time; make its expression simpler", g.GetName()).Because(ctx.Err())
	}
	if problem == "" {
		return nil, nil
	}
	return &rendererv1.Verdict{Guardrail: g.GetName(), Enforcement: g.GetEnforcement(), Message: problem, Path: path}, nil
}

// decide gives what is wrong, "" when nothing is.
func decide(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) string {
	var undecided string
	for _, c := range g.GetConditions() {
		switch yes, problem := truth(ctx, c.GetExpression(), vars); {
		case problem != "":
			undecided = "its condition " + c.GetName() + " " + problem
		case !yes:
			return ""
		}
	}
	if undecided == "" {
		var yes bool
		if yes, undecided = truth(ctx, g.GetExpression(), vars); undecided != "" {
			undecided = "it " + undecided
		} else if yes {
			return ""
		}
	}
	switch {
	case undecided != "" && g.GetIgnoreErrors():
		return ""
	case undecided != "" && g.GetMessage() != "":
		return g.GetMessage() + " (" + undecided + ")"
	case undecided != "":
		return undecided
	}
	return message(ctx, g, vars)
}

// truth evaluates an expression. problem says why it has none.
func truth(ctx context.Context, expression string, vars map[string]any) (yes bool, problem string) {
	p, problems := compile(expression)
	if len(problems) > 0 {
		return false, "cannot be compiled: " + problems[0].text
	}
	v, _, err := p.ContextEval(ctx, vars)
	if err != nil {
		return false, "cannot be decided: " + err.Error()
	}
	yes, isBool := v.Value().(bool)
	if !isBool {
		return false, fmt.Sprintf("gives %s instead of true or false", v.Type().TypeName())
	}
	return yes, ""
}

// message tells what does not hold: by the guardrail's expression for it where that gives a line of text, else as written.
func message(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) string {
	if p, problems := compile(g.GetMessageExpression()); g.GetMessageExpression() != "" && len(problems) == 0 {
		if v, _, err := p.ContextEval(ctx, vars); err == nil {
			text, _ := v.Value().(string)
			if text = strings.TrimSpace(text); text != "" && len(text) <= maxMessage && !strings.Contains(text, "\n") {
				return text
			}
		}
	}
	if g.GetMessage() == "" {
		return "does not hold: " + g.GetExpression()
	}
	return g.GetMessage()
}
