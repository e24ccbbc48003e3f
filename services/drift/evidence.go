package drift

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// Evidence are objects that entitle a controller to fields of other objects: an autoscaler is what makes another number of
// replicas no drift. Their kinds are watched where the cluster has them, and when such an object comes, changes or goes, what it
// vouches for is compared again.

// evidenceKey names an evidence object within its namespace.
type evidenceKey struct {
	gvr  schema.GroupVersionResource
	name string
}

// entitlement is what one evidence object entitles to.
type entitlement struct {
	scalers   []compare.Autoscaler
	verticals []compare.VerticalAutoscaler
}

func (a entitlement) equal(b entitlement) bool {
	return slices.Equal(a.scalers, b.scalers) && slices.Equal(a.verticals, b.verticals)
}

var (
	autoscalers   = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
	verticals     = schema.GroupVersionResource{Group: "autoscaling.k8s.io", Version: "v1", Resource: "verticalpodautoscalers"}
)

// evidenceReaders are the kinds of evidence and how they are read.
var evidenceReaders = map[schema.GroupVersionResource]func(*unstructured.Unstructured) entitlement{
	autoscalers: readAutoscaler, scaledObjects: readScaledObject, verticals: readVertical,
}

func isEvidence(gvr schema.GroupVersionResource) bool { return evidenceReaders[gvr] != nil }

// watchEvidence begins to watch the kinds of evidence that the cluster has, and which kinds it has from now on.
func (c *cluster) watchEvidence() {
	c.watchKind(autoscalers) // every cluster has it
	c.kindsRun.Do(func() {
		c.lookForEvidence()
		c.svc.wg.Go(c.followKinds)
	})
}

// lookForEvidence begins to watch what has been installed since.
func (c *cluster) lookForEvidence() {
	for gvr := range evidenceReaders {
		if c.watching(gvr) {
			continue
		}
		if _, err := c.mapper.KindFor(gvr); err == nil {
			c.watchKind(gvr)
		} else if !meta.IsNoMatchError(err) {
			c.log.Warn("it is not known whether the cluster has a kind of autoscalers; what one does may be told as drift", "kind", gvr.String(), "error", err)
		}
	}
}

func (c *cluster) watching(gvr schema.GroupVersionResource) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.watches[gvr] != nil
}

// awaitEvidence waits until the evidence that there is has been listed.
func (c *cluster) awaitEvidence(ctx context.Context) {
	for gvr := range evidenceReaders {
		if c.watching(gvr) {
			c.watchKind(gvr).await(ctx)
		}
	}
}

// noteEvidence notes an object of such a kind, or that it is gone, and has looked at again what it vouches for.
func (c *cluster) noteEvidence(gvr schema.GroupVersionResource, u *unstructured.Unstructured, there bool) {
	read := evidenceReaders[gvr]
	if read == nil {
		return
	}
	key, now := evidenceKey{gvr: gvr, name: u.GetName()}, entitlement{}
	if there {
		now = read(u)
	}
	c.mu.Lock()
	ns := c.entitled[u.GetNamespace()]
	was := ns[key]
	switch {
	case !there:
		delete(ns, key)
	case ns == nil:
		c.entitled[u.GetNamespace()] = map[evidenceKey]entitlement{key: now}
	default:
		ns[key] = now
	}
	c.mu.Unlock()
	if !was.equal(now) {
		c.recheck(u.GetNamespace())
	}
}

// replaceEvidence takes the whole list of a kind and looks again where it differs from what was known.
func (c *cluster) replaceEvidence(gvr schema.GroupVersionResource, objs []any) {
	now := map[string]map[evidenceKey]entitlement{}
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if now[u.GetNamespace()] == nil {
				now[u.GetNamespace()] = map[evidenceKey]entitlement{}
			}
			now[u.GetNamespace()][evidenceKey{gvr: gvr, name: u.GetName()}] = evidenceReaders[gvr](u)
		}
	}
	changed := map[string]bool{}
	c.mu.Lock()
	for ns, objs := range c.entitled {
		for key, was := range objs {
			if key.gvr == gvr && !was.equal(now[ns][key]) {
				changed[ns] = true
			}
			if key.gvr == gvr {
				delete(objs, key)
			}
		}
	}
	for ns, objs := range now {
		if c.entitled[ns] == nil {
			c.entitled[ns] = map[evidenceKey]entitlement{}
		}
		for key, is := range objs {
			c.entitled[ns][key] = is
			changed[ns] = true // looked at once too often is better than once too little
		}
	}
	c.mu.Unlock()
	for ns := range changed {
		c.recheck(ns)
	}
}

// recheck compares again what evidence in a namespace may vouch for.
func (c *cluster) recheck(namespace string) {
	if e := c.owner(namespace); e != nil {
		e.lookAgain()
	}
}

// evidence is what entitles controllers to fields of objects in a namespace.
func (c *cluster) evidence(namespace string) compare.Evidence {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var ev compare.Evidence
	for _, x := range c.entitled[namespace] {
		ev.Autoscalers = append(ev.Autoscalers, x.scalers...)
		ev.Verticals = append(ev.Verticals, x.verticals...)
	}
	return ev
}

func number(u *unstructured.Unstructured, otherwise int64, path ...string) int64 {
	if n, ok, err := unstructured.NestedInt64(u.Object, path...); ok && err == nil {
		return n
	}
	return otherwise
}

