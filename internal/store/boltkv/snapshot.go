package boltkv

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/towpath-dev/towpath/internal/store"
)

var _ store.Snapshotter = (*DB)(nil)

// Snapshot implements store.Snapshotter by one read transaction. While it lasts, the file's old pages are not used again, so that
// the file grows by what is written meanwhile.
func (db *DB) Snapshot(ctx context.Context, put func(store.Entry) error) (rev int64, err error) {
	err = db.view(ctx, func(tx *bolt.Tx) error {
		rev = getInt(tx.Bucket(bucketMeta), metaRevision)
		n := 0
		for k, row := range rows(tx.Bucket(bucketRows).Cursor(), store.ScanRange{}) {
			if n++; n%ctxEvery == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			e, err := decodeRow(k, row)
			if err == nil {
				err = put(e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return rev, err
}
