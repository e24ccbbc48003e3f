package drift_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// jobOf is a Job with annotations; an image with "broken" never runs.
func jobOf(name, image, annotations string) string {
	return fmt.Sprintf(`---
apiVersion: batch/v1
kind: Job
metadata: {name: %s, annotations: {%s}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: %s}]
`, name, annotations, image)
}

func waved(manifest, annotations string) string {
	return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {"+annotations+"}, ", 1)
}

func TestWavesWaitForEachOtherAndHooksRunAroundThem(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(jobOf("before", "migrate", "argocd.argoproj.io/hook: PreSync") + "---" + web +
		waved(configMap("later", "x"), `argocd.argoproj.io/sync-wave: "1"`) +
		jobOf("after", "notify", "towpath.dev/hook: PostSync, towpath.dev/hook-delete-policy: HookSucceeded"))
	// The wave after the Deployment's was applied only when that was available.
	c := client(t)
	d, err := c.AppsV1().Deployments(e.ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	later, err := c.CoreV1().ConfigMaps(e.ns).Get(t.Context(), "later", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if later.CreationTimestamp.Before(&d.Status.Conditions[0].LastUpdateTime) {
		t.Errorf("wave 1 was applied at %s, before the Deployment of wave 0 was available at %s", later.CreationTimestamp, d.Status.Conditions[0].LastUpdateTime)
	}
	before, err := c.BatchV1().Jobs(e.ns).Get(t.Context(), "before", metav1.GetOptions{})
	if err != nil || before.Status.Succeeded != 1 {
		t.Fatalf("the PreSync hook: %v, %v", before.Status, err)
	}
	if d.CreationTimestamp.Before(before.Status.CompletionTime) {
		t.Errorf("the Deployment was made at %s, before the PreSync hook ended at %s", d.CreationTimestamp, before.Status.CompletionTime)
	}
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "jobs", "-o", "name"); strings.Contains(got, "after") {
		t.Errorf("the hook that is removed when it succeeded is still there: %s", got)
	}
	// Hooks are no drift and no orphans, and shown as what they are.
	devclustertest.Kubectl(t, "-n", e.ns, "label", "job", "before", "team=blue")
	e.staysClean("configmap/later")
	var shown []string
	for _, o := range e.status().GetObjects() {
		shown = append(shown, fmt.Sprintf("%s/%s %d %s %s", o.GetKind(), o.GetName(), o.GetWave(), o.GetHook(), o.GetSync()))
	}
	for _, want := range []string{"Job/before 0 PreSync SYNC_STATE_SYNCED", "Job/after 0 PostSync SYNC_STATE_SYNCED", "ConfigMap/later 1  SYNC_STATE_SYNCED"} {
		if !strings.Contains(strings.Join(shown, "\n"), want) {
			t.Errorf("the status has %q, want %q", shown, want)
		}
	}
}

func TestAHookThatFailsEndsTheDeploymentWithItsReasonAndRunsSyncFail(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.policy = &driftv1.SyncPolicy{WaveTimeout: durationpb.New(3 * time.Second), Retry: &driftv1.SyncRetry{Limit: -1}}
	e.want(jobOf("migrate", "broken", "argocd.argoproj.io/hook: PreSync") + jobOf("alarm", "alarm", "argocd.argoproj.io/hook: SyncFail") + "---" + config)
	f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if !strings.Contains(f.GetMessage(), "the PreSync hook Job migrate failed: ") || !strings.Contains(f.GetMessage(), "ImagePullBackOff") {
		t.Errorf("told %v", f)
	}
	got := devclustertest.Kubectl(t, "-n", e.ns, "get", "jobs,configmaps", "-o", "name")
	if !strings.Contains(got, "job.batch/alarm") || strings.Contains(got, "web-config") {
		t.Errorf("there is %s, want the SyncFail hook and nothing of the sync", got)
	}
	// The next deployment runs its hooks anew.
	e.deploy(jobOf("migrate", "migrate", "argocd.argoproj.io/hook: PreSync") + "---" + config)
}

func TestAWaveThatDoesNotBecomeHealthyFailsWithWhatItsPodsSayAndANewerDeploymentEndsTheWait(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.policy = &driftv1.SyncPolicy{WaveTimeout: durationpb.New(2 * time.Second), Retry: &driftv1.SyncRetry{Limit: -1}}
	second := waved(configMap("second", "x"), `towpath.dev/sync-wave: "5"`)
	e.want(strings.ReplaceAll(web, "web:1", "web:broken") + second)
	f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "TIMEOUT" || !strings.Contains(f.GetMessage(), "wave 0 is not healthy after 2s") || !strings.Contains(f.GetMessage(), "ImagePullBackOff") {
		t.Errorf("told %v", f)
	}
	eventually(t, func() string {
		for _, o := range e.status().GetObjects() {
			if o.GetName() == "web" && o.GetKind() == "Deployment" && strings.Contains(o.GetSyncMessage(), "ImagePullBackOff") && o.GetSync() == driftv1.SyncState_SYNC_STATE_FAILED {
				return ""
			}
		}
		return fmt.Sprintf("status is %v", e.status())
	})
	e.policy.WaveTimeout = durationpb.New(time.Hour)
	e.want(strings.ReplaceAll(web, "web:1", "web:broken2") + second)
	eventually(t, func() string {
		if st := e.status(); !strings.Contains(st.GetMessage(), "waits for wave 0: Deployment/web") {
			return fmt.Sprintf("status is %v", st)
		}
		return ""
	})
	e.deploy(web + second)
}

func TestAWaveWaitsForTheEndOfItsJobs(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(jobOf("first", "first", `towpath.dev/sync-wave: "-1"`) + "---" + config)
	c := client(t)
	j, err := c.BatchV1().Jobs(e.ns).Get(t.Context(), "first", metav1.GetOptions{})
	if err != nil || j.Status.CompletionTime == nil {
		t.Fatalf("the Job of the wave before: %v, %v", j.Status, err)
	}
	m, err := c.CoreV1().ConfigMaps(e.ns).Get(t.Context(), "web-config", metav1.GetOptions{})
	if err != nil || m.CreationTimestamp.Before(j.Status.CompletionTime) {
		t.Errorf("the next wave was applied at %s, before the Job ended at %s: %v", m.CreationTimestamp, j.Status.CompletionTime, err)
	}
}

func TestAMarkThatMeansNothingIsRefusedByItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for annotations, want := range map[string]string{
		"argocd.argoproj.io/sync-wave: first": `annotation argocd.argoproj.io/sync-wave is "first"`,
		"towpath.dev/hook: Presync":           `annotation towpath.dev/hook is "Presync"; give PreSync`,
		"towpath.dev/on-removal: snaphsot":    `give delete, keep or snapshot`,
		"towpath.dev/hook: PreSync, argocd.argoproj.io/hook-delete-policy: WhenItSucceeds": `give BeforeHookCreation`,
	} {
		e := w.newEnv(t)
		e.want(waved(config, annotations))
		f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
		if !strings.Contains(f.GetMessage(), want) {
			t.Errorf("%s: told %v, want %q", annotations, f, want)
		}
	}
}

func TestSomethingSkippedIsNeitherAppliedNorRemoved(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config + configMap("other", "x"))
	e.deploy(config + waved(configMap("other", "changed"), "towpath.dev/hook: Skip"))
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "other", "-o", "jsonpath={.data.LOG_LEVEL}"); got != "x" {
		t.Errorf("LOG_LEVEL is %s", got)
	}
}
