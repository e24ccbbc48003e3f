package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/archive"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"
	"github.com/towpath-dev/towpath/services/renderer/worker"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	claim     = rendererv1.ResourceDefinition_DRIVER_CLAIM
	static    = rendererv1.ResourceDefinition_DRIVER_STATIC
	helm      = rendererv1.ResourceDefinition_DRIVER_HELM
	kustomize = rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE
)

// definitionOf makes a definition that answers the type thing.
func definitionOf(t *testing.T, driver rendererv1.ResourceDefinition_Driver, inputs map[string]any, files archive.Files) *rendererv1.ResourceDefinition {
	t.Helper()
	d := &rendererv1.ResourceDefinition{Name: "resourceDefinitions/thing/versions/1", Type: "thing", Driver: driver}
	if files != nil {
		data, err := archive.Pack(files)
		if err != nil {
			t.Fatal(err)
		}
		d.Archive = data
		inputs[map[rendererv1.ResourceDefinition_Driver]string{helm: "chart", kustomize: "base"}[driver]] = archive.Digest(data)
	}
	var err error
	if d.Inputs, err = structpb.NewStruct(inputs); err != nil {
		t.Fatal(err)
	}
	return d
}

func rendered(t *testing.T, p *worker.Pool, d *rendererv1.ResourceDefinition) (*rendererv1.RenderResponse, error) {
	t.Helper()
	workloads, err := score.LoadAll([]*rendererv1.ScoreFile{{Filename: "score.yaml", Content: []byte(
		"apiVersion: score.dev/v1b1\nmetadata: {name: api}\ncontainers: {main: {image: nginx}}\nresources: {it: {type: thing}}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return render.With(&rendererv1.RenderInput{
		Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: workloads, Definitions: []*rendererv1.ResourceDefinition{d},
	}, render.Options{Maker: p.Maker(context.Background())})
}

// made are ways to make an object by each driver that makes any.
func made(object string) map[string]func(t *testing.T) *rendererv1.ResourceDefinition {
	return map[string]func(t *testing.T) *rendererv1.ResourceDefinition{
		"template": func(t *testing.T) *rendererv1.ResourceDefinition {
			return definitionOf(t, template, map[string]any{"manifests": "- " + strings.ReplaceAll(object, "\n", "\n  ")}, nil)
		},
		"provisioner": func(t *testing.T) *rendererv1.ResourceDefinition {
			return definitionOf(t, template, map[string]any{"compatibility": definition.CompatibilityScore, "manifests": "- " + strings.ReplaceAll(object, "\n", "\n  ")}, nil)
		},
		"claim": func(t *testing.T) *rendererv1.ResourceDefinition {
			return definitionOf(t, claim, map[string]any{"manifest": object, "outputs": map[string]any{"host": "status.host"}}, nil)
		},
		"helm": func(t *testing.T) *rendererv1.ResourceDefinition {
			return definitionOf(t, helm, map[string]any{}, chart(object))
		},
		"kustomize": func(t *testing.T) *rendererv1.ResourceDefinition {
			return definitionOf(t, kustomize, map[string]any{}, archive.Files{"kustomization.yaml": []byte("resources: [o.yaml]"), "o.yaml": []byte(object)})
		},
	}
}

func chart(template string) archive.Files {
	return archive.Files{"Chart.yaml": []byte("apiVersion: v2\nname: thing\nversion: 1.0.0\n"), "templates/o.yaml": []byte(template)}
}

func TestNoDriverMakesObjectsOutsideOfTheEnvironment(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	for what, object := range map[string]string{
		"a namespace":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}",
		"a cluster role":         "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\nrules: []",
		"a cluster role binding": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: all}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}",
		"a CRD":                  "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}",
		"a webhook":              "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: all}",
		"a foreign namespace":    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, namespace: kube-system}",
	} {
		for driver, make := range made(object) {
			if _, err := rendered(t, p, make(t)); errs.ReasonOf(err) != errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED {
				t.Errorf("%s makes %s: %v", driver, what, err)
			}
		}
	}
}

func TestNoDriverMakesASecretInTheClear(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	for driver, make := range made("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}") {
		if driver == "template" {
			continue // that is looked at for all of a bundle
		}
		_, err := rendered(t, p, make(t))
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", driver, err)
		}
	}
}

