package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

var (
	domain     = lazyre.New(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	labelKey   = lazyre.New(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValue = lazyre.New(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

func checkLabels(labels map[string]string) (fields []errs.Field) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		where := fmt.Sprintf("input.defaults.labels[%q]", k)
		switch {
		case strings.HasPrefix(k, "towpath.dev/") || strings.HasPrefix(k, "app.kubernetes.io/"):
			fields = append(fields, errs.Field{Path: where, Problem: "is reserved: labels of app.kubernetes.io/ and towpath.dev/ are set by Towpath"})
		case !labelKey.MatchString(k) || len(k) > 317:
			fields = append(fields, errs.Field{Path: where, Problem: "is not the name of a Kubernetes label"})
		case !labelValue.MatchString(labels[k]):
			fields = append(fields, errs.Field{Path: where, Problem: fmt.Sprintf("%q is not the value of a Kubernetes label: at most 63 letters, digits, dots, dashes and underscores", labels[k])})
		}
	}
	return fields
}

func checkVariables(variables map[string]string) (fields []errs.Field) {
	for _, k := range slices.Sorted(maps.Keys(variables)) {
		if strings.Contains(k+variables[k], definition.SecretMark) {
			fields = append(fields, errs.Field{Path: fmt.Sprintf("input.variables[%q]", k), Problem: reservedMark})
		}
	}
	return fields
}

// checkSecretVariables demands that each can be a reference and is not plain too.
func checkSecretVariables(input *rendererv1.RenderInput) (fields []errs.Field) {
	for _, k := range slices.Sorted(maps.Keys(input.GetSecretVariables())) {
		where, ref := fmt.Sprintf("input.secret_variables[%q]", k), input.GetSecretVariables()[k]
		if _, err := definition.EncodeSecret(ref.GetName(), ref.GetKey()); err != nil {
			fields = append(fields, errs.Field{Path: where, Problem: fmt.Sprintf("%q and %q are not the name of a Secret and a key of it", ref.GetName(), ref.GetKey())})
		}
		if _, both := input.GetVariables()[k]; both {
			fields = append(fields, errs.Field{Path: where, Problem: "is in variables too: a variable is plain or secret"})
		}
	}
	return fields
}

const reservedMark = "holds the text " + definition.SecretMark + ", which is reserved for references that resource definitions make"

// document makes the set's document and applies the overlay to it.
func document(input *rendererv1.RenderInput) (map[string]any, error) {
	workloads, resources := map[string]any{}, map[string]any{}
	for name, s := range input.GetWorkloads() {
		workloads[name] = asMap(s)
	}
	for name, s := range input.GetResources() {
		resources[name] = asMap(s)
	}
	doc := map[string]any{"workloads": workloads, "resources": resources}
	for i, op := range input.GetOverlay() {
		if manifest.IsPatch(op.GetPath()) { // of rendered objects, see patches
			continue
		}
		var change jsonptr.Op
		switch op.GetAction() {
		case rendererv1.Operation_ACTION_SET:
			change = jsonptr.Set(op.GetPath(), op.GetValue().AsInterface())
		case rendererv1.Operation_ACTION_REMOVE:
			change = jsonptr.Remove(op.GetPath())
		default:
			return nil, errs.InvalidField(fmt.Sprintf("input.overlay[%d].action", i), "is %s: expected ACTION_SET or ACTION_REMOVE", op.GetAction())
		}
		if !strings.HasPrefix(op.GetPath(), "/workloads/") && !strings.HasPrefix(op.GetPath(), "/resources/") {
			return nil, errs.InvalidField(fmt.Sprintf("input.overlay[%d] %s", i, op.GetPath()), "must point below /workloads, /resources or /objects, such as /workloads/api/containers/main/image")
		}
		next, err := jsonptr.Apply(doc, change)
		if err != nil {
			return nil, overlayError(i, err)
		}
		doc = next
	}
	return doc, nil
}

// overlayError says which operation it was.
func overlayError(i int, err error) error {
	e, ok := err.(*errs.Error) //nolint:errorlint // jsonptr's own error, never wrapped
	if !ok {
		return errs.New(errs.Internal, 0, "apply overlay[%d]", i).Because(err)
	}
	e.Msg = "the overlay cannot be applied"
	for j := range e.Fields {
		e.Fields[j].Path = fmt.Sprintf("input.overlay[%d] %s", i, e.Fields[j].Path)
	}
	return e
}

// read validates the document and takes it apart. All problems of all workloads are reported at once.
func read(doc map[string]any) (*set, error) {
	out := &set{workloads: map[string]map[string]any{}, resources: map[string]map[string]any{}}
	var fields []errs.Field
	workloads, resources := entries(doc, "workloads", &fields), entries(doc, "resources", &fields)
	for _, name := range slices.Sorted(maps.Keys(workloads)) {
		prefix, w := "workloads."+name, workloads[name]
		found := score.Check(w, prefix)
		if got := score.Name(w); len(found) == 0 && got != name {
			found = append(found, errs.Field{Path: prefix + " metadata.name", Problem: fmt.Sprintf("is %q, but the workload is called %q: they must be the same", got, name)})
		}
		if len(found) == 0 && definition.HasSecret(w) {
			found = append(found, errs.Field{Path: prefix, Problem: reservedMark})
		}
		fields = append(fields, found...)
		out.workloads[name] = w
	}
	fields = append(fields, score.CheckResources(resources, "set")...)
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		if definition.HasSecret(resources[name]) {
			fields = append(fields, errs.Field{Path: "resources." + name, Problem: reservedMark})
		}
		out.resources[name] = resources[name]
	}
	return out, score.Invalid(fields)
}

// entries gives one part of the document, whose values must be maps; an overlay may have put something else there.
func entries(doc map[string]any, key string, fields *[]errs.Field) map[string]map[string]any {
	out := map[string]map[string]any{}
	part, _ := doc[key].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(part)) {
		m, ok := part[name].(map[string]any)
		if !ok {
			*fields = append(*fields, errs.Field{Path: key + "." + name, Problem: "expected a map"})
			continue
		}
		out[name] = m
	}
	return out
}
