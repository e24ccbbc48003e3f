package etcdkv_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

func elect(t *testing.T, db *etcdkv.DB) *store.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := db.Elect(ctx, "test")
	if err != nil {
		t.Fatalf("Elect: %v", err)
	}
	return l
}

func lost(l *store.Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestALeaseHasOneHolderAndGoesToTheNextWhenItIsGivenBack(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	first, second := mustOpen(t, server.URL("a")+"?lease=2s"), mustOpen(t, server.URL("a")+"?lease=2s")
	elsewhere := mustOpen(t, server.URL("b")+"?lease=2s")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var leading, turns atomic.Int32
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var g errgroup.Group
	for _, db := range []*etcdkv.DB{first, second, first} {
		g.Go(func() error {
			for range 4 {
				err := store.Lead(ctx, db, "test", log, func(ctx context.Context, _ *store.Lease) error {
					if n := leading.Add(1); n != 1 {
						t.Errorf("%d hold the lease", n)
					}
					defer leading.Add(-1)
					turns.Add(1)
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || turns.Load() != 12 {
		t.Errorf("%d of 12 turns, %v", turns.Load(), err)
	}
	a := elect(t, first)
	if b := elect(t, elsewhere); lost(a) || lost(b) {
		t.Error("installations on one etcd disturb each other")
	}
	waiting, giveUp := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer giveUp()
	if _, err := second.Elect(waiting, "test"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("electing a second holder: %v", err)
	}
}

// TestAHolderThatIsCutOffStopsBeforeTheNextOneBegins kills etcd below a holder: the lease is taken for lost in time, and what it
// tries to write afterwards is refused.
func TestAHolderThatIsCutOffStopsBeforeTheNextOneBegins(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	old, next := mustOpen(t, server.URL("a")+"?lease=2s"), mustOpen(t, server.URL("a")+"?lease=2s")
	l := elect(t, old)
	var tx store.Tx
	tx.Put("position", []byte("1"))
	if _, err := l.Commit(t.Context(), old, tx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond) // longer than the lease: it is renewed
	if lost(l) {
		t.Fatal("the lease was lost while etcd was there")
	}
	server.Kill()
	began := time.Now()
	select {
	case <-l.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("the lease was not taken for lost")
	}
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("the holder stopped after %v, later than its lease of 2s", took)
	}
	server.Start(t)
	l2 := elect(t, next)
	if l2.Epoch() <= l.Epoch() {
		t.Errorf("epoch %d follows %d", l2.Epoch(), l.Epoch())
	}
	if _, err := l.Commit(t.Context(), old, tx); !errors.Is(err, store.ErrLeaseLost) || !errs.Is(err, errs.Unavailable) {
		t.Errorf("a late write of the old holder: %v, want that the lease is lost", err)
	}
	tx = store.Tx{}
	tx.If(store.IfAbsent("position")).Put("position", []byte("2"))
	if _, err := l2.KV(next).Commit(t.Context(), tx); !errors.Is(err, store.ErrConflict) || lost(l2) {
		t.Errorf("a conflict of the holder's own: %v", err)
	}
}

func TestALostLeaseEndsTheTaskAndTheProcessStandsAgain(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	db := mustOpen(t, server.URL("a")+"?lease=2s")
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	turn := 0
	err := store.Lead(ctx, db, "test", slog.New(slog.NewTextHandler(io.Discard, nil)), func(ctx context.Context, l *store.Lease) error {
		if turn++; turn == 2 {
			return errors.New("done")
		}
		// Somebody takes the row away, as an expired lease does.
		if _, err := db.Commit(ctx, store.Tx{Ops: []store.Op{{Key: etcdkv.LeasePrefix + "test", Delete: true}}}); err != nil {
			return err
		}
		var tx store.Tx
		_, err := l.KV(db).Commit(ctx, *tx.Put("k", nil))
		if !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("a fenced write: %v", err)
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, store.ErrLeaseLost) {
			t.Errorf("the task's context ended because of %v", cause)
		}
		return ctx.Err()
	})
	if err == nil || err.Error() != "done" || turn != 2 {
		t.Errorf("Lead gave %v in turn %d", err, turn)
	}
}
