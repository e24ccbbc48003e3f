package drift_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/doctable"
)

// ofANamespaceUser are the kinds that somebody may make who has a namespace, each with fields that people set.
var ofANamespaceUser = []struct{ resource, object string }{
	{"configmaps", `{apiVersion: v1, kind: ConfigMap, data: {A: a, B: b}, binaryData: {c: Yw==}}`},
	{"secrets", `{apiVersion: v1, kind: Secret, type: Opaque, data: {a: YQ==, b: Yg==}}`},
	{"services", `{apiVersion: v1, kind: Service, spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{name: http, port: 80, targetPort: http}, {name: tls, port: 443}]}}`},
	{"serviceaccounts", `{apiVersion: v1, kind: ServiceAccount, automountServiceAccountToken: false, imagePullSecrets: [{name: a}]}`},
	{"persistentvolumeclaims", `{apiVersion: v1, kind: PersistentVolumeClaim, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`},
	{"limitranges", `{apiVersion: v1, kind: LimitRange, spec: {limits: [{type: PersistentVolumeClaim, max: {storage: 10Gi}}]}}`},
	{"resourcequotas", `{apiVersion: v1, kind: ResourceQuota, spec: {hard: {pods: "500", configmaps: "500"}}}`},
	{"podtemplates", `{apiVersion: v1, kind: PodTemplate, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: "a:1"}]}}}`},
	{"replicationcontrollers", `{apiVersion: v1, kind: ReplicationController, spec: {replicas: 0, selector: {a: b}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: "a:1"}]}}}}`},
	{"pods", `{apiVersion: v1, kind: Pod, spec: {terminationGracePeriodSeconds: 5, containers: [{name: main, image: "a:1"}]}}`},
	{"apps/deployments", `{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 0, minReadySeconds: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}, annotations: {c: d}}, spec: {
	  serviceAccountName: web, nodeSelector: {zone: x}, tolerations: [{key: k, operator: Exists}], securityContext: {runAsUser: 7},
	  initContainers: [{name: first, image: "i:1", command: [x, z]}],
	  containers: [{name: main, image: "a:1", args: [a, b], env: [{name: A, value: a}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}], envFrom: [{configMapRef: {name: c}}],
	    ports: [{containerPort: 80, name: http}], resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {cpu: "2"}}, readinessProbe: {httpGet: {port: 80, path: /ready}},
	    volumeMounts: [{name: conf, mountPath: /etc/conf, readOnly: true}], lifecycle: {preStop: {exec: {command: [z]}}}}, {name: side, image: "s:1"}],
	  volumes: [{name: conf, configMap: {name: c, items: [{key: A, path: a}]}}, {name: tmp, emptyDir: {sizeLimit: 1Gi}}]}}}}`},
	{"apps/statefulsets", `{apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 0, serviceName: web, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: "a:1"}]}},
	  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`},
	{"apps/daemonsets", `{apiVersion: apps/v1, kind: DaemonSet, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {no: where}, containers: [{name: main, image: "a:1", livenessProbe: {tcpSocket: {port: 80}}}]}}}}`},
	{"apps/replicasets", `{apiVersion: apps/v1, kind: ReplicaSet, spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: "a:1"}]}}}}`},
	{"batch/jobs", `{apiVersion: batch/v1, kind: Job, spec: {suspend: true, backoffLimit: 2, template: {spec: {restartPolicy: Never, containers: [{name: main, image: "a:1"}]}}}}`},
	{"batch/cronjobs", `{apiVersion: batch/v1, kind: CronJob, spec: {schedule: "0 3 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "a:1", env: [{name: A, value: a}]}]}}}}}}`},
	{"networking.k8s.io/ingresses", `{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {tls: [{hosts: [a.example], secretName: t}], rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}`},
	{"networking.k8s.io/networkpolicies", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {matchLabels: {a: b}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}}`},
	{"policy/poddisruptionbudgets", `{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}`},
	{"autoscaling/horizontalpodautoscalers", `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}, behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}}`},
	{"rbac.authorization.k8s.io/roles", `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}`},
	{"rbac.authorization.k8s.io/rolebindings", `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s}]}`},
	{"coordination.k8s.io/leases", `{apiVersion: coordination.k8s.io/v1, kind: Lease, spec: {holderIdentity: a, leaseDurationSeconds: 30}}`},
	{"discovery.k8s.io/endpointslices", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [{addresses: [10.1.2.3]}], ports: [{name: http, port: 80, protocol: TCP}]}`},
}

