package memkv

import (
	"context"

	"github.com/towpath-dev/towpath/internal/store"
)

var _ store.Snapshotter = (*DB)(nil)

// Snapshot implements store.Snapshotter.
func (db *DB) Snapshot(ctx context.Context, put func(store.Entry) error) (int64, error) {
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return 0, store.Closed()
	}
	rows := make([]store.Entry, len(db.keys))
	for i, key := range db.keys {
		rows[i] = db.rows[key] // values are never written again
	}
	rev := db.rev
	db.mu.RUnlock()
	for _, e := range rows {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := put(e); err != nil {
			return 0, err
		}
	}
	return rev, nil
}
