package definition

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/services/renderer/match"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Definition is a compiled resource definition. It is safe for concurrent use.
type Definition struct {
	// Spec is what it was compiled from; nobody changes it.
	Spec *rendererv1.ResourceDefinition
	// References are the outputs of other resources that it needs, in the order of their texts.
	References []Reference
	// Provisions are resources that come with each one that it makes.
	Provisions []Provision
	// params are the parameters that it takes, nil for any.
	params map[string]string
	driver driver
}

// Provision is a resource that a definition adds beside the one it makes.
type Provision struct {
	Selector Selector
	// Params may hold references, see Of.
	Params map[string]any
}

// EnvironmentType is the resource type of an environment's variables. No definition can answer it.
const EnvironmentType = "environment"

// Limits of a definition.
const (
	maxInputs   = 512 << 10
	maxCriteria = 100
)

var (
	typeForm  = lazyre.New(`^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`)
	idForm    = lazyre.New(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)
	resIDForm = lazyre.New(`^[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*$`)
)

// Compile compiles a definition. Its error names every place that is wrong, as in "inputs.manifests".
func Compile(spec *rendererv1.ResourceDefinition) (*Definition, error) {
	if size := proto.Size(spec); size > maxInputs {
		return nil, errs.InvalidField("inputs", "has %d bytes, the limit is %d", size, maxInputs)
	}
	in := readInputs(spec)
	checkType(spec, in)
	checkCriteria(spec, in)
	d := &Definition{Spec: proto.CloneOf(spec)}
	d.params = takeParams(in)
	d.Provisions = takeProvisions(in)
	d.driver = newDriver(spec, in)
	if d.driver != nil {
		in.rest()
	}
	if len(in.fields) > 0 {
		return nil, errs.InvalidFields(in.fields...)
	}
	d.References = in.references
	return d, nil
}

func checkType(spec *rendererv1.ResourceDefinition, in *inputs) {
	switch {
	case spec.GetType() == "":
		in.fail("type", "is empty; give the resource type that it answers, such as postgres")
	case !typeForm.MatchString(spec.GetType()):
		in.fail("type", fmt.Sprintf("%.100q is no resource type: use 2 to 63 letters, digits and inner dashes", spec.GetType()))
	case spec.GetType() == EnvironmentType:
		in.fail("type", "environment is answered by the variables of each environment; choose another type")
	}
	if c := spec.GetClass(); c != "" && c != match.AnyClass && !typeForm.MatchString(c) {
		in.fail("class", fmt.Sprintf("%.100q is no class: use 2 to 63 letters, digits and inner dashes, leave it out for default, or write * for every class", c))
	}
}

func checkCriteria(spec *rendererv1.ResourceDefinition, in *inputs) {
	if n := len(spec.GetCriteria()); n > maxCriteria {
		in.fail("criteria", fmt.Sprintf("has %d entries, at most %d are allowed", n, maxCriteria))
		return
	}
	seen := map[string]int{}
	for i, c := range spec.GetCriteria() {
		path := fmt.Sprintf("criteria[%d]", i)
		for _, f := range []struct {
			name, value string
			form        *lazyre.Regexp
		}{{"app", c.GetApp(), idForm}, {"env", c.GetEnv(), idForm}, {"env_type", c.GetEnvType(), idForm}, {"res_id", c.GetResId(), resIDForm}} {
			if f.value != "" && !f.form.MatchString(f.value) {
				in.fail(path+"."+f.name, fmt.Sprintf("%.100q is no id; nothing could ever have it", f.value))
			}
		}
		if first, twice := seen[match.Text(c)]; twice {
			in.fail(path, fmt.Sprintf("is the same as criteria[%d]", first))
		}
		seen[match.Text(c)] = i
	}
}

// takeParams reads which parameters there are. Without a list, and with open, any is taken.
func takeParams(in *inputs) map[string]string {
	given := take[map[string]any](in, "params", "a map of parameters to what they mean")
	open := take[bool](in, "open", "true or false")
	if given == nil || open {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text, ok := given[name].(string)
		if !ok {
			in.fail("inputs.params."+name, "is not text that says what the parameter means")
		}
		out[name] = text
	}
	return out
}

