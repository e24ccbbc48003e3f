package definition

import (
	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Engine makes objects of the files of an archive. There is one for Helm and one for kustomize, in packages of their own, because
// they link a Kubernetes client and much else that this package and tow do without. An engine is pure: it sees the files and what
// it is given, and neither environment nor files nor network.
type Engine interface {
	// Check says what is wrong with the files whatever they are rendered with. The error is for the definition's author.
	Check(files map[string][]byte) error
	// Render makes the objects.
	Render(files map[string][]byte, in EngineInput) (EngineOutput, error)
}

// EngineInput is what an engine gets beside the files.
type EngineInput struct {
	// Name and Namespace are those of a Helm release.
	Name, Namespace string
	// Values are a chart's values, or the kustomization on top of a base.
	Values map[string]any
}

// EngineOutput is what an engine makes.
type EngineOutput struct {
	Objects []map[string]any
	// Warnings are for a person; nothing is wrong.
	Warnings []string
}

// Engines are the engines that a process has. The zero value has none: then definitions that need one are an error that says so.
type Engines struct {
	Helm, Kustomize Engine
}

func (e Engines) of(driver rendererv1.ResourceDefinition_Driver) Engine {
	switch driver {
	case rendererv1.ResourceDefinition_DRIVER_HELM:
		return e.Helm
	case rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE:
		return e.Kustomize
	default:
		return nil
	}
}

// Maker makes resources in the place of the definitions themselves: somewhere where what they do can be ended.
type Maker interface {
	// Make does what Definition.Make does.
	Make(d *Definition, req *Request) (Result, error)
}

// Trusted reports whether making a resource runs nothing that an organisation has written: definitions that are part of Towpath,
// and fixed outputs.
func (d *Definition) Trusted() bool {
	return d.trusted || d.Spec.GetDriver() == rendererv1.ResourceDefinition_DRIVER_STATIC
}

// Key names the content of the definition, whatever it is called.
func (d *Definition) Key() string { return d.key }

// MakeWith is Make in a process that has engines.
func (d *Definition) MakeWith(engines Engines, req *Request) (Result, error) {
	req.engines = engines
	return d.Make(req)
}

// Check says what is wrong with a compiled definition's archive.
func (d *Definition) Check(engines Engines) error {
	a, ok := d.driver.(*archived)
	if !ok {
		return nil
	}
	files, err := a.unpacked()
	if err != nil {
		return errs.InvalidField("archive", "%s", err)
	}
	engine := engines.of(d.Spec.GetDriver())
	if engine == nil {
		return withoutEngine(d.Spec.GetDriver())
	}
	if err := engine.Check(files); err != nil {
		return errs.InvalidField("archive", "%s", err)
	}
	return nil
}

func withoutEngine(driver rendererv1.ResourceDefinition_Driver) *errs.Error {
	word := "helm"
	if driver == rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE {
		word = "kustomize"
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED,
		"the driver %s is not part of this program: use `towpathd render`, which takes the same flags, or let the server render", word).With("driver", word)
}
