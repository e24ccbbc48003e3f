package boltkv

import (
	"bytes"
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/towpath-dev/towpath/internal/store"
)

// compactBatch is how many changes one bolt transaction removes: few, because writers wait for it.
const compactBatch = 1000

// Compact implements store.Compactor.
func (db *DB) Compact(ctx context.Context, rev int64) error {
	done := false
	err := db.view(ctx, func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if last := getInt(meta, metaRevision); rev > last {
			return store.FutureRev(rev, last)
		}
		done = rev <= getInt(meta, metaCompacted)
		return nil
	})
	if err != nil || done {
		return err
	}
	// Every revision has a change, so what trim records in the end is rev itself.
	return db.trim(ctx, func(r int64, _ time.Time) bool { return r <= rev })
}

// runCompactor applies the retention until Close.
func (db *DB) runCompactor() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(db.cfg.CompactEvery)
	defer tick.Stop()
	for {
		select {
		case <-db.stop:
			return
		case <-tick.C:
		}
		if err := db.retain(ctx, time.Now()); err != nil && !errors.Is(err, store.ErrClosed) {
			db.cfg.Logger.Warn("the change log was not compacted; tried again later", "path", db.cfg.Path, "error", err)
		}
	}
}

// retain removes what the configuration does not ask to keep.
func (db *DB) retain(ctx context.Context, now time.Time) error {
	var last int64
	err := db.view(ctx, func(tx *bolt.Tx) error { last = getInt(tx.Bucket(bucketMeta), metaRevision); return nil })
	if err != nil {
		return err
	}
	return db.trim(ctx, func(rev int64, at time.Time) bool {
		return db.cfg.RetainRevisions > 0 && rev <= last-db.cfg.RetainRevisions ||
			db.cfg.RetainAge > 0 && now.Sub(at) > db.cfg.RetainAge
	})
}

// trim removes changes from the start of the log while old says so, in several bolt transactions. Each records how far it
// came, so that a watcher never reads a transaction of which a part was removed.
func (db *DB) trim(ctx context.Context, old func(rev int64, at time.Time) bool) error {
	for {
		idle := true
		err := db.view(ctx, func(tx *bolt.Tx) error {
			k, v := tx.Bucket(bucketLog).Cursor().First()
			idle = k == nil || !old(revOfLogKey(k), changeTime(v))
			return nil
		})
		if err != nil || idle { // do not write, and wait for the disk, for nothing
			return err
		}
		if err := db.update(func(tx *bolt.Tx) error { return trimSome(tx, old) }); err != nil {
			return err
		}
	}
}

func trimSome(tx *bolt.Tx, old func(rev int64, at time.Time) bool) error {
	log, meta := tx.Bucket(bucketLog), tx.Bucket(bucketMeta)
	keys := make([][]byte, 0, compactBatch) // removing while walking would confuse the cursor
	c := log.Cursor()
	for k, v := c.First(); k != nil && len(keys) < compactBatch && old(revOfLogKey(k), changeTime(v)); k, v = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	last := revOfLogKey(keys[len(keys)-1])
	return putInt(meta, metaCompacted, max(last, getInt(meta, metaCompacted)))
}

// update runs fn in a bolt transaction of its own, beside the writer's.
func (db *DB) update(fn func(tx *bolt.Tx) error) error {
	if err := db.Err(); err != nil {
		return err
	}
	tx, err := db.bolt.Begin(true)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) { // Close came in between
		return store.Closed()
	}
	if err != nil {
		return unavailable(err, "the data file cannot be written")
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := fn(tx); err != nil {
		return unavailable(err, "the data file cannot be written")
	}
	if err := tx.Commit(); err != nil {
		return db.commitFailed(err)
	}
	return nil
}
