package drift_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
)

// registered takes the APIs that a service registers, so that a test can call them without a network.
type registered map[string]any

func (r registered) RegisterService(d *grpc.ServiceDesc, impl any) { r[d.ServiceName] = impl }

func (w *world) live() driftv1.LiveServiceServer {
	r := registered{}
	w.svc.Register(r)
	return r["towpath.drift.v1.LiveService"].(driftv1.LiveServiceServer)
}

func (e *env) objectTree() *driftv1.ObjectTree {
	e.t.Helper()
	tree, err := e.live().GetObjectTree(e.t.Context(), &driftv1.GetObjectTreeRequest{Parent: e.name})
	if err != nil {
		e.t.Fatal(err)
	}
	return tree
}

func (e *env) object(kind, name string) *driftv1.LiveObject {
	e.t.Helper()
	o, err := e.live().GetLiveObject(e.t.Context(), &driftv1.GetLiveObjectRequest{Parent: e.name, Object: &driftv1.ObjectRef{Kind: kind, Name: name}})
	if err != nil {
		e.t.Fatal(err)
	}
	return o
}

// drawn writes a tree with the kinds only, indented, because names of pods are made up.
func drawn(tree *driftv1.ObjectTree) string {
	var b strings.Builder
	depths := map[string]int{}
	for _, n := range tree.GetNodes() {
		depth := 0
		if n.GetOwnerUid() != "" {
			depth = depths[n.GetOwnerUid()] + 1
		}
		depths[n.GetUid()] = depth
		b.WriteString(strings.Repeat(" ", depth) + n.GetObject().GetKind())
		if n.GetDeclared() {
			b.WriteString("/" + n.GetObject().GetName())
		}
		b.WriteString("\n")
	}
	return b.String()
}

const withPassword = `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      initContainers: [{name: prepare, image: example.com/prepare:1}]
      containers: [{name: main, image: example.com/db:1, volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/migrate:1"}]}
`

func TestTheTreeShowsWhatControllersMadeOfWhatIsDeclared(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web + withPassword)
	// Neither of the two below belongs to the environment.
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "foreign", "--from-literal=a=b")
	devclustertest.Kubectl(t, "-n", e.ns, "run", "stray", "--image=example.com/stray:1")
	want := `ConfigMap/web-config
Deployment/web
 ReplicaSet
  Pod
Job/migrate
 Pod
Service/web
StatefulSet/db
 PersistentVolumeClaim
 Pod
`
	eventually(t, func() string {
		if got := drawn(e.objectTree()); got != want {
			return "tree is\n" + got
		}
		return ""
	})
	eventually(t, func() string {
		for _, n := range e.objectTree().GetNodes() {
			if n.GetPod() != nil && strings.HasPrefix(n.GetObject().GetName(), "web-") {
				if c := n.GetPod().GetContainers(); n.GetPod().GetPhase() == "Running" && n.GetPod().GetNode() != "" && len(c) == 1 &&
					c[0].GetName() == "main" && c[0].GetImage() == "example.com/web:1" && c[0].GetReady() && c[0].GetState() == "running" {
					return ""
				}
				return fmt.Sprintf("pod is %v", n.GetPod())
			}
		}
		return "no pod"
	})
	for _, n := range e.objectTree().GetNodes() {
		if c := n.GetPod().GetContainers(); strings.HasPrefix(n.GetObject().GetName(), "db-") && (len(c) != 2 || c[0].GetName() != "prepare" || !c[0].GetInit() || c[1].GetInit()) {
			t.Errorf("containers are %v", c)
		}
	}
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "service", "web")
	e.awaitCount(1)
	for _, n := range e.objectTree().GetNodes() {
		if gone := n.GetObject().GetKind() == "Service"; gone != (n.GetMessage() == "is missing") || gone && n.GetHealth() != driftv1.Health_HEALTH_DEGRADED {
			t.Errorf("%s is %s", n.GetObject(), n.GetMessage())
		}
	}
}

