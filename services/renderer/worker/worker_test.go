package worker_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/archive"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/worker"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPool(t *testing.T, cfg worker.Config) *worker.Pool {
	t.Helper()
	p := worker.New(cfg)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func compiled(t *testing.T, driver rendererv1.ResourceDefinition_Driver, inputs map[string]any, files archive.Files) *definition.Definition {
	t.Helper()
	spec := &rendererv1.ResourceDefinition{Name: "resourceDefinitions/thing/versions/1", Type: "thing", Driver: driver}
	if files != nil {
		var err error
		if spec.Archive, err = archive.Pack(files); err != nil {
			t.Fatal(err)
		}
		key := map[rendererv1.ResourceDefinition_Driver]string{rendererv1.ResourceDefinition_DRIVER_HELM: "chart", rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE: "base"}[driver]
		inputs[key] = archive.Digest(spec.GetArchive())
	}
	var err error
	if spec.Inputs, err = structpb.NewStruct(inputs); err != nil {
		t.Fatal(err)
	}
	d, err := definition.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func request() *definition.Request {
	return &definition.Request{
		Uid: "thing.default#a", Guid: "g", Type: "thing", Class: "default", Id: "a", Name: "thing-a", Params: map[string]any{"size": 3.0}, Application: "shop", Environment: "dev",
		Namespace: "shop-dev", Instance: "shop-dev", Domain: "localhost", Variables: map[string]string{"CURRENCY": "EUR"},
		WorkloadServices: map[string]any{"api": definition.Service{ServiceName: "api", Ports: map[string]any{"http": definition.Port{Name: "http", Port: 80}}}},
	}
}

const template = rendererv1.ResourceDefinition_DRIVER_TEMPLATE

// slow is a template that makes little output and far less than the counted limits, with work that grows and grows.
const slow = `{{ $s := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" | repeat 8000 }}{{ range $i := until 90000 }}{{ $x := regexFindAll "(a|b|c)*d" $s -1 }}{{ end }}a: b`

func TestAWorkerMakesWhatTheDefinitionMakesItself(t *testing.T) {
	d := compiled(t, template, map[string]any{
		"outputs":   "size: {{ .Params.size }}\nport: {{ (index .WorkloadServices.api.Ports \"http\").Port }}\ncurrency: {{ .Variables.CURRENCY }}\nlist: [1, 2.5, null, true]",
		"manifests": "- {apiVersion: v1, kind: ConfigMap, metadata: {name: \"{{ .Name }}\"}}",
	}, nil)
	p := newPool(t, worker.Config{Workers: 1})
	m := p.Maker(context.Background())
	for range 3 {
		got, err := m.Make(d, request())
		if err != nil {
			t.Fatal(err)
		}
		want, err := d.Make(request())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmpDiff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAWorkerThatTakesTooLongIsEndedAndTheNextRequestWorks(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: 700 * time.Millisecond}})
	m := p.Maker(context.Background())
	bad := compiled(t, template, map[string]any{"outputs": slow}, nil)
	begin := time.Now()
	_, err := m.Make(bad, request())
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || !strings.Contains(err.Error(), "took longer than 700ms") || !strings.Contains(err.Error(), "resourceDefinitions/thing/versions/1") {
		t.Fatalf("got %v", err)
	}
	good := compiled(t, template, map[string]any{"outputs": "a: b"}, nil)
	if _, err := m.Make(good, request()); err != nil {
		t.Fatal(err)
	}
}

func TestTheWorkerSeesNoEnvironment(t *testing.T) {
	t.Setenv("TOWPATH_PLANTED", "planted")
	_ = os.Getenv
}
