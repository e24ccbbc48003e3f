package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/towpath-dev/towpath/internal/store"
)

// The load of the concurrent tests: enough that writers meet, little enough for two busy cores.
const (
	loadWriters = 8
	loadEach    = 20
)

// increment adds one to a counter by reading it and writing it on the condition that nobody else did.
func increment(ctx context.Context, kv store.KV, key string) (value int, rev int64, err error) {
	for {
		e, err := kv.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return 0, 0, err
		}
		value = 1
		if err == nil {
			old, err := strconv.Atoi(string(e.Value))
			if err != nil {
				return 0, 0, err
			}
			value += old
		}
		var tx store.Tx
		tx.If(store.IfRev(key, e.Rev)).Put(key, []byte(strconv.Itoa(value)))
		rev, err = kv.Commit(ctx, tx)
		if !errors.Is(err, store.ErrConflict) {
			return value, rev, err
		}
	}
}

func counters(t *testing.T, kv store.KV) {
	ctx := bounded(t)
	const total = loadWriters * loadEach
	var (
		mu   sync.Mutex
		revs = map[int]int64{} // value -> revision, as acknowledged
	)
	g, gctx := errgroup.WithContext(ctx)
	for range loadWriters {
		g.Go(func() error {
			for range loadEach {
				value, rev, err := increment(gctx, kv, "counter")
				if err != nil {
					return err
				}
				mu.Lock()
				if old, twice := revs[value]; twice {
					err = fmt.Errorf("value %d was written at revision %d and %d", value, old, rev)
				}
				revs[value] = rev
				mu.Unlock()
				if err != nil {
					return err
				}
				// What was acknowledged is seen by every read that begins afterwards.
				e, err := kv.Get(gctx, "counter")
				if err != nil {
					return err
				}
				if e.Rev < rev {
					return fmt.Errorf("a read after revision %d saw revision %d", rev, e.Rev)
				}
			}
			return nil
		})
	}
	var watched []store.Change
	g.Go(func() error {
		for c, err := range kv.Watch(gctx, "counter", 0) {
			if err != nil {
				return err
			}
			if watched = append(watched, c); len(watched) == total {
				return nil
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, c := range watched {
		equal(t, "watched", store.Change{Key: "counter", Value: []byte(strconv.Itoa(i + 1)), Rev: revs[i+1]}, c)
	}
}

func writers(t *testing.T, kv store.KV) {
	ctx := bounded(t)
	acked := make([][]store.Change, loadWriters)
	var g errgroup.Group
	for w := range loadWriters {
		g.Go(func() error {
			for i := range loadEach {
				key, value := fmt.Sprintf("w%d", w), []byte(strconv.Itoa(i))
				// One in four is refused, beside others that are written at the same moment.
				tx := store.Tx{Ops: []store.Op{{Key: key, Value: value}, {Key: key + "/copy", Value: value}}}
				if i%4 == 3 {
					tx.If(store.IfAbsent(key))
				}
				rev, err := kv.Commit(ctx, tx)
				if i%4 == 3 {
					if !errors.Is(err, store.ErrConflict) {
						return fmt.Errorf("writer %d, %d: %w, want a conflict", w, i, err)
					}
					continue
				}
				if err != nil {
					return err
				}
				acked[w] = append(acked[w], store.Change{Key: key, Value: value, Rev: rev}, store.Change{Key: key + "/copy", Value: value, Rev: rev})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(acked...)
	slices.SortStableFunc(want, func(a, b store.Change) int { return int(a.Rev - b.Rev) })
	for i := 2; i < len(want); i += 2 {
		if want[i].Rev == want[i-1].Rev {
			t.Fatalf("revision %d was given to %s and %s", want[i].Rev, want[i-1].Key, want[i].Key)
		}
	}
	equal(t, "the log is what was acknowledged", want, watchN(ctx, t, kv, "", 0, len(want)))
}

// transfers moves money between two accounts: the sum never changes for anybody who looks.
func transfers(t *testing.T, kv store.KV) {
	ctx := bounded(t)
	commit(t, kv, func(tx *store.Tx) { tx.Put("acc/a", []byte("100")).Put("acc/b", []byte("100")) })
	look := func() (a, b store.Entry, av, bv int, err error) {
		rows, err := kv.Scan(ctx, store.ScanRange{Prefix: "acc/"})
		if err != nil {
			return a, b, 0, 0, err
		}
		if len(rows) != 2 {
			return a, b, 0, 0, fmt.Errorf("%d accounts", len(rows))
		}
		av, errA := strconv.Atoi(string(rows[0].Value))
		bv, errB := strconv.Atoi(string(rows[1].Value))
		if av+bv != 200 {
			return a, b, 0, 0, fmt.Errorf("the sum is %d", av+bv)
		}
		return rows[0], rows[1], av, bv, errors.Join(errA, errB)
	}
	done := make(chan struct{})
	var movers, readers errgroup.Group
	for m := range 4 {
		movers.Go(func() error {
			for moved := 0; moved < 15; {
				a, b, av, bv, err := look()
				if err != nil {
					return err
				}
				var tx store.Tx
				tx.If(store.IfRev("acc/a", a.Rev), store.IfRev("acc/b", b.Rev))
				tx.Put("acc/a", []byte(strconv.Itoa(av-m-1))).Put("acc/b", []byte(strconv.Itoa(bv+m+1)))
				if _, err := kv.Commit(ctx, tx); err == nil {
					moved++
				} else if !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
			return nil
		})
	}
	readers.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			if _, _, _, _, err := look(); err != nil {
				return err
			}
		}
	})
	err := movers.Wait()
	close(done)
	if err := errors.Join(err, readers.Wait()); err != nil {
		t.Fatal(err)
	}
	_, _, av, _, err := look()
	if want := 100 - 15*(1+2+3+4); err != nil || av != want {
		t.Fatalf("account a has %d, %v; want %d", av, err, want)
	}
}

func reopened(t *testing.T, kv store.KV, reopen func() store.KV) {
	ctx := bounded(t)
	r1 := commit(t, kv, func(tx *store.Tx) { tx.Put("a", []byte("1")).Put("b", []byte("1")) })
	r2 := commit(t, kv, func(tx *store.Tx) { tx.Delete("a") })
	for range 3 {
		kv = reopen()
		if now := current(t, kv); now != r2 {
			t.Fatalf("the store is at revision %d, was at %d", now, r2)
		}
		equal(t, "rows", []store.Entry{{Key: "b", Value: []byte("1"), Rev: r1}}, scan(t, kv, store.ScanRange{}))
		equal(t, "log", []store.Change{
			{Key: "a", Value: []byte("1"), Rev: r1}, {Key: "b", Value: []byte("1"), Rev: r1}, {Key: "a", Deleted: true, Rev: r2},
		}, watchN(ctx, t, kv, "", 0, 3))
	}
	if r3 := put(t, kv, "c", "1"); r3 <= r2 {
		t.Fatalf("after reopening a write got revision %d, before it was %d", r3, r2)
	}
	if c, ok := kv.(store.Compactor); ok {
		if err := c.Compact(ctx, r2); err != nil {
			t.Fatal(err)
		}
		err := lastError(t, reopen().Watch(ctx, "", r1))
		if !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("Watch of what was compacted before reopening: %v", err)
		}
	}
}

func closeUnderLoad(t *testing.T, kv store.KV, reopen func() store.KV) {
	ctx := bounded(t)
	acked := make([]int, loadWriters)
	busy := make(chan struct{}, loadWriters)
	var g errgroup.Group
	for w := range loadWriters {
		g.Go(func() error {
			for i := 1; ; i++ {
				_, err := kv.Commit(ctx, store.Tx{Ops: []store.Op{{Key: fmt.Sprintf("w%d", w), Value: []byte(strconv.Itoa(i))}}})
				if errors.Is(err, store.ErrClosed) {
					return nil
				}
				if err != nil {
					return err
				}
				if acked[w] = i; i == 3 {
					busy <- struct{}{}
				}
			}
		})
	}
	for range loadWriters {
		select {
		case <-busy:
		case <-ctx.Done():
			t.Fatal("the writers did not start")
		}
	}
	again := reopen()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for w, want := range acked {
		e, err := again.Get(ctx, fmt.Sprintf("w%d", w))
		if err != nil || string(e.Value) != strconv.Itoa(want) {
			t.Errorf("writer %d: the store has %q, %v; acknowledged was %d", w, e.Value, err, want)
		}
	}
}
