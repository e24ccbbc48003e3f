package etcdkv

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// Commit implements store.KV. It is one etcd transaction; those of many callers at once share etcd's own waits for the disk.
func (db *DB) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Validate(); err != nil {
		return 0, err
	}
	call, end, err := db.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	compares, reads := db.conditions(tx.Conds)
	resp, err := db.client.Txn(call).If(compares...).Then(db.operations(tx.Ops)...).Else(reads...).Commit()
	if err != nil {
		return 0, db.fail(ctx, err)
	}
	if !resp.Succeeded {
		return 0, db.conflict(tx.Conds, resp)
	}
	return resp.Header.Revision + db.meta.Offset, nil
}

// conditions gives the compares, and the reads that tell which of them did not hold.
func (db *DB) conditions(conds []store.Cond) (compares []clientv3.Cmp, reads []clientv3.Op) {
	for _, c := range conds {
		key := db.rows + c.Key
		revision := clientv3.ModRevision(key)
		switch c.Rev {
		case store.AnyRev:
			compares = append(compares, clientv3.Compare(revision, ">", 0))
		case 0:
			compares = append(compares, clientv3.Compare(revision, "=", 0))
		default:
			rev := c.Rev - db.meta.Offset
			if rev <= 0 { // of before the migration: no row has it, and 0 must not be taken for absence
				rev = neverRevision
			}
			compares = append(compares, clientv3.Compare(revision, "=", rev))
		}
		reads = append(reads, clientv3.OpGet(key, clientv3.WithKeysOnly()))
	}
	return compares, reads
}

// neverRevision is one that no key has: etcd's revisions are positive.
const neverRevision = -1

func (db *DB) operations(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, 0, len(ops))
	for _, op := range ops {
		if op.Delete {
			out = append(out, clientv3.OpDelete(db.rows+op.Key))
		} else {
			out = append(out, clientv3.OpPut(db.rows+op.Key, string(op.Value)))
		}
	}
	return out
}

// conflict finds the condition that failed in what was read at the same moment.
func (db *DB) conflict(conds []store.Cond, resp *clientv3.TxnResponse) error {
	for i, c := range conds {
		if i >= len(resp.Responses) {
			break
		}
		var rev int64
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			rev = kvs[0].GetModRevision() + db.meta.Offset
		}
		if !c.Holds(rev) {
			return store.Conflict(c)
		}
	}
	return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "etcd refused a transaction whose conditions hold")
}
