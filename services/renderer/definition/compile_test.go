package definition_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func spec(t testing.TB, text string) *rendererv1.ResourceDefinition {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &rendererv1.ResourceDefinition{}
	if err := protojson.Unmarshal(asJSON, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCompileNamesEveryWrongPlace(t *testing.T) {
	for text, want := range map[string]string{
		"type: ''\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}":             "type is empty",
		"type: a_b\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}":            `type "a_b" is no resource type`,
		"type: environment\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}":    "type environment is answered by the variables",
		"type: aa\nclass: b_c\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}": `class "b_c" is no class`,
		"type: aa":                        "driver DRIVER_UNSPECIFIED is none that makes resources here",
		"type: aa\ndriver: DRIVER_STATIC": "inputs.outputs is empty",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: x}":                                                "inputs.outputs is not a map",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}, manifests: y}":                             "inputs.manifests means nothing to this driver; it takes open, outputs, params, provision, secrets",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {secrets: {p: {name: S, key: k}}}":                           "inputs.secrets.p is not {name: NAME-OF-A-SECRET, key: KEY}",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {p: 1}, secrets: {p: {name: s, key: k}}}":          "inputs.secrets.p is among the outputs too",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: [\"${resources['A b'].outputs.x}\"]}}":         `inputs.outputs.x[0] "A b" names no resource`,
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: \"${resources['bb'].host}\"}}":                 "inputs.outputs.x a reference is written ${resources['type.class#id'].outputs.NAME}",
		"type: aa\ndriver: DRIVER_TEMPLATE":                                                                    "inputs has neither outputs nor manifests",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: {x: 1}}":                                         "inputs.outputs is not text: a template that writes a map",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: {{ now }}'}":                                 `inputs.outputs the function "now" depends on the clock`,
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {manifests: \"a\\nb: {{ if }}\"}":                          "inputs.manifests aa manifests:2: missing value for if",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: 1', params: [a]}":                            "inputs.params is not a map of parameters",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: 1', params: {a: 1}}":                         "inputs.params.a is not text",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: 1', open: 1}":                                "inputs.open is not true or false",
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: 1', provision: {'#x': {}}}":                  `inputs.provision.#x "#x" names no resource`,
		"type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: 1', provision: {bb: {x: 1}}}":                "inputs.provision.bb is not {params: {…}} or {}",
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}\ncriteria: [{app: A}]":                     `criteria[0].app "A" is no id`,
		"type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}}\ncriteria: [{app: shop}, {}, {app: shop}]": "criteria[2] is the same as criteria[0]",
	} {
		_, err := definition.Compile(spec(t, text))
		var e *errs.Error
		if !errors.As(err, &e) || e.Reason != errorsv1.Reason_REASON_INVALID_FIELD || len(e.Fields) == 0 {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.Fields[0].Path + " " + e.Fields[0].Problem; !strings.HasPrefix(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
	_, err := definition.Compile(spec(t, "type: a_b\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: '{{', manifests: '{{', x: 1}"))
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Fields) != 4 {
		t.Errorf("not all problems at once: %v", err)
	}
}

func TestACompiledDefinitionIsKept(t *testing.T) {
	text := "type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'x: {{ .State.num }}', state: 'num: {{ .Init.num }}', init: 'num: 7'}"
	first, err := definition.Compiled(spec(t, text))
	if err != nil {
		t.Fatal(err)
	}
	again, err := definition.Compiled(spec(t, text))
	if err != nil || first != again {
		t.Errorf("compiled twice (%v)", err)
	}
	got, err := first.Make(&definition.Request{Uid: "aa.default#x", Type: "aa", Class: "default", Id: "x", Params: map[string]any{"any": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"x": 7.0}, got.Outputs); diff != "" {
		t.Error(diff)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("x: {{ .Id }}", "a: ${resources['bb.cc#dd'].outputs.x}", "dns.default#x")
	f.Add("{{ range until 3 }}{{ end }}", "${resources['", "#")
	f.Fuzz(func(t *testing.T, outputs, manifests, selector string) {
		if strings.ToValidUTF8(outputs+manifests+selector, "") != outputs+manifests+selector {
			return
		}
		d := spec(t, "type: aa\ndriver: DRIVER_TEMPLATE\ninputs: {provision: {}}")
		in := d.GetInputs().GetFields()
		in["outputs"], in["manifests"] = structpb.NewStringValue(outputs), structpb.NewStringValue(manifests)
		in["provision"].GetStructValue().Fields = map[string]*structpb.Value{selector: structpb.NewNullValue()}
		if compiled, err := definition.Compile(d); err == nil {
			_, _ = compiled.Make(&definition.Request{Uid: "aa.default#x", Type: "aa", Class: "default", Id: "x",
				Output: func(definition.Reference) (any, error) { return "v", nil }})
		} else if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD {
			t.Errorf("%v", err)
		}
	})
}
