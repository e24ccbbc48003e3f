package etcdkv

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/towpath-dev/towpath/internal/store"
)

// Compact implements store.Compactor. It cuts the history of the whole etcd, which has only one.
func (db *DB) Compact(ctx context.Context, rev int64) error {
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if rev <= db.meta.Offset {
		return nil
	}
	_, err = db.client.Compact(call, rev-db.meta.Offset)
	switch {
	case err == nil, is(err, rpctypes.ErrGRPCCompacted):
		return nil
	case is(err, rpctypes.ErrGRPCFutureRev):
		now, err := db.current(ctx)
		if err != nil {
			return err
		}
		return store.FutureRev(rev, now)
	}
	return db.fail(ctx, err)
}

// markEvery is how often the leader notes which revision is current, and looks what is old enough to be cut.
const markEvery = 10 * time.Minute

// mark says that everything up to the revision was written by that time.
type mark struct {
	Time time.Time `json:"time"`
	Rev  int64     `json:"rev"` // etcd's own
}

// RunCompactor keeps the change log as long as the configuration says, until ctx ends. One process of an installation runs it.
// The notes it works by are in etcd, so that the next leader goes on with them.
func (db *DB) RunCompactor(ctx context.Context) error {
	if db.cfg.Retain < 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		if err := db.retain(ctx, time.Now()); err != nil && ctx.Err() == nil {
			if errors.Is(err, store.ErrClosed) {
				return err
			}
			db.cfg.Logger.Warn("etcd's history was not compacted; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// retain notes the current revision and compacts up to the newest note that is old enough.
func (db *DB) retain(ctx context.Context, at time.Time) error {
	resp, err := db.get(ctx, db.root+"marks")
	if err != nil {
		return err
	}
	var marks []mark
	if len(resp.Kvs) > 0 {
		if err := json.Unmarshal(resp.Kvs[0].GetValue(), &marks); err != nil {
			marks = nil // begin anew: the log is kept longer, no more
		}
	}
	old, keep := split(append(marks, mark{Time: at, Rev: resp.Header.GetRevision()}), at.Add(-db.cfg.Retain))
	if old.Rev > 0 {
		if err := db.Compact(ctx, old.Rev+db.meta.Offset); err != nil {
			return err
		}
	}
	value, err := json.Marshal(keep)
	if err != nil {
		return err
	}
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := db.client.Put(call, db.root+"marks", string(value)); err != nil {
		return db.fail(ctx, err)
	}
	return nil
}

// split gives the newest mark of before the limit, and the marks behind it. Marks come by time; one from the future, of a
// clock that was wrong, is dropped.
func split(marks []mark, limit time.Time) (old mark, keep []mark) {
	newest := marks[len(marks)-1].Time
	for _, m := range marks {
		switch {
		case m.Time.After(newest):
		case !m.Time.After(limit):
			if m.Rev > old.Rev {
				old = m
			}
		default:
			keep = append(keep, m)
		}
	}
	return old, keep
}
