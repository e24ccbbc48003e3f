package git

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// denialPauses are the waits before a denied push is sent again while the branch has not moved: a host may deny because
// another writer holds the reference's lock at that moment, and says so only in words.
var denialPauses = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond}

// rereadTimeout bounds the look at the branch after a push whose answer was lost; the push's own deadline may be over.
const rereadTimeout = 10 * time.Second

// Push sends the objects and the reference update in one request. See outcome for what its answers mean.
func (m *mirror) Push(ctx context.Context, branch string, old, new Hash, objs *ObjectSet) error {
	if err := ValidateBranch(branch); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	caps, err := m.pushCaps(ctx)
	if err != nil {
		return m.notSent(branch, err)
	}
	p, err := encodePack(objs, !caps.noThin)
	if err != nil {
		return fmt.Errorf("encode the pack: %w", err)
	}
	if size := int64(len(p.data)); size > m.limit {
		return tooLarge(size, m.limit)
	}
	if m.hooks.PackSent != nil {
		m.hooks.PackSent()
	}
	if err := m.pushUntilClear(ctx, branch, old, new, p.data); err != nil {
		return err
	}
	if m.hooks.RefMoved != nil {
		m.hooks.RefMoved()
	}
	m.remember(ctx, branch, new, objs, p)
	return nil
}

type pushCaps struct{ noThin bool }

func (m *mirror) pushCaps(ctx context.Context) (pushCaps, error) {
	ctx, cancel := m.session(ctx)
	defer cancel()
	caps, err := m.client.receiveCaps(ctx)
	if err != nil {
		return pushCaps{}, err
	}
	return pushCaps{noThin: caps.Supports("no-thin")}, nil
}

func (m *mirror) pushUntilClear(ctx context.Context, branch string, old, new Hash, pack []byte) error {
	for attempt := 0; ; attempt++ {
		v := m.pushOnce(ctx, branch, old, new, pack)
		err := m.outcome(ctx, branch, old, new, v)
		var no *Refused
		again := v.denied && v.unpacked && errors.As(err, &no) && attempt < len(denialPauses)
		if !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(denialPauses[attempt]):
		}
	}
}

func (m *mirror) pushOnce(ctx context.Context, branch string, old, new Hash, pack []byte) verdict {
	ctx, cancel := m.session(ctx)
	defer cancel()
	return m.client.push(ctx, branchPrefix+branch, old, new, pack)
}

// outcome decides what became of a push. Only three things are taken as they are: the host's "ok", a request that never left,
// and a status by which the host says that it did not look at the push at all. Everything else is decided by where the
// branch is now:
//
//	denied, or a failure inside the host | at new: it happened | at old: refused, or unavailable | elsewhere: moved
//	no answer                            | at new: it happened | at old or elsewhere: unknown
//
// "At old" without an answer stays unknown, because the host may still be working on it; "elsewhere" too, because somebody may
// have pushed on top of ours.
func (m *mirror) outcome(ctx context.Context, branch string, old, new Hash, v verdict) error {
	if v.accepted {
		return nil
	}
	if !v.sent || notLookedAt(v.status) {
		return m.notSent(branch, v.err)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return unknown(branch, v.err) // the caller does not want to wait for a look at the branch
	}
	tip, err := m.reread(ctx, branch)
	switch {
	case err == nil && tip == new:
		return nil
	case v.denied && err != nil:
		return hostError(err)
	case v.denied && tip != old:
		return moved(branch, old, tip)
	case v.denied:
		return refused(branch, &Refused{Words: v.words})
	case err == nil && tip == old && (v.status == http.StatusInternalServerError || v.status == http.StatusServiceUnavailable):
		return unavailable(v.err, "the Git host failed on the push to branch %s; it did not happen", branch)
	default:
		return unknown(branch, errors.Join(v.err, err))
	}
}

// notLookedAt are the answers of a host that refused the request before it read the push.
func notLookedAt(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge,
		http.StatusTooManyRequests, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType,
		http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// notSent maps a push that certainly did not happen.
func (m *mirror) notSent(branch string, err error) error {
	var status *statusError
	var no *sshRefusal
	if errors.As(err, &no) {
		return refused(branch, &Refused{Words: no.words, Status: http.StatusForbidden})
	}
	if !errors.As(err, &status) {
		return hostError(err)
	}
	switch {
	case status.status == http.StatusRequestEntityTooLarge:
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE,
			"the Git host finds the push to branch %s too large; split it", branch).Because(err)
	case status.status == http.StatusTooManyRequests:
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the Git host asks for fewer pushes").With("retry_after", status.retry).Because(err)
	case status.status >= 500:
		return unavailable(err, "the Git host failed before the push to branch %s", branch)
	default:
		return refused(branch, &Refused{Words: status.words, Status: status.status})
	}
}

func (m *mirror) reread(ctx context.Context, branch string) (Hash, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(rereadTimeout, m.timeout))
	defer cancel()
	return m.client.tip(ctx, branch)
}

// remember puts what was pushed into the mirror, so that the next commit is built without a fetch. When that fails, the next
// read fetches it.
func (m *mirror) remember(ctx context.Context, branch string, tip Hash, objs *ObjectSet, p packed) {
	var err error
	if p.thin {
		p, err = encodePack(objs, false)
	}
	if err == nil && objs.Len() > 0 {
		if m.store().packCount() == 0 {
			err = m.addShallows(nil)
		}
		if err == nil {
			err = m.store().install(p.data, p.entries, p.sum)
		}
	}
	if err == nil {
		err = m.tidy(context.WithoutCancel(ctx))
	}
	if err != nil {
		m.log.Warn("a push could not be put into the mirror", "repository", m.client.base, "error", err)
		return
	}
	m.tips[branch] = tip
}
