package drift_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/drift"
)

// withAudit restarts the world's service with an audit feed.
func (w *world) withAudit(cfg drift.AuditConfig) *world {
	w.stop()
	w.cfg.Audit = cfg
	w.start()
	return w
}

func asAlice(t *testing.T, args ...string) {
	t.Helper()
	devclustertest.Kubectl(t, append([]string{"--as=alice", "--as-group=system:masters"}, args...)...)
}

// awaitActor waits until the finding of an object's field names somebody, and checks that this was told.
func (e *env) awaitActor(object, field, actor string) *driftv1.Finding {
	e.t.Helper()
	var found *driftv1.Finding
	eventually(e.t, func() string {
		for _, f := range e.findings() {
			if f.GetObjectKind()+"/"+f.GetObjectName() == object && f.GetField() == field && f.GetActor() == actor {
				found = f
				return ""
			}
		}
		return fmt.Sprintf("no finding of %s %s by %s in %v", object, field, actor, e.findings())
	})
	await(e, "drift.detected", func(d *eventsv1.DriftDetected) bool {
		return d.GetFinding().GetName() == found.GetName() && d.GetFinding().GetActor() == actor
	})
	return found
}

func TestTheAuditLogNamesThePersonBehindAnEditARemovalAndADeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).withAudit(drift.AuditConfig{Files: map[string]string{"local": devclustertest.AuditLog(t)}})
	e := w.newEnv(t)
	e.deploy(web)
	before := time.Now()
	asAlice(t, "-n", e.ns, "label", "service", "web", "team=blue")
	asAlice(t, "-n", e.ns, "label", "deployment", "web", "app-")
	asAlice(t, "-n", e.ns, "delete", "configmap", "web-config")
	devclustertest.Kubectl(t, "-n", e.ns, "annotate", "service", "web", "by=admin")

	edit := e.awaitActor("Service/web", "metadata.labels[team]", "alice")
	if edit.GetManager() != "kubectl-label" || !strings.HasPrefix(edit.GetUserAgent(), "kubectl") || edit.GetEditTime() == nil {
		t.Errorf("the edit is %v", edit)
	}
	removal := e.awaitActor("Deployment/web", "metadata.labels[app]", "alice")
	if removal.GetManager() != "unknown" || removal.GetEditTime().AsTime().Sub(before).Abs() > 10*time.Second ||
		!strings.Contains(removal.GetAttribution(), "the audit log names alice, as whom devcluster-admin acted") {
		t.Errorf("the removal is %v", removal)
	}
	deletion := e.awaitActor("ConfigMap/web-config", "", "alice")
	if deletion.GetKind() != missing || deletion.GetUserAgent() == "" {
		t.Errorf("the deletion is %v", deletion)
	}
	e.awaitActor("Service/web", "metadata.annotations[by]", "devcluster-admin")

	// What is known stays known when something else happens to the object.
	devclustertest.Kubectl(t, "-n", e.ns, "annotate", "deployment", "web", "later=x")
	e.awaitCount(5)
	if again := e.awaitActor("Deployment/web", "metadata.labels[app]", "alice"); !again.GetEditTime().AsTime().Equal(removal.GetEditTime().AsTime()) {
		t.Errorf("after another edit the removal is %v", again)
	}
	e.revert()
	e.awaitCount(0)
}

func TestWithoutAnAuditLogARemovalHasNoAuthorButATimeWindow(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	eventually(t, func() string { // seen by the watch, so that the window begins there
		if st := e.status(); st.GetHealth() != driftv1.Health_HEALTH_HEALTHY {
			return fmt.Sprint(st)
		}
		return ""
	})
	before := time.Now()
	asAlice(t, "-n", e.ns, "label", "deployment", "web", "app-")
	f := e.awaitOne()
	after := time.Now()
	if f.GetManager() != "unknown" || f.GetActor() != "" || f.GetUserAgent() != "" || f.GetEditTime() != nil || !strings.Contains(f.GetAttribution(), "no owner") {
		t.Errorf("found %v, want that nobody is named", f)
	}
	earliest, latest := f.GetEarliestEditTime().AsTime(), f.GetLatestEditTime().AsTime()
	if earliest.After(before) || latest.Before(before) || latest.After(after) || f.GetEarliestEditTime() == nil {
		t.Errorf("between %s and %s, want a time around %s", earliest, latest, before)
	}
	asAlice(t, "-n", e.ns, "delete", "configmap", "web-config")
	e.awaitCount(2)
	for _, f := range e.findings() {
		if f.GetActor() != "" || f.GetManager() != "unknown" || f.GetLatestEditTime() == nil || f.GetEarliestEditTime() == nil {
			t.Errorf("found %v", f)
		}
	}
}

