package boltkv

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/towpath-dev/towpath/internal/store"
)

// How much goes into one bolt transaction: enough that many writers share the wait for the disk, bounded so that none
// waits long for the others.
const (
	batchTxs   = 1024
	batchBytes = 2 * store.MaxTxBytes
)

// request is one Commit on its way through the writer. rev and err are set before done is closed.
type request struct {
	tx   store.Tx
	size int
	done chan struct{}
	rev  int64
	err  error
}

func (r *request) finish(rev int64, err error) {
	r.rev, r.err = rev, err
	close(r.done)
}

// queue holds the requests that the writer has not taken yet.
type queue struct {
	wake chan struct{} // one token: there may be something

	mu      sync.Mutex
	waiting []*request
	ended   error
}

// put adds a request, or gives the error with which the store ended.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		return q.ended
	}
	q.waiting = append(q.waiting, r)
	q.signal()
	return nil
}

// signal wakes the writer; the token stays when it is busy.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a request back; false when the writer has it already.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take gives what goes into the next bolt transaction, at least one request unless nothing waits. It wakes the writer again
// for what is left.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < batchTxs {
		if size += q.waiting[n].size; n > 0 && size > batchBytes {
			break
		}
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	if len(q.waiting) > 0 {
		q.signal()
	}
	return batch
}

// close refuses new requests and fails the waiting ones.
func (q *queue) close(err error) {
	q.mu.Lock()
	waiting := q.waiting
	q.waiting, q.ended = nil, err
	q.mu.Unlock()
	for _, r := range waiting {
		r.finish(0, err)
	}
}

// Commit implements store.KV. When ctx ends before the writer has taken the transaction, nothing is written. Afterwards Commit
// waits for the outcome: it is a matter of one write to the disk, and the values are in use until then.
func (db *DB) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Validate(); err != nil {
		return 0, err
	}
	if len(tx.Ops) == 0 {
		return db.check(ctx, tx.Conds)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{tx: tx, done: make(chan struct{})}
	for _, op := range tx.Ops {
		r.size += len(op.Key) + len(op.Value)
	}
	if err := db.queue.put(r); err != nil {
		return 0, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if db.queue.withdraw(r) {
			return 0, ctx.Err()
		}
		<-r.done
	}
	return r.rev, r.err
}

// check is a transaction without operations: it needs no write.
func (db *DB) check(ctx context.Context, conds []store.Cond) (rev int64, err error) {
	err = db.view(ctx, func(tx *bolt.Tx) error {
		rev = getInt(tx.Bucket(bucketMeta), metaRevision)
		return holds(tx.Bucket(bucketRows), conds)
	})
	if err != nil {
		return 0, err
	}
	return rev, nil
}

func holds(rows *bolt.Bucket, conds []store.Cond) error {
	for _, c := range conds {
		if !c.Holds(rowRev(rows.Get([]byte(c.Key)))) {
			return store.Conflict(c)
		}
	}
	return nil
}

// runWriter is the one goroutine that commits, until Close.
func (db *DB) runWriter() {
	for {
		select {
		case <-db.stop:
			return
		case <-db.queue.wake:
			db.write()
		}
	}
}

// result is the outcome of one request of a batch, valid once the batch is on the disk.
type result struct {
	rev int64
	err error
}

// write commits what waits and answers everybody. It takes the batch only when bolt lets it write: whoever comes until then,
// while a compaction writes, shares the wait for the disk or can still withdraw.
func (db *DB) write() {
	tx, err := db.bolt.Begin(true)
	batch := db.queue.take()
	var (
		results []result
		changed bool
	)
	if err == nil {
		results, changed, err = db.writeBatch(tx, batch)
	} else {
		err = unavailable(err, "the data file cannot be written")
	}
	for i, r := range batch {
		if err != nil {
			r.finish(0, err) // a conflict may have been with something of this batch that is not there now
			continue
		}
		r.finish(results[i].rev, results[i].err)
	}
	if changed && err == nil {
		db.grown.Notify()
	}
}

// writeBatch does all transactions of the batch, each for itself all or nothing, in one bolt transaction, which it ends.
func (db *DB) writeBatch(tx *bolt.Tx, batch []*request) (results []result, changed bool, err error) {
	// After Commit it does nothing; otherwise nothing was changed and its error says no more than ours.
	defer func() { _ = tx.Rollback() }()

	meta := tx.Bucket(bucketMeta)
	first := getInt(meta, metaRevision)
	w := &writer{rows: tx.Bucket(bucketRows), log: tx.Bucket(bucketLog), rev: first, at: time.Now()}
	w.log.FillPercent = 1 // keys only grow: leave no room for what never comes
	results = make([]result, len(batch))
	for i, r := range batch {
		if results[i].err = holds(w.rows, r.tx.Conds); results[i].err != nil {
			continue
		}
		if err := w.apply(r.tx.Ops); err != nil {
			return nil, false, unavailable(err, "the data file cannot be written")
		}
		results[i].rev = w.rev
	}
	if w.rev == first {
		return results, false, nil
	}
	if err := putInt(meta, metaRevision, w.rev); err != nil {
		return nil, false, unavailable(err, "the data file cannot be written")
	}
	if err := tx.Commit(); err != nil {
		return nil, false, db.commitFailed(err)
	}
	return results, true, nil
}

// commitFailed decides what a failed commit means. A full disk is found before the commit takes effect and passes. After any
// other error what is on the disk is not known, and the kernel may have dropped pages that it could not write: going on could
// acknowledge changes that stand on lost ones. So the store ends and a restart reads what is really there.
func (db *DB) commitFailed(err error) error {
	var path *fs.PathError
	full := errors.As(err, &path) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
	if full || errors.Is(err, berrors.ErrMaxSizeReached) {
		return unavailable(err, "the disk of the data folder is full; free some space")
	}
	failed := unavailable(err, "the data file failed; see to the disk and restart towpathd")
	db.cfg.Logger.Error("the store stops: a write to the data file failed", "path", db.cfg.Path, "error", err)
	db.end(failed)
	return failed
}

// writer applies transactions inside one bolt transaction.
type writer struct {
	rows, log *bolt.Bucket
	rev       int64 // of the last transaction that changed something
	at        time.Time
}

// apply does the operations under a new revision, which is not used up when they change nothing.
func (w *writer) apply(ops []store.Op) error {
	rev := w.rev + 1
	for i, op := range ops {
		key := []byte(op.Key)
		if op.Delete && w.rows.Get(key) == nil {
			continue
		}
		change, row := encodeChange(op, rev, w.at)
		if err := w.log.Put(logKey(rev, uint32(i)), change); err != nil {
			return err
		}
		var err error
		if op.Delete {
			err = w.rows.Delete(key)
		} else {
			err = w.rows.Put(key, row)
		}
		if err != nil {
			return err
		}
		w.rev = rev
	}
	return nil
}
