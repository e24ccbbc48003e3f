package render_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// pod renders Score documents and gives the one container of the first workload, and all files as one text.
func pod(t *testing.T, documents ...string) (container map[string]any, all string) {
	t.Helper()
	resp, err := render.Render(newInput(t, documents...))
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range resp.GetBundle().GetFiles() {
		all += string(content)
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(resp.GetBundle().GetFiles()["deployment-app.yaml"], &deployment); err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template.Spec.Containers[0], all
}

// value gives a variable of a container.
func value(container map[string]any, name string) any {
	env, _ := container["env"].([]any)
	for _, e := range env {
		if v := e.(map[string]any); v["name"] == name {
			return v["value"]
		}
	}
	return nil
}

func TestPlaceholdersAreReplacedNowhereElse(t *testing.T) {
	container, all := pod(t, head+`containers:
  main:
    image: x:${metadata.name}
    command: ["${metadata.name}", $$]
    args: ["${nope.x}", "$${a}", "${}"]
    variables: {A: "${metadata.name}", "K${metadata.name}": x}
    files:
      /expanded: {content: "e=${metadata.name} $$ $5 $${x}"}
      /verbatim: {content: "v=${metadata.name} $$", noExpand: true}
      /binary: {binaryContent: JHttZXRhZGF0YS5uYW1lfQ==}
    volumes: {/data: {source: "${resources.data}", path: "${metadata.name}"}}
    livenessProbe: {exec: {command: ["${metadata.name}"]}}
    readinessProbe: {httpGet: {path: "/${metadata.name}", port: 80}}
resources: {data: {type: volume}}
`)
	text := fmt.Sprint(container)
	for _, want := range []string{"image:x:${metadata.name}", "command:[${metadata.name} $$", "${nope.x}", "path:/${metadata.name}", "subPath:${metadata.name}", "K${metadata.name}"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %s in %s", want, text)
		}
	}
	if got := value(container, "A"); got != "app" {
		t.Errorf("A is %v", got)
	}
	for _, want := range []string{"e=app $ $5 ${x}", "v=${metadata.name} $$", "JHttZXRhZGF0YS5uYW1lfQ=="} {
		if !strings.Contains(all, want) {
			t.Errorf("want %s in\n%s", want, all)
		}
	}
}

func TestValuesThatAreNoStringsBecomeJSONWithSortedKeys(t *testing.T) {
	container, _ := pod(t, `apiVersion: score.dev/v1b1
metadata: {name: app, map: {z: 1, a: [true, null, 1.5, "<x> & y"], m: {}}, number: 17, big: 9007199254740992, small: 0.000001, flag: false, nothing: null, text: "17", dotted.key: d, list: []}
containers:
  main:
    image: x
    variables: {A: "${metadata.map}", B: "${metadata.number}", C: "${metadata.big}", D: "${metadata.flag}", E: "${metadata.nothing}", F: "${metadata.text}", G: "${metadata.dotted\\.key}", H: "${metadata.list}", I: "${metadata.small}"}
`)
	for name, want := range map[string]string{"A": `{"a":[true,null,1.5,"<x> & y"],"m":{},"z":1}`, "B": "17", "C": "9007199254740992", "D": "false", "E": "null", "F": "17", "G": "d", "H": "[]", "I": "0.000001"} {
		if got := value(container, name); got != want {
			t.Errorf("%s: want %s, got %v", name, want, got)
		}
	}
}

// A resource without an output is its opaque id, which shows how the id is made: type.class#id, the class default and the id
// workload.resource where none is given.
func TestIdentityOfResources(t *testing.T) {
	container, _ := pod(t, head+`containers: {main: {image: x, variables: {A: "${resources.own}", B: "${resources.given}", C: "${resources.env}"}}}
resources: {own: {type: dns}, given: {type: redis, id: shop.cache}, env: {type: environment}}
`)
	for name, want := range map[string]string{"A": "dns.default#app.own", "B": "redis.default#shop.cache", "C": "environment.default#app.env"} {
		if got := value(container, name); got != want {
			t.Errorf("%s: want %s, got %v", name, want, got)
		}
	}
}

const other = "apiVersion: score.dev/v1b1\nmetadata: {name: zoo}\ncontainers: {main: {image: x}}\nresources: {mine: {type: dns, id: shared%s}}"

