package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/util/flowcontrol"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
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

// objectKey names an object in a cluster. The version is left out: an object is the same in all versions of its API.
type objectKey struct{ group, kind, namespace, name string }

func keyOf(u *unstructured.Unstructured) objectKey {
	gvk := u.GroupVersionKind()
	return objectKey{group: gvk.Group, kind: gvk.Kind, namespace: u.GetNamespace(), name: u.GetName()}
}

// cluster is the connection to one target: clients, the watches of the kinds that environments use, and which environment
// each namespace belongs to. The kinds are watched in all namespaces, so the number of watches does not grow with environments.
// Nothing of it is shared with other clusters: one that does not answer holds nobody up but who asks it.
type cluster struct {
	ctx    context.Context // ends with the service, or when nobody has needed the cluster for a while
	end    context.CancelFunc
	name   string
	svc    *Service
	log    *slog.Logger
	link   *link
	rest   *rest.Config // what other clients of this cluster are made of, such as ones that act as somebody else
	dyn    dynamic.Interface
	raw    rest.Interface // gives bytes, and has no time limit (follow.go)
	lists  chan struct{}  // see turn
	probe  rest.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	doubt  chan struct{} // a watch broke: probe now
	aimed  chan struct{} // access may have changed: read it now
	looked chan struct{} // closed once it is known whether the cluster answers
	once   sync.Once     // closes looked
	used   atomic.Int64  // when it was last asked for, in Unix seconds

	resolving sync.Mutex // one at a time reads the access

	mu         sync.RWMutex
	ref        *eventsv1.TargetRef // how it is reached
	resolved   *eventsv1.TargetRef // the ref that link follows; nil before the first
	wrong      error               // why ref cannot be resolved
	watches    map[schema.GroupVersionResource]*kindWatch
	namespaces map[string]*environment
	entitled   map[string]map[evidenceKey]entitlement // by namespace
	down       error                                  // why the cluster cannot be reached; nil while it can
	changed    time.Time                              // when down last changed
	seen       time.Time                              // when it last answered
	version    string                                 // of its API server
	// epoch lasts from one outage to the next; watches begin anew with it instead of waiting for their own next try.
	epoch    context.Context
	endEpoch context.CancelFunc

	comparer *compare.Comparer // with the cluster's own custom kinds
	schemas  *schemas
	kinds    metadata.Interface
	kindsRun sync.Once
}

func newCluster(ctx context.Context, t *eventsv1.TargetRef, svc *Service) (*cluster, error) {
	name := t.GetName()
	l := &link{name: name}
	l.pace(t)
	cfg := l.config()
	raw, err := rawClient(cfg)
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
	at := rest.CopyConfig(cfg)
	at.RateLimiter = flowcontrol.NewFakeAlwaysRateLimiter() // a long queue does not make a cluster look dead
	probe, err := discovery.NewDiscoveryClientForConfig(at)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	c := &cluster{
		name: name, svc: svc, log: svc.cfg.Log.With("target", name), link: l, rest: cfg, ref: t,
		dyn: dyn, raw: raw, lists: make(chan struct{}, listsAtOnce), probe: probe.RESTClient(),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disc)),
		doubt:  make(chan struct{}, 1), aimed: make(chan struct{}, 1), looked: make(chan struct{}),
		watches: map[schema.GroupVersionResource]*kindWatch{}, changed: svc.cfg.Now(),
		namespaces: map[string]*environment{}, entitled: map[string]map[evidenceKey]entitlement{},
	}
	if c.kinds, err = metadata.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	c.schemas = newSchemas(disc.OpenAPIV3(), c.log)
	c.comparer = svc.comparer.For(c.schemas.typeFor)
	c.ctx, c.end = context.WithCancel(ctx)
	c.epoch, c.endEpoch = context.WithCancel(c.ctx)
	return c, nil
}

// run looks whether the cluster is there, until the service ends or nobody needs it.
func (c *cluster) run() {
	defer c.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-c.ctx.Done():
			return
		case <-c.doubt:
		case <-timer.C:
		}
		if c.svc.dropUnused(c) {
			return
		}
		if failures = c.probeOnce(failures); failures == 0 || failures >= downAfter {
			c.once.Do(func() { close(c.looked) })
		}
		if failures > 0 {
			timer.Reset(probeSoon)
		} else {
			timer.Reset(probeEvery)
		}
	}
}

// probeOnce asks the cluster whether it is there and tells the environments when that changes.
func (c *cluster) probeOnce(failures int) int {
	if err := c.misled(); err != nil {
		c.setDown(err)
		return downAfter
	}
	ctx, cancel := context.WithTimeout(c.ctx, probeEvery)
	defer cancel()
	var code int
	err := c.probe.Get().AbsPath("/readyz").MaxRetries(0).Do(ctx).StatusCode(&code).Error()
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("readyz answers %d", code)
	}
	if apierrors.IsForbidden(err) {
		err = nil // it answers, and says by that who we are
	}
	if c.ctx.Err() != nil {
		return failures
	}
	if err == nil {
		c.seenNow(ctx)
		c.setDown(nil)
		return 0
	}
	if apierrors.IsUnauthorized(err) {
		poke(c.aimed) // they may have been renewed
	}
	if failures++; failures >= downAfter {
		c.setDown(c.why(err))
	}
	return failures
}

// seenNow notes that the cluster has answered, and which version it is after it was away.
func (c *cluster) seenNow(ctx context.Context) {
	c.mu.Lock()
	c.seen = c.svc.cfg.Now()
	ask := c.version == "" || c.down != nil
	c.mu.Unlock()
	if !ask {
		return
	}
	var v version.Info
	body, err := c.probe.Get().AbsPath("/version").MaxRetries(0).Do(ctx).Raw()
	if err == nil && json.Unmarshal(body, &v) == nil {
		c.mu.Lock()
		c.version = v.GitVersion
		c.mu.Unlock()
	}
}

func (c *cluster) setDown(err error) {
	c.mu.Lock()
	if (c.down == nil) == (err == nil) {
		c.down = err // perhaps for another reason than before
		c.mu.Unlock()
		return
	}
	c.down, c.changed = err, c.svc.cfg.Now()
	c.mu.Unlock()
	c.log.Warn("the cluster's state changed", "reachable", err == nil, "error", err)
	for _, e := range c.svc.environmentsOf(c.name) {
		e.clusterChanged(err)
	}
	if err == nil {
		c.restart()
	}
}

// restart lets all watches begin anew.
func (c *cluster) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endEpoch()
	c.epoch, c.endEpoch = context.WithCancel(c.ctx)
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
