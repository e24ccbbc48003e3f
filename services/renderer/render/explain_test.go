package render_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// goldenInputs are the inputs of all golden cases.
func goldenInputs(t *testing.T) map[string]*rendererv1.RenderInput {
	t.Helper()
	cases, err := filepath.Glob("testdata/*/input.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	out := map[string]*rendererv1.RenderInput{}
	for _, path := range cases {
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.score.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(path))] = input(t, path, files)
	}
	shop, err := filepath.Glob("../../../examples/shop/*.score.yaml")
	if err != nil || len(shop) == 0 {
		t.Fatalf("the example's Score files: %v %v", shop, err)
	}
	out["shop"] = &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev",
		Workloads: load(t, shop...), Variables: map[string]string{"CURRENCY": "EUR"},
		Defaults: &rendererv1.EnvironmentDefaults{Restricted: true, Labels: map[string]string{"example.com/cost-center": "42"}},
	}
	return out
}

func TestEveryLeafOfEveryGoldenCaseHasAnOrigin(t *testing.T) {
	for name, in := range goldenInputs(t) {
		t.Run(name, func(t *testing.T) {
			resp, err := render.Explain(in, render.Options{}, "", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range resp.GetFields() {
				if f.GetOrigin().GetSource() == rendererv1.Origin_SOURCE_UNSPECIFIED {
					t.Errorf("%s %s has no origin", f.GetObject().GetFile(), f.GetPath())
				}
			}
		})
	}
}

func TestTracingChangesNoByte(t *testing.T) {
	for name, in := range goldenInputs(t) {
		t.Run(name, func(t *testing.T) {
			plain, err := render.Render(in)
			if err != nil {
				t.Fatal(err)
			}
			traced, err := render.Traced(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain.GetBundle().GetFiles(), traced.GetBundle().GetFiles()); diff != "" || plain.GetBundle().GetTree() != traced.GetBundle().GetTree() {
				t.Errorf("a traced rendering differs (-plain +traced)\n%s", diff)
			}
		})
	}
}

const explained = `apiVersion: score.dev/v1b1
metadata: {name: api}
service: {ports: {http: {port: 8080}}}
containers:
  main:
    image: ghcr.io/acme/api:1.2.3
    variables:
      LOG_LEVEL: ${resources.env.LOG_LEVEL}
      GREETING: hello
      MODE: fast
      API_TOKEN: tow_0123456789012345678901234567
      DATABASE_URL: postgres://${resources.db.host}/${resources.env.LOG_LEVEL}
      PASSWORD: ${resources.db.password}
resources:
  env: {type: environment}
  db: {type: postgres, params: {size: 2Gi}}
`

func explainedInput(t testing.TB) *rendererv1.RenderInput {
	return &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev", Workloads: parse(t, explained),
		Variables: map[string]string{"LOG_LEVEL": "debug"},
		Overlay:   []*rendererv1.Operation{{Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/containers/main/variables/MODE", Value: structpb.NewStringValue("slow")}},
		Defaults:  &rendererv1.EnvironmentDefaults{Replicas: 3, Labels: map[string]string{"example.com/team": "a"}},
	}
}

func TestOneLineTellsWhereAFieldComesFrom(t *testing.T) {
	in := explainedInput(t)
	for name, tc := range map[string]struct{ object, path, want, pointer string }{
		"a variable of the environment, by the container's place and the variable's name": {
			"deployment/api", ".spec.template.spec.containers[0].env[LOG_LEVEL]",
			"LOG_LEVEL = debug: variable LOG_LEVEL of shop/dev, through workloads.api containers.main.variables.LOG_LEVEL", "",
		},
		"the same by key, without the dot": {
			"Deployment/api", "spec.template.spec.containers[name=main].env[name=LOG_LEVEL].value",
			"LOG_LEVEL = debug: variable LOG_LEVEL of shop/dev, through workloads.api containers.main.variables.LOG_LEVEL", "",
		},
		"the same as a JSON Pointer of the file": {
			"deployment-api.yaml", "/spec/template/spec/containers/main/env/LOG_LEVEL/value",
			"LOG_LEVEL = debug: variable LOG_LEVEL of shop/dev, through workloads.api containers.main.variables.LOG_LEVEL", "",
		},
		"a Score path": {
			"deploy/api", ".spec.template.spec.containers[main].env[GREETING]",
			"GREETING = hello: workloads.api containers.main.variables.GREETING", "/workloads/api/containers/main/variables/GREETING",
		},
		"the overlay": {
			"deploy/api", ".spec.template.spec.containers[main].env[MODE]",
			"MODE = slow: overlay of shop/dev, /workloads/api/containers/main/variables/MODE", "/workloads/api/containers/main/variables/MODE",
		},
		"what looks like a secret is masked": {
			"deploy/api", ".spec.template.spec.containers[main].env[API_TOKEN]",
			"API_TOKEN = (secret): workloads.api containers.main.variables.API_TOKEN", "/workloads/api/containers/main/variables/API_TOKEN",
		},
		"text made of several": {
			"deploy/api", ".spec.template.spec.containers[main].env[DATABASE_URL]",
			"DATABASE_URL = postgres://postgres-api-db/debug: workloads.api containers.main.variables.DATABASE_URL, made of output host of postgres.default#api.db by builtin/postgres; variable LOG_LEVEL of shop/dev",
			"/workloads/api/containers/main/variables/DATABASE_URL",
		},
		"the environment type's default": {"deploy/api", "spec.replicas", "spec.replicas = 3: environment type development, replicas", ""},
		"the environment type's label":   {"svc/api", "metadata.labels[example.com/team]", "metadata.labels[example.com/team] = a: environment type development, labels.example\\.com/team", ""},
		"the namespace":                  {"svc/api", "metadata.namespace", "metadata.namespace = shop-dev: namespace of the environment shop/dev", ""},
		"a parameter of a resource": {
			"sts/postgres-api-db", "spec.volumeClaimTemplates[data].spec.resources.requests[storage]",
			"spec.volumeClaimTemplates[name=data].spec.resources.requests[storage] = 2Gi: resource definition builtin/postgres inputs.manifests of postgres.default#api.db, made of workloads.api resources.db.params.size", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := render.Explain(in, render.Options{}, tc.object, tc.path)
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.GetFields()) != 1 || resp.GetFields()[0].GetText() != tc.want || resp.GetFields()[0].GetOrigin().GetPointer() != tc.pointer {
				t.Errorf("got %v\nwant %s", resp.GetFields(), tc.want)
			}
		})
	}
}

