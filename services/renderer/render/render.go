// Package render makes the manifests of one environment. It is pure: no ctx, no I/O, no clock, nothing random. The same input
// gives the same bytes, on every machine and at any time, and with them the same bundle id.
//
// The bundle is flat: one object per file, named <kind>-<name>.yaml in lower case, so that every sync engine takes the folder
// as it is. The steps are: overlay, validation, resource graph, resources in order, workloads, bundle. Nothing partial ever
// leaves: with pruning on, a missing file would delete what runs.
package render

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/score"
	"github.com/towpath-dev/towpath/services/renderer/secretsource"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Version is the renderer's version. It changes with every change that can give other bytes for the same input, because plans
// pin it.
const Version = "2"

// MaxInput is the largest input, in bytes of its protobuf encoding.
const MaxInput = score.MaxTotal

// MaxBundle is the largest bundle, in bytes of all its files: 10,000 workloads with a Deployment, a Service and a ConfigMap each have
// 32 million. rpc.MaxAnswerBytes must be more, because an answer carries one.
const MaxBundle = 64 << 20

// maxOverlay is how many operations an overlay may have; each copies what it changes.
const maxOverlay = 2000

// DefaultDomain is where host names are made when the environment's type names no domain.
const DefaultDomain = "localhost"

// Render makes the bundle. Its errors name the place that is wrong: an overlay operation by its pointer, a field of a
// workload by its path, a resource by its uid.
func Render(input *rendererv1.RenderInput) (*rendererv1.RenderResponse, error) {
	return With(input, Options{})
}

// start reads the input and completes its graph; nothing is made yet. t gets to know where values come from unless it is nil.
func start(input *rendererv1.RenderInput, opts Options, claimsOnly bool, t *trace) (*run, error) {
	if err := checkInput(input); err != nil {
		return nil, err
	}
	doc, err := document(input)
	if err != nil {
		return nil, err
	}
	set, err := read(doc)
	if err != nil {
		return nil, err
	}
	r := &run{input: input, options: opts, set: set, claimsOnly: claimsOnly, place: kube.Place{
		Application: input.GetApplication(), Environment: input.GetEnvironment(), Namespace: input.GetNamespace(),
		Instance: definition.Shorten(input.GetApplication()+"-"+input.GetEnvironment(), 63),
		Labels:   input.GetDefaults().GetLabels(),
	}}
	t.follow(r, doc)
	if r.files.patches, err = newPatches(input.GetOverlay()); err != nil {
		return nil, err
	}
	r.files.kinds, r.files.outside = newKinds(input.GetDefaults().GetAllowedKinds()), newOutside(input)
	if r.secrets, err = secretsource.New(input.GetDefaults().GetSecrets(), input.GetNamespace(), input.GetSecretVariables()); err != nil {
		return nil, err
	}
	if r.choice, err = newChoice(input.GetDefinitions()); err != nil {
		return nil, err
	}
	if r.graph, err = newGraph(set, r.find); err != nil {
		return nil, err
	}
	return r, nil
}

func render(input *rendererv1.RenderInput, opts Options, claimsOnly bool) (*rendererv1.RenderResponse, error) {
	return traced(input, opts, claimsOnly, nil)
}

// traced renders, and lets t know where values come from unless it is nil.
func traced(input *rendererv1.RenderInput, opts Options, claimsOnly bool, t *trace) (*rendererv1.RenderResponse, error) {
	r, err := start(input, opts, claimsOnly, t)
	if err != nil {
		return nil, err
	}
	if err := r.resources(); err != nil {
		return nil, err
	}
	if !claimsOnly {
		if err := r.workloads(); err != nil {
			return nil, err
		}
		if err := r.secretVariables(); err != nil {
			return nil, err
		}
		if err := r.claims.err(); err != nil { // after what else is wrong, which would be known too late else
			return nil, err
		}
	}
	if err := errors.Join(r.rest(), r.files.withoutGone(&r.claims)); err != nil {
		return nil, err
	}
	bundle, err := r.files.bundle()
	if err != nil {
		return nil, err
	}
	return &rendererv1.RenderResponse{Bundle: bundle, Warnings: append(r.warnings, r.files.notes...), RendererVersion: Version, DefinitionsUsed: r.used(), Answers: r.answers(),
		MissingOutputs: r.claims.missing, Claims: r.claims.refs}, nil
}

