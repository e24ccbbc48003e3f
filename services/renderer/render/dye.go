package render

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/match"
	"github.com/towpath-dev/towpath/services/renderer/origin"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// What a definition makes of its params is found by trying: one of them is changed, the resource made again, and the leaves that
// become different are made of it. That is true for every driver and template, and asks nothing of who writes them.

// Limits of how often one resource is made again.
const (
	maxDyes       = 300
	maxDyesCharts = 40
)

// causes is what the leaves of a resource's objects and outputs are made of.
type causes struct {
	from    *origin.Origin
	note    string
	leaves  map[string][]*origin.Origin
	outputs map[string][]*origin.Origin
	// whole are origins by the leaf's parts, so that leaves that come from the same places share theirs.
	whole map[string]*origin.Origin
}

// dye is one input of a resource that can be changed.
type dye struct {
	from *origin.Origin
	// value is what stands there, change puts another value.
	value  any
	change func(req *definition.Request, v any)
}

// makeHere makes a resource: the one place from which that is done, also when it is done again to find out what it is made of.
func (r *run) makeHere(res *resource, req *definition.Request) (definition.Result, error) {
	return r.options.make(res.definition, req)
}

// made makes a resource, and finds out what it is made of when that is asked for.
func (r *run) made(res *resource, req *definition.Request) (definition.Result, error) {
	if r.trace == nil {
		return r.makeHere(res, req)
	}
	asked := *req
	made, err := r.makeHere(res, req)
	if err == nil {
		r.trace.dye(res, &asked, made)
	}
	return made, err
}

func (t *trace) dye(res *resource, req *definition.Request, made definition.Result) {
	spec := res.definition.Spec
	c := &causes{
		leaves: map[string][]*origin.Origin{}, outputs: map[string][]*origin.Origin{}, whole: map[string]*origin.Origin{},
		from: &origin.Origin{Source: rendererv1.Origin_SOURCE_DEFINITION, Definition: spec.GetName(), Resource: res.uid, Path: inputOf(spec)},
	}
	if !res.shared() {
		c.from.Workload = res.owner
	}
	t.made[res.uid] = c
	if made.Claim != nil && req.Known != nil {
		c.note = fmt.Sprintf("the cluster has said so, version %d", req.Known.GetVersion())
	}
	left := maxDyes
	switch spec.GetDriver() {
	case rendererv1.ResourceDefinition_DRIVER_HELM, rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE:
		left = maxDyesCharts
	}
	objects, outputs := leavesOf(unwrapped(made.Manifests)), flat(made.Outputs)
	for _, d := range t.dyes(res, req) {
		again, ok := t.remade(res, req, d, &left)
		if !ok {
			d.from.Note = "likely: the value is the same"
			guess(d, objects, c.leaves)
			guess(d, outputs, c.outputs)
			continue
		}
		differ(d.from, objects, leavesOf(unwrapped(again.Manifests)), c.leaves)
		differ(d.from, outputs, flat(again.Outputs), c.outputs)
	}
	c.rename(unwrapped(made.Manifests))
}

// inputOf names the input of a definition that makes its objects.
func inputOf(spec *rendererv1.ResourceDefinition) string {
	switch spec.GetDriver() {
	case rendererv1.ResourceDefinition_DRIVER_CLAIM:
		return "inputs.manifest"
	case rendererv1.ResourceDefinition_DRIVER_HELM:
		return "inputs.chart"
	case rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE:
		return "inputs.base"
	case rendererv1.ResourceDefinition_DRIVER_STATIC:
		return "inputs.outputs"
	}
	return "inputs.manifests"
}

// remade makes the resource with another value at the dye's place; false when no other value is taken.
func (t *trace) remade(res *resource, req *definition.Request, d dye, left *int) (definition.Result, bool) {
	for _, v := range others(d.value) {
		if *left--; *left < 0 {
			break
		}
		other := *req
		d.change(&other, v)
		if again, err := t.run.makeHere(res, &other); err == nil {
			return again, true
		}
	}
	return definition.Result{}, false
}

// others gives values that could stand in the place of one, the likeliest to be taken first.
func others(v any) []any {
	switch v := v.(type) {
	case string:
		if i := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' }); i != 0 {
			if i < 0 {
				i = len(v)
			}
			if n, err := strconv.ParseInt(v[:i], 10, 32); v != "" && err == nil {
				return []any{strconv.FormatInt(n+1, 10) + v[i:], v + "x"}
			}
		}
		switch v {
		case "true":
			return []any{"false"}
		case "false":
			return []any{"true"}
		}
		return []any{v + "x", "x" + v, "/" + strings.TrimPrefix(v, "/") + "x"}
	case bool:
		return []any{!v}
	case float64:
		return []any{v + 1, v - 1}
	case int:
		return []any{v + 1}
	}
	return nil
}