func TestOneResourceForTheSameIdentity(t *testing.T) {
	app := head + `containers: {main: {image: x, variables: {H: "${resources.theirs.host}", I: "${resources.theirs}"}}}` + "\nresources: {theirs: {type: dns, id: shared%s}}"
	for name, tc := range map[string]struct{ first, second, host string }{
		"the first declares all":                      {`, params: {host: "${metadata.name}.example.com"}`, "", "app.example.com"},
		"another adds params, in its own metadata":    {"", `, params: {host: "${metadata.name}.example.com"}`, "zoo.example.com"},
		"both say the same, the first one's metadata": {`, params: {host: "${metadata.name}.example.com"}`, `, params: {host: "${metadata.name}.example.com"}`, "app.example.com"},
		"another adds metadata":                       {`, params: {host: h.example.com}`, `, metadata: {team: blue}`, "h.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			container, _ := pod(t, fmt.Sprintf(app, tc.first), fmt.Sprintf(other, tc.second))
			if got := value(container, "H"); got != tc.host {
				t.Errorf("want %s, got %v", tc.host, got)
			}
			if got := value(container, "I"); got != "dns.default#shared" {
				t.Errorf("the id is %v", got)
			}
		})
	}
	for what, second := range map[string]string{"params": ", params: {host: b}", "metadata": ", params: {host: a}, metadata: {x: 2}"} {
		fails(t, newInput(t, fmt.Sprintf(app, ", params: {host: a}, metadata: {x: 1}"), fmt.Sprintf(other, second)), errorsv1.Reason_REASON_INVALID_SCORE,
			"workloads.zoo resources.mine."+what+": dns.default#shared is shared with workloads.app resources.theirs, which gives other "+what)
	}
}

// Params refer to outputs of other resources, at any depth; what they refer to is made first, whatever it is called.
func TestParamsDecideTheOrder(t *testing.T) {
	container, _ := pod(t, head+`containers: {main: {image: x, variables: {H: "${resources.aa.host}"}}}
resources:
  aa: {type: dns, params: {host: "a.${resources.zz.host}"}}
  zz: {type: dns, params: {host: "z.${resources.mm.host}"}}
  mm: {type: dns, params: {host: "m.${metadata.name}.example.com"}}
`)
	if got := value(container, "H"); got != "a.z.m.app.example.com" {
		t.Errorf("got %v", got)
	}
	fails(t, newInput(t, head+`containers: {main: {image: x}}
resources: {one: {type: dns, params: {host: "${resources.two.host}"}}, two: {type: dns, params: {host: "${resources.one.host}"}}}`),
		errorsv1.Reason_REASON_CYCLE, "dns.default#app.one -> dns.default#app.two -> dns.default#app.one")
}

func TestAmountsAndProbesAsTheSpecificationMeansThem(t *testing.T) {
	container, _ := pod(t, head+`containers:
  main:
    image: x
    resources: {limits: {memory: 64K, cpu: "0.5"}, requests: {memory: 64Ki, cpu: 100m}}
    livenessProbe: {httpGet: {path: /, port: 80}, exec: {command: ["true"]}}
    readinessProbe: {httpGet: {path: /ready, port: 80, scheme: HTTPS, host: h, httpHeaders: [{name: A, value: b}]}}
`)
	if got, want := fmt.Sprint(container["resources"]), "map[limits:map[cpu:0.5 memory:64k] requests:map[cpu:100m memory:64Ki]]"; got != want {
		t.Errorf("want %s, got %s", want, got)
	}
	if got := fmt.Sprint(container["livenessProbe"]); !strings.Contains(got, "exec:map[command:[true]]") || strings.Contains(got, "httpGet") {
		t.Errorf("exec is not what is used: %s", got)
	}
	if got := fmt.Sprint(container["readinessProbe"]); !strings.Contains(got, "httpGet:map[host:h httpHeaders:[map[name:A value:b]] path:/ready port:80 scheme:HTTPS]") {
		t.Errorf("readinessProbe: %s", got)
	}
}

// A port of the Service goes to the port of the same number unless it says another one, by TCP unless it says UDP.
func TestServicePorts(t *testing.T) {
	resp, err := render.Render(newInput(t, head+"containers: {main: {image: x}}\nservice: {ports: {web: {port: 80, targetPort: 8080}, dns: {port: 53, protocol: UDP}, same: {port: 9}}}"))
	if err != nil {
		t.Fatal(err)
	}
	var service struct {
		Spec struct {
			Ports []struct {
				Name, Protocol   string
				Port, TargetPort int
			}
		}
	}
	if err := yaml.Unmarshal(resp.GetBundle().GetFiles()["service-app.yaml"], &service); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range service.Spec.Ports {
		got[p.Name] = fmt.Sprint(p.Port, p.TargetPort, p.Protocol)
	}
	want := map[string][]string{"web": {"80 8080", "80 8080TCP"}, "dns": {"53 53UDP", "53 0UDP"}, "same": {"9 9", "9 0", "9 9TCP"}}
	for name, either := range want {
		if !slices.Contains(either, got[name]) {
			t.Errorf("%s: %s", name, got[name])
		}
	}
}
