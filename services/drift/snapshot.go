package drift

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
)

var snapshotKind = schema.GroupVersionKind{Group: "snapshot.storage.k8s.io", Version: "v1", Kind: "VolumeSnapshot"}

// snapshotLabel marks the snapshots that removals have made.
const snapshotLabel = "towpath.dev/snapshot-of"

// wantsSnapshot reports whether a claim's data is to be kept as a snapshot when the claim goes.
func wantsSnapshot(u *unstructured.Unstructured) bool {
	return u.GetKind() == "PersistentVolumeClaim" && syncmark.ReadRemoval(u.GetAnnotations()) == syncmark.Snapshot
}

// snapshots reports whether the cluster can make snapshots of volumes.
func (c *cluster) snapshots() bool {
	_, _, err := c.resource(snapshotKind)
	return err == nil
}

// snapshot makes the snapshot of a claim that asks for one, and is an error until it can be used: a claim is never removed before. It
// may be begun again at any point: the snapshot's name follows from the claim.
func (e *environment) snapshot(ctx context.Context, c *cluster, claim *unstructured.Unstructured) error {
	if !wantsSnapshot(claim) {
		return nil
	}
	gvr, _, err := c.resource(snapshotKind)
	if err != nil {
		return clusterError(err, "ask for the kinds that the cluster knows")
	}
	name := claim.GetName() + "-" + strings.ReplaceAll(string(claim.GetUID()), "-", "")[:8]
	r := c.dyn.Resource(gvr).Namespace(claim.GetNamespace())
	live, err := r.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		live, err = r.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": snapshotKind.GroupVersion().String(), "kind": snapshotKind.Kind,
			"metadata": map[string]any{"name": name, "namespace": claim.GetNamespace(), "labels": map[string]any{snapshotLabel: labelValue(e.name)}},
			"spec":     map[string]any{"source": map[string]any{"persistentVolumeClaimName": claim.GetName()}},
		}}, metav1.CreateOptions{FieldManager: inventoryManager})
	}
	if err != nil {
		return clusterError(err, "make the snapshot of PersistentVolumeClaim "+claim.GetName())
	}
	if ready, _, _ := unstructured.NestedBool(live.Object, "status", "readyToUse"); ready {
		return nil
	}
	text, _, _ := unstructured.NestedString(live.Object, "status", "error", "message")
	if text != "" {
		text = ": " + shortText(text)
	}
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED,
		"PersistentVolumeClaim %s is removed when its VolumeSnapshot %s can be used, which it cannot yet%s", claim.GetName(), name, text)
}

// snapshotsOf names the snapshots that removals have made in a namespace: what holds data stays, and the namespace with it.
func (e *environment) snapshotsOf(ctx context.Context, c *cluster, namespace string) (out []string, err error) {
	if !c.snapshots() {
		return nil, nil
	}
	gvr, _, err := c.resource(snapshotKind)
	if err != nil {
		return nil, clusterError(err, "ask for the kinds that the cluster knows")
	}
	list, err := c.dyn.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, clusterError(err, "list the snapshots of namespace "+namespace)
	}
	for i := range list.Items {
		out = append(out, told(&list.Items[i]))
	}
	return out, nil
}
