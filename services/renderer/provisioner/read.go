package provisioner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

// Limits of what is read. YAML of a megabyte can be millions of nodes, each of which costs a hundred times its text.
const (
	maxFile     = 512 << 10
	maxTotal    = 4 << 20
	maxEntries  = 500
	maxProblems = 100
)

// fields are those of an entry, composeOnly those that the same format has for another tool.
var (
	fields      = []string{"uri", "type", "class", "id", "description", "supported_params", "expected_outputs", "params_schema", "init", "state", "shared", "outputs", "manifests", "args"}
	composeOnly = []string{"files", "networks", "volumes", "services", "models", "info_logs"}
)

var (
	typeForm = lazyre.New(`^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`)
	idForm   = lazyre.New(`^[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*$`)
	yamlLine = lazyre.New(`^yaml: line (\d+): `)
)

// reader reads files and collects what is wrong with them.
type reader struct {
	entries []*entry
	fields  []errs.Field
}

func (r *reader) fail(file string, line, column int, format string, args ...any) {
	if len(r.fields) < maxProblems {
		r.fields = append(r.fields, errs.Field{Path: fmt.Sprintf("%s:%d:%d", file, line, column), Problem: fmt.Sprintf(format, args...)})
	}
}

// file reads one file: a list of provisioners.
func (r *reader) file(name string, content []byte) {
	switch {
	case len(content) > maxFile:
		r.fail(name, 1, 1, "has %d bytes, the limit is %d", len(content), maxFile)
		return
	case !utf8.Valid(content):
		r.fail(name, 1, 1, "is not UTF-8: save the file as UTF-8 text")
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		r.fail(name, 1, 1, "is empty: expected a list of provisioners, each with uri and type")
		return
	} else if err != nil {
		r.syntax(name, err)
		return
	}
	if err := decoder.Decode(&second); err == nil {
		r.fail(name, second.Line, second.Column, "is a second YAML document: put all provisioners into one list")
		return
	} else if !errors.Is(err, io.EOF) {
		r.syntax(name, err)
		return
	}
	list := doc.Content[0]
	if list.Kind != yaml.SequenceNode {
		r.fail(name, list.Line, list.Column, "is not a list of provisioners, each with uri and type")
		return
	}
	for _, item := range list.Content {
		if len(r.entries) >= maxEntries {
			r.fail(name, item.Line, item.Column, "is one too many: there may be %d provisioners", maxEntries)
			return
		}
		if e := r.entry(name, item); e != nil {
			r.entries = append(r.entries, e)
		}
	}
}

func (r *reader) syntax(file string, err error) {
	line, text := 1, err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	r.fail(file, line, 1, "is not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// entry reads one provisioner, nil where something is wrong with it.
func (r *reader) entry(file string, node *yaml.Node) *entry {
	if node.Kind != yaml.MappingNode {
		r.fail(file, node.Line, node.Column, "is no provisioner: expected a map with uri, type and templates")
		return nil
	}
	before := len(r.fields)
	e := &entry{file: file, line: node.Line, column: node.Column, texts: map[string]text{}, anyClass: true, anyID: true}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case seen[key.Value]:
			r.fail(file, key.Line, key.Column, "%q is given twice", key.Value)
		case slices.Contains(fields, key.Value):
			r.field(e, key.Value, value)
		case slices.Contains(composeOnly, key.Value):
			r.fail(file, key.Line, key.Column, "%q is of provisioner files for score-compose; for Kubernetes objects there is manifests", key.Value)
		default:
			r.fail(file, key.Line, key.Column, "%.100q is not known%s (known: %s)", key.Value, score.Suggest(key.Value, fields), strings.Join(fields, ", "))
		}
		seen[key.Value] = true
	}
	for _, name := range []string{"uri", "type"} {
		if !seen[name] {
			r.fail(file, node.Line, node.Column, "has no %s", name)
		}
	}
	r.whole(e, seen)
	if len(r.fields) > before {
		return nil
	}
	return e
}

// whole checks what its fields are together.
func (r *reader) whole(e *entry, seen map[string]bool) {
	switch {
	case e.command || e.uri == "":
	case seen["args"]:
		r.fail(e.file, e.line, e.column, "has args, which belong to cmd:// provisioners")
	case e.texts["outputs"].value == "" && e.texts["manifests"].value == "":
		r.fail(e.file, e.line, e.column, "has neither outputs nor manifests, so that nothing would be made")
	}
	if e.command && len(e.texts) > 0 {
		r.fail(e.file, e.line, e.column, "has templates, which belong to template:// provisioners")
	}
}

func (r *reader) field(e *entry, name string, n *yaml.Node) {
	switch name {
	case "supported_params":
		e.params, e.hasParams = r.list(e, name, n), true
		return
	case "expected_outputs":
		e.outputs, e.hasOutputs = r.list(e, name, n), true
		return
	case "args", "params_schema": // the arguments of a program; and a description for people, which score-k8s does not check either
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		if name == "uri" || name == "type" {
			r.fail(e.file, n.Line, n.Column, "%s is empty", name)
		}
		return // null is not given
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		r.fail(e.file, n.Line, n.Column, "%s is not text", name)
		return
	}
	switch name {
	case "uri":
		r.uri(e, n)
	case "type":
		e.typ = r.form(e, n, name, typeForm, "2 to 63 letters, digits and inner dashes")
	case "class":
		e.class, e.anyClass = r.form(e, n, name, typeForm, "2 to 63 letters, digits and inner dashes, or null for every class"), false
	case "id":
		e.id, e.anyID = r.form(e, n, name, idForm, "lower-case letters, digits, dots and dashes, or null for every id"), false
	case "description":
		e.description = n.Value
	default:
		line := n.Line
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			line++ // the text begins below its mark
		}
		if n.Value != "" {
			e.texts[name] = text{value: n.Value, line: line, column: n.Column}
		}
	}
}

func (r *reader) form(e *entry, n *yaml.Node, name string, form *lazyre.Regexp, expected string) string {
	if !form.MatchString(n.Value) {
		r.fail(e.file, n.Line, n.Column, "%s %.100q is not valid: expected %s", name, n.Value, expected)
	}
	return n.Value
}

func (r *reader) uri(e *entry, n *yaml.Node) {
	u, err := url.Parse(n.Value)
	switch {
	case err != nil || u.Scheme == "":
		r.fail(e.file, n.Line, n.Column, "uri %.200q is none: write template://ORGANISATION/NAME", n.Value)
	case u.Scheme == "cmd":
		e.command = true
	case u.Scheme != "template":
		r.fail(e.file, n.Line, n.Column, "uri %.200q has the scheme %q%s; there are template:// and cmd://", n.Value, u.Scheme, score.Suggest(u.Scheme, []string{"template"}))
	case u.Host+u.Path == "":
		r.fail(e.file, n.Line, n.Column, "uri %.200q names nothing: write template://ORGANISATION/NAME", n.Value)
	}
	if len(n.Value) > 500 {
		r.fail(e.file, n.Line, n.Column, "uri has %d characters, at most 500 are allowed", len(n.Value))
	}
	e.uri = n.Value
}

func (r *reader) list(e *entry, name string, n *yaml.Node) (out []string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(e.file, n.Line, n.Column, "%s is not a list of names", name)
		return nil
	}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" || item.Value == "" {
			r.fail(e.file, item.Line, item.Column, "%s has an entry that is no name", name)
			return nil
		}
		out = append(out, item.Value)
	}
	return out
}
