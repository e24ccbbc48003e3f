package etcdkv

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

const (
	// maxRequestBytes is what --max-request-bytes must be at least: the largest transaction with its conditions and prefixes.
	maxRequestBytes = 20 << 20
	// overhead is what etcd adds to --max-request-bytes for what it receives.
	overhead = 512 << 10
	// probeSlack is for the encoding of the probe itself.
	probeSlack = 1 << 20
	// layout is the version of the keys below the prefix.
	layout = 1
	// clockSlack is how far gRPC's view of a deadline may be ahead of the context's.
	clockSlack = 5 * time.Millisecond
)

func now() time.Time { return time.Now() }

// meta is the row of the same name, as JSON.
type meta struct {
	Layout int `json:"layout"`
	// Offset is added to etcd's revisions. After a migration from another engine it is that engine's last revision, so that
	// revisions go on growing, and an etag from before never stands for something that was written afterwards.
	Offset int64 `json:"offset,omitempty"`
	// Importing is set while a migration into the prefix is under way: what is there is not complete.
	Importing bool `json:"importing,omitempty"`
}

func (db *DB) metaKey() string { return db.root + "meta" }

// prepare checks the server and makes the meta row at the first use of the prefix.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.probe(ctx); err != nil {
		return err
	}
	m, found, err := db.readMeta(ctx)
	if err != nil {
		return err
	}
	if !found {
		if m, err = db.firstMeta(ctx); err != nil {
			return err
		}
	}
	if m.Importing {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"a migration into this store did not finish; run `towpathd migrate bolt-to-etcd` again, it starts over").With("state", "IMPORTING")
	}
	db.meta = m
	return nil
}

func (db *DB) readMeta(ctx context.Context) (m meta, found bool, err error) {
	call, end, err := db.begin(ctx)
	if err != nil {
		return m, false, err
	}
	defer end()
	resp, err := db.client.Get(call, db.metaKey())
	if err != nil {
		return m, false, db.fail(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return m, false, nil
	}
	if err := json.Unmarshal(resp.Kvs[0].Value, &m); err != nil {
		return m, false, fmt.Errorf("row %q of etcd is damaged: %w", db.metaKey(), err)
	}
	if m.Layout > layout {
		return m, false, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"the data was written by a newer towpathd (layout %d, this one knows %d); start that version", m.Layout, layout).With("state", "SCHEMA")
	}
	return m, true, nil
}

// firstMeta makes the row; where another process was faster, that one's holds.
func (db *DB) firstMeta(ctx context.Context) (meta, error) {
	if err := db.writeMeta(ctx, meta{Layout: layout}, clientv3.Compare(clientv3.ModRevision(db.metaKey()), "=", 0)); err != nil {
		return meta{}, err
	}
	m, _, err := db.readMeta(ctx)
	return m, err
}

func (db *DB) writeMeta(ctx context.Context, m meta, conds ...clientv3.Cmp) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %q: %w", db.metaKey(), err)
	}
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := db.client.Txn(call).If(conds...).Then(clientv3.OpPut(db.metaKey(), string(value))).Commit(); err != nil {
		return db.fail(ctx, err)
	}
	return nil
}

// probe asks whether the server takes the largest transaction. It is one that only compares, so it goes through no log and
// changes nothing; its size is refused by the transport, its number of compares by the transaction's own check.
func (db *DB) probe(ctx context.Context) error {
	if err := db.tryTxn(ctx, clientv3.Compare(clientv3.Version(db.metaKey()), ">", -1)); err != nil {
		return err // not reachable, or no permission: not a matter of limits
	}
	compares := make([]clientv3.Cmp, store.MaxTxOps)
	for i := range compares {
		compares[i] = clientv3.Compare(clientv3.Version(db.metaKey()), ">", -1)
	}
	large := string(make([]byte, maxRequestBytes+overhead-probeSlack/4))
	compares[0] = clientv3.Compare(clientv3.Value(db.metaKey()), "!=", large)
	err := db.tryTxn(ctx, compares...)
	if code := codeOf(err); code == codes.ResourceExhausted || code == codes.InvalidArgument {
		return limits(err)
	}
	return err
}

func (db *DB) tryTxn(ctx context.Context, compares ...clientv3.Cmp) error {
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err = db.client.Txn(call).If(compares...).Commit(); err == nil {
		return nil
	}
	if failed := db.fail(ctx, err); errs.KindOf(failed) != errs.Unavailable || codeOf(err) != codes.ResourceExhausted {
		return failed
	}
	return err
}
