package devclustertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// mainFunc lets goleak look after the shared cluster has stopped.
type mainFunc func() int

func (f mainFunc) Run() int { return f() }

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(mainFunc(func() int { return devclustertest.Run(m) }))
}

// web is a Deployment and its Service; %IMAGE% is replaced.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "%IMAGE%"}
      - {name: helper, image: "example.com/helper:1"}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// apply puts web into the cluster by kubectl, from a file as a person would.
func apply(t *testing.T, kubectl func(testing.TB, ...string) string, ns, image string) {
	t.Helper()
	file := t.TempDir() + "/web.yaml"
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(web, "%IMAGE%", image)), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", ns, "apply", "-f", file)
}

// clientFor makes a client whose connections end with the test: goleak is watching.
func clientFor(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	client, err := kubernetes.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// eventually polls until check returns the empty string, and otherwise fails with its last complaint.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestADeploymentBecomesAvailableAndItsServiceGetsAnAddress(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	apply(t, devclustertest.Kubectl, ns, "example.com/web:1")
	devclustertest.Kubectl(t, "-n", ns, "wait", "--for=condition=Available", "--timeout=60s", "deployment/web")
	client := clientFor(t, devclustertest.Config(t))
	d, err := client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Status.AvailableReplicas != 3 {
		t.Errorf("available replicas = %d, want 3", d.Status.AvailableReplicas)
	}
	svc, err := client.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(svc.Spec.ClusterIP, "10.96.") {
		t.Errorf("cluster IP = %q, want one of 10.96.0.0/16", svc.Spec.ClusterIP)
	}
}

// What attributes drift reads these names: they have to be those of a real cluster.
func TestEveryWriterLeavesTheFieldManagerOfARealCluster(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	apply(t, devclustertest.Kubectl, ns, "example.com/web:1")
	devclustertest.Kubectl(t, "-n", ns, "wait", "--for=condition=Available", "--timeout=60s", "deployment/web")
	devclustertest.Kubectl(t, "-n", ns, "patch", "deployment/web", "--patch", `{"spec":{"minReadySeconds":1}}`)
	devclustertest.Kubectl(t, "-n", ns, "label", "deployment/web", "team=blue")
	devclustertest.Kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=2")
	client := clientFor(t, devclustertest.Config(t))

	var pod corev1.Pod
	eventually(t, func() string {
		pods, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) == 0 || pods.Items[0].Status.Phase != corev1.PodRunning {
			return "no running pod"
		}
		pod = pods.Items[0]
		return ""
	})
	// The controller manager writes the Deployment's status, so its manager is there once the status is.
	var got []string
	want := []string{"kube-controller-manager", "kubectl", "kubectl-client-side-apply", "kubectl-label", "kubectl-patch"}
	eventually(t, func() string {
		d, err := client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		got = managers(d.ManagedFields)
		return cmp.Diff(want, got)
	})
	if diff := cmp.Diff([]string{"kube-controller-manager", "kubelet"}, without(managers(pod.ManagedFields), "kube-scheduler")); diff != "" {
		t.Errorf("managers of a pod (-want +got):\n%s", diff)
	}
}

func managers(entries []metav1.ManagedFieldsEntry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Manager)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == name })
}

func TestABrokenImageEndsInImagePullBackOff(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	apply(t, devclustertest.Kubectl, ns, "example.com/web:broken")
	client := clientFor(t, devclustertest.Config(t))
	want := map[string]string{"main": "ImagePullBackOff", "helper": "running"}
	eventually(t, func() string {
		pods, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 3 {
			return "the three pods are not there"
		}
		for _, p := range pods.Items {
			if diff := cmp.Diff(want, containerStates(p)); diff != "" {
				return "states of the containers (-want +got):\n" + diff
			}
		}
		return ""
	})
	d, err := client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Status.AvailableReplicas != 0 {
		t.Errorf("available replicas = %d, want none", d.Status.AvailableReplicas)
	}
}

func containerStates(p corev1.Pod) map[string]string {
	states := map[string]string{}
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil:
			states[s.Name] = s.State.Waiting.Reason
		case s.State.Running != nil:
			states[s.Name] = "running"
		}
	}
	return states
}

func TestARestrictedNamespaceRefusesAPrivilegedPod(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	devclustertest.Kubectl(t, "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "root"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "example.com/root:1", SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
		}}},
	}
	_, err := clientFor(t, devclustertest.Config(t)).CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("error = %v, want PodSecurity's refusal", err)
	}
}

// auditEvent is the part of an audit log's line that tells who did what.
type auditEvent struct {
	Verb string
	User struct{ Username string }
	// ImpersonatedUser is set when somebody acted as somebody else.
	ImpersonatedUser struct{ Username string }
	ObjectRef        struct{ Resource, Namespace, Name string }
	ResponseStatus   struct{ Code int }
	UserAgent        string
}

// auditEvents of a namespace, as far as they are written.
func auditEvents(t *testing.T, ns string) []auditEvent {
	t.Helper()
	f, err := os.Open(devclustertest.AuditLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []auditEvent
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the last line may be half written
		}
		if e.ObjectRef.Namespace == ns {
			events = append(events, e)
		}
	}
	return events
}

func TestTheAuditLogNamesWhoWroteAndLeavesOutTheClusterItself(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	apply(t, devclustertest.Kubectl, ns, "example.com/web:1")
	devclustertest.Kubectl(t, "-n", ns, "wait", "--for=condition=Available", "--timeout=60s", "deployment/web")
	devclustertest.Kubectl(t, "-n", ns, "patch", "deployment/web", "--patch", `{"spec":{"minReadySeconds":1}}`)
	devclustertest.Kubectl(t, "-n", ns, "--as=alice", "--as-group=system:masters", "delete", "service/web")

	var events []auditEvent
	eventually(t, func() string {
		events = auditEvents(t, ns)
		if !slices.ContainsFunc(events, func(e auditEvent) bool { return e.Verb == "delete" }) {
			return "the audit log does not have the deletion"
		}
		return ""
	})
	type line struct{ who, verb, resource, client string }
	var got []line
	for _, e := range events {
		client, _, _ := strings.Cut(e.UserAgent, "/")
		got = append(got, line{e.User.Username + "/" + e.ImpersonatedUser.Username, e.Verb, e.ObjectRef.Resource, client})
	}
	// No line for pods, replica sets, statuses, events: the components wrote those.
	want := []line{
		{"devcluster-admin/", "create", "deployments", "kubectl"},
		{"devcluster-admin/", "create", "services", "kubectl"},
		{"devcluster-admin/", "patch", "deployments", "kubectl"},
		{"devcluster-admin/alice", "delete", "services", "kubectl"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

func TestRequestsToTheSharedClusterComeFromItsAdministrator(t *testing.T) {
	t.Parallel()
	if got := devclustertest.Kubectl(t, "--kubeconfig", devclustertest.Kubeconfig(t), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"); got != "devcluster-admin" {
		t.Errorf("user = %q, want devcluster-admin", got)
	}
}

// reachable says whether the API server answers within a second.
func reachable(t *testing.T, client kubernetes.Interface) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
	return err == nil
}