func TestExplainSaysWhatThereIs(t *testing.T) {
	in := explainedInput(t)
	for name, tc := range map[string]struct {
		object, path string
		kind         errs.Kind
		words        []string
	}{
		"an unknown object":            {"deployment/apo", "", errs.NotFound, []string{"deployment/apo", "did you mean deployment/api?", "service/api"}},
		"an object without a kind":     {"api", "", errs.Invalid, []string{"object", "deployment/api"}},
		"an unknown field":             {"deployment/api", ".spec.replica", errs.NotFound, []string{`"replica" in spec`, "did you mean replicas?", "selector"}},
		"an unknown variable":          {"deployment/api", ".spec.template.spec.containers[0].env[LOG_LEVL]", errs.NotFound, []string{"did you mean [name=LOG_LEVEL]?", "[name=GREETING]"}},
		"a field of a scalar":          {"deployment/api", ".spec.replicas.x", errs.NotFound, []string{"spec.replicas holds one value"}},
		"an index beyond the list":     {"deployment/api", ".spec.template.spec.containers[7]", errs.NotFound, []string{"[name=main]"}},
		"a bracket that is not closed": {"deployment/api", ".spec[", errs.Invalid, []string{"path", "not closed"}},
		"two dots":                     {"deployment/api", "spec..replicas", errs.Invalid, []string{"path", "two dots"}},
		"a field without its object":   {"", ".spec", errs.Invalid, []string{"object", "deployment/api"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render.Explain(in, render.Options{}, tc.object, tc.path)
			if errs.KindOf(err) != tc.kind {
				t.Fatalf("error %v", err)
			}
			for _, word := range tc.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		})
	}
}

func BenchmarkExplain100(b *testing.B) {
	in := benchInput(b, 100)
	for b.Loop() {
		if _, err := render.Explain(in, render.Options{}, "deployment/api-050", ""); err != nil {
			b.Fatal(err)
		}
	}
}
