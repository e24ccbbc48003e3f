package accept_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const testdata = "../render/testdata"

// goldenCase is one golden bundle.
type goldenCase struct {
	name, dir, crds string
	restricted      bool
	objects         []*unstructured.Unstructured
}

// cases gives every golden bundle of the renderer, of whichever part.
func cases(t *testing.T) []goldenCase {
	t.Helper()
	var out []goldenCase
	dirs, err := filepath.Glob(testdata + "/*/golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		var in struct {
			Defaults struct {
				Restricted bool `json:"restricted"`
			} `json:"defaults"`
		}
		text, err := os.ReadFile(filepath.Join(dir, "../input.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &in); err != nil {
			t.Fatal(err)
		}
		out = append(out, goldenCase{name: filepath.Base(filepath.Dir(dir)), dir: dir, crds: filepath.Join(dir, "../crds"), restricted: in.Defaults.Restricted})
	}
	// The example: its input is in the test of the renderer, and restricted.
	out = append(out, goldenCase{name: "shop", dir: testdata + "/shop.golden", restricted: true})
	for i := range out {
		if out[i].objects = objectsOf(t, out[i].dir); len(out[i].objects) == 0 {
			t.Fatalf("%s holds no object", out[i].dir)
		}
	}
	return out
}

func (c goldenCase) ready(t *testing.T, s *server) {
	t.Helper()
	s.definitions(t, c.crds)
	s.namespace(t, c.objects[0].GetNamespace(), c.restricted)
}

// Every golden bundle is what an API server takes, field by field and without a warning, and so is each of its pods: a Deployment
// whose pods are refused would be taken without complaint and then run nothing.
func TestAnAPIServerTakesEveryGoldenBundle(t *testing.T) {
	s := newServer(t)
	for _, c := range cases(t) {
		t.Run(c.name, func(t *testing.T) {
			c.ready(t, s)
			s.mustApply(t, c.objects, true)
			for _, o := range c.objects {
				if o.GetKind() == "ServiceAccount" { // a pod whose account is not there is refused
					s.mustApply(t, []*unstructured.Unstructured{o}, false)
				}
			}
			for _, o := range c.objects {
				pod := template(t, o)
				if pod == nil {
					continue
				}
				if err := s.tryPod(t, pod); err != nil {
					t.Errorf("a pod of the %s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
			if w := s.warned(); len(w) > 0 {
				t.Errorf("the server warns: %s", strings.Join(w, "\n"))
			}
		})
	}
}

// Without this the test above could not fail: a pod of an environment that is not restricted is refused where Pod Security is.
func TestPodSecurityJudgesThePods(t *testing.T) {
	s := newServer(t)
	s.namespace(t, "strict", true)
	refused := 0
	for _, c := range cases(t) {
		for _, o := range c.objects {
			pod := template(t, o)
			if c.restricted || pod == nil || c.name != "minimal" {
				continue
			}
			pod.SetNamespace("strict")
			if err := s.tryPod(t, pod); !forbidden(err) {
				t.Errorf("a pod of the %s %s without a security context: %v, want that Pod Security refuses it", o.GetKind(), o.GetName(), err)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("there is no case without restricted defaults to try")
	}
}

// What runs pods gets them when it is really applied: the controllers of every kind make as many as they should, past admission.
func TestControllersMakePodsOfWhatIsRendered(t *testing.T) {
	s := newServer(t)
	want := map[string]bool{"shop": true, "before": true, "kinds": true, "production": true, "statefulset": true, "jobs": true, "long-names": true, "digits": true}
	for _, c := range cases(t) {
		if !want[c.name] {
			continue
		}
		delete(want, c.name)
		t.Run(c.name, func(t *testing.T) {
			c.ready(t, s)
			s.mustApply(t, c.objects, false)
			t.Cleanup(func() { s.discard(t, c.objects[0].GetNamespace()) })
			for _, o := range c.objects {
				if selector, ok := podsOf(o); ok {
					eventually(t, "pods of the "+o.GetKind()+" "+o.GetName(), func() bool { return s.pods(t, o.GetNamespace(), selector) > 0 })
				}
			}
		})
	}
	for name := range want {
		t.Errorf("there is no golden case %s", name)
	}
}

// podsOf gives the selector of the pods that a workload makes at once.
func podsOf(o *unstructured.Unstructured) (string, bool) {
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet":
		if n, found, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); found && n == 0 {
			return "", false
		}
		labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
		return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels}), true
	case "Job":
		if suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); suspended {
			return "", false
		}
		return "batch.kubernetes.io/job-name=" + o.GetName(), true
	}
	return "", false
}

func (s *server) pods(t *testing.T, namespace, selector string) int {
	t.Helper()
	pod := object("v1", "Pod", "")
	pod.SetNamespace(namespace)
	list, err := s.resource(t, pod).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}
