package drift

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// replayedIn is how many objects an environment of the replay has.
const replayedIn = 1000

var replayedKind = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}

// replayedValues are the texts in which one replayed object differs from the others: names, images, digests and addresses, as between
// real ones, so that nothing is smaller or faster than it would be.
func replayedValues(i int) []string {
	r := rand.New(rand.NewPCG(uint64(i), 7391))
	return []string{fmt.Sprintf("svc-%s-%07d", digits(r, 6), i), fmt.Sprintf("team-%05d", i/replayedIn), digits(r, 40), digits(r, 32), digits(r, 64), "tag-" + digits(r, 10)}
}

// replayedManifest is a workload as teams write them, another one for each number.
func replayedManifest(i int) string {
	v := replayedValues(i)
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod, app.kubernetes.io/managed-by: towpath, team: %[2]s}
  annotations: {towpath.dev/commit: %[3]q}
spec:
  replicas: 2
  selector: {matchLabels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s-prod, team: %[2]s}
      annotations: {towpath.dev/config-checksum: %[4]q}
    spec:
      containers:
      - name: main
        image: registry.example.com/%[2]s/%[1]s@sha256:%[5]s
        ports: [{name: http, containerPort: 8080}]
        env:
        - {name: LOG_LEVEL, value: info}
        - {name: DB_HOST, value: %[1]s-db.%[2]s.svc}
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: %[1]s-db, key: password}}}
        - {name: FEATURE_FLAGS_URL, value: "https://flags.example.com/%[6]s"}
        resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 512Mi}}
        readinessProbe: {httpGet: {path: /readyz, port: http}}
        livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 15}
        volumeMounts: [{name: config, mountPath: /etc/app, readOnly: true}]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, capabilities: {drop: [ALL]}}
      volumes: [{name: config, configMap: {name: %[1]s-config-%[6]s}}]
