package drift

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	// defaultRequests is how many requests a second drift makes of a cluster at the most, where its target says nothing. Others
	// use the API server too; what it is asked beyond its own priority and fairness, it answers with 429 and a time to wait, which
	// client-go keeps.
	defaultRequests = 100
	// burstFactor is how many seconds' worth may be asked at once after a quiet time: the applies of one sync.
	burstFactor = 3
	// userAgent begins with the field manager: an API server takes it as the manager of writes that name none.
	userAgent = FieldManager + "/drift"
)

// link is the way to a cluster: all clients of a cluster send over it, and it can be changed under them. So a renewed token or
// another address needs no new clients, and nobody who holds one goes on with an old secret.
type link struct {
	name    string // of the target
	now     atomic.Pointer[route]
	limit   atomic.Pointer[limiter]
	sent    atomic.Int64 // requests
	refused atomic.Int64 // requests that the cluster asked to come back with later
}

type route struct {
	base *url.URL
	rt   http.RoundTripper
	sum  [sha256.Size]byte
}

type limiter struct {
	flowcontrol.RateLimiter
	limit int32
}

// config is what clients of the cluster are made of, also such as act as somebody else.
func (l *link) config() *rest.Config {
	// The host is replaced in each request. It shows in errors of client-go, so it says which target it was.
	host := "https://" + strings.TrimPrefix(l.name, "targets/") + ".target.invalid"
	return &rest.Config{
		Host: host, Transport: l, UserAgent: userAgent, WarningHandlerWithContext: rest.NoWarnings{}, RateLimiter: paced{l},
	}
}

// lead makes cfg the way from now on and reports whether it is another than before.
func (l *link) lead(cfg *rest.Config, sum [sha256.Size]byte) (bool, error) {
	old := l.now.Load()
	if old != nil && old.sum == sum {
		return false, nil
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout, cfg.UserAgent, cfg.RateLimiter = 0, "", nil // matters of each client
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return false, err
	}
	rt, err := rest.TransportFor(cfg)
	if err != nil {
		return false, err
	}
	l.now.Store(&route{base: base, rt: rt, sum: sum})
	if old != nil {
		utilnet.CloseIdleConnectionsFor(old.rt)
	}
	return true, nil
}

// cut ends the way: nothing is sent until there is another one.
func (l *link) cut() {
	if old := l.now.Swap(nil); old != nil {
		utilnet.CloseIdleConnectionsFor(old.rt)
	}
}

// address is where the cluster is, for people.
func (l *link) address() string {
	if r := l.now.Load(); r != nil {
		return r.base.Host
	}
	return ""
}

var errNoAccess = errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "there is no access to the cluster")

// RoundTrip implements http.RoundTripper.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	r := l.now.Load()
	if r == nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper must
		}
		return nil, errNoAccess
	}
	l.sent.Add(1)
	out := req.Clone(req.Context())
	out.Host = ""
	out.URL.Scheme, out.URL.Host = r.base.Scheme, r.base.Host
	if prefix := strings.TrimSuffix(r.base.Path, "/"); prefix != "" {
		out.URL.Path = prefix + out.URL.Path
		if out.URL.RawPath != "" {
			out.URL.RawPath = prefix + out.URL.RawPath
		}
	}
	resp, err := r.rt.RoundTrip(out)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		l.refused.Add(1)
	}
	return resp, err
}

// pace sets how many requests a second are made at the most.
func (l *link) pace(t *eventsv1.TargetRef) {
	n := t.GetRequestLimit()
	if n <= 0 {
		n = defaultRequests
	}
	if old := l.limit.Load(); old != nil && old.limit == n {
		return
	}
	l.limit.Store(&limiter{RateLimiter: flowcontrol.NewTokenBucketRateLimiter(float32(n), int(n)*burstFactor), limit: n})
}
