package definition

import (
	"fmt"
	"maps"
	"slices"

	"github.com/towpath-dev/towpath/internal/errs"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// driver makes resources from the inputs of one compiled definition. It is pure, safe for concurrent use, and gets a request
// whose params were checked.
type driver interface {
	make(req *Request) (Result, error)
}

// newDriver compiles the inputs of a definition. in notes what is wrong with them.
func newDriver(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	switch spec.GetDriver() {
	case rendererv1.ResourceDefinition_DRIVER_TEMPLATE:
		if in.values["compatibility"] != nil {
			return newProvisioner(spec, in)
		}
		return newTemplate(spec, in)
	case rendererv1.ResourceDefinition_DRIVER_STATIC:
		return newStatic(in)
	case rendererv1.ResourceDefinition_DRIVER_CLAIM:
		return newClaim(spec, in)
	default:
		in.fail("driver", fmt.Sprintf("%s is none that makes resources here: use DRIVER_TEMPLATE, DRIVER_STATIC or DRIVER_CLAIM", spec.GetDriver()))
		return nil
	}
}

// inputs reads a definition's inputs, each key once, and collects what is wrong with them.
type inputs struct {
	values map[string]any
	taken  map[string]bool
	// references are those that making the resource needs.
	references []Reference
	fields     []errs.Field
}

func readInputs(spec *rendererv1.ResourceDefinition) *inputs {
	return &inputs{values: spec.GetInputs().AsMap(), taken: map[string]bool{}}
}

// fail notes a problem at a path of the definition.
func (in *inputs) fail(path, problem string) {
	in.fields = append(in.fields, errs.Field{Path: path, Problem: problem})
}

// take gives an input of a type, its zero value when it is not given.
func take[T any](in *inputs, key, expected string) (v T) {
	in.taken[key] = true
	given, ok := in.values[key]
	if !ok || given == nil {
		return v
	}
	v, ok = given.(T)
	if !ok {
		in.fail("inputs."+key, "is not "+expected)
	}
	return v
}

// refer finds the references in the strings of a value, and notes that making the resource needs them.
func (in *inputs) refer(path string, v any) []Reference {
	out := in.find(path, v)
	in.references = append(in.references, out...)
	return out
}

// find gives the references in the strings of a value.
func (in *inputs) find(path string, v any) (out []Reference) {
	switch v := v.(type) {
	case string:
		found, err := references(v)
		if err != nil {
			in.fail(path, err.Error())
		}
		out = found
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, in.find(path+"."+k, v[k])...)
		}
	case []any:
		for i, x := range v {
			out = append(out, in.find(fmt.Sprintf("%s[%d]", path, i), x)...)
		}
	}
	return out
}

// rest reports the inputs that nobody took.
func (in *inputs) rest() {
	for _, key := range slices.Sorted(maps.Keys(in.values)) {
		if !in.taken[key] {
			in.fail("inputs."+key, "means nothing to this driver; it takes "+list(in.taken))
		}
	}
}

func list(set map[string]bool) string {
	out := ""
	for i, k := range slices.Sorted(maps.Keys(set)) {
		if i > 0 {
			out += ", "
		}
		out += k
	}
	return out
}

// newTemplate compiles the driver of Go templates: the stages init, state, outputs and manifests.
func newTemplate(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	d := &definition{file: file{Type: spec.GetType()}}
	d.Init, d.State = take[string](in, "init", "text"), take[string](in, "state", "text")
	d.Outputs, d.Manifests = take[string](in, "outputs", "text: a template that writes a map"), take[string](in, "manifests", "text: a template that writes a list of objects")
	if d.Outputs == "" && d.Manifests == "" {
		in.fail("inputs", "has neither outputs nor manifests, so that nothing would be made")
	}
	for _, stage := range d.stages() {
		d.references = append(d.references, in.refer("inputs."+stage.name, stage.text)...)
		if err := stage.compile(spec.GetType()); err != nil {
			in.fail("inputs."+stage.name, problemOf(err))
		}
	}
	return d
}

// static has fixed outputs.
type static struct {
	outputs    map[string]any
	references []Reference
}

// newStatic compiles the driver of fixed outputs. Secrets are named by Secret and key: no definition holds a secret value.
func newStatic(in *inputs) driver {
	d := &static{outputs: map[string]any{}}
	for name, v := range take[map[string]any](in, "outputs", "a map") {
		d.outputs[name] = v
	}
	d.references = in.refer("inputs.outputs", d.outputs)
	secrets := take[map[string]any](in, "secrets", "a map of outputs to {name, key} of a Secret in the environment's namespace")
	for _, output := range slices.Sorted(maps.Keys(secrets)) {
		path := "inputs.secrets." + output
		ref, _ := secrets[output].(map[string]any)
		name, _ := ref["name"].(string)
		key, _ := ref["key"].(string)
		text, err := EncodeSecret(name, key)
		switch {
		case err != nil || len(ref) != 2:
			in.fail(path, "is not {name: NAME-OF-A-SECRET, key: KEY}")
		case d.outputs[output] != nil:
			in.fail(path, "is among the outputs too; give it once")
		default:
			d.outputs[output] = text
		}
	}
	if len(d.outputs) == 0 && len(in.fields) == 0 {
		in.fail("inputs.outputs", "is empty: a static definition is its outputs")
	}
	return d
}

func (d *static) make(req *Request) (Result, error) {
	out, err := newExpander(d.references, req.Output).value(d.outputs)
	if err != nil {
		return Result{}, failed(req, "outputs", err.Error()).Because(err)
	}
	m, _ := out.(map[string]any)
	return Result{Outputs: m}, nil
}
