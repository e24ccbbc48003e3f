package drift_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// late holds one write of the inventory back, and sends it after its caller has gone, as a network may.
type late struct {
	rt      http.RoundTripper
	mu      sync.Mutex
	armed   bool
	held    chan struct{} // closed when it is held
	release chan struct{}
	code    chan int // the cluster's answer
}

func (l *late) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	mine := l.armed && req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/configmaps/towpath-inventory")
	l.armed = l.armed && !mine
	l.mu.Unlock()
	if !mine {
		return l.rt.RoundTrip(req)
	}
	done := make(chan struct{})
	var resp *http.Response
	var err error
	go func() {
		defer close(done)
		close(l.held)
		<-l.release
		resp, err = l.rt.RoundTrip(req.Clone(context.WithoutCancel(req.Context()))) //nolint:bodyclose // its caller closes it, or is gone with the test
		if err == nil {
			l.code <- resp.StatusCode
		} else {
			l.code <- 0
		}
	}()
	select {
	case <-done:
		return resp, err
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func TestASyncOfAnEarlierHolderThatComesLateIsRefused(t *testing.T) {
	t.Parallel()
	l := &late{held: make(chan struct{}), release: make(chan struct{}), code: make(chan int, 1)}
	old := newWorld(t, nil)
	old.stop()
	cfg := old.cfg.Connect
	old.cfg.Connect = func(ref *eventsv1.TargetRef) (*rest.Config, error) {
		c, err := cfg(ref)
		c.Wrap(func(rt http.RoundTripper) http.RoundTripper {
			l.rt = rt
			return l
		})
		return c, err
	}
	old.start()
	e := old.newEnv(t)
	e.deploy(configMap("settings", "one"))
	l.mu.Lock()
	l.armed = true
	l.mu.Unlock()
	e.want(configMap("settings", "two"))
	<-l.held
	old.stop() // it loses its lease; what it has sent is still under way

	next := newWorld(t, nil)
	n := next.envIn(t, e.ns)
	n.generation = 2
	n.deploy(configMap("settings", "three"))
	close(l.release)
	if code := <-l.code; code != http.StatusConflict {
		t.Errorf("the late write was answered with %d, want 409", code)
	}
	n.awaitCount(0)
	inv, err := client(t).CoreV1().ConfigMaps(e.ns).Get(t.Context(), "towpath-inventory", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if inv.Data["generation"] != "3" || inv.Data["tree"] != n.tree {
		t.Errorf("the inventory has generation %s and tree %s", inv.Data["generation"], inv.Data["tree"])
	}
	if v := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "settings", "-o", "jsonpath={.data.LOG_LEVEL}"); v != "three" {
		t.Errorf("the object has %q", v)
	}
}

func TestFindingsKeepTheirTimeOverARestartAndAreNotToldAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy(configMap("settings", "one") + configMap("other", "one"))
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap/settings", "stays=x")
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap/other", "goes=x")
	e.awaitCount(2)
	before := e.findings()
	w.stop()
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap/other", "goes-")
	w.start()
	f := await(e, "drift.resolved", func(d *eventsv1.DriftResolved) bool { return strings.Contains(d.GetFinding().GetField(), "goes") })
	if f.GetFinding().GetResolution() != "undone" && f.GetFinding().GetResolution() != "deployed" {
		t.Errorf("resolution %q", f.GetFinding().GetResolution())
	}
	after := e.awaitOne()
	for _, b := range before {
		if b.GetName() == after.GetName() && !b.GetDetectTime().AsTime().Equal(after.GetDetectTime().AsTime()) {
			t.Errorf("it was noticed at %v and is now told as of %v", b.GetDetectTime().AsTime(), after.GetDetectTime().AsTime())
		}
	}
	told := map[string]int{}
	for _, d := range namesTold(e) {
		told[d]++
	}
	if told[after.GetName()] != 1 {
		t.Errorf("told %d times", told[after.GetName()])
	}
}

func namesTold(e *env) []string {
	var out []string
	for _, d := range told[eventsv1.DriftDetected](e, "drift.detected") {
		out = append(out, d.GetFinding().GetName())
	}
	return out
}
