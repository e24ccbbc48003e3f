package definition

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// CompatibilityScore is the input "compatibility" of definitions that are entries of provisioner files: their templates see what
// score-k8s shows to them, and its random functions answer.
const CompatibilityScore = "score-k8s"

// provisioner is a template provisioner of the Score community. It differs from other templates in three things: it sees the data
// of score-k8s, its random functions answer from the resource's uid, and what of that is a secret is taken out of what it makes.
type provisioner struct {
	stages []provisionerStage
}

type provisionerStage struct {
	name    string
	program *program
}

// provisionerData is what a template of a provisioner sees, with the names and types that score-k8s gives them.
type provisionerData struct {
	Guid, Uid, Type, Class, Id          string
	Params, Metadata                    map[string]any
	Init, State, Shared                 map[string]any
	SourceWorkload                      string
	WorkloadMetadata                    map[string]any
	WorkloadServices                    map[string]ProvisionerService
	Namespace, Application, Environment string
}

// ProvisionerService is a workload's service as score-k8s shows it: every workload has one, perhaps without ports, and each port
// stands under its number too where no other port has that name.
type ProvisionerService struct {
	ServiceName string
	Ports       map[string]Port
}

// newProvisioner compiles an entry of a provisioner file.
func newProvisioner(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	if c := take[string](in, "compatibility", "text"); c != CompatibilityScore {
		in.fail("inputs.compatibility", fmt.Sprintf("%.100q is none that is known; there is %s", c, CompatibilityScore))
	}
	take[string](in, "description", "text")
	take[[]any](in, "expected_outputs", "a list of names")
	d := &provisioner{}
	for _, name := range []string{"init", "state", "shared", "outputs", "manifests"} {
		text := take[string](in, name, "text: a template")
		if text == "" {
			continue
		}
		p, err := compileWith(spec.GetType()+" "+name, text, provisionerFunctions())
		if err != nil {
			in.fail("inputs."+name, problemOf(err))
			continue
		}
		d.stages = append(d.stages, provisionerStage{name, p})
	}
	if len(d.stages) == 0 && len(in.fields) == 0 {
		in.fail("inputs", "has neither outputs nor manifests, so that nothing would be made")
	}
	return d
}

// making is one run of a provisioner in one of the two worlds that made compares.
type making struct {
	data      provisionerData
	random    *randomSource
	patch     map[string]any
	outputs   map[string]any
	manifests []map[string]any
}

// make runs the provisioner twice where it has made up a secret: once as it is, and once with other secrets. What differs would
// hold a secret, or something computed from one, and anyone could compute it again from the uid.
func (d *provisioner) make(req *Request) (Result, error) {
	before, err := req.Rendering.open()
	if err != nil {
		return Result{}, failed(req, "shared", "what earlier resources share cannot be read").Because(err)
	}
	one, err := d.run(req, before.shared, newRandomSource(req, nil))
	if err != nil {
		return Result{}, err
	}
	secret := one.secretCalls()
	two := one
	if len(secret) > 0 || len(before.secrets) > 0 {
		if two, err = d.run(req, before.other, newRandomSource(req, secret)); err != nil {
			return Result{}, err
		}
	}
	found := append(before.secrets, pairs(one.random, two.random, secret)...)
	if len(found) > 0 {
		if err := takeSecrets(req, one, two, found); err != nil {
			return Result{}, err
		}
	}
	after := sharing{patched(before.shared, one.patch), patched(before.other, two.patch), found}
	next, err := after.close(one.patch)
	if err != nil {
		return Result{}, failed(req, "shared", err.Error()).Because(err)
	}
	manifests, err := withoutPlainSecrets(req, one.manifests)
	if err != nil {
		return Result{}, err
	}
	return Result{Outputs: one.outputs, Manifests: manifests, Repeatable: true, Rendering: next}, nil
}

