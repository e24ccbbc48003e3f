package drift

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// kindWatch follows one kind in all namespaces (follow.go). It stores nothing: each object is compared as it comes in and dropped. Its
// methods are called from one goroutine, except await.
type kindWatch struct {
	c   *cluster
	gvr schema.GroupVersionResource
	dec decoder

	mu     sync.Mutex
	synced chan struct{} // closed when the first list of this epoch is through
}

// watchKind begins to follow a kind, once.
func (c *cluster) watchKind(gvr schema.GroupVersionResource) *kindWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watches[gvr]
	if w == nil {
		w = &kindWatch{c: c, gvr: gvr, dec: decoder{wire.NewDecoder()}, synced: make(chan struct{})}
		c.watches[gvr] = w
		c.svc.wg.Go(w.run)
	}
	return w
}

// run watches until the service ends. After an outage it begins anew, with a list: nobody knows what the cluster was restored from.
func (w *kindWatch) run() {
	for first := true; w.c.ctx.Err() == nil; first = false {
		w.c.mu.RLock()
		epoch := w.c.epoch
		w.c.mu.RUnlock()
		if !first {
			pause(epoch, rand.N(stormGap))
		}
		w.follow(epoch)
		w.mu.Lock()
		select {
		case <-w.synced:
			w.synced = make(chan struct{})
		default:
		}
		w.mu.Unlock()
	}
}

// listed says that the first list of this epoch is through.
func (w *kindWatch) listed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.synced:
	default:
		close(w.synced)
	}
}

// await waits until the kind was listed. It gives up after a while: a cluster that does not let us list a kind, or does not
// have it, must not stop everything else.
func (w *kindWatch) await(ctx context.Context) {
	w.mu.Lock()
	synced := w.synced
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	select {
	case <-synced:
	case <-ctx.Done():
	}
}

// Update takes an object that is new or was changed.
func (w *kindWatch) Update(obj any) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		w.c.noteEvidence(w.gvr, u, true)
		if e := w.c.owner(u.GetNamespace()); e != nil {
			e.observe(w.gvr, u)
		}
	}
	return nil
}

// Delete takes an object that is gone, as it was last.
func (w *kindWatch) Delete(obj any) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		w.c.noteEvidence(w.gvr, u, false)
		if e := w.c.owner(u.GetNamespace()); e != nil {
			e.deleted(keyOf(u), u.GetUID(), versionOf(u))
		}
	}
	return nil
}

// Replace takes a whole list of a kind that is not streamed: at the start, after an outage, and when the server no longer has the events
// since the last one. What is not in it is gone.
func (w *kindWatch) Replace(objs []any, version string) error {
	present := make(map[objectKey]bool, len(objs))
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			present[keyOf(u)] = true
		}
	}
	if isEvidence(w.gvr) {
		w.c.replaceEvidence(w.gvr, objs)
	}
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if e := w.c.owner(u.GetNamespace()); e != nil {
				e.observe(w.gvr, u)
			}
		}
	}
	for _, e := range w.c.owners() {
		e.absent(w.gvr, present, parseVersion(version))
	}
	w.listed()
	return nil
}
