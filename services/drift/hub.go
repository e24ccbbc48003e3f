package drift

import (
	"sync"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// hub hands changes of findings to those who watch. A watcher that falls too far behind is let go and has to watch again, which
// gives it what is open then.
type hub struct {
	mu       sync.Mutex
	watchers map[chan change]struct{}
}

// change is one finding of one environment, new, changed or resolved.
type change struct {
	env     string
	finding *driftv1.Finding
}

const watcherBuffer = 1024

func newHub() *hub { return &hub{watchers: map[chan change]struct{}{}} }

func (h *hub) publish(env string, f *driftv1.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- change{env, f}:
		default:
			delete(h.watchers, w)
			close(w)
		}
	}
}

// watch gives a channel of changes; it is closed when the watcher was too slow. stop ends it.
func (h *hub) watch() (changes <-chan change, stop func()) {
	w := make(chan change, watcherBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}
