package etcdkv

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// OpenImport opens a prefix that nobody has used, to be filled from another engine whose last revision is `after`: all
// revisions here are greater. Until FinishImport no Open succeeds, so that nobody works on a part. What an earlier import
// left that did not finish is removed first. A prefix that is in use is errs.Precondition.
func OpenImport(ctx context.Context, cfg Config, after int64) (*DB, error) {
	db, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	if err := db.prepareImport(ctx, after); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) prepareImport(ctx context.Context, after int64) error {
	if err := db.probe(ctx); err != nil {
		return err
	}
	m, found, err := db.readMeta(ctx)
	if err != nil {
		return err
	}
	rows, err := db.get(ctx, db.rows, clientv3.WithRange(db.bound("")), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	if ours := found && m.Importing; !ours && len(rows.Kvs) > 0 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_ALREADY_EXISTS,
			"the store %q is in use already; name another prefix, or stop what uses it and `etcdctl del --prefix %s`", db.cfg.Prefix, db.root)
	}
	db.meta = meta{Layout: layout, Offset: after, Importing: true}
	if err := db.writeMeta(ctx, db.meta); err != nil {
		return err
	}
	return db.wipe(ctx)
}

// wipePage keeps a removal small enough for etcd's other users.
const wipePage = 1000

func (db *DB) wipe(ctx context.Context) error {
	for {
		page, err := db.get(ctx, db.rows, clientv3.WithRange(db.bound("")), clientv3.WithLimit(wipePage), clientv3.WithKeysOnly())
		if err != nil || len(page.Kvs) == 0 {
			return err
		}
		if err := db.deleteTo(ctx, string(page.Kvs[len(page.Kvs)-1].GetKey())); err != nil {
			return err
		}
	}
}

// deleteTo removes the rows up to a key.
func (db *DB) deleteTo(ctx context.Context, last string) error {
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := db.client.Delete(call, db.rows, clientv3.WithRange(last+"\x00")); err != nil {
		return db.fail(ctx, err)
	}
	return nil
}

// FinishImport declares the import complete.
func (db *DB) FinishImport(ctx context.Context) error {
	if !db.meta.Importing {
		return store.Closed()
	}
	db.meta.Importing = false
	return db.writeMeta(ctx, db.meta)
}
