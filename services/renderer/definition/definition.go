// Package definition answers what a workload asks for: a resource type (postgres, route, volume…) becomes manifests and
// outputs. The definitions are YAML files with Go templates (driver "template"), embedded in this package. It is pure: a
// template sees its request and nothing else, and cannot run without end.
//
// # Secrets
//
// No secret value ever enters rendering. A definition that needs a password makes a Secret without data and with an
// annotation that says what belongs into it:
//
//	metadata:
//	  annotations:
//	    towpath.dev/generate: "password:32"
//
// The value is a comma-separated list of key:length. The native sync engine fills a key that the Secret in the cluster does
// not have with that many random characters out of A-Z, a-z and 0-9, once, and never changes it again; drift does not
// compare keys so annotated. Engines that do not know the annotation leave the Secret empty, and pods that need it wait.
// Outputs refer to the key with encodeSecretRef; a workload's variable becomes a secretKeyRef.
package definition

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// GenerateAnnotation is put on a Secret whose values the native sync engine makes: a comma-separated list of key:length.
const GenerateAnnotation = secrets.GenerateAnnotation

//go:embed builtin/*.yaml
var builtinFiles embed.FS

// Port is a port of a workload's service.
type Port struct {
	Name       string
	Port       int
	TargetPort int
	Protocol   string
}

// Service is a workload's service. Its ports are Port values by name; the map is one of any because template functions such
// as keys take no other.
type Service struct {
	ServiceName string
	Ports       map[string]any
}

// Request is what a template sees of the resource it makes and of where it makes it.
type Request struct {
	// Uid is type.class#id; Guid is a stable value derived from it.
	Uid, Guid, Type, Class, Id string
	// Name is a DNS label for the objects of this resource.
	Name string
	// Params and Metadata are the workload's, placeholders expanded.
	Params, Metadata map[string]any
	// SourceWorkload declared the resource first; empty for a resource of the set itself.
	SourceWorkload   string
	WorkloadMetadata map[string]any
	// WorkloadServices are Service values by workload, those that have one.
	WorkloadServices map[string]any
	Application      string
	Environment      string
	EnvironmentType  string
	Namespace        string
	// Instance is the value of the label app.kubernetes.io/instance.
	Instance string
	// Domain is where host names are made.
	Domain string
	// Variables are the environment's.
	Variables map[string]string
	// Init, State and Shared are what earlier stages gave. Shared is always empty, and State too until its stage: rendering
	// keeps no state.
	Init, State, Shared map[string]any
	// Output gives an output of another resource. Templates cannot call it: it would hide what they need.
	Output func(Reference) (any, error)
	// Workloads are the names of all workloads. Rendering is what earlier resources of the rendering have left; nil for nothing.
	Workloads []string
	Rendering *Rendering
	// Known is what the cluster has said of the resource's claim, nil for nothing. No template sees it.
	Known *rendererv1.ResourceOutputs
	// engines are those of the process; no template sees them.
	engines Engines
}

// Result is what a definition makes.
type Result struct {
	// Outputs may hold secret references in their strings (see SplitSecrets).
	Outputs map[string]any
	// Manifests are Kubernetes objects without the labels and the namespace that every object gets.
	Manifests []map[string]any
	// Claim tells where the outputs come from when the one manifest is a claim. Missing says that not all are known yet; those
	// then have a text in their place that must not be used.
	Claim   *rendererv1.ClaimRef
	Missing bool
	// Repeatable says that several resources may make the same object, which is there once then.
	Repeatable bool
	// Rendering is what later resources of the rendering get; nil for what this one got.
	Rendering *Rendering
	// Warnings are for a person; nothing is wrong.
	Warnings []string
}

// file is a definition as it is written.
type file struct {
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Params      map[string]string `json:"params"`
	Open        bool              `json:"open"`
	Init        string            `json:"init"`
	State       string            `json:"state"`
	Outputs     string            `json:"outputs"`
	Manifests   string            `json:"manifests"`
}

// definition is a compiled file. A stage without a text is nil.
type definition struct {
	file
	init, state, outputs, manifests *program
	// references are those in the texts of the stages.
	references []Reference
	compiled   sync.Once
	wrong      error
}

// stage is one template of a definition.
type stage struct {
	name, text string
	to         **program
}

func (d *definition) stages() []stage {
	return []stage{{"init", d.Init, &d.init}, {"state", d.State, &d.state}, {"outputs", d.Outputs, &d.outputs}, {"manifests", d.Manifests, &d.manifests}}
}

func (s stage) compile(typ string) error {
	if s.text == "" {
		return nil
	}
	p, err := compile(typ+" "+s.name, s.text)
	if err != nil {
		return err
	}
	*s.to = p
	return nil
}

