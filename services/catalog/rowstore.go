package catalog

import (
	"context"
	"errors"
	"slices"

	"github.com/towpath-dev/towpath/internal/store"
)

// rowStore is the database as the handlers see it. What is written on behalf of a call goes into the audit trail with it, and old
// rows of history that moved to the archive are read as if they were still there.
type rowStore struct {
	store.KV
	s       *Service
	archive *archive // nil when there is none
}

// Commit implements store.KV.
func (r rowStore) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	leave, err := r.s.pause.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	rev, err := r.s.commitAudited(ctx, r.KV, tx)
	if key, conflict := store.ConflictKey(err); conflict && r.archive != nil && isArchived(key) {
		if thawed, ok, terr := r.thaw(ctx, tx); terr != nil || ok {
			if terr != nil {
				return 0, terr
			}
			return r.s.commitAudited(ctx, r.KV, thawed)
		}
	}
	return rev, err
}

// RunCompactor hands on what engines offer that need one of their users to keep the change log short.
func (r rowStore) RunCompactor(ctx context.Context) error {
	if c, ok := r.KV.(interface{ RunCompactor(context.Context) error }); ok {
		return c.RunCompactor(ctx)
	}
	<-ctx.Done()
	return nil
}

// thaw rewrites conditions on archived rows. Such a row never changes, so its revision is known to be the asked one, and what has
// to hold is that nobody has written it anew. The new row stays in the database and stands in front of the archived one.
func (r rowStore) thaw(ctx context.Context, tx store.Tx) (store.Tx, bool, error) {
	out, changed := store.Tx{Conds: slices.Clone(tx.Conds), Ops: tx.Ops}, false
	for i, c := range out.Conds {
		if c.Rev == 0 || !isArchived(c.Key) {
			continue
		}
		if _, err := r.KV.Get(ctx, c.Key); !errors.Is(err, store.ErrNotFound) {
			if err != nil {
				return tx, false, err
			}
			continue
		}
		e, found, err := r.archive.get(ctx, c.Key)
		if err != nil {
			return tx, false, err
		}
		if found && c.Holds(e.Rev) {
			out.Conds[i], changed = store.IfAbsent(c.Key), true
		}
	}
	return out, changed, nil
}

// Get implements store.KV.
func (r rowStore) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := r.KV.Get(ctx, key)
	if r.archive == nil || !errors.Is(err, store.ErrNotFound) || !isArchived(key) {
		return e, err
	}
	old, found, aerr := r.archive.get(ctx, key)
	if aerr != nil {
		return store.Entry{}, aerr
	}
	if !found {
		return e, err
	}
	return old, nil
}

// Scan implements store.KV. The archive is looked at last: rows only move there, so one that moves in between is seen twice,
// never not at all.
func (r rowStore) Scan(ctx context.Context, q store.ScanRange) ([]store.Entry, error) {
	rows, err := r.KV.Scan(ctx, q)
	if err != nil || r.archive == nil || !isArchived(q.Prefix) {
		return rows, err
	}
	full := q.Limit > 0 && len(rows) == q.Limit
	old, err := r.archive.scan(ctx, q, func(near string) bool {
		return full && before(rows[len(rows)-1].Key, near, q.Reverse)
	})
	if err != nil || len(old) == 0 {
		return rows, err
	}
	return mergeRows(rows, old, q), nil
}

// before reports whether a comes before b in the direction.
func before(a, b string, reverse bool) bool {
	if reverse {
		return a > b
	}
	return a < b
}

// mergeRows merges rows of the database and of the archive; where both have a key the database's stands.
func mergeRows(rows, old []store.Entry, q store.ScanRange) []store.Entry {
	out := make([]store.Entry, 0, len(rows)+len(old))
	for len(rows) > 0 || len(old) > 0 {
		switch {
		case len(old) == 0 || len(rows) > 0 && before(rows[0].Key, old[0].Key, q.Reverse):
			out, rows = append(out, rows[0]), rows[1:]
		case len(rows) == 0 || before(old[0].Key, rows[0].Key, q.Reverse):
			out, old = append(out, old[0]), old[1:]
		default:
			out, rows, old = append(out, rows[0]), rows[1:], old[1:]
		}
		if q.Limit > 0 && len(out) == q.Limit {
			return out
		}
	}
	return out
}
