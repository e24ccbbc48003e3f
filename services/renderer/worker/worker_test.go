package worker_test

import (
	"context"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"
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

func TestAWorkerThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: 20 * time.Second}})
	bad := compiled(t, helm, map[string]any{}, chart(`{{ $x := "aaaaaaaaaaaaaaaa" }}`+strings.Repeat("{{ $x = cat $x $x }}", 60)))
	_, err := p.Maker(context.Background()).Make(bad, request())
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || !strings.Contains(err.Error(), "more than 256 MB of memory") {
		t.Fatalf("got %v", err)
	}
}

func TestAWorkerThatIsKilledIsReplaced(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1})
	m := p.Maker(context.Background())
	d := compiled(t, template, map[string]any{"outputs": "a: b"}, nil)
	if _, err := m.Make(d, request()); err != nil {
		t.Fatal(err)
	}
	pid := p.Pids()[0]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Make(d, request()); errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
		t.Fatalf("of the one that was killed: %v", err)
	}
	got, err := m.Make(d, request())
	if err != nil || got.Outputs["a"] != "b" {
		t.Fatalf("of the next: %v %v", got, err)
	}
	if p.Pids()[0] == pid {
		t.Error("it is the same process")
	}
}

func TestAHangDelaysNobodyElseAsLongAsThereIsAWorker(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 2, Limits: worker.Limits{Time: 3 * time.Second}})
	bad, good := compiled(t, template, map[string]any{"outputs": slow}, nil), compiled(t, template, map[string]any{"outputs": "a: b"}, nil)
	warm := p.Maker(context.Background())
	if _, err := warm.Make(good, request()); err != nil {
		t.Fatal(err)
	}
	hung := make(chan error, 1)
	go func() { _, err := p.Maker(context.Background()).Make(bad, request()); hung <- err }()
	for range 20 {
		if _, err := warm.Make(good, request()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-hung:
			t.Fatalf("it does not hang: %v", err)
		default:
		}
	}
	if err := <-hung; errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
		t.Error(err)
	}
}

func TestWhenAllWorkersHangCallersGetAnErrorAndLaterTheirTurn(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: time.Second}})
	bad := compiled(t, template, map[string]any{"outputs": slow}, nil)
	outcomes := make(chan error, 6)
	for range cap(outcomes) {
		go func() { _, err := p.Maker(context.Background()).Make(bad, request()); outcomes <- err }()
	}
	for range cap(outcomes) {
		err := <-outcomes
		if r := errs.ReasonOf(err); r != errorsv1.Reason_REASON_DEFINITION_FAILED && (r != errorsv1.Reason_REASON_SERVICE_UNAVAILABLE || !errs.Is(err, errs.Unavailable)) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := p.Maker(context.Background()).Make(compiled(t, template, map[string]any{"outputs": "a: b"}, nil), request()); err != nil {
		t.Error(err)
	}
}

func TestACallerThatGoesAwayEndsItsWork(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: time.Minute}})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	begin := time.Now()
	_, err := p.Maker(ctx).Make(compiled(t, template, map[string]any{"outputs": slow}, nil), request())
	if !errs.Is(err, errs.Timeout) || time.Since(begin) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}

// On the systems that the tests run on all of it can be had; a worker says what it could not have.
func TestAWorkerIsConfined(t *testing.T) {
	t.Setenv("TOWPATH_PLANTED", "planted")
	p := newPool(t, worker.Config{Workers: 1})
	if _, err := p.Maker(context.Background()).Make(compiled(t, template, map[string]any{"outputs": "a: b"}, nil), request()); err != nil {
		t.Fatal(err)
	}
	proc := "/proc/" + strconv.Itoa(p.Pids()[0])
	if env, err := os.ReadFile(proc + "/environ"); err != nil || len(env) != 0 {
		t.Errorf("its environment is %q %v", env, err)
	}
	if dir, err := os.Readlink(proc + "/cwd"); err == nil && dir != "/" {
		t.Errorf("its folder is %s", dir)
	}
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("its status has no %q", want)
		}
	}
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, _ := os.Readlink(proc + "/fd/" + f.Name())
		if !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") && to != "/dev/null" { // Go's own
			t.Errorf("it has %s open", to)
		}
	}
}