func (d *provisioner) run(req *Request, shared map[string]any, random *randomSource) (*making, error) {
	m := &making{random: random, patch: map[string]any{}, outputs: map[string]any{}, data: provisionerData{
		Guid: req.Guid, Uid: req.Uid, Type: req.Type, Class: req.Class, Id: req.Id, Params: wholeMap(req.Params), Metadata: wholeMap(req.Metadata),
		Init: map[string]any{}, State: map[string]any{}, Shared: orMap(shared), SourceWorkload: req.SourceWorkload,
		WorkloadMetadata: wholeMap(req.WorkloadMetadata), WorkloadServices: provisionerServices(req), Namespace: req.Namespace,
		Application: req.Application, Environment: req.Environment,
	}}
	for _, s := range d.stages {
		text, err := s.program.runWith(&m.data, random.functions())
		if err != nil {
			return nil, failed(req, s.name, problemOf(err)).Because(err)
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		switch s.name {
		case "init":
			err = readMap(text, &m.data.Init)
		case "state":
			err = readMap(text, &m.data.State)
		case "shared":
			if err = readMap(text, &m.patch); err == nil {
				m.data.Shared = patched(m.data.Shared, m.patch)
			}
		case "outputs":
			err = readMap(scoreSecrets(text), &m.outputs)
		default:
			err = yaml.UnmarshalStrict([]byte(text), &m.manifests)
		}
		if err != nil {
			return nil, failed(req, s.name, "its provisioner wrote something that is not the YAML of "+s.name).Because(err)
		}
	}
	m.manifests = slices.DeleteFunc(m.manifests, func(o map[string]any) bool { return len(o) == 0 })
	for i, o := range m.manifests {
		if HasSecret(o) || strings.Contains(fmt.Sprint(o), scoreMark) {
			return nil, failed(req, "manifests", fmt.Sprintf("manifest %d holds a secret as text; use a secretKeyRef", i))
		}
	}
	return m, nil
}

// readMap reads YAML whose numbers stay whole, as score-k8s reads it: a template would print 1073741824 as a float with an exponent.
func readMap(text string, to *map[string]any) error {
	var v any
	if err := yamlv3.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	switch m := textKeys(v).(type) {
	case nil:
	case map[string]any:
		*to = m
	default:
		return fmt.Errorf("is no map")
	}
	return nil
}

// textKeys gives a value whose maps all have text as keys.
func textKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = textKeys(x)
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[fmt.Sprint(k)] = textKeys(x)
		}
		return out
	case []any:
		for i, x := range v {
			v[i] = textKeys(x)
		}
	}
	return v
}

// patched gives a map with another one put into it: maps are merged, null takes away, everything else is replaced.
func patched(base, patch map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		below, isMap := v.(map[string]any)
		before, wasMap := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = patched(before, below)
		default:
			out[k] = v
		}
	}
	return out
}

func orMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// wholeMap gives a map whose whole numbers are printed as such, never nil.
func wholeMap(m map[string]any) map[string]any {
	out, _ := whole(m).(map[string]any)
	return out
}

func whole(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = whole(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = whole(x)
		}
		return out
	}
	return v
}

// provisionerServices gives the services of all workloads as score-k8s does.
func provisionerServices(req *Request) map[string]ProvisionerService {
	out := map[string]ProvisionerService{}
	for _, w := range req.Workloads {
		out[w] = ProvisionerService{ServiceName: w, Ports: map[string]Port{}}
	}
	for w, s := range req.WorkloadServices {
		service, _ := s.(Service)
		ports := map[string]Port{}
		for name, p := range service.Ports {
			ports[name], _ = p.(Port)
		}
		for _, name := range slices.Sorted(maps.Keys(service.Ports)) {
			number := strconv.Itoa(ports[name].Port)
			if _, taken := ports[number]; !taken {
				ports[number] = ports[name]
			}
		}
		out[w] = ProvisionerService{ServiceName: service.ServiceName, Ports: ports}
	}
	return out
}

// runWith executes the template with functions of this one execution.
func (p *program) runWith(data any, functions template.FuncMap) (string, error) {
	e, err := p.execution()
	if err != nil {
		return "", err
	}
	var out limitedWriter
	if err := e.template.Funcs(functions).Execute(&out, data); err != nil {
		return "", err
	}
	text := out.text.String()
	if strings.Contains(text, "<no value>") {
		return "", failure("its provisioner uses a value that is not there: a parameter that was not given, or an output of an earlier stage")
	}
	return text, nil
}

// equal reports whether two worlds made the same.
func equal(a, b any) bool { return reflect.DeepEqual(a, b) }
