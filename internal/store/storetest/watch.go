package storetest

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

func watchReplays(t *testing.T, kv store.KV) {
	r1 := commit(t, kv, func(tx *store.Tx) { tx.Put("b", []byte("1")).Put("a", []byte("1")) })
	r2 := put(t, kv, "a", "1") // the same value again
	r3 := commit(t, kv, func(tx *store.Tx) { tx.Delete("a") })
	next := pull(t, kv.Watch(bounded(t), "", 0))
	for _, want := range []store.Change{
		{Key: "b", Value: []byte("1"), Rev: r1},
		{Key: "a", Value: []byte("1"), Rev: r1},
		{Key: "a", Value: []byte("1"), Rev: r2},
		{Key: "a", Deleted: true, Rev: r3},
	} {
		equal(t, "old change", want, next())
	}
	for i := range 20 {
		rev := make(chan int64)
		go func() { // the watch waits, or is about to, when the change comes
			if i%2 == 0 {
				time.Sleep(time.Millisecond)
			}
			r, err := kv.Commit(context.Background(), store.Tx{Ops: []store.Op{{Key: "live", Value: []byte(strconv.Itoa(i))}}})
			if err != nil {
				r = -1
			}
			rev <- r
		}()
		got := next()
		equal(t, "new change", store.Change{Key: "live", Value: []byte(strconv.Itoa(i)), Rev: <-rev}, got)
	}
}

func watchResumes(t *testing.T, kv store.KV) {
	var want []store.Change
	for i, k := range numbered("k", 12) {
		v := []byte(strconv.Itoa(i))
		rev := commit(t, kv, func(tx *store.Tx) { tx.Put(k, v).Put("last", v) })
		want = append(want, store.Change{Key: k, Value: v, Rev: rev}, store.Change{Key: "last", Value: v, Rev: rev})
	}
	ctx := bounded(t)
	seq := kv.Watch(ctx, "", 0)
	for range 2 { // the sequence may be used again and starts over
		var got []store.Change
		for c, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, c); len(got) == len(want) {
				break
			}
		}
		equal(t, "from the start", want, got)
	}
	for i := 0; i < len(want); i += 2 {
		rest := want[i+2:]
		equal(t, "after revision "+strconv.FormatInt(want[i].Rev, 10), rest, watchN(ctx, t, kv, "", want[i].Rev, len(rest)))
	}
}

func watchPrefix(t *testing.T, kv store.KV) {
	want := map[string][]store.Change{}
	for i, k := range []string{"env/a", "env/b", "env0", "app/a", "env", "env/a", "\xff", "\xff\xff"} {
		v := []byte(strconv.Itoa(i))
		c := store.Change{Key: k, Value: v, Rev: put(t, kv, k, string(v))}
		for _, prefix := range []string{"", "env/", "env", "\xff"} {
			if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
				want[prefix] = append(want[prefix], c)
			}
		}
	}
	ctx := bounded(t)
	for prefix, changes := range want {
		next := pull(t, kv.Watch(ctx, prefix, 0))
		for _, c := range changes {
			equal(t, "prefix "+prefix, c, next())
		}
		rev := put(t, kv, prefix+"end", "e") // nothing else comes before it
		equal(t, "the end of prefix "+prefix, store.Change{Key: prefix + "end", Value: []byte("e"), Rev: rev}, next())
		for p := range want { // what was just written belongs to other prefixes as well
			if e := prefix + "end"; p != prefix && len(e) >= len(p) && e[:len(p)] == p {
				want[p] = append(want[p], store.Change{Key: e, Value: []byte("e"), Rev: rev})
			}
		}
	}
}

func slowWatcher(t *testing.T, kv store.KV) {
	first := put(t, kv, "k", "0")
	next := pull(t, kv.Watch(bounded(t), "", first-1))
	equal(t, "first", store.Change{Key: "k", Value: []byte("0"), Rev: first}, next())
	// The watcher stands still here while others write more than any buffer would hold.
	value := make([]byte, 100<<10)
	var revs []int64
	for range 60 {
		revs = append(revs, commit(t, kv, func(tx *store.Tx) {
			for _, k := range numbered("k", 20) {
				tx.Put(k, []byte("s"))
			}
			tx.Put("large", value)
		}))
	}
	for _, rev := range revs {
		for _, k := range numbered("k", 20) {
			equal(t, "change", store.Change{Key: k, Value: []byte("s"), Rev: rev}, next())
		}
		if c := next(); c.Key != "large" || c.Rev != rev || len(c.Value) != len(value) {
			t.Fatalf("got %q at %d with %d bytes, want large at %d", c.Key, c.Rev, len(c.Value), rev)
		}
	}
}

func watchFuture(t *testing.T, kv store.KV) {
	rev := put(t, kv, "k", "1")
	wantErr(t, "Watch", lastError(t, kv.Watch(bounded(t), "", rev+1)), errs.OutOfRange, store.ErrCompacted)
}

