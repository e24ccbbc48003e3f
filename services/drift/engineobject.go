package drift

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"maps"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	// engineManager owns what we write of engines' objects.
	engineManager = "towpath-engine"
	// engineEnvironment names, in an engine's object, the environment that it is for.
	engineEnvironment = "towpath.dev/environment"
	managedByLabel    = "app.kubernetes.io/managed-by"
)

// ensureEngineObject makes an engine's object what it should be: its whole spec, and the labels and annotations that we set. It writes
// only where they differ. owner is the environment that it is for, empty for one that several share.
func (e *environment) ensureEngineObject(ctx context.Context, c *cluster, gvr schema.GroupVersionResource, want *unstructured.Unstructured, owner string) error {
	want.SetLabels(map[string]string{managedByLabel: FieldManager})
	if owner != "" {
		a := want.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a[engineEnvironment] = owner
		want.SetAnnotations(a)
	}
	what := want.GetKind() + " " + want.GetNamespace() + "/" + want.GetName()
	r := c.dyn.Resource(gvr).Namespace(want.GetNamespace())
	live, err := r.Get(ctx, want.GetName(), metav1.GetOptions{})
	var answer *unstructured.Unstructured
	switch {
	case apierrors.IsNotFound(err):
		answer, err = r.Create(ctx, want, metav1.CreateOptions{FieldManager: engineManager})
		err = namespaceOfEngine(err, want.GetNamespace())
	case err != nil:
		return clusterError(err, "read "+what)
	default:
		if err := engineOwner(live, owner, what); err != nil {
			return err
		}
		if e.asWritten(live, want) {
			return nil
		}
		e.log.Info("an object of the engine is put right", "object", what)
		next := live.DeepCopy()
		next.Object["spec"] = want.Object["spec"]
		next.SetLabels(merged(live.GetLabels(), want.GetLabels()))
		next.SetAnnotations(merged(live.GetAnnotations(), want.GetAnnotations()))
		answer, err = r.Update(ctx, next, metav1.UpdateOptions{FieldManager: engineManager})
	}
	if err != nil {
		return clusterError(err, "write "+what)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.engine.written[what] = specText(want) + "\x00" + specText(answer)
	return nil
}

// namespaceOfEngine says what to do where the engine's namespace is not there.
func namespaceOfEngine(err error, namespace string) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
		"the cluster has no namespace %s for the engine's objects; install the engine there, or name its namespace with `tow target update --engine-namespace`", namespace)
}

// asWritten reports whether a live object is what we want, or what the server made of what we want when we last wrote it.
func (e *environment) asWritten(live, want *unstructured.Unstructured) bool {
	if !contains(live.GetLabels(), want.GetLabels()) || !contains(live.GetAnnotations(), want.GetAnnotations()) {
		return false
	}
	if reflect.DeepEqual(plain(live.Object["spec"]), plain(want.Object["spec"])) {
		return true
	}
	what := want.GetKind() + " " + want.GetNamespace() + "/" + want.GetName()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.engine.written[what] == specText(want)+"\x00"+specText(live)
}

// engineOwner refuses an object that is somebody else's. Ours may have lost its marks by an edit; who wrote it tells then.
func engineOwner(live *unstructured.Unstructured, owner, what string) error {
	named := live.GetAnnotations()[engineEnvironment]
	ours := owner == "" && live.GetLabels()[managedByLabel] == FieldManager || owner != "" && named == owner
	for _, m := range live.GetManagedFields() {
		ours = ours || m.Manager == engineManager && (named == "" || owner == "")
	}
	if ours {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
		"%s is there already and is not Towpath's; remove it, or adopt what it brings with `tow adopt`", what).With("engine_object", what)
}

// plain gives a value as JSON has it, so that numbers of different Go types are equal.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if json.Unmarshal(b, &out) != nil {
		return v
	}
	return out
}

func specText(u *unstructured.Unstructured) string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(u.Object["spec"])
	return strconv.FormatUint(h.Sum64(), 36)
}

func contains(all, some map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// annotate sets annotations of an object, and takes away those that are nil.
func annotate(ctx context.Context, c *cluster, gvr schema.GroupVersionResource, namespace, name string, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = c.dyn.Resource(gvr).Namespace(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: engineManager})
	return err
}

// conditionsOf gives an object's conditions.
func conditionsOf(u *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var out []map[string]any
	for _, c := range list {
		if m, ok := c.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func text(m map[string]any, fields ...string) string {
	s, _, _ := unstructured.NestedString(m, fields...)
	return s
}
