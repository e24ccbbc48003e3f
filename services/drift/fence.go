package drift

import (
	"context"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// fence is the version of the inventory that this process has read or written last. Every sync writes the inventory before
// anything else and only at that version, so a process that lost its lease without noticing (it was stopped, or cut off) cannot begin
// one on what it knew before: somebody else has written since.
type fence struct{ version atomic.Pointer[string] }

// sawInventory notes the inventory that was read; nil for none.
func (f *fence) sawInventory(u *unstructured.Unstructured) {
	version := ""
	if u != nil {
		version = u.GetResourceVersion()
	}
	f.version.Store(&version)
}

// writeFenced writes the inventory if it still is as it was read.
func (f *fence) writeFenced(ctx context.Context, r dynamic.ResourceInterface, u *unstructured.Unstructured) error {
	version := ""
	if v := f.version.Load(); v != nil {
		version = *v
	}
	var written *unstructured.Unstructured
	var err error
	if version == "" {
		written, err = r.Create(ctx, u, metav1.CreateOptions{FieldManager: inventoryManager})
	} else {
		u.SetResourceVersion(version)
		written, err = r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: inventoryManager, Force: true})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_APPLY_REFUSED,
			"another drift process, or somebody else, has written the inventory meanwhile; it is read again").Because(err)
	case err != nil:
		return clusterError(err, "write the inventory")
	}
	f.sawInventory(written)
	return nil
}
