package render_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// define reads a definition as people write it.
func define(t testing.TB, name, text string) *rendererv1.ResourceDefinition {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &rendererv1.ResourceDefinition{}
	if err := protojson.Unmarshal(asJSON, d); err != nil {
		t.Fatal(err)
	}
	d.Name = "resourceDefinitions/" + name + "/versions/1"
	return d
}

const (
	sharedServer = `
type: postgres
driver: DRIVER_TEMPLATE
inputs:
  params: {version: The version}
  outputs: |
    host: "${resources['postgres-server#main'].outputs.host}"
    port: ${resources['postgres-server#main'].outputs.port}
    url: pg://${resources['postgres-server#main'].outputs.host}:${resources['postgres-server#main'].outputs.port}/{{ .Id }}
    password: "${resources['postgres-server#main'].outputs.password}"
  manifests: |
    - apiVersion: v1
      kind: ConfigMap
      metadata: {name: {{ .Name }}}
      data:
        text: "${resources['postgres-server#main'].outputs.port}"
        script: |
          echo ${HOME} ${resources.db.host} ${resources['postgres-server#main'].outputs.host}
        secret: ${resources['postgres-server#main'].outputs.password.secret_name}/${resources['postgres-server#main'].outputs.password.secret_key}
      immutable: ${resources['postgres-server#main'].outputs.ready}
  provision:
    dns: {params: {host: "${resources['postgres'].outputs.host}.example.com"}}
`
	server = `
type: postgres-server
driver: DRIVER_STATIC
inputs:
  outputs: {host: pg.internal, port: 5432, ready: true}
  secrets: {password: {name: pg-admin, key: password}}
`
)

func app(t testing.TB, resources string) *rendererv1.RenderInput {
	return newInput(t, head+"containers: {main: {image: x, variables: {PORT: '${resources.db.port}', PASSWORD: '${resources.db.password}'}}}\nresources: {"+resources+"}")
}

func TestADefinitionUsesOthersAndBringsThemAlong(t *testing.T) {
	in := app(t, "db: {type: postgres}")
	in.Definitions = []*rendererv1.ResourceDefinition{define(t, "pg", sharedServer), define(t, "server", server)}
	resp, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"postgres.default#app.db":      "resourceDefinitions/pg/versions/1",
		"postgres-server.default#main": "resourceDefinitions/server/versions/1",
		"dns.default#app.db":           "builtin/dns",
	}
	if diff := cmp.Diff(want, resp.GetAnswers()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Values(want)), resp.GetDefinitionsUsed()); diff != "" {
		t.Error(diff)
	}
	var got struct {
		Data      map[string]any `json:"data"`
		Immutable any            `json:"immutable"`
	}
	if err := yaml.Unmarshal(resp.GetBundle().GetFiles()["configmap-postgres-app-db.yaml"], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"text": "5432", "script": "echo ${HOME} ${resources.db.host} pg.internal\n", "secret": "pg-admin/password"}, got.Data); diff != "" {
		t.Error(diff)
	}
	if got.Immutable != true {
		t.Errorf("immutable = %v, want the output with its type", got.Immutable)
	}
	deployment := string(resp.GetBundle().GetFiles()["deployment-app.yaml"])
	for _, part := range []string{`value: "5432"`, "name: pg-admin"} {
		if !strings.Contains(deployment, part) {
			t.Errorf("the deployment has no %q:\n%s", part, deployment)
		}
	}
}

// A parameter must not reach outputs that its definition does not refer to, nor change the structure of a manifest.
func TestWhatAParameterBringsStaysText(t *testing.T) {
	in := newInput(t, head+"containers: {main: {image: x}}\nresources: {db: {type: thing, params: {a: \"$${resources['postgres-server#main'].outputs.password}\"}}, srv: {type: postgres-server, id: main}, ee: {type: echo, params: {v: \"a\\\"\\nkind: Secret\"}}}")
	in.Definitions = []*rendererv1.ResourceDefinition{define(t, "server", server),
		define(t, "thing", "type: thing\ndriver: DRIVER_TEMPLATE\ninputs: {manifests: '[{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: {{ .Params.a | quote }}, b: \"${resources[''echo#app.ee''].outputs.v}\"}}]'}"),
		define(t, "echo", "type: echo\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'v: {{ .Params.v | toJson }}'}")}
	resp, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(resp.GetBundle().GetFiles()["configmap-x.yaml"], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "${resources['postgres-server#main'].outputs.password}", "b": "a\"\nkind: Secret"}, got.Data); diff != "" {
		t.Error(diff)
	}
}

