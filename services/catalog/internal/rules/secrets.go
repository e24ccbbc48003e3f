package rules

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// looksSecretNamed says what a value looks like, by its form and by the variable's name; "" when it looks like no secret.
func looksSecretNamed(key, value string) string { return secrets.LooksNamed(key, value) }

// checkSecrets refuses a change that would put a plaintext secret into the catalog, from where it would reach Git. The value
// is never shown again.
func checkSecrets(change *catalogv1.Change, loaded map[string]*structpb.Struct) error {
	var fields []errs.Field
	add := func(path, what string) {
		fields = append(fields, errs.Field{Path: path, Problem: "looks like " + what +
			"; put the secret into a secret store or a resource of the workload and refer to it, as ${resources.db.password}"})
	}
	for _, key := range slices.Sorted(maps.Keys(change.GetVariables())) {
		if what := looksSecretNamed(key, change.GetVariables()[key]); what != "" {
			add(fmt.Sprintf("change.variables[%q]", key), what)
		}
	}
	operations := func(field string, ops []*rendererv1.Operation) {
		for i, op := range ops {
			what := secretIn(op.GetValue(), variableOf(op.GetPath()))
			if _, steps, err := manifest.ParsePatch(op.GetPath()); err == nil && what == "" {
				what = secretInObject(steps, op.GetValue().AsInterface())
			}
			if what != "" {
				add(fmt.Sprintf("%s[%d].value", field, i), what)
			}
		}
	}
	operations("change.set_operations", change.GetSetOperations())
	operations("change.overlay_operations", change.GetOverlayOperations())
	for _, name := range slices.Sorted(maps.Keys(loaded)) {
		if what := secretIn(structpb.NewStructValue(loaded[name]), ""); what != "" {
			add("change.scores: workload "+name, what)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return &errs.Error{
		Kind: errs.Precondition, Reason: errorsv1.Reason_REASON_PLAINTEXT_SECRET,
		Msg: "a plaintext secret would have reached Git; nothing was changed", Fields: fields,
	}
}

// variablesOf stands in the place of a name where a map holds values by their names. It is no name.
const variablesOf = "\x00variables"

// secretIn looks through a whole value. key is the variable that it is the value of, "" for none.
func secretIn(v *structpb.Value, key string) string {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return looksSecretNamed(key, v.StringValue)
	case *structpb.Value_ListValue:
		for _, item := range v.ListValue.GetValues() {
			if what := secretIn(item, ""); what != "" {
				return what
			}
		}
	case *structpb.Value_StructValue:
		for _, k := range slices.Sorted(maps.Keys(v.StructValue.GetFields())) {
			value := v.StructValue.GetFields()[k]
			if key == variablesOf { // of a container, by name
				if what := secretIn(value, k); what != "" {
					return what
				}
				continue
			}
			next := ""
			if _, isMap := value.GetKind().(*structpb.Value_StructValue); isMap && k == "variables" {
				next = variablesOf
			}
			if what := secretIn(value, next); what != "" {
				return what
			}
		}
	}
	return ""
}

// variableOf gives the container variable that a path sets, "" when it sets something else.
func variableOf(path string) string {
	t, err := jsonptr.Parse(path)
	if err != nil || len(t) != 6 || t[0] != workloadsKey || t[2] != "containers" || t[4] != "variables" {
		return ""
	}
	return t[5]
}