// dyes are the inputs of a resource.
func (t *trace) dyes(res *resource, req *definition.Request) []dye {
	var out []dye
	for _, leaf := range flatLeaves(req.Params) {
		out = append(out, dye{from: t.param(res, leaf.Path), value: leaf.Value, change: func(req *definition.Request, v any) {
			req.Params, _ = replaced(req.Params, leaf.Path, v).(map[string]any)
		}})
	}
	for _, ref := range res.definition.References {
		if req.Output == nil {
			break
		}
		v, err := req.Output(ref)
		if err != nil {
			continue
		}
		out = append(out, dye{from: t.referred(res, ref), value: v, change: func(req *definition.Request, v any) {
			before := req.Output
			req.Output = func(asked definition.Reference) (any, error) {
				if asked.Text == ref.Text {
					return v, nil
				}
				return before(asked)
			}
		}})
	}
	out = append(out, t.environmentDyes(res, req)...)
	return append(out, workloadDyes(res, req)...)
}

// referred gives the origin of an output that the definition itself refers to.
func (t *trace) referred(res *resource, ref definition.Reference) *origin.Origin {
	other := t.run.graph.byUID[ref.Selector.UID(res.id)]
	switch {
	case other == nil:
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_RESOURCE_OUTPUT, Path: strings.Join(ref.Path, ".")}
	case other.typ == definition.EnvironmentType:
		return t.variable(strings.Join(ref.Path, "."))
	}
	return t.output(other, ref.Path, false)
}

// param gives the origin of a parameter: the document that it is written in, or the definition that brings the resource along.
func (t *trace) param(res *resource, path []string) *origin.Origin {
	if res.provided {
		o := &origin.Origin{Source: rendererv1.Origin_SOURCE_DEFINITION, Path: "inputs.provision", Resource: res.uid}
		for _, uid := range slices.Sorted(maps.Keys(t.run.graph.byUID)) {
			if by := t.run.graph.byUID[uid]; slices.Contains(by.wants, res.uid) && by.definition != nil {
				o.Definition, o.Resource = by.definition.Spec.GetName(), by.uid
				break
			}
		}
		return o
	}
	where := res.paramsPath
	if _, after, ok := strings.Cut(where, " "); ok {
		where = after
	}
	where += "." + joinPath(path)
	if res.paramsScope == "" {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_SHARED_RESOURCE, Path: strings.TrimPrefix(where, "resources.")}
	}
	return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: res.paramsScope, Path: where}
}

// environmentDyes are the words of the environment, and its variables where the definition's texts name them.
func (t *trace) environmentDyes(res *resource, req *definition.Request) []dye {
	named := func(field string, value *string, change func(*definition.Request, string)) dye {
		return dye{from: &origin.Origin{Source: rendererv1.Origin_SOURCE_ENVIRONMENT, Path: field}, value: *value, change: func(req *definition.Request, v any) {
			s, _ := v.(string)
			change(req, s)
		}}
	}
	out := []dye{
		named("application", &req.Application, func(r *definition.Request, v string) {
			r.Application = v
			r.Instance = definition.Shorten(v+"-"+r.Environment, 63)
		}),
		named("environment", &req.Environment, func(r *definition.Request, v string) {
			r.Environment = v
			r.Instance = definition.Shorten(r.Application+"-"+v, 63)
		}),
		named("namespace", &req.Namespace, func(r *definition.Request, v string) { r.Namespace = v }),
	}
	domain := named("domain", &req.Domain, func(r *definition.Request, v string) { r.Domain = v })
	domain.from = &origin.Origin{Source: rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE, Path: "domain"}
	if t.run.input.GetDefaults().GetDomain() == "" {
		domain.from.Note = "it names none, so that it is " + DefaultDomain
	}
	out = append(out, domain)
	for _, key := range slices.Sorted(maps.Keys(req.Variables)) {
		if !res.mentions("Variables") || !res.mentions(key) {
			continue
		}
		out = append(out, dye{from: t.variable(key), value: req.Variables[key], change: func(req *definition.Request, v any) {
			req.Variables = maps.Clone(req.Variables)
			req.Variables[key], _ = v.(string)
		}})
	}
	return out
}

// mentions reports whether the texts of the resource's definition hold a word; those that are part of Towpath might.
func (r *resource) mentions(word string) bool {
	spec := r.definition.Spec
	return strings.HasPrefix(spec.GetName(), match.BuiltinPrefix) || strings.Contains(spec.GetInputs().String(), word)
}