func TestACustomResourceIsShownWithWhatItsControllerMade(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	kinds := installGizmos(t)
	e.deploy("apiVersion: " + kinds + "/v1\nkind: Gizmo\nmetadata: {name: g}\nspec: {size: 1}\n")
	uid := devclustertest.Kubectl(t, "-n", e.ns, "get", "gizmos."+kinds, "g", "-o", "jsonpath={.metadata.uid}")
	ref := []metav1.OwnerReference{{APIVersion: kinds + "/v1", Kind: "Gizmo", Name: "g", UID: "placeholder"}}
	ref[0].UID = typesUID(uid)
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "made", OwnerReferences: ref}, Data: map[string]string{"a": "b"}}
	if _, err := client(t).CoreV1().ConfigMaps(e.ns).Create(t.Context(), made, metav1.CreateOptions{FieldManager: "gizmo-controller"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if got := drawn(e.objectTree()); got != "Gizmo/g\n ConfigMap\n" {
			return "tree is\n" + got
		}
		return ""
	})
	if o := e.object("ConfigMap", "made"); !strings.Contains(o.GetLive(), "a: b") || o.GetDesired() != "" || o.GetFile() != "" {
		t.Errorf("object is %v", o)
	}
}

func TestAnObjectIsShownFromBothSides(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web + scaler)
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "service", "web", "-p", portPatch)
	devclustertest.Kubectl(t, "-n", e.ns, "set", "env", "deployment/web", "MODE-", "EXTRA=1")
	e.awaitCount(3)
	o := e.object("service", "web")
	if o.GetObject().GetKind() != "Service" || o.GetObject().GetApiVersion() != "v1" || o.GetFile() != "manifests.yaml" || len(o.GetFindings()) != 1 {
		t.Errorf("object is %v", o)
	}
	if strings.Contains(o.GetDesired(), "clusterIP") || !strings.Contains(o.GetLive(), "clusterIP") || strings.Contains(o.GetLive(), "managedFields") {
		t.Errorf("desired:\n%s\nlive:\n%s", o.GetDesired(), o.GetLive())
	}
	if got := changedLines(o.GetDesired(), o.GetComparable()); got != "+- name: plain +port: 80 +protocol: TCP +targetPort: 80" {
		t.Errorf("differs in %q:\n%s", got, o.GetComparable())
	}
	o = e.object("Deployment", "web")
	if got := changedLines(o.GetDesired(), o.GetComparable()); got != "+annotations: +deployment.kubernetes.io/revision: \"2\" +- name: EXTRA +value: \"1\" -- name: MODE -value: test" {
		t.Errorf("differs in %q:\n%s", got, o.GetComparable())
	}
	owners := prototext.Format(&driftv1.LiveObject{Owners: o.GetOwners()})
	if !strings.Contains(owners, `"towpath"`) || !strings.Contains(owners, `"kubectl-set"`) || o.GetOwners()[0].GetFields() == 0 {
		t.Errorf("owners are %s", owners)
	}
	if o.GetStatus().GetKind() != "Deployment" || o.GetStatus().GetHealth() == driftv1.Health_HEALTH_UNSPECIFIED {
		t.Errorf("status is %v", o.GetStatus())
	}
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "service", "web")
	eventually(t, func() string {
		if o := e.object("Service", "web"); o.GetLive() != "" || o.GetDesired() == "" || len(o.GetFindings()) != 1 {
			return fmt.Sprint(o)
		}
		return ""
	})
}

// changedLines gives the lines that only one of two texts has, sorted as they stand.
func changedLines(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[strings.TrimSpace(line)]--
	}
	for line := range strings.Lines(after) {
		count[strings.TrimSpace(line)]++
	}
	var out []string
	for line := range strings.Lines(after + before) {
		switch line = strings.TrimSpace(line); {
		case count[line] > 0:
			out = append(out, "+"+line)
		case count[line] < 0:
			out = append(out, "-"+line)
		}
		delete(count, line)
	}
	return strings.Join(out, " ")
}

func TestADelegatedFieldIsShownWithItsRule(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web + scaler)
	devclustertest.Kubectl(t, "-n", e.ns, "scale", "deployment/web", "--replicas=2")
	eventually(t, func() string {
		o := e.object("Deployment", "web")
		for _, f := range o.GetFindings() {
			if f.GetStanding() == driftv1.Finding_STANDING_DELEGATED && f.GetField() == "spec.replicas" && f.GetRule() != "" &&
				strings.Contains(o.GetComparable(), "replicas: 2") && strings.Contains(o.GetDesired(), "replicas: 1") {
				return ""
			}
		}
		return fmt.Sprint(o)
	})
}

