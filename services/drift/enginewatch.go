package drift

import (
	"context"
	"encoding/json"
	"hash/fnv"
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
)

// engineWatches are a cluster's watches of engines' objects: apart from those of environments' objects, because they are few, stand
// in the engine's namespace, and belong to environments by name. The zero value is ready.
type engineWatches struct {
	mu        sync.Mutex
	followers map[engineObject]map[*environment]bool
	running   map[schema.GroupVersionResource]bool
}

// followEngine tells the environment when one of the objects moves, from now on and instead of those that it followed before.
func (c *cluster) followEngine(e *environment, objects []engineObject) {
	w := &c.engines
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.followers == nil {
		w.followers, w.running = map[engineObject]map[*environment]bool{}, map[schema.GroupVersionResource]bool{}
	}
	for o, envs := range w.followers {
		if envs[e] && !slices.Contains(objects, o) {
			if delete(envs, e); len(envs) == 0 {
				delete(w.followers, o)
			}
		}
	}
	for _, o := range objects {
		if w.followers[o] == nil {
			w.followers[o] = map[*environment]bool{}
		}
		w.followers[o][e] = true
		if !w.running[o.gvr] {
			w.running[o.gvr] = true
			s := &engineStore{c: c, gvr: o.gvr, seen: map[engineObject]uint64{}}
			c.svc.wg.Go(s.run)
		}
	}
}

func (c *cluster) engineMoved(o engineObject) {
	c.engines.mu.Lock()
	envs := slices.Collect(maps.Keys(c.engines.followers[o]))
	c.engines.mu.Unlock()
	for _, e := range envs {
		e.engineMoved()
	}
}

// engineStore is what a reflector tells about one kind of an engine's objects. It keeps a digest of each, to let pass what means
// nothing, such as the time of the engine's last look.
type engineStore struct {
	c    *cluster
	gvr  schema.GroupVersionResource
	seen map[engineObject]uint64 // the reflector is the only one to use it
}

// run watches until the service ends, anew after each outage.
func (s *engineStore) run() {
	quiet := logr.Discard()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = managedByUs
			return s.c.watcher.Resource(s.gvr).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = managedByUs
			return s.c.watcher.Resource(s.gvr).Watch(ctx, o)
		},
	}
	for s.c.ctx.Err() == nil {
		s.c.mu.RLock()
		epoch := s.c.epoch
		s.c.mu.RUnlock()
		backoff := engineBackoff
		cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, s, cache.ReflectorOptions{
			Logger: &quiet, Name: s.gvr.String(), Backoff: &backoff,
		}).RunWithContext(logr.NewContext(epoch, quiet))
	}
}

// engineBackoff is how long the watch of an engine's objects waits between attempts; the end of an outage cuts it short.
var engineBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 5 * time.Second}

// managedByUs selects the engine's objects that Towpath keeps.
const managedByUs = "app.kubernetes.io/managed-by=" + FieldManager

// Add is part of cache.ReflectorStore.
func (s *engineStore) Add(obj any) error { return s.Update(obj) }

// Update is part of cache.ReflectorStore.
func (s *engineStore) Update(obj any) error {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	o := engineObject{s.gvr, u.GetNamespace(), u.GetName()}
	if d := matter(u); s.seen[o] != d {
		s.seen[o] = d
		s.c.engineMoved(o)
	}
	return nil
}

// Delete is part of cache.ReflectorStore.
func (s *engineStore) Delete(obj any) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		o := engineObject{s.gvr, u.GetNamespace(), u.GetName()}
		delete(s.seen, o)
		s.c.engineMoved(o)
	}
	return nil
}

// Replace is part of cache.ReflectorStore.
func (s *engineStore) Replace(objs []any, _ string) error {
	left := maps.Clone(s.seen)
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			delete(left, engineObject{s.gvr, u.GetNamespace(), u.GetName()})
		}
		if err := s.Update(obj); err != nil {
			return err
		}
	}
	for o := range left {
		delete(s.seen, o)
		s.c.engineMoved(o)
	}
	return nil
}

// Resync is part of cache.ReflectorStore; there is nothing stored that could be looked at again.
func (s *engineStore) Resync() error { return nil }

// matter is a digest of what can concern us in an engine's object: what it is told to do, and how far it is.
func matter(u *unstructured.Unstructured) uint64 {
	status, _ := u.Object["status"].(map[string]any)
	kept := map[string]any{}
	for k, v := range status {
		switch k {
		case "reconciledAt", "observedAt", "history", "summary", "controllerNamespace":
		default:
			kept[k] = v
		}
	}
	h := fnv.New64a()
	// Maps are written in the order of their keys, so that the same object has the same digest.
	_ = json.NewEncoder(h).Encode([]any{
		u.Object["spec"], u.Object["operation"], u.GetLabels(), u.GetAnnotations(), u.GetFinalizers(), u.GetDeletionTimestamp(), kept,
	})
	return h.Sum64()
}

// mapping finds the API of an object's kind in the version that the cluster prefers.
func (c *cluster) mapping(k objectKey) (schema.GroupVersionResource, error) {
	return c.mappingOf(schema.GroupKind{Group: k.group, Kind: k.kind})
}