// tally counts one class of edits.
type tally struct{ edits, found, missed, false, misattributed int }

// lab compares objects of a namespace of a real API server.
type lab struct {
	t       *testing.T
	ns      string
	dyn     dynamic.Interface
	c       *compare.Comparer
	tallies map[string]*tally
}

func TestEveryEditThatAnAPIServerTakesIsExactlyOneFinding(t *testing.T) {
	t.Parallel()
	cfg := devclustertest.Config(t)
	cfg.QPS, cfg.Burst = 1000, 1000
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	dyn, err := dynamic.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	c, err := compare.New(compare.Options{MaskKey: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, ns: devclustertest.Namespace(t), dyn: dyn, c: c, tallies: map[string]*tally{"changed": {}, "removed": {}, "extra": {}, "key of a list item changed": {}, "none (apply's answer)": {}, "none (dry run's answer)": {}, "none (table of defaults)": {}}}
	for _, k := range ofANamespaceUser {
		l.try(k.resource, k.object)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| class, over %d kinds | edits taken | found | missed | false | precision | recall | manager right |\n|---|---|---|---|---|---|---|---|\n", len(ofANamespaceUser))
	for _, class := range slices.Sorted(maps.Keys(l.tallies)) {
		x := l.tallies[class]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s | %s | %s |\n", class, x.edits, x.found, x.missed, x.false,
			share(x.found, x.found+x.false), share(x.found, x.found+x.missed), share(x.found-x.misattributed, x.found))
		if x.missed+x.false+x.misattributed > 0 || x.edits == 0 {
			t.Errorf("%s: %+v", class, *x)
		}
	}
	doctable.Check(t, "../../docs/drift.md", "edits on a real API server", b.String(), "go test ./services/drift -run APIServerTakes")
}

func share(n, of int) string {
	if n == of {
		return "1.0"
	}
	return fmt.Sprintf("%.4f", float64(n)/float64(of))
}

// try applies an object as we would and has a foreign client edit each of its places by dry runs, whose answers are what would be
// stored, with owners.
func (l *lab) try(resource, text string) {
	l.t.Helper()
	desired := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = desired.UnmarshalJSON(data)
	}
	if err != nil {
		l.t.Fatalf("%s: %v", resource, err)
	}
	desired.SetName("web")
	desired.SetNamespace(l.ns)
	desired.SetLabels(map[string]string{"team": "blue", "tier": "x"}) // two, because the server fills in labels where there are none
	desired.SetAnnotations(map[string]string{"example.com/note": "x"})
	_, plural, grouped := strings.Cut(resource, "/")
	if !grouped {
		plural = resource
	}
	r := l.dyn.Resource(desired.GroupVersionKind().GroupVersion().WithResource(plural)).Namespace(l.ns)
	answer, err := r.Apply(l.t.Context(), "web", desired.DeepCopy(), metav1.ApplyOptions{FieldManager: "towpath", Force: true})
	if err != nil {
		l.t.Fatalf("%s: %v", resource, err)
	}
	b, err := l.c.MakeBaseline(desired, answer, "towpath")
	if err != nil {
		l.t.Fatal(err)
	}
	l.clean(desired, answer, b, "none (apply's answer)")
	l.clean(desired, answer, l.dryRun(r, desired), "none (dry run's answer)")
	if desired.GetKind() != "Pod" { // admission gives it a service account and tolerations, which no table can know
		l.clean(desired, answer, compare.Baseline{}, "none (table of defaults)")
	}
	for _, place := range leaves(desired.Object, nil) {
		l.edit(r, desired, answer, b, "changed", place)
		l.edit(r, desired, answer, b, "removed", place)
	}
	for _, p := range extras(desired) {
		l.edit(r, desired, answer, b, "extra", p)
	}
}

// dryRun gives the baseline of a dry-run create under another name.
func (l *lab) dryRun(r dynamic.ResourceInterface, desired *unstructured.Unstructured) compare.Baseline {
	l.t.Helper()
	o := desired.DeepCopy()
	o.SetName("")
	o.SetGenerateName("dry-run-")
	answer, err := r.Create(l.t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "towpath"})
	if err != nil {
		l.t.Fatalf("dry run of %s: %v", desired.GetKind(), err)
	}
	b, err := l.c.MakeDryRunBaseline(desired, answer, "towpath")
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *lab) clean(desired, live *unstructured.Unstructured, b compare.Baseline, class string) {
	l.t.Helper()
	x := l.tallies[class]
	x.edits++
	got := l.c.Compare(compare.Input{Desired: desired, Live: live, Baseline: b, Self: "towpath"})
	if !got.Clean() || len(got.Residue) > 0 {
		x.false += len(got.Findings) + len(got.Unverified) + len(got.Residue)
		l.t.Logf("%s, %s: %+v %v", desired.GetKind(), class, got.Findings, got.Unverified)
	}
}

