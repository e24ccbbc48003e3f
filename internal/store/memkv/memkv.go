// Package memkv is the store in memory: for tests, and wherever losing everything at the end is what is wanted. It keeps the
// contract of store.KV except durability, and its change log grows until Compact is called.
package memkv

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/follow"
)

// DB is a store in memory. Make it with New.
type DB struct {
	grown follow.Signal

	mu        sync.RWMutex
	keys      []string // sorted
	rows      map[string]store.Entry
	log       []store.Change // by revision, those after compacted
	rev       int64
	compacted int64
	closed    bool
}

var (
	_ store.KV        = (*DB)(nil)
	_ store.Compactor = (*DB)(nil)
	_ follow.Log      = (*DB)(nil)
)

// New gives an empty store.
func New() *DB { return &DB{rows: map[string]store.Entry{}} }

// Get implements store.KV.
func (db *DB) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return store.Entry{}, err
	}
	if err := store.ValidateKey(key); err != nil {
		return store.Entry{}, err
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return store.Entry{}, store.Closed()
	}
	e, ok := db.rows[key]
	if !ok {
		return store.Entry{}, store.NotFound(key)
	}
	return e, nil
}

// Scan implements store.KV.
func (db *DB) Scan(ctx context.Context, r store.ScanRange) ([]store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, store.Closed()
	}
	start, end, empty := r.Bounds()
	if empty {
		return nil, nil
	}
	from, _ := slices.BinarySearch(db.keys, start)
	to := len(db.keys)
	if end != "" {
		to, _ = slices.BinarySearch(db.keys, end)
	}
	keys := db.keys[from:max(from, to)]
	n := len(keys)
	if r.Limit > 0 {
		n = min(n, r.Limit)
	}
	out := make([]store.Entry, 0, n)
	for i := range n {
		if r.Reverse {
			i = len(keys) - 1 - i
		}
		out = append(out, db.rows[keys[i]])
	}
	return out, nil
}

// Commit implements store.KV.
func (db *DB) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := tx.Validate(); err != nil {
		return 0, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return 0, store.Closed()
	}
	for _, c := range tx.Conds {
		if !c.Holds(db.rows[c.Key].Rev) {
			return 0, store.Conflict(c)
		}
	}
	rev, before := db.rev+1, len(db.log)
	for _, op := range tx.Ops {
		db.apply(op, rev)
	}
	if len(db.log) > before {
		db.rev = rev
		db.grown.Notify()
	}
	return db.rev, nil
}

func (db *DB) apply(op store.Op, rev int64) {
	_, exists := db.rows[op.Key]
	if op.Delete {
		if !exists {
			return
		}
		delete(db.rows, op.Key)
		if i, found := slices.BinarySearch(db.keys, op.Key); found {
			db.keys = slices.Delete(db.keys, i, i+1)
		}
		db.log = append(db.log, store.Change{Key: op.Key, Deleted: true, Rev: rev})
		return
	}
	value := bytes.Clone(op.Value) // the caller's again after Commit
	db.rows[op.Key] = store.Entry{Key: op.Key, Value: value, Rev: rev}
	if !exists {
		i, _ := slices.BinarySearch(db.keys, op.Key)
		db.keys = slices.Insert(db.keys, i, op.Key)
	}
	db.log = append(db.log, store.Change{Key: op.Key, Value: value, Rev: rev})
}

// Watch implements store.KV.
func (db *DB) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return follow.Watch(ctx, db, prefix, after)
}

// Changed implements follow.Log.
func (db *DB) Changed() <-chan struct{} { return db.grown.Changed() }

// ReadLog implements follow.Log.
func (db *DB) ReadLog(prefix string, after int64) ([]store.Change, int64, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, 0, store.Closed()
	}
	if after < db.compacted || after > db.rev {
		return nil, 0, store.Compacted(after, db.compacted, db.rev)
	}
	var out []store.Change
	for _, c := range db.log[db.position(after):] {
		if strings.HasPrefix(c.Key, prefix) {
			out = append(out, c)
		}
	}
	return out, db.rev, nil
}

// position gives the index of the first change in the log after rev.
func (db *DB) position(rev int64) int {
	i, _ := slices.BinarySearchFunc(db.log, rev+1, func(c store.Change, rev int64) int { return cmp.Compare(c.Rev, rev) })
	return i
}

// Compact implements store.Compactor.
func (db *DB) Compact(ctx context.Context, rev int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.closed:
		return store.Closed()
	case rev > db.rev:
		return store.FutureRev(rev, db.rev)
	case rev <= db.compacted:
		return nil
	}
	db.log = slices.Clone(db.log[db.position(rev):]) // a new array, so that the old changes are freed
	db.compacted = rev
	return nil
}

// Close implements store.KV.
func (db *DB) Close() error {
	db.mu.Lock()
	db.closed = true
	db.mu.Unlock()
	db.grown.Notify()
	return nil
}
