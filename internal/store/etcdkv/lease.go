package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// LeasePrefix is where the rows of leases are. They are among the rows so that a transaction can have a condition on them.
const LeasePrefix = "leases/"

// Elect implements store.Elector: the row leases/<name> belongs to an etcd lease, so it goes when the process does not renew
// it. Whoever makes the row leads; its revision is the epoch and the fence.
func (db *DB) Elect(ctx context.Context, name string) (*store.Lease, error) {
	key := LeasePrefix + name
	pause := minPause
	for {
		l, err := db.campaign(ctx, key)
		switch {
		case l != nil:
			return l, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, store.ErrClosed):
			return nil, err
		case err == nil:
			pause = minPause
			continue
		case !errs.Is(err, errs.Unavailable):
			return nil, err
		}
		db.cfg.Logger.Debug("no election is possible now; it is tried again", "lease", name, "error", err)
		if err := db.sleep(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, maxPause)
	}
}

func (db *DB) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closing:
		return store.Closed()
	case <-timer.C:
		return nil
	}
}

// campaign tries once. No lease and no error means that the holder's row has gone, so it is worth trying again.
func (db *DB) campaign(ctx context.Context, key string) (*store.Lease, error) {
	resp, err := db.get(ctx, db.rows+key, clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) > 0 {
		return nil, db.awaitGone(ctx, key, resp.Header.GetRevision())
	}
	asked := time.Now() // before etcd begins to count
	id, err := db.grant(ctx)
	if err != nil {
		return nil, err
	}
	rev, err := db.take(ctx, key, id)
	if err != nil || rev == 0 {
		_ = db.revoke(context.WithoutCancel(ctx), id) // else it ends by itself
		return nil, err
	}
	holding, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	l := store.NewLease(rev, func(ctx context.Context) error {
		stop()
		<-ended
		return db.revoke(ctx, id)
	}, store.IfRev(key, rev))
	go func() {
		defer close(ended)
		defer closeWith(db.closing, stop)()
		db.renew(holding, id, asked)
		l.Lose()
	}()
	return l, nil
}

func (db *DB) grant(ctx context.Context) (clientv3.LeaseID, error) {
	call, end, err := db.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	resp, err := db.client.Grant(call, int64(db.cfg.LeaseTTL/time.Second))
	if err != nil {
		return 0, db.fail(ctx, err)
	}
	return resp.ID, nil
}

// take makes the row; revision 0 means that another process was faster.
func (db *DB) take(ctx context.Context, key string, id clientv3.LeaseID) (int64, error) {
	call, end, err := db.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	holder := fmt.Sprintf("%s/%d", host, os.Getpid()) // for people who look
	resp, err := db.client.Txn(call).If(clientv3.Compare(clientv3.ModRevision(db.rows+key), "=", 0)).
		Then(clientv3.OpPut(db.rows+key, holder, clientv3.WithLease(id))).Commit()
	if err != nil {
		return 0, db.fail(ctx, err)
	}
	if !resp.Succeeded {
		return 0, nil
	}
	return resp.Header.GetRevision() + db.meta.Offset, nil
}

func (db *DB) revoke(ctx context.Context, id clientv3.LeaseID) error {
	call, end, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := db.client.Revoke(call, id); err != nil {
		return db.fail(ctx, err)
	}
	return nil
}

// awaitGone waits until the row is removed. It looks again by itself after a while, in case the watch sees nothing.
func (db *DB) awaitGone(ctx context.Context, key string, rev int64) error {
	waiting, stop := context.WithTimeout(clientv3.WithRequireLeader(ctx), 5*db.cfg.LeaseTTL)
	defer stop()
	defer closeWith(db.closing, stop)()
	for resp := range db.client.Watch(waiting, db.rows+key, clientv3.WithRev(rev+1), clientv3.WithFilterPut()) {
		if err := resp.Err(); err != nil {
			return db.broken(ctx, err)
		}
		if len(resp.Events) > 0 {
			return nil
		}
	}
	if db.isClosed() {
		return store.Closed()
	}
	return ctx.Err()
}

// renew keeps the lease until it is lost. It is taken for lost while etcd still counts it as held: time runs from when a
// renewal was asked for, not from when it was answered, and a tenth is left for clocks that run differently.
func (db *DB) renew(ctx context.Context, id clientv3.LeaseID, asked time.Time) {
	ttl := db.cfg.LeaseTTL
	sure := ttl - ttl/10
	for {
		timer := time.NewTimer(time.Until(asked.Add(ttl / 3)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		for {
			asking := time.Now()
			try, cancel := context.WithDeadline(ctx, asked.Add(sure))
			_, err := db.client.KeepAliveOnce(try, id)
			cancel()
			if err == nil {
				asked = asking
				break
			}
			if ctx.Err() != nil || is(err, rpctypes.ErrGRPCLeaseNotFound) || time.Now().After(asked.Add(sure)) {
				return
			}
			db.cfg.Logger.Debug("a lease could not be renewed; it is tried again", "error", err)
			time.Sleep(min(minPause, time.Until(asked.Add(sure))))
		}
	}
}
