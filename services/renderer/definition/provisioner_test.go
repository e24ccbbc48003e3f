package definition_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// provisioner compiles an entry of a provisioner file from its templates.
func provisioner(t testing.TB, stages map[string]any) *definition.Definition {
	t.Helper()
	inputs := map[string]any{"compatibility": definition.CompatibilityScore}
	for k, v := range stages {
		inputs[k] = v
	}
	s, err := structpb.NewStruct(inputs)
	if err != nil {
		t.Fatal(err)
	}
	d, err := definition.Compile(&rendererv1.ResourceDefinition{Name: "resourceDefinitions/p", Type: "store", Class: "*", Driver: rendererv1.ResourceDefinition_DRIVER_TEMPLATE, Inputs: s})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func asked(id string) *definition.Request {
	return &definition.Request{
		Uid: "store.default#" + id, Guid: "0123456789", Type: "store", Class: "default", Id: id, SourceWorkload: "api", Namespace: "shop-dev",
		Application: "shop", Environment: "dev", Workloads: []string{"api", "job"},
		WorkloadServices: map[string]any{"api": definition.Service{ServiceName: "api", Ports: map[string]any{"web": definition.Port{Name: "web", Port: 80, TargetPort: 8080, Protocol: "TCP"}}}},
		Params:           map[string]any{"size": 1073741824.0},
	}
}

func TestProvisionersSeeWhatScoreShowsThem(t *testing.T) {
	d := provisioner(t, map[string]any{
		"init":   "a: 1073741824\nb: {{ .Params.size }}",
		"state":  `c: {{ dig "c" .Init.a .State }}`,
		"shared": "d: {{ .State.c }}\ne: {f: 1}",
		"outputs": `
id: {{ .Uid }} {{ .Guid }} {{ .Type }} {{ .Class }} {{ .Id }} {{ .SourceWorkload }} {{ .Namespace }}
numbers: {{ .Init.b }} {{ .State.c }} {{ .Shared.d }}
port: {{ (index (index .WorkloadServices "api").Ports "80").TargetPort }}
none: {{ len (index .WorkloadServices "job").Ports }} {{ (index .WorkloadServices "nobody").ServiceName }}.
`,
	})
	got, err := d.Make(asked("api.a"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "store.default#api.a 0123456789 store default api.a api shop-dev", "numbers": "1073741824 1073741824 1073741824", "port": 8080, "none": "0 .",
	}
	if diff := cmp.Diff(want, got.Outputs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("d: 1073741824\ne:\n    f: 1\n", got.Rendering.Shared); diff != "" {
		t.Error(diff)
	}
}

func TestSharedStateIsPatchedFromResourceToResource(t *testing.T) {
	req := asked("api.a")
	req.Rendering = &definition.Rendering{Shared: "keep: {a: 1, b: 2}\ngone: x\n", Other: "keep: {a: 1, b: 2}\ngone: x\n"}
	got, err := provisioner(t, map[string]any{"shared": "keep: {b: 3, c: 4}\ngone: null", "outputs": "all: {{ .Shared | toJson | quote }}"}).Make(req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"all": `{"keep":{"a":1,"b":3,"c":4}}`}, got.Outputs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("keep:\n    a: 1\n    b: 3\n    c: 4\n", got.Rendering.Shared); diff != "" {
		t.Error(diff)
	}
}

func TestRandomFunctionsAnswerAlwaysTheSameForAResourceOfAnEnvironment(t *testing.T) {
	d := provisioner(t, map[string]any{"outputs": `
a: name-{{ randAlphaNum 6 }}
b: name-{{ randAlphaNum 6 }}
c: {{ randInt 10 20 }}
d: {{ uuidv4 }}
e: {{ randAlpha 5 }}{{ randNumeric 2 }}
f: {{ randAscii 3 | quote }} {{- /* a comment of YAML would follow */}}
`})
	made := func(req *definition.Request) map[string]any {
		got, err := d.Make(req)
		if err != nil {
			t.Fatal(err)
		}
		return got.Outputs
	}
	one, again, other, elsewhere := made(asked("api.a")), made(asked("api.a")), made(asked("api.b")), asked("api.a")
	elsewhere.Environment = "prod"
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("two runs differ: %s", diff)
	}
	for _, different := range []map[string]any{other, made(elsewhere)} {
		for _, key := range []string{"a", "b", "d"} {
			if one[key] == different[key] {
				t.Errorf("%s is the same for another resource or environment: %v", key, one[key])
			}
		}
	}
	if one["a"] == one["b"] {
		t.Errorf("two calls give the same: %v", one["a"])
	}
}

// secretOf is a Secret with a value, as text of a manifest.
func secretOf(key, value string) string {
	return fmt.Sprintf("- {apiVersion: v1, kind: Secret, metadata: {name: s}, data: {%s: {{ %s | b64enc | quote }}}}\n", key, value)
}

func TestARandomSecretIsMadeInTheCluster(t *testing.T) {
	got, err := provisioner(t, map[string]any{
		"init":    "password: {{ randAlphaNum 20 }}",
		"outputs": "password: {{ .Init.password }}\nurl: x://u:{{ .Init.password }}@h\n",
		"manifests": secretOf("pw", ".Init.password") +
			"- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, env: [{name: PW, value: {{ .Init.password }}}]}]}}",
	}).Make(asked("api.a"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"password": "(towpath-secret:s/pw)", "url": "x://u:(towpath-secret:s/pw)@h"}, got.Outputs); diff != "" {
		t.Error(diff)
	}
	want := []map[string]any{
		{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s", "annotations": map[string]any{"towpath.dev/generate": "pw:20"}}},
		{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}, "spec": map[string]any{"containers": []any{map[string]any{
			"name": "c", "image": "i", "env": []any{map[string]any{"name": "PW", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": "pw"}}}}}}}},
	}
	if diff := cmp.Diff(want, got.Manifests); diff != "" {
		t.Error(diff)
	}
}

func TestAGuessableSecretIsRefusedWithTheWayOut(t *testing.T) {
	pw := map[string]any{"init": "password: {{ randAlphaNum 20 }}"}
	for name, tc := range map[string]struct {
		stages map[string]any
		place  string
	}{
		"an output":                             {map[string]any{"outputs": "x: {{ .Init.password }}"}, "outputs.x"},
		"an output made of it":                  {map[string]any{"outputs": "x: {{ .Init.password | sha256sum }}"}, "outputs.x"},
		"text inside of a Secret":               {map[string]any{"manifests": secretOf("conf", `printf "requirepass %s" .Init.password`)}, "manifests[0].data.conf"},
		"a hash of it in a Secret":              {map[string]any{"manifests": secretOf("hash", ".Init.password | sha256sum")}, "manifests[0].data.hash"},
		"a field of an object":                  {map[string]any{"manifests": "- {kind: Redis, spec: {auth: {{ .Init.password }}}}"}, "manifests[0].spec.auth"},
		"a ConfigMap":                           {map[string]any{"manifests": "- {kind: ConfigMap, data: {x: {{ .Init.password | b64enc | quote }}}}"}, "manifests[0].data.x"},
		"an object's name":                      {map[string]any{"manifests": "- {kind: ConfigMap, metadata: {name: c-{{ .Init.password | lower }}}}"}, "manifests[0].metadata.name"},
		"whether an object is there":            {map[string]any{"manifests": `{{ if regexMatch "^[A-Ma-m0-4]" .Init.password }}- {kind: A}{{ else }}- {kind: B}{{ end }}`}, ""},
		"a long text without a name":            {map[string]any{"init": "a: 1", "outputs": "x: {{ randAlphaNum 32 }}"}, "outputs.x"},
		"a variable that is called secret":      {map[string]any{"init": "a: 1", "manifests": "- {kind: P, env: [{name: APP_SECRET, value: {{ randAlphaNum 8 }}}]}"}, "manifests[0].env[0].value"},
		"digits, which the cluster cannot make": {map[string]any{"init": "a: 1", "manifests": secretOf("pin", "randNumeric 8")}, "manifests[0].data.pin"},
	} {
		t.Run(name, func(t *testing.T) {
			stages := map[string]any{"init": pw["init"]}
			for k, v := range tc.stages {
				stages[k] = v
			}
			_, err := provisioner(t, stages).Make(asked("api.a"))
			if tc.place == "" && err == nil {
				return // both worlds may choose the same branch; then nothing is told
			}
			var e *errs.Error
			if !errors.As(err, &e) || e.Reason != errorsv1.Reason_REASON_DEFINITION_FAILED {
				t.Fatalf("error = %v", err)
			}
			for _, part := range []string{tc.place, "Keep each secret by itself under a key of a Secret's data"} {
				if !strings.Contains(e.Msg, part) {
					t.Errorf("want %q in %s", part, e.Msg)
				}
			}
		})
	}
}

func TestAConstantSecretIsRefusedAndWhatIsNoneMovesToAConfigMap(t *testing.T) {
	_, err := provisioner(t, map[string]any{"manifests": secretOf("password", `"changeme"`)}).Make(asked("api.a"))
	if err == nil || !strings.Contains(err.Error(), `holds "password" as a value`) || strings.Contains(err.Error(), "changeme") {
		t.Errorf("error = %v", err)
	}
	const pod = "- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{envFrom: [{secretRef: {name: s}}], env: [{name: U, valueFrom: {secretKeyRef: {name: s, key: user}}}]}]%s}}"
	got, err := provisioner(t, map[string]any{"manifests": secretOf("user", `"app"`) + fmt.Sprintf(pod, "")}).Make(asked("api.a"))
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "s"}, "data": map[string]any{"user": "app"}},
		{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}, "spec": map[string]any{"containers": []any{map[string]any{
			"envFrom": []any{map[string]any{"configMapRef": map[string]any{"name": "s"}}},
			"env":     []any{map[string]any{"name": "U", "valueFrom": map[string]any{"configMapKeyRef": map[string]any{"name": "s", "key": "user"}}}}}}}},
	}
	if diff := cmp.Diff(want, got.Manifests); diff != "" {
		t.Error(diff)
	}
	_, err = provisioner(t, map[string]any{"manifests": secretOf("user", `"app"`) + fmt.Sprintf(pod, ", volumes: [{name: v, secret: {secretName: s}}]")}).Make(asked("api.a"))
	if err == nil || !strings.Contains(err.Error(), "takes what the Secret s holds in clear (user) from the Secret, by secret") {
		t.Errorf("error = %v", err)
	}
}

// Whatever templates do with a password: it is in nothing that comes out, neither as it is nor in another form that is tried here.
func TestNoGuessableSecretComesOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := []string{"{{ $p }}", "{{ $p | b64enc }}", "{{ $p | upper }}", "{{ $p | sha256sum }}", "{{ substr 0 8 $p }}", "x", "{{ .Id }}", "{{ $p | reverse }}"}
		pieces = pieces[:7] // reverse takes lists
		piece := rapid.SampledFrom(pieces)
		text := func(label string) string {
			return strings.Join(rapid.SliceOfN(piece, 0, 3).Draw(t, label), "-")
		}
		const take = "{{ $p := .Init.password }}"
		s, err := structpb.NewStruct(map[string]any{
			"compatibility": definition.CompatibilityScore, "init": "password: {{ randAlphaNum 24 }}",
			"outputs": take + "a: " + fmt.Sprintf("%q", text("out")),
			"manifests": take + fmt.Sprintf("- {kind: Secret, metadata: {name: s}, data: {k: {{ $p | b64enc }}}}\n- {kind: A, x: %q, env: [{name: E, value: %q}]}",
				text("field"), text("env")),
		})
		if err != nil {
			t.Fatal(err)
		}
		d, err := definition.Compile(&rendererv1.ResourceDefinition{Name: "resourceDefinitions/p", Type: "store", Driver: rendererv1.ResourceDefinition_DRIVER_TEMPLATE, Inputs: s})
		if err != nil {
			t.Fatal(err)
		}
		one, err := d.Make(asked("api.a"))
		if err != nil {
			return // refused
		}
		// Another environment has another password. Beside that, all is the same here, so that a difference would be the password.
		elsewhere := asked("api.a")
		elsewhere.Environment = "prod"
		two, err := d.Make(elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, two); diff != "" {
			t.Fatalf("what comes out depends on the password: %s", diff)
		}
	})
}
