package drift_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// mutator is a webhook that puts a sidecar, a label and a default into Deployments.
type mutator struct {
	version atomic.Int64 // of the sidecar that it injects
	calls   atomic.Int64
}

func (m *mutator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	var d struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
			MinReadySeconds int32 `json:"minReadySeconds"`
			Template        struct {
				Spec corev1.PodSpec `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil || json.Unmarshal(review.Request.Object.Raw, &d) != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	m.calls.Add(1)
	type op struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	image := fmt.Sprintf("example.com/proxy:%d", m.version.Load())
	sidecar := op{"add", "/spec/template/spec/containers/-", corev1.Container{Name: "proxy", Image: image}}
	for i, c := range d.Spec.Template.Spec.Containers {
		if c.Name == "proxy" {
			sidecar = op{"replace", fmt.Sprintf("/spec/template/spec/containers/%d/image", i), image}
		}
	}
	ops := []op{sidecar}
	if d.Metadata.Labels == nil {
		ops = append(ops, op{"add", "/metadata/labels", map[string]string{}})
	}
	ops = append(ops, op{"add", "/metadata/labels/mesh.example.com~1injected", "yes"})
	if d.Spec.MinReadySeconds == 0 {
		ops = append(ops, op{"add", "/spec/minReadySeconds", 1})
	}
	patch, err := json.Marshal(ops)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: new(admissionv1.PatchTypeJSONPatch)}
	_ = json.NewEncoder(w).Encode(review)
}

// inject registers a mutator for the Deployments of one namespace and waits until the API server asks it.
func inject(t *testing.T, ns string) *mutator {
	t.Helper()
	m := &mutator{}
	m.version.Store(1)
	server := httptest.NewTLSServer(m)
	t.Cleanup(server.Close)
	c := client(t)
	configs := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configs.Create(t.Context(), &registration.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []registration.MutatingWebhook{{
			Name: "mesh.example.com",
			ClientConfig: registration.WebhookClientConfig{
				URL: new(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
			Rules: []registration.RuleWithOperations{{
				Operations: []registration.OperationType{registration.Create, registration.Update},
				Rule:       registration.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
			}},
			SideEffects: new(registration.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { devclustertest.Kubectl(t, "delete", "mutatingwebhookconfiguration", ns) })
	eventually(t, func() string {
		applyFile(t, ns, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: probe}\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: \"a:1\"}]}}}\n")
		devclustertest.Kubectl(t, "-n", ns, "delete", "deployment", "probe")
		if m.calls.Load() == 0 {
			return "the webhook is not asked"
		}
		return ""
	})
	return m
}

func (e *env) containers() string {
	e.t.Helper()
	return devclustertest.Kubectl(e.t, "-n", e.ns, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image} {.metadata.labels} {.spec.minReadySeconds}")
}

func TestWhatAMutatingWebhookInjectsIsNoFindingAndAnEditBesideItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	m := inject(t, e.ns)
	e.deploy(web)
	if got := e.containers(); !strings.Contains(got, "proxy:1") || !strings.Contains(got, "injected") || !strings.HasSuffix(got, " 1") {
		t.Fatalf("the webhook did not inject: %s", got)
	}
	e.staysClean("deployment/web")

	// A foreign edit beside what was injected, and one within it.
	devclustertest.Kubectl(t, "-n", e.ns, "set", "env", "deployment/web", "-c", "main", "DEBUG=1")
	if f := e.awaitOne(); f.GetField() != "spec.template.spec.containers[name=main].env[name=DEBUG]" || f.GetManager() != "kubectl-set" {
		t.Errorf("found %v", f)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "set", "env", "deployment/web", "-c", "proxy", "LEVEL=debug")
	e.awaitCount(2)
	e.revert()
	e.awaitCount(0)
	if !strings.Contains(e.containers(), "proxy:1") {
		t.Error("the revert took the sidecar away")
	}

	// After a restart the inventory knows it, and without the inventory's baselines a dry run tells.
	w.stop()
	w.start()
	e.awaitSyncedStatus()
	e.staysClean("deployment/web")
	w.stop()
	e.dropBaselines()
	w.start()
	e.awaitSyncedStatus()
	e.staysClean("deployment/web", "service/web", "configmap/web-config")

	// The webhook injects something else by now: what it changes with the next write is its own, too.
	m.version.Store(2)
	devclustertest.Kubectl(t, "-n", e.ns, "label", "deployment", "web", "team=blue")
	if f := e.awaitOne(); f.GetField() != "metadata.labels[team]" {
		t.Errorf("found %v", f)
	}
	if got := e.containers(); !strings.Contains(got, "proxy:2") {
		t.Fatalf("the webhook did not inject its new version: %s", got)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "label", "deployment", "web", "team-")
	e.awaitCount(0)
	e.staysClean("deployment/web")
}

// awaitSyncedStatus waits until the environment counts as synced, as after a restart.
func (e *env) awaitSyncedStatus() {
	e.t.Helper()
	eventually(e.t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
			return fmt.Sprint(st)
		}
		return ""
	})
}

// dropBaselines takes what the server made of the objects out of the inventory.
func (e *env) dropBaselines() {
	e.t.Helper()
	maps := client(e.t).CoreV1().ConfigMaps(e.ns)
	inv, err := maps.Get(e.t.Context(), "towpath-inventory", metav1.GetOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	var items []map[string]any
	if err := json.Unmarshal([]byte(inv.Data["objects"]), &items); err != nil {
		e.t.Fatal(err)
	}
	for _, it := range items {
		delete(it, "b")
	}
	objects, err := json.Marshal(items)
	if err != nil {
		e.t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]any{"objects": string(objects)}})
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := maps.Patch(e.t.Context(), inv.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "towpath-inventory"}); err != nil {
		e.t.Fatal(err)
	}
}

func TestAnEditWhileDriftIsStoppedIsStillOneFindingAfterTheNextSync(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("inventory lost %v", lost), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			e := w.newEnv(t)
			e.deploy(web)
			w.stop()
			if lost {
				e.dropBaselines()
			}
			devclustertest.Kubectl(t, "-n", e.ns, "patch", "service", "web", "-p", portPatch)
			w.start()
			check := func(when string) {
				t.Helper()
				if f := e.awaitOne(); f.GetField() != "spec.ports[port=80]" || f.GetManager() != "kubectl-patch" {
					t.Errorf("%s: found %v", when, f)
				}
			}
			check("after the start")
			e.sync()
			check("after a sync")
			e.deploy(web + configMap("more", "x"))
			check("after a deployment")
			w.stop()
			w.start()
			e.awaitSyncedStatus()
			check("after another start")
			devclustertest.Kubectl(t, "-n", e.ns, "label", "service", "web", "team=blue")
			e.awaitCount(2)
			e.revert()
			e.awaitCount(0)
		})
	}
}
