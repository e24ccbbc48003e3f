package compare_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// populated are objects with something at many places, all of it meaningful (no zero values).
var populated = []string{strings.NewReplacer("emptyDir: {}", "emptyDir: {medium: Memory}", `value: ""`, `value: "2"`, "readOnly: false", "readOnly: true").Replace(deploymentYAML), serviceYAML, configMapYAML,
	`{apiVersion: v1, kind: Secret, metadata: {name: a, labels: {a: b}}, type: x/y, data: {a: YQ==, b: Yg==, c: Yw==}}`,
	`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, annotations: {x.example/y: z}, finalizers: [example.com/a, example.com/b]}, spec: {replicas: 3, serviceName: a, minReadySeconds: 4,
	  updateStrategy: {type: OnDelete, rollingUpdate: {partition: 2}}, selector: {matchLabels: {a: b, c: d}}, template: {metadata: {labels: {a: b, c: d}}, spec: {
	  hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}], imagePullSecrets: [{name: p}, {name: q}], nodeSelector: {zone: x}, tolerations: [{key: k, operator: Exists}, {key: l}],
	  securityContext: {runAsUser: 7, fsGroup: 8, sysctls: [{name: a, value: b}]}, topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1, labelSelector: {matchLabels: {a: b}}}],
	  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}},
	  initContainers: [{name: i, image: "i:1", command: [x], env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}, {name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}]}],
	  containers: [{name: a, image: "a:1", livenessProbe: {exec: {command: [c1, c2]}, periodSeconds: 3}, lifecycle: {preStop: {exec: {command: [z]}}}, securityContext: {capabilities: {drop: [ALL], add: [X]}, privileged: true},
	    ports: [{containerPort: 53, protocol: UDP, name: u}, {containerPort: 53, protocol: TCP, name: t}], volumeMounts: [{name: d, mountPath: /d}, {name: c, mountPath: /c, subPath: s}], resources: {limits: {cpu: "2", memory: 1Gi}}},
	    {name: b, image: "b:1", envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}]}],
	  volumes: [{name: c, projected: {sources: [{configMap: {name: c, items: [{key: a, path: b}]}}]}}]}},
	  volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`,
	`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a, labels: {a: b}}, spec: {ingressClassName: nginx, tls: [{hosts: [a.example], secretName: t}], rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}}`,
	`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {minReplicas: 2, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}], behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}}`,
	`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a, annotations: {a: b}}, roleRef: {apiGroup: x.example, kind: Role, name: a}, subjects: [{kind: ServiceAccount, name: a, namespace: b}, {kind: User, name: c, apiGroup: x}]}`,
	`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, labels: {a: b}}, spec: {size: 3, parts: [{name: a}, {name: b}], deep: {er: {x: 1, y: two}, z: true}}}`,
}

// The oracle is the comparison of structured-merge-diff between the object before and after a foreign edit: it knows every
// leaf that the edit touched. Every such leaf must be under exactly one finding, and no other leaf under any.
func TestEveryForeignEditIsFoundAndNothingElse(t *testing.T) {
	for _, text := range populated {
		full := object(t, text)
		t.Run(full.GetKind(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { checkForeignEdit(rt, full) })
		})
	}
}

func checkForeignEdit(rt *rapid.T, full *unstructured.Unstructured) {
	edit := rapid.SampledFrom(places(full.Object, nil)).Draw(rt, "place")
	manager := rapid.SampledFrom([]string{"kubectl-edit", "some-operator", "unknown"}).Draw(rt, "manager")
	without := full.DeepCopy()
	without.Object = drop(without.Object, edit).(map[string]any)
	before, after := full, without
	switch rapid.SampledFrom([]string{"add", "remove", "change"}).Draw(rt, "edit") {
	case "add":
		before, after = without, full
	case "change":
		scalars := slices.DeleteFunc(places(full.Object, nil), func(p []any) bool { return isContainer(at(full.Object, p...)) })
		edit = rapid.SampledFrom(scalars).Draw(rt, "leaf")
		after = full.DeepCopy()
		put(after.Object, other(at(full.Object, edit...)), edit...)
	}
	if gone, ok := before.Object["spec"].(map[string]any); ok && len(gone) == 0 {
		rt.Skip("an empty spec is no object")
	}
	touched, kept := oracle(rt, before, after)
	c := applied(rt, before)
	b := baseline(rt, before, c.live())
	if got := comparer().Compare(compare.Input{Desired: before, Live: c.live(), Baseline: b, Self: self}); !got.Clean() {
		rt.Fatalf("before the edit: %v", paths(got.Findings))
	}
	c.update(manager, func(o map[string]any) {
		clear(o)
		maps.Copy(o, after.DeepCopy().Object)
	})
	got := comparer().Compare(compare.Input{Desired: before, Live: c.live(), Baseline: b, Self: self})
	if len(got.Unverified)+len(got.Residue)+len(got.Delegated) > 0 {
		rt.Fatalf("edit of %v: unverified %v, residue %v, delegated %v", edit, got.Unverified, paths(got.Residue), paths(got.Delegated))
	}
	checkCovered(rt, got.Findings, touched, kept, manager)
}

