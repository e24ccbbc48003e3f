package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// secretForms are forms of credentials that nobody writes by chance. They are refused wherever they stand.
var secretForms = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----`)},
	{"an AWS access key", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a GitHub token", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})`)},
	{"a GitLab token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"a Slack token", regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}`)},
	{"a Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
	{"a Stripe key", regexp.MustCompile(`\b[sr]k_live_[0-9A-Za-z]{16,}`)},
	{"an npm token", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"a JSON Web Token", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)},
	{"a Towpath token", regexp.MustCompile(`\btow_[A-Za-z0-9]{20,}`)},
	{"a URL with a password", regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@${]+@`)},
}

// secretName matches names of variables that hold nothing but secrets.
var secretName = regexp.MustCompile(`(?i)(?:^|[_.-])(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_?KEY|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?)$`)

// looksSecret says what a value looks like, "" when it looks like no secret.
func looksSecret(value string) string {
	for _, f := range secretForms {
		if f.pattern.MatchString(value) {
			return f.what
		}
	}
	return ""
}

// looksSecretNamed also judges by the variable's name. A placeholder makes a reference of the value, and a number or a truth
// value is a setting (MAX_TOKEN=100), unless a password is asked for.
func looksSecretNamed(key, value string) string {
	if what := looksSecret(value); what != "" {
		return what
	}
	if value == "" || strings.Contains(value, "${") || !secretName.MatchString(key) {
		return ""
	}
	if !strings.Contains(strings.ToUpper(key), "PASS") {
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			return ""
		}
		if _, err := strconv.ParseBool(value); err == nil {
			return ""
		}
	}
	return "a secret by its name"
}

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
			if what := secretIn(op.GetValue(), variableOf(op.GetPath())); what != "" {
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
			if what := secretIn(v.StructValue.GetFields()[k], ""); what != "" {
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
