package committer

import (
	"strings"
	"sync"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// errForeign is the answer to a deployment that waits for a decision. Its kind parks the command like an outage does: without an
// end, without counting as a failure, and without holding up other environments.
func errForeign(ev *eventsv1.ForeignCommit) error {
	who := ev.GetAuthor()
	if who == "" {
		who = "somebody"
	}
	what := "changed " + ev.GetPath()
	if ev.GetFoundTree() == "" {
		what = "removed " + ev.GetPath()
	}
	if c := ev.GetForeignCommit(); c != "" {
		what += " in commit " + c[:min(12, len(c))]
	}
	if s := ev.GetSubject(); s != "" {
		what += " (" + s + ")"
	}
	parts := strings.Split(ev.GetEnvironment(), "/")
	env := parts[1] + "/" + parts[3]
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_FOREIGN_CHANGE,
		"%s %s; deployments wait until somebody decides: see tow foreign show %s, then tow foreign overwrite, restore or adopt", who, what, env).
		With("path", ev.GetPath()).With("found_tree", ev.GetFoundTree())
}

func isForeign(err error) bool {
	return errs.ReasonOf(err) == errorsv1.Reason_REASON_FOREIGN_CHANGE
}

// holdings are the requests that wait for a decision, with the answer that they got. As long as the branch is where it was, the
// answer stays the same, and a request that tries again needs neither rendering nor the host.
type holdings struct {
	mu     sync.Mutex
	byLane map[string]map[string]error
}

func (h *holdings) put(lane, key string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byLane == nil {
		h.byLane = map[string]map[string]error{}
	}
	if h.byLane[lane] == nil {
		h.byLane[lane] = map[string]error{}
	}
	h.byLane[lane][key] = err
}

// answer gives what the request was told, nil when it is to be looked at again.
func (h *holdings) answer(lane, key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byLane[lane][key]
}

// release has all requests of a lane looked at again.
func (h *holdings) release(lane string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.byLane, lane)
}

// hold ends a task that waits for a decision; the bus brings it again.
func (l *lane) hold(t *task, err error) {
	l.svc.holdings.put(l.key, t.key(), err)
	t.fail(err)
}
