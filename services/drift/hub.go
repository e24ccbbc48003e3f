package drift

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// hub tells watchers of findings. It remembers the last changes, so that a watch that broke off can go on where it was.
type hub struct {
	mu       sync.Mutex
	watchers map[chan change]struct{}
	// id tells this process's tokens from those of another: what happened before it started, it does not know.
	id string
	// seq is the number of the last change; recent has the last ones, the oldest first.
	seq    int64
	recent []change
}

// change is one finding of one environment, new, changed or resolved.
type change struct {
	env     string
	finding *driftv1.Finding
	seq     int64
}

const (
	watcherBuffer = 1024
	// maxRecent is how many changes a watch can have missed and still go on.
	maxRecent = 4096
)

func newHub() *hub { return &hub{watchers: map[chan change]struct{}{}, id: rand.Text()[:10]} }

func (h *hub) publish(env string, f *driftv1.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	c := change{env, f, h.seq}
	if len(h.recent) == 2*maxRecent { // moved seldom, as each move copies
		h.recent = append(h.recent[:0], h.recent[maxRecent:]...)
	}
	h.recent = append(h.recent, c)
	for w := range h.watchers {
		select {
		case w <- c:
		default:
			delete(h.watchers, w)
			close(w)
		}
	}
}

// watch gives a channel of changes; it is closed when the watcher was too slow. missed are those behind the token's place, and
// token is the place of now. stop ends it.
func (h *hub) watch(resume string) (missed []change, token string, changes <-chan change, stop func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if resume != "" {
		if missed, err = h.since(resume); err != nil {
			return nil, "", nil, nil, err
		}
	}
	w := make(chan change, watcherBuffer)
	h.watchers[w] = struct{}{}
	return missed, h.token(h.seq), w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}, nil
}

func (h *hub) token(seq int64) string { return h.id + "-" + strconv.FormatInt(seq, 36) }

// since gives the changes behind a token's place.
func (h *hub) since(token string) ([]change, error) {
	id, number, ok := strings.Cut(token, "-")
	seq, err := strconv.ParseInt(number, 36, 64)
	if !ok || err != nil || seq < 0 || id+"-"+strconv.FormatInt(seq, 36) != token {
		return nil, errs.InvalidField("resume_token", "was not given by this list; leave it out to begin with all that is open")
	}
	oldest := h.seq - int64(len(h.recent))
	if id != h.id || seq < oldest || seq > h.seq {
		return nil, errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED,
			"what has changed since then is no longer known; leave resume_token out to begin with all that is open")
	}
	return h.recent[seq-oldest:][: h.seq-seq : h.seq-seq], nil
}
