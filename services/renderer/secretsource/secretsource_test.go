package secretsource_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"text/template"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/secretsource"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	generated = rendererv1.SecretRules_STRATEGY_GENERATED
	external  = rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS
	sealed    = rendererv1.SecretRules_STRATEGY_SEALED_SECRETS
	existing  = rendererv1.SecretRules_STRATEGY_EXISTING
)

type variables = map[string]*rendererv1.SecretReference

func ciphertext() string {
	raw := make([]byte, 2+512+40)
	raw[0] = 2
	return base64.StdEncoding.EncodeToString(raw)
}

func remote(key string) *rendererv1.RemoteKey { return &rendererv1.RemoteKey{Key: key} }

// secret is a Secret as a definition writes it.
func secret(generate string, stringData map[string]any) map[string]any {
	meta := map[string]any{"name": "pg"}
	if generate != "" {
		meta["annotations"] = map[string]any{definition.GenerateAnnotation: generate}
	}
	out := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}
	if stringData != nil {
		out["stringData"] = stringData
	}
	return out
}

func source(t testing.TB, s rendererv1.SecretRules_Strategy, v variables) *secretsource.Source {
	t.Helper()
	out, err := secretsource.New(&rendererv1.SecretRules{Strategy: s, Store: "vault"}, "shop-dev", v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func meta(name string) map[string]any { return map[string]any{"name": name} }

// made runs a source as a rendering does and gives the kinds of what is rendered.
func made(s *secretsource.Source, o map[string]any) (kinds string, err error) {
	objects, err := s.Make(o, "postgres.default#api.db")
	if err != nil {
		return "", err
	}
	rest, err := s.Rest(meta)
	if err != nil {
		return "", err
	}
	var out []string
	for _, o := range append(objects, rest...) {
		m, _ := o["metadata"].(map[string]any)
		out = append(out, fmt.Sprintf("%v %v", o["kind"], m["name"]))
	}
	return strings.Join(out, ", "), nil
}

func TestEachStrategyMakesADefinitionsSecretItsWay(t *testing.T) {
	for name, tc := range map[string]struct {
		strategy  rendererv1.SecretRules_Strategy
		variables variables
		object    map[string]any
		want      string
	}{
		"generated as it is":              {generated, nil, secret("password:32", nil), "Secret pg"},
		"generators, one for each key":    {external, nil, secret("password:32, pin:8", nil), "Password pg-password, Password pg-pin, ExternalSecret pg"},
		"values that are no secrets":      {external, nil, secret("password:32", map[string]any{"username": "app {{ x }}"}), "Password pg-password, ExternalSecret pg"},
		"the store instead of generators": {external, variables{"A": {Name: "pg", Key: "password", Remote: remote("x")}}, secret("password:32", nil), "ExternalSecret pg"},
		"ciphertexts":                     {sealed, variables{"A": {Name: "pg", Key: "password", Sealed: ciphertext()}}, secret("password:32", nil), "SealedSecret pg"},
		"another Secret of a variable":    {sealed, variables{"A": {Name: "pg", Key: "password", Sealed: ciphertext()}, "B": {Name: "pay", Key: "k", Sealed: ciphertext()}}, secret("password:32", nil), "SealedSecret pg, SealedSecret pay"},
		"nothing for what is there":       {existing, variables{"A": {Name: "pay", Key: "k"}}, secret("password:32", nil), ""},
		"an object that is no Secret":     {existing, nil, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "s"}}, "Service s"},
		"a Secret that somebody fills":    {external, nil, secret("", nil), "Secret pg"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := made(source(t, tc.strategy, tc.variables), tc.object)
			if err != nil || got != tc.want {
				t.Errorf("made %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestWhatAStrategyCannotDoIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		strategy  rendererv1.SecretRules_Strategy
		variables variables
		object    map[string]any
		reason    errorsv1.Reason
		says      string
	}{
		"a ciphertext that is missing":        {sealed, nil, secret("password:32", nil), errorsv1.Reason_REASON_DEFINITION_FAILED, "tow var set PG_PASSWORD --secret pg/password --sealed-file FILE"},
		"generated and stored keys":           {external, variables{"A": {Name: "pg", Key: "password", Remote: remote("x")}}, secret("password:32,pin:8", nil), errorsv1.Reason_REASON_DEFINITION_FAILED, "tow var set PG_PIN --secret pg/pin --remote PATH"},
		"a stored key beside one that is not": {external, variables{"A": {Name: "pay", Key: "a", Remote: remote("x")}, "B": {Name: "pay", Key: "b"}}, secret("", nil), errorsv1.Reason_REASON_DEFINITION_FAILED, "the variable B needs its key b"},
		"a plain value":                       {generated, nil, secret("", map[string]any{"username": "planted-value"}), errorsv1.Reason_REASON_PLAINTEXT_SECRET, "with plain values (username)"},
		"a plain value beside generated ones": {generated, nil, secret("password:32", map[string]any{"username": "planted-value"}), errorsv1.Reason_REASON_PLAINTEXT_SECRET, "with plain values (username)"},
		"a password as no secret":             {external, nil, secret("pin:8", map[string]any{"password": "planted-value"}), errorsv1.Reason_REASON_PLAINTEXT_SECRET, "with plain values (password)"},
		"a key twice":                         {external, nil, secret("pin:8", map[string]any{"pin": "planted-value"}), errorsv1.Reason_REASON_DEFINITION_FAILED, `"pin" has a value and is to be generated too`},
		"a length that is none":               {external, nil, secret("pin:many", nil), errorsv1.Reason_REASON_DEFINITION_FAILED, "write key:length"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := made(source(t, tc.strategy, tc.variables), tc.object)
			if errs.ReasonOf(err) != tc.reason || !strings.Contains(errs.Message(err), tc.says) {
				t.Errorf("error = %v, want %s that says %q", err, tc.reason, tc.says)
			}
			if strings.Contains(fmt.Sprint(err), "planted-value") {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

func TestRulesAndVariablesThatCannotBeAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		rules     *rendererv1.SecretRules
		variables variables
		field     string
	}{
		"no store":               {&rendererv1.SecretRules{Strategy: external}, variables{"A": {Name: "a", Key: "b", Remote: remote("x")}}, "input.defaults.secrets.store"},
		"a bad store":            {&rendererv1.SecretRules{Strategy: external, Store: "A b"}, nil, "input.defaults.secrets.store"},
		"a value as ciphertext":  {nil, variables{"A": {Name: "a", Key: "b", Sealed: "planted-value"}}, `input.secret_variables["A"].sealed`},
		"two places for one key": {nil, variables{"A": {Name: "a", Key: "b", Remote: remote("x")}, "B": {Name: "a", Key: "b", Remote: remote("y")}}, `input.secret_variables["B"]`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := secretsource.New(tc.rules, "shop-dev", tc.variables)
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD || !strings.Contains(errs.Message(err), tc.field) || strings.Contains(errs.Message(err), "planted-value") {
				t.Errorf("error = %v, want one at %s", err, tc.field)
			}
		})
	}
}

// Whatever stands around a secret, its text is not taken for a template by the operator, and the name follows the text.
func TestFilesWithSecretsKeepTheirText(t *testing.T) {
	s := source(t, external, variables{"A": {Name: "a", Key: "b", Remote: remote("x")}})
	ref, err := definition.EncodeSecret("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	rapid.Check(t, func(rt *rapid.T) {
		before, after := rapid.StringMatching(`[a-z{}. \n]{0,12}`).Draw(rt, "before"), rapid.StringMatching(`[a-z{}. \n]{0,12}`).Draw(rt, "after")
		name, o, err := s.Files("api-main-files", map[string]string{"k": before + ref + after})
		if err != nil {
			rt.Fatal(err)
		}
		spec, _ := o["spec"].(map[string]any)
		target, _ := spec["target"].(map[string]any)
		made, _ := target["template"].(map[string]any)
		data, _ := made["data"].(map[string]any)
		got, _ := data["k"].(string)
		program, err := template.New("").Parse(got)
		if err != nil {
			rt.Fatalf("%q became %q: %v", before+"|"+after, got, err)
		}
		var out strings.Builder
		if err := program.Execute(&out, map[string]string{"s0": "VALUE"}); err != nil || out.String() != before+"VALUE"+after {
			rt.Errorf("%q became %q, which makes %q, %v", before+"|"+after, got, out.String(), err)
		}
		if other, ok := names[name]; ok && other != before+"\x00"+after {
			rt.Errorf("two texts have the name %s", name)
		}
		names[name] = before + "\x00" + after
	})
}

func TestATextAroundASecretNeedsAWay(t *testing.T) {
	ref, err := definition.EncodeSecret("pg", "password")
	if err != nil {
		t.Fatal(err)
	}
	for strategy, says := range map[rendererv1.SecretRules_Strategy]string{
		external: "--remote PATH", sealed: "seal the whole content as one key", existing: "put the whole content into one key",
	} {
		_, _, err := source(t, strategy, nil).Files("f", map[string]string{"k": "x" + ref})
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_PLAINTEXT_SECRET || !strings.Contains(errs.Message(err), says) {
			t.Errorf("%s: %v", strategy, err)
		}
	}
	_, _, err = source(t, generated, nil).Files("f", map[string]string{"k": ref + strings.Repeat("x", 200_001)})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_TOO_LARGE {
		t.Errorf("a large text: %v", err)
	}
}