func readAutoscaler(u *unstructured.Unstructured) entitlement {
	return entitlement{scalers: []compare.Autoscaler{{
		Name: "HorizontalPodAutoscaler/" + u.GetName(), TargetKind: text(u.Object, "spec", "scaleTargetRef", "kind"), TargetName: text(u.Object, "spec", "scaleTargetRef", "name"),
		Min: number(u, 1, "spec", "minReplicas"), Max: number(u, 0, "spec", "maxReplicas"),
	}}}
}

// KEDA's defaults, and the annotation that stops it at a number of replicas.
const (
	kedaMax    = 100
	kedaPaused = "autoscaling.keda.sh/paused-replicas"
)

// readScaledObject reads KEDA's kind: it scales by itself between none and its minimum, and by an autoscaler of its own above.
func readScaledObject(u *unstructured.Unstructured) entitlement {
	a := compare.Autoscaler{
		Name: "ScaledObject/" + u.GetName(), TargetKind: text(u.Object, "spec", "scaleTargetRef", "kind"), TargetName: text(u.Object, "spec", "scaleTargetRef", "name"),
		Min: number(u, 0, "spec", "minReplicaCount"), Max: number(u, kedaMax, "spec", "maxReplicaCount"),
	}
	if a.TargetKind == "" {
		a.TargetKind = "Deployment"
	}
	a.Min = min(a.Min, number(u, a.Min, "spec", "idleReplicaCount"))
	if n, err := strconv.ParseInt(u.GetAnnotations()[kedaPaused], 10, 64); err == nil {
		a.Min, a.Max = min(a.Min, n), max(a.Max, n)
	}
	return entitlement{scalers: []compare.Autoscaler{a}}
}

// readVertical reads a vertical pod autoscaler: one entry for each container policy, and one for all other containers.
func readVertical(u *unstructured.Unstructured) entitlement {
	if text(u.Object, "spec", "updatePolicy", "updateMode") == "Off" {
		return entitlement{} // it only recommends
	}
	base := compare.VerticalAutoscaler{
		Name: "VerticalPodAutoscaler/" + u.GetName(), TargetKind: text(u.Object, "spec", "targetRef", "kind"), TargetName: text(u.Object, "spec", "targetRef", "name"),
		Container: "*",
	}
	out, rest := entitlement{}, true
	policies, _, _ := unstructured.NestedSlice(u.Object, "spec", "resourcePolicy", "containerPolicies")
	for _, p := range policies {
		m, ok := p.(map[string]any)
		if !ok {
			continue
		}
		v := base
		bound := func(which, what string) string {
			switch q, _, _ := unstructured.NestedFieldNoCopy(m, which, what); q := q.(type) {
			case string:
				return q
			case int64:
				return strconv.FormatInt(q, 10)
			}
			return ""
		}
		v.Container, _ = m["containerName"].(string)
		v.Off = m["mode"] == "Off"
		v.MinCPU, v.MaxCPU = bound("minAllowed", "cpu"), bound("maxAllowed", "cpu")
		v.MinMemory, v.MaxMemory = bound("minAllowed", "memory"), bound("maxAllowed", "memory")
		rest = rest && v.Container != "*"
		out.verticals = append(out.verticals, v)
	}
	if rest {
		out.verticals = append(out.verticals, base)
	}
	return out
}

var definitionsResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// kindsBackoff is how long the watch of definitions waits between attempts; where it is not allowed, they are few.
var kindsBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Jitter: 0.2, Steps: 7, Cap: 5 * time.Minute}

// kindStore hears of custom resource definitions. Of these only the names are read: definitions are large.
type kindStore struct{ moved chan struct{} }

func (s kindStore) poke() error                 { poke(s.moved); return nil }
func (s kindStore) Add(any) error               { return s.poke() }
func (s kindStore) Update(any) error            { return s.poke() }
func (s kindStore) Delete(any) error            { return s.poke() }
func (s kindStore) Replace([]any, string) error { return s.poke() }
func (s kindStore) Resync() error               { return nil }

// kindLooks is when to look after a definition has changed: the API server publishes the new schema a moment later.
var kindLooks = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second, 3 * time.Second, 15 * time.Second}

// followKinds looks for new kinds of evidence and for new schemas of custom resources whenever a definition changes.
func (c *cluster) followKinds() {
	store := kindStore{moved: make(chan struct{}, 1)}
	quiet, told := logr.Discard(), false
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		l, err := c.kinds.Resource(definitionsResource).List(ctx, o)
		if err != nil && ctx.Err() == nil && !told {
			told = true
			c.log.Warn("custom resource definitions cannot be watched; a changed one is noticed at the next sync", "error", err)
		}
		return l, err
	}
	lw := &cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		return c.kinds.Resource(definitionsResource).Watch(ctx, o)
	}}
	backoff := kindsBackoff
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, store, cache.ReflectorOptions{Logger: &quiet, Name: "definitions", Backoff: &backoff})
	c.svc.wg.Go(func() { r.RunWithContext(logr.NewContext(c.ctx, quiet)) })
	timer, next := time.NewTimer(time.Hour), len(kindLooks)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-store.moved:
			c.mapper.Reset()
			next = 0
		case <-c.schemas.failed:
			next = min(next, len(kindLooks)-1)
		case <-timer.C:
			c.lookForEvidence()
			c.refreshSchemas()
		}
		if next < len(kindLooks) {
			timer.Reset(kindLooks[next])
			next++
		} else {
			timer.Reset(time.Hour)
		}
	}
}
