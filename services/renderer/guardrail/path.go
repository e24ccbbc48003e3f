package guardrail

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// maxLooks is how many parts of an expression are evaluated to find the place that is to blame.
const maxLooks = 500

// look gives the place of an object that a guardrail that does not hold is about: spec.template.spec.containers[name=api].image. Of
// what is joined by "and" it is the part that is false, of a list the item for which it is; empty where it cannot be told.
func look(ctx context.Context, g *rendererv1.Guardrail, vars map[string]any) string {
	p, problems := compile(g.GetExpression())
	if len(problems) > 0 {
		return ""
	}
	left := maxLooks
	x := &explorer{ctx: ctx, guardrail: g, tree: p.tree, vars: vars, left: &left}
	return x.failing(p.tree.Expr()).String()
}

// steps are the parts of a path: fields, and items of lists in brackets.
type steps []string

func (s steps) String() string {
	var b strings.Builder
	for _, step := range s {
		switch {
		case strings.HasPrefix(step, "["):
		case strings.ContainsAny(step, "./[]"):
			step = "[" + strconv.Quote(step) + "]"
		case b.Len() > 0:
			b.WriteByte('.')
		}
		b.WriteString(step)
	}
	return b.String()
}

func (s steps) to(more ...string) steps { return append(slices.Clip(s), more...) }

// explorer walks an expression.
type explorer struct {
	ctx       context.Context
	guardrail *rendererv1.Guardrail
	tree      *ast.AST
	vars      map[string]any
	// bound are the places of variables of comprehensions.
	bound map[string]steps
	left  *int
}

func (x *explorer) value(e ast.Expr) ref.Val {
	if *x.left--; *x.left < 0 {
		return nil
	}
	p, err := plan(ast.NewCheckedAST(ast.NewAST(e, x.tree.SourceInfo()), x.tree.TypeMap(), x.tree.ReferenceMap()))
	if err != nil {
		return nil
	}
	v, _, err := p.ContextEval(x.ctx, x.vars)
	if err != nil {
		return nil
	}
	return v
}

// failing gives the place for an expression that is false, or has no value.
func (x *explorer) failing(e ast.Expr) steps {
	switch name, args := call(e); name {
	case operators.LogicalAnd:
		for _, arg := range args {
			if x.value(arg) != types.True {
				return x.failing(arg)
			}
		}
	case operators.LogicalOr:
		return x.all(args, x.failing)
	case operators.LogicalNot:
		return x.holding(args[0])
	case operators.Conditional:
		switch x.value(args[0]) {
		case types.True:
			return x.failing(args[1])
		case types.False:
			return x.failing(args[2])
		}
	}
	if predicate := predicateOf(e, operators.LogicalAnd); predicate != nil {
		if at, found := x.item(e.AsComprehension(), predicate, func(v ref.Val) bool { return v != types.True }, (*explorer).failing); found {
			return at
		}
	}
	return x.mentioned(e)
}

// holding gives the place for an expression that is true and should not be.
func (x *explorer) holding(e ast.Expr) steps {
	switch name, args := call(e); name {
	case operators.LogicalAnd:
		return x.all(args, x.holding)
	case operators.LogicalOr:
		for _, arg := range args {
			if x.value(arg) == types.True {
				return x.holding(arg)
			}
		}
	case operators.LogicalNot:
		return x.failing(args[0])
	}
	if predicate := predicateOf(e, operators.LogicalOr); predicate != nil {
		if at, found := x.item(e.AsComprehension(), predicate, func(v ref.Val) bool { return v == types.True }, (*explorer).holding); found {
			return at
		}
	}
	return x.mentioned(e)
}

// all gives the place that several parts have in common.
func (x *explorer) all(parts []ast.Expr, each func(ast.Expr) steps) steps {
	var found []steps
	for _, part := range parts {
		if at := each(part); len(at) > 0 {
			found = append(found, at)
		}
	}
	return common(found)
}