// set is the read document: what is to be rendered.
type set struct {
	workloads map[string]map[string]any
	resources map[string]map[string]any
}

// run is one rendering.
type run struct {
	input    *rendererv1.RenderInput
	options  Options
	set      *set
	place    kube.Place
	choice   *choice
	graph    *graph
	files    files
	warnings []string
	services map[string]any
	names    []string
	claims   claims
	// trace is nil unless somebody asks where values come from.
	trace   *trace
	routes  routes
	secrets *secretsource.Source
	// shared is what definitions share, in the order of the graph.
	shared *definition.Rendering
	// shownVariables are the outputs of every resource of type environment, once the first is made.
	shownVariables map[string]any
	// claimsOnly leaves everything but claims out of the bundle.
	claimsOnly bool
	// unresolved counts placeholders that mean nothing, expanded the bytes that placeholders were replaced by: limits for both
	// keep a small input from making much work.
	unresolved, expanded int
}

// checkInput refuses input whose size or names would fail later and less clearly.
func checkInput(input *rendererv1.RenderInput) error {
	if size := proto.Size(input) - archives(input); size > MaxInput {
		e := errs.InvalidField("input", "is %d bytes, the limit is %d: Score documents are configuration; move large files into the image or a volume", size, MaxInput)
		e.Reason = errorsv1.Reason_REASON_TOO_LARGE
		return e.With("limit", fmt.Sprint(MaxInput)).With("field", "input")
	}
	if err := checkArchives(input); err != nil {
		return err
	}
	var fields []errs.Field
	if n := len(input.GetOverlay()); n > maxOverlay {
		fields = append(fields, errs.Field{Path: "input.overlay", Problem: fmt.Sprintf("has %d operations, at most %d are allowed", n, maxOverlay)})
	}
	for _, f := range []struct{ name, value string }{
		{"input.application", input.GetApplication()}, {"input.environment", input.GetEnvironment()}, {"input.namespace", input.GetNamespace()},
	} {
		if !dnsLabel.MatchString(f.value) {
			fields = append(fields, errs.Field{Path: f.name, Problem: fmt.Sprintf("%q is not valid: expected 1 to 63 lower-case letters, digits and inner dashes", f.value)})
		}
	}
	if n := input.GetDefaults().GetReplicas(); n < 0 {
		fields = append(fields, errs.Field{Path: "input.defaults.replicas", Problem: "is negative: expected 0 (which means 1) or more"})
	}
	if d := input.GetDefaults().GetDomain(); d != "" && !domain.MatchString(d) {
		fields = append(fields, errs.Field{Path: "input.defaults.domain", Problem: fmt.Sprintf("%q is not a domain name, such as apps.example.com", d)})
	}
	fields = append(fields, kube.CheckDefaults("input.defaults.", input.GetDefaults())...)
	fields = append(fields, checkKinds(input.GetDefaults().GetAllowedKinds())...)
	fields = append(fields, checkLabels(input.GetDefaults().GetLabels())...)
	fields = append(fields, checkVariables(input.GetVariables())...)
	fields = append(fields, checkSecretVariables(input)...)
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}

// resources makes every resource in the order of the graph.
func (r *run) resources() error {
	r.services, r.names = map[string]any{}, slices.Sorted(maps.Keys(r.set.workloads))
	for name, doc := range r.set.workloads {
		s := definition.Service{ServiceName: kube.ServiceName(name), Ports: map[string]any{}}
		for _, p := range kube.Ports(doc) {
			s.Ports[p.Name] = p
		}
		if len(s.Ports) > 0 {
			r.services[name] = s
		}
	}
	for _, res := range r.graph.order {
		if err := r.resource(res); err != nil {
			return err
		}
	}
	r.claims.sort()
	return nil
}

