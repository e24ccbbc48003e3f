package etcdkv

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/store"
)

// Get implements store.KV.
func (db *DB) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.ValidateKey(key); err != nil {
		return store.Entry{}, err
	}
	return db.batched(ctx, key)
}

// get is one call to etcd.
func (db *DB) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	call, end, err := db.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	resp, err := db.client.Get(call, key, opts...)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	return resp, nil
}

func (db *DB) entry(kv *mvccpb.KeyValue) store.Entry {
	return store.Entry{Key: string(kv.GetKey()[len(db.rows):]), Value: kv.GetValue(), Rev: kv.GetModRevision() + db.meta.Offset}
}

func (db *DB) entries(kvs []*mvccpb.KeyValue) []store.Entry {
	out := make([]store.Entry, 0, len(kvs))
	for _, kv := range kvs {
		out = append(out, db.entry(kv))
	}
	return out
}

// Scan implements store.KV.
func (db *DB) Scan(ctx context.Context, r store.ScanRange) ([]store.Entry, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	start, end, empty := r.Bounds()
	if empty {
		return nil, db.check(ctx)
	}
	start, end = db.rows+start, db.bound(end)
	if r.Reverse {
		return db.backwards(ctx, r, start, end)
	}
	resp, err := db.get(ctx, start, clientv3.WithRange(end), clientv3.WithLimit(int64(r.Limit)))
	if err != nil {
		return nil, err
	}
	return db.entries(resp.Kvs), nil
}

// bound gives the end of a range of rows; "" is the end of all rows.
func (db *DB) bound(end string) string {
	if end == "" {
		return store.PrefixEnd(db.rows)
	}
	return db.rows + end
}

// check gives the error that any call would have now, where there is nothing to ask etcd.
func (db *DB) check(ctx context.Context) error {
	_, end, err := db.begin(ctx)
	if err == nil {
		end()
	}
	return err
}

// current gives the store's revision.
func (db *DB) current(ctx context.Context) (int64, error) {
	resp, err := db.get(ctx, db.metaKey(), clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision + db.meta.Offset, nil
}
