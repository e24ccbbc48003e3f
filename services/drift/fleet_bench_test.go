package drift_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"

	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

// fleetIn is how many objects an environment of the fleet has: nine ConfigMaps to one Deployment without pods.
const fleetIn = 500

// counted counts what is asked of an API server.
type counted struct {
	next           http.RoundTripper
	reads, writes  atomic.Int64
	lists, watches atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		c.writes.Add(1)
	case q.Get("watch") != "":
		c.watches.Add(1)
		c.reads.Add(1)
	default:
		if q.Get("limit") != "" || q.Get("resourceVersion") != "" {
			c.lists.Add(1)
		}
		c.reads.Add(1)
	}
	return c.next.RoundTrip(r)
}

// counting makes a configuration whose requests are counted.
func counting(cfg *rest.Config) (*rest.Config, *counted) {
	c := &counted{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { c.next = next; return c })
	return cfg, c
}

// fleetManifests declares one environment's objects.
func fleetManifests(env int) string {
	var b strings.Builder
	for i := range fleetIn {
		name := fmt.Sprintf("svc-%03d-%04d", env, i)
		if i%10 == 0 {
			fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s, labels: {app: %[1]s}}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: %[1]s}}\n"+
				"  template:\n    metadata: {labels: {app: %[1]s}}\n    spec:\n      containers:\n      - name: main\n        image: registry.example.com/%[1]s:%[2]d\n        ports: [{name: http, containerPort: 8080}]\n"+
				"        env: [{name: LOG_LEVEL, value: info}, {name: DB_HOST, value: %[1]s-db}]\n        readinessProbe: {httpGet: {path: /readyz, port: http}}\n", name, i)
			continue
		}
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %[1]s, labels: {app: %[1]s}}\ndata: {LOG_LEVEL: info, URL: \"https://%[1]s.example.com/%[2]d\", app.properties: \"a=%[2]d\\nb=2\\n\"}\n", name, i)
	}
	return b.String()
}

func benchNumber(b *testing.B, variable string, standard int) int {
	b.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return standard
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q: give a number", variable, v)
	}
	return n
}

func heapNow() float64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkFleet measures drift on real objects beside a peer: an informer that keeps every object, and a server-side dry run of each
// to see how it differs.
func BenchmarkFleet(b *testing.B) {
	n := benchNumber(b, "TOWPATH_BENCH_REAL", 10_000)
	idle := time.Duration(benchNumber(b, "TOWPATH_BENCH_IDLE_SECONDS", 40)) * time.Second
	edits := benchNumber(b, "TOWPATH_BENCH_EDITS", 200)
	for b.Loop() { // with -benchtime 1x
		cfg, requests := counting(devclustertest.Config(b))
		before := heapNow()
		w := newWorld(b, cfg)
		envs := make([]*env, max(1, n/fleetIn))
		for i := range envs {
			envs[i] = w.newEnv(b)
			envs[i].deploy(fleetManifests(i))
		}
		objects := float64(len(envs) * fleetIn)
		quiet(b, requests)
		b.ReportMetric((heapNow()-before)/objects, "process-bytes/object")
		reads, writes := requests.reads.Load(), requests.writes.Load()
		time.Sleep(idle)
		perHour := float64(time.Hour) / float64(idle)
		b.ReportMetric(float64(requests.reads.Load()-reads)*perHour, "idle-requests/h")
		b.ReportMetric(float64(requests.writes.Load()-writes)*perHour, "idle-writes/h")
		took := editAll(b, envs, edits)
		b.ReportMetric(percentile(took, 50), "edit-p50-ms")
		b.ReportMetric(percentile(took, 99), "edit-p99-ms")
		b.ReportMetric(churn(b, w), "gate-percent")
		p := newPeer(b)
		b.ReportMetric(p.bytes/objects, "peer-bytes/object")
		b.ReportMetric(p.compare(b, envs, min(benchNumber(b, "TOWPATH_BENCH_PEER", 1000), n)), "peer-us/compare")
		p.stop()
	}
}

// quiet waits until nothing is asked of the API server any more but whether it is there.
func quiet(b *testing.B, c *counted) {
	b.Helper()
	eventually(b, func() string {
		at := c.reads.Load() + c.writes.Load()
		time.Sleep(2 * time.Second)
		if n := c.reads.Load() + c.writes.Load() - at; n > 2 {
			return fmt.Sprintf("%d requests in two seconds", n)
		}
		return ""
	})
}

