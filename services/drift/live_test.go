package drift_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func TestAClusterThatGoesAwayIsUnknownAndAfterItIsBackEditsOfMeanwhileAppear(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	w := newWorld(t, c.Config(t))
	e := w.envIn(t, c.Namespace(t))
	e.deploy(web + scaler)
	eventually(t, func() string {
		if st := e.status(); st.GetHealth() == driftv1.Health_HEALTH_UNSPECIFIED {
			return fmt.Sprintf("status is %v", st)
		}
		return ""
	})
	c.Kill(t)
	await(e, "environment.health", func(h *eventsv1.EnvironmentHealth) bool {
		return h.GetGeneration() == 1 && h.GetSync() == driftv1.SyncState_SYNC_STATE_UNSPECIFIED && strings.Contains(h.GetMessage(), "cannot be reached")
	})
	c.Start(t)
	c.Kubectl(t, "-n", e.ns, "patch", "service", "web", "-p", portPatch)
	c.Kubectl(t, "-n", e.ns, "delete", "configmap", "web-config")
	e.awaitCount(2)
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
			return fmt.Sprintf("status is %v, want SYNCED", st)
		}
		return ""
	})
	// The watches are back too, not only a look at everything.
	c.Kubectl(t, "-n", e.ns, "label", "deployment", "web", "team=blue")
	e.awaitCount(3)
	e.revert()
	e.awaitCount(0)
	if n := len(told[eventsv1.DriftDetected](e, "drift.detected")); n != 3 {
		t.Errorf("%d findings were told, want 3: %v", n, told[eventsv1.DriftDetected](e, "drift.detected"))
	}
}

func TestABrokenImageIsProgressingAndTheMessageSaysWhatThePodSays(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	healthy := func() {
		t.Helper()
		await(e, "environment.health", func(h *eventsv1.EnvironmentHealth) bool {
			return h.GetGeneration() == e.generation && h.GetHealth() == driftv1.Health_HEALTH_HEALTHY && h.GetSync() == driftv1.SyncState_SYNC_STATE_SYNCED
		})
	}
	healthy()
	e.deploy(strings.ReplaceAll(web, "web:1", "web:broken"))
	h := await(e, "environment.health", func(h *eventsv1.EnvironmentHealth) bool {
		return h.GetGeneration() == 2 && strings.Contains(h.GetMessage(), "ImagePullBackOff")
	})
	if h.GetHealth() != driftv1.Health_HEALTH_PROGRESSING || !strings.Contains(h.GetMessage(), "Deployment/web") || !strings.Contains(h.GetMessage(), "container main") {
		t.Errorf("told %v", h)
	}
	e.deploy(web)
	healthy()
	if m := e.status().GetMessage(); m != "" {
		t.Errorf("the message is still %q", m)
	}
}

func TestSelfHealRevertsByItselfAndStopsWhenSomebodyKeepsUndoingIt(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.selfHeal = true
	e.deploy(config)
	c := client(t)
	put := func() {
		patch := []byte(`{"data":{"LOG_LEVEL":"debug"}}`)
		if _, err := c.CoreV1().ConfigMaps(e.ns).Patch(t.Context(), "web-config", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "stubborn"}); err != nil {
			t.Fatal(err)
		}
	}
	healed := func(n int) {
		t.Helper()
		eventually(t, func() string {
			m, err := c.CoreV1().ConfigMaps(e.ns).Get(t.Context(), "web-config", metav1.GetOptions{})
			if err != nil || m.Data["LOG_LEVEL"] != "info" || len(told[eventsv1.DriftResolved](e, "drift.resolved")) != n {
				return fmt.Sprintf("not healed %d times: %v %v", n, err, m.Data)
			}
			return ""
		})
	}
	for n := range 3 {
		put()
		healed(n + 1)
	}
	put()
	d := await(e, "drift.detected", func(d *eventsv1.DriftDetected) bool {
		return strings.Contains(d.GetFinding().GetAttribution(), "contested")
	})
	if f := d.GetFinding(); f.GetManager() != "stubborn" || f.GetField() != "data[LOG_LEVEL]" {
		t.Errorf("contested is %v", f)
	}
	// We stand back for this one, not for others, and a person can still revert it.
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team=blue")
	await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool { return r.GetFinding().GetField() == "metadata.labels[team]" })
	if f := e.awaitOne(); !strings.Contains(f.GetAttribution(), "contested") {
		t.Errorf("left is %v, want the contested one", f)
	}
	e.revert()
	e.awaitCount(0)
}

func TestGeneratedSecretValuesStayAndSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	secrets := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: made, annotations: {towpath.dev/generate: \"password:32\"}}\n" +
		"---\napiVersion: v1\nkind: Secret\nmetadata: {name: given}\nstringData: {token: planted-declared-7391}\n"
	e.deploy(config + secrets)
	read := func() string {
		t.Helper()
		return devclustertest.Kubectl(t, "-n", e.ns, "get", "secret", "made", "-o", "jsonpath={.data.password}")
	}
	first := read()
	if len(first) < 32 {
		t.Fatalf("generated %q", first)
	}
	e.deploy(config + configMap("more", "x") + secrets)
	e.sync()
	e.deploy(config + strings.ReplaceAll(secrets, "password:32", "password:32,pin:8"))
	w.stop()
	w.start()
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
			return fmt.Sprint(st)
		}
		return ""
	})
	if read() != first {
		t.Error("a later deployment changed the password")
	}
	e.staysClean("secret/made", "secret/given")
	// Renewing it in the cluster is no drift either.
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "secret", "made", "-p", `{"stringData":{"password":"planted-renewed-7391"}}`)
	e.staysClean("secret/made")
	// A changed and an added value are findings that show neither; kubectl's own annotation holds both in clear.
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "secret", "given", "-p",
		`{"stringData":{"token":"planted-changed-7391","more":"planted-added-7391"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"planted-annotation-7391"}}}`)
	e.awaitCount(2)
	for _, f := range e.findings() {
		if f.GetObjectName() != "given" || f.GetManager() != "kubectl-patch" || f.GetLive() == nil {
			t.Errorf("found %v", f)
		}
	}
	e.revert()
	e.awaitCount(0)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.seen {
		for _, planted := range []string{"planted", "cGxhbnRlZ", first} { // clear and base64
			if strings.Contains(string(r.data), planted) {
				t.Errorf("event %s holds a secret value", r.typ)
			}
		}
	}
}

const scaler = `---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  minReplicas: 1
  maxReplicas: 4
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`

func TestWhatControllersMayDoIsNoFindingAsLongAsTheEvidenceIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "somebody-elses", "--from-literal=a=b")
	e.deploy(web)
	c := client(t)
	hpa := strings.TrimPrefix(scaler, "---\n")
	applyFile(t, e.ns, hpa)
	eventually(t, func() string {
		if _, err := c.AutoscalingV2().HorizontalPodAutoscalers(e.ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	scale := func(n int32) {
		t.Helper()
		s, err := c.AppsV1().Deployments(e.ns).GetScale(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.Spec.Replicas = n
		if _, err := c.AppsV1().Deployments(e.ns).UpdateScale(t.Context(), "web", s, metav1.UpdateOptions{FieldManager: "kube-controller-manager"}); err != nil {
			t.Fatal(err)
		}
	}
	scale(3)
	devclustertest.Kubectl(t, "-n", e.ns, "wait", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=30s", "deployment/web")
	e.staysClean("deployment/web", "service/web", "configmap/web-config")
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "hpa", "web")
	if f := e.awaitOne(); f.GetField() != "spec.replicas" || f.GetKind() != changed {
		t.Errorf("without the autoscaler: %v", f)
	}
	applyFile(t, e.ns, hpa)
	e.awaitCount(0)
}

func applyFile(t *testing.T, ns, manifests string) {
	t.Helper()
	file := t.TempDir() + "/m.yaml"
	writeFile(t, file, manifests)
	devclustertest.Kubectl(t, "-n", ns, "apply", "-f", file)
}

func TestEditsDuringSyncsAndRevertsAreNotLost(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config)
	c := client(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // somebody who writes all the time, so that reverts meet conflicts
		for i := 0; ctx.Err() == nil; i++ {
			patch := fmt.Appendf(nil, `{"data":{"K%d":"x"}}`, i%5)
			_, _ = c.CoreV1().ConfigMaps(e.ns).Patch(ctx, "web-config", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "busy"})
		}
	})
	for i := range 5 {
		e.deploy(config + configMap("other", fmt.Sprint("v", i)))
		e.sync()
		_, _ = e.svc.RevertFindings(t.Context(), &driftv1.RevertFindingsRequest{Parent: e.name}) // may lose against the writer
	}
	cancel()
	wg.Wait()
	// What drift says in the end is what there is.
	eventually(t, func() string {
		m, err := c.CoreV1().ConfigMaps(e.ns).Get(t.Context(), "web-config", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if fs := e.findings(); len(fs) != len(m.Data)-1 {
			return fmt.Sprintf("the ConfigMap has %v, the findings are %v", m.Data, fs)
		}
		return ""
	})
	e.revert()
	e.awaitCount(0)
}

func TestAnObjectRemovedAndMadeAgainIsComparedAsItIsNow(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config)
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "configmap", "web-config")
	if f := e.awaitOne(); f.GetKind() != missing {
		t.Errorf("found %v", f)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "web-config", "--from-literal=LOG_LEVEL=info", "--from-literal=EXTRA=1")
	eventually(t, func() string {
		fs := e.findings()
		if len(fs) != 1 || fs[0].GetField() != "data[EXTRA]" || fs[0].GetManager() != "kubectl-create" {
			return fmt.Sprint(fs)
		}
		return ""
	})
	e.revert()
	e.awaitCount(0)
}

func TestAPlaceThatFlapsIsToldOnlyWhenItLasts(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config)
	c := client(t)
	set := func(value string) {
		patch := fmt.Appendf(nil, `{"data":{"LOG_LEVEL":%q}}`, value)
		if _, err := c.CoreV1().ConfigMaps(e.ns).Patch(t.Context(), "web-config", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "flapping"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		set("debug")
		e.awaitCount(1)
		set("info")
		e.awaitCount(0)
	}
	for range 10 {
		set("debug")
		set("info")
	}
	at := time.Now()
	set("debug")
	e.awaitCount(1)
	if d := time.Since(at); d < 1900*time.Millisecond {
		t.Errorf("told after %s, want after 2 s", d)
	}
	await(e, "drift.detected", func(*eventsv1.DriftDetected) bool { return len(told[eventsv1.DriftDetected](e, "drift.detected")) >= 3 })
	if n := len(told[eventsv1.DriftDetected](e, "drift.detected")); n != 3 {
		t.Errorf("%d were told, want 3", n)
	}
}
