package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/store"
)

// modelKeys are few, so that operations meet, and awkward, so that borders are hit.
var modelKeys = []string{"\x00", "a", "a\x00", "aa", "ab", "a\xff", "a\xffb", "b", "\xff", "\xff\xff"}

// modelPrefixes are what scans and watches of the model ask for.
var modelPrefixes = []string{"", "a", "aa", "a\xff", "b", "c", "\xff", "\xff\xff"}

// world is a map that does what the store must do. Each case of the property has its own part of the one store under ns.
type world struct {
	kv    store.KV
	ns    string
	start int64 // revision before the case
	rows  map[string]store.Entry
	log   []store.Change
	revs  []int64 // the start and every transaction's
}

// model compares random sequences of calls with the map.
func model(t *testing.T, kv store.KV) {
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience) // it is a hundred tests
	defer cancel()
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		cases++
		rev, err := store.Revision(ctx, kv)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{kv: kv, ns: fmt.Sprintf("case%04d/", cases), start: rev, rows: map[string]store.Entry{}, revs: []int64{rev}}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"commit", "commit", "commit", "get", "scan", "watch"}).Draw(t, "call") {
			case "commit":
				w.commit(t)
			case "get":
				w.get(t)
			case "scan":
				w.scan(t)
			case "watch":
				w.watch(t)
			}
		}
		w.scan(t)
		w.watch(t)
	})
}

func (w *world) commit(t *rapid.T) {
	var tx store.Tx
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys), 0, 4, rapid.ID[string]).Draw(t, "keys") {
		if rapid.Bool().Draw(t, "delete") {
			tx.Delete(w.ns + key)
		} else {
			tx.Put(w.ns+key, []byte(rapid.StringN(0, 5, -1).Draw(t, "value")))
		}
	}
	failing := map[string]bool{} // the conditions that do not hold; any of them may be blamed
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		c := store.Cond{Key: w.ns + rapid.SampledFrom(modelKeys).Draw(t, "key")}
		c.Rev = rapid.SampledFrom([]int64{0, store.AnyRev, w.rows[c.Key].Rev, w.rows[c.Key].Rev, w.revs[len(w.revs)-1]}).Draw(t, "rev")
		tx.If(c)
		has := w.rows[c.Key].Rev
		if holds := c.Rev == has || c.Rev == store.AnyRev && has > 0; !holds {
			failing[c.Key] = true
		}
	}
	rev, err := w.kv.Commit(t.Context(), tx)
	if len(failing) > 0 {
		if key, _ := store.ConflictKey(err); !errors.Is(err, store.ErrConflict) || !failing[key] {
			t.Fatalf("Commit(%+v): %v blames %q, want a conflict of one of %v", tx, err, key, failing)
		}
		return
	}
	if err != nil {
		t.Fatalf("Commit(%+v): %v", tx, err)
	}
	w.apply(t, tx, rev)
}

// apply does to the map what the store has done.
func (w *world) apply(t *rapid.T, tx store.Tx, rev int64) {
	before := len(w.log)
	for _, op := range tx.Ops {
		_, exists := w.rows[op.Key]
		switch {
		case !op.Delete:
			w.rows[op.Key] = store.Entry{Key: op.Key, Value: op.Value, Rev: rev}
			w.log = append(w.log, store.Change{Key: op.Key, Value: op.Value, Rev: rev})
		case exists:
			delete(w.rows, op.Key)
			w.log = append(w.log, store.Change{Key: op.Key, Deleted: true, Rev: rev})
		}
	}
	last := w.revs[len(w.revs)-1]
	if changed := len(w.log) > before; changed && rev <= last || !changed && rev != last {
		t.Fatalf("Commit(%+v) gave revision %d after %d", tx, rev, last)
	}
	w.revs = append(w.revs, rev)
}

func (w *world) get(t *rapid.T) {
	key := w.ns + rapid.SampledFrom(modelKeys).Draw(t, "key")
	got, err := w.kv.Get(t.Context(), key)
	want, exists := w.rows[key]
	if !exists {
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get(%q): %v, want not found", key, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	equal(t, "Get", want, got)
}

func (w *world) scan(t *rapid.T) {
	r := store.ScanRange{
		Prefix:  w.ns + rapid.SampledFrom(modelPrefixes).Draw(t, "prefix"),
		Limit:   rapid.IntRange(0, 4).Draw(t, "limit"),
		Reverse: rapid.Bool().Draw(t, "reverse"),
	}
	if rapid.Bool().Draw(t, "continued") {
		r.After = w.ns + rapid.SampledFrom(modelKeys).Draw(t, "after")
	}
	var want []store.Entry
	keys := slices.Sorted(maps.Keys(w.rows))
	if r.Reverse {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		behind := r.After == "" || !r.Reverse && k > r.After || r.Reverse && k < r.After
		if strings.HasPrefix(k, r.Prefix) && behind && (r.Limit == 0 || len(want) < r.Limit) {
			want = append(want, w.rows[k])
		}
	}
	got, err := w.kv.Scan(t.Context(), r)
	if err != nil {
		t.Fatalf("Scan(%+v): %v", r, err)
	}
	equal(t, fmt.Sprintf("Scan(%+v)", r), want, got)
}

func (w *world) watch(t *rapid.T) {
	prefix := w.ns + rapid.SampledFrom(modelPrefixes).Draw(t, "prefix")
	after := rapid.SampledFrom(w.revs).Draw(t, "after")
	// A last write of which the watch must know; everything before it must have come first and nothing else.
	tx := store.Tx{Ops: []store.Op{{Key: prefix + "~", Value: []byte("end")}}}
	rev, err := w.kv.Commit(t.Context(), tx)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	w.apply(t, tx, rev)
	var want []store.Change
	for _, c := range w.log {
		if strings.HasPrefix(c.Key, prefix) && c.Rev > after {
			want = append(want, c)
		}
	}
	equal(t, fmt.Sprintf("Watch(%q, %d)", prefix, after), want, watchN(t.Context(), t, w.kv, prefix, after, len(want)))
}
