package committer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// maxViews bounds the repositories open for reading; one that nobody reads is closed for another.
const maxViews = 64

type opener func(ctx context.Context, ref *committerv1.RepositoryRef, purpose string, hooks git.Hooks) (git.Remote, error)

// views are the repositories as the read RPCs see them. They are separate from the lanes', so that a read never waits for a
// push.
type views struct {
	open   opener
	maxAge time.Duration

	mu     sync.Mutex
	byKey  map[string]*view
	closed bool
}

// view is one repository. Objects may be read by many at a time; fetching is one at a time.
type view struct {
	key string
	// turn holds one token for whoever opens or fetches.
	turn   chan struct{}
	remote git.Remote

	// These belong to views.mu.
	users int
	used  time.Time
	heads map[string]head
}

// head is what is known of a branch.
type head struct {
	tip git.Hash
	// asked is when the fetch that found it began; zero when nothing is known.
	asked time.Time
	// moves counts the times the branch is known to have moved; a fetch that saw one end meanwhile proves nothing.
	moves int
}

func newViews(open opener, maxAge time.Duration) *views {
	return &views{open: open, maxAge: maxAge, byKey: map[string]*view{}}
}

// acquire gives the repository, opened. The caller calls release when it no longer reads.
func (vs *views) acquire(ctx context.Context, ref *committerv1.RepositoryRef) (*view, func(), error) {
	v := vs.enter(ref)
	release := func() { vs.leave(v) }
	if v == nil {
		return nil, nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the committer is ending; ask again")
	}
	if err := v.take(ctx); err != nil {
		release()
		return nil, nil, err
	}
	defer v.give()
	if v.remote == nil {
		remote, err := vs.open(ctx, ref, "readers", git.Hooks{})
		if err != nil {
			release()
			return nil, nil, err
		}
		v.remote = remote
	}
	return v, release, nil
}

func (vs *views) enter(ref *committerv1.RepositoryRef) *view {
	// Credentials are part of the key: whoever reads with others must be asked for them.
	key := repositoryKey(ref.GetUrl()) + "\n" + ref.GetCredentials()
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.closed {
		return nil
	}
	v := vs.byKey[key]
	if v == nil {
		vs.evict()
		v = &view{key: key, turn: make(chan struct{}, 1), heads: map[string]head{}}
		vs.byKey[key] = v
	}
	v.users++
	v.used = time.Now()
	return v
}

// evict closes the repository that was not read for the longest time, when there are many. The caller holds mu.
func (vs *views) evict() {
	if len(vs.byKey) < maxViews {
		return
	}
	var oldest *view
	for _, v := range vs.byKey {
		if v.users == 0 && (oldest == nil || v.used.Before(oldest.used)) {
			oldest = v
		}
	}
	if oldest != nil {
		delete(vs.byKey, oldest.key)
		oldest.close()
	}
}

func (vs *views) leave(v *view) {
	if v == nil {
		return
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.users--
	if v.users == 0 && vs.closed {
		v.close()
	}
}

// close ends all views; those in use when their last user leaves.
func (vs *views) close() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.closed = true
	for _, v := range vs.byKey {
		if v.users == 0 {
			v.close()
		}
	}
	clear(vs.byKey)
}

// moved tells that a branch is not where it was, so that the next read asks for it.
func (vs *views) moved(ref *committerv1.RepositoryRef) {
	url := repositoryKey(ref.GetUrl()) + "\n"
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for key, v := range vs.byKey {
		if strings.HasPrefix(key, url) {
			v.heads[ref.GetBranch()] = head{moves: v.heads[ref.GetBranch()].moves + 1}
		}
	}
}

// tip gives the branch's tip, not older than maxAge, and never older than the last move that was told of.
func (vs *views) tip(ctx context.Context, v *view, branch string) (git.Hash, error) {
	return vs.fetch(ctx, v, branch, time.Now().Add(-vs.maxAge))
}

// fetch gives the branch's tip as it was at the time `since` or later. Callers that wait for each other share one fetch.
func (vs *views) fetch(ctx context.Context, v *view, branch string, since time.Time) (git.Hash, error) {
	known := func() (head, bool) {
		vs.mu.Lock()
		defer vs.mu.Unlock()
		h := v.heads[branch]
		return h, !h.asked.IsZero() && h.asked.After(since)
	}
	if h, ok := known(); ok {
		return h.tip, nil
	}
	if err := v.take(ctx); err != nil {
		return git.ZeroHash, err
	}
	defer v.give()
	before, ok := known()
	if ok {
		return before.tip, nil
	}
	asked := time.Now()
	tip, err := v.remote.Fetch(ctx, branch)
	if err != nil {
		return git.ZeroHash, err
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v.heads[branch].moves == before.moves {
		v.heads[branch] = head{tip: tip, asked: asked, moves: before.moves}
	}
	return tip, nil
}

func (v *view) take(ctx context.Context) error {
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.Join(errs.New(errs.KindOf(ctx.Err()), errorsv1.Reason_REASON_TIMEOUT, "the repository did not answer in time"), ctx.Err())
	}
}

func (v *view) give() { <-v.turn }

func (v *view) close() {
	if v.remote != nil {
		_ = v.remote.Close() // nothing was written through it
	}
}
