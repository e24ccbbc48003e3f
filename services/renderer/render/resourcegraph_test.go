package render_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/document"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// defineAll gives definitions by name as an organisation has them.
func defineAll(t testing.TB, texts map[string]string) (out []*rendererv1.ResourceDefinition) {
	t.Helper()
	for name, text := range texts {
		d, err := document.Definition([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d.Name = "resourceDefinitions/" + name + "/versions/1"
		if _, err := definition.Compile(d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, d)
	}
	return out
}

func graphInput(t testing.TB, definitions map[string]string, documents ...string) *rendererv1.RenderInput {
	t.Helper()
	return &rendererv1.RenderInput{Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev",
		Workloads: parse(t, documents...), Definitions: defineAll(t, definitions)}
}

const graphScore = `
apiVersion: score.dev/v1b1
metadata: {name: api}
containers:
  main:
    image: x
    variables: {A: "${resources.db.host} ${resources.db.port}", B: "$${resources.db.name}"}
    files:
      /etc/a: {content: "${resources.name.host}"}
      /etc/b: {content: "${resources.db.name}", noExpand: true}
resources:
  db: {type: store}
  name: {type: dns, params: {prefix: "${resources.db.host}"}}
`

func TestGraphTellsWhatNeedsWhatAndWhy(t *testing.T) {
	in := graphInput(t, map[string]string{
		"store":   "type: store\ndriver: static\ninputs:\n  outputs: {host: \"${resources['server#shared'].outputs.host}\", port: 1}\n  provision: {watcher: {params: {of: \"${resources['store'].outputs.port}\"}}}\n",
		"server":  "type: server\ndriver: template\ninputs:\n  outputs: 'host: h'\n  manifests: |\n    - {apiVersion: v1, kind: ConfigMap, metadata: {name: server}}\n",
		"watcher": "type: watcher\ndriver: static\ninputs: {outputs: {of: 1}}\n",
	}, graphScore)
	got, err := render.Graph(in, render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := &rendererv1.ResourceGraph{}
	if err := protojson.Unmarshal([]byte(`{"nodes": [
		{"id": "workload/api", "declared": "workloads.api", "workloads": ["api"], "objects": [
			{"apiVersion": "v1", "kind": "ConfigMap", "name": "api-main-files", "file": "configmap-api-main-files.yaml", "workload": "api"},
			{"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "file": "deployment-api.yaml", "workload": "api"}]},
		{"id": "server.default#shared", "type": "server", "class": "default", "resourceId": "shared", "definition": "resourceDefinitions/server/versions/1",
			"declared": "the definition resourceDefinitions/store/versions/1 of store.default#api.db", "workloads": ["api"], "outputs": ["host"], "objects": [
			{"apiVersion": "v1", "kind": "ConfigMap", "name": "server", "file": "configmap-server.yaml", "workload": "api"}]},
		{"id": "store.default#api.db", "type": "store", "class": "default", "resourceId": "api.db", "definition": "resourceDefinitions/store/versions/1",
			"declared": "workloads.api resources.db", "workloads": ["api"], "outputs": ["host", "port"]},
		{"id": "dns.default#api.name", "type": "dns", "class": "default", "resourceId": "api.name", "definition": "builtin/dns",
			"declared": "workloads.api resources.name", "workloads": ["api"], "outputs": ["host"]},
		{"id": "watcher.default#api.db", "type": "watcher", "class": "default", "resourceId": "api.db", "definition": "resourceDefinitions/watcher/versions/1",
			"declared": "the definition resourceDefinitions/store/versions/1 of store.default#api.db", "workloads": ["api"], "outputs": ["of"]}],
		"edges": [
		{"from": "dns.default#api.name", "to": "store.default#api.db", "why": "WHY_REFERS", "names": ["host"]},
		{"from": "store.default#api.db", "to": "server.default#shared", "why": "WHY_REFERS", "names": ["host"]},
		{"from": "store.default#api.db", "to": "watcher.default#api.db", "why": "WHY_PROVISIONS"},
		{"from": "watcher.default#api.db", "to": "store.default#api.db", "why": "WHY_REFERS", "names": ["port"]},
		{"from": "workload/api", "to": "dns.default#api.name", "why": "WHY_DECLARES", "names": ["name"]},
		{"from": "workload/api", "to": "dns.default#api.name", "why": "WHY_REFERS", "names": ["host"]},
		{"from": "workload/api", "to": "store.default#api.db", "why": "WHY_DECLARES", "names": ["db"]},
		{"from": "workload/api", "to": "store.default#api.db", "why": "WHY_REFERS", "names": ["host", "port"]}]}`), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestGraphShowsWhatIsAwaitedAndIsNoErrorForIt(t *testing.T) {
	in := graphInput(t, map[string]string{
		"cloud": "type: cloud\ndriver: claim\ninputs:\n  manifest: |\n    {apiVersion: example.com/v1, kind: Cloud, metadata: {name: c}}\n  outputs: {host: status.host}\n",
		"store": "type: store\ndriver: static\ninputs: {outputs: {host: \"${resources['cloud'].outputs.host}\", port: 1}}\n",
	}, graphScore)
	if _, err := render.Render(in); errs.ReasonOf(err) != errorsv1.Reason_REASON_OUTPUTS_MISSING {
		t.Fatalf("rendering it: %v", err)
	}
	got, err := render.Graph(in, render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	awaited := map[string]bool{}
	for _, n := range got.GetNodes() {
		awaited[n.GetId()] = n.GetAwaited()
	}
	want := map[string]bool{"workload/api": false, "cloud.default#api.db": true, "store.default#api.db": true, "dns.default#api.name": true}
	if diff := cmp.Diff(want, awaited); diff != "" {
		t.Error(diff)
	}
}

func TestGraphNamesTheCycle(t *testing.T) {
	in := graphInput(t, map[string]string{
		"store": "type: store\ndriver: static\ninputs: {outputs: {host: \"${resources['other'].outputs.host}\"}}\n",
		"other": "type: other\ndriver: static\ninputs: {outputs: {host: \"${resources['store'].outputs.host}\"}}\n",
	}, graphScore)
	_, err := render.Graph(in, render.Options{})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_CYCLE {
		t.Fatalf("error = %v", err)
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v", err)
	}
	if got, want := e.Meta["cycle"], "store.default#api.db -> other.default#api.db -> store.default#api.db"; got != want {
		t.Errorf("cycle = %q, want %q", got, want)
	}
}

func TestADefinitionSelectsAllResourcesOfAType(t *testing.T) {
	in := graphInput(t, map[string]string{
		"store": "type: store\ndriver: template\ninputs:\n  outputs: |\n    host: {{ .Id }}\n    port: 1\n",
		"index": "type: index\ndriver: template\ninputs:\n  outputs: |\n    all: ${resources['store#*'].outputs.host}\n    text: \"${resources['store.default#*'].outputs.host}\"\n    none: ${resources['store.large#*'].outputs.host}\n",
	}, graphScore, `
apiVersion: score.dev/v1b1
metadata: {name: web}
containers: {main: {image: x, variables: {A: "${resources.all.all} ${resources.all.text} ${resources.all.none}"}}}
resources: {all: {type: index}, own: {type: store}}
`)
	got, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `value: "[\"api.db\",\"web.own\"] [\"api.db\",\"web.own\"] []"`
	if text := string(got.GetBundle().GetFiles()["deployment-web.yaml"]); !strings.Contains(text, want) {
		t.Errorf("%s is not in\n%s", want, text)
	}
	graph, err := render.Graph(in, render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var to []string
	for _, e := range graph.GetEdges() {
		if e.GetFrom() == "index.default#web.all" {
			to = append(to, e.GetTo())
		}
	}
	if diff := cmp.Diff([]string{"store.default#api.db", "store.default#web.own"}, to); diff != "" {
		t.Error(diff)
	}
}