func takeProvisions(in *inputs) (out []Provision) {
	given := take[map[string]any](in, "provision", "a map of resources such as 'dns' to what they get")
	for _, key := range slices.Sorted(maps.Keys(given)) {
		path := "inputs.provision." + key
		selector, err := ParseSelector(key)
		if err != nil {
			in.fail(path, err.Error())
			continue
		}
		p := Provision{Selector: selector}
		body, ok := given[key].(map[string]any)
		params, isMap := body["params"].(map[string]any)
		switch {
		case given[key] == nil:
		case !ok || len(body) > 1 || len(body) == 1 && !isMap:
			in.fail(path, "is not {params: {…}} or {}")
		default:
			p.Params = params
			in.find(path+".params", params) // for what is wrong with them; see Of
		}
		out = append(out, p)
	}
	return out
}

// compiled keeps what was compiled last, by content: the same definitions are used by every environment.
var compiled struct {
	sync.Mutex
	byContent map[string]*Definition
}

// maxCompiled is how many compiled definitions are kept.
const maxCompiled = 1000

// Compiled gives the compiled definition, compiling it when it is not known yet.
func Compiled(spec *rendererv1.ResourceDefinition) (*Definition, error) {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil, errs.InvalidField("definition", "cannot be read").Because(err)
	}
	compiled.Lock()
	d := compiled.byContent[string(content)]
	compiled.Unlock()
	if d != nil {
		return d, nil
	}
	if d, err = Compile(spec); err != nil {
		return nil, err
	}
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.byContent == nil || len(compiled.byContent) >= maxCompiled {
		compiled.byContent = map[string]*Definition{}
	}
	compiled.byContent[string(content)] = d
	return d, nil
}

// Make makes a resource. A template that fails and a parameter that means nothing are REASON_DEFINITION_FAILED.
func (d *Definition) Make(req *Request) (Result, error) {
	result, err := d.make(req)
	var e *errs.Error
	if errors.As(err, &e) {
		return result, e.With("definition", d.Spec.GetName())
	}
	return result, err
}

func (d *Definition) make(req *Request) (Result, error) {
	if d.params != nil {
		if err := (&definition{file: file{Type: d.Spec.GetType(), Params: d.params}}).checkParams(req); err != nil {
			return Result{}, err
		}
	}
	result, err := d.driver.make(req)
	if err == nil && measure(reflect.ValueOf(result.Outputs), maxArguments, 0) < 0 {
		return Result{}, failed(req, "outputs", fmt.Sprintf("its outputs are larger than %d bytes", maxArguments))
	}
	return result, err
}

// Of gives the params for the resource that this comes with, whose id is own. Every reference in them names its id then, so that
// two definitions which provision the same resource can be compared.
func (p Provision) Of(own string) map[string]any {
	v, _ := absolute(p.Params, own).(map[string]any)
	return v
}

// ReferencesIn gives the references in params that Of gave.
func ReferencesIn(params map[string]any) []Reference { return (&inputs{}).find("", params) }

// ExpandParams replaces the references in params that Of gave.
func ExpandParams(params map[string]any, output func(Reference) (any, error)) (map[string]any, error) {
	v, err := newExpander(ReferencesIn(params), output).value(params)
	m, _ := v.(map[string]any)
	return m, err
}

// builtins gives the definitions that are part of Towpath, compiled, by name.
var builtins = sync.OnceValue(func() []*Definition {
	set := Builtin()
	var out []*Definition
	for _, typ := range set.Types() {
		d := set.byType[typ]
		out = append(out, &Definition{Spec: builtinSpec(typ), driver: checked{d}, References: d.refer()})
	}
	return out
})

// Builtins gives the definitions that are part of Towpath, by name.
func Builtins() []*Definition { return slices.Clone(builtins()) }

// checked checks params as the files of the built-in definitions list them.
type checked struct{ *definition }

func (c checked) make(req *Request) (Result, error) {
	if err := c.checkParams(req); err != nil {
		return Result{}, err
	}
	return c.definition.make(req)
}
