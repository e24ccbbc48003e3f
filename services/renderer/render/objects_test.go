package render_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// checkObjects reads every file with the Kubernetes types, strictly: a field that Kubernetes does not know, or of another
// type, fails here and not on a cluster.
func checkObjects(t *testing.T, in *rendererv1.RenderInput, bundle *rendererv1.Bundle) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	if len(bundle.GetObjects()) != len(bundle.GetFiles()) {
		t.Errorf("%d objects in %d files", len(bundle.GetObjects()), len(bundle.GetFiles()))
	}
	for _, ref := range bundle.GetObjects() {
		obj, gvk, err := decoder.Decode(bundle.GetFiles()[ref.GetFile()], nil, nil)
		if runtime.IsNotRegisteredError(err) {
			obj, gvk = checkCustom(t, ref.GetFile(), bundle.GetFiles()[ref.GetFile()]), gvkOf(ref)
		} else if err != nil {
			t.Errorf("%s: %v", ref.GetFile(), err)
			continue
		}
		if *gvk != schema.FromAPIVersionAndKind(ref.GetApiVersion(), ref.GetKind()) {
			t.Errorf("%s holds a %s", ref.GetFile(), gvk)
		}
		meta, ok := obj.(interface {
			GetNamespace() string
			GetName() string
			GetLabels() map[string]string
		})
		if !ok || meta.GetNamespace() != in.GetNamespace() || meta.GetName() != ref.GetName() || meta.GetLabels()["app.kubernetes.io/managed-by"] != "towpath" && !adopted(in, ref) {
			t.Errorf("%s: namespace, name or labels are wrong", ref.GetFile())
		}
		if secret, ok := obj.(*corev1.Secret); ok && len(secret.Data)+len(secret.StringData) > 0 {
			t.Errorf("%s holds secret data", ref.GetFile())
		}
	}
}

// adopted tells an object that the overlay brings as it is: it keeps its own labels, and gets no others.
func adopted(in *rendererv1.RenderInput, ref *rendererv1.ObjectRef) bool {
	for _, op := range in.GetOverlay() {
		if op.GetPath() == (manifest.Target{APIVersion: ref.GetApiVersion(), Kind: ref.GetKind(), Name: ref.GetName()}).Pointer() {
			meta, _ := op.GetValue().GetStructValue().AsMap()["metadata"].(map[string]any)
			return manifest.IsAsItIs(meta)
		}
	}
	return false
}
