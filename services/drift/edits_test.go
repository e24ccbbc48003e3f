package drift_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

const (
	changed = driftv1.Finding_KIND_CHANGED
	extra   = driftv1.Finding_KIND_EXTRA
	missing = driftv1.Finding_KIND_MISSING
)

// edit is one thing that somebody does to a synced application.
type edit struct {
	name    string
	kubectl []string
	manager string // of kubectl
	op      string // of kubectl; Update when empty
	client  func(ctx context.Context, c kubernetes.Interface, ns string) error
	kind    driftv1.Finding_Kind
	object  string
	field   string
	look    []string // kubectl arguments whose output holds trace while the edit is there
	trace   string
}

const portPatch = `{"spec":{"ports":[{"name":"plain","port":80}]}}`

var portEdit = edit{
	name: "port 80 added to a Service", kubectl: []string{"patch", "service", "web", "-p", portPatch}, manager: "kubectl-patch",
	client: func(ctx context.Context, c kubernetes.Interface, ns string) error {
		s, err := c.CoreV1().Services(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "plain", Port: 80})
		_, err = c.CoreV1().Services(ns).Update(ctx, s, rogue)
		return err
	},
	kind: extra, object: "Service/web", field: "spec.ports[port=80]",
	look: []string{"get", "service", "web", "-o", "jsonpath={range .spec.ports[*]}port={.port};{end}"}, trace: "port=80;",
}

// main gives an edit of the Deployment's pod template by client-go.
func main(change func(*corev1.PodSpec)) func(context.Context, kubernetes.Interface, string) error {
	return func(ctx context.Context, c kubernetes.Interface, ns string) error {
		for {
			d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			change(&d.Spec.Template.Spec)
			if _, err = c.AppsV1().Deployments(ns).Update(ctx, d, rogue); err == nil || !strings.Contains(err.Error(), "modified") {
				return err
			}
		}
	}
}

var template = []string{"get", "deployment", "web", "-o", "jsonpath={.metadata.labels}{.spec.replicas} replicas{.spec.template.spec}"}

var edits = []edit{
	portEdit,
	{
		name: "variable added to a Deployment", kubectl: []string{"set", "env", "deployment/web", "DEBUG=1"}, manager: "kubectl-set",
		client: main(func(p *corev1.PodSpec) {
			p.Containers[0].Env = append(p.Containers[0].Env, corev1.EnvVar{Name: "DEBUG", Value: "1"})
		}),
		kind: extra, object: "Deployment/web", field: "spec.template.spec.containers[name=main].env[name=DEBUG]", look: template, trace: "DEBUG",
	},
	{
		name: "container added to a Deployment", manager: "kubectl-patch",
		kubectl: []string{"patch", "deployment", "web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"spy","image":"example.com/spy:1"}]}}}}`},
		client: main(func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "spy", Image: "example.com/spy:1"})
		}),
		kind: extra, object: "Deployment/web", field: "spec.template.spec.containers[name=spy]", look: template, trace: "spy",
	},
	{
		name: "label added to a Deployment", kubectl: []string{"label", "deployment", "web", "team=blue"}, manager: "kubectl-label",
		client: func(ctx context.Context, c kubernetes.Interface, ns string) error {
			for {
				d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				d.Labels["team"] = "blue"
				if _, err = c.AppsV1().Deployments(ns).Update(ctx, d, rogue); err == nil || !strings.Contains(err.Error(), "modified") {
					return err
				}
			}
		},
		kind: extra, object: "Deployment/web", field: "metadata.labels[team]", look: template, trace: "blue",
	},
	{
		name: "key added to a ConfigMap", kubectl: []string{"edit", "configmap", "web-config"}, manager: "kubectl-edit",
		client: func(ctx context.Context, c kubernetes.Interface, ns string) error {
			m, err := c.CoreV1().ConfigMaps(ns).Get(ctx, "web-config", metav1.GetOptions{})
			if err != nil {
				return err
			}
			m.Data["EXTRA"] = "added"
			_, err = c.CoreV1().ConfigMaps(ns).Update(ctx, m, rogue)
			return err
		},
		kind: extra, object: "ConfigMap/web-config", field: "data[EXTRA]",
		look: []string{"get", "configmap", "web-config", "-o", "jsonpath={.data}"}, trace: "EXTRA",
	},
	{
		name: "image changed", kubectl: []string{"set", "image", "deployment/web", "main=example.com/web:2"}, manager: "kubectl-set",
		client: main(func(p *corev1.PodSpec) { p.Containers[0].Image = "example.com/web:2" }),
		kind:   changed, object: "Deployment/web", field: "spec.template.spec.containers[name=main].image", look: template, trace: "web:2",
	},
	{
		name: "replicas changed", kubectl: []string{"scale", "deployment/web", "--replicas=2"}, manager: "kubectl", op: "Update/scale",
		client: func(ctx context.Context, c kubernetes.Interface, ns string) error {
			for {
				d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				d.Spec.Replicas = new(int32(2))
				if _, err = c.AppsV1().Deployments(ns).Update(ctx, d, rogue); err == nil || !strings.Contains(err.Error(), "modified") {
					return err
				}
			}
		},
		kind: changed, object: "Deployment/web", field: "spec.replicas", look: template, trace: "2 replicas",
	},
	{
		name: "ConfigMap deleted", kubectl: []string{"delete", "configmap", "web-config"}, manager: "unknown",
		client: func(ctx context.Context, c kubernetes.Interface, ns string) error {
			return c.CoreV1().ConfigMaps(ns).Delete(ctx, "web-config", metav1.DeleteOptions{})
		},
		kind: missing, object: "ConfigMap/web-config",
		look: []string{"get", "configmap", "--no-headers", "-o", "jsonpath={.items[*].metadata.name} {range .items[?(@.metadata.name==\"web-config\")]}there{end}"},
	},
}