// editAll edits objects one at a time, as any client would, and gives how long it took each until a subscriber had the finding.
func editAll(b *testing.B, envs []*env, edits int) []time.Duration {
	b.Helper()
	c := client(b)
	took := make([]time.Duration, 0, edits)
	for i := range edits {
		e := envs[i%len(envs)]
		name := fmt.Sprintf("svc-%03d-%04d", i%len(envs), 1+i/len(envs)%9)
		key := fmt.Sprintf("KEY_%d", i)
		at := time.Now()
		_, err := c.CoreV1().ConfigMaps(e.ns).Patch(b.Context(), name, types.MergePatchType, fmt.Appendf(nil, `{"data":{%q:"x"}}`, key), metav1.PatchOptions{FieldManager: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, e.received(b, "data["+key+"]").Sub(at))
	}
	return took
}

// churn lets the pods of a workload be removed and made again, which moves its status and nothing that drift compares, beside a foreign
// edit now and then, and gives the share of events that did not have to be compared.
func churn(b *testing.B, w *world) float64 {
	b.Helper()
	e := w.newEnv(b)
	e.deploy(strings.ReplaceAll(web, "replicas: 1", "replicas: 3"))
	healthy := func() {
		devclustertest.Kubectl(b, "-n", e.ns, "wait", "--for=condition=Available", "--timeout=60s", "deployment/web")
	}
	healthy()
	events, _, compared := w.svc.GateStats()
	for i := range 20 {
		devclustertest.Kubectl(b, "-n", e.ns, "delete", "pods", "--all", "--grace-period=0", "--force")
		healthy()
		if i%10 == 0 {
			devclustertest.Kubectl(b, "-n", e.ns, "label", "deployment", "web", fmt.Sprintf("edit-%d=x", i))
			e.awaitCount(1 + i/10)
		}
	}
	laterEvents, _, laterCompared := w.svc.GateStats()
	return 100 * (1 - float64(laterCompared-compared)/float64(laterEvents-events))
}

func parseAll(b *testing.B, text string) []*unstructured.Unstructured {
	b.Helper()
	us, err := manifest.Parse("fleet.yaml", []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return us
}

func percentile(all []time.Duration, p int) float64 {
	slices.Sort(all)
	return float64(all[min(len(all)*p/100, len(all)-1)].Microseconds()) / 1000
}

// peer is how it is done otherwise: dynamic informers that hold every object, and a dry run per comparison.
type peer struct {
	dyn   dynamic.Interface
	bytes float64
	stop  func()
	cache func(schema.GroupVersionResource, string) []*unstructured.Unstructured
}

var fleetKinds = []schema.GroupVersionResource{{Version: "v1", Resource: "configmaps"}, {Group: "apps", Version: "v1", Resource: "deployments"}}

func newPeer(b *testing.B) *peer {
	b.Helper()
	cfg := devclustertest.Config(b)
	cfg.QPS, cfg.Burst = 400, 800
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		b.Fatal(err)
	}
	dyn, err := dynamic.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		b.Fatal(err)
	}
	before := heapNow()
	ctx, cancel := context.WithCancel(context.Background())
	f := dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0)
	for _, k := range fleetKinds {
		f.ForResource(k)
	}
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
	p := &peer{dyn: dyn, bytes: heapNow() - before}
	p.cache = func(k schema.GroupVersionResource, ns string) []*unstructured.Unstructured {
		list, err := f.ForResource(k).Lister().ByNamespace(ns).List(labels.Everything())
		if err != nil {
			b.Fatal(err)
		}
		out := make([]*unstructured.Unstructured, 0, len(list))
		for _, o := range list {
			out = append(out, o.(*unstructured.Unstructured))
		}
		return out
	}
	p.stop = sync.OnceFunc(func() { cancel(); f.Shutdown(); httpClient.CloseIdleConnections() })
	b.Cleanup(p.stop)
	return p
}

// compare asks for a dry run of what is declared, compares the answer with what the cache has, and gives the microseconds for each.
func (p *peer) compare(b *testing.B, envs []*env, n int) float64 {
	b.Helper()
	done, at := 0, time.Duration(0)
	for i, e := range envs {
		declared := map[string]*unstructured.Unstructured{}
		for _, u := range parseAll(b, fleetManifests(i)) {
			u.SetNamespace(e.ns)
			declared[u.GetKind()+u.GetName()] = u
		}
		for _, k := range fleetKinds {
			for _, cached := range p.cache(k, e.ns) {
				live := cached.DeepCopy() // as a controller must before it changes it
				u := declared[live.GetKind()+live.GetName()]
				if u == nil || done >= n {
					continue
				}
				began := time.Now()
				dry, err := p.dyn.Resource(k).Namespace(e.ns).Apply(b.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "towpath", Force: true, DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					b.Fatal(err)
				}
				dry.SetManagedFields(nil)
				live.SetManagedFields(nil)
				_ = equality.Semantic.DeepEqual(dry.Object, live.Object)
				at += time.Since(began)
				done++
			}
		}
	}
	if done == 0 {
		b.Fatal("nothing was compared")
	}
	return float64(at.Microseconds()) / float64(done)
}