`, v[0], v[1], v[2], v[3], v[4], v[5])
}

// replayed is a fleet of replayed objects: a real Deployment, as devcluster's API server and controllers made it of the first manifest,
// again and again with other names. It serves them as an API server does, page by page.
type replayed struct {
	svc     *Service
	cluster *cluster
	envs    []*environment
	live    template // the real one
	want    template // what was applied
	base    []byte   // its baseline
	version int      // resourceVersion of all objects
	edit    func(i int, object string) string

	pages   map[string][][]byte // by namespace
	answers int
}

// newReplay takes the real one from the cluster and declares n objects. Nothing was seen of them yet.
func newReplay(t testing.TB, n int) *replayed {
	t.Helper()
	svc, err := New(Config{MaskKey: []byte("0123456789abcdef0123456789abcdef"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &replayed{svc: svc, version: 1_000_000, pages: map[string][][]byte{}}
	r.capture(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if r.cluster, err = newCluster(ctx, &eventsv1.TargetRef{Name: "targets/replay", RequestLimit: 10_000}, svc); err != nil {
		t.Fatal(err)
	}
	if _, err := r.cluster.link.lead(&rest.Config{Host: "http://replay.invalid", Transport: r}, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cluster.endEpoch() })
	for i := range n {
		r.declare(t, i)
	}
	return r
}

// declare adds an object to the fleet, as a sync does.
func (r *replayed) declare(t testing.TB, i int) {
	t.Helper()
	if i%replayedIn == 0 {
		e := newEnvironment(r.svc, fmt.Sprintf("applications/a%05d/environments/prod", i/replayedIn))
		e.cluster = r.cluster
		e.desired = &eventsv1.DesiredState{Environment: e.name, Generation: 1, Tree: "t"}
		e.synced = e.desired
		if _, err := r.cluster.claim(e, replayedValues(i)[1]); err != nil {
			t.Fatal(err)
		}
		r.envs = append(r.envs, e)
	}
	o, err := wire.NewDecoder().Decode([]byte(r.want.fill(r.values(i))))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: o}
	x := &tracked{key: r.svc.names.key(keyOf(u)), gvr: r.svc.names.resource(replayedKind), base: bytes.Clone(r.base)}
	x.declare(u)
	r.envs[len(r.envs)-1].objects[x.key] = x
}

// reset begins anew with no objects.
func (r *replayed) reset() {
	for _, e := range r.envs {
		r.cluster.release(e)
	}
	r.envs = nil
	r.svc.ready.clear()
	r.svc.stats.compared.Store(0)
}

// capture applies the first manifest to the cluster and waits until its controllers have done what they do.
func (r *replayed) capture(t testing.TB) {
	t.Helper()
	cfg := devclustertest.Config(t)
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer httpClient.CloseIdleConnections()
	dyn, err := dynamic.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	u, ns := parsed(t, replayedManifest(0)), devclustertest.Namespace(t)
	u.SetNamespace(ns)
	objects := dyn.Resource(replayedKind).Namespace(ns)
	applied, err := objects.Apply(t.Context(), u.GetName(), u.DeepCopy(), metav1.ApplyOptions{FieldManager: FieldManager})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.svc.comparer.MakeBaseline(u, applied, FieldManager)
	if err != nil {
		t.Fatal(err)
	}
	if r.base, err = b.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	devclustertest.Kubectl(t, "-n", ns, "wait", "--for=condition=Available", "--timeout=60s", "deployment/"+u.GetName())
	live, err := objects.Get(t.Context(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := live.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	u.SetNamespace(replayedValues(0)[1])
	wanted, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	r.want = newTemplate(strings.TrimSpace(string(wanted)), r.values(0))
	r.live = newTemplate(strings.NewReplacer(ns, replayedValues(0)[1], string(live.GetUID()), r.values(0)[0],
		`"resourceVersion":"`+live.GetResourceVersion()+`"`, fmt.Sprintf(`"resourceVersion":"%d"`, r.version)).
		Replace(strings.TrimSpace(string(text))), r.values(0))
}

// values are what differs between the objects, with what the server gives them.
func (r *replayed) values(i int) []string {
	return append([]string{fmt.Sprintf("7391a0b1-0000-4000-8000-%012d", i), strconv.Itoa(r.version)}, replayedValues(i)...)
}

// template is a text in which some places are filled in.
type template struct {
	texts  []string // around the places
	places []int    // what stands behind each text but the last
}

// newTemplate cuts a text at every place where one of the values stands.
func newTemplate(text string, values []string) template {
	var t template
	for {
		first, which := len(text), -1
		for i, v := range values {
			if at := strings.Index(text, v); at >= 0 && at < first {
				first, which = at, i
			}
		}
		t.texts = append(t.texts, text[:first])
		if which < 0 {
			return t
		}
		t.places = append(t.places, which)
		text = text[first+len(values[which]):]
	}
}

func (t template) fill(values []string) string {
	var b strings.Builder
	for i, text := range t.texts {
		b.WriteString(text)
		if i < len(t.places) {
			b.WriteString(values[t.places[i]])
		}
	}
	return b.String()
}

// object is the live object as the API server sends it.
func (r *replayed) object(i int) string {
	o := r.live.fill(r.values(i))
	if r.edit != nil {
		o = r.edit(i, o)
	}
	return o
}

// prepare makes the pages of an environment's namespace, so that serving them takes no time.
func (r *replayed) prepare(env, n int) {
	clear(r.pages)
	ns := replayedValues(env * replayedIn)[1]
	first, last := env*replayedIn, min((env+1)*replayedIn, n)
	for at := first; at < last; at += pageSize {
		var b bytes.Buffer
		end, token := min(at+pageSize, last), ""
		if end < last {
			token = fmt.Sprintf(`"continue":"%d",`, len(r.pages[ns])+1)
		}
		fmt.Fprintf(&b, `{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{%s"resourceVersion":"%d"},"items":[`, token, r.version)
		for i := at; i < end; i++ {
			if o := r.object(i); o != "" {
				if b.Bytes()[b.Len()-1] != '[' {
					b.WriteByte(',')
				}
				b.WriteString(o)
			}
		}
		b.WriteString("]}\n")
		r.pages[ns] = append(r.pages[ns], b.Bytes())
	}
}

// RoundTrip serves the pages.
func (r *replayed) RoundTrip(req *http.Request) (*http.Response, error) {
	parts := strings.Split(req.URL.Path, "/")
	page, _ := strconv.Atoi(req.URL.Query().Get("continue"))
	r.answers++
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		Body: io.NopCloser(bytes.NewReader(r.pages[parts[5]][page])),
	}, nil
}

// sweep sweeps all environments and gives what it took without making the pages.
func (r *replayed) sweep(t testing.TB, n int, timed func(func())) {
	t.Helper()
	for i, e := range r.envs {
		r.prepare(i, n)
		timed(func() {
			if err := e.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func (r *replayed) findings() (all []string) {
	for _, e := range r.envs {
		for _, t := range e.objects {
			for _, f := range t.findings {
				all = append(all, f.GetObjectName()+" "+f.GetKind().String()+" "+f.GetField())
			}
		}
	}
	return all
}

func TestASweepOfReplayedObjectsFindsWhatIsToBeFoundAndNothingElse(t *testing.T) {
	const n = 2200
	r := newReplay(t, n)
	at := func(f func()) { f() }
	r.sweep(t, n, at)
	if fs := r.findings(); len(fs) != 0 {
		t.Fatalf("as they were made: %d findings, such as %s", len(fs), fs[0])
	}
	if r.answers != 5 || r.svc.stats.compared.Load() != n {
		t.Errorf("%d pages were asked for and %d objects compared, want 5 and %d", r.answers, r.svc.stats.compared.Load(), n)
	}
	// Nothing is compared again, and nothing that only its status' manager touched.
	r.sweep(t, n, at)
	r.version++
	r.sweep(t, n, at)
	if got := r.svc.stats.compared.Load(); got != n {
		t.Errorf("%d objects were compared again", got-n)
	}
	r.version++
	r.edit = func(i int, o string) string {
		switch i {
		case 3:
			return ""
		case 1700:
			return strings.Replace(o, `"value":"info"`, `"value":"debug"`, 1)
		}
		return o
	}
	r.sweep(t, n, at)
	if fs := r.findings(); len(fs) != 2 {
		t.Errorf("findings %v", fs)
	}
	for _, e := range r.envs {
		for _, x := range e.objects {
			if x.uid == types.UID("") {
				t.Fatalf("%v was never seen", x.key)
			}
		}
	}
}
