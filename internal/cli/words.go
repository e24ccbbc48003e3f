package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// What the API's enums are called before people: without their prefixes, and UNKNOWN instead of UNSPECIFIED, because what is
// not known must not look like what is good.

func word(name, prefix string) string {
	w := strings.TrimPrefix(name, prefix)
	if w == "UNSPECIFIED" {
		return "UNKNOWN"
	}
	return w
}

func stateName(s catalogv1.Deployment_State) string { return word(s.String(), "STATE_") }
func syncName(s driftv1.SyncState) string           { return word(s.String(), "SYNC_STATE_") }
func healthName(h driftv1.Health) string            { return word(h.String(), "HEALTH_") }
func findingKind(k driftv1.Finding_Kind) string     { return word(k.String(), "KIND_") }
func roleName(r catalogv1.Token_Role) string        { return strings.ToLower(word(r.String(), "ROLE_")) }
func kindName(k catalogv1.Deployment_Kind) string   { return strings.ToLower(word(k.String(), "KIND_")) }
func engineName(e catalogv1.Target_Engine) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "ENGINE_"))
}
func envState(s catalogv1.Environment_State) string { return word(s.String(), "STATE_") }
func isFinal(s catalogv1.Deployment_State) bool {
	switch s {
	case catalogv1.Deployment_STATE_HEALTHY, catalogv1.Deployment_STATE_DEGRADED, catalogv1.Deployment_STATE_FAILED, catalogv1.Deployment_STATE_SUPERSEDED,
		catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED:
		return true
	default:
		return false
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// plural gives "1 finding" or "3 findings".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, ",")
}

// valueText gives a value of a document in one line.
func valueText(v *structpb.Value) string {
	if v.GetKind() == nil {
		return ""
	}
	if s, ok := v.GetKind().(*structpb.Value_StringValue); ok {
		return s.StringValue
	}
	b, err := jsonCompact(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