func TestAProposedDefinitionIsTried(t *testing.T) {
	p := newPool(t, worker.Config{Workers: 1, Limits: worker.Limits{Time: time.Second}})
	for says, d := range map[string]*rendererv1.ResourceDefinition{
		"":                      definitionOf(t, helm, map[string]any{}, chart("a: {{ required \"x\" .Values.x }}")),
		"took longer":           definitionOf(t, template, map[string]any{"outputs": slow}, nil),
		"Chart.yaml":            definitionOf(t, helm, map[string]any{}, archive.Files{"a": []byte("b")}),
		"function \"nope\"":     definitionOf(t, helm, map[string]any{}, chart("{{ nope }}")),
		"no kustomization.yaml": definitionOf(t, kustomize, map[string]any{}, archive.Files{"a": []byte("b")}),
		"nothing is fetched":    definitionOf(t, kustomize, map[string]any{}, archive.Files{"kustomization.yaml": []byte("resources: ['https://example.com/x']")}),
	} {
		err := p.Check(context.Background(), d)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

// A field that somebody adds to requests or results must travel, too.
func TestEverythingOfARequestTravels(t *testing.T) {
	req := request()
	fill(t, reflect.ValueOf(req).Elem())
	got, err := worker.Travel(req)
	if err != nil {
		t.Fatal(err)
	}
	v, w := reflect.ValueOf(*req), reflect.ValueOf(*got)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || slices.Contains([]string{"Output", "Init", "State", "Shared"}, f.Name) {
			continue // functions are asked before; stages begin empty
		}
		if diff := cmp.Diff(v.Field(i).Interface(), w.Field(i).Interface(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", f.Name, diff)
		}
	}
}

func TestEverythingOfAResultTravels(t *testing.T) {
	var result definition.Result
	fill(t, reflect.ValueOf(&result).Elem())
	got, err := worker.TravelBack(result)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(result, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// fill gives a value to every field that has none.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		if !v.Type().Field(i).IsExported() || !f.IsZero() {
			continue
		}
		switch f.Interface().(type) {
		case string:
			f.SetString("given")
		case map[string]any:
			f.Set(reflect.ValueOf(map[string]any{"a": []any{1.5, true, nil, "x"}}))
		case *rendererv1.ResourceOutputs:
			f.Set(reflect.ValueOf(&rendererv1.ResourceOutputs{Resource: "x", Version: 3}))
		case []string:
			f.Set(reflect.ValueOf([]string{"given"}))
		case bool:
			f.SetBool(true)
		case []map[string]any:
			f.Set(reflect.ValueOf([]map[string]any{{"a": "b"}}))
		case *rendererv1.ClaimRef:
			f.Set(reflect.ValueOf(&rendererv1.ClaimRef{Resource: "x"}))
		case *definition.Rendering:
			f.Set(reflect.ValueOf(&definition.Rendering{Shared: "a: b", Secrets: []definition.RenderingSecret{{Value: "x", At: definition.Secret{Name: "n", Key: "k"}}}}))
		case func(definition.Reference) (any, error):
		default:
			t.Fatalf("the field %s has the type %s: carry it to workers and say here how", v.Type().Field(i).Name, f.Type())
		}
	}
}

func BenchmarkOneResource(b *testing.B) {
	d, err := definition.Compile(&rendererv1.ResourceDefinition{
		Type: "thing", Driver: template, Inputs: &structpb.Struct{Fields: map[string]*structpb.Value{
			"outputs":   structpb.NewStringValue("host: {{ .Name }}\nport: 5432"),
			"manifests": structpb.NewStringValue("- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: \"{{ .Name }}\"}\n  data: {a: b}"),
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("in process", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Make(request()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in a worker", func(b *testing.B) {
		p := worker.New(worker.Config{Workers: 1})
		defer p.Close()
		m, services := p.Maker(context.Background()), request().WorkloadServices
		for b.Loop() {
			req := request()
			req.WorkloadServices = services
			if _, err := m.Make(d, req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("start of a worker", func(b *testing.B) {
		for b.Loop() {
			p := worker.New(worker.Config{Workers: 1})
			if _, err := p.Maker(context.Background()).Make(d, request()); err != nil {
				b.Fatal(err)
			}
			_ = p.Close()
		}
	})
}
