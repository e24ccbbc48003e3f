package rules

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// CheckDefinitionSecrets refuses a definition with a plaintext secret in its inputs: the catalog keeps every version, and what it
// makes reaches Git. The value is never shown again. Errors name the input below field.
func CheckDefinitionSecrets(field string, d *rendererv1.ResourceDefinition) error {
	inputs := d.GetInputs().GetFields()
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		what := ""
		switch text, isText := inputs[name].AsInterface().(string); {
		case isText:
			what = secrets.LooksText(text)
		case d.GetDriver() == rendererv1.ResourceDefinition_DRIVER_CLAIM: // its outputs name keys and paths, such as {secret_key: password}
		default:
			what = secretNamed(inputs[name], "")
		}
		if what == "" {
			continue
		}
		return &errs.Error{
			Kind: errs.Precondition, Reason: errorsv1.Reason_REASON_PLAINTEXT_SECRET,
			Msg: "a plaintext secret would have reached Git; nothing was changed",
			Fields: []errs.Field{{Path: field + ".inputs." + name, Problem: "holds what looks like " + what +
				"; let the cluster make it, by a Secret with the annotation towpath.dev/generate, or refer to a Secret that is there"}},
		}
	}
	return nil
}

// secretNamed looks through a whole value, judging each part by what holds it.
func secretNamed(v *structpb.Value, name string) string {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		if strings.Contains(v.StringValue, "{{") {
			return secrets.Looks(v.StringValue)
		}
		return secrets.LooksNamed(name, v.StringValue)
	case *structpb.Value_ListValue:
		for _, item := range v.ListValue.GetValues() {
			if what := secretNamed(item, name); what != "" {
				return what
			}
		}
	case *structpb.Value_StructValue:
		for _, k := range slices.Sorted(maps.Keys(v.StructValue.GetFields())) {
			if what := secretNamed(v.StructValue.GetFields()[k], k); what != "" {
				return what
			}
		}
	}
	return ""
}
