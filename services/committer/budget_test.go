package committer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// hands are those of a clock that a test turns.
type hands struct {
	mu      sync.Mutex
	time    time.Time
	waiting map[chan time.Time]time.Time
}

func newHands() *hands {
	return &hands{time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), waiting: map[chan time.Time]time.Time{}}
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.time
}

func (h *hands) after(d time.Duration) <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := make(chan time.Time, 1)
	h.waiting[c] = h.time.Add(d)
	return c
}

// turn lets time go by.
func (h *hands) turn(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.time = h.time.Add(d)
	for c, at := range h.waiting {
		if !at.After(h.time) {
			c <- h.time
			delete(h.waiting, c)
		}
	}
}

// waiters gives how many wait.
func (h *hands) waiters() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

func TestAUsedUpBudgetWaitsVisiblyAndSharesTheNextPush(t *testing.T) {
	t.Parallel()
	h, g := newHands(), newGate()
	close(g.open)
	w := embedded(t, g.option, func(w *world) { w.repo.PushBudget, w.hands = 2, h })
	w.send(w.change("first", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("first", 1)) // at once
	for n := range 5 {
		w.send(w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{"a.yaml": fmt.Sprint(n)}))
	}
	for n := range 5 {
		got := find(w, "deployment.waiting", name(fmt.Sprintf("env-%d", n), 1), &eventsv1.DeploymentWaiting{})
		if !strings.Contains(got.GetReason(), "push budget") || !strings.Contains(got.GetReason(), "12:00:30 UTC") {
			t.Errorf("it waits because %q", got.GetReason())
		}
	}
	if n := w.commits(); n != 1 || h.waiters() != 1 {
		t.Fatalf("%d commits, %d lanes wait", n, h.waiters())
	}
	h.turn(30 * time.Second)
	for n := range 5 {
		w.committed(name(fmt.Sprintf("env-%d", n), 1))
	}
	if pushes := g.value(t, "pushes_total"); pushes != 2 {
		t.Errorf("%v pushes, want 2", pushes)
	}
	if n := len(w.all("deployment.waiting")); n != 5 {
		t.Errorf("waits were told %d times", n)
	}
}

func TestAHostThatAsksForFewerRequestsIsLeftAlone(t *testing.T) {
	reset := fmt.Sprint(time.Date(2026, 3, 1, 12, 0, 40, 0, time.UTC).Unix())
	for what, fault := range map[string]gittest.Fault{
		"429 with seconds":               {Status: 429, Header: map[string]string{"Retry-After": "40"}},
		"429 without a word":             {Status: 429},
		"a secondary limit of a host":    {Status: 403, Header: map[string]string{"Retry-After": "40"}},
		"an overloaded host with a date": {Status: 503, Header: map[string]string{"Retry-After": "Sun, 01 Mar 2026 12:00:40 GMT"}},
		"a used up budget of the host":   {Status: 403, Header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}},
	} {
		for _, path := range []string{"info/refs?service=git-upload-pack", "/git-receive-pack"} {
			t.Run(what+" at "+path, func(t *testing.T) {
				t.Parallel()
				fault := fault // each test has a path and a time of its own
				h := newHands()
				if strings.Contains(what, "date") || strings.Contains(what, "used up") {
					h.time = time.Now() // the host's clock is the real one
					until := h.time.Add(40 * time.Second)
					if _, ok := fault.Header["Retry-After"]; ok {
						fault.Header = map[string]string{"Retry-After": until.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
					} else {
						fault.Header = map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(until.Unix())}
					}
				}
				w, host := remote(t, func(w *world) { w.hands = h })
				fault.Path = path
				host.Fail(fault)
				w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
				got := find(w, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{})
				if !strings.Contains(got.GetReason(), "fewer requests") {
					t.Errorf("it waits because %q", got.GetReason())
				}
				// Several attempts of the bus later, the host has heard nothing more.
				host.Requests()
				w.send(w.change("qa", 1, map[string]string{"a.yaml": "a"}))
				find(w, "deployment.waiting", name("qa", 1), &eventsv1.DeploymentWaiting{})
				if all := host.Requests(); len(all) != 0 {
					t.Errorf("the host was asked all the same: %v", all)
				}
				h.turn(41 * time.Second)
				w.committed(name("dev", 1))
				w.committed(name("qa", 1))
			})
		}
	}
}