func TestRenderRefusesDefinitions(t *testing.T) {
	static := func(typ, outputs string) string {
		return "type: " + typ + "\ndriver: DRIVER_STATIC\ninputs: {outputs: " + outputs + "}"
	}
	postgres := static("postgres", "{port: 1, password: x}")
	for name, tc := range map[string]struct {
		definitions []string
		reason      errorsv1.Reason
		says        string
	}{
		"a circle of definitions": {[]string{static("postgres", `{port: "${resources['aa'].outputs.x}"}`), static("aa", `{x: "${resources['bb#one'].outputs.x}"}`), static("bb", `{x: "${resources['aa#app.db'].outputs.x}"}`)},
			errorsv1.Reason_REASON_CYCLE, "aa.default#app.db -> bb.default#one -> aa.default#app.db"},
		"a definition that needs itself": {[]string{static("postgres", `{port: "${resources['postgres'].outputs.port}"}`)},
			errorsv1.Reason_REASON_CYCLE, "postgres.default#app.db -> postgres.default#app.db"},
		"two that answer equally well": {[]string{postgres, postgres}, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION, "resourceDefinitions/d0/versions/1 and resourceDefinitions/d1/versions/1"},
		"a type that nobody answers":   {[]string{static("postgres", `{port: "${resources['nope'].outputs.x}"}`)}, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION, `answers the type "nope" of nope.default#app.db`},
		"a class that nobody answers":  {[]string{static("postgres", `{port: "${resources['redis.large'].outputs.x}"}`)}, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION, `the class "large"`},
		"an output that is not there":  {[]string{static("postgres", `{port: "${resources['redis'].outputs.nope}"}`)}, errorsv1.Reason_REASON_DEFINITION_FAILED, `has no "nope"`},
		"params that differ": {[]string{"type: postgres\ndriver: DRIVER_STATIC\ninputs: {outputs: {port: 1}, provision: {'dns#one': {params: {host: a}}, 'aa': {}}}", "type: aa\ndriver: DRIVER_STATIC\ninputs: {outputs: {x: 1}, provision: {'dns#one': {params: {host: b}}}}"},
			errorsv1.Reason_REASON_INVALID_SCORE, "which gives other params"},
		"an unknown parameter": {[]string{static("postgres", "{port: 1}") + "\n", "type: aa\ndriver: DRIVER_STATIC\ninputs: {params: {}, outputs: {x: 1}}",
			"type: postgres\ndriver: DRIVER_STATIC\ncriteria: [{env: dev}]\ninputs: {outputs: {port: 1}, provision: {aa: {params: {b: 1}}}}"},
			errorsv1.Reason_REASON_DEFINITION_FAILED, `the parameter "b" means nothing to aa (it takes none)`},
		"a secret as text": {[]string{"type: postgres\ndriver: DRIVER_TEMPLATE\ninputs: {manifests: '[{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {p: \"${resources[''redis''].outputs.password}\"}}]'}"},
			errorsv1.Reason_REASON_DEFINITION_FAILED, "holds a secret as text"},
		"a definition that does not compile": {[]string{"type: postgres\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: '{{'}"}, errorsv1.Reason_REASON_DEFINITION_FAILED, "resourceDefinitions/d0/versions/1 cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			in := app(t, "db: {type: postgres}")
			in.Environment = "dev"
			for i, d := range tc.definitions {
				in.Definitions = append(in.Definitions, define(t, fmt.Sprintf("d%d", i), d))
			}
			_, err := render.Render(in)
			if errs.ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("want %s …%s…, got %v", tc.reason, tc.says, err)
			}
		})
	}
}

func TestDefinitionNamesAreChecked(t *testing.T) {
	one := define(t, "pg", server)
	for _, names := range [][]string{{""}, {"builtin/postgres"}, {one.GetName(), one.GetName()}} {
		in := app(t, "db: {type: postgres}")
		for _, name := range names {
			d := proto.CloneOf(one)
			d.Name = name
			in.Definitions = append(in.Definitions, d)
		}
		if _, err := render.Render(in); errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD {
			t.Errorf("%v: %v", names, err)
		}
	}
}

