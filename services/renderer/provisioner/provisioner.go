// Package provisioner reads provisioner files of the Score community (*.provisioners.yaml, as score-k8s takes them) as resource
// definitions. It is pure.
//
// Of the entries that fit a resource the first one answers, in the order of the files' names and within them from the top. Definitions
// are chosen by how specific they are instead, so that Load gives each entry the criteria with which the same one wins.
package provisioner

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/match"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Suffix ends the names of provisioner files in a folder.
const Suffix = ".provisioners.yaml"

// prefix begins the names of definitions.
const prefix = "resourceDefinitions/"

// Loaded is what provisioner files hold.
type Loaded struct {
	// Definitions are in the order of the entries, each with a name made of its URI, without a version.
	Definitions []*rendererv1.ResourceDefinition
	// Warnings are entries that can never answer because one before them does, and other things worth knowing.
	Warnings []string
}

// entry is one provisioner as it is written.
type entry struct {
	file                                            string
	line, column                                    int
	uri, typ, class, id, description                string
	params, outputs                                 []string
	texts                                           map[string]text
	anyClass, anyID, hasParams, hasOutputs, command bool
}

// text is a template with the place of its first line.
type text struct {
	value  string
	line   int
	column int
}

// at names the entry for people.
func (e *entry) at() string {
	return fmt.Sprintf("%s:%d:%d %s", e.file, e.line, e.column, e.uri)
}

// Load reads the files. The error lists everything that is wrong with all of them, with file, line and column.
func Load(files map[string][]byte) (*Loaded, error) {
	r := &reader{}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if total += len(files[name]); total > maxTotal {
			r.fail(name, 1, 1, "is one too many: the files are larger than %d bytes together", maxTotal)
			break
		}
		r.file(name, files[name])
	}
	if err := invalid(r.fields); err != nil {
		return nil, err
	}
	if err := onlyCommands(r.entries); err != nil {
		return nil, err
	}
	out := &Loaded{}
	names := map[string]bool{}
	var live []*entry
	for i, e := range r.entries {
		if by := shadowed(r.entries[:i], e); by != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s can never answer: %s comes before it and answers all that it could", e.at(), by.at()))
			continue
		}
		live = append(live, e)
	}
	for i, e := range live {
		if e.typ == definition.EnvironmentType {
			out.Warnings = append(out.Warnings, e.at()+" is left out: resources of the type environment are answered by the variables of each environment")
			continue
		}
		d, err := e.definition(names, criteria(e, live[:i], live[i+1:]))
		if err != nil {
			r.fields = append(r.fields, e.located(err)...)
			continue
		}
		if e.command {
			out.Warnings = append(out.Warnings, e.at()+" runs a program, which Towpath does not do; whoever asks for this resource is told so")
		}
		out.Definitions = append(out.Definitions, d)
	}
	return out, invalid(r.fields)
}

// invalid makes the error of files from their wrong places, nil when there are none.
func invalid(fields []errs.Field) error {
	if len(fields) == 0 {
		return nil
	}
	e := errs.InvalidFields(fields...)
	e.Msg = "the provisioner files are not valid"
	return e
}

// onlyCommands refuses files of which nothing could be used.
func onlyCommands(entries []*entry) error {
	var fields []errs.Field
	for _, e := range entries {
		if !e.command {
			return nil
		}
		fields = append(fields, errs.Field{Path: e.at(), Problem: refusal})
	}
	return invalid(fields)
}

// refusal says why entries with the scheme cmd are not executed.
const refusal = "runs a program (cmd://), which Towpath does not do: what rendering gives must not depend on the machine. " +
	"Write it as a template:// provisioner, or as a resource definition with the driver helm, kustomize or claim"

// shadowed gives the entry before this one that answers everything that it could.
func shadowed(before []*entry, e *entry) *entry {
	for _, b := range before {
		if b.typ == e.typ && (b.anyClass || !e.anyClass && b.class == e.class) && (b.anyID || !e.anyID && b.id == e.id) {
			return b
		}
	}
	return nil
}

