package definition

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
)

// Limits of one template execution. They count work instead of time, so that the same input gives the same outcome on a busy
// machine as on an idle one.
const (
	// maxOutput is how many bytes a template may write.
	maxOutput = 1 << 20
	// maxSteps is how many loop iterations a template may make.
	maxSteps = 100_000
	// maxCalls is how many times a template may invoke named templates, and so how deep it may recurse.
	maxCalls = 1000
)

// Names of the counting functions that compile puts into loops and named templates. A template that writes them itself does
// not compile: they are only defined when it runs.
const (
	stepFunc = "towpathLoopStep"
	callFunc = "towpathCallStep"
)

var (
	errOutput = fmt.Errorf("the output is larger than %d bytes", maxOutput)
	errSteps  = fmt.Errorf("the loops make more than %d iterations", maxSteps)
	errCalls  = fmt.Errorf("named templates are invoked more than %d times: is there a recursion without an end?", maxCalls)
)

// program is a compiled template that cannot run without end: every loop body and named template begins with a counter. It is
// safe for concurrent use.
type program struct {
	template *template.Template
	// runs keeps clones that are ready to run: to make one costs more than most executions.
	runs sync.Pool
}

// execution is a clone of the template with counters of its own.
type execution struct {
	template     *template.Template
	steps, calls int
}

// compile parses a template. An unknown function is an error that names it; so is one that is refused in rendering.
func compile(name, text string) (*program, error) { return compileWith(name, text, functions()) }

// compileWith is compile with functions of a dialect.
func compileWith(name, text string, functions template.FuncMap) (*program, error) {
	t, err := template.New(name).Funcs(functions).Parse(text)
	if err != nil {
		return nil, explainRefused(err)
	}
	for _, each := range t.Templates() {
		if each.Tree == nil || each.Root == nil {
			continue
		}
		countLoops(each.Root)
		if each.Name() != name {
			each.Root.Nodes = append([]parse.Node{call(callFunc)}, each.Root.Nodes...)
		}
	}
	return &program{template: t}, nil
}

// run executes the template within the limits.
func (p *program) run(data any) (string, error) {
	e, ok := p.runs.Get().(*execution)
	if !ok {
		var err error
		if e, err = p.execution(); err != nil {
			return "", err
		}
	}
	defer p.runs.Put(e)
	e.steps, e.calls = 0, 0
	var out limitedWriter
	if err := e.template.Execute(&out, data); err != nil {
		return "", err
	}
	text := out.text.String()
	if strings.Contains(text, "<no value>") {
		return "", failure("its definition uses a value that is not there: a parameter that was not given, or an output of an earlier stage")
	}
	return text, nil
}

func (p *program) execution() (*execution, error) {
	t, err := p.template.Clone()
	if err != nil {
		return nil, fmt.Errorf("clone a template: %w", err)
	}
	e := &execution{template: t}
	t.Funcs(template.FuncMap{stepFunc: counter(&e.steps, maxSteps, errSteps), callFunc: counter(&e.calls, maxCalls, errCalls)})
	return e, nil
}

func counter(n *int, limit int, over error) func() (string, error) {
	return func() (string, error) {
		if *n++; *n > limit {
			return "", over
		}
		return "", nil
	}
}

// countLoops puts a counter at the head of every loop body under the list.
func countLoops(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			countLoops(n.List)
			countLoops(n.ElseList)
			n.List.Nodes = append([]parse.Node{call(stepFunc)}, n.List.Nodes...)
		case *parse.IfNode:
			countLoops(n.List)
			countLoops(n.ElseList)
		case *parse.WithNode:
			countLoops(n.List)
			countLoops(n.ElseList)
		case *parse.ListNode:
			countLoops(n)
		}
	}
}

// call makes the node of {{ function }}.
func call(function string) parse.Node {
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier(function)}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{command}}}
}

// limitedWriter takes maxOutput bytes and then fails, which ends the execution.
type limitedWriter struct{ text strings.Builder }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.text.Len()+len(p) > maxOutput {
		return 0, errOutput
	}
	return w.text.Write(p)
}

// problemOf gives what a person needs of a template's error: without the machinery's names, and for `fail` just its words.
func problemOf(err error) string {
	for _, limit := range []error{errOutput, errSteps, errCalls, errArguments} {
		if errors.Is(err, limit) {
			return limit.Error()
		}
	}
	var failed failure
	if errors.As(err, &failed) {
		return string(failed)
	}
	return strings.TrimPrefix(err.Error(), "template: ")
}
