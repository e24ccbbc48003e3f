package secrets_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/secrets"
)

func TestDocumentsAreJudgedLineByLine(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		secret bool
	}{
		"a password in YAML":                {"kind: Secret\nstringData:\n  password: hunter2\n", true},
		"a quoted one":                      {"  \"api_token\": 'abc def'\n", true},
		"in a list":                         {"- DB_PASSWORD: hunter2", true},
		"a private key":                     {"data: |\n  -----BEGIN PRIVATE KEY-----\n", true},
		"a template's action":               {"password: {{ encodeSecretRef .Name \"password\" }}", false},
		"a placeholder":                     {"password: ${resources.db.password}", false},
		"a map":                             {"secret:\n  secretName: x\ntoken: {a: b}\n", false},
		"a name of a Secret":                {"secretName: db-password\nkey: password\n", false},
		"a key to generate":                 {"towpath.dev/generate: password:32", false},
		"a sentence that speaks of secrets": {"set the password: it is asked for once", false},
	} {
		if got := secrets.LooksText(tc.text); (got != "") != tc.secret {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What people have at hand is no ciphertext, encoded or not.
func TestNoPlainValueIsTakenForACiphertext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[ -~\n]{0,900}`).Draw(t, "value")
		for _, text := range []string{value, base64.StdEncoding.EncodeToString([]byte(value))} {
			problem := secrets.SealedProblem(text)
			if problem == "" {
				t.Errorf("%q is taken for a ciphertext", text)
			}
			if len(value) > 8 && strings.Contains(problem, value) {
				t.Errorf("the problem shows the value: %s", problem)
			}
		}
	})
	for _, size := range []int{256, 512} {
		raw := make([]byte, 2+size+16)
		raw[0], raw[1] = byte(size>>8), byte(size)
		if problem := secrets.SealedProblem(base64.StdEncoding.EncodeToString(raw)); problem != "" {
			t.Errorf("a ciphertext for a key of %d bytes %s", size, problem)
		}
	}
}