// Set is a number of definitions by type. It is safe for concurrent use.
type Set struct {
	byType map[string]*definition
}

// Builtin gives the definitions that are part of Towpath. They are compiled once.
var Builtin = sync.OnceValue(func() *Set {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		panic(fmt.Sprintf("definition: embedded files: %v", err)) // a fault of the build
	}
	set := &Set{byType: map[string]*definition{}}
	for _, entry := range entries {
		text, err := builtinFiles.ReadFile("builtin/" + entry.Name())
		if err == nil {
			err = set.addUncompiled(text)
		}
		if err != nil {
			panic(fmt.Sprintf("definition: embedded %s: %v", entry.Name(), err)) // a fault of the build; a test compiles all
		}
	}
	return set
})

// NewSet makes a set without definitions.
func NewSet() *Set { return &Set{byType: map[string]*definition{}} }

// Add compiles a definition file and adds it. It must not be called once the set is in use.
func (s *Set) Add(text []byte) error {
	d, err := readDefinition(text)
	if err != nil {
		return err
	}
	if err := d.ready(); err != nil {
		return err
	}
	s.byType[d.Type] = d
	return nil
}

// Types lists the types that are answered, sorted.
func (s *Set) Types() []string { return slices.Sorted(maps.Keys(s.byType)) }

// Make runs the definition of the request's type. An unknown type is REASON_NO_RESOURCE_DEFINITION, a template that fails or
// a parameter that means nothing REASON_DEFINITION_FAILED.
func (s *Set) Make(req *Request) (Result, error) {
	d := s.byType[req.Type]
	if d == nil {
		return Result{}, errs.New(errs.Precondition, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION,
			"no resource definition answers the type %q of %s; known types: %s", req.Type, req.Uid, strings.Join(s.Types(), ", ")).
			With("type", req.Type).With("resource", req.Uid)
	}
	if req.Class != "default" {
		return Result{}, errs.New(errs.Precondition, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION,
			"no resource definition answers the class %q of %s: %s has only the class default; remove the class", req.Class, req.Uid, req.Type).
			With("type", req.Type).With("resource", req.Uid)
	}
	if err := d.checkParams(req); err != nil {
		return Result{}, err
	}
	return d.make(req)
}

func (d *definition) checkParams(req *Request) error {
	if d.Open {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(req.Params)) {
		if _, ok := d.Params[name]; !ok {
			known := "it takes none"
			if len(d.Params) > 0 {
				known = "known: " + strings.Join(slices.Sorted(maps.Keys(d.Params)), ", ")
			}
			return failed(req, "params", fmt.Sprintf("the parameter %q means nothing to %s (%s)", name, d.Type, known))
		}
	}
	return nil
}

func failed(req *Request, stage, problem string) *errs.Error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "the resource %s cannot be made: %s", req.Uid, problem).
		With("resource", req.Uid).With("stage", stage)
}

func (d *definition) make(req *Request) (Result, error) {
	result := Result{Outputs: map[string]any{}}
	if err := d.ready(); err != nil {
		return result, failed(req, "templates", problemOf(err)).Because(err)
	}
	req.Init, req.State, req.Shared = map[string]any{}, map[string]any{}, map[string]any{}
	if err := d.stage(req, "init", d.init, &req.Init); err != nil {
		return result, err
	}
	if err := d.stage(req, "state", d.state, &req.State); err != nil {
		return result, err
	}
	if err := d.stage(req, "outputs", d.outputs, &result.Outputs); err != nil {
		return result, err
	}
	if err := d.stage(req, "manifests", d.manifests, &result.Manifests); err != nil {
		return result, err
	}
	for i, m := range result.Manifests {
		if HasSecret(m) {
			return result, failed(req, "manifests", fmt.Sprintf("manifest %d holds a secret as text; use a secretKeyRef", i))
		}
	}
	return result, nil
}

// stage runs a template and reads what it wrote as YAML into result. A stage that wrote nothing leaves the result as it is.
func (d *definition) stage(req *Request, name string, p *program, result any) error {
	if p == nil {
		return nil
	}
	text, err := p.run(req)
	if err != nil {
		return failed(req, name, problemOf(err)).Because(err)
	}
	if strings.TrimSpace(text) == "" {
		return nil
	}
	text, err = newExpander(d.references, req.Output).yaml(text)
	if err != nil {
		return failed(req, name, err.Error()).Because(err)
	}
	if err := decodeYAML(text, result); err != nil {
		return failed(req, name, "its definition wrote something that is not the YAML of "+name).Because(err)
	}
	return nil
}
