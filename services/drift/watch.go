package drift

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// kindWatch follows one kind in all namespaces. It is the store of a client-go reflector that stores nothing: each object is
// compared as it comes in and dropped. The reflector calls it from one goroutine.
type kindWatch struct {
	c   *cluster
	gvr schema.GroupVersionResource

	mu     sync.Mutex
	synced chan struct{} // closed when the first list of this epoch is through
}

// watchBackoff is how long a reflector waits between attempts; the end of an outage cuts it short.
var watchBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 5 * time.Second}

// watchKind begins to follow a kind, once.
func (c *cluster) watchKind(gvr schema.GroupVersionResource) *kindWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watches[gvr]
	if w == nil {
		w = &kindWatch{c: c, gvr: gvr, synced: make(chan struct{})}
		c.watches[gvr] = w
		c.svc.wg.Go(w.run)
	}
	return w
}

// run watches until the service ends, anew after each outage.
func (w *kindWatch) run() {
	r := w.c.watcher.Resource(w.gvr)
	noted := func(ctx context.Context, err error) {
		if err != nil && ctx.Err() == nil {
			w.c.log.Warn("a kind cannot be watched now; it is tried again", "kind", w.gvr.String(), "error", err)
			w.c.suspect()
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := r.List(ctx, o)
			noted(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			x, err := r.Watch(ctx, o)
			noted(ctx, err)
			return x, err
		},
	}
	quiet := logr.Discard() // what matters is logged above, with the target's name
	for w.c.ctx.Err() == nil {
		w.c.mu.RLock()
		epoch := w.c.epoch
		w.c.mu.RUnlock()
		backoff := watchBackoff
		cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, w, cache.ReflectorOptions{
			Logger: &quiet, Name: w.gvr.String(), Backoff: &backoff,
		}).RunWithContext(logr.NewContext(epoch, quiet))
		w.mu.Lock()
		select {
		case <-w.synced:
			w.synced = make(chan struct{})
		default:
		}
		w.mu.Unlock()
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

// Add is part of cache.ReflectorStore.
func (w *kindWatch) Add(obj any) error { return w.Update(obj) }

// Update is part of cache.ReflectorStore.
func (w *kindWatch) Update(obj any) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		if w.gvr == autoscalers && w.c.setScaler(u, true) {
			w.c.recheck(u.GetNamespace())
		}
		if e := w.c.ownerOf(u); e != nil {
			e.observe(w.gvr, u)
		}
	}
	return nil
}

// Delete is part of cache.ReflectorStore.
func (w *kindWatch) Delete(obj any) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		if w.gvr == autoscalers && w.c.setScaler(u, false) {
			w.c.recheck(u.GetNamespace())
		}
		if e := w.c.ownerOf(u); e != nil {
			e.deleted(keyOf(u), u.GetUID(), versionOf(u))
		}
	}
	return nil
}

// Replace is part of cache.ReflectorStore. It takes a whole list: at the start, after an outage, and when the server no longer has the events
// since the last one. What is not in it is gone.
func (w *kindWatch) Replace(objs []any, version string) error {
	present := make(map[objectKey]bool, len(objs))
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			present[keyOf(u)] = true
		}
	}
	if w.gvr == autoscalers {
		w.c.replaceScalers(objs)
	} else {
		// Autoscalers first, or what one did during an outage would be told as somebody's edit.
		w.c.watchKind(autoscalers).await(w.c.ctx)
	}
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if e := w.c.ownerOf(u); e != nil {
				e.observe(w.gvr, u)
			}
		}
	}
	for _, e := range w.c.owners() {
		e.absent(w.gvr, present, parseVersion(version))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.synced:
	default:
		close(w.synced)
	}
	return nil
}

// Resync is part of cache.ReflectorStore; there is nothing stored that could be looked at again.
func (w *kindWatch) Resync() error { return nil }

// recheck compares again what an autoscaler may vouch for, after one came, changed or went.
func (c *cluster) recheck(namespace string) {
	if e := c.owner(namespace); e != nil {
		e.lookAgain()
	}
}

// setScaler notes an autoscaler, or that it is gone, and reports whether that changes anything.
func (c *cluster) setScaler(u *unstructured.Unstructured, there bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ns := c.scalers[u.GetNamespace()]
	was, had := ns[u.GetName()]
	if !there {
		delete(ns, u.GetName())
		return had
	}
	if ns == nil {
		ns = map[string]compare.Autoscaler{}
		c.scalers[u.GetNamespace()] = ns
	}
	ns[u.GetName()] = scalerOf(u)
	return !had || was != ns[u.GetName()]
}

// replaceScalers takes the whole list of autoscalers and looks again where it differs from what was known.
func (c *cluster) replaceScalers(objs []any) {
	now := map[string]map[string]compare.Autoscaler{}
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if now[u.GetNamespace()] == nil {
				now[u.GetNamespace()] = map[string]compare.Autoscaler{}
			}
			now[u.GetNamespace()][u.GetName()] = scalerOf(u)
		}
	}
	c.mu.Lock()
	was := c.scalers
	c.scalers = now
	changed := slices.DeleteFunc(slices.Collect(maps.Keys(c.namespaces)), func(ns string) bool { return maps.Equal(was[ns], now[ns]) })
	c.mu.Unlock()
	for _, ns := range changed {
		c.recheck(ns)
	}
}

func scalerOf(u *unstructured.Unstructured) compare.Autoscaler {
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "kind")
	name, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "name")
	low, ok, _ := unstructured.NestedInt64(u.Object, "spec", "minReplicas")
	if !ok {
		low = 1
	}
	high, _, _ := unstructured.NestedInt64(u.Object, "spec", "maxReplicas")
	return compare.Autoscaler{Name: "HorizontalPodAutoscaler/" + u.GetName(), TargetKind: kind, TargetName: name, Min: low, Max: high}
}