// Escapes by what templates can write, for each driver with templates and each of its places.
func TestTemplatesReadNothingOfTheMachine(t *testing.T) {
	t.Setenv("TOWPATH_PLANTED", "planted")
	p := newPool(t, worker.Config{Workers: 1})
	for _, call := range []string{
		`{{ env "TOWPATH_PLANTED" }}`, `{{ expandenv "$TOWPATH_PLANTED" }}`, `{{ getHostByName "localhost" }}`, `{{ now }}`, `{{ randAlphaNum 8 }}`,
		`{{ uuidv4 }}`, `{{ genCA "x" 365 }}`, `{{ genPrivateKey "ed25519" }}`, `{{ htpasswd "a" "b" }}`, `{{ unixEpoch now }}`, `{{ printf "%p" .Params }}`,
	} {
		object := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: '" + call + "'}"
		for driver, d := range map[string]*rendererv1.ResourceDefinition{
			"provisioner":   definitionOf(t, template, map[string]any{"compatibility": definition.CompatibilityScore, "manifests": "- " + strings.ReplaceAll(object, "\n", "\n  ")}, nil),
			"template":      definitionOf(t, template, map[string]any{"manifests": "- " + strings.ReplaceAll(object, "\n", "\n  ")}, nil),
			"claim":         definitionOf(t, claim, map[string]any{"manifest": object, "outputs": map[string]any{"host": "status.host"}}, nil),
			"helm":          definitionOf(t, helm, map[string]any{}, chart(strings.ReplaceAll(object, ".Params", ".Values"))),
			"helm values":   definitionOf(t, helm, map[string]any{"values": "a: '" + call + "'"}, chart("")),
			"kustomization": definitionOf(t, kustomize, map[string]any{"kustomization": "namePrefix: '" + call + "'"}, archive.Files{"kustomization.yaml": []byte("resources: []")}),
		} {
			if driver == "provisioner" && (strings.Contains(call, "rand") || strings.Contains(call, "uuid") || strings.Contains(call, "gen")) {
				continue // answered from the resource's uid, see TestNoGuessableSecretComesOut
			}
			out, err := rendered(t, p, d)
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
				t.Errorf("%s lets %s be: %v %v", driver, call, err, out.GetBundle().GetFiles())
			}
		}
	}
}