// place is one place of an object and what an edit puts there.
type place struct {
	at    []any
	value any // of an extra

}

// edit makes one edit; what the API server refuses is none, and neither is what it stores unchanged.
func (l *lab) edit(r dynamic.ResourceInterface, desired, live *unstructured.Unstructured, b compare.Baseline, class string, p place) {
	l.t.Helper()
	o := live.DeepCopy()
	old, ok := lookUp(o.Object, p.at)
	if class != "extra" && !ok {
		return // stored in another place: stringData
	}
	if _, named := p.at[len(p.at)-1].(string); class == "extra" && named && ok {
		return // it is there already
	}
	switch class {
	case "changed":
		setIn(o.Object, p.at, otherValue(old))
	case "removed":
		remove(o.Object, p.at)
	default:
		setIn(o.Object, p.at, p.value)
	}

	after, err := r.Update(l.t.Context(), o, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "some-operator"})
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) {
		return
	}
	if apierrors.IsConflict(err) { // a controller wrote it meanwhile
		now, err := r.Get(l.t.Context(), live.GetName(), metav1.GetOptions{})
		if err != nil {
			l.t.Fatal(err)
		}
		*live = *now
		l.edit(r, desired, live, b, class, p)
		return
	}
	if err != nil {
		l.t.Fatalf("%s %s of %v: %v", desired.GetKind(), class, p.at, err)
	}
	stored, there := lookUp(after.Object, p.at)
	if class != "extra" && there && fmt.Sprint(stored) == fmt.Sprint(old) || class == "extra" && !there {
		return // the server put its default there, or does not keep it
	}
	l.count(desired, after, b, class, p)
}

func (l *lab) count(desired, after *unstructured.Unstructured, b compare.Baseline, class string, p place) {
	l.t.Helper()
	got := l.c.Compare(compare.Input{Desired: desired, Live: after, Baseline: b, Self: "towpath"})
	if class == "changed" && len(got.Findings) == 2 && isRename(got.Findings[0], got.Findings[1]) {
		class = "key of a list item changed"
		got.Findings = slices.DeleteFunc(got.Findings, func(f compare.Finding) bool { return f.Kind == compare.Removed }) // one item is gone, and another there
	}
	x := l.tallies[class]
	x.edits++
	if len(got.Findings) == 0 {
		x.missed++
		l.t.Logf("%s: %s of %v is not found; delegated %v, residue %v", desired.GetKind(), class, p.at, got.Delegated, got.Residue)
		return
	}
	x.found++
	if n := len(got.Findings); n > 1 {
		x.false += n - 1
		l.t.Logf("%s: %s of %v is %d findings: %+v", desired.GetKind(), class, p.at, n, got.Findings)
	}
	f := got.Findings[0]
	if f.Kind == compare.Removed && f.Manager != compare.UnknownManager || f.Kind != compare.Removed && f.Manager != "some-operator" {
		x.misattributed++
		l.t.Logf("%s: %s of %v is by %q: %+v", desired.GetKind(), class, p.at, f.Manager, f)
	}
}

// isRename says that one item of a list is gone and another one came.
func isRename(a, b compare.Finding) bool {
	cut := func(path string) string { return path[:strings.LastIndexByte(path, '[')+1] }
	return a.Kind == compare.Removed && b.Kind == compare.Extra && cut(a.Path) != "" && cut(a.Path) == cut(b.Path) ||
		a.Kind == compare.Extra && b.Kind == compare.Removed && cut(a.Path) != "" && cut(a.Path) == cut(b.Path)
}

// leaves are the places of what is declared.
func leaves(v any, at []any) []place {
	var out []place
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if len(at) == 0 && (k == "apiVersion" || k == "kind") || len(at) == 1 && at[0] == "metadata" && (k == "name" || k == "namespace") {
				continue
			}
			out = append(out, leaves(v[k], append(slices.Clone(at), k))...)
		}
	case []any:
		for i := range v {
			out = append(out, leaves(v[i], append(slices.Clone(at), i))...)
		}
	default:
		out = append(out, place{at: at})
	}
	return out
}

