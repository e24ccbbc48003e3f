package drift_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func claim(name, annotations string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s, annotations: {%s}}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n", name, annotations)
}

const stateful = `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
  volumeClaimTemplates:
  - metadata: {name: files}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func TestRemovalKeepsWhatHoldsDataAndNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := client(t)
	ours := w.envIn(t, "kept-"+fmt.Sprint(time.Now().UnixNano()))
	t.Cleanup(func() {
		err := c.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ours.ns, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	ours.deploy(web + claim("data", "") + claim("scratch", "towpath.dev/on-removal: delete") + stateful +
		"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: precious, annotations: {towpath.dev/on-removal: keep}}\ndata: {a: b}\n")
	eventually(t, func() string {
		if _, err := c.CoreV1().PersistentVolumeClaims(ours.ns).Get(t.Context(), "files-db-0", metav1.GetOptions{}); err != nil {
			return "the StatefulSet has no claim yet: " + err.Error()
		}
		return ""
	})
	ours.remove()
	done := await(ours, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == ours.generation })
	want := []string{
		"ConfigMap precious in namespace " + ours.ns, "PersistentVolumeClaim data in namespace " + ours.ns,
		"PersistentVolumeClaim files-db-0 in namespace " + ours.ns,
	}
	if diff := cmp.Diff(want, done.GetRetained()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	got := devclustertest.Kubectl(t, "-n", ours.ns, "get", "configmap,pvc,deployment,replicaset,statefulset,pod,service", "-o", "name")
	left := strings.Fields(strings.ReplaceAll(got, "configmap/kube-root-ca.crt\n", ""))
	if diff := cmp.Diff([]string{"configmap/precious", "persistentvolumeclaim/data", "persistentvolumeclaim/files-db-0"}, left); diff != "" {
		t.Errorf("left in the namespace (-want +got):\n%s", diff)
	}
}

func TestRemovalTakesClaimsThatGoWithTheirStatefulSetAndThenTheNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := client(t)
	ours := w.envIn(t, "gone-"+fmt.Sprint(time.Now().UnixNano()))
	ours.deploy(strings.Replace(stateful, "  serviceName: db\n", "  serviceName: db\n  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}\n", 1))
	eventually(t, func() string {
		pvc, err := c.CoreV1().PersistentVolumeClaims(ours.ns).Get(t.Context(), "files-db-0", metav1.GetOptions{})
		if err != nil || len(pvc.OwnerReferences) == 0 {
			return fmt.Sprintf("the claim is not the StatefulSet's yet: %v, %v", pvc.OwnerReferences, err)
		}
		return ""
	})
	ours.remove()
	done := await(ours, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == ours.generation })
	if len(done.GetRetained()) > 0 {
		t.Errorf("kept %v, want nothing", done.GetRetained())
	}
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), ours.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace: %v, want that it is gone", err)
	}
}