func call(e ast.Expr) (string, []ast.Expr) {
	if e.Kind() != ast.CallKind {
		return "", nil
	}
	return e.AsCall().FunctionName(), e.AsCall().Args()
}

// predicateOf gives what list.all(x, …), or list.exists(x, …) with "or", asks about each item; nil for other expressions.
func predicateOf(e ast.Expr, join string) ast.Expr {
	if e.Kind() != ast.ComprehensionKind {
		return nil
	}
	c := e.AsComprehension()
	name, args := call(c.LoopStep())
	if name != join || len(args) != 2 || args[0].Kind() != ast.IdentKind || args[0].AsIdent() != c.AccuVar() || c.Result().Kind() != ast.IdentKind {
		return nil
	}
	return args[1]
}

// item finds the item of a list or map that is to blame.
func (x *explorer) item(c ast.ComprehensionExpr, predicate ast.Expr, guilty func(ref.Val) bool, then func(*explorer, ast.Expr) steps) (steps, bool) {
	over := x.value(c.IterRange())
	if over == nil {
		return nil, false
	}
	iterable, ok := over.(traits.Iterable)
	if !ok {
		return nil, false
	}
	mapping, _ := over.(traits.Mapper)
	for i, it := 0, iterable.Iterator(); it.HasNext() == types.True; i++ {
		element := it.Next()
		inner := *x
		inner.vars, inner.bound = maps.Clone(x.vars), maps.Clone(x.bound)
		if inner.bound == nil {
			inner.bound = map[string]steps{}
		}
		at := x.element(c.IterRange(), i, element, mapping != nil)
		inner.vars[c.IterVar()], inner.bound[c.IterVar()] = element, at
		if c.HasIterVar2() {
			inner.bound[c.IterVar2()] = at
			if mapping != nil {
				inner.vars[c.IterVar2()] = mapping.Get(element)
			} else {
				inner.vars[c.IterVar()], inner.vars[c.IterVar2()] = types.Int(i), element
			}
		}
		if guilty(inner.value(predicate)) {
			if deeper := then(&inner, predicate); len(deeper) > 0 {
				return deeper, true
			}
			return at, true
		}
	}
	return nil, false
}

// element gives the place of an item of what an expression gives.
func (x *explorer) element(e ast.Expr, i int, element ref.Val, ofMap bool) steps {
	at, exact := x.where(e, &i)
	if len(at) == 0 {
		return nil
	}
	if ofMap {
		if key, ok := element.Value().(string); ok && exact {
			return at.to(key)
		}
		return at
	}
	if m, ok := element.(traits.Mapper); ok {
		if name, found := m.Find(types.String("name")); found {
			if text, ok := name.Value().(string); ok && text != "" && !strings.ContainsAny(text, "[]\n") {
				return at.to("[name=" + text + "]")
			}
		}
	}
	if exact {
		return at.to("[" + strconv.Itoa(i) + "]")
	}
	return at
}

// where gives the place that a list comes from. i is the number of the item that is looked for, and becomes that in the list which
// it is of; exact says that the items stand there as they do in the list.
func (x *explorer) where(e ast.Expr, i *int) (at steps, exact bool) {
	if name, ok := variable(e); ok {
		if inner := x.of(name); inner != nil {
			return inner.where(inner.tree.Expr(), i)
		}
	}
	switch name, args := call(e); name {
	case operators.Add:
		left, ok := x.value(args[0]).(traits.Sizer)
		if !ok {
			return x.mentioned(e), false
		}
		if n, ok := left.Size().Value().(int64); ok && *i >= int(n) {
			*i -= int(n)
			return x.where(args[1], i)
		}
		return x.where(args[0], i)
	case operators.Conditional:
		if x.value(args[0]) == types.True {
			return x.where(args[1], i)
		}
		return x.where(args[2], i)
	}
	if at, ok := x.chain(e); ok {
		return at, true
	}
	if e.Kind() == ast.ComprehensionKind {
		at, _ := x.where(e.AsComprehension().IterRange(), i)
		return at, false
	}
	return x.mentioned(e), false
}

