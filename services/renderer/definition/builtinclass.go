package definition

import (
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/match"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// builtinSpec gives the definition that a built-in file is. Its type may have a class behind a dot, postgres.shared; then it answers
// that class alone.
func builtinSpec(typ string) *rendererv1.ResourceDefinition {
	name := strings.ReplaceAll(typ, ".", "-")
	typ, class, _ := strings.Cut(typ, ".")
	return &rendererv1.ResourceDefinition{
		Name: match.BuiltinPrefix + name, Type: typ, Class: match.Class(class), Driver: rendererv1.ResourceDefinition_DRIVER_TEMPLATE,
	}
}

// refer finds the references in a built-in file, so that what it refers to is made before it.
func (d *definition) refer() []Reference {
	in := &inputs{}
	for _, stage := range d.stages() {
		in.refer(stage.name, stage.text)
	}
	d.references = in.references
	return d.references
}
