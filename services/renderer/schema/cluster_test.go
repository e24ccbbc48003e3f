package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/renderer/schema"
)

func TestMain(m *testing.M) { os.Exit(devclustertest.Run(m)) }

// server asks a real API server about objects: whether it would take them as Towpath's own engine applies them, by server-side
// apply with strict validation of fields, as a dry run.
type server struct {
	t         *testing.T
	client    *kubernetes.Clientset
	namespace string
}

func newServer(t *testing.T) *server {
	t.Helper()
	cfg := devclustertest.Config(t)
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &server{t, client, devclustertest.Namespace(t)}
}

func (s *server) apply(o map[string]any) error {
	o = runtime.DeepCopyJSON(o)
	k := schema.Find(o["apiVersion"].(string), o["kind"].(string))
	meta, _ := o["metadata"].(map[string]any)
	name := "x"
	if meta != nil {
		meta["namespace"] = s.namespace
		name, _ = meta["name"].(string)
	}
	body, err := json.Marshal(o)
	if err != nil {
		s.t.Fatal(err)
	}
	root := "/apis/"
	if k.Group == "" {
		root = "/api/"
	}
	return s.client.RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(root+k.APIVersion, "namespaces", s.namespace, k.Plural, name).
		Param("dryRun", "All").Param("fieldManager", "towpath").Param("fieldValidation", "Strict").Param("force", "true").
		Body(body).Do(s.t.Context()).Error()
}

// aboutFields reports whether the API server's refusal is one that a schema can foresee: a field that does not exist, or a value of
// a wrong type. What it says beside that comes from its own rules.
func aboutFields(err error) bool {
	text := err.Error()
	for _, sign := range []string{"unknown field", "field not declared in schema", "cannot unmarshal", "expected map", "expected list", "expected string", "expected numeric", "expected boolean", "duplicate entries for key"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

func TestTheServerTakesWhatRenderingMakes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, o := range objects(t) {
		if k := schema.Find(o["apiVersion"].(string), o["kind"].(string)); k == nil {
			continue // a custom resource
		}
		if problems := schema.Validate(o); len(problems) > 0 {
			t.Errorf("%s %v: %v", o["kind"], o["metadata"], problems)
		}
		if err := s.apply(o); err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("%s %v: %v", o["kind"], o["metadata"], err)
		}
	}
}

// Valid objects are broken at random and shown to both. What the server takes is never refused here, and what it refuses for its
// fields is refused here too.
func TestTheServerAndWeAgreeOnBrokenObjects(t *testing.T) {
	s := newServer(t)
	all := slices.DeleteFunc(objects(t), func(o map[string]any) bool { return schema.Find(o["apiVersion"].(string), o["kind"].(string)) == nil })
	taken, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		o := runtime.DeepCopyJSON(rapid.SampledFrom(all).Draw(rt, "object"))
		var done []string
		for range rapid.IntRange(1, 2).Draw(rt, "edits") {
			done = append(done, breakIt(rt, o))
		}
		ours, err := schema.Validate(o), s.apply(o)
		what := fmt.Sprintf("%s after %v", o["kind"], done)
		switch {
		case err == nil && len(ours) > 0 && !slices.ContainsFunc(ours, cutOff):
			rt.Errorf("%s: the server takes it, we do not: %v", what, ours)
		case err != nil && aboutFields(err) && len(ours) == 0:
			rt.Errorf("%s: we take it, the server does not: %v", what, err)
		case err == nil:
			taken++
		default:
			refused++
		}
	})
	if t.Logf("%d taken, %d refused", taken, refused); taken == 0 || refused == 0 {
		t.Errorf("%d taken, %d refused: the test looks at one side only", taken, refused)
	}
}

// cutOff is the one thing that the server takes and we do not: it cuts a number of more than 32 bits down without a word, so that
// a Deployment of 2^40 replicas becomes one of none.
func cutOff(p schema.Problem) bool {
	return strings.Contains(p.Text, "expected a whole number between")
}

// breakIt changes one random place of an object, not its name, kind or version, and says what it did.
func breakIt(t *rapid.T, o map[string]any) string {
	at, path := any(o), ""
	for {
		switch v := at.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(v))
			if path == "" {
				keys = slices.DeleteFunc(keys, func(k string) bool { return k == "apiVersion" || k == "kind" || k == "metadata" })
			}
			if len(keys) == 0 {
				v["stray"] = "x"
				return path + " gets a stray field"
			}
			k := rapid.SampledFrom(keys).Draw(t, "key")
			if deeper(t, v[k]) {
				at, path = v[k], path+"."+k
				continue
			}
			return path + "." + k + " " + change(t, v, k)
		case []any:
			i := rapid.IntRange(0, len(v)-1).Draw(t, "index")
			if deeper(t, v[i]) {
				at, path = v[i], fmt.Sprintf("%s[%d]", path, i)
				continue
			}
			v[i] = value(t)
			return fmt.Sprintf("%s[%d] becomes %v", path, i, v[i])
		}
	}
}