// variable gives the name of variables.name.
func variable(e ast.Expr) (string, bool) {
	if e.Kind() != ast.SelectKind {
		return "", false
	}
	s := e.AsSelect()
	return s.FieldName(), s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "variables"
}

// of gives an explorer of the expression of a variable.
func (x *explorer) of(name string) *explorer {
	for _, v := range x.guardrail.GetVariables() {
		if v.GetName() == name {
			p, problems := compile(v.GetExpression())
			if *x.left--; len(problems) > 0 || *x.left < 0 {
				return nil
			}
			return &explorer{ctx: x.ctx, guardrail: x.guardrail, tree: p.tree, vars: x.vars, left: x.left}
		}
	}
	return nil
}

// chain gives the place of a chain of fields that begins at the object, at a variable or at an item.
func (x *explorer) chain(e ast.Expr) (steps, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		at, ok := x.bound[e.AsIdent()]
		return at, ok && len(at) > 0 || e.AsIdent() == "object"
	case ast.SelectKind:
		if name, ok := variable(e); ok {
			inner := x.of(name)
			if inner == nil {
				return nil, false
			}
			at := inner.mentioned(inner.tree.Expr())
			return at, len(at) > 0
		}
		at, ok := x.chain(e.AsSelect().Operand())
		return at.to(e.AsSelect().FieldName()), ok
	case ast.CallKind:
		return x.calls(e.AsCall())
	}
	return nil, false
}

func (x *explorer) calls(c ast.CallExpr) (steps, bool) {
	if c.IsMemberFunction() {
		if slices.Contains([]string{"orValue", "or", "value", "hasValue"}, c.FunctionName()) {
			return x.chain(c.Target())
		}
		return nil, false
	}
	switch c.FunctionName() {
	case operators.OptSelect, operators.Index, operators.OptIndex:
		at, ok := x.chain(c.Args()[0])
		if !ok || c.Args()[1].Kind() != ast.LiteralKind {
			return at, ok
		}
		switch key := c.Args()[1].AsLiteral().Value().(type) {
		case string:
			return at.to(key), true
		case int64:
			return at.to("[" + strconv.FormatInt(key, 10) + "]"), true
		}
		return at, true
	}
	return nil, false
}

// mentioned gives the place that all chains in an expression have in common.
func (x *explorer) mentioned(e ast.Expr) steps {
	var found []steps
	x.collect(e, &found)
	return common(found)
}

func (x *explorer) collect(e ast.Expr, found *[]steps) {
	if at, ok := x.chain(e); ok {
		if len(at) > 0 {
			*found = append(*found, at)
		}
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		x.collect(e.AsSelect().Operand(), found)
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			x.collect(e.AsCall().Target(), found)
		}
		for _, arg := range e.AsCall().Args() {
			x.collect(arg, found)
		}
	case ast.ListKind:
		for _, each := range e.AsList().Elements() {
			x.collect(each, found)
		}
	case ast.ComprehensionKind:
		x.collect(e.AsComprehension().IterRange(), found)
	}
}

// common gives what paths begin with. Those of the kind alone say which objects are meant, and are passed over beside others.
func common(paths []steps) steps {
	if others := slices.DeleteFunc(slices.Clone(paths), func(s steps) bool { return len(s) == 1 && (s[0] == "kind" || s[0] == "apiVersion") }); len(others) > 0 {
		paths = others
	}
	if len(paths) == 0 {
		return nil
	}
	out := paths[0]
	for _, p := range paths[1:] {
		n := 0
		for n < len(out) && n < len(p) && out[n] == p[n] {
			n++
		}
		out = out[:n]
	}
	return out
}
