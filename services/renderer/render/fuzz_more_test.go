package render_test

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// fuzzPatience is longer than any rendering of a fuzzed input may take: a second, and more of it on a machine that fuzzes.
	fuzzPatience = 5 * time.Second
	// fuzzMemory is what the whole process may have.
	fuzzMemory = 256 << 20
)

// Whatever a document, a definition, an overlay and a variable say together, Render gives a typed error about the input or the same
// bundle twice, in time.
func FuzzRenderWithDefinitions(f *testing.F) {
	debug.SetMemoryLimit(fuzzMemory)
	const document = head + "containers: {main: {image: i, variables: {A: '${resources.it.x}', B: '${resources.env.V}'}}}\nresources: {it: {type: it, params: {a: b}}, env: {type: environment}}\n"
	for _, definition := range []string{
		"type: it\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}",
		"type: it\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: {{ .Params.a }}', manifests: '- {apiVersion: v1, kind: ConfigMap, metadata: {name: {{ .Name }}}}'}",
		"type: it\ndriver: DRIVER_TEMPLATE\ninputs: {provision: {'it#other': {params: {a: 1}}}, outputs: 'x: ${resources[''it#other''].outputs.x}'}",
		"type: it\ndriver: DRIVER_TEMPLATE\ninputs: {init: '{{ range until 1000 }}- a\n{{ end }}', outputs: 'x: {{ repeat 1000 .Init | toJson }}'}",
		"type: it\ndriver: DRIVER_CLAIM\ninputs: {manifest: '{apiVersion: a/v1, kind: K, metadata: {name: {{ .Name }}}}', outputs: {x: status.x}}",
		sharedServer,
	} {
		f.Add([]byte(document), []byte(definition), "/workloads/app/containers/main/image", `"other"`, "value")
	}
	f.Add([]byte(document), []byte("a: &a [*a]"), "/workloads/app", `{"a":{"b":[1,null]}}`, "${resources.it.x}")
	f.Add([]byte(document), []byte("type: it"), "/resources/new", `{"type":"volume","params":{"size":"${metadata.name}"}}`, "(towpath-secret:a/b)")
	f.Fuzz(func(t *testing.T, document, definitionText []byte, path, value, variable string) {
		in := fuzzedInput(document, definitionText, path, value, variable)
		if in == nil {
			return
		}
		start := time.Now()
		first, err := render.Render(in)
		if took := time.Since(start); took > fuzzPatience {
			t.Fatalf("rendering took %s", took)
		}
		if err != nil {
			var typed *errs.Error
			if !errors.As(err, &typed) || typed.Kind != errs.Invalid && typed.Kind != errs.Precondition {
				t.Fatalf("not an error about the input: %v", err)
			}
			return
		}
		second, err := render.Render(proto.CloneOf(in))
		if err != nil || second.GetBundle().GetTree() != first.GetBundle().GetTree() {
			t.Fatalf("the second rendering differs: %v", err)
		}
		checkFuzzed(t, first.GetBundle().GetFiles())
	})
}

// fuzzedInput is nil when the document is no Score file or the definition none that a catalog would let in.
func fuzzedInput(document, definitionText []byte, path, value, variable string) *rendererv1.RenderInput {
	workloads, err := score.LoadAll([]*rendererv1.ScoreFile{{Content: document, Image: "x"}})
	if err != nil {
		return nil
	}
	in := &rendererv1.RenderInput{Application: "fuzz", Environment: "dev", Namespace: "fuzz-dev", Workloads: workloads,
		Variables: map[string]string{"V": strings.ToValidUTF8(variable, "")}}
	if asJSON, err := yaml.YAMLToJSON(definitionText); err == nil {
		d := &rendererv1.ResourceDefinition{}
		if protojson.Unmarshal(asJSON, d) == nil {
			d.Name = "resourceDefinitions/fuzzed/versions/1"
			if _, err := definition.Compile(d); err == nil {
				in.Definitions = append(in.Definitions, d)
			}
		}
	}
	v := &structpb.Value{}
	if path != "" && protojson.Unmarshal([]byte(value), v) == nil {
		in.Overlay = append(in.Overlay, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: strings.ToValidUTF8(path, ""), Value: v})
	}
	return in
}

func checkFuzzed(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		var object struct {
			Kind     string
			Metadata struct{ Namespace string }
		}
		if err := yaml.Unmarshal(content, &object); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, content)
		}
		if object.Metadata.Namespace != "fuzz-dev" || strings.ToLower(fmt.Sprint(object.Kind, "-")) != name[:len(object.Kind)+1] {
			t.Fatalf("%s:\n%s", name, content)
		}
	}
}