func compaction(t *testing.T, kv store.KV) {
	c, ok := kv.(store.Compactor)
	if !ok {
		return // the engine leaves it to its server
	}
	ctx := bounded(t)
	var revs []int64
	for i := range 10 {
		revs = append(revs, commit(t, kv, func(tx *store.Tx) { tx.Put("a", []byte{byte(i)}).Put("b", []byte{byte(i)}) }))
	}
	rows := scan(t, kv, store.ScanRange{})
	if err := c.Compact(ctx, revs[9]+1); !errs.Is(err, errs.Invalid) {
		t.Fatalf("Compact of the future: %v, want Invalid", err)
	}
	for _, rev := range []int64{revs[5], revs[5], revs[2]} { // again, and further back: no effect
		if err := c.Compact(ctx, rev); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "rows", rows, scan(t, kv, store.ScanRange{}))
	for _, rev := range []int64{0, revs[0], revs[3]} {
		wantErr(t, "Watch from before", lastError(t, kv.Watch(ctx, "", rev)), errs.OutOfRange, store.ErrCompacted)
		wantErr(t, "Watch of another prefix", lastError(t, kv.Watch(ctx, "zz", rev)), errs.OutOfRange, store.ErrCompacted)
	}
	for i := 5; i < 10; i++ {
		var want []store.Change
		for j := i + 1; j < 10; j++ {
			v := []byte{byte(j)}
			want = append(want, store.Change{Key: "a", Value: v, Rev: revs[j]}, store.Change{Key: "b", Value: v, Rev: revs[j]})
		}
		equal(t, "what is left", want, watchN(ctx, t, kv, "", revs[i], len(want)))
	}
	laggard(ctx, t, kv, c)
	// All may be compacted away; the store goes on behind it.
	if err := c.Compact(ctx, current(t, kv)); err != nil {
		t.Fatal(err)
	}
	next := pull(t, kv.Watch(ctx, "", current(t, kv)))
	rev := put(t, kv, "c", "1")
	equal(t, "after compacting all", store.Change{Key: "c", Value: []byte("1"), Rev: rev}, next())
}

// laggard lets a compaction overtake a watcher that stands still: it must hear of it, and see only whole transactions before.
func laggard(ctx context.Context, t *testing.T, kv store.KV, c store.Compactor) {
	from := current(t, kv)
	value := make([]byte, 1<<20)
	commitOne := func() int64 {
		return commit(t, kv, func(tx *store.Tx) { tx.Put("x", value).Put("y", value) })
	}
	commitOne()
	seen := map[int64]int{}
	var last error
	for change, err := range kv.Watch(ctx, "", from) {
		if err != nil {
			last = err
			break
		}
		if len(seen) == 0 {
			for range 8 {
				commitOne()
			}
			if err := c.Compact(ctx, current(t, kv)-1); err != nil {
				t.Fatal(err)
			}
		}
		seen[change.Rev]++
		if change.Rev == current(t, kv) && change.Key == "y" { // an engine may have had all of it at hand
			break
		}
	}
	if last != nil {
		wantErr(t, "the overtaken watch", last, errs.OutOfRange, store.ErrCompacted)
	}
	for rev, n := range seen {
		if n != 2 {
			t.Errorf("the overtaken watch saw %d of 2 changes of revision %d", n, rev)
		}
	}
}

func endedContext(t *testing.T, kv store.KV) {
	rev := put(t, kv, "k", "1")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := kv.Get(gone, "k")
	_, scanErr := kv.Scan(gone, store.ScanRange{})
	_, commitErr := kv.Commit(gone, store.Tx{Ops: []store.Op{{Key: "k", Value: []byte("2")}}})
	_, emptyErr := kv.Commit(gone, store.Tx{})
	for name, err := range map[string]error{
		"Get": getErr, "Scan": scanErr, "Commit": commitErr, "Commit of nothing": emptyErr,
		"Watch": lastError(t, kv.Watch(gone, "", 0)),
	} {
		wantErr(t, name, err, errs.Cancelled, context.Canceled)
	}
	equal(t, "rows", []store.Entry{{Key: "k", Value: []byte("1"), Rev: rev}}, scan(t, kv, store.ScanRange{}))

	waiting, stop := context.WithCancel(t.Context())
	go func() {
		time.Sleep(5 * time.Millisecond) // either order is a valid test; this one has the watch wait
		stop()
	}()
	wantErr(t, "a waiting Watch", lastError(t, kv.Watch(waiting, "", rev)), errs.Cancelled, context.Canceled)
	late, stopLate := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer stopLate()
	wantErr(t, "a Watch past its deadline", lastError(t, kv.Watch(late, "", rev)), errs.Timeout, context.DeadlineExceeded)

	inside, leave := context.WithCancel(t.Context())
	defer leave()
	var last error
	for _, err := range kv.Watch(inside, "", 0) {
		leave()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("a Watch whose consumer ends its context: %v", last)
	}
}

func closedStore(t *testing.T, kv store.KV) {
	rev := put(t, kv, "k", "1")
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		var last error
		for _, err := range kv.Watch(context.Background(), "", rev-1) {
			if err == nil {
				close(started)
			}
			last = err
		}
		ended <- last
	}()
	<-started
	for range 2 {
		if err := kv.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	select {
	case err := <-ended:
		wantErr(t, "a waiting Watch", err, errs.Unavailable, store.ErrClosed)
	case <-time.After(patience):
		t.Fatal("Close did not end a waiting Watch")
	}
	ctx := t.Context()
	_, getErr := kv.Get(ctx, "k")
	_, scanErr := kv.Scan(ctx, store.ScanRange{})
	_, commitErr := kv.Commit(ctx, store.Tx{Ops: []store.Op{{Key: "k"}}})
	_, emptyErr := kv.Commit(ctx, store.Tx{})
	for name, err := range map[string]error{
		"Get": getErr, "Scan": scanErr, "Commit": commitErr, "Commit of nothing": emptyErr, "Watch": lastError(t, kv.Watch(ctx, "", rev)),
	} {
		wantErr(t, name, err, errs.Unavailable, store.ErrClosed)
	}
	if c, ok := kv.(store.Compactor); ok {
		wantErr(t, "Compact", c.Compact(ctx, rev), errs.Unavailable, store.ErrClosed)
	}
}
