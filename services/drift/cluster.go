package drift

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

const (
	probeEvery = 2 * time.Second
	// downAfter failed probes in a row a cluster counts as gone, so that one lost packet changes nothing that people see.
	downAfter = 2
)

var autoscalers = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}

// objectKey names an object in a cluster. The version is left out: an object is the same in all versions of its API.
type objectKey struct{ group, kind, namespace, name string }

func keyOf(u *unstructured.Unstructured) objectKey {
	gvk := u.GroupVersionKind()
	return objectKey{group: gvk.Group, kind: gvk.Kind, namespace: u.GetNamespace(), name: u.GetName()}
}

// place is where a tracked object belongs.
type place struct {
	env *environment
	obj *tracked
}

// cluster is the connection to one target: clients, the watches of the kinds that environments use, and which environment
// each object belongs to. The kinds are watched in all namespaces, so the number of watches does not grow with environments.
type cluster struct {
	name   string
	svc    *Service
	log    *slog.Logger
	dyn    dynamic.Interface
	probe  rest.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper

	mu         sync.RWMutex
	watches    map[schema.GroupVersionResource]context.CancelFunc
	places     map[objectKey]place
	namespaces map[string]*environment
	scalers    map[string]map[string]compare.Autoscaler // by namespace and name
	start      chan schema.GroupVersionResource
	down       error // why the cluster cannot be reached; nil while it can
}

func newCluster(name string, cfg *rest.Config, svc *Service) (*cluster, error) {
	cfg = rest.CopyConfig(cfg)
	// The API server's own priority and fairness decides who waits; client-go's default of 5 a second would.
	cfg.QPS, cfg.Burst = 400, 800
	cfg.UserAgent = FieldManager
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	disc, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	return &cluster{
		name: name, svc: svc, log: svc.cfg.Log.With("target", name), dyn: dyn, probe: disc.RESTClient(),
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disc)),
		watches: map[schema.GroupVersionResource]context.CancelFunc{}, places: map[objectKey]place{},
		namespaces: map[string]*environment{}, scalers: map[string]map[string]compare.Autoscaler{},
		start: make(chan schema.GroupVersionResource),
	}, nil
}

// run starts watches when they are asked for and looks whether the cluster is there, until ctx ends.
func (c *cluster) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case gvr := <-c.start:
			wg.Go(func() { c.watch(ctx, gvr) })
		case <-tick.C:
			failures = c.probeOnce(ctx, failures)
		}
	}
}

// probeOnce asks the cluster whether it is there and tells the environments when that changes.
func (c *cluster) probeOnce(ctx context.Context, failures int) int {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	var code int
	err := c.probe.Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Error()
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("readyz answers %d", code)
	}
	if err == nil {
		c.setDown(nil)
		return 0
	}
	if failures++; failures == downAfter {
		c.setDown(err)
	}
	return failures
}

func (c *cluster) setDown(err error) {
	c.mu.Lock()
	changed := (c.down == nil) != (err == nil)
	c.down = err
	envs := make([]*environment, 0, len(c.namespaces))
	for _, e := range c.namespaces {
		envs = append(envs, e)
	}
	c.mu.Unlock()
	if !changed {
		return
	}
	c.log.Warn("the cluster's state changed", "reachable", err == nil, "error", err)
	for _, e := range envs {
		e.clusterChanged(err)
	}
}

// resource finds the API of a kind and whether it is namespaced. Discovery is asked again once for a kind it does not know.
func (c *cluster) resource(gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		m, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return schema.GroupVersionResource{}, false, err
	}
	return m.Resource, m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// claim makes an environment the one that its objects' events go to, and sees that their kinds are watched.
func (c *cluster) claim(ctx context.Context, e *environment, namespace string, objs map[objectKey]*tracked) {
	c.mu.Lock()
	c.namespaces[namespace] = e
	for k, p := range c.places {
		if p.env == e && objs[k] == nil {
			delete(c.places, k)
		}
	}
	var missing []schema.GroupVersionResource
	want := func(gvr schema.GroupVersionResource) {
		if c.watches[gvr] == nil {
			c.watches[gvr] = func() {}
			missing = append(missing, gvr)
		}
	}
	want(autoscalers)
	for k, t := range objs {
		c.places[k] = place{env: e, obj: t}
		want(t.gvr)
	}
	c.mu.Unlock()
	for _, gvr := range missing {
		select {
		case c.start <- gvr:
		case <-ctx.Done():
			return
		}
	}
}

// release forgets an environment.
func (c *cluster) release(e *environment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ns, x := range c.namespaces {
		if x == e {
			delete(c.namespaces, ns)
		}
	}
	for k, p := range c.places {
		if p.env == e {
			delete(c.places, k)
		}
	}
}

// watch follows one kind until ctx ends. Objects are compared on their way into the informer's store, which keeps a stub of
// each: enough to notice that one is gone, not enough to fill the memory.
func (c *cluster) watch(ctx context.Context, gvr schema.GroupVersionResource) {
	r := c.dyn.Resource(gvr)
	_, ctrl := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return r.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return r.Watch(ctx, o)
			},
		},
		ObjectType: &unstructured.Unstructured{},
		Transform: func(obj any) (any, error) {
			if u, ok := obj.(*unstructured.Unstructured); ok && !isStub(u) {
				c.observe(gvr, u)
				return stub(u), nil
			}
			return obj, nil
		},
		Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if u, ok := obj.(*unstructured.Unstructured); ok {
				c.gone(gvr, u)
			}
		}},
	})
	ctrl.RunWithContext(ctx)
}

const stubMark = "towpath.dev/stub"

// stub keeps what an object is called and which one of that name it is.
func stub(u *unstructured.Unstructured) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": u.GetAPIVersion(), "kind": u.GetKind(), stubMark: true,
		"metadata": map[string]any{
			"namespace": u.GetNamespace(), "name": u.GetName(), "uid": string(u.GetUID()), "resourceVersion": u.GetResourceVersion(),
		},
	}}
}

func isStub(u *unstructured.Unstructured) bool { _, ok := u.Object[stubMark]; return ok }

// find gives the environment that an object belongs to.
func (c *cluster) find(k objectKey) (place, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, ok := c.places[k]
	return p, ok
}

// owner gives the environment that a namespace belongs to.
func (c *cluster) owner(namespace string) *environment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.namespaces[namespace]
}

// evidence is what entitles controllers to fields of objects in a namespace.
func (c *cluster) evidence(namespace string) compare.Evidence {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var ev compare.Evidence
	for _, a := range c.scalers[namespace] {
		ev.Autoscalers = append(ev.Autoscalers, a)
	}
	return ev
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
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "kind")
	name, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "name")
	low, ok, _ := unstructured.NestedInt64(u.Object, "spec", "minReplicas")
	if !ok {
		low = 1
	}
	high, _, _ := unstructured.NestedInt64(u.Object, "spec", "maxReplicas")
	now := compare.Autoscaler{Name: "HorizontalPodAutoscaler/" + u.GetName(), TargetKind: kind, TargetName: name, Min: low, Max: high}
	if ns == nil {
		ns = map[string]compare.Autoscaler{}
		c.scalers[u.GetNamespace()] = ns
	}
	ns[u.GetName()] = now
	return !had || was != now
}
