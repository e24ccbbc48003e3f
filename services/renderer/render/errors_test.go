package render_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const head = "apiVersion: score.dev/v1b1\nmetadata: {name: app}\n"

func newInput(t testing.TB, documents ...string) *rendererv1.RenderInput {
	return &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: parse(t, documents...),
		Variables: map[string]string{"LOG_LEVEL": "info"}}
}

func set(path string, value any) *rendererv1.Operation {
	v, err := structpb.NewValue(value)
	if err != nil {
		panic(err)
	}
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: v}
}

func fails(t *testing.T, in *rendererv1.RenderInput, reason errorsv1.Reason, says ...string) {
	t.Helper()
	resp, err := render.Render(in)
	if resp != nil {
		t.Fatalf("an answer beside an error: %v", resp)
	}
	if errs.ReasonOf(err) != reason {
		t.Fatalf("want %s, got %v", reason, err)
	}
	for _, want := range says {
		if !strings.Contains(errs.Message(err), want) {
			t.Errorf("want …%s…, got %s", want, errs.Message(err))
		}
	}
}

func TestRenderRefusesDocuments(t *testing.T) {
	const container = head + "containers: {main: {image: x, "
	for name, tc := range map[string]struct {
		document string
		reason   errorsv1.Reason
		says     string
	}{
		"an unknown resource type": {head + "containers: {main: {image: x}}\nresources: {db: {type: postgress}}",
			errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION, "known types: amqp, dns, elasticsearch, endpoint, environment, kafka, kafka-topic"},
		"an unknown class": {head + "containers: {main: {image: x}}\nresources: {db: {type: postgres, class: huge}}",
			errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION, `the class "huge"`},
		"an unknown parameter": {head + "containers: {main: {image: x}}\nresources: {db: {type: postgres, params: {disk: 1Gi}}}",
			errorsv1.Reason_REASON_DEFINITION_FAILED, `the parameter "disk" means nothing to postgres (known: database, size, storageClassName, version)`},
		"a variable that is not set": {container + "variables: {A: '${resources.env.LOG_LEVE}'}}}\nresources: {env: {type: environment}}",
			errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, `workloads.app containers.main.variables.A: ${resources.env.LOG_LEVE}: the environment shop/dev has no variable "LOG_LEVE"; did you mean "LOG_LEVEL"?; set it with: tow set LOG_LEVE=VALUE -e shop/dev`},
		"an output that is not there": {container + "variables: {A: '${resources.db.hots}'}}}\nresources: {db: {type: redis}}",
			errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, `has no "hots"; did you mean "host"? (it has: host, password, port, username)`},
		"a step into an output that is no map": {container + "variables: {A: '${resources.db.host.x}'}}}\nresources: {db: {type: redis}}",
			errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, "is no map"},
		"a placeholder in params": {head + "containers: {main: {image: x}}\nresources: {env: {type: environment}, dns: {type: dns, params: {host: '${resources.env.NOPE}'}}}",
			errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, "workloads.app resources.dns.params.host: ${resources.env.NOPE}"},
		"a circle of resources": {head + "containers: {main: {image: x}}\nresources: {aa: {type: dns, params: {host: '${resources.bb.host}'}}, bb: {type: dns, params: {host: '${resources.aa.host}'}}}",
			errorsv1.Reason_REASON_CYCLE, "dns.default#app.aa -> dns.default#app.bb -> dns.default#app.aa"},
		"a secret in a manifest": {container + "}}\nservice: {ports: {web: {port: 80}}}\nresources: {db: {type: redis}, route: {type: route, params: {host: h, path: '/${resources.db.password}', port: 80}}}",
			errorsv1.Reason_REASON_DEFINITION_FAILED, "holds a secret as text"},
		"a volume that is no volume": {container + "volumes: {/x: {source: data}}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, `workloads.app containers.main.volumes./x.source: "data" is not a volume`},
		"a volume of another type": {container + "volumes: {/x: {source: '${resources.db}'}}}}\nresources: {db: {type: redis}}",
			errorsv1.Reason_REASON_INVALID_SCORE, `"redis.default#app.db" is not a volume`},
		"a volume path that leaves the volume": {container + "volumes: {/x: {source: '${resources.v1}', path: ../y}}}}\nresources: {v1: {type: volume}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "leaves the volume"},
		"volumes that look alike": {container + "volumes: {/x: {source: '${resources.v1}'}, /y: {source: '${resources.v2}'}}}}\nresources: {v1: {type: volume, id: a.b}, v2: {type: volume, id: a-b}}",
			errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "both make the PersistentVolumeClaim"},
		"two things mounted at one path": {container + "files: {/x: {content: a}}, volumes: {/x: {source: '${resources.v1}'}}}}\nresources: {v1: {type: volume}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "mounted at /x already"},
		"a relative file path": {container + "files: {etc/x: {content: a}}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "expected a clean absolute path"},
		"a path with a colon": {container + "files: {'/a:b': {content: a}}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "expected a clean absolute path"},
		"a variable's name beyond ASCII": {container + "variables: {Ä: a}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "must be printable ASCII"},
		"a reserved variable": {container + "variables: {TOWPATH_SECRET_X: a}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "are reserved"},
		"text that looks like a secret reference": {container + "variables: {A: '(towpath-secret:other/key)'}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "is reserved"},
		"a probe on a container that ends": {container + "before: {init: {ready: complete}}}, init: {image: y, livenessProbe: {exec: {command: [x]}}}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app containers.init.livenessProbe: a container that others wait for to be complete cannot have probes"},
		"healthy without a probe": {container + "before: {side: {ready: healthy}}}, side: {image: y}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "has no probe: add a readinessProbe"},
		"complete and running at once": {container + "before: {side: {ready: started}}}, other: {image: z, before: {side: {ready: complete}}}, side: {image: y}}",
			errorsv1.Reason_REASON_INVALID_SCORE, "ask for one of them"},
		"files beyond a ConfigMap": {container + "files: {/x: {content: '" + strings.Repeat("x", 600_000) + "'}, /y: {content: '${metadata.name}" + strings.Repeat("y", 400_000) + "'}}}}",
			errorsv1.Reason_REASON_TOO_LARGE, "workloads.app containers.main.files: hold 1000003 bytes together"},
		"a port that the service does not have": {container + "}}\nservice: {ports: {web: {port: 80}}}\nresources: {route: {type: route, params: {host: h, port: 81}}}",
			errorsv1.Reason_REASON_DEFINITION_FAILED, "the service of app has no port 81: it has web"},
		"a route without a service": {container + "}}\nresources: {route: {type: route, params: {host: h, port: 81}}}",
			errorsv1.Reason_REASON_DEFINITION_FAILED, "give it service.ports"},
		"another workload that is not there": {container + "}}\nresources: {api: {type: service-port, params: {workload: apo, port: 80}}}",
			errorsv1.Reason_REASON_DEFINITION_FAILED, `params.workload is "apo"`},
	} {
		t.Run(name, func(t *testing.T) { fails(t, newInput(t, tc.document), tc.reason, tc.says) })
	}
}

func TestRenderRefusesAnnotations(t *testing.T) {
	for annotation, says := range map[string]string{
		"towpath.dev/kind: Jop":          `"Jop" is no kind of workload; did you mean "Job"?`,
		"towpath.dev/replicas: many":     `"many" is not valid: expected a whole number from 0 to 1000`,
		"towpath.dev/replicas: '-1'":     `"-1" is not valid`,
		"towpath.dev/run-as-user: root":  `"root" is not a user`,
		"towpath.dev/run-as-user: '0'":   `"0" is not a user`,
		"towpath.dev/replicas: '100000'": "from 0 to 1000",
	} {
		t.Run(annotation, func(t *testing.T) {
			fails(t, newInput(t, "apiVersion: score.dev/v1b1\nmetadata: {name: app, annotations: {"+annotation+"}}\ncontainers: {main: {image: x}}"),
				errorsv1.Reason_REASON_INVALID_SCORE, says, `workloads.app metadata.annotations.towpath\.dev/`)
		})
	}
}

func TestRenderReportsTheProblemsOfAllWorkloads(t *testing.T) {
	fails(t, newInput(t, head+"containers: {main: {image: x, variables: {A: '${resources.env.ONE}', B: '${resources.env.TWO}'}}}\nresources: {env: {type: environment}}",
		strings.Replace(head, "name: app", "name: web", 1)+"containers: {main: {image: x, variables: {C: '${resources.env.THREE}'}}}\nresources: {env: {type: environment}}"),
		errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, "ONE", "TWO", "THREE", "workloads.web containers.main.variables.C")
}

func TestRenderRefusesInput(t *testing.T) {
	valid := head + "containers: {main: {image: x}}"
	for name, tc := range map[string]struct {
		change func(in *rendererv1.RenderInput)
		reason errorsv1.Reason
		says   string
	}{
		"no application":    {func(in *rendererv1.RenderInput) { in.Application = "" }, errorsv1.Reason_REASON_INVALID_FIELD, "input.application"},
		"a wrong namespace": {func(in *rendererv1.RenderInput) { in.Namespace = "a/b" }, errorsv1.Reason_REASON_INVALID_FIELD, "input.namespace"},
		"negative replicas": {func(in *rendererv1.RenderInput) { in.Defaults = &rendererv1.EnvironmentDefaults{Replicas: -1} }, errorsv1.Reason_REASON_INVALID_FIELD, "input.defaults.replicas"},
		"a wrong domain":    {func(in *rendererv1.RenderInput) { in.Defaults = &rendererv1.EnvironmentDefaults{Domain: "a b"} }, errorsv1.Reason_REASON_INVALID_FIELD, "input.defaults.domain"},
		"a reserved label": {func(in *rendererv1.RenderInput) {
			in.Defaults = &rendererv1.EnvironmentDefaults{Labels: map[string]string{"app.kubernetes.io/name": "x"}}
		}, errorsv1.Reason_REASON_INVALID_FIELD, "is reserved"},
		"a wrong label": {func(in *rendererv1.RenderInput) {
			in.Defaults = &rendererv1.EnvironmentDefaults{Labels: map[string]string{"a b": "x"}}
		}, errorsv1.Reason_REASON_INVALID_FIELD, "is not the name of a Kubernetes label"},
		"a wrong label text": {func(in *rendererv1.RenderInput) {
			in.Defaults = &rendererv1.EnvironmentDefaults{Labels: map[string]string{"a": "x y"}}
		}, errorsv1.Reason_REASON_INVALID_FIELD, "is not the value of a Kubernetes label"},
		"a secret reference": {func(in *rendererv1.RenderInput) { in.Variables["X"] = "(towpath-secret:a/b)" }, errorsv1.Reason_REASON_INVALID_FIELD, `input.variables["X"]`},
		"too much":           {func(in *rendererv1.RenderInput) { in.Variables["X"] = strings.Repeat("x", 17<<20) }, errorsv1.Reason_REASON_TOO_LARGE, "the limit is 16777216"},
		"another name":       {func(in *rendererv1.RenderInput) { in.Workloads["web"] = in.Workloads["app"] }, errorsv1.Reason_REASON_INVALID_SCORE, `workloads.web metadata.name: is "app"`},
		"an empty workload":  {func(in *rendererv1.RenderInput) { in.Workloads["app"] = nil }, errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app apiVersion: is required"},
		"a wrong resource": {func(in *rendererv1.RenderInput) { in.Resources = map[string]*structpb.Struct{"db": {}} },
			errorsv1.Reason_REASON_INVALID_SCORE, "set resources.db.type: is required"},
		"an overlay without action": {func(in *rendererv1.RenderInput) { in.Overlay = []*rendererv1.Operation{{Path: "/workloads/app"}} }, errorsv1.Reason_REASON_INVALID_FIELD, "input.overlay[0].action"},
		"an overlay elsewhere":      {func(in *rendererv1.RenderInput) { in.Overlay = []*rendererv1.Operation{set("/other/x", 1)} }, errorsv1.Reason_REASON_INVALID_FIELD, "must point below /workloads, /resources or /objects"},
		"an overlay that removes nothing": {func(in *rendererv1.RenderInput) {
			in.Overlay = []*rendererv1.Operation{set("/workloads/app/metadata/x", 1), {Action: rendererv1.Operation_ACTION_REMOVE, Path: "/workloads/app/service"}}
		}, errorsv1.Reason_REASON_INVALID_FIELD, "input.overlay[1] /workloads/app/service: cannot be removed"},
		"an overlay that breaks the schema": {func(in *rendererv1.RenderInput) {
			in.Overlay = []*rendererv1.Operation{set("/workloads/app/containers/main/variables/PORT", 80)}
		}, errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app containers.main.variables.PORT: expected a string, got the number 80"},
		"an overlay that puts no workload": {func(in *rendererv1.RenderInput) { in.Overlay = []*rendererv1.Operation{set("/workloads/app", "x")} }, errorsv1.Reason_REASON_INVALID_SCORE, "workloads.app: expected a map"},
		"an overlay with a placeholder image": {func(in *rendererv1.RenderInput) {
			in.Overlay = []*rendererv1.Operation{set("/workloads/app/containers/main/image", ".")}
		}, errorsv1.Reason_REASON_INVALID_SCORE, "set an image"},
		"an overlay with a source file": {func(in *rendererv1.RenderInput) {
			in.Overlay = []*rendererv1.Operation{set("/workloads/app/containers/main/files/~1x", map[string]any{"source": "x"})}
		}, errorsv1.Reason_REASON_INVALID_SCORE, "give content or binaryContent"},
		"an overlay without end": {func(in *rendererv1.RenderInput) {
			for range 2001 {
				in.Overlay = append(in.Overlay, set("/workloads/app/metadata/x", 1))
			}
		}, errorsv1.Reason_REASON_INVALID_FIELD, "has 2001 operations"},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInput(t, valid)
			tc.change(in)
			fails(t, in, tc.reason, tc.says)
		})
	}
}

func TestSharedResources(t *testing.T) {
	one := "apiVersion: score.dev/v1b1\nmetadata: {name: one, zone: eu}\ncontainers: {main: {image: x, variables: {H: '${resources.dns.host}'}}}\nresources: {dns: {type: dns, id: shared, params: {host: '${metadata.name}.example.com'}}}"
	two := "apiVersion: score.dev/v1b1\nmetadata: {name: two}\ncontainers: {main: {image: x, variables: {H: '${resources.name.host}'}}}\nresources: {name: {type: dns, id: shared%s}}"
	resp, err := render.Render(newInput(t, one, strings.Replace(two, "%s", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"deployment-one.yaml", "deployment-two.yaml"} {
		if got := string(resp.GetBundle().GetFiles()[file]); !strings.Contains(got, "value: one.example.com") {
			t.Errorf("%s does not have the host name of the workload that owns the resource:\n%s", file, got)
		}
	}
	fails(t, newInput(t, one, strings.Replace(two, "%s", ", params: {host: other}", 1)), errorsv1.Reason_REASON_INVALID_SCORE,
		"workloads.two resources.name.params: dns.default#shared is shared with workloads.one resources.dns, which gives other params")
}
