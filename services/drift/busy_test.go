package drift_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// gate holds back the apply of one object, so that a test can do something in the middle of a sync.
type gate struct {
	next    http.RoundTripper
	reached chan struct{} // the held request has come
	open    chan struct{}
	once    sync.Once
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/jobs/gate") {
		g.once.Do(func() { close(g.reached) })
		select {
		case <-g.open:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return g.next.RoundTrip(r)
}

func TestAnEditRightBehindOurApplyInTheMiddleOfASyncIsFoundAfterIt(t *testing.T) {
	t.Parallel()
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	cfg := devclustertest.Config(t)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { g.next = next; return g })
	w := newWorld(t, cfg)
	e, other := w.newEnv(t), w.newEnv(t)
	other.deploy(config)
	e.deploy(config)
	// web-config is in the first stage, the gate's Job in the second: at the gate our apply of web-config has been answered.
	e.want(config + job)
	wait(t, g.reached, "the sync")
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team=blue")
	// Events of one kind come in order: when this one was seen, so was the one before.
	devclustertest.Kubectl(t, "-n", other.ns, "label", "configmap", "web-config", "team=red")
	other.awaitOne()
	if fs := e.findings(); len(fs) != 0 {
		t.Errorf("in the middle of a sync there are findings: %v", fs)
	}
	close(g.open)
	e.awaitSynced()
	if f := e.awaitOne(); f.GetField() != "metadata.labels[team]" || f.GetManager() != "kubectl-label" {
		t.Errorf("found %v", f)
	}
}

const job = `---
apiVersion: batch/v1
kind: Job
metadata: {name: gate}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: example.com/job:1}]
`

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not come that far", what)
	}
}
