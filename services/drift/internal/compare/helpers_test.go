package compare_test

import (
	"slices"
	"sync"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const self = "towpath"

// failer is what helpers need of *testing.T, *testing.B and *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

var converter = sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(scheme.Scheme) })

var comparer = sync.OnceValue(func() *compare.Comparer {
	c, err := compare.New(compare.Options{MaskKey: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		panic(err)
	}
	return c
})

// object parses YAML as the API machinery does: whole numbers are int64.
func object(tb failer, text string) *unstructured.Unstructured {
	tb.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		tb.Fatalf("fixture: %v", err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		tb.Fatalf("fixture: %v", err)
	}
	return o
}

// cluster keeps one object with the real ownership rules of server-side apply.
type cluster struct {
	tb      failer
	desired *unstructured.Unstructured
	fm      managedfieldstest.TestFieldManager
}

// applied starts a cluster in which we applied desired.
func applied(tb failer, desired *unstructured.Unstructured) *cluster {
	tb.Helper()
	c := &cluster{tb: tb, desired: desired, fm: newFieldManager(desired)}
	c.apply(desired, self)
	return c
}

func (c *cluster) apply(o *unstructured.Unstructured, manager string) {
	c.tb.Helper()
	if err := c.fm.Apply(o.DeepCopy(), manager, true); err != nil {
		c.tb.Fatalf("apply as %s: %v", manager, err)
	}
}

// update edits the object as a client would that reads, changes and writes it back.
func (c *cluster) update(manager string, edit func(o map[string]any)) {
	c.tb.Helper()
	o := c.live()
	edit(o.Object)
	if err := c.fm.Update(o, manager); err != nil {
		c.tb.Fatalf("update as %s: %v", manager, err)
	}
}

func (c *cluster) live() *unstructured.Unstructured {
	o, ok := c.fm.Live().(*unstructured.Unstructured)
	if !ok {
		c.tb.Fatalf("live object is a %T", c.fm.Live())
	}
	o = o.DeepCopy()
	o.SetResourceVersion("7")
	o.SetUID("11111111-2222-3333-4444-555555555555")
	return o
}

// withDefaults lays values under the live object that nobody owns, as the API server's defaulting does.
func withDefaults(live *unstructured.Unstructured, defaults map[string]any) *unstructured.Unstructured {
	live = live.DeepCopy()
	underlay(live.Object, runtime.DeepCopyJSON(defaults))
	return live
}

func underlay(o, defaults map[string]any) {
	for k, v := range defaults {
		switch have := o[k].(type) {
		case nil:
			o[k] = v
		case map[string]any:
			if m, ok := v.(map[string]any); ok {
				underlay(have, m)
			}
		}
	}
}

// at walks into an object: names enter maps, numbers enter lists.
func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o = o.(map[string]any)[p]
		case int:
			o = o.([]any)[p]
		}
	}
	return o
}

// put sets the value at a path.
func put(o map[string]any, value any, path ...any) {
	parent := at(o, path[:len(path)-1]...)
	switch p := path[len(path)-1].(type) {
	case string:
		parent.(map[string]any)[p] = value
	case int:
		parent.([]any)[p] = value
	}
}

// push appends to the list at a path of names.
func push(o map[string]any, value any, path ...any) {
	list, _ := at(o, path...).([]any)
	put(o, append(slices.Clone(list), value), path...)
}

// viaSubresource marks a manager's entries as written through a subresource, which the test field manager cannot do.
func viaSubresource(live *unstructured.Unstructured, manager, subresource string) *unstructured.Unstructured {
	entries := live.GetManagedFields()
	for i := range entries {
		if entries[i].Manager == manager {
			entries[i].Subresource = subresource
		}
	}
	live.SetManagedFields(entries)
	return live
}

// paths gives kind and path of findings, sorted.
func paths(findings []compare.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, string(f.Kind)+" "+f.Path)
	}
	return out
}

// owned is the part of a finding that attribution must get right.
type owned struct{ Kind, Path, Manager, Operation string }

func attributions(findings []compare.Finding) []owned {
	var out []owned
	for _, f := range findings {
		out = append(out, owned{string(f.Kind), f.Path, f.Manager, f.Operation})
	}
	return out
}

const deploymentYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/web:1.27
        args: ["--x", "--y"]
        env: [{name: A, value: "1"}, {name: B, value: ""}]
        ports: [{containerPort: 80, name: http}]
        resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {memory: 1Gi}}
        readinessProbe: {httpGet: {port: 80, path: /ready}}
        volumeMounts: [{name: conf, mountPath: /etc/conf, readOnly: false}]
      - name: side
        image: registry.example/side:latest
      volumes: [{name: conf, configMap: {name: web}}, {name: tmp, emptyDir: {}}]
`

const serviceYAML = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8080}]
`

const configMapYAML = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: shop}
data: {LOG_LEVEL: info}
`

var deploymentDefaults = map[string]any{
	"metadata": map[string]any{"creationTimestamp": "2026-01-02T03:04:05Z", "generation": int64(1)},
	"spec": map[string]any{
		"progressDeadlineSeconds": int64(600), "revisionHistoryLimit": int64(10),
		"strategy": map[string]any{"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxSurge": "25%", "maxUnavailable": "25%"}},
		"template": map[string]any{
			"metadata": map[string]any{"creationTimestamp": nil},
			"spec": map[string]any{
				"restartPolicy": "Always", "terminationGracePeriodSeconds": int64(30), "dnsPolicy": "ClusterFirst",
				"schedulerName": "default-scheduler", "securityContext": map[string]any{},
			},
		},
	},
	"status": map[string]any{"replicas": int64(2), "conditions": []any{map[string]any{"type": "Available", "status": "True"}}},
}

// deploymentLive gives the live object as an API server would store it, defaults owned by nobody.
func deploymentLive(c *cluster) *unstructured.Unstructured {
	live := withDefaults(c.live(), deploymentDefaults)
	pod := at(live.Object, "spec", "template", "spec")
	for _, item := range at(pod, "containers").([]any) {
		container := item.(map[string]any)
		underlay(container, map[string]any{"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
			"imagePullPolicy": "IfNotPresent", "resources": map[string]any{}})
		if container["image"] == "registry.example/side:latest" {
			container["imagePullPolicy"] = "Always"
		}
		if ports, ok := container["ports"].([]any); ok {
			for _, port := range ports {
				underlay(port.(map[string]any), map[string]any{"protocol": "TCP"})
			}
		}
		if probe, ok := container["readinessProbe"].(map[string]any); ok {
			underlay(probe, map[string]any{"timeoutSeconds": int64(1), "periodSeconds": int64(10), "successThreshold": int64(1),
				"failureThreshold": int64(3), "httpGet": map[string]any{"scheme": "HTTP"}})
		}
	}
	for _, item := range at(pod, "volumes").([]any) {
		if source, ok := item.(map[string]any)["configMap"].(map[string]any); ok {
			underlay(source, map[string]any{"defaultMode": int64(420)})
		}
	}
	return live
}

// serviceLive gives the live Service as an API server would store it.
func serviceLive(c *cluster) *unstructured.Unstructured {
	live := withDefaults(c.live(), map[string]any{"spec": map[string]any{"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
		"clusterIP": "10.96.0.12", "clusterIPs": []any{"10.96.0.12"}, "ipFamilies": []any{"IPv4"}, "ipFamilyPolicy": "SingleStack"},
		"status": map[string]any{"loadBalancer": map[string]any{}}})
	for _, item := range at(live.Object, "spec", "ports").([]any) {
		port := item.(map[string]any)
		underlay(port, map[string]any{"protocol": "TCP", "targetPort": port["port"]})
	}
	return live
}

// converterFor types built-in kinds by the embedded schema and all others by what they look like.
func converterFor(o *unstructured.Unstructured) managedfields.TypeConverter {
	if scheme.Scheme.Recognizes(o.GroupVersionKind()) {
		return converter()
	}
	return managedfields.NewDeducedTypeConverter()
}

func newFieldManager(o *unstructured.Unstructured) managedfieldstest.TestFieldManager {
	return managedfieldstest.NewTestFieldManager(converterFor(o), o.GroupVersionKind())
}
