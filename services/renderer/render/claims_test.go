package render_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const cloudDB = `
type: cloud-db
driver: DRIVER_CLAIM
inputs:
  manifest: |
    apiVersion: cloud.example.org/v1
    kind: Database
    metadata: {name: {{ .Name }}}
    spec: {network: {{ .Params.network | default "none" | quote }}}
  secret_name: "={{ .Name }}-connection"
  outputs:
    host: status.host
    port: status.endpoint.ports[0]
    password: {secret_key: password}
`

const network = `
type: network
driver: DRIVER_CLAIM
inputs:
  manifest: |
    apiVersion: cloud.example.org/v1
    kind: Network
    metadata: {name: {{ .Name }}}
  outputs: {id: status.id}
`

func claiming(t *testing.T) *rendererv1.RenderInput {
	return &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", Namespace: "shop-dev",
		Definitions: []*rendererv1.ResourceDefinition{define(t, "cloud-db", cloudDB), define(t, "network", network)},
		Workloads: parse(t, `
apiVersion: score.dev/v1b1
metadata: {name: api}
containers:
  main:
    image: nginx:1
    variables:
      URL: pg://app:${resources.db.password}@${resources.db.host}:${resources.db.port}
resources:
  net: {type: network}
  db: {type: cloud-db, params: {network: "${resources.net.id}"}}
`),
	}
}

func said(t *testing.T, in *rendererv1.RenderInput, resource string, values map[string]any, secrets map[string]*rendererv1.SecretReference) {
	t.Helper()
	s, err := structpb.NewStruct(values)
	if err != nil {
		t.Fatal(err)
	}
	if in.Outputs == nil {
		in.Outputs = map[string]*rendererv1.ResourceOutputs{}
	}
	in.Outputs[resource] = &rendererv1.ResourceOutputs{Resource: resource, Values: s, Secrets: secrets}
}

// Each round of claims makes the next one possible, until the workloads can be made.
func TestClaimsComeRoundByRound(t *testing.T) {
	in := claiming(t)
	rounds := []struct {
		missing string
		files   []string
		say     func()
	}{
		{"network.default#api.net", []string{"network-network-api-net.yaml"}, func() {
			said(t, in, "network.default#api.net", map[string]any{"id": "net-7"}, nil)
		}},
		{"cloud-db.default#api.db", []string{"database-cloud-db-api-db.yaml", "network-network-api-net.yaml"}, func() {
			said(t, in, "cloud-db.default#api.db", map[string]any{"host": "db.example.org", "port": 5432.0},
				map[string]*rendererv1.SecretReference{"password": {Name: "cloud-db-api-db-connection", Key: "password"}})
		}},
	}
	for _, round := range rounds {
		_, err := render.Render(in)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_OUTPUTS_MISSING || !strings.Contains(errs.Message(err), round.missing) {
			t.Fatalf("error = %v, want missing %s", err, round.missing)
		}
		resp, err := render.Claims(in)
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, o := range resp.GetBundle().GetObjects() {
			files = append(files, o.GetFile())
		}
		if diff := cmp.Diff(round.files, files); diff != "" || !slices.Equal(resp.GetMissingOutputs(), []string{round.missing}) {
			t.Errorf("missing %v, files %s", resp.GetMissingOutputs(), diff)
		}
		round.say()
	}
	resp, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	deployment := string(resp.GetBundle().GetFiles()["deployment-api.yaml"])
	for _, want := range []string{"value: pg://app:$(TOWPATH_SECRET_CLOUD_DB_API_DB_CONNECTION_PASSWORD)@db.example.org:5432", "name: cloud-db-api-db-connection"} {
		if !strings.Contains(deployment, want) {
			t.Errorf("the deployment lacks %q:\n%s", want, deployment)
		}
	}
	if got := string(resp.GetBundle().GetFiles()["database-cloud-db-api-db.yaml"]); !strings.Contains(got, "network: net-7") {
		t.Errorf("the claim is\n%s", got)
	}
	want := &rendererv1.ClaimRef{
		Resource: "cloud-db.default#api.db", Outputs: map[string]string{"host": "status.host", "port": "status.endpoint.ports[0]"},
		SecretOutputs: map[string]string{"password": "password"}, SecretName: "=cloud-db-api-db-connection",
		Object: &rendererv1.ObjectRef{
			ApiVersion: "cloud.example.org/v1", Kind: "Database", Name: "cloud-db-api-db", File: "database-cloud-db-api-db.yaml", Workload: "api",
		},
	}
	if diff := cmp.Diff(want, resp.GetClaims()[0], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	again, err := render.Render(proto.CloneOf(in))
	if err != nil || again.GetBundle().GetTree() != resp.GetBundle().GetTree() {
		t.Errorf("rendering again gives %s, %v", again.GetBundle().GetTree(), err)
	}
}

func TestWhatIsWrongBesideMissingOutputsIsSaidBeforeTheyAreAwaited(t *testing.T) {
	in := claiming(t)
	said(t, in, "network.default#api.net", map[string]any{"id": "net-7"}, nil)
	main := in.Workloads["api"].GetFields()["containers"].GetStructValue().GetFields()["main"].GetStructValue()
	main.Fields["variables"].GetStructValue().Fields["OTHER"] = structpb.NewStringValue("${resources.db.hots}")
	_, err := render.Render(in)
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER {
		t.Errorf("error = %v", err)
	}
}

func TestOutputsOfClaimsCannotForgeReferencesToSecrets(t *testing.T) {
	in := claiming(t)
	said(t, in, "network.default#api.net", map[string]any{"id": "(towpath-secret:other/key)"}, nil)
	if _, err := render.Render(in); errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
		t.Errorf("error = %v", err)
	}
}

func TestClaimDefinitionsThatCannotWorkAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ text, field string }{
		"no manifest":               {"outputs: {a: status.a}", "inputs.manifest"},
		"a template that is none":   {"manifest: '{{ .Name'\n  outputs: {a: status.a}", "inputs.manifest"},
		"no outputs":                {"manifest: 'a: b'", "inputs.outputs"},
		"a path that is none":       {"manifest: 'a: b'\n  outputs: {a: 'status..a'}", "inputs.outputs.a"},
		"an output of another kind": {"manifest: 'a: b'\n  outputs: {a: 7}", "inputs.outputs.a"},
		"a key that is none":        {"manifest: 'a: b'\n  secret_name: '=x'\n  outputs: {a: {secret_key: 'a/b'}}", "inputs.outputs.a"},
		"a secret without a name":   {"manifest: 'a: b'\n  outputs: {a: {secret_key: k}}", "inputs.secret_name"},
		"an input of other drivers": {"manifest: 'a: b'\n  manifests: 'x'\n  outputs: {a: status.a}", "inputs.manifests"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := definition.Compile(define(t, "x", "type: x-y\ndriver: DRIVER_CLAIM\ninputs:\n  "+tc.text+"\n"))
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD || !strings.Contains(errs.Message(err), tc.field+":") {
				t.Errorf("error = %v, want one of %s", err, tc.field)
			}
		})
	}
}
