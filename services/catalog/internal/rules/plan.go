package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Absent is what stands for the tree id of a folder that does not exist, in plans and in the committer's expectations.
const Absent = "absent"

// PlanParts is all that a plan depends on. Two plans with the same parts do the same.
type PlanParts struct {
	Environment     string
	RollbackOf      string
	Set             string
	Overlay         []string
	Variables       map[string]string // the environment's and the application's, secret ones by their reference
	Versions        map[string]int64  // of variables
	Definitions     []string          // that rendering used
	Outputs         map[string]int64
	Place           string // repository, branch, path, target and namespace
	Defaults        string
	RendererVersion string
	BaseTree        string
	Tree            string
	SHA256          string
}

// PartsOf fills in the parts that come from the intent.
func PartsOf(intent *catalogv1.Intent) PlanParts {
	p := PlanParts{
		Set: intent.GetSet(), Variables: map[string]string{}, Defaults: fingerprint(intent.GetDefaults()),
		Versions: intent.GetVariableVersions(), Definitions: intent.GetDefinitions(), Outputs: intent.GetOutputVersions(),
	}
	for _, op := range intent.GetOverlay() {
		p.Overlay = append(p.Overlay, fingerprint(op))
	}
	for owner, variables := range map[string]map[string]string{"environment": intent.GetVariables(), "application": intent.GetApplicationVariables()} {
		for key, value := range variables {
			p.Variables[owner+"/"+key] = "=" + value
		}
	}
	for owner, secrets := range map[string]map[string]*rendererv1.SecretReference{
		"environment": intent.GetSecretVariables(), "application": intent.GetApplicationSecretVariables(),
	} {
		for key, ref := range secrets {
			p.Variables[owner+"/"+key] = "secret " + fingerprint(ref)
		}
	}
	return p
}

// Hash gives the plan's SHA-256 in hex.
func (p PlanParts) Hash() string {
	// The encoding cannot fail: strings, and a map whose keys are sorted.
	b, _ := json.Marshal(p)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Moved names the parts that differ between a plan and now, in the words of the API.
func (p PlanParts) Moved(now PlanParts) []string {
	var out []string
	for _, d := range []struct {
		name string
		same bool
	}{
		{"environment", p.Environment == now.Environment && p.RollbackOf == now.RollbackOf},
		{"set", p.Set == now.Set},
		{"overlay", slices.Equal(p.Overlay, now.Overlay)},
		{"variables", maps.Equal(p.Variables, now.Variables) && maps.Equal(p.Versions, now.Versions)},
		{"definitions", slices.Equal(p.Definitions, now.Definitions)},
		{"outputs", maps.Equal(p.Outputs, now.Outputs)},
		{"place", p.Place == now.Place},
		{"environment_type", p.Defaults == now.Defaults},
		{"renderer_version", p.RendererVersion == now.RendererVersion},
		{"base_tree", p.BaseTree == now.BaseTree},
		{"tree", p.Tree == now.Tree && p.SHA256 == now.SHA256},
	} {
		if !d.same {
			out = append(out, d.name)
		}
	}
	return out
}

func fingerprint(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // text that is not UTF-8, which no request can carry
		return "invalid"
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