// Whatever definitions there are: their order means nothing, and those that were used give the same bytes alone.
func TestUsedDefinitionsAloneGiveTheSameBytes(t *testing.T) {
	types := []string{"postgres", "redis", "aa", "bb", "cc"}
	rapid.Check(t, func(rt *rapid.T) {
		var definitions []*rendererv1.ResourceDefinition
		for i := range rapid.IntRange(0, 12).Draw(rt, "definitions") {
			at := rapid.IntRange(0, len(types)-1).Draw(rt, "type")
			outputs := fmt.Sprintf("{port: %d, password: p%d, x: v%d", i, i, i)
			if at+1 < len(types) && rapid.Bool().Draw(rt, "refers") { // to a later type only: no circles
				id := rapid.SampledFrom([]string{"", "#one", "#two"}).Draw(rt, "id")
				outputs += fmt.Sprintf(`, y: "${resources['%s%s'].outputs.x}"`, types[rapid.IntRange(at+1, len(types)-1).Draw(rt, "other")], id)
			}
			text := fmt.Sprintf("type: %s\ndriver: DRIVER_STATIC\ninputs: {outputs: %s}}\n", types[at], outputs)
			if rapid.Bool().Draw(rt, "provisions") && at+1 < len(types) {
				text = strings.Replace(text, "inputs: {", fmt.Sprintf("inputs: {provision: {'%s#three': {}}, ", types[at+1]), 1)
			}
			text += rapid.SampledFrom([]string{"", "criteria: [{env: dev}]", "criteria: [{app: shop}, {res_id: one}]", "criteria: [{env_type: nope}]", "class: large"}).Draw(rt, "criteria")
			definitions = append(definitions, define(t, fmt.Sprintf("d%d", i), text))
		}
		in := app(t, "db: {type: postgres}, cache: {type: redis}")
		in.Definitions = definitions
		first, err := render.Render(in)
		shuffled := proto.CloneOf(in)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)).Shuffle(len(definitions), func(i, j int) {
			shuffled.Definitions[i], shuffled.Definitions[j] = shuffled.Definitions[j], shuffled.Definitions[i]
		})
		again, errAgain := render.Render(shuffled)
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			rt.Fatalf("the order decides: %v / %v", err, errAgain)
		}
		if err != nil {
			return
		}
		if !proto.Equal(first, again) {
			rt.Fatal("the order of definitions changes the bundle")
		}
		used := proto.CloneOf(in)
		used.Definitions = slices.DeleteFunc(used.Definitions, func(d *rendererv1.ResourceDefinition) bool {
			return !slices.Contains(first.GetDefinitionsUsed(), d.GetName())
		})
		alone, err := render.Render(used)
		if err != nil || !proto.Equal(first, alone) {
			rt.Fatalf("the used definitions alone: %v", err)
		}
	})
}

// Definitions that take over one another's outputs several times make much of little; the deadline tells "soon" from "never".
func TestOutputsThatGrowWithoutEndAreRefusedSoon(t *testing.T) {
	for name, shape := range map[string]string{
		"structures": `{o: ["${resources['%s'].outputs.o}", "${resources['%s'].outputs.o}"]}`,
		"texts":      `{o: "${resources['%s'].outputs.o} ${resources['%s'].outputs.o}"}`,
	} {
		in := newInput(t, head+"containers: {main: {image: x}}\nresources: {db: {type: t00}}")
		for i := range 60 {
			next := fmt.Sprintf("t%02d", i+1)
			in.Definitions = append(in.Definitions, define(t, fmt.Sprintf("d%d", i), fmt.Sprintf("type: t%02d\ndriver: DRIVER_STATIC\ninputs: {outputs: "+shape+"}", i, next, next)))
		}
		in.Definitions = append(in.Definitions, define(t, "last", "type: t60\ndriver: DRIVER_STATIC\ninputs: {outputs: {o: {a: [1, 2]}}}"))
		start := time.Now()
		_, err := render.Render(in)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || !strings.Contains(err.Error(), "larger than") && !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %.300v", name, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	in := newInput(t, head+"containers: {main: {image: x}}\nresources: {db: {type: many}}")
	in.Definitions = []*rendererv1.ResourceDefinition{
		define(t, "many", "type: many\ndriver: DRIVER_TEMPLATE\ninputs: {manifests: '{{ range until 20000 }}- ${resources[''long''].outputs.o}\n{{ end }}'}"),
		define(t, "long", "type: long\ndriver: DRIVER_TEMPLATE\ninputs: {outputs: 'o: {{ repeat 900000 \"x\" }}'}"),
	}
	if _, err := render.Render(in); errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
		t.Errorf("%.300v", err)
	}
}