func checkCovered(rt *rapid.T, findings []compare.Finding, touched, kept []string, manager string) {
	useful := make([]bool, len(findings))
	for _, leaf := range touched {
		n := 0
		for i, f := range findings {
			if covers(normal(f.Path), leaf) {
				n, useful[i] = n+1, true
			}
		}
		if n != 1 {
			rt.Fatalf("the edit of %s is in %d findings: %v", leaf, n, paths(findings))
		}
	}
	for i, f := range findings {
		if !useful[i] {
			rt.Fatalf("%s %s is no edit; edited: %v", f.Kind, f.Path, touched)
		}
		if f.Kind != compare.Removed && f.Manager != manager && len(touched) == 1 {
			rt.Fatalf("%s %s is attributed to %s, want %s", f.Kind, f.Path, f.Manager, manager)
		}
		for _, leaf := range kept {
			if covers(normal(f.Path), leaf) {
				rt.Fatalf("%s %s takes in %s, which is as declared", f.Kind, f.Path, leaf)
			}
		}
	}
}

// oracle gives the leaves that differ, and those that are as declared.
func oracle(rt failer, before, after *unstructured.Unstructured) (touched, kept []string) {
	a, err := converterFor(before).ObjectToTyped(before)
	if err != nil {
		rt.Fatalf("typing: %v", err)
	}
	b, err := converterFor(after).ObjectToTyped(after)
	if err != nil {
		rt.Fatalf("typing: %v", err)
	}
	diff, err := a.Compare(b)
	if err != nil {
		rt.Fatalf("oracle: %v", err)
	}
	all := diff.Added.Union(diff.Removed).Union(diff.Modified)
	all.Leaves().Iterate(func(p fieldpath.Path) { touched = append(touched, pathOf(p)) })
	declared, err := a.ToFieldSet()
	if err != nil {
		rt.Fatalf("oracle: %v", err)
	}
	declared.Leaves().Difference(all).Iterate(func(p fieldpath.Path) {
		if s := pathOf(p); !slices.ContainsFunc(touched, func(leaf string) bool { return covers(s, leaf) }) {
			kept = append(kept, s)
		}
	})
	return touched, kept
}

// pathOf spells a path as Finding.Path does, with free maps' keys as fields.
func pathOf(p fieldpath.Path) string {
	var b strings.Builder
	for _, e := range p {
		switch {
		case e.FieldName != nil:
			b.WriteString("\x00" + *e.FieldName)
		case e.Value != nil:
			b.WriteString("\x00=" + fmt.Sprint((*e.Value).Unstructured()))
		case e.Key != nil:
			var keys []string
			for _, k := range *e.Key {
				if v := k.Value.Unstructured(); len(*e.Key) == 1 || v != "TCP" {
					keys = append(keys, k.Name+"="+fmt.Sprint(v))
				}
			}
			b.WriteString("\x00" + strings.Join(keys, ","))
		}
	}
	return b.String() + "\x00"
}

// normal turns a Finding.Path into the oracle's spelling.
func normal(path string) string {
	var b strings.Builder
	b.WriteByte(0)
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '.':
			b.WriteByte(0)
		case '[':
			end := i + strings.IndexByte(path[i:], ']')
			if b.Len() > 1 {
				b.WriteByte(0)
			}
			part := path[i+1 : end]
			var text string
			if json.Unmarshal([]byte(part), &text) == nil {
				part = text
			}
			b.WriteString(part)
			i = end
		default:
			b.WriteByte(path[i])
		}
	}
	b.WriteByte(0)
	return b.String()
}

func covers(path, leaf string) bool { return strings.HasPrefix(leaf, path) }

// places lists every place of an object that somebody could edit: scalars, structs, list items.
func places(v any, path []any) [][]any {
	var out [][]any
	here := slices.Clone(path)
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if len(path) == 0 && (k == "apiVersion" || k == "kind" || k == "status") {
				continue
			}
			if len(path) == 1 && path[0] == "metadata" && !slices.Contains([]string{"labels", "annotations", "finalizers"}, k) {
				continue
			}
			out = append(out, places(v[k], append(here, k))...)
		}
	case []any:
		for i := range v {
			out = append(out, places(v[i], append(here, i))...)
		}
	}
	if len(path) > 1 && !isItemKey(path) || len(path) == 1 && path[0] != "spec" && path[0] != "metadata" {
		out = append(out, here)
	}
	return out
}

// isItemKey says that the place is what a keyed list's item goes by: without it the API server refuses the object.
func isItemKey(path []any) bool {
	_, inItem := path[len(path)-2].(int)
	name, _ := path[len(path)-1].(string)
	return inItem && slices.Contains([]string{"name", "port", "containerPort", "protocol", "mountPath", "ip", "topologyKey", "whenUnsatisfiable"}, name)
}

func isContainer(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// drop removes one place.
func drop(v any, path []any) any {
	switch p := path[0].(type) {
	case string:
		m := v.(map[string]any)
		if len(path) == 1 {
			delete(m, p)
		} else {
			m[p] = drop(m[p], path[1:])
		}
		return m
	case int:
		l := v.([]any)
		if len(path) == 1 {
			return slices.Delete(l, p, p+1)
		}
		l[p] = drop(l[p], path[1:])
		return l
	}
	return v
}

// other gives a different, meaningful value.
func other(v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case int64:
		return v + 1
	case float64:
		return v + 1
	case string:
		return "9" + v
	}
	return v
}
