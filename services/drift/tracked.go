package drift

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// tracked is one object of an environment: what it should be, and what was last seen of it. The live object is not kept.
// It is guarded by its environment's mutex.
type tracked struct {
	key      objectKey
	gvr      schema.GroupVersionResource
	object   *unstructured.Unstructured // see declared
	baseline compare.Baseline
	prepared *compare.Prepared

	uid      types.UID
	version  uint64 // resourceVersion last looked at, also of a removal
	specHash uint64 // of the version last compared; 0 for none
	exists   bool
	health   driftv1.Health
	message  string
	why      string                      // what its pods say, while it is not healthy
	findings map[string]*driftv1.Finding // by name
	flaps    map[string]*flap            // by name of the finding
	// applied is the server's answer to our apply until the sync is through; nil when it was not applied.
	applied *unstructured.Unstructured
	// second is another opinion on what the server makes of it; nil for nearly all, see opinion.go.
	second *opinion
	// looked is when it was last seen, in Unix milliseconds: a removal that is found now came later.
	looked int64
}

// declare keeps what Git wants of the object.
func (t *tracked) declare(u *unstructured.Unstructured) { t.object = u }

// declared gives what Git wants of the object; it must not be changed.
func (t *tracked) declared() *unstructured.Unstructured { return t.object }