func TestWhatDoesNotBelongToTheEnvironmentIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e, other := w.newEnv(t), w.newEnv(t)
	e.deploy(config)
	other.deploy(config + configMap("theirs", "x"))
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "foreign", "--from-literal=a=b")
	devclustertest.Kubectl(t, "-n", e.ns, "run", "stray", "--image=example.com/stray:1")
	for _, c := range []struct {
		name   string
		ref    *driftv1.ObjectRef
		kind   errs.Kind
		reason errorsv1.Reason
	}{
		{"one that nobody declared", &driftv1.ObjectRef{Kind: "ConfigMap", Name: "foreign"}, errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		{"one that is not there", &driftv1.ObjectRef{Kind: "ConfigMap", Name: "nothing"}, errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		{"one of another environment", &driftv1.ObjectRef{Kind: "ConfigMap", Name: "theirs", Namespace: other.ns}, errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		{"one outside of namespaces", &driftv1.ObjectRef{Kind: "Namespace", Name: e.ns}, errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		{"a pod that nobody declared", &driftv1.ObjectRef{Kind: "Pod", Name: "stray"}, errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		{"a kind that there is not", &driftv1.ObjectRef{Kind: "Gadget", Name: "x"}, errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
		{"none", nil, errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := e.live().GetLiveObject(t.Context(), &driftv1.GetLiveObjectRequest{Parent: e.name, Object: c.ref})
			if !errs.Is(err, c.kind) || errs.ReasonOf(err) != c.reason {
				t.Errorf("error is %v", err)
			}
			if c.ref == nil {
				return
			}
			if _, err := e.live().ListObjectEvents(t.Context(), &driftv1.ListObjectEventsRequest{Parent: e.name, Object: c.ref}); !errs.Is(err, c.kind) {
				t.Errorf("error of events is %v", err)
			}
		})
	}
	err := e.live().StreamLogs(&driftv1.StreamLogsRequest{Parent: e.name, Pod: "stray"}, &logSink{ctx: t.Context()})
	if !errs.Is(err, errs.NotFound) {
		t.Errorf("error of logs is %v", err)
	}
	if _, err := e.live().GetObjectTree(t.Context(), &driftv1.GetObjectTreeRequest{Parent: "applications/no/environments/no"}); !errs.Is(err, errs.NotFound) {
		t.Errorf("error of the tree is %v", err)
	}
}

func TestNoSecretLeavesByTheLiveView(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	const withPassword, changed = "hunter2-withPassword-value", "hunter3-changed-value"
	secret := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + withPassword + "}\n"
	e.deploy(strings.ReplaceAll(web, "{name: MODE, value: test}", "{name: DB_PASSWORD, value: "+withPassword+"}") + secret)
	devclustertest.Kubectl(t, "-n", e.ns, "annotate", "secret", "s", `kubectl.kubernetes.io/last-applied-configuration={"stringData":{"password":"`+withPassword+`"}}`)
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "secret", "s", "-p", `{"stringData":{"password":"`+changed+`","more":"`+changed+`"}}`)
	devclustertest.Kubectl(t, "-n", e.ns, "set", "env", "deployment/web", "DB_PASSWORD="+changed)
	e.awaitCount(3)
	var all strings.Builder
	for _, o := range []*driftv1.LiveObject{e.object("Secret", "s"), e.object("Deployment", "web")} {
		if !strings.Contains(o.GetLive(), "(masked, hmac-sha256 ") || !strings.Contains(o.GetDesired(), "(masked, hmac-sha256 ") || !strings.Contains(o.GetComparable(), "(masked, hmac-sha256 ") {
			t.Errorf("nothing is masked in %v", o)
		}
		if o.GetDesired() == o.GetComparable() {
			t.Errorf("a changed value cannot be seen in %v", o)
		}
		all.WriteString(prototext.Format(o))
	}
	for _, f := range e.object("Secret", "s").GetFindings() {
		if f.GetField() == "data[password]" && !strings.Contains(e.object("Secret", "s").GetLive(), f.GetLive().GetStringValue()) {
			t.Errorf("the digest of the finding is not that of the object: %v", f)
		}
	}
	all.WriteString(prototext.Format(e.objectTree()))
	events, err := e.live().ListObjectEvents(t.Context(), &driftv1.ListObjectEventsRequest{Parent: e.name})
	if err != nil {
		t.Fatal(err)
	}
	all.WriteString(prototext.Format(events))
	for _, v := range []string{withPassword, changed} {
		for _, form := range []string{v, base64.StdEncoding.EncodeToString([]byte(v)), base64.StdEncoding.EncodeToString([]byte(v))[:12]} {
			if strings.Contains(all.String(), form) {
				t.Errorf("%q leaves: %s", form, all.String())
			}
		}
	}
}

func TestEventsOfAnObjectAreThoseOfWhatItOwnsToo(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	devclustertest.Kubectl(t, "-n", e.ns, "run", "stray", "--image=example.com/stray:1")
	list := func(ref *driftv1.ObjectRef) map[string]bool {
		t.Helper()
		l, err := e.live().ListObjectEvents(t.Context(), &driftv1.ListObjectEventsRequest{Parent: e.name, Object: ref})
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]bool{}
		for i, ev := range l.GetEvents() {
			kinds[ev.GetObject().GetKind()+" "+ev.GetReason()] = true
			if ev.GetObject().GetName() == "stray" || ev.GetMessage() == "" || ev.GetSource() == "" || ev.GetLastTime().AsTime().IsZero() {
				t.Errorf("event is %v", ev)
			}
			if i > 0 && ev.GetLastTime().AsTime().After(l.GetEvents()[i-1].GetLastTime().AsTime()) {
				t.Errorf("%v is newer than the one before", ev)
			}
		}
		return kinds
	}
	eventually(t, func() string {
		all, some, none := list(nil), list(&driftv1.ObjectRef{Kind: "Deployment", Name: "web"}), list(&driftv1.ObjectRef{Kind: "Service", Name: "web"})
		if all["Deployment ScalingReplicaSet"] && some["Deployment ScalingReplicaSet"] && some["ReplicaSet SuccessfulCreate"] && some["Pod Scheduled"] && len(none) == 0 {
			return ""
		}
		return fmt.Sprint(all, some, none)
	})
}

// logSink is the caller's side of a stream of logs.
type logSink struct {
	grpc.ServerStream
	ctx  context.Context
	mu   sync.Mutex
	got  []*driftv1.LogChunk
	more chan struct{}
}

func (s *logSink) Context() context.Context { return s.ctx }

func (s *logSink) Send(c *driftv1.LogChunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, c)
	if s.more != nil {
		s.more <- struct{}{}
	}
	return nil
}

func (s *logSink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, c := range s.got {
		b.Write(c.GetText())
	}
	return b.String()
}

// kubelet stands between drift and the API server and answers for logs, which the fake kubelets of devcluster do not have.
func kubelet(t *testing.T, logs http.HandlerFunc) *rest.Config {
	t.Helper()
	real := devclustertest.Config(t)
	transport, err := rest.TransportFor(real)
	if err != nil {
		t.Fatal(err)
	}
	host, err := url.Parse(real.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(host) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/log") {
			logs(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	if c, ok := transport.(interface{ CloseIdleConnections() }); ok {
		t.Cleanup(c.CloseIdleConnections)
	}
	return &rest.Config{Host: server.URL}
}

func TestLogsAreStreamedInWholeLinesUntilTheCallerLeaves(t *testing.T) {
	t.Parallel()
	written, left := make(chan string), make(chan struct{})
	var asked sync.Map
	w := newWorld(t, kubelet(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path[strings.LastIndex(r.URL.Path, "/pods/")+6:], r.URL.Query())
		if r.URL.Query().Get("follow") == "" {
			_, _ = rw.Write([]byte("one\ntwo\nthree"))
			return
		}
		rw.WriteHeader(http.StatusOK)
		for {
			select {
			case text := <-written:
				_, _ = rw.Write([]byte(text))
				rw.(http.Flusher).Flush()
			case <-r.Context().Done():
				close(left)
				return
			}
		}
	}))
	e := w.newEnv(t)
	e.deploy(web)
	eventually(t, func() string {
		if got := drawn(e.objectTree()); !strings.Contains(got, "Pod") {
			return got
		}
		return ""
	})
	sink := &logSink{ctx: t.Context()}
	if err := e.live().StreamLogs(&driftv1.StreamLogsRequest{Parent: e.name, Workload: "web", Previous: true, TailLines: 7}, sink); err != nil {
		t.Fatal(err)
	}
	pod := sink.got[0].GetPod()
	if sink.text() != "one\ntwo\nthree" || !strings.HasPrefix(pod, "web-") || sink.got[0].GetContainer() != "main" {
		t.Errorf("got %v", sink.got)
	}
	q, _ := asked.Load(pod + "/log")
	if q := q.(url.Values); q.Get("previous") != "true" || q.Get("tailLines") != "7" || q.Get("container") != "main" {
		t.Errorf("asked for %v", q)
	}
	ctx, leave := context.WithCancel(t.Context())
	sink = &logSink{ctx: ctx, more: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- e.live().StreamLogs(&driftv1.StreamLogsRequest{Parent: e.name, Pod: pod, Follow: true}, sink)
	}()
	written <- "first line\nhalf of"
	<-sink.more
	if got := sink.text(); got != "first line\n" {
		t.Errorf("got %q, want whole lines", got)
	}
	written <- " the second\n"
	<-sink.more
	if got := sink.text(); got != "first line\nhalf of the second\n" {
		t.Errorf("got %q", got)
	}
	leave()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the stream goes on without its caller")
	}
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("the cluster is still asked")
	}
}