func deeper(t *rapid.T, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return rapid.IntRange(0, 9).Draw(t, "deeper") > 0
	case []any:
		return len(v) > 0 && rapid.IntRange(0, 9).Draw(t, "deeper") > 0
	}
	return false
}

func change(t *rapid.T, m map[string]any, k string) string {
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0:
		delete(m, k)
		return "is removed"
	case 1:
		m[k+"s"] = m[k]
		delete(m, k)
		return "gets an s"
	case 2:
		if l, ok := m[k].([]any); ok && len(l) > 0 {
			m[k] = append(slices.Clone(l), runtime.DeepCopyJSONValue(l[0]))
			return "has its first item twice"
		}
	case 3:
		m[k] = nil
		return "becomes null"
	}
	m[k] = value(t)
	return fmt.Sprintf("becomes %#v", m[k])
}

func value(t *rapid.T) any {
	return runtime.DeepCopyJSONValue(rapid.SampledFrom([]any{"text", "", "10", "1.5Gi", "2026-01-31T12:00:00Z", "aGk=", true, int64(1), int64(0), int64(-1), int64(1) << 40, 1.5,
		map[string]any{}, map[string]any{"a": "b"}, []any{}, []any{"a"}, []any{map[string]any{"name": "a"}}}).Draw(t, "value"))
}

// objects are those that rendering makes, and others with fields that it does not make.
func objects(t *testing.T) []map[string]any {
	out := goldens(t)
	for _, text := range more {
		o := map[string]any{}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	for i, o := range out { // whole numbers as the API server has them
		out[i] = runtime.DeepCopyJSON(whole(o).(map[string]any))
	}
	return out
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = whole(x)
		}
	case []any:
		for i, x := range v {
			v[i] = whole(x)
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

var more = []string{
	`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"web"},"spec":{"ingressClassName":"nginx","tls":[{"hosts":["a.example.com"],"secretName":"tls"}],
	  "rules":[{"host":"a.example.com","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}]}}`,
	`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"web"},"spec":{"podSelector":{"matchLabels":{"a":"b"}},"policyTypes":["Ingress"],
	  "ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":"http","protocol":"TCP"},{"port":53,"protocol":"UDP"}]}]}}`,
	`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"web"},"spec":{"minReplicas":2,"maxReplicas":5,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},
	  "metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]}}`,
	`{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"web"},"spec":{"maxUnavailable":"25%","selector":{"matchLabels":{"a":"b"}}}}`,
	`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"tidy"},"spec":{"schedule":"0 3 * * *","suspend":false,"startingDeadlineSeconds":60,"jobTemplate":{"spec":{"backoffLimit":2,"template":{"spec":{
	  "restartPolicy":"Never","containers":[{"name":"main","image":"tidy:1","env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k","optional":true}}}],"resources":{"limits":{"cpu":1,"memory":"64Mi"}}}]}}}}}}`,
	`{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"db"},"spec":{"serviceName":"db","replicas":1,"selector":{"matchLabels":{"app":"db"}},"template":{"metadata":{"labels":{"app":"db"}},"spec":{
	  "tolerations":[{"key":"a","operator":"Exists"}],"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}],
	  "containers":[{"name":"db","image":"postgres:17","ports":[{"name":"pg","containerPort":5432,"protocol":"TCP"}],"volumeMounts":[{"name":"data","mountPath":"/data"}],
	  "readinessProbe":{"exec":{"command":["true"]},"periodSeconds":5},"lifecycle":{"preStop":{"sleep":{"seconds":3}}}}]}},
	  "volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}}`,
	`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"type":"Opaque","data":{"a":"aGk="},"stringData":{"b":"c"},"immutable":true}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"rb"},"roleRef":{"kind":"Role","name":"x","apiGroup":"rbac.authorization.k8s.io"},"subjects":[{"kind":"ServiceAccount","name":"default"}]}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}`,
	`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"p"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"storageClassName":"fast"}}`,
	`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"sa","annotations":{"a":"b"}},"automountServiceAccountToken":false,"imagePullSecrets":[{"name":"pull"}]}`,
	`{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":{"cpu":"10","pods":5}}}`,
	`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"holderIdentity":"me","leaseDurationSeconds":10,"renewTime":"2026-01-31T12:00:00.000000Z"}}`,
	`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"e"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}],"ports":[{"name":"http","port":80,"protocol":"TCP"}]}`,
}
