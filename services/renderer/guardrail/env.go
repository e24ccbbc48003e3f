package guardrail

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"k8s.io/apiserver/pkg/cel/lazy"
	"k8s.io/apiserver/pkg/cel/library"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// maxCost is how much one expression may cost, in CEL's units, as in Kubernetes: about as many steps.
	maxCost = 1_000_000
	// maxPrograms is how many compiled expressions are kept.
	maxPrograms = 2000
	// maxNesting keeps the parser's stack small.
	maxNesting = 100
)

// facts are the fields of `deployment`.
var facts = []string{"application", "environment", "environment_type", "kind", "actor"}

// environment has what Kubernetes gives to its admission policies, of its own libraries, and `deployment` beside it.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("object", cel.DynType), cel.Variable("deployment", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType), cel.Variable("namespaceObject", cel.DynType),
		cel.Variable("variables", cel.MapType(cel.StringType, cel.DynType)),
		cel.OptionalTypes(), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.ParserRecursionLimit(maxNesting),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		ext.Strings(ext.StringsVersion(4)), ext.Lists(ext.ListsVersion(3)), ext.Sets(), ext.TwoVarComprehensions(),
		library.URLs(), library.Regex(), library.Lists(library.ListsVersion(0)), library.Quantity(), library.IP(), library.CIDR(), library.Format(),
		library.SemverLib(library.SemverVersion(1)),
	)
})

// program is a compiled expression.
type program struct {
	cel.Program
	tree *ast.AST
}

type problem struct{ at, text string }

// programs keeps what was compiled last, by expression.
var programs struct {
	sync.Mutex
	byText map[string]*program
}

func compile(expression string) (*program, []problem) {
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
		programs.byText = map[string]*program{}
	}
	programs.byText[expression] = p
	return p, nil
}

func build(expression string) (*program, []problem) {
	env, err := environment()
	if err != nil {
		return nil, []problem{{"1:1", "no expression can be compiled: " + err.Error()}}
	}
	compiled, issues := env.Compile(expression)
	if issues.Err() != nil {
		var out []problem
		for _, e := range issues.Errors() {
			out = append(out, problem{fmt.Sprintf("%d:%d", e.Location.Line(), e.Location.Column()+1), hint(e.Message)})
		}
		return nil, out
	}
	tree := compiled.NativeRep()
	if out := unknownWords(tree); len(out) > 0 {
		return nil, out
	}
	p, err := plan(tree)
	if err != nil {
		return nil, []problem{{"1:1", err.Error()}}
	}
	return &program{p, tree}, nil
}

func plan(tree *ast.AST) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	return env.PlanProgram(tree, cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(maxCost), cel.CostTracking(&library.CostEstimator{}),
		cel.InterruptCheckFrequency(1000))
}

// hint says why a word of Kubernetes' policies is not there.
func hint(message string) string {
	switch {
	case strings.Contains(message, "undeclared reference to 'authorizer'"):
		return "there is no authorizer: who applies an object is not known when it is rendered"
	case strings.Contains(message, "undeclared reference to 'params'"):
		return "there are no params: write their values into the expression"
	}
	return message
}

// unknownWords finds words of `deployment` and `request` that do not exist. At run time they would be an error of every deployment.
func unknownWords(tree *ast.AST) (out []problem) {
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind {
			return
		}
		s := e.AsSelect()
		text := ""
		switch root := s.Operand().AsIdent(); {
		case root == "deployment" && !slices.Contains(facts, s.FieldName()):
			text = fmt.Sprintf("deployment has no %q; it has %s", s.FieldName(), strings.Join(facts, ", "))
		case root == "request" && (s.FieldName() == "userInfo" || s.FieldName() == "uid"):
			text = fmt.Sprintf("there is no request.%s: who applies an object is not known when it is rendered", s.FieldName())
		default:
			return
		}
		at := tree.SourceInfo().GetStartLocation(e.ID())
		out = append(out, problem{fmt.Sprintf("%d:%d", at.Line(), at.Column()+1), text})
	}))
	return out
}

// unknownVariables finds variables that are not, or not yet, there.
func unknownVariables(tree *ast.AST, known []string) (out []problem) {
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "variables" && !slices.Contains(known, s.FieldName()) {
			at := tree.SourceInfo().GetStartLocation(e.ID())
			out = append(out, problem{fmt.Sprintf("%d:%d", at.Line(), at.Column()+1), fmt.Sprintf("there is no variable %q before this", s.FieldName())})
		}
	}))
	return out
}

// lazily gives `variables`: each is computed when it is asked for, and once for an object.
func lazily(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) ref.Val {
	out := lazy.NewMapValue(types.MapType)
	for _, v := range g.GetVariables() {
		p, problems := compile(v.GetExpression())
		out.Append(v.GetName(), func(*lazy.MapValue) ref.Val {
			if len(problems) > 0 {
				return types.NewErr("%s", problems[0].text)
			}
			value, _, err := p.ContextEval(ctx, vars)
			if err != nil {
				return types.NewErr("variables.%s: %s", v.GetName(), err)
			}
			return value
		})
	}
	return out
}