// extras are things that people add to objects of a kind.
func extras(o *unstructured.Unstructured) []place {
	out := []place{
		{at: []any{"metadata", "labels", "added"}, value: "x"}, {at: []any{"metadata", "annotations", "example.com/added"}, value: "x"},
		{at: []any{"metadata", "finalizers"}, value: []any{"example.com/hold"}},
	}
	if o.GetKind() == "ConfigMap" || o.GetKind() == "Secret" {
		out = append(out, place{at: []any{"data", "added"}, value: "eA=="})
	}
	if o.GetKind() == "Service" {
		out = append(out, place{at: []any{"spec", "ports", 2}, value: map[string]any{"name": "added", "port": int64(81)}},
			place{at: []any{"spec", "externalIPs"}, value: []any{"192.0.2.7"}}, place{at: []any{"spec", "publishNotReadyAddresses"}, value: true})
	}
	for _, spec := range [][]any{{"spec", "template", "spec"}, {"spec", "jobTemplate", "spec", "template", "spec"}, {"template", "spec"}} {
		pod, ok := lookUp(o.Object, spec)
		if !ok {
			continue
		}
		at := func(more ...any) []any { return append(slices.Clone(spec), more...) }
		n := len(pod.(map[string]any)["containers"].([]any))
		out = append(out,
			place{at: at("containers", n), value: map[string]any{"name": "added", "image": "x:1"}},
			place{at: at("containers", 0, "env", 9), value: map[string]any{"name": "ADDED", "value": "x"}},
			place{at: at("containers", 0, "stdin"), value: true},
			place{at: at("containers", 0, "securityContext"), value: map[string]any{"privileged": true}},
			place{at: at("containers", 0, "livenessProbe"), value: map[string]any{"exec": map[string]any{"command": []any{"x"}}}},
			place{at: at("hostNetwork"), value: true}, place{at: at("priorityClassName"), value: "system-node-critical"},
			place{at: at("volumes", 9), value: map[string]any{"name": "added", "hostPath": map[string]any{"path": "/"}}},
			place{at: at("hostAliases"), value: []any{map[string]any{"ip": "192.0.2.7", "hostnames": []any{"a"}}}},
			place{at: at("terminationGracePeriodSeconds"), value: int64(5)},
			place{at: at("affinity"), value: map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{
				"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Exists"}}}}}}}},
		)
	}
	return out
}

func lookUp(v any, at []any) (any, bool) {
	for _, p := range at {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[p]; !ok {
				return nil, false
			}
		case int:
			l, ok := v.([]any)
			if !ok || len(l) == 0 {
				return nil, false
			}
			v = l[min(p, len(l)-1)] // behind the end is the last one
		}
	}
	return v, true
}

// set puts a value at a place, at the end of a list that is not so long, and makes what is missing above it.
func setIn(v any, at []any, value any) any {
	if len(at) == 0 {
		return runtime.DeepCopyJSONValue(value)
	}
	switch p := at[0].(type) {
	case string:
		m, ok := v.(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		m[p] = setIn(m[p], at[1:], value)
		return m
	case int:
		l, _ := v.([]any)
		if p >= len(l) {
			return append(l, setIn(nil, at[1:], value))
		}
		l[p] = setIn(l[p], at[1:], value)
		return l
	}
	return v
}

func remove(v any, at []any) any {
	switch p := at[0].(type) {
	case string:
		m := v.(map[string]any)
		if len(at) == 1 {
			delete(m, p)
		} else {
			m[p] = remove(m[p], at[1:])
		}
		return m
	case int:
		l := v.([]any)
		if len(at) == 1 {
			return slices.Delete(l, p, p+1)
		}
		l[p] = remove(l[p], at[1:])
		return l
	}
	return v
}

func otherValue(v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case int64:
		return v + 1
	case string:
		switch v {
		case "ClientIP":
			return "None"
		case "Exists":
			return "Equal"
		case "Prefix":
			return "Exact"
		}
		if strings.HasSuffix(v, "==") { // base64
			return "Zm9v"
		}
		if v != "" && v[0] >= '0' && v[0] <= '9' { // a quantity, an address, a schedule
			return "1" + v
		}
		return v + "x"
	}
	return v
}
