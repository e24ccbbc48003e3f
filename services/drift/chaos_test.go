package drift_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// rounds gives how often a chaos test does its worst: a few times in make test, many times in make chaos-drift.
func rounds(short, long int) int {
	if os.Getenv("TOWPATH_CHAOS") == "long" {
		return long
	}
	return short
}

const stormed = 6

// stormManifests declares the ConfigMaps of a storm as of one deployment.
func stormManifests(deployment int) string {
	var b strings.Builder
	for i := range stormed {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%d}\ndata: {v: declared, deployment: \"%d\"}\n", i, deployment)
	}
	return b.String()
}

// storm edits the ConfigMaps in all ways until stop, which waits for its end.
func storm(t *testing.T, c kubernetes.Interface, ns string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("cm-%d", rand.IntN(stormed))
			patch := fmt.Appendf(nil, `{"data":{"K%d":"x"}}`, rand.IntN(3))
			switch i % 4 {
			case 1:
				patch = fmt.Appendf(nil, `{"data":{"K%d":null}}`, rand.IntN(3))
			case 2:
				patch = []byte(`{"data":{"v":"hacked"}}`)
			case 3:
				if i%20 == 3 {
					_ = c.CoreV1().ConfigMaps(ns).Delete(ctx, name, metav1.DeleteOptions{})
				}
				continue
			}
			_, _ = c.CoreV1().ConfigMaps(ns).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "storm"})
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// truth says what is to be found, by what there is.
func truth(t *testing.T, c kubernetes.Interface, ns string, deployment int) ([]string, error) {
	t.Helper()
	list, err := c.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	live := map[string]corev1.ConfigMap{}
	for _, m := range list.Items {
		live[m.Name] = m
	}
	var out []string
	for i := range stormed {
		name := fmt.Sprintf("cm-%d", i)
		m, ok := live[name]
		if !ok {
			out = append(out, name+" ")
			continue
		}
		declared := map[string]string{"v": "declared", "deployment": fmt.Sprint(deployment)}
		for k, v := range m.Data {
			if declared[k] != v {
				out = append(out, name+" data["+k+"]")
			}
		}
		for k := range declared {
			if _, ok := m.Data[k]; !ok {
				out = append(out, name+" data["+k+"]")
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// converges waits until drift says what there is, and has told no more and no less than that.
func (e *env) converges(c kubernetes.Interface, deployment int) {
	e.t.Helper()
	eventually(e.t, func() string {
		want, err := truth(e.t.(*testing.T), c, e.ns, deployment)
		if err != nil {
			return err.Error()
		}
		got := []string{}
		for _, f := range e.findings() {
			got = append(got, f.GetObjectName()+" "+f.GetField())
		}
		slices.Sort(got)
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			return "what there is and what is found: " + diff
		}
		if diff := cmp.Diff(got, e.heard()); diff != "" {
			return "what is found and what was told: " + diff
		}
		return ""
	})
}

// heard gives the findings that are open by what a subscriber was told.
func (e *env) heard() []string {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	open := map[string]string{}
	for _, r := range e.seen {
		if !strings.HasPrefix(r.subject, "towpath.evt."+strings.Split(e.name, "/")[1]+".") {
			continue
		}
		d, gone := &eventsv1.DriftDetected{}, &eventsv1.DriftResolved{}
		switch {
		case r.typ == "drift.detected" && proto.Unmarshal(r.data, d) == nil:
			open[d.GetFinding().GetName()] = d.GetFinding().GetObjectName() + " " + d.GetFinding().GetField()
		case r.typ == "drift.resolved" && proto.Unmarshal(r.data, gone) == nil:
			delete(open, gone.GetFinding().GetName())
		}
	}
	out := []string{}
	for _, f := range open {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

func TestChaosTheAPIServerIsKilledDuringSyncsAndAStormOfEdits(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	w := newWorld(t, c.Config(t))
	e := w.envIn(t, c.Namespace(t))
	e.deploy(stormManifests(0))
	edits := clientOf(t, c.Config(t))
	stop := storm(t, edits, e.ns)
	defer stop()
	n := rounds(2, 15)
	for i := range n {
		e.want(stormManifests(i + 1))
		time.Sleep(rand.N(150 * time.Millisecond)) // somewhere in the sync, or right behind it
		c.Kill(t)
		c.Start(t)
		e.awaitSynced()
	}
	stop()
	e.converges(edits, n)
	e.revert()
	e.converges(edits, n)
	if fs := e.findings(); len(fs) != 0 {
		t.Errorf("left after a revert: %v", fs)
	}
}

// line is the connection for the watch of ConfigMaps, which a test can cut, hold and send far back.
type line struct {
	next    http.RoundTripper
	held    atomic.Bool
	ancient atomic.Bool
	lists   atomic.Int64
	watches atomic.Int64

	mu   sync.Mutex
	open []io.Closer
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	if r.Method == http.MethodGet && q.Get("watch") == "" && (q.Has("limit") || q.Has("resourceVersion")) {
		l.lists.Add(1)
	}
	if r.URL.Path != "/api/v1/configmaps" || q.Get("watch") == "" {
		return l.next.RoundTrip(r)
	}
	if l.held.Load() {
		return nil, errors.New("the line is cut")
	}
	l.watches.Add(1)
	if l.ancient.CompareAndSwap(true, false) {
		r = r.Clone(r.Context())
		q.Set("resourceVersion", "1")
		r.URL.RawQuery = q.Encode()
	}
	resp, err := l.next.RoundTrip(r)
	if err == nil {
		l.mu.Lock()
		l.open = append(l.open, resp.Body)
		l.mu.Unlock()
	}
	return resp, err
}

// cut ends the watches that are open and keeps new ones from being made until held is false.
func (l *line) cut() {
	l.held.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.open {
		_ = b.Close()
	}
	l.open = nil
}

func TestChaosAWatchThatBreaksGoesOnAndOneThatExpiredCostsOneList(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	ns := c.Namespace(t)
	c.Restart(t) // now it no longer has the events from its beginning, as after a compaction of etcd
	l, cfg := &line{}, c.Config(t)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { l.next = next; return l })
	e := newWorld(t, cfg).envIn(t, ns)
	e.deploy(config)
	eventually(t, func() string {
		if l.watches.Load() == 0 {
			return "ConfigMaps are not watched"
		}
		return ""
	})
	for i := range rounds(2, 20) {
		expired := i%2 == 1
		before := l.lists.Load()
		l.cut()
		c.Kubectl(t, "-n", ns, "label", "configmap", "web-config", fmt.Sprintf("edit-%d=x", i))
		l.ancient.Store(expired)
		l.held.Store(false)
		e.awaitCount(i + 1)
		c.Kubectl(t, "-n", ns, "label", "--overwrite", "configmap", "web-config", fmt.Sprintf("edit-%d=y", i)) // the watch itself is back too
		eventually(t, func() string {
			for _, f := range e.findings() {
				if f.GetField() == fmt.Sprintf("metadata.labels[edit-%d]", i) && f.GetLive().GetStringValue() == "y" {
					return ""
				}
			}
			return fmt.Sprint(e.findings())
		})
		want := int64(0)
		if expired {
			want = 1
		}
		if got := l.lists.Load() - before; got != want {
			t.Errorf("round %d, expired %v: %d lists, want %d", i, expired, got, want)
		}
	}
	e.revert()
	e.awaitCount(0)
}

func TestChaosAClockThatJumpsNeitherLosesNorInventsFindings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.stop()
	var offset atomic.Int64
	w.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())).Round(0) }
	w.start()
	e := w.newEnv(t)
	e.deploy(config)
	c := client(t)
	set := func(key, value string) {
		t.Helper()
		_, err := c.CoreV1().ConfigMaps(e.ns).Patch(t.Context(), "web-config", types.MergePatchType, fmt.Appendf(nil, `{"data":{%q:%q}}`, key, value), metav1.PatchOptions{FieldManager: "jumpy"})
		if err != nil {
			t.Fatal(err)
		}
	}
	jumps := []time.Duration{0, 2 * time.Hour, -4 * time.Hour, 100 * 24 * time.Hour, -100 * 24 * time.Hour}
	for i, jump := range jumps {
		offset.Add(int64(jump))
		set(fmt.Sprintf("K%d", i), "x")
		e.awaitCount(i + 1)
	}
	// A place that flaps is held back for a while; that while ends also when the clock was put back in it.
	for range 2 {
		set("LOG_LEVEL", "debug")
		e.awaitCount(len(jumps) + 1)
		set("LOG_LEVEL", "info")
		e.awaitCount(len(jumps))
	}
	set("LOG_LEVEL", "debug")
	time.Sleep(200 * time.Millisecond) // it may be told at once where the machine was slow; then the jump proves nothing, and hurts nothing
	offset.Add(int64(-time.Hour))
	e.awaitCount(len(jumps) + 1)
	e.revert()
	e.awaitCount(0)
	if open := e.heard(); len(open) != 0 {
		eventually(t, func() string {
			if open = e.heard(); len(open) != 0 {
				return fmt.Sprintf("told as open: %v", open)
			}
			return ""
		})
	}
}
