// Package guardrail asks rules in CEL about rendered objects. The same rules and objects give the same verdicts, always and
// everywhere: expressions see no clock and nothing random, their work is limited by counting it, and a verdict never depends on
// how long something took. Rules change no byte of a bundle.
package guardrail

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/ext"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// maxCost is how much one question may cost, in CEL's units: about as many steps.
	maxCost = 250_000
	// patience ends an evaluation that the limits above did not. It gives an error and no verdict.
	patience = 20 * time.Second
	// maxPrograms is how many compiled expressions are kept.
	maxPrograms = 1000
	// maxNesting keeps the parser's stack small.
	maxNesting = 100
)

// facts are the fields of `deployment`.
var facts = []string{"application", "environment", "environment_type", "kind", "actor"}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("object", cel.DynType), cel.Variable("deployment", cel.MapType(cel.StringType, cel.StringType)),
		cel.OptionalTypes(), cel.CrossTypeNumericComparisons(true), cel.ParserRecursionLimit(maxNesting),
		ext.Strings(ext.StringsVersion(4)), ext.Lists(ext.ListsVersion(3)), ext.Sets(),
	)
})

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
		_, problems := compile(g.GetExpression())
		for _, p := range problems {
			fields = append(fields, errs.Field{Path: path + ".expression:" + p.at, Problem: p.text})
		}
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}

type problem struct{ at, text string }

// programs keeps what was compiled last, by expression.
var programs struct {
	sync.Mutex
	byText map[string]cel.Program
}

func compile(expression string) (cel.Program, []problem) {
	programs.Lock()
	p := programs.byText[expression]
	programs.Unlock()
	if p != nil {
		return p, nil
	}
	p, problems := build(expression)
	if len(problems) > 0 {
		return nil, problems
	}
	programs.Lock()
	defer programs.Unlock()
	if programs.byText == nil || len(programs.byText) >= maxPrograms {
		programs.byText = map[string]cel.Program{}
	}
	programs.byText[expression] = p
	return p, nil
}

func build(expression string) (cel.Program, []problem) {
	env, err := environment()
	if err != nil {
		return nil, []problem{{"1:1", "no expression can be compiled: " + err.Error()}}
	}
	tree, issues := env.Compile(expression)
	if issues.Err() != nil {
		var out []problem
		for _, e := range issues.Errors() {
			out = append(out, problem{fmt.Sprintf("%d:%d", e.Location.Line(), e.Location.Column()+1), e.Message})
		}
		return nil, out
	}
	if t := tree.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, []problem{{"1:1", fmt.Sprintf("gives %s; a guardrail is true when all is well", t)}}
	}
	if out := unknownFacts(tree.NativeRep()); len(out) > 0 {
		return nil, out
	}
	p, err := env.Program(tree, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(1000))
	if err != nil {
		return nil, []problem{{"1:1", err.Error()}}
	}
	return p, nil
}

// unknownFacts finds words of `deployment` that do not exist. At run time they would be an error of every deployment.
func unknownFacts(tree *ast.AST) (out []problem) {
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "deployment" && !slices.Contains(facts, s.FieldName()) {
			at := tree.SourceInfo().GetStartLocation(e.ID())
			out = append(out, problem{fmt.Sprintf("%d:%d", at.Line(), at.Column()+1), fmt.Sprintf("deployment has no %q; it has %s", s.FieldName(), strings.Join(facts, ", "))})
		}
	}))
	return out
}

// Evaluate gives the guardrails that do not hold, the denying ones first, then by name and file. An expression that cannot be
// evaluated for an object does not hold for it.
func Evaluate(ctx context.Context, req *rendererv1.RenderRequest, bundle *rendererv1.Bundle) ([]*rendererv1.Verdict, error) {
	if len(req.GetGuardrails()) == 0 {
		return nil, nil
	}
	if err := Check(req.GetGuardrails()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	deployment := map[string]string{
		"application": req.GetInput().GetApplication(), "environment": req.GetInput().GetEnvironment(),
		"environment_type": req.GetInput().GetEnvironmentType(), "kind": req.GetFacts().GetKind(), "actor": req.GetFacts().GetActor(),
	}
	var out []*rendererv1.Verdict
	for _, ref := range bundle.GetObjects() {
		object, err := decode(bundle.GetFiles()[ref.GetFile()])
		if err != nil {
			return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "read %s again", ref.GetFile()).Because(err)
		}
		for _, g := range req.GetGuardrails() {
			if len(g.GetKinds()) > 0 && !slices.Contains(g.GetKinds(), ref.GetKind()) {
				continue
			}
			problem, err := ask(ctx, g, map[string]any{"object": object, "deployment": deployment})
			if err != nil {
				return nil, err
			}
			if problem != "" {
				out = append(out, &rendererv1.Verdict{Guardrail: g.GetName(), Enforcement: g.GetEnforcement(), Message: problem, Object: ref})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *rendererv1.Verdict) int {
		return cmp.Or(cmp.Compare(a.GetEnforcement(), b.GetEnforcement()), strings.Compare(a.GetGuardrail(), b.GetGuardrail()),
			strings.Compare(a.GetObject().GetFile(), b.GetObject().GetFile()))
	})
	return out, nil
}

// ask gives what is wrong with an object, "" when the guardrail holds.
func ask(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) (string, error) {
	p, problems := compile(g.GetExpression())
	if len(problems) > 0 {
		return "", errs.InvalidField("guardrails."+g.GetName(), "%s", problems[0].text)
	}
	v, _, undecided := p.ContextEval(ctx, vars)
	if ctx.Err() != nil {
		return "", errs.New(errs.Timeout, errorsv1.Reason_REASON_TIMEOUT, "the guardrail %s was not decided in time; make its expression simpler", g.GetName()).Because(ctx.Err())
	}
	if undecided != nil {
		return withMessage(g, "it cannot be decided: "+undecided.Error()), nil
	}
	switch held, isBool := v.Value().(bool); {
	case !isBool:
		return withMessage(g, fmt.Sprintf("it gives %s instead of true or false", v.Type().TypeName())), nil
	case held:
		return "", nil
	}
	if g.GetMessage() == "" {
		return "does not hold: " + g.GetExpression(), nil
	}
	return g.GetMessage(), nil
}

func withMessage(g *rendererv1.Guardrail, problem string) string {
	if g.GetMessage() == "" {
		return problem
	}
	return g.GetMessage() + " (" + problem + ")"
}

// decode reads an object with whole numbers as such: CEL does not add a double to an int.
func decode(content []byte) (any, error) {
	asJSON, err := yaml.YAMLToJSON(content)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	}
	return v
}
