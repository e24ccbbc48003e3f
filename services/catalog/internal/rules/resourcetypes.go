package rules

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// ResourceTypes gives the resource types that a state asks for, sorted.
func ResourceTypes(s State) ([]string, error) {
	doc, err := Effective(s)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	ask := func(resources map[string]any) {
		for _, r := range resources {
			m, _ := r.(map[string]any)
			if typ, ok := m["type"].(string); ok {
				found[typ] = true
			}
		}
	}
	for _, w := range doc.Workloads() {
		m, _ := w.(map[string]any)
		resources, _ := m["resources"].(map[string]any)
		ask(resources)
	}
	ask(doc.part(resourcesKey))
	return slices.Sorted(maps.Keys(found)), nil
}

// MayAskFor reports whether a state asks for one of the types, or cannot be read at all.
func MayAskFor(s State, types map[string]bool) bool {
	asked, err := ResourceTypes(s)
	return err != nil || slices.ContainsFunc(asked, func(t string) bool { return types[t] })
}

var mentionForm = regexp.MustCompile(`\$\{resources\['([A-Za-z0-9-]+)`)

// MentionedTypes gives the resource types that a definition may add to the resources it makes, sorted: those that it refers to
// and those that it provisions. It may name more than are there in the end, never fewer.
func MentionedTypes(d *rendererv1.ResourceDefinition) []string {
	found := map[string]bool{}
	var walk func(v *structpb.Value)
	walk = func(v *structpb.Value) {
		for _, m := range mentionForm.FindAllStringSubmatch(v.GetStringValue(), -1) {
			found[m[1]] = true
		}
		for _, e := range v.GetStructValue().GetFields() {
			walk(e)
		}
		for _, e := range v.GetListValue().GetValues() {
			walk(e)
		}
	}
	for _, v := range d.GetInputs().GetFields() {
		walk(v)
	}
	for selector := range d.GetInputs().GetFields()["provision"].GetStructValue().GetFields() {
		typ, _, _ := strings.Cut(selector, "#")
		typ, _, _ = strings.Cut(typ, ".")
		found[typ] = true
	}
	return slices.Sorted(maps.Keys(found))
}
