package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const (
	treeA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	treeB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	dev   = "applications/shop/environments/dev"
)

func TestFence(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	state := func(mods ...func(*rules.State)) *rules.State {
		s := &rules.State{Deployment: dev + "/deployments/5", Generation: 5, RequestID: "r5", RequestTime: noon, Tree: treeA, Path: "p"}
		for _, m := range mods {
			m(s)
		}
		return s
	}
	removed := func(s *rules.State) { s.Removed, s.Tree = true, "" }
	request := func(generation int64, id string, mods ...func(*rules.Request)) rules.Request {
		r := rules.Request{Deployment: dev + "/deployments/6", RequestID: id, Generation: generation, RequestTime: noon.Add(time.Second)}
		for _, m := range mods {
			m(&r)
		}
		return r
	}
	base := func(tree string) func(*rules.Request) { return func(r *rules.Request) { r.ExpectBaseTree = tree } }
	earlier := func(r *rules.Request) { r.RequestTime = noon.Add(-time.Second) }
	five := func(r *rules.Request) { r.Deployment = dev + "/deployments/5" }
	for what, tc := range map[string]struct {
		request rules.Request
		state   *rules.State
		tree    string
		want    rules.Verdict
	}{
		"the first deployment of an environment goes on":           {request(1, "r1"), nil, "", rules.Proceed},
		"a newer generation goes on":                               {request(6, "r6"), state(), treeA, rules.Proceed},
		"the same request is done":                                 {request(5, "r5", five), state(), treeA, rules.Done},
		"the same request is done whatever stands at the path":     {request(5, "r5", five), state(), treeB, rules.Done},
		"a request id of another deployment does not count":        {request(6, "r5"), state(), treeA, rules.Proceed},
		"an older generation is superseded":                        {request(4, "r4"), state(), treeA, rules.Superseded},
		"the same generation by another request is superseded":     {request(5, "x"), state(), treeA, rules.Superseded},
		"an old command after a removal is superseded":             {request(4, "r4", earlier), state(removed), "", rules.Superseded},
		"a new life after a removal begins at generation one":      {request(1, "n1"), state(removed), "", rules.Proceed},
		"the removal itself is done":                               {request(5, "r5", five), state(removed), "", rules.Done},
		"the planned base is there":                                {request(6, "r6", base(treeA)), state(), treeA, rules.Proceed},
		"another base is there":                                    {request(6, "r6", base(treeB)), state(), treeA, rules.Moved},
		"nothing was planned and nothing is there":                 {request(1, "r1", base(rules.Absent)), nil, "", rules.Proceed},
		"nothing was planned and something is there":               {request(1, "r1", base(rules.Absent)), nil, treeA, rules.Moved},
		"something was planned and nothing is there":               {request(1, "r1", base(treeA)), nil, "", rules.Moved},
		"a redelivery is done although its plan no longer holds":   {request(5, "r5", five, base(treeB)), state(), treeA, rules.Done},
		"an older generation is superseded whatever its plan says": {request(4, "r4", base(treeB)), state(), treeA, rules.Superseded},
	} {
		if got := rules.Fence(tc.request, tc.state, tc.tree); got != tc.want {
			t.Errorf("%s: got %d, want %d", what, got, tc.want)
		}
	}
}

func TestAStateSurvivesItsFile(t *testing.T) {
	s := rules.State{
		Version: 1, Deployment: dev + "/deployments/5", Generation: 5, RequestID: "r<5>&", RequestTime: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC),
		Set: "sets/x", Path: "environments/dev/shop", Tree: treeA, SHA256: "5", RendererVersion: "1", FilesChanged: 3, Unchanged: true, Removed: true,
	}
	data := rules.EncodeState(s)
	got, err := rules.DecodeState(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, got); diff != "" {
		t.Errorf("the state differs (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(string(data), "}\n") || strings.Contains(string(data), `\u00`) {
		t.Errorf("the file is not for people:\n%s", data)
	}
	for what, bad := range map[string]string{
		"no JSON": "<<<<<<< HEAD", "a later version": `{"version": 2, "deployment": "x"}`, "no version": `{"deployment": "x"}`, "no deployment": `{"version": 1}`,
	} {
		if s, err := rules.DecodeState([]byte(bad)); err == nil {
			t.Errorf("%s was read as %v", what, s)
		}
	}
}

