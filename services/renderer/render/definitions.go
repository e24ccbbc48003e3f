package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/match"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// maxDefinitions is how many definitions of an organisation there may be.
const maxDefinitions = 5000

// choice holds the definitions that a rendering chooses from, by type.
type choice struct {
	byType map[string][]*rendererv1.ResourceDefinition
	byName map[string]*definition.Definition
}

// newChoice takes the input's definitions beside the built-in ones. A definition is compiled when it is chosen: one that is
// wrong does no harm to environments that do not use it.
func newChoice(given []*rendererv1.ResourceDefinition) (*choice, error) {
	if len(given) > maxDefinitions {
		return nil, errs.InvalidField("input.definitions", "has %d, at most %d are allowed", len(given), maxDefinitions)
	}
	c := &choice{byType: map[string][]*rendererv1.ResourceDefinition{}, byName: map[string]*definition.Definition{}}
	seen := map[string]bool{}
	for i, d := range given {
		path := fmt.Sprintf("input.definitions[%d].name", i)
		switch {
		case d.GetName() == "" || strings.HasPrefix(d.GetName(), match.BuiltinPrefix):
			return nil, errs.InvalidField(path, "%q is no name of an organisation's definition; it is resourceDefinitions/{id}/versions/{n}", d.GetName())
		case seen[d.GetName()]:
			return nil, errs.InvalidField(path, "%s is given twice", d.GetName())
		}
		seen[d.GetName()] = true
		c.byType[d.GetType()] = append(c.byType[d.GetType()], d)
	}
	for _, d := range definition.Builtins() {
		c.byType[d.Spec.GetType()] = append(c.byType[d.Spec.GetType()], d.Spec)
		c.byName[d.Spec.GetName()] = d
	}
	return c, nil
}

// find gives the definition that answers a resource.
func (r *run) find(res *resource) (*definition.Definition, error) {
	candidates := r.choice.byType[res.typ]
	spec, err := match.Find(&rendererv1.MatchRequest{
		Type: res.typ, Class: res.class, ResId: res.id,
		App: r.input.GetApplication(), Env: r.input.GetEnvironment(), EnvType: r.input.GetEnvironmentType(),
	}, candidates)
	if err != nil {
		return nil, err
	}
	if spec == nil {
		return nil, r.unanswered(res, candidates)
	}
	if d := r.choice.byName[spec.GetName()]; d != nil {
		return d, nil
	}
	d, err := definition.Compiled(spec)
	if err != nil {
		return nil, uncompiled(err, spec)
	}
	r.choice.byName[spec.GetName()] = d
	return d, nil
}

// uncompiled says that a definition which was chosen cannot be used. The catalog lets none in, so that only an older one, which
// this version refuses, comes here.
func uncompiled(err error, spec *rendererv1.ResourceDefinition) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "the resource definition %s cannot be used: %s", spec.GetName(), errs.Message(e)).
		With("definition", spec.GetName())
}

func (r *run) unanswered(res *resource, candidates []*rendererv1.ResourceDefinition) error {
	e := errs.New(errs.Precondition, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION, "").With("type", res.typ).With("resource", res.uid)
	var types, classes []string
	for typ := range r.choice.byType {
		types = append(types, typ)
	}
	for _, d := range candidates {
		if class := match.Class(d.GetClass()); !slices.Contains(classes, class) {
			classes = append(classes, class)
		}
	}
	slices.Sort(types)
	slices.Sort(classes)
	switch {
	case len(candidates) == 0:
		e.Msg = fmt.Sprintf("no resource definition answers the type %q of %s; known types: %s", res.typ, res.uid, strings.Join(types, ", "))
	case !slices.Contains(classes, res.class) && len(classes) == 1:
		e.Msg = fmt.Sprintf("no resource definition answers the class %q of %s: %s has only the class %s; remove the class", res.class, res.uid, res.typ, classes[0])
	case !slices.Contains(classes, res.class):
		e.Msg = fmt.Sprintf("no resource definition answers the class %q of %s: %s has the classes %s", res.class, res.uid, res.typ, strings.Join(classes, ", "))
	default:
		e.Msg = fmt.Sprintf("no resource definition answers %s: the criteria of none hold here; tow definition explain -e %s/%s %s tells why",
			res.uid, r.input.GetApplication(), r.input.GetEnvironment(), res.typ)
	}
	return e
}

// output gives an output of another resource to the definition of res. Beside a value that is one secret, ".secret_name" and
// ".secret_key" tell where it is, for a secretKeyRef in a manifest.
func (r *run) output(res *resource) func(definition.Reference) (any, error) {
	var output func(ref definition.Reference) (any, error)
	output = func(ref definition.Reference) (any, error) {
		if ref.Selector.All() {
			return r.outputsOfAll(res, ref, output)
		}
		uid := ref.Selector.UID(res.id)
		other := r.graph.byUID[uid]
		if other == nil || other.definition == nil {
			return nil, fmt.Errorf("%s: there is no resource %s", ref.Text, uid)
		}
		var v any
		var problem string
		if other.typ == definition.EnvironmentType {
			v, problem = r.variable(ref.Path)
		} else if v, problem = secretPart(other.outputs, ref.Path); v == nil {
			v, problem = walk(other.outputs, ref.Path, "the resource "+uid)
		}
		if problem != "" {
			return nil, fmt.Errorf("%s: %s", ref.Text, problem)
		}
		return v, nil
	}
	return output
}

// outputsOfAll gives an output of every resource that a selector means, in the order of their uids.
func (r *run) outputsOfAll(res *resource, ref definition.Reference, output func(definition.Reference) (any, error)) (any, error) {
	out := []any{}
	for _, uid := range r.graph.selected(res, ref.Selector) {
		one := ref
		one.Selector.ID = r.graph.byUID[uid].id
		v, err := output(one)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// secretPart gives name or key of the Secret that an output is; nil when that is not what is asked for.
func secretPart(outputs map[string]any, path []string) (any, string) {
	end := len(path) - 1
	if end < 1 || path[end] != "secret_name" && path[end] != "secret_key" {
		return nil, ""
	}
	v, problem := walk(outputs, path[:end], "")
	text, isText := v.(string)
	if problem != "" || !isText {
		return nil, ""
	}
	pieces := definition.SplitSecrets(text)
	switch {
	case len(pieces) != 1 || pieces[0].Secret == nil:
		return nil, ""
	case path[end] == "secret_name":
		return pieces[0].Secret.Name, ""
	default:
		return pieces[0].Secret.Key, ""
	}
}

// paramsOf gives a resource's params with everything in them replaced.
func (r *run) paramsOf(res *resource) (map[string]any, error) {
	if res.provided {
		params, err := definition.ExpandParams(res.params, r.output(res))
		if err != nil {
			return nil, located(errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "the params of %s cannot be made: %s", res.uid, err).With("resource", res.uid), res)
		}
		return params, nil
	}
	var problems kube.Problems
	params := r.expandParams(res, res.params, res.paramsPath, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	m, _ := params.(map[string]any)
	return m, nil
}

// used gives the names of the definitions that answered, sorted.
func (r *run) used() []string {
	var out []string
	for _, res := range r.graph.order {
		if name := res.definition.Spec.GetName(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// answers gives the name of the definition of each resource.
func (r *run) answers() map[string]string {
	out := make(map[string]string, len(r.graph.order))
	for _, res := range r.graph.order {
		out[res.uid] = res.definition.Spec.GetName()
	}
	return out
}
