package drift

import (
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// tracked is one object of an environment: what it should be, and what was last seen of it. There are a great many, so it is kept
// small (docs/adr/0038): the declaration and the baseline are compressed, kinds and namespaces are shared texts, what is only there
// while something is wrong is nil otherwise, and the live object is not kept at all. It is guarded by its environment's mutex.
type tracked struct {
	key  objectKey
	gvr  schema.GroupVersionResource
	want packed // see declared
	wave int32  // its wave of a sync, which each status tells
	base []byte // see baseline

	uid      types.UID
	version  uint64 // resourceVersion last looked at, also of a removal
	specHash uint64 // of the version last compared; 0 when it is to be compared whatever it is
	wireHash uint64 // wire.Head's of the version last looked at; 0 for none, or when it came another way
	exists   bool
	health   driftv1.Health
	message  string
	why      string                      // what its pods say, while it is not healthy
	findings map[string]*driftv1.Finding // by name; nil when there are none
	flaps    map[string]*flap            // by name of the finding
	// applied is the server's answer to our apply until the sync is through; nil when it was not applied.
	applied *unstructured.Unstructured
	// second is another opinion on what the server makes of it; nil for nearly all, see opinion.go.
	second *opinion
	// looked is when it was last seen, in Unix milliseconds: a removal that is found now came later.
	looked int64
}

// declare keeps what Git wants of the object.
func (t *tracked) declare(u *unstructured.Unstructured) { t.want, t.wave = pack(u), marksOf(u).Wave }

// declared gives what Git wants of the object. It is decoded anew for each call, so it is the caller's, and not for where every event
// comes by.
func (t *tracked) declared() *unstructured.Unstructured { return t.want.unpack() }

// baseline gives what the server made of the object.
func (t *tracked) baseline() compare.Baseline {
	var b compare.Baseline
	if err := b.UnmarshalBinary(t.base); err != nil {
		return compare.Baseline{} // of another version of Towpath, or damaged: as if none were known
	}
	return b
}

// learn keeps what the server made of the object.
func (t *tracked) learn(b compare.Baseline) error {
	data, err := b.MarshalBinary()
	if err != nil {
		return err
	}
	t.base = data
	return nil
}

// trim lets go of what a settled object does not need.
func (t *tracked) trim() {
	// A place that flaps may be told later, and is then written into the map.
	if len(t.findings) == 0 && len(t.flaps) == 0 {
		t.findings, t.flaps = nil, nil
	}
}

// names shares the texts of kinds, groups, resources and namespaces, of which there are few, among objects, of which there are many.
type names struct {
	mu  sync.RWMutex
	all map[string]string
}

// maxNames bounds what a service that sees namespaces come and go remembers of them.
const maxNames = 1 << 16

func (n *names) share(s string) string {
	n.mu.RLock()
	known, ok := n.all[s]
	n.mu.RUnlock()
	if ok {
		return known
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known, ok := n.all[s]; ok {
		return known
	}
	if n.all == nil || len(n.all) >= maxNames {
		n.all = map[string]string{}
	}
	n.all[s] = s
	return s
}

// key shares the texts of a key but the object's own name.
func (n *names) key(k objectKey) objectKey {
	return objectKey{group: n.share(k.group), kind: n.share(k.kind), namespace: n.share(k.namespace), name: k.name}
}

func (n *names) resource(r schema.GroupVersionResource) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: n.share(r.Group), Version: n.share(r.Version), Resource: n.share(r.Resource)}
}
