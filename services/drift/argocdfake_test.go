package drift_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const trackingID = "argocd.argoproj.io/tracking-id"

// fakeArgo does what Argo CD's application controller is documented to do with the fields that Towpath uses.
type fakeArgo struct {
	standIn
	// broken is a ComparisonError that it has, "" for none. It is set before it runs.
	broken string
	// degraded is what it says about health.
	degraded string
}

func newFakeArgo(t *testing.T, e *engineEnv) *fakeArgo {
	return &fakeArgo{standIn: standIn{
		t: t, objects: e.objects, repo: e.repo, ns: e.engineNS, manager: "argocd-controller",
		mark: func(u *unstructured.Unstructured, owner string) {
			a := u.GetAnnotations()
			if a == nil {
				a = map[string]string{}
			}
			a[trackingID] = owner + ":" + u.GroupVersionKind().Group + "/" + u.GetKind() + ":" + u.GetNamespace() + "/" + u.GetName()
			u.SetAnnotations(a)
		},
		marked: func(u *unstructured.Unstructured, owner string) bool {
			return strings.HasPrefix(u.GetAnnotations()[trackingID], owner+":")
		},
	}}
}

func (f *fakeArgo) start() (stop func()) {
	return f.run(func(ctx context.Context) error {
		list, err := f.objects.Resource(argoApps).Namespace(f.ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if err := f.reconcile(ctx, &list.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// put writes an Application as Argo CD does: by patches of what it knows, and without a status subresource.
func (f *fakeArgo) put(ctx context.Context, app *unstructured.Unstructured, operated bool) error {
	status, _ := app.Object["status"].(map[string]any)
	if status != nil && status["conditions"] == nil {
		status["conditions"] = nil
	}
	change := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"argocd.argoproj.io/refresh": nil}, "finalizers": app.GetFinalizers()},
		"status":   status,
	}
	if operated {
		change["operation"] = nil
	}
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = f.objects.Resource(argoApps).Namespace(f.ns).Patch(ctx, app.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "argocd-application-controller"})
	return err
}

func (f *fakeArgo) reconcile(ctx context.Context, app *unstructured.Unstructured) error {
	dest := str(app, "spec", "destination", "namespace")
	if app.GetDeletionTimestamp() != nil {
		mine, err := f.owned(ctx, app.GetName(), dest)
		if err != nil {
			return err
		}
		for _, u := range mine {
			if err := f.delete(ctx, u); err != nil {
				return err
			}
		}
		app.SetFinalizers(nil)
		return f.put(ctx, app, false)
	}
	before := app.DeepCopy()
	annotations := app.GetAnnotations()
	delete(annotations, "argocd.argoproj.io/refresh")
	app.SetAnnotations(annotations)
	head, manifests, ok := f.repo.at(str(app, "spec", "source", "path"))
	if !ok || f.broken != "" {
		message := f.broken
		if message == "" {
			message = "app path does not exist"
		}
		set(app, []any{map[string]any{"type": "ComparisonError", "message": message}}, "status", "conditions")
		set(app, "Unknown", "status", "sync", "status")
		return f.putIfChanged(ctx, before, app)
	}
	unstructured.RemoveNestedField(app.Object, "status", "conditions")
	automated, _, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	synced, err := f.compare(ctx, app, head, manifests, dest)
	if err != nil {
		return err
	}
	last := str(app, "status", "operationState", "operation", "sync", "revision")
	switch op, _, _ := unstructured.NestedMap(app.Object, "operation"); {
	case op != nil:
		err = f.operate(ctx, app, op, head, manifests, dest)
		unstructured.RemoveNestedField(app.Object, "operation")
	case automated != nil && !synced && last != head:
		op := map[string]any{"sync": map[string]any{"revision": head, "prune": automated["prune"]}}
		err = f.operate(ctx, app, op, head, manifests, dest)
	}
	if err != nil {
		return err
	}
	if _, err := f.compare(ctx, app, head, manifests, dest); err != nil {
		return err
	}
	return f.putIfChanged(ctx, before, app)
}

func (f *fakeArgo) putIfChanged(ctx context.Context, before, app *unstructured.Unstructured) error {
	if sameJSON(before.Object, app.Object) {
		return nil
	}
	return f.put(ctx, app, before.Object["operation"] != nil && app.Object["operation"] == nil)
}

// compare writes what is in sync into the status.
func (f *fakeArgo) compare(ctx context.Context, app *unstructured.Unstructured, head string, manifests []*unstructured.Unstructured, dest string) (bool, error) {
	synced := true
	var resources []any
	for _, m := range manifests {
		differs, err := f.differs(ctx, m, app.GetName(), dest)
		if err != nil {
			return false, err
		}
		status := "Synced"
		if differs {
			status, synced = "OutOfSync", false
		}
		resources = append(resources, map[string]any{
			"group": m.GroupVersionKind().Group, "version": m.GroupVersionKind().Version, "kind": m.GetKind(), "namespace": dest, "name": m.GetName(), "status": status,
		})
	}
	mine, err := f.owned(ctx, app.GetName(), dest)
	if err != nil {
		return false, err
	}
	for _, u := range mine {
		if !declares(manifests, u) {
			synced = false
			resources = append(resources, map[string]any{
				"group": u.GroupVersionKind().Group, "version": u.GroupVersionKind().Version, "kind": u.GetKind(), "namespace": dest, "name": u.GetName(),
				"status": "OutOfSync", "requiresPruning": true,
			})
		}
	}
	status := "Synced"
	if !synced {
		status = "OutOfSync"
	}
	source, _, _ := unstructured.NestedMap(app.Object, "spec", "source")
	set(app, resources, "status", "resources")
	set(app, map[string]any{"status": status, "revision": head, "comparedTo": map[string]any{"source": source}}, "status", "sync")
	health := "Healthy"
	if f.degraded != "" {
		health = "Degraded"
	}
	set(app, map[string]any{"status": health, "message": f.degraded}, "status", "health")
	return synced, nil
}

// operate carries an operation out.
func (f *fakeArgo) operate(ctx context.Context, app *unstructured.Unstructured, op map[string]any, head string, manifests []*unstructured.Unstructured, dest string) error {
	phase, message := "Succeeded", "successfully synced (all tasks run)"
	var results []any
	chosen := func(u *unstructured.Unstructured) bool {
		some, ok, _ := unstructured.NestedSlice(op, "sync", "resources")
		for _, r := range some {
			m, _ := r.(map[string]any)
			if m["kind"] == u.GetKind() && m["name"] == u.GetName() {
				return true
			}
		}
		return !ok
	}
	for _, m := range manifests {
		if !chosen(m) {
			continue
		}
		result := map[string]any{"kind": m.GetKind(), "name": m.GetName(), "namespace": dest, "status": "Synced"}
		if err := f.apply(ctx, m, app.GetName(), dest); err != nil {
			result["status"], result["message"] = "SyncFailed", err.Error()
			phase, message = "Failed", "one or more objects failed to apply"
		}
		results = append(results, result)
	}
	if prune, _, _ := unstructured.NestedBool(op, "sync", "prune"); prune {
		mine, err := f.owned(ctx, app.GetName(), dest)
		if err != nil {
			return err
		}
		for _, u := range mine {
			if !declares(manifests, u) && chosen(u) {
				if err := f.delete(ctx, u); err != nil {
					return err
				}
			}
		}
	}
	set(app, map[string]any{
		"phase": phase, "message": message, "operation": op, "startedAt": time.Now().UTC().Format(time.RFC3339), "finishedAt": time.Now().UTC().Format(time.RFC3339),
		"syncResult": map[string]any{"revision": head, "resources": results},
	}, "status", "operationState")
	return nil
}

func str(u *unstructured.Unstructured, at ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, at...)
	return s
}

func set(u *unstructured.Unstructured, v any, at ...string) {
	if err := unstructured.SetNestedField(u.Object, plainJSON(v), at...); err != nil {
		panic(err) // a path through something that is no map
	}
}
