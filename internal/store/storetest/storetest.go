// Package storetest is the one suite that every engine of the store must pass. It tests the contract of store.KV and nothing
// that only one engine does; what is special about an engine is tested beside it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// Open gives an empty store for one test. reopen closes the store that Open or the last reopen gave and opens what it left
// behind; it is nil for an engine that keeps nothing. Open registers its own cleanup; a test may have closed the store before.
type Open func(t *testing.T) (kv store.KV, reopen func() store.KV)

// patience is how long a test waits for something that must happen, on a machine that is busy with other things.
const patience = 20 * time.Second

// Run runs the suite.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, kv store.KV)
	}{
		{"what was put is read with its revision", putGet},
		{"a removed key is gone and may come back", removed},
		{"values belong to the caller after Commit", valuesAreCopied},
		{"what was read stays as it was", valuesStay},
		{"empty and large values survive", extremeValues},
		{"a transaction that changes nothing uses no revision", nothingChanged},
		{"conditions decide over the whole transaction", conditions},
		{"a failed condition leaves nothing behind", allOrNothing},
		{"limits are typed errors", limits},
		{"a scan gives keys in byte order", scanOrder},
		{"a scan keeps to its prefix", scanPrefix},
		{"a scan can be continued in both directions", scanPages},
		{"all reads every page", allPages},
		{"a watch replays the log and then waits", watchReplays},
		{"a watch resumes after any revision", watchResumes},
		{"a watch sees only its prefix", watchPrefix},
		{"a slow watcher holds up nobody and loses nothing", slowWatcher},
		{"a watch from the future is refused", watchFuture},
		{"a watch from before a compaction is refused", compaction},
		{"an ended context ends every call", endedContext},
		{"a closed store says so", closedStore},
		{"counters under concurrency lose no increment", counters},
		{"concurrent writers get revisions of their own", writers},
		{"a reader never sees half a transaction", transfers},
		{"a snapshot is of one moment", snapshots},
		{"any sequence of calls does what a map does", model},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kv, _ := open(t)
			tt.run(t, kv)
		})
	}
	durable := []struct {
		name string
		run  func(t *testing.T, kv store.KV, reopen func() store.KV)
	}{
		{"everything is there after reopening", reopened},
		{"what was acknowledged before Close is there after reopening", closeUnderLoad},
	}
	for _, tt := range durable {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if kv, reopen := open(t); reopen != nil {
				tt.run(t, kv, reopen)
			}
		})
	}
}

// bounded is the context of a test that must not hang.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// commit makes a transaction from alternating calls and requires that it succeeds.
func commit(t testing.TB, kv store.KV, build func(tx *store.Tx)) int64 {
	t.Helper()
	var tx store.Tx
	build(&tx)
	rev, err := kv.Commit(context.Background(), tx)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

// put writes one key.
func put(t testing.TB, kv store.KV, key, value string) int64 {
	t.Helper()
	return commit(t, kv, func(tx *store.Tx) { tx.Put(key, []byte(value)) })
}

// current gives the revision of the store.
func current(t testing.TB, kv store.KV) int64 {
	t.Helper()
	rev, err := store.Revision(context.Background(), kv)
	if err != nil {
		t.Fatalf("Revision: %v", err)
	}
	return rev
}

// scan requires that a scan succeeds and gives its entries.
func scan(t testing.TB, kv store.KV, r store.ScanRange) []store.Entry {
	t.Helper()
	got, err := kv.Scan(context.Background(), r)
	if err != nil {
		t.Fatalf("Scan(%+v): %v", r, err)
	}
	return got
}

// keysOf gives the keys in order.
func keysOf(entries []store.Entry) []string {
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// watchN reads the first n changes and leaves the watch.
func watchN(ctx context.Context, t failer, kv store.KV, prefix string, after int64, n int) []store.Change {
	t.Helper()
	var got []store.Change
	if n == 0 {
		return got
	}
	for c, err := range kv.Watch(ctx, prefix, after) {
		if err != nil {
			t.Fatalf("Watch(%q, %d) ended after %d of %d changes: %v", prefix, after, len(got), n, err)
		}
		if got = append(got, c); len(got) == n {
			break
		}
	}
	return got
}

// pull turns a watch into a function that gives the next change; a watch that ends fails the test.
func pull(t testing.TB, seq iter.Seq2[store.Change, error]) (next func() store.Change) {
	t.Helper()
	advance, stop := iter.Pull2(seq)
	t.Cleanup(stop)
	return func() store.Change {
		t.Helper()
		c, err, ok := advance()
		if err != nil || !ok {
			t.Fatalf("the watch ended: %v", err)
		}
		return c
	}
}

// lastError runs a watch to its end and gives the error that it must end with.
func lastError(t testing.TB, seq iter.Seq2[store.Change, error]) error {
	t.Helper()
	var last error
	for c, err := range seq {
		if last != nil {
			t.Fatalf("the watch went on after its error %v with %v, %v", last, c, err)
		}
		if last = err; err != nil && !cmp.Equal(c, store.Change{}) {
			t.Errorf("the watch gave a change with its error: %v", c)
		}
	}
	if last == nil {
		t.Fatal("the watch ended without an error")
	}
	return last
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// largeValues keeps cmp from looking for the nearest edit between megabytes.
var largeValues = cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 64<<10 }, cmp.Comparer(bytes.Equal))

// equal compares; nil and empty are the same.
func equal(t failer, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), largeValues); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// wantErr requires an error of the kind that is, or wraps, the sentinel.
func wantErr(t testing.TB, what string, err error, kind errs.Kind, sentinel error) {
	t.Helper()
	if !errs.Is(err, kind) || !errors.Is(err, sentinel) {
		t.Fatalf("%s: got error %v (%v), want one of kind %v that is %q", what, err, errs.KindOf(err), kind, sentinel)
	}
}

// numbered gives keys prefix000, prefix001 and so on.
func numbered(prefix string, n int) []string {
	keys := make([]string, 0, n)
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%03d", prefix, i))
	}
	return keys
}
