package drift

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

const (
	probeEvery = 2 * time.Second
	// probeSoon is for a cluster that did not answer, or whose watch broke.
	probeSoon = 400 * time.Millisecond
	// downAfter failed probes in a row a cluster counts as gone, so that one lost packet changes nothing that people see.
	downAfter = 2
	// callTimeout bounds one request, so that a cluster behind a dead network does not hold an environment forever.
	callTimeout = 30 * time.Second
)

var autoscalers = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}

// objectKey names an object in a cluster. The version is left out: an object is the same in all versions of its API.
type objectKey struct{ group, kind, namespace, name string }

func keyOf(u *unstructured.Unstructured) objectKey {
	gvk := u.GroupVersionKind()
	return objectKey{group: gvk.Group, kind: gvk.Kind, namespace: u.GetNamespace(), name: u.GetName()}
}

// cluster is the connection to one target: clients, the watches of the kinds that environments use, and which environment
// each namespace belongs to. The kinds are watched in all namespaces, so the number of watches does not grow with environments.
type cluster struct {
	ctx     context.Context // of the service
	name    string
	svc     *Service
	log     *slog.Logger
	dyn     dynamic.Interface
	watcher dynamic.Interface // dyn without a time limit
	probe   rest.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	actors  *actors       // see environment.writer
	doubt   chan struct{} // a watch broke: probe now

	mu         sync.RWMutex
	watches    map[schema.GroupVersionResource]*kindWatch
	namespaces map[string]*environment
	outsiders  map[objectKey]*environment               // of objects outside of their environment's namespace
	scalers    map[string]map[string]compare.Autoscaler // by namespace and name
	down       error                                    // why the cluster cannot be reached; nil while it can
	// epoch lasts from one outage to the next; watches begin anew with it instead of waiting for their own next try.
	epoch    context.Context
	endEpoch context.CancelFunc
}

func newCluster(ctx context.Context, name string, cfg *rest.Config, svc *Service) (*cluster, error) {
	cfg = rest.CopyConfig(cfg)
	// The API server's own priority and fairness decides who waits; client-go's default of 5 a second would.
	cfg.QPS, cfg.Burst = 400, 800
	cfg.UserAgent = FieldManager
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	watcher, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	cfg.Timeout = callTimeout
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	disc, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	c := &cluster{
		ctx: ctx, name: name, svc: svc, log: svc.cfg.Log.With("target", name), dyn: dyn, watcher: watcher, probe: disc.RESTClient(),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disc)), doubt: make(chan struct{}, 1),
		watches:    map[schema.GroupVersionResource]*kindWatch{},
		namespaces: map[string]*environment{}, scalers: map[string]map[string]compare.Autoscaler{},
		actors: newActors(cfg), outsiders: map[objectKey]*environment{},
	}
	c.epoch, c.endEpoch = context.WithCancel(ctx)
	return c, nil
}

// run looks whether the cluster is there, until the service ends.
func (c *cluster) run() {
	timer := time.NewTimer(probeEvery)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-c.ctx.Done():
			return
		case <-c.doubt:
		case <-timer.C:
		}
		failures = c.probeOnce(failures)
		if failures > 0 {
			timer.Reset(probeSoon)
		} else {
			timer.Reset(probeEvery)
		}
	}
}

// probeOnce asks the cluster whether it is there and tells the environments when that changes.
func (c *cluster) probeOnce(failures int) int {
	ctx, cancel := context.WithTimeout(c.ctx, probeEvery)
	defer cancel()
	var code int
	err := c.probe.Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Error()
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("readyz answers %d", code)
	}
	if c.ctx.Err() != nil {
		return failures
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
	if (c.down == nil) == (err == nil) {
		c.mu.Unlock()
		return
	}
	c.down = err
	envs := make([]*environment, 0, len(c.namespaces))
	for _, e := range c.namespaces {
		envs = append(envs, e)
	}
	c.mu.Unlock()
	c.log.Warn("the cluster's state changed", "reachable", err == nil, "error", err)
	for _, e := range envs {
		e.clusterChanged(err)
	}
	if err == nil {
		c.mu.Lock()
		c.endEpoch()
		c.epoch, c.endEpoch = context.WithCancel(c.ctx)
		c.mu.Unlock()
	}
}

// suspect asks for a probe now.
func (c *cluster) suspect() {
	select {
	case c.doubt <- struct{}{}:
	default:
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

// claim makes an environment the owner of a namespace, to which its events go from now on, and gives why the cluster cannot be reached
// at the moment, if so. A namespace that another environment has is refused with errs.Precondition.
func (c *cluster) claim(e *environment, namespace string) (down error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.namespaces[namespace]; other != nil && other != e {
		return nil, namespaceTaken(namespace, other.name, e.name)
	}
	c.namespaces[namespace] = e
	return c.down, nil
}

func namespaceTaken(namespace, owner, asks string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
		"namespace %s belongs to %s; give %s another namespace", namespace, owner, asks)
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
	for k, x := range c.outsiders {
		if x == e {
			delete(c.outsiders, k)
		}
	}
}

// owner gives the environment that a namespace belongs to.
func (c *cluster) owner(namespace string) *environment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.namespaces[namespace]
}

// owners gives all environments of the cluster.
func (c *cluster) owners() []*environment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*environment, 0, len(c.namespaces))
	for _, e := range c.namespaces {
		out = append(out, e)
	}
	return out
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
