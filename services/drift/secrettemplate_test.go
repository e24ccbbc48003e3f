package drift_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

const templatedSecret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: web-files, annotations: {towpath.dev/template: " +
	`'{"app.ini":"user=web\npassword=(towpath-secret:db/password)\nkey=(towpath-secret:given/api.key)\n"}'` + "}}\n"

// A file with secrets in its text is put together in the cluster, of Secrets that may come later.
func TestATemplatedSecretWaitsForItsValuesAndFollowsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	generated := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: db, annotations: {towpath.dev/generate: \"password:32\"}}\n"
	e.want(config + templatedSecret + generated)
	eventually(t, func() string {
		if m := e.status().GetMessage(); !strings.Contains(m, "Secret given") || !strings.Contains(m, "is not there yet") {
			return "waits for: " + m
		}
		return ""
	})
	kubectl := func(args ...string) string {
		t.Helper()
		return devclustertest.Kubectl(t, append([]string{"-n", e.ns}, args...)...)
	}
	value := func(secret, key string) string {
		t.Helper()
		raw, err := base64.StdEncoding.DecodeString(kubectl("get", "secret", secret, "-o", "jsonpath={.data."+key+"}"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	kubectl("create", "secret", "generic", "given", "--from-literal=api.key=planted-api-4711")
	e.awaitSynced()
	want := func(apiKey string) string {
		return "user=web\npassword=" + value("db", "password") + "\nkey=" + apiKey + "\n"
	}
	if got := value("web-files", `app\.ini`); got != want("planted-api-4711") || len(value("db", "password")) != 32 {
		t.Errorf("the file is %q", got)
	}
	e.staysClean("secret/web-files")

	// What was renewed, and what somebody removed, comes with the next sync.
	kubectl("patch", "secret", "given", "-p", `{"stringData":{"api.key":"planted-new-4711"}}`)
	e.sync()
	if got := value("web-files", `app\.ini`); got != want("planted-new-4711") {
		t.Errorf("after renewing, the file is %q", got)
	}
	kubectl("patch", "secret", "web-files", "--type=json", "-p", `[{"op":"remove","path":"/data"}]`)
	e.sync()
	if got := value("web-files", `app\.ini`); got != want("planted-new-4711") {
		t.Errorf("after removing, the file is %q", got)
	}
	e.staysClean("secret/web-files")
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.seen {
		for _, planted := range []string{"planted", "cGxhbnRlZ", base64.StdEncoding.EncodeToString([]byte("planted-new"))[:12]} {
			if strings.Contains(string(r.data), planted) {
				t.Errorf("event %s holds a secret value", r.typ)
			}
		}
	}
}

func TestATemplateThatCannotBeReadStopsTheSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.want(config + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: web-files, annotations: {towpath.dev/template: '[1]'}}\n")
	eventually(t, func() string {
		if m := e.status().GetMessage(); !strings.Contains(m, "is no JSON map of keys to texts") {
			return "says: " + m
		}
		return ""
	})
}
