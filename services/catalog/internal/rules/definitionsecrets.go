package rules

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// assignment is a line of YAML that gives something with a name a value.
var assignment = regexp.MustCompile(`^[\s-]*["']?([A-Za-z0-9_.-]+)["']?\s*:\s+(\S.*)$`)

// CheckDefinitionSecrets refuses a definition with a plaintext secret in its inputs: the catalog keeps every version, and what it
// makes reaches Git. The value is never shown again. Errors name the input below field.
func CheckDefinitionSecrets(field string, d *rendererv1.ResourceDefinition) error {
	inputs := d.GetInputs().GetFields()
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		what := ""
		switch text, isText := inputs[name].AsInterface().(string); {
		case isText:
			what = secretInText(text)
		case d.GetDriver() == rendererv1.ResourceDefinition_DRIVER_CLAIM: // its outputs name keys and paths, such as {secret_key: password}
		default:
			what = secretIn(inputs[name], "")
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

// secretInText looks through the lines of a template. A line with an action or a placeholder gets its value elsewhere.
func secretInText(text string) string {
	if what := secrets.Looks(text); what != "" {
		return what
	}
	for line := range strings.Lines(text) {
		m := assignment.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || strings.Contains(m[2], "{{") || strings.ContainsAny(m[2][:1], "{[|>&*#$") {
			continue
		}
		if what := secrets.LooksNamed(m[1], strings.Trim(m[2], `"' `)); what != "" {
			return what
		}
	}
	return ""
}