func TestPort80AddedToAServiceByKubectlPatchIsFoundAttributedAndReverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	checkEdit(t, w.newEnv(t), portEdit, true)
}

func TestEveryKindOfEditByAnyClientIsOneFindingWithItsAuthorAndCanBeReverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, ed := range edits {
		if ed.field != portEdit.field { // it has a test of its own
			t.Run(ed.name+" by kubectl", func(t *testing.T) {
				t.Parallel()
				checkEdit(t, w.newEnv(t), ed, true)
			})
		}
		t.Run(ed.name+" by another client", func(t *testing.T) {
			t.Parallel()
			checkEdit(t, w.newEnv(t), ed, false)
		})
	}
}

func checkEdit(t *testing.T, e *env, ed edit, kubectl bool) {
	t.Helper()
	e.deploy(web)
	at := time.Now()
	manager, op := "rogue-operator", "Update"
	if kubectl {
		devclustertest.Kubectl(t, append([]string{"-n", e.ns}, ed.kubectl...)...)
		manager = ed.manager
		if ed.op != "" {
			op = ed.op
		}
	} else if err := ed.client(t.Context(), client(t), e.ns); err != nil {
		t.Fatal(err)
	}
	if ed.kind == missing {
		manager, op = "unknown", ""
	}
	f := await(e, "drift.detected", func(*eventsv1.DriftDetected) bool { return true }).GetFinding()
	if f.GetKind() != ed.kind || f.GetObjectKind()+"/"+f.GetObjectName() != ed.object || f.GetField() != ed.field || f.GetNamespace() != e.ns {
		t.Errorf("found %v, want %s of %s at %q", f, ed.kind, ed.object, ed.field)
	}
	if f.GetManager() != manager || f.GetOperation() != op {
		t.Errorf("by %q (%s), want %q (%s)", f.GetManager(), f.GetOperation(), manager, op)
	}
	if ed.kind == missing {
		if f.GetEditTime() != nil || f.GetAttribution() == "" {
			t.Errorf("a deletion has the time %v and the attribution %q; it leaves no time, and that is to be said", f.GetEditTime(), f.GetAttribution())
		}
	} else if f.GetOperation() == "Update/scale" {
		// The API server keeps no time for a first write to the scale subresource, and that is to be said.
		if f.GetEditTime() == nil && !strings.Contains(f.GetAttribution(), "keeps no time") {
			t.Errorf("the time is missing and the attribution is %q", f.GetAttribution())
		}
	} else if d := f.GetEditTime().AsTime().Sub(at).Abs(); d > 5*time.Second {
		t.Errorf("edited at %s, want about %s", f.GetEditTime().AsTime(), at)
	}
	if all := e.findings(); len(all) != 1 || all[0].GetName() != f.GetName() {
		t.Errorf("findings are %v, want exactly the one that was told", all)
	}
	resp := e.revert(f.GetName())
	if len(resp.GetReverted()) != 1 || resp.GetReverted()[0].GetName() != f.GetName() {
		t.Errorf("reverted %v", resp)
	}
	got := devclustertest.Kubectl(t, append([]string{"-n", e.ns}, ed.look...)...)
	if ed.kind == missing && !strings.Contains(got, "there") || ed.kind != missing && strings.Contains(got+" ", ed.trace) {
		t.Errorf("after the revert the cluster has %s", got)
	}
	gone := await(e, "drift.resolved", func(*eventsv1.DriftResolved) bool { return true })
	if gone.GetFinding().GetName() != f.GetName() || gone.GetFinding().GetResolution() != "reverted" || gone.GetOpen() != 0 || gone.GetFinding().GetResolveTime() == nil {
		t.Errorf("resolved %v, want reverted", gone)
	}
	if n := len(told[eventsv1.DriftDetected](e, "drift.detected")); n != 1 {
		t.Errorf("%d drift.detected were told, want 1", n)
	}
	e.awaitCount(0)
}

// web is what most tests deploy.
const web = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web-config}
data:
  LOG_LEVEL: info
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: example.com/web:1
        env: [{name: MODE, value: test}]
`