func TestDeploymentNames(t *testing.T) {
	d, err := rules.ParseDeployment("applications/shop/environments/dev/deployments/12")
	if err != nil || d != (rules.Deployment{Application: "shop", Environment: "dev", Number: "12"}) {
		t.Errorf("got %v, %v", d, err)
	}
	if got := d.StatePath(); len(strings.Split(got, "/")) != 5 || !strings.HasPrefix(got, ".towpath/state/") || !strings.HasSuffix(got, "/shop/dev") {
		t.Errorf("the state file is at %s", got)
	}
	for _, bad := range []string{
		"", "applications/shop", "applications/../environments/dev/deployments/1", "applications/a.b/environments/dev/deployments/1",
		"applications/shop/environments/*/deployments/1", "applications/shop/environments/dev/deployments/", "applications/shop/environments/d v/deployments/1",
		"applications/shop/environments/dev/deployments/1/x", "applications/-/environments/dev/deployments/1",
	} {
		if d, err := rules.ParseDeployment(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q was read as %v, %v", bad, d, err)
		}
	}
}

func TestOneOwnerPerFolder(t *testing.T) {
	var o rules.Owners
	o.Set("dev", "environments/dev/shop")
	o.Set("qa", "environments/qa/shop")
	for what, tc := range map[string]struct {
		environment, path string
		ok                bool
	}{
		"its own folder":                      {"dev", "environments/dev/shop", true},
		"a free folder":                       {"prod", "environments/prod/shop", true},
		"another's folder":                    {"dev", "environments/qa/shop", false},
		"another's folder in capitals":        {"dev", "Environments/QA/shop", false},
		"inside another's":                    {"dev", "environments/qa/shop/x", false},
		"around another's":                    {"prod", "environments", false},
		"around another's and its own":        {"dev", "environments", false},
		"around its own only":                 {"dev", "environments/dev", true},
		"a folder whose name begins the same": {"dev", "environments/qa/shop-2", true},
		"Towpath's own":                       {"dev", ".towpath", false},
		"inside Towpath's own":                {"dev", ".Towpath/state", false},
	} {
		err := o.Check(tc.environment, tc.path)
		if (err == nil) != tc.ok || err != nil && errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PATH {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.Set("qa", "moved/qa")
	o.Set("dev", "")
	for _, p := range []string{"environments/qa/shop", "environments", "environments/dev/shop"} {
		if err := o.Check("prod", p); err != nil {
			t.Errorf("%s is free now: %v", p, err)
		}
	}
	if err := o.Check("prod", "moved"); err == nil {
		t.Error("the new folder of qa is not owned")
	}
}

func TestPlaintextSecretsAreFound(t *testing.T) {
	for what, tc := range map[string]struct {
		file, content string
		found         bool
	}{
		"stringData":           {"a.yaml", "apiVersion: v1\nkind: Secret\nstringData: {p: hunter2}\n", true},
		"data":                 {"a.yaml", "kind: Secret\napiVersion: v1\ndata:\n  p: aHVudGVyMg==\n", true},
		"JSON":                 {"a.json", `{"apiVersion":"v1","kind":"Secret","data":{"p":"aHVudGVyMg=="}}`, true},
		"the second document":  {"a.yaml", "kind: ConfigMap\n---\napiVersion: v1\nkind: Secret\nstringData: {p: hunter2}\n", true},
		"inside a list":        {"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  data: {p: aHVudGVyMg==}\n", true},
		"a list of Secrets":    {"a.yaml", "apiVersion: v1\nkind: SecretList\nitems:\n- metadata: {name: x}\n  data: {p: aHVudGVyMg==}\n", true},
		"in another object":    {"a.yaml", "apiVersion: example.com/v1\nkind: Object\nspec:\n  manifests:\n  - {apiVersion: v1, kind: Secret, stringData: {p: hunter2}}\n", true},
		"a key in a ConfigMap": {"a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  key: |\n    -----BEGIN PRIVATE KEY-----\n    hunter2\n", true},
		"an address":           {"a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {url: 'postgres://app:hunter2@db/app'}\n", true},
		"an address by parts":  {"a.yaml", "value: postgres://app:$(TOWPATH_SECRET_DB_PASSWORD)@db/app\n", false},
		"a reference":          {"a.yaml", "spec: {source: {kind: Secret, name: x}}\n", false},
		"an escaped kind":      {"a.yaml", "apiVersion: v1\nkind: \"\\x53ecret\"\nstringData: {p: hunter2}\n", true},
		"a base64 kind":        {"a.yaml", "apiVersion: v1\nkind: !!binary U2VjcmV0\nstringData: {p: hunter2}\n", true},
		"an alias":             {"a.yaml", "x: &k Secret\napiVersion: v1\nkind: *k\nstringData: {p: hunter2}\n", true},
		"a merge key":          {"a.yaml", "x: &k {stringData: {p: hunter2}}\napiVersion: v1\nkind: Secret\n<<: *k\n", true},
		"UTF-16":               {"a.yaml", utf16("apiVersion: v1\nkind: Secret\nstringData: {p: hunter2}\n"), true},
		"another extension":    {"a.txt", "apiVersion: v1\nkind: Secret\nstringData: {p: hunter2}\n", true},
		"a number as a value":  {"a.yaml", "apiVersion: v1\nkind: Secret\nstringData: {p: 1234}\n", true},
		"unreadable YAML":      {"a.yaml", "kind: Secret\n  bad: [\n", true},
		"no values":            {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {annotations: {generate: \"password:32\"}}\n", false},
		"empty values":         {"a.yaml", "apiVersion: v1\nkind: Secret\ndata: {}\nstringData: {p: \"\"}\n", false},
		"a sealed secret":      {"a.yaml", "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nspec: {encryptedData: {p: AgBy}}\n", false},
		"an external secret":   {"a.yaml", "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nspec: {data: [{secretKey: p}]}\n", false},
		"another group":        {"a.yaml", "apiVersion: example.com/v1\nkind: Secret\ndata: {p: x}\n", false},
		"a word in a text":     {"README.md", "Secret: [do not\n tell", false},
	} {
		err := rules.CheckSecrets(map[string][]byte{tc.file: []byte(tc.content), "other.yaml": []byte("kind: ConfigMap\n")})
		if (err != nil) != tc.found {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(errs.Message(err), "hunter2") {
			t.Errorf("%s: the message holds the value: %s", what, errs.Message(err))
		}
	}
}

func utf16(s string) string {
	out := "\xff\xfe"
	for _, r := range s {
		out += string([]byte{byte(r), 0})
	}
	return out
}

func FuzzASecretIsFoundInAnyCompany(f *testing.F) {
	f.Add("kind: ConfigMap\n", "password")
	f.Add("a: [1, 2]\n---\n", "x")
	f.Fuzz(func(t *testing.T, before, key string) {
		secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  k" + strings.Map(func(r rune) rune {
			if r < 'a' || r > 'z' {
				return -1
			}
			return r
		}, key) + ": value\n"
		if rules.CheckSecrets(map[string][]byte{"x.yaml": []byte(before), "y.yaml": []byte(secret)}) == nil {
			t.Errorf("not found beside %q", before)
		}
	})
}

func TestWords(t *testing.T) {
	for what, tc := range map[string]struct{ message, want string }{
		"no message gives the default":         {" \n\t", "Deploy it"},
		"a subject alone":                      {"Fix it", "Fix it"},
		"subject and body":                     {"Fix it\nbecause", "Fix it\n\nbecause"},
		"carriage returns become line ends":    {"Fix it\r\n\r\nbecause\rthat", "Fix it\n\nbecause\nthat"},
		"control characters go away":           {"Fix\x00 \x1b[31mit\u202e", "Fix [31mit"},
		"a forged trailer is quoted":           {"Fix it\n\nTowpath-Actor: users/root", "Fix it\n\n> Towpath-Actor: users/root"},
		"a forged trailer as subject":          {"towpath-generation : 9", "> towpath-generation : 9"},
		"a long subject is cut at a character": {strings.Repeat("ä", 150), strings.Repeat("ä", 98) + "…"},
	} {
		if diff := cmp.Diff(tc.want, rules.Words{Message: tc.message, Default: "Deploy it"}.Text()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestPersonsAreFitForGit(t *testing.T) {
	for what, tc := range map[string]struct{ name, email, fallback, want string }{
		"a person":                   {"Ada Lovelace", "ada@example.com", "users/ada", "Ada Lovelace <ada@example.com>"},
		"nobody":                     {"", "", "", "unknown <noreply@towpath.invalid>"},
		"a subject only":             {"", "", "tokens/ci", "tokens/ci <noreply@towpath.invalid>"},
		"a forged second line":       {"Ada\ncommitter Eve <e@e> 0 +0000", "a@b>\nx", "f", "Ada committer Eve e@e 0 +0000 <a@bx>"},
		"what Git strips by itself":  {" .,; ", "", "f", "f <noreply@towpath.invalid>"},
		"invisible and odd in names": {"A\u200bd\u202ea\x00", "a @b", "f", "Ada <a@b>"},
	} {
		name, email := rules.Person(tc.name, tc.email, tc.fallback)
		if got := name + " <" + email + ">"; got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"see https://u:p@example.com/x":               "see https://example.com/x",
		"see https://token@example.com and ssh://a@b": "see https://example.com and ssh://b",
		"GET /x?token=abc&y=1":                        "GET /x?token=***&y=1",
		"the password hunter22 is wrong":              "the password *** is wrong",
		"mail ada@example.com":                        "mail ada@example.com",
		"cut short in the password hunter …":          "cut short in the password *** …",
		"cut short elsewhere…":                        "cut short elsewhere…",
	} {
		if got := rules.Redact(in, "hunter22", "x"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
