package guardrail_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
	openapi "github.com/towpath-dev/towpath/services/renderer/schema"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestMain(m *testing.M) { os.Exit(devclustertest.Run(m)) }

// warnings keeps what the API server warns of.
type warnings struct {
	sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) take() []string {
	w.Lock()
	defer w.Unlock()
	defer func() { w.texts = nil }()
	return w.texts
}

// Policies are put into a real cluster, each bound to a namespace of its own, and objects are shown to the API server and to us:
// both must say the same of each, with the same message.
func TestPoliciesSayWhatTheServerSays(t *testing.T) {
	cfg, warned := devclustertest.Config(t), &warnings{}
	cfg.QPS, cfg.WarningHandler = -1, warned
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/policies/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("the policies: %v %v", files, err)
	}
	namespaces := map[string]string{}
	loaded := map[string][]*rendererv1.Guardrail{}
	for _, file := range files {
		namespaces[file] = devclustertest.Namespace(t)
		text := strings.ReplaceAll(read(t, file), "NAMESPACE", namespaces[file])
		install(t, client, text)
		var err error
		if loaded[file], _, err = guardrail.Load(map[string][]byte{file: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	awaitCanary(t, client)
	objects := documents(t, read(t, "testdata/objects.yaml"))
	denied, warnedOf, passed := 0, 0, 0
	for _, file := range files {
		for _, o := range objects {
			what := filepath.Base(file) + " " + o.GetKind() + " " + o.GetName()
			server := create(t, client, namespaces[file], o, warned)
			ours := verdicts(t, loaded[file], namespaces[file], o)
			if server.denied != ours.denied || server.warned != ours.warned {
				t.Errorf("%s: the server says %+v, we say %+v", what, server, ours)
			}
			if !strings.Contains(server.message, ours.message) {
				t.Errorf("%s: the server's message is %q, ours %q", what, server.message, ours.message)
			}
			switch {
			case server.denied:
				denied++
			case server.warned:
				warnedOf++
			default:
				passed++
			}
		}
	}
	if t.Logf("%d denied, %d warned of, %d passed", denied, warnedOf, passed); denied < 10 || warnedOf < 1 || passed < 10 {
		t.Error("the table looks at one side only")
	}
}

type outcome struct {
	denied, warned bool
	message        string
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func documents(t *testing.T, text string) (out []*unstructured.Unstructured) {
	t.Helper()
	for part := range strings.SplitSeq(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		asJSON, err := yaml.YAMLToJSON([]byte(part))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.UnmarshalJSON(asJSON); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func resource(o *unstructured.Unstructured) schema.GroupVersionResource {
	return o.GroupVersionKind().GroupVersion().WithResource(openapi.Find(o.GetAPIVersion(), o.GetKind()).Plural)
}

func install(t *testing.T, client dynamic.Interface, text string) {
	t.Helper()
	for _, o := range documents(t, text) {
		resources := client.Resource(resource(o))
		if _, err := resources.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := resources.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitCanary installs a policy after all others and waits until it is in force: then they are.
func awaitCanary(t *testing.T, client dynamic.Interface) {
	t.Helper()
	ns := devclustertest.Namespace(t)
	install(t, client, strings.ReplaceAll(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: zz-canary}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "object.metadata.name != 'canary'"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: zz-canary}
spec:
  policyName: zz-canary
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}
`, "NAMESPACE", ns))
	canary := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "canary"}}}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := client.Resource(resource(canary)).Namespace(ns).Create(t.Context(), canary, metav1.CreateOptions{DryRun: []string{"All"}})
		if err != nil && strings.Contains(err.Error(), "zz-canary") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the canary's policy is not in force: %v", err)
		}
	}
}

func create(t *testing.T, client dynamic.Interface, ns string, o *unstructured.Unstructured, warned *warnings) outcome {
	t.Helper()
	warned.take()
	_, err := client.Resource(resource(o)).Namespace(ns).Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{"All"}})
	texts := slices.DeleteFunc(warned.take(), func(s string) bool { return !strings.Contains(s, "Validation failed for ValidatingAdmissionPolicy") })
	out := outcome{warned: len(texts) > 0, message: strings.Join(texts, "\n")}
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "ValidatingAdmissionPolicy") && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown):
		out.denied, out.message = true, err.Error()
	default:
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return out
}

// verdicts gives what we say, with the message of the first verdict that counts.
func verdicts(t *testing.T, guardrails []*rendererv1.Guardrail, ns string, o *unstructured.Unstructured) outcome {
	t.Helper()
	object := o.DeepCopy()
	object.SetNamespace(ns)
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	ref := &rendererv1.ObjectRef{ApiVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), File: "o.yaml"}
	got, err := guardrail.Evaluate(t.Context(), &rendererv1.RenderRequest{Input: &rendererv1.RenderInput{Namespace: ns}, Guardrails: guardrails},
		&rendererv1.Bundle{Files: map[string][]byte{"o.yaml": text}, Objects: []*rendererv1.ObjectRef{ref}})
	if err != nil {
		t.Fatal(err)
	}
	var out outcome
	for i, v := range got {
		if i == 0 && !strings.Contains(v.GetMessage(), "cannot be decided") && !strings.HasPrefix(v.GetMessage(), "does not hold: ") {
			out.message = v.GetMessage()
		}
		out.denied = out.denied || v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_DENY
		out.warned = out.warned || v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_WARN
	}
	return out
}
