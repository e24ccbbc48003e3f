package etcdkv

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/store"
)

// tops remembers the greatest key of lists that were read from their end.
type tops struct {
	mu   sync.Mutex
	keys map[string]string
}

func (db *DB) backwards(ctx context.Context, r store.ScanRange, start, end string) ([]store.Entry, error) {
	resp, err := db.get(ctx, start, clientv3.WithRange(end), clientv3.WithLimit(int64(r.Limit)), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return nil, err
	}
	return db.entries(resp.Kvs), nil
}
