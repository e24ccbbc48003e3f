package boltkv

import (
	"context"
	"iter"

	bolt "go.etcd.io/bbolt"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/follow"
)

// Get implements store.KV.
func (db *DB) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.ValidateKey(key); err != nil {
		return store.Entry{}, err
	}
	var e store.Entry
	err := db.view(ctx, func(tx *bolt.Tx) (err error) {
		row := tx.Bucket(bucketRows).Get([]byte(key))
		if row == nil {
			return store.NotFound(key)
		}
		e, err = decodeRow([]byte(key), row)
		return err
	})
	return e, err
}

// ctxEvery is after how many rows a scan looks whether its caller is still there.
const ctxEvery = 256

// Scan implements store.KV.
func (db *DB) Scan(ctx context.Context, r store.ScanRange) ([]store.Entry, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	var out []store.Entry
	err := db.view(ctx, func(tx *bolt.Tx) error {
		for k, row := range rows(tx.Bucket(bucketRows).Cursor(), r) {
			if len(out)%ctxEvery == ctxEvery-1 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			e, err := decodeRow(k, row)
			if err != nil {
				return err
			}
			out = append(out, e)
			if len(out) == r.Limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// rows walks the range in its direction.
func rows(c *bolt.Cursor, r store.ScanRange) iter.Seq2[[]byte, []byte] {
	start, end, empty := r.Bounds()
	return func(yield func(k, row []byte) bool) {
		if empty {
			return
		}
		k, row, next := firstOf(c, start, end, r.Reverse)
		for k != nil && string(k) >= start && (end == "" || string(k) < end) {
			if !yield(k, row) {
				return
			}
			k, row = next()
		}
	}
}

// firstOf moves to the first row of start <= key < end in the direction, or to one outside when there is none.
func firstOf(c *bolt.Cursor, start, end string, reverse bool) (k, row []byte, next func() (k, row []byte)) {
	if !reverse {
		k, row = c.Seek([]byte(start))
		return k, row, c.Next
	}
	if end == "" {
		k, row = c.Last()
		return k, row, c.Prev
	}
	if k, _ = c.Seek([]byte(end)); k == nil {
		k, row = c.Last() // Seek has run off the end
	} else {
		k, row = c.Prev()
	}
	return k, row, c.Prev
}

// Watch implements store.KV.
func (db *DB) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return follow.Watch(ctx, db, prefix, after)
}

// Changed implements follow.Log.
func (db *DB) Changed() <-chan struct{} { return db.grown.Changed() }

// How much of the log a watcher reads in one bolt transaction: an open transaction keeps pages from being used again, so
// it must be short, and a watcher must not hold much memory.
const (
	readLogChanges = 1024
	readLogBytes   = 1 << 20
)

// ReadLog implements follow.Log.
func (db *DB) ReadLog(prefix string, after int64) (out []store.Change, next int64, err error) {
	err = db.view(context.Background(), func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		last, compacted := getInt(meta, metaRevision), getInt(meta, metaCompacted)
		if after < compacted || after > last {
			return store.Compacted(after, compacted, last)
		}
		out, next, err = readLog(tx.Bucket(bucketLog).Cursor(), []byte(prefix), after, last)
		return err
	})
	return out, next, err
}

// readLog reads whole transactions until it has read enough; next is the revision of the last one, or last at the end.
func readLog(c *bolt.Cursor, prefix []byte, after, last int64) (out []store.Change, next int64, err error) {
	next = after
	seen, size := 0, 0
	for k, v := c.Seek(logKey(after+1, 0)); k != nil; k, v = c.Next() {
		rev := revOfLogKey(k)
		if rev != next && (seen >= readLogChanges || size >= readLogBytes) {
			return out, next, nil
		}
		next = rev
		change, match, err := decodeChange(k, v, prefix)
		if err != nil {
			return nil, 0, err
		}
		seen++
		if match {
			size += len(change.Value)
			out = append(out, change)
		}
	}
	return out, last, nil
}
