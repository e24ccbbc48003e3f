package drift_test

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fakeFlux does what Flux's source-controller and kustomize-controller are documented to do with the fields that Towpath uses.
type fakeFlux struct {
	standIn
	// unreadable is why the repository cannot be read, "" while it can. It is set before it runs.
	unreadable string
}

func newFakeFlux(t *testing.T, e *engineEnv) *fakeFlux {
	return &fakeFlux{standIn: standIn{
		t: t, objects: e.objects, repo: e.repo, ns: e.engineNS, manager: "kustomize-controller",
		mark: func(u *unstructured.Unstructured, owner string) {
			l := u.GetLabels()
			if l == nil {
				l = map[string]string{}
			}
			l["kustomize.toolkit.fluxcd.io/name"], l["kustomize.toolkit.fluxcd.io/namespace"] = owner, e.engineNS
			u.SetLabels(l)
			if u.GetKind() == "PersistentVolumeClaim" { // as the Kustomization's patch has it
				u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"})
			}
		},
		marked: func(u *unstructured.Unstructured, owner string) bool {
			return u.GetLabels()["kustomize.toolkit.fluxcd.io/name"] == owner
		},
	}}
}

func (f *fakeFlux) start() (stop func()) {
	return f.run(func(ctx context.Context) error {
		sources, err := f.objects.Resource(fluxSources).Namespace(f.ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range sources.Items {
			s := &sources.Items[i]
			before := s.DeepCopy()
			commit, _, _ := f.repo.at("")
			if f.unreadable != "" {
				set(s, []any{condition(s, "Ready", "False", "GitOperationFailed", f.unreadable)}, "status", "conditions")
			} else {
				set(s, []any{condition(s, "Ready", "True", "Succeeded", "stored artifact")}, "status", "conditions")
				set(s, map[string]any{"revision": "main@sha1:" + commit}, "status", "artifact")
			}
			if err := f.putStatus(ctx, before, s, true); err != nil {
				return err
			}
		}
		kusts, err := f.objects.Resource(fluxKusts).Namespace(f.ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range kusts.Items {
			if err := f.reconcile(ctx, &kusts.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func condition(u *unstructured.Unstructured, typ, status, reason, message string) map[string]any {
	return map[string]any{"type": typ, "status": status, "reason": reason, "message": message, "observedGeneration": u.GetGeneration()}
}

func (f *fakeFlux) putStatus(ctx context.Context, before, u *unstructured.Unstructured, source bool) error {
	if sameJSON(before.Object, u.Object) {
		return nil
	}
	gvr := fluxKusts
	if source {
		gvr = fluxSources
	}
	_, err := f.objects.Resource(gvr).Namespace(f.ns).UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: "kustomize-controller"})
	return err
}

const fluxFinalizer = "finalizers.fluxcd.io"

func (f *fakeFlux) reconcile(ctx context.Context, k *unstructured.Unstructured) error {
	r := f.objects.Resource(fluxKusts).Namespace(f.ns)
	suspended, _, _ := unstructured.NestedBool(k.Object, "spec", "suspend")
	prune, _, _ := unstructured.NestedBool(k.Object, "spec", "prune")
	if k.GetDeletionTimestamp() != nil {
		if prune && !suspended {
			if err := f.collect(ctx, k, nil); err != nil {
				return err
			}
		}
		k.SetFinalizers(nil)
		_, err := r.Update(ctx, k, metav1.UpdateOptions{})
		return err
	}
	if len(k.GetFinalizers()) == 0 {
		k.SetFinalizers([]string{fluxFinalizer})
		_, err := r.Update(ctx, k, metav1.UpdateOptions{})
		return err
	}
	source, err := f.objects.Resource(fluxSources).Namespace(f.ns).Get(ctx, str(k, "spec", "sourceRef", "name"), metav1.GetOptions{})
	if err != nil || suspended {
		return err
	}
	revision, token := str(source, "status", "artifact", "revision"), k.GetAnnotations()["reconcile.fluxcd.io/requestedAt"]
	seen, _, _ := unstructured.NestedInt64(k.Object, "status", "observedGeneration")
	if revision == "" || str(k, "status", "lastAttemptedRevision") == revision && str(k, "status", "lastHandledReconcileAt") == token && seen == k.GetGeneration() {
		return nil
	}
	before := k.DeepCopy()
	_, manifests, ok := f.repo.at(str(k, "spec", "path")[len("./"):])
	ready := condition(k, "Ready", "True", "ReconciliationSucceeded", "Applied revision: "+revision)
	failure := ""
	for _, m := range manifests {
		if err := f.apply(ctx, m, k.GetName(), f.target(m)); err != nil {
			failure = fmt.Sprintf("%s/%s dry-run failed: %v", m.GetKind(), m.GetName(), err)
			break
		}
	}
	switch {
	case !ok:
		ready = condition(k, "Ready", "False", "ArtifactFailed", "kustomization path not found")
	case failure != "":
		ready = condition(k, "Ready", "False", "ReconciliationFailed", failure)
	default:
		if prune {
			if err := f.collect(ctx, k, manifests); err != nil {
				return err
			}
		}
		set(k, revision, "status", "lastAppliedRevision")
	}
	set(k, revision, "status", "lastAttemptedRevision")
	set(k, token, "status", "lastHandledReconcileAt")
	set(k, k.GetGeneration(), "status", "observedGeneration")
	set(k, []any{ready}, "status", "conditions")
	return f.putStatus(ctx, before, k, false)
}

// target is the namespace of a manifest: rendered ones name theirs, as targetNamespace is not set.
func (f *fakeFlux) target(m *unstructured.Unstructured) string { return m.GetNamespace() }

// collect removes what was applied and is not declared any more.
func (f *fakeFlux) collect(ctx context.Context, k *unstructured.Unstructured, manifests []*unstructured.Unstructured) error {
	mine, err := f.owned(ctx, k.GetName(), metav1.NamespaceAll)
	if err != nil {
		return err
	}
	for _, u := range mine {
		if !declares(manifests, u) && u.GetAnnotations()["kustomize.toolkit.fluxcd.io/prune"] != "disabled" {
			if err := f.delete(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}
