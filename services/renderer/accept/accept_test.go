// Package accept_test shows what the renderer writes to a real API server. Everything else that checks rendered objects reads the
// API's types; only the server knows all rules: validation beyond types, admission, Pod Security.
package accept_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// patience is how long a test waits for what controllers do; the machine may be busy compiling.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(devclustertest.Run(m)) }

// manager is who applies, as Towpath's own engine does.
const manager = "towpath"

// server is the API server, and what it warns of.
type server struct {
	dyn      dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	mu       sync.Mutex
	warnings []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	cfg := devclustertest.Config(t)
	s := &server{}
	cfg.WarningHandler, cfg.QPS = s, -1
	var err error
	if s.dyn, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	found, err := discovery.NewDiscoveryClientForConfig(rest.CopyConfig(cfg))
	if err != nil {
		t.Fatal(err)
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	return s
}

// HandleWarningHeader keeps what the server warns of: Pod Security warns of pods that a controller would not get.
func (s *server) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.warnings = append(s.warnings, text)
	}
}

func (s *server) warned() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.warnings
	s.warnings = nil
	return out
}

func (s *server) resource(t *testing.T, o *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	gvk := o.GroupVersionKind()
	m, err := s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatalf("%s %s: the cluster does not know the kind (a custom resource needs its CRD in crds/ of its case): %v", o.GetKind(), o.GetName(), err)
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return s.dyn.Resource(m.Resource)
	}
	return s.dyn.Resource(m.Resource).Namespace(o.GetNamespace())
}

// apply applies one object by server-side apply, and only as a trial when dry.
func (s *server) apply(t *testing.T, o *unstructured.Unstructured, dry bool) error {
	t.Helper()
	// Not metav1.ApplyOptions: it has no field validation, and an unknown field would be dropped without a word.
	strict, force := metav1.FieldValidationStrict, true
	opts := metav1.PatchOptions{FieldManager: manager, Force: &force, FieldValidation: strict}
	if dry {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	body, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.resource(t, o).Patch(t.Context(), o.GetName(), "application/apply-patch+yaml", body, opts)
	return err
}

func (s *server) mustApply(t *testing.T, objects []*unstructured.Unstructured, dry bool) {
	t.Helper()
	for _, o := range objects {
		if err := s.apply(t, o, dry); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		for _, w := range s.warned() {
			t.Errorf("%s %s: the server warns: %s", o.GetKind(), o.GetName(), w)
		}
	}
}

// namespace makes the namespace of a case, with Pod Security enforced where the case has restricted defaults.
func (s *server) namespace(t *testing.T, name string, restricted bool) {
	t.Helper()
	level := "privileged"
	if restricted {
		level = "restricted"
	}
	ns := object("v1", "Namespace", name)
	ns.SetLabels(map[string]string{"pod-security.kubernetes.io/enforce": level})
	s.mustApply(t, []*unstructured.Unstructured{ns}, false)
	account := object("v1", "ServiceAccount", "default")
	account.SetNamespace(name)
	eventually(t, "the namespace's account", func() bool { // pods are refused before it is there
		_, err := s.resource(t, account).Get(t.Context(), account.GetName(), metav1.GetOptions{})
		return err == nil
	})
}

// definitions applies the CRDs of a case and waits until the server serves them.
func (s *server) definitions(t *testing.T, dir string) {
	t.Helper()
	crds := objectsOf(t, dir)
	s.mustApply(t, crds, false)
	for _, crd := range crds {
		eventually(t, crd.GetName(), func() bool {
			live, err := s.resource(t, crd).Get(t.Context(), crd.GetName(), metav1.GetOptions{})
			if err != nil {
				return false
			}
			conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
			return slices.ContainsFunc(conditions, func(c any) bool {
				m, _ := c.(map[string]any)
				return m["type"] == "Established" && m["status"] == "True"
			})
		})
	}
	if len(crds) > 0 {
		s.mapper.Reset()
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not there after %s", what, patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func object(version, kind, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}}
}

// objectsOf reads the objects in the YAML files of a folder; there are none when there is no folder.
func objectsOf(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq("\n"+string(text), "\n---") {
			asJSON, err := yaml.YAMLToJSON([]byte(part))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if string(asJSON) == "null" {
				continue // what stands before the first document
			}
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(asJSON); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			out = append(out, o)
		}
	}
	return out
}

// template gives the pod that a workload would make, as a pod of its own.
func template(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	path := []string{"spec", "template"}
	switch o.GetKind() {
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template"}
	case "Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet":
	case "Pod":
		return o
	default:
		return nil
	}
	pod, found, err := unstructured.NestedMap(o.Object, path...)
	if !found || err != nil {
		t.Fatalf("%s %s has no pod template: %v", o.GetKind(), o.GetName(), err)
	}
	out := &unstructured.Unstructured{Object: pod}
	out.SetAPIVersion("v1")
	out.SetKind("Pod")
	out.SetNamespace(o.GetNamespace())
	out.SetName("trial")
	claims, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
	volumes, _, _ := unstructured.NestedSlice(pod, "spec", "volumes")
	for _, c := range claims { // what the controller of StatefulSets would add
		name, _, _ := unstructured.NestedString(c.(map[string]any), "metadata", "name") //nolint:forcetypeassert // the server has taken it
		volumes = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": name}})
	}
	if len(volumes) > 0 {
		if err := unstructured.SetNestedSlice(pod, volumes, "spec", "volumes"); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (s *server) tryPod(t *testing.T, pod *unstructured.Unstructured) error {
	t.Helper()
	_, err := s.resource(t, pod).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

func forbidden(err error) bool {
	return apierrors.IsForbidden(err) && apierrors.ReasonForError(err) == metav1.StatusReasonForbidden && strings.Contains(err.Error(), "violates PodSecurity")
}

// discard takes a namespace away, so that a later test does not meet what is in it. It does not wait.
func (s *server) discard(t *testing.T, name string) {
	t.Helper()
	err := s.resource(t, object("v1", "Namespace", name)).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}
