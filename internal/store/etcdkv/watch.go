package etcdkv

import (
	"context"
	"errors"
	"iter"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

const (
	// slowAfter is how long a consumer may take for what came at once. After that the watch is dropped, so that what comes
	// meanwhile is not gathered in this process, and taken up again from the log.
	slowAfter = 2 * time.Second
	// The pause before a watch that broke is taken up again grows between these.
	minPause, maxPause = 20 * time.Millisecond, 2 * time.Second
)

// errLeft tells that the consumer has left the sequence.
var errLeft = errors.New("the consumer left")

// Watch implements store.KV. An outage of etcd ends nothing: the watch goes on from the last change that was given.
func (db *DB) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		w := watcher{db: db, prefix: prefix, pos: max(after, 0), yield: yield}
		if err := w.run(ctx); !errors.Is(err, errLeft) {
			yield(store.Change{}, err)
		}
	}
}

type watcher struct {
	db     *DB
	prefix string
	pos    int64 // every change up to this revision was given
	yield  func(store.Change, error) bool
}

// run follows until there is an error to end with. A stream that breaks is taken up again.
func (w *watcher) run(ctx context.Context) error {
	pause := minPause
	for {
		before := w.pos
		err := w.once(ctx)
		switch {
		case ctx.Err() != nil && !errors.Is(err, errLeft):
			return ctx.Err()
		case err == nil:
			pause = minPause
			continue
		case !errs.Is(err, errs.Unavailable) || errors.Is(err, store.ErrClosed):
			return err
		}
		if w.pos > before {
			pause = minPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-w.db.closing:
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, maxPause)
	}
}

// once follows one stream. nil means that it was dropped because the consumer was slow; errs.Unavailable that it broke.
func (w *watcher) once(ctx context.Context) error {
	db := w.db
	now, err := db.current(ctx)
	if err != nil {
		return err
	}
	if w.pos > now || w.pos < db.meta.Offset {
		return store.Compacted(w.pos, db.meta.Offset, now)
	}
	stream, drop := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer drop()
	defer closeWith(db.closing, drop)()
	// From the revision itself and not the one after it: etcd then says whether its log still has all that came after it.
	from := max(w.pos-db.meta.Offset, 1)
	responses := db.client.Watch(stream, db.rows+w.prefix, clientv3.WithRange(db.bound(store.PrefixEnd(w.prefix))),
		clientv3.WithRev(from), clientv3.WithFragment(), clientv3.WithProgressNotify())
	for resp := range responses {
		switch err := resp.Err(); {
		case resp.CompactRevision > 0 || is(err, rpctypes.ErrGRPCCompacted):
			return store.Compacted(w.pos, resp.CompactRevision+db.meta.Offset, now)
		case err != nil:
			return db.broken(ctx, err)
		}
		slow, err := w.give(ctx, resp, drop)
		if err != nil || slow {
			return err
		}
	}
	return db.broken(ctx, context.Canceled)
}

// give hands out a response's changes. All of a revision are in one response.
func (w *watcher) give(ctx context.Context, resp clientv3.WatchResponse, drop func()) (slow bool, err error) {
	timer := time.AfterFunc(slowAfter, drop)
	defer func() { slow = !timer.Stop() }()
	last := w.pos
	for _, e := range resp.Events {
		rev := e.Kv.GetModRevision() + w.db.meta.Offset
		if rev <= w.pos {
			continue
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if w.db.isClosed() {
			return false, store.Closed()
		}
		c := store.Change{Key: string(e.Kv.GetKey()[len(w.db.rows):]), Rev: rev}
		if c.Deleted = e.Type == clientv3.EventTypeDelete; !c.Deleted {
			c.Value = e.Kv.GetValue()
		}
		if !w.yield(c, nil) {
			return false, errLeft
		}
		last = rev
	}
	if w.pos = last; resp.IsProgressNotify() {
		w.pos = max(w.pos, resp.Header.GetRevision()+w.db.meta.Offset)
	}
	return false, nil
}

// broken gives why a stream ended: the caller, Close, or else an outage.
func (db *DB) broken(ctx context.Context, err error) error {
	if failed := db.fail(ctx, err); ctx.Err() != nil || errors.Is(failed, store.ErrClosed) {
		return failed
	}
	db.cfg.Logger.Debug("a watch broke; it is taken up again", "error", err)
	return unreachable(db.cfg.Endpoints, err)
}

// closeWith calls f when ch is closed, until the result is called.
func closeWith(ch <-chan struct{}, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			f()
		case <-done:
		}
	}()
	return func() { close(done) }
}