// auditEvent is an event as an API server sends it at level RequestResponse.
func auditEvent(ns, user, verb, resource, name, manager, version string) string {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/%s/%s/%s?fieldManager=%s",
	"verb":%q,"user":{"username":%q},"sourceIPs":["127.0.0.1"],"userAgent":"sent/1.0","objectRef":{"resource":%q,"namespace":%q,"name":%q,"apiVersion":"v1"},
	"responseStatus":{"code":200},"requestObject":{"data":{"token":"cGxhbnRlZC1hdWRpdA=="}},
	"responseObject":{"metadata":{"resourceVersion":%q},"data":{"token":"cGxhbnRlZC1hdWRpdA=="}},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`,
		ns, resource, name, manager, verb, user, resource, ns, name, version, now, now)
}

func TestTheAuditWebhookNamesWhoWroteLateAndTakesNothingWithoutItsToken(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-the-local-target"
	w := newWorld(t, nil).withAudit(drift.AuditConfig{Tokens: map[string]string{"targets/local": token}})
	mux := http.NewServeMux()
	mux.Handle("POST "+drift.AuditPath, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.svc.AuditEvents().ServeHTTP(rw, r) }))
	server := httptest.NewServer(mux)
	defer server.Close()
	send := func(target, bearer, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/hooks/audit/"+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	e := w.newEnv(t)
	e.deploy(config)
	c := client(t)
	m, err := c.CoreV1().ConfigMaps(e.ns).Get(t.Context(), "web-config", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Data["EXTRA"] = "x"
	if m, err = c.CoreV1().ConfigMaps(e.ns).Update(t.Context(), m, rogue); err != nil {
		t.Fatal(err)
	}
	if f := e.awaitOne(); f.GetActor() != "" {
		t.Errorf("before the log tells, it is by %q", f.GetActor())
	}
	list := func(events ...string) string {
		return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(events, ",") + `]}`
	}
	event := auditEvent(e.ns, "carol", "update", "configmaps", "web-config", "rogue-operator", m.ResourceVersion)
	for _, bad := range []struct {
		target, token, body string
		code                int
	}{
		{"local", "wrong", list(event), http.StatusUnauthorized},
		{"other", token, list(event), http.StatusUnauthorized},
		{"other", "", list(event), http.StatusUnauthorized},
		{"local", token, `{"kind":"PodList","items":[]}`, http.StatusBadRequest},
		{"local", token, `[]`, http.StatusBadRequest},
		{"local", token, `{"kind":"EventList","items":[{"stage":3}]}`, http.StatusBadRequest},
	} {
		if code := send(bad.target, bad.token, bad.body); code != bad.code {
			t.Errorf("%s to %s is answered %d, want %d", bad.body[:20], bad.target, code, bad.code)
		}
	}
	if f := e.awaitOne(); f.GetActor() != "" {
		t.Errorf("what had no token names %q", f.GetActor())
	}
	at := time.Now()
	if code := send("local", token, list(event)); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	f := e.awaitActor("ConfigMap/web-config", "data[EXTRA]", "carol")
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("told again after %s, want at most 2 s", took)
	}
	if f.GetUserAgent() != "sent/1.0" {
		t.Errorf("with %q", f.GetUserAgent())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.seen {
		if bytes.Contains(r.data, []byte("planted-audit")) || bytes.Contains(r.data, []byte("cGxhbnRlZC1hdWRpdA")) {
			t.Errorf("event %s holds a value from the audit log", r.typ)
		}
	}
}

func TestAnAuditLogFileIsFollowedOverRotationAndFromBeforeTheStart(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/audit.log"
	w := newWorld(t, nil).withAudit(drift.AuditConfig{Files: map[string]string{"targets/local": file}})
	e := w.newEnv(t)
	e.deploy(config)
	line := func(verb, user, manager string) string {
		return strings.ReplaceAll(auditEvent(e.ns, user, verb, "configmaps", "web-config", manager, ""), "\n", "") + "\n"
	}
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team=blue")
	e.awaitCount(1)
	writeFile(t, file, strings.Repeat("x", 2<<20)+"\n"+line("patch", "dora", "kubectl-label")) // one line is no event, and too long
	e.awaitActor("ConfigMap/web-config", "metadata.labels[team]", "dora")

	devclustertest.Kubectl(t, "-n", e.ns, "annotate", "configmap", "web-config", "team=blue")
	e.awaitCount(2)
	late := line("patch", "emil", "kubectl-annotate")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, late[:50]) // half of it, then the log is rotated, and the rest comes in
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, late[50:])
	f.Close()
	writeFile(t, file, "")
	e.awaitActor("ConfigMap/web-config", "metadata.annotations[team]", "emil")

	w.stop()
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "configmap", "web-config")
	writeFile(t, file, line("delete", "fred", "kubectl-delete"))
	w.start()
	e.awaitActor("ConfigMap/web-config", "", "fred")
}