func TestWhatIsWrongWithARequestForLogsIsSaid(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	eventually(t, func() string {
		if got := drawn(e.objectTree()); !strings.Contains(got, "Pod") {
			return got
		}
		return ""
	})
	for _, c := range []struct {
		name, says string
		req        *driftv1.StreamLogsRequest
		reason     errorsv1.Reason
	}{
		{"neither pod nor workload", "pod", &driftv1.StreamLogsRequest{}, errorsv1.Reason_REASON_INVALID_FIELD},
		{"both", "pod", &driftv1.StreamLogsRequest{Pod: "a", Workload: "b"}, errorsv1.Reason_REASON_INVALID_FIELD},
		{"an unknown workload", "there are web", &driftv1.StreamLogsRequest{Workload: "api"}, errorsv1.Reason_REASON_NOT_FOUND},
		{"an unknown container", "it has main", &driftv1.StreamLogsRequest{Workload: "web", Container: "x"}, errorsv1.Reason_REASON_INVALID_FIELD},
		{"a cluster without logs", "the cluster has no log of container main", &driftv1.StreamLogsRequest{Workload: "deployment/web"}, errorsv1.Reason_REASON_LOGS_UNAVAILABLE},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.Parent = e.name
			err := e.live().StreamLogs(c.req, &logSink{ctx: t.Context()})
			if errs.ReasonOf(err) != c.reason || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func typesUID(s string) types.UID { return types.UID(strings.TrimSpace(s)) }

// installGizmos adds a custom resource of a group of its own, so that tests do not meet, and gives the group.
func installGizmos(t *testing.T) string {
	t.Helper()
	group := fmt.Sprintf("g%d.example.com", time.Now().UnixNano())
	crd := fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gizmos.%[1]s"},
"spec":{"group":"%[1]s","scope":"Namespaced","names":{"plural":"gizmos","singular":"gizmo","kind":"Gizmo","listKind":"GizmoList"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`, group)
	file := filepath.Join(t.TempDir(), "crd.json")
	if err := os.WriteFile(file, []byte(crd), 0o600); err != nil {
		t.Fatal(err)
	}
	devclustertest.Kubectl(t, "apply", "-f", file)
	t.Cleanup(func() { devclustertest.Kubectl(t, "delete", "-f", file, "--wait=false") })
	devclustertest.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/gizmos."+group)
	return group
}
