package drift

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// An adopted environment's objects were applied by somebody else. Before Towpath applies one for the first time, whoever applies it by
// itself is paused, and the fields that are declared are handed over in managedFields: with two owners of a field, taking it out of Git
// would not take it out of the cluster. Each step does nothing where it has been done, so that it may end between any two.

// takeoverTries bounds how often a patch is made anew because the object moved meanwhile.
const takeoverTries = 5

// takeFromOthers hands an adopted environment's objects over to Towpath. It changes nothing of what they are.
func (e *environment) takeFromOthers(ctx context.Context, c *cluster, objs map[objectKey]*tracked) error {
	e.mu.Lock()
	adopted := e.policy().pruneHeld
	e.mu.Unlock()
	if !adopted {
		return nil
	}
	live := map[objectKey]*unstructured.Unstructured{}
	for k, t := range objs {
		u, err := c.dyn.Resource(t.gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return clusterError(err, "read "+k.kind+" "+k.name)
		}
		if !appliedByUs(u) {
			live[k] = u
		}
	}
	if err := e.pauseEngines(ctx, c, live); err != nil {
		return err
	}
	for k, u := range live {
		if err := e.handOver(ctx, c, objs[k], u); err != nil {
			return err
		}
	}
	return nil
}

// handOver makes Towpath the owner of an object's declared fields, in the place of those who applied them, and takes off the marks by
// which an engine finds the object.
func (e *environment) handOver(ctx context.Context, c *cluster, t *tracked, u *unstructured.Unstructured) error {
	r := c.dyn.Resource(t.gvr).Namespace(t.key.namespace)
	for try := 1; ; try++ {
		patch, err := handoverPatch(u, t.declared())
		if err != nil || patch == nil {
			return err
		}
		_, err = r.Patch(ctx, t.key.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		if err == nil {
			e.log.Info("taken over", "kind", t.key.kind, "name", t.key.name, "from", strings.Join(appliers(u), ","))
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) || try == takeoverTries {
			return clusterError(err, "take over "+t.key.kind+" "+t.key.name)
		}
		if u, err = r.Get(ctx, t.key.name, metav1.GetOptions{}); err != nil {
			return clusterError(err, "read "+t.key.kind+" "+t.key.name)
		}
	}
}

// appliedBefore tells the entries of those who declared what is adopted: all but controllers and ourselves. Of their fields only those
// that Git declares now are handed over; the rest stays theirs and is told as drift.
func appliedBefore(m metav1.ManagedFieldsEntry) bool {
	switch {
	case controllers[m.Manager], m.FieldsV1 == nil, m.Subresource != "" && m.Subresource != "scale":
		return false
	case m.Manager == inventoryManager, m.Manager == generateManager:
		return false
	}
	return m.Manager != FieldManager
}

// handoverPatch gives the patch that moves ownership, guarded by the version that it was made of; nil when there is nothing to do.
func handoverPatch(live, declared *unstructured.Unstructured) ([]byte, error) {
	ours, rest := fieldpath.NewSet(), []metav1.ManagedFieldsEntry{}
	found := false
	for _, m := range live.GetManagedFields() {
		if !appliedBefore(m) {
			rest = append(rest, m)
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(m.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("read managedFields of %s: %w", live.GetName(), err)
		}
		found = true
		moved := within(&set, declared.Object)
		ours = ours.Union(moved)
		if left := set.Difference(moved); !left.Empty() {
			text, err := left.ToJSON()
			if err != nil {
				return nil, fmt.Errorf("write managedFields of %s: %w", live.GetName(), err)
			}
			m.FieldsV1 = metav1.NewFieldsV1(string(text))
			rest = append(rest, m)
		}
	}
	ops := []map[string]any{{"op": "test", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()}}
	ops = append(ops, untrack(live)...)
	if found && !ours.Empty() {
		text, err := ours.ToJSON()
		if err != nil {
			return nil, fmt.Errorf("write managedFields of %s: %w", live.GetName(), err)
		}
		now := metav1.Now()
		entry := metav1.ManagedFieldsEntry{
			Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(), Time: &now,
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(text)),
		}
		ops = append(ops, map[string]any{"op": "replace", "path": "/metadata/managedFields", "value": append(rest, entry)})
	}
	if len(ops) == 1 {
		return nil, nil
	}
	out, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("hand over %s: %w", live.GetName(), err)
	}
	return bytes.TrimSpace(out), nil
}

// within gives the fields of a set that an object has.
func within(set *fieldpath.Set, object any) *fieldpath.Set {
	out := fieldpath.NewSet()
	for p := range set.All() {
		if has(object, p) {
			out.Insert(p.Copy())
		}
	}
	return out
}

// has reports whether an object has the place that a path names.
func has(v any, path fieldpath.Path) bool {
	for _, pe := range path {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[deref(pe.FieldName)]
			if pe.FieldName == nil || !ok {
				return false
			}
			v = next
		case []any:
			i := slices.IndexFunc(at, func(item any) bool { return isElement(pe, withDefaults(pe, item), 0) })
			if pe.Index != nil {
				i = *pe.Index
			}
			if i < 0 || i >= len(at) {
				return false
			}
			v = at[i]
		default:
			return false
		}
	}
	return true
}