func TestWhatArchivesTryToReadFromElsewhereIsRefused(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	cm := []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}")
	for name, c := range map[string]struct {
		driver rendererv1.ResourceDefinition_Driver
		inputs map[string]any
		files  archive.Files
		says   string
	}{
		"a remote base":                 {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: ['https://github.com/a/b//c?ref=v1']")}, "nothing is fetched"},
		"a base over ssh":               {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: ['git@example.com:a/b.git']")}, "nothing is fetched"},
		"a base on the host's disk":     {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: ['file:///etc']")}, "nothing is fetched"},
		"an address without a scheme":   {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: ['github.com/a/b']")}, "nothing is fetched"},
		"a file above the base":         {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: [../../../etc/passwd]")}, "is not in the archive"},
		"a file by its absolute path":   {kustomize, nil, archive.Files{"kustomization.yaml": []byte("configMapGenerator: [{name: x, files: [/etc/hostname]}]")}, "etc/hostname"},
		"a patch from the network":      {kustomize, nil, archive.Files{"kustomization.yaml": []byte("resources: [o.yaml]\npatches: [{path: 'https://example.com/p.yaml'}]"), "o.yaml": cm}, "nothing is fetched"},
		"a remote base in the template": {kustomize, map[string]any{"kustomization": "resources: [base, 'https://example.com/x']"}, archive.Files{"kustomization.yaml": []byte("resources: []")}, "nothing is fetched"},
		"charts in kustomize":           {kustomize, nil, archive.Files{"kustomization.yaml": []byte("helmCharts: [{name: x, repo: 'https://example.com'}]")}, "helmCharts"},
		"an exec plugin": {kustomize, nil, archive.Files{"kustomization.yaml": []byte("generators: [g.yaml]"),
			"g.yaml": []byte("apiVersion: v1\nkind: Gen\nmetadata:\n  name: g\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: /bin/sh}")}, ""},
		"a plugin that is no function": {kustomize, nil, archive.Files{"kustomization.yaml": []byte("generators: [g.yaml]"),
			"g.yaml": []byte("apiVersion: someteam.example.com/v1\nkind: Gen\nmetadata: {name: g}")}, ""},
		"generated secrets": {kustomize, nil, archive.Files{"kustomization.yaml": []byte("secretGenerator: [{name: x, literals: [a=b]}]")}, "secretGenerator"},
		"a schema from the network": {helm, nil, archive.Files{"Chart.yaml": []byte("apiVersion: v2\nname: thing\nversion: 1.0.0"),
			"values.schema.json": []byte(`{"$ref": "https://example.com/schema.json"}`)}, "reads nothing from elsewhere"},
		"a schema from the disk": {helm, nil, archive.Files{"Chart.yaml": []byte("apiVersion: v2\nname: thing\nversion: 1.0.0"),
			"values.schema.json": []byte(`{"$ref": "file:///etc/hostname"}`)}, "reads nothing from elsewhere"},
		"a subchart from a repository": {helm, nil, archive.Files{"Chart.yaml": []byte("apiVersion: v2\nname: thing\nversion: 1.0.0\ndependencies: [{name: db, version: 1.0.0, repository: 'https://example.com'}]")}, "helm dependency build"},
		"a custom resource definition": {helm, nil, archive.Files{"Chart.yaml": []byte("apiVersion: v2\nname: thing\nversion: 1.0.0"), "crds/x.yaml": cm}, "belong to the cluster"},
		"a hook":                       {helm, nil, chart("apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, annotations: {helm.sh/hook: pre-install}}"), "turn it off"},
	} {
		if c.inputs == nil {
			c.inputs = map[string]any{}
		}
		d := definitionOf(t, c.driver, c.inputs, c.files)
		if _, err := rendered(t, p, d); errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHelmReadsOnlyTheChartsOwnFiles(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	files := chart(`{{ define "x" }}{{ .Files.Get "../../etc/hostname" }}{{ .Files.Get "/etc/hostname" }}{{ lookup "v1" "Secret" "kube-system" "x" | len }}{{ .Files.Get "own.txt" }}{{ end -}}
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {a: "{{ include "x" . }}"}`)
	files["own.txt"] = []byte("own")
	out, err := rendered(t, p, definitionOf(t, helm, map[string]any{}, files))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(out.GetBundle().GetFiles()["configmap-cm.yaml"]); !strings.Contains(text, `a: "0own"`) {
		t.Errorf("got %s", text)
	}
}

func TestWorkWithoutAnEndIsEndedWithinTheLimits(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: time.Second}})
	doubling := strings.Repeat("{{ $x = cat $x $x }}", 60)
	for name, d := range map[string]*rendererv1.ResourceDefinition{
		"a loop in a template":            definitionOf(t, template, map[string]any{"outputs": slow}, nil),
		"a loop in a claim":               definitionOf(t, claim, map[string]any{"manifest": slow, "outputs": map[string]any{"host": "status.host"}}, nil),
		"a loop in values":                definitionOf(t, helm, map[string]any{"values": slow}, chart("")),
		"a loop in a kustomization":       definitionOf(t, kustomize, map[string]any{"kustomization": slow}, archive.Files{"kustomization.yaml": []byte("resources: []")}),
		"loops in loops of a chart":       definitionOf(t, helm, map[string]any{}, chart(`{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}`)),
		"a chart that calls itself":       definitionOf(t, helm, map[string]any{}, chart(`{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`)),
		"includes that call themselves":   definitionOf(t, helm, map[string]any{}, chart(`{{ define "x" }}{{ include "x" . }}{{ include "x" . }}{{ end }}{{ include "x" . }}`)),
		"tpl that calls itself":           definitionOf(t, helm, map[string]any{}, chart(`{{ $t := "{{ tpl .t . }}" }}{{ tpl $t (dict "t" $t "Template" .Template) }}`)),
		"text that doubles":               definitionOf(t, helm, map[string]any{}, chart(`{{ $x := "aaaaaaaaaaaaaaaa" }}`+doubling+"{{ $x }}")),
		"one very large value":            definitionOf(t, helm, map[string]any{}, chart(`{{ $x := repeat 2000000000 "aaaaaaaaaaaaaaaa" }}a: {{ $x }}`)),
		"a list that is very long":        definitionOf(t, helm, map[string]any{}, chart(`{{ range untilStep 0 2000000000 1 }}{{ end }}`)),
		"output without an end":           definitionOf(t, helm, map[string]any{}, chart(`{{ range until 1000000 }}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{ end }}`)),
		"a template that calls itself":    definitionOf(t, template, map[string]any{"outputs": `{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`}, nil),
		"YAML that holds itself often":    definitionOf(t, helm, map[string]any{}, chart(bomb())),
		"kustomize with YAML of the same": definitionOf(t, kustomize, map[string]any{}, archive.Files{"kustomization.yaml": []byte("resources: [o.yaml]"), "o.yaml": []byte(bomb())}),
	} {
		begin := time.Now()
		_, err := rendered(t, p, d)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
	good := definitionOf(t, helm, map[string]any{}, chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}"))
	if _, err := rendered(t, p, good); err != nil {
		t.Errorf("after all of them: %v", err)
	}
}

func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\nx0: &x0 [a, a, a, a, a, a, a, a, a]\n")
	for i := 1; i < 12; i++ {
		ref := "*x" + string(rune('a'+i-2))
		if i == 1 {
			ref = "*x0"
		}
		b.WriteString("x" + string(rune('a'+i-1)) + ": &x" + string(rune('a'+i-1)) + " [" + strings.TrimSuffix(strings.Repeat(ref+", ", 9), ", ") + "]\n")
	}
	return b.String()
}

func TestAStaticDefinitionMakesNothingAndRunsNothing(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	out, err := rendered(t, p, definitionOf(t, static, map[string]any{"outputs": map[string]any{"a": `{{ env "HOME" }}`, "b": "(towpath) $(cat /etc/hostname)"}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.GetBundle().GetFiles()); n != 1 {
		t.Errorf("there are %d files", n)
	}
	if _, err := rendered(t, p, definitionOf(t, static, map[string]any{"outputs": map[string]any{"a": "b"}, "manifests": "- {}"}, nil)); errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
		t.Errorf("with manifests: %v", err)
	}
}