func (r *run) resource(res *resource) error {
	if r.blocks(res) {
		return nil
	}
	expanded, err := r.paramsOf(res)
	if err != nil {
		return err
	}
	plain := res.typ == definition.EnvironmentType && len(expanded) == 0
	if plain && r.shownVariables != nil && r.trace == nil { // the same for everybody, and asked for by every workload
		res.outputs = r.shownVariables
		return nil
	}
	made, err := r.made(res, &definition.Request{
		Uid: res.uid, Guid: guid(res.uid), Type: res.typ, Class: res.class, Id: res.id,
		Name: definition.Label(res.typ + "-" + res.id), Params: expanded, Metadata: res.metadata,
		SourceWorkload: res.owner, WorkloadMetadata: r.metadata(res.owner), WorkloadServices: r.services,
		Application: r.place.Application, Environment: r.place.Environment, EnvironmentType: r.input.GetEnvironmentType(),
		Namespace: r.place.Namespace, Instance: r.place.Instance, Domain: r.domain(), Variables: r.input.GetVariables(),
		Output: r.output(res), Known: r.input.GetOutputs()[res.uid], Workloads: r.names, Rendering: r.shared,
	})
	if err != nil {
		return located(err, res)
	}
	res.outputs = made.Outputs
	for _, w := range made.Warnings {
		r.warnings = append(r.warnings, res.uid+": "+w)
	}
	if made.Rendering != nil {
		r.shared = made.Rendering
	}
	if plain {
		r.shownVariables = made.Outputs
	}
	if r.claimsOnly && made.Claim == nil {
		return nil
	}
	for _, m := range made.Manifests {
		if err := r.addManifest(m, made.Repeatable, res); err != nil {
			return err
		}
		r.routes.take(m)
	}
	r.claims.take(made, res, &r.files)
	return nil
}

func (r *run) domain() string {
	if d := r.input.GetDefaults().GetDomain(); d != "" {
		return d
	}
	return DefaultDomain
}

func (r *run) metadata(workload string) map[string]any {
	m, _ := r.set.workloads[workload]["metadata"].(map[string]any)
	return m
}

// workloads makes the objects of every workload, and one error of everything that is wrong with all of them.
func (r *run) workloads() error {
	var problems kube.Problems
	for _, name := range slices.Sorted(maps.Keys(r.set.workloads)) {
		scope := r.graph.scopes[name]
		objects, warnings, wrong := kube.Build(kube.Input{
			Workload: name, Doc: r.set.workloads[name], Place: r.place, Defaults: r.input.GetDefaults(),
			Expand: func(text string) (string, error) { return r.expand(text, scope) },
			Volume: r.volume, Routes: r.routes.to(name, r.set.workloads[name]), Trace: r.trace.marks(), Parts: r.trace.partsIn(name),
			SecretFiles: r.secrets.Files, SecretVersion: r.secrets.Version,
		})
		r.warnings = append(r.warnings, warnings...)
		problems = append(problems, wrong...)
		if len(problems) > 0 {
			continue // nothing will be written; the other workloads' problems are still wanted
		}
		for _, o := range objects {
			if err := r.files.add(o, name); err != nil {
				return err
			}
		}
	}
	if err := problems.Err(); err != nil {
		return err
	}
	return r.environment()
}

// volume gives what stands behind a volume source: the outputs of the resource whose opaque id it is.
func (r *run) volume(source string) (kube.Volume, bool) {
	res := r.graph.byUID[source]
	if res == nil {
		return kube.Volume{}, false
	}
	if r.claims.blocked[res.uid] { // what comes out is not used
		return kube.Volume{Name: definition.Shorten("vol-"+res.id, 63), Source: map[string]any{"emptyDir": map[string]any{}}}, true
	}
	if claim, each := res.outputs["claimSpec"].(map[string]any); each {
		return kube.Volume{Name: definition.Shorten("vol-"+res.id, 63), Claim: claim}, true
	}
	spec, ok := res.outputs["source"].(map[string]any)
	if !ok {
		return kube.Volume{}, false
	}
	v := kube.Volume{Name: definition.Shorten("vol-"+res.id, 63), Source: spec}
	if modes, ok := res.outputs["accessModes"].([]any); ok {
		v.Exclusive = !slices.Contains(modes, any("ReadWriteMany")) && !slices.Contains(modes, any("ReadOnlyMany"))
	}
	return v, true
}

// asMap gives a Struct as a plain map; a nil Struct is an empty one.
func asMap(s *structpb.Struct) map[string]any {
	if s == nil {
		return map[string]any{}
	}
	return s.AsMap()
}