// workloadDyes are the metadata of the workload and the resource, and the ports of services, where the definition's texts name them.
func workloadDyes(res *resource, req *definition.Request) (out []dye) {
	if res.mentions("Metadata") {
		for _, leaf := range flatLeaves(req.WorkloadMetadata) {
			out = append(out, dye{from: scorePath(res.owner, "metadata."+joinPath(leaf.Path)), value: leaf.Value, change: func(req *definition.Request, v any) {
				req.WorkloadMetadata, _ = replaced(req.WorkloadMetadata, leaf.Path, v).(map[string]any)
			}})
		}
	}
	if !res.mentions("WorkloadServices") {
		return out
	}
	for _, workload := range slices.Sorted(maps.Keys(req.WorkloadServices)) {
		service, ok := req.WorkloadServices[workload].(definition.Service)
		if !ok {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(service.Ports)) {
			port, ok := service.Ports[name].(definition.Port)
			if !ok {
				continue
			}
			out = append(out, dye{from: scorePath(workload, "service.ports."+joinPath([]string{name})+".port"), value: port.Port, change: func(req *definition.Request, v any) {
				other, changed := service, port
				changed.Port, _ = v.(int)
				other.Ports, req.WorkloadServices = maps.Clone(other.Ports), maps.Clone(req.WorkloadServices)
				other.Ports[name] = changed
				req.WorkloadServices[workload] = other
			}})
		}
	}
	return out
}

func scorePath(workload, path string) *origin.Origin {
	return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: workload, Path: path}
}

const wayEnd = "\x00"

func wayKey(path []string) string { return strings.Join(path, wayEnd) }

// unwrapped gives objects with those of a List in its place.
func unwrapped(objects []map[string]any) (out []map[string]any) {
	for _, o := range objects {
		items, ok := o["items"].([]any)
		if !ok || o["kind"] != "List" {
			out = append(out, o)
			continue
		}
		for _, item := range items {
			m, _ := item.(map[string]any)
			out = append(out, m)
		}
	}
	return out
}

// leavesOf gives the leaves of objects by index and path.
func leavesOf(objects []map[string]any) map[string]any {
	out := map[string]any{}
	for i, o := range objects {
		for key, v := range flat(o) {
			out[strconv.Itoa(i)+wayEnd+key] = v
		}
	}
	return out
}

func flatLeaves(m map[string]any) []origin.Leaf {
	if len(m) == 0 {
		return nil
	}
	_, leaves := origin.Strip(m)
	return leaves
}

func flat(m map[string]any) map[string]any {
	out := map[string]any{}
	for _, leaf := range flatLeaves(m) {
		out[wayKey(leaf.Path)] = leaf.Value
	}
	return out
}

// replaced gives a copy of a value with another one at a path.
func replaced(v any, path []string, to any) any {
	if len(path) == 0 {
		return to
	}
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		out[path[0]] = replaced(v[path[0]], path[1:], to)
		return out
	case []any:
		out := slices.Clone(v)
		if i, err := strconv.Atoi(path[0]); err == nil && i < len(v) {
			out[i] = replaced(v[i], path[1:], to)
		}
		return out
	}
	return v
}

// differ notes the leaves that another value changes.
func differ(from *origin.Origin, before, after map[string]any, into map[string][]*origin.Origin) {
	for key, v := range before {
		if other, ok := after[key]; !ok || !reflect.DeepEqual(v, other) {
			into[key] = append(into[key], from)
		}
	}
}

// minGuess is how long a text must be for equality to say something.
const minGuess = 3

// guess notes the leaves that hold the value, for an input of which no other value is taken.
func guess(d dye, leaves map[string]any, into map[string][]*origin.Origin) {
	text, isText := d.value.(string)
	for key, v := range leaves {
		if s, ok := v.(string); ok && isText && len(text) >= minGuess && strings.Contains(s, text) {
			into[key] = append(into[key], d.from)
		}
	}
}

// rename keys the leaves by the object's kind and name instead of its place in the list.
func (c *causes) rename(objects []map[string]any) {
	byPlace := c.leaves
	c.leaves = make(map[string][]*origin.Origin, len(byPlace))
	for key, parts := range byPlace {
		place, rest, _ := strings.Cut(key, wayEnd)
		i, err := strconv.Atoi(place)
		if err != nil || i >= len(objects) {
			continue
		}
		meta, _ := objects[i]["metadata"].(map[string]any)
		c.leaves[fmt.Sprint(objects[i]["kind"], "/", meta["name"], wayEnd, rest)] = parts
	}
}

// leaf gives the origin of a leaf of an object that the resource's definition made.
func (c *causes) leaf(object string, path []string) *origin.Origin {
	parts := c.leaves[object+wayEnd+wayKey(path)]
	if len(parts) == 0 {
		return c.from
	}
	key := fmt.Sprintf("%p", parts[0])
	for _, p := range parts[1:] {
		key += fmt.Sprintf(" %p", p)
	}
	if o := c.whole[key]; o != nil {
		return o
	}
	o := &origin.Origin{Source: c.from.GetSource(), Definition: c.from.GetDefinition(), Resource: c.from.GetResource(), Path: c.from.GetPath(), Workload: c.from.GetWorkload(), Parts: parts}
	c.whole[key] = o
	return o
}

// output gives what an output, with all that is in it, is made of.
func (c *causes) output(path []string) (out []*origin.Origin) {
	at := wayKey(path)
	for _, key := range slices.Sorted(maps.Keys(c.outputs)) {
		if key != at && !strings.HasPrefix(key, at+wayEnd) {
			continue
		}
		for _, o := range c.outputs[key] {
			if !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
	}
	return out
}
