package guardrail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/document"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// maxFile is the largest file of guardrails, maxGuardrails how many an environment type has at most.
	maxFile       = 1 << 20
	maxGuardrails = 100
)

// Load reads files of guardrails: lists in Towpath's own form, and Kubernetes' ValidatingAdmissionPolicies with their bindings. The
// warnings tell what of them is left out. The error names every place of every file that is wrong.
func Load(files map[string][]byte) (guardrails []*rendererv1.Guardrail, warnings []string, err error) {
	l := &loader{policies: map[string]*policy{}, lines: map[*rendererv1.Guardrail]string{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.file(name, files[name])
	}
	l.translate()
	l.names()
	if n := len(l.guardrails); n > maxGuardrails {
		l.wrong("files", "have %d guardrails together, at most %d are allowed", n, maxGuardrails)
	}
	if len(l.fields) > 0 {
		return nil, nil, errs.InvalidFields(l.fields...)
	}
	return l.guardrails, l.warnings, nil
}

// loader collects what files hold.
type loader struct {
	guardrails []*rendererv1.Guardrail
	// lines tell of each guardrail where it comes from.
	lines    map[*rendererv1.Guardrail]string
	policies map[string]*policy
	order    []*policy
	bindings []*binding
	warnings []string
	fields   []errs.Field
}

func (l *loader) wrong(path, format string, args ...any) {
	f := errs.Field{Path: path, Problem: fmt.Sprintf(format, args...)}
	if !slices.Contains(l.fields, f) {
		l.fields = append(l.fields, f)
	}
}

func (l *loader) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(l.warnings, w) {
		l.warnings = append(l.warnings, w)
	}
}

func (l *loader) file(name string, content []byte) {
	if len(content) > maxFile {
		l.wrong(name, "is %d bytes, the limit is %d", len(content), maxFile)
		return
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 1; ; n++ {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		at := name
		if n > 1 {
			at = fmt.Sprintf("%s, document %d", name, n)
		}
		if err != nil {
			l.wrong(at, "cannot be read: %s", err)
			return
		}
		l.document(at, text)
	}
}

func (l *loader) document(at string, text []byte) {
	var v any
	if err := yaml.UnmarshalStrict(text, &v); err != nil {
		l.wrong(at, "is not YAML: %s", err)
		return
	}
	switch v := v.(type) {
	case nil:
	case map[string]any:
		l.object(at, v)
	case []any:
		l.own(at, text)
	default:
		l.wrong(at, "is neither a list of guardrails nor a ValidatingAdmissionPolicy or its binding")
	}
}

// own reads a list in Towpath's own form.
func (l *loader) own(at string, text []byte) {
	list, err := document.Guardrails(text)
	if err == nil {
		err = Check(list)
	}
	var e *errs.Error
	if errors.As(err, &e) {
		for _, f := range e.Fields {
			l.wrong(at+": "+f.Path, "%s", f.Problem)
		}
		return
	}
	for i, g := range list {
		l.add(g, fmt.Sprintf("%s: guardrails[%d]", at, i))
	}
}

func (l *loader) add(g *rendererv1.Guardrail, from string) {
	l.guardrails, l.lines[g] = append(l.guardrails, g), from
}

// names refuses two guardrails of one name.
func (l *loader) names() {
	first := map[string]*rendererv1.Guardrail{}
	for _, g := range l.guardrails {
		if other := first[g.GetName()]; other != nil {
			l.wrong(l.lines[g], "is called %q, as %s is", g.GetName(), l.lines[other])
			continue
		}
		first[g.GetName()] = g
	}
}