// criteria gives for which requests an entry answers. One that names a class and no id would lose against a later one that names an
// id and no class: for those ids it gets criteria of their weight, and wins because it names the class.
func criteria(e *entry, before, later []*entry) []*rendererv1.Criteria {
	if !e.anyID {
		return []*rendererv1.Criteria{{ResId: e.id}}
	}
	var ids []string
	for _, l := range later {
		if l.typ != e.typ || !l.anyClass || l.anyID || slices.Contains(ids, l.id) {
			continue
		}
		both := &entry{typ: e.typ, class: e.class, id: l.id}
		if shadowed(before, both) == nil { // else that one answers, whoever comes later
			ids = append(ids, l.id)
		}
	}
	if e.anyClass || len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	out := []*rendererv1.Criteria{{}}
	for _, id := range ids {
		out = append(out, &rendererv1.Criteria{ResId: id})
	}
	return out
}

// definition makes the resource definition of an entry, and compiles it for what is wrong with it.
func (e *entry) definition(names map[string]bool, criteria []*rendererv1.Criteria) (*rendererv1.ResourceDefinition, error) {
	inputs := map[string]any{"compatibility": definition.CompatibilityScore}
	if e.description != "" {
		inputs["description"] = e.description
	}
	if e.hasParams { // a list for people: score-k8s refuses no other parameter
		params := map[string]any{}
		for _, name := range e.params {
			params[name] = ""
		}
		inputs["params"], inputs["open"] = params, true
	}
	if e.hasOutputs {
		inputs["expected_outputs"] = anyOf(e.outputs)
	}
	for name, t := range e.texts {
		inputs[name] = t.value
	}
	if e.command {
		inputs["init"] = fmt.Sprintf("{{ fail %s }}", strconv.Quote("the provisioner "+e.uri+" "+refusal))
	}
	s, err := structpb.NewStruct(inputs)
	if err != nil {
		return nil, errs.InvalidField("inputs", "cannot be kept: %s", err)
	}
	class := e.class
	if e.anyClass {
		class = match.AnyClass
	}
	d := &rendererv1.ResourceDefinition{
		Name: prefix + e.name(names), Type: e.typ, Class: class, Driver: rendererv1.ResourceDefinition_DRIVER_TEMPLATE, Inputs: s, Criteria: criteria,
	}
	if _, err := definition.Compile(d); err != nil {
		return nil, err
	}
	return d, nil
}

func anyOf(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// maxName leaves room for what makes a name the only one.
const maxName = 56

// name makes the id of a definition of the entry's URI: letters, digits and dashes, beginning with a letter, and the only one.
func (e *entry) name(names map[string]bool) string {
	_, rest, _ := strings.Cut(e.uri, "://")
	if decoded, err := url.PathUnescape(rest); err == nil {
		rest = decoded
	}
	id := definition.Shorten(rest, maxName)
	if len(id) < 2 || id[0] < 'a' || id[0] > 'z' {
		id = definition.Shorten("provisioner-"+id, maxName)
	}
	first := id
	for n := 2; names[id]; n++ {
		id = fmt.Sprintf("%s-%d", first, n)
	}
	names[id] = true
	return id
}

var functionName = lazyre.New(`^the function "([^"]+)"`)

// lineOf gives the line of a text that names a function, for an error that does not tell it.
func lineOf(text, problem string) (int, bool) {
	m := functionName.FindStringSubmatch(problem)
	if m == nil {
		return 0, false
	}
	before, _, found := strings.Cut(text, m[1])
	return strings.Count(before, "\n"), found
}

var templateLine = lazyre.New(`^[^:]*:(\d+)(?::\d+)?: `)

// located says where in the file the problems of a definition are.
func (e *entry) located(err error) (out []errs.Field) {
	var problem *errs.Error
	if !errors.As(err, &problem) {
		return []errs.Field{{Path: e.at(), Problem: err.Error()}}
	}
	for _, f := range problem.Fields {
		name := strings.TrimPrefix(f.Path, "inputs.")
		t, ok := e.texts[name]
		if !ok {
			out = append(out, errs.Field{Path: e.at(), Problem: name + " " + f.Problem})
			continue
		}
		line, column, text := t.line, t.column, f.Problem
		if m := templateLine.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			line, column, text = t.line+n-1, 1, text[len(m[0]):]
		} else if n, known := lineOf(t.value, text); known {
			line, column = t.line+n, 1
		}
		out = append(out, errs.Field{Path: fmt.Sprintf("%s:%d:%d %s %s", e.file, line, column, e.uri, name), Problem: text})
	}
	return out
}