// withDefaults fills in the one key of lists that manifests leave out: a port's protocol.
func withDefaults(pe fieldpath.PathElement, item any) any {
	m, ok := item.(map[string]any)
	if !ok || pe.Key == nil || m["protocol"] != nil {
		return item
	}
	m = maps.Clone(m)
	m["protocol"] = "TCP"
	return m
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// untrack takes off the labels and annotations by which Argo CD or Flux would remove the object together with their own.
func untrack(u *unstructured.Unstructured) []map[string]any {
	var out []map[string]any
	for part, values := range map[string]map[string]string{"labels": u.GetLabels(), "annotations": u.GetAnnotations()} {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if isTracking(key) {
				escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
				out = append(out, map[string]any{"op": "remove", "path": "/metadata/" + part + "/" + escaped})
			}
		}
	}
	return out
}

// pauseEngines has the Applications and Kustomizations that manage any of the objects leave them alone. It comes before anything is
// handed over: an engine that still runs would take it back.
func (e *environment) pauseEngines(ctx context.Context, c *cluster, live map[objectKey]*unstructured.Unstructured) error {
	if len(live) == 0 {
		return nil
	}
	for _, engine := range []struct {
		kind  schema.GroupKind
		holds func(*unstructured.Unstructured, map[objectKey]*unstructured.Unstructured) bool
		patch func(*unstructured.Unstructured) map[string]any
	}{
		{applicationKind, applicationHolds, pausedApplication}, {kustomizationKind, kustomizationHolds, pausedKustomization},
	} {
		gvr, err := c.mappingOf(engine.kind)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return clusterError(err, "ask for the kinds that the cluster knows")
		}
		list, err := c.dyn.Resource(gvr).List(ctx, metav1.ListOptions{})
		if err != nil {
			return clusterError(err, "list "+gvr.Resource)
		}
		for i := range list.Items {
			u := &list.Items[i]
			if !engine.holds(u, live) {
				continue
			}
			if err := e.pause(ctx, c, gvr, u, engine.patch(u)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause changes an engine's object, if anything of it is left to change.
func (e *environment) pause(ctx context.Context, c *cluster, gvr schema.GroupVersionResource, u *unstructured.Unstructured, patch map[string]any) error {
	if patch == nil {
		return nil
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("pause %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if _, err := c.dyn.Resource(gvr).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, text, metav1.PatchOptions{FieldManager: FieldManager}); err != nil {
		return clusterError(err, "pause "+u.GetKind()+" "+u.GetNamespace()+"/"+u.GetName())
	}
	e.log.Info("paused, because its objects are adopted", "kind", u.GetKind(), "namespace", u.GetNamespace(), "name", u.GetName())
	return nil
}

func applicationHolds(app *unstructured.Unstructured, live map[objectKey]*unstructured.Unstructured) bool {
	resources, _, _ := unstructured.NestedSlice(app.Object, "status", "resources")
	return slices.ContainsFunc(resources, func(r any) bool {
		m, _ := r.(map[string]any)
		return live[objectKey{group: text(m, "group"), kind: text(m, "kind"), namespace: text(m, "namespace"), name: text(m, "name")}] != nil
	})
}

func kustomizationHolds(ks *unstructured.Unstructured, live map[objectKey]*unstructured.Unstructured) bool {
	entries, _, _ := unstructured.NestedSlice(ks.Object, "status", "inventory", "entries")
	return slices.ContainsFunc(entries, func(r any) bool {
		m, _ := r.(map[string]any)
		k, ok := inventoryID(text(m, "id"))
		return ok && live[k] != nil
	})
}

// pausedApplication takes away automatic sync, and the finalizer by which deleting the Application would delete the objects.
func pausedApplication(app *unstructured.Unstructured) map[string]any {
	patch := map[string]any{}
	if _, there, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated"); there {
		patch["spec"] = map[string]any{"syncPolicy": map[string]any{"automated": nil}}
	}
	stay := slices.DeleteFunc(slices.Clone(app.GetFinalizers()), func(f string) bool {
		return strings.HasPrefix(f, "resources-finalizer.argocd.argoproj.io")
	})
	if len(stay) != len(app.GetFinalizers()) {
		patch["metadata"] = map[string]any{"finalizers": stay, "resourceVersion": app.GetResourceVersion()}
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

// pausedKustomization suspends a Kustomization, and has it remove nothing when it is deleted.
func pausedKustomization(ks *unstructured.Unstructured) map[string]any {
	suspended, _, _ := unstructured.NestedBool(ks.Object, "spec", "suspend")
	prunes, _, _ := unstructured.NestedBool(ks.Object, "spec", "prune")
	if suspended && !prunes {
		return nil
	}
	return map[string]any{"spec": map[string]any{"suspend": true, "prune": false}}
}
