package storetest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

func putGet(t *testing.T, kv store.KV) {
	_, err := kv.Get(t.Context(), "app/shop")
	wantErr(t, "Get of a key that never was", err, errs.NotFound, store.ErrNotFound)

	first := put(t, kv, "app/shop", "one")
	other := put(t, kv, "app/bank", "other")
	second := put(t, kv, "app/shop", "two")
	if first < 1 || other <= first || second <= other {
		t.Fatalf("revisions do not grow: %d, %d, %d", first, other, second)
	}
	for key, want := range map[string]store.Entry{
		"app/shop": {Key: "app/shop", Value: []byte("two"), Rev: second},
		"app/bank": {Key: "app/bank", Value: []byte("other"), Rev: other},
	} {
		got, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("Get(%q): %v", key, err)
		}
		equal(t, "entry "+key, want, got)
	}
}

func removed(t *testing.T, kv store.KV) {
	put(t, kv, "a", "1")
	gone := commit(t, kv, func(tx *store.Tx) { tx.Delete("a") })
	_, err := kv.Get(t.Context(), "a")
	wantErr(t, "Get of a removed key", err, errs.NotFound, store.ErrNotFound)
	equal(t, "scan after the removal", []store.Entry(nil), scan(t, kv, store.ScanRange{}))
	back := put(t, kv, "a", "2")
	if back <= gone {
		t.Fatalf("the new write has revision %d, the removal before it %d", back, gone)
	}
	equal(t, "scan", []store.Entry{{Key: "a", Value: []byte("2"), Rev: back}}, scan(t, kv, store.ScanRange{}))
}

func valuesAreCopied(t *testing.T, kv store.KV) {
	value := []byte("before")
	rev := commit(t, kv, func(tx *store.Tx) { tx.Put("a", value) })
	copy(value, "XXXXXX")
	equal(t, "scan", []store.Entry{{Key: "a", Value: []byte("before"), Rev: rev}}, scan(t, kv, store.ScanRange{}))
	got := watchN(bounded(t), t, kv, "", 0, 1)
	equal(t, "watch", []store.Change{{Key: "a", Value: []byte("before"), Rev: rev}}, got)
}

// valuesStay: what a read gave does not change when the store goes on, reuses its memory or is closed.
func valuesStay(t *testing.T, kv store.KV) {
	const n = 200
	keys := numbered("k", n)
	write := func(fill byte) {
		commit(t, kv, func(tx *store.Tx) {
			for _, k := range keys {
				tx.Put(k, bytes.Repeat([]byte{fill}, 300))
			}
		})
	}
	write('a')
	rows := scan(t, kv, store.ScanRange{})
	one, err := kv.Get(t.Context(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	changes := watchN(bounded(t), t, kv, "", 0, n)
	for i := range 10 {
		write(byte('b' + i))
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{'a'}, 300)
	equal(t, "value of Get", want, one.Value)
	for i := range n {
		equal(t, "value of Scan", want, rows[i].Value)
		equal(t, "value of Watch", want, changes[i].Value)
	}
}

func extremeValues(t *testing.T, kv store.KV) {
	large := bytes.Repeat([]byte("towpath "), store.MaxValueBytes/8)
	long := strings.Repeat("k", store.MaxKeyBytes)
	rev := commit(t, kv, func(tx *store.Tx) {
		tx.Put("empty", nil).Put("large", large).Put(long, []byte("v")).Put("\x00", []byte("zero")).Put("\xff\xff", []byte("ff"))
	})
	want := []store.Entry{
		{Key: "\x00", Value: []byte("zero"), Rev: rev},
		{Key: "empty", Rev: rev},
		{Key: long, Value: []byte("v"), Rev: rev},
		{Key: "large", Value: large, Rev: rev},
		{Key: "\xff\xff", Value: []byte("ff"), Rev: rev},
	}
	equal(t, "scan", want, scan(t, kv, store.ScanRange{}))
	if e, err := kv.Get(t.Context(), "empty"); err != nil || len(e.Value) != 0 || e.Rev != rev {
		t.Fatalf("Get of an empty value: %+v, %v", e, err)
	}
}

func nothingChanged(t *testing.T, kv store.KV) {
	ctx := t.Context()
	before := put(t, kv, "a", "1")
	for name, tx := range map[string]store.Tx{
		"no operation":               {},
		"only a condition":           {Conds: []store.Cond{store.IfExists("a")}},
		"removal of an unknown key":  {Ops: []store.Op{{Key: "b", Delete: true}}},
		"the same with a condition":  {Conds: []store.Cond{store.IfAbsent("b")}, Ops: []store.Op{{Key: "b", Delete: true}}},
		"several unknown keys":       {Ops: []store.Op{{Key: "b", Delete: true}, {Key: "c", Delete: true}}},
		"condition on revision zero": {Conds: []store.Cond{store.IfRev("b", 0)}},
	} {
		rev, err := kv.Commit(ctx, tx)
		if err != nil || rev != before {
			t.Errorf("%s: Commit gave %d, %v; want the current revision %d", name, rev, err, before)
		}
	}
	mixed := commit(t, kv, func(tx *store.Tx) { tx.Delete("b").Put("c", []byte("3")) })
	got := watchN(bounded(t), t, kv, "", 0, 2)
	equal(t, "watch", []store.Change{{Key: "a", Value: []byte("1"), Rev: before}, {Key: "c", Value: []byte("3"), Rev: mixed}}, got)
}

func conditions(t *testing.T, kv store.KV) {
	rev := put(t, kv, "here", "1")
	old := rev
	rev = put(t, kv, "here", "2")
	tests := []struct {
		name  string
		conds []store.Cond
		fails string // the key that is reported, "" when all hold
	}{
		{"absent holds for an unknown key", []store.Cond{store.IfAbsent("gone")}, ""},
		{"absent fails for a known key", []store.Cond{store.IfAbsent("here")}, "here"},
		{"exists holds for a known key", []store.Cond{store.IfExists("here")}, ""},
		{"exists fails for an unknown key", []store.Cond{store.IfExists("gone")}, "gone"},
		{"the current revision holds", []store.Cond{store.IfRev("here", rev)}, ""},
		{"an older revision fails", []store.Cond{store.IfRev("here", old)}, "here"},
		{"a future revision fails", []store.Cond{store.IfRev("here", rev+100)}, "here"},
		{"a revision of an unknown key fails", []store.Cond{store.IfRev("gone", rev)}, "gone"},
		{"revision zero is absent", []store.Cond{store.IfRev("gone", 0)}, ""},
		{"revision zero fails for a known key", []store.Cond{store.IfRev("here", 0)}, "here"},
		{"all must hold", []store.Cond{store.IfExists("here"), store.IfRev("here", rev), store.IfAbsent("gone")}, ""},
		{"one that fails is enough", []store.Cond{store.IfExists("here"), store.IfExists("gone")}, "gone"},
		{"two on one key may contradict", []store.Cond{store.IfExists("here"), store.IfAbsent("here")}, "here"},
	}
	for _, withOps := range []bool{false, true} {
		for _, tt := range tests {
			tx := store.Tx{Conds: tt.conds}
			if withOps {
				tx.Put("result", []byte(tt.name))
			}
			_, err := kv.Commit(t.Context(), tx)
			if tt.fails == "" {
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
				continue
			}
			wantErr(t, tt.name, err, errs.Conflict, store.ErrConflict)
			if key, ok := store.ConflictKey(err); !ok || key != tt.fails {
				t.Errorf("%s: the error blames key %q (%v), want %q", tt.name, key, ok, tt.fails)
			}
		}
	}
}

func allOrNothing(t *testing.T, kv store.KV) {
	put(t, kv, "taken", "1")
	put(t, kv, "victim", "1")
	before, rows := current(t, kv), scan(t, kv, store.ScanRange{})
	var tx store.Tx
	tx.Put("new", []byte("x")).Put("victim", []byte("x")).Delete("taken").If(store.IfAbsent("new"), store.IfAbsent("taken"))
	_, err := kv.Commit(t.Context(), tx)
	wantErr(t, "Commit", err, errs.Conflict, store.ErrConflict)
	equal(t, "rows", rows, scan(t, kv, store.ScanRange{}))
	if now := current(t, kv); now != before {
		t.Fatalf("the refused transaction used revision %d", now)
	}

	// A condition speaks of the state before the transaction, not of what the transaction does.
	rev := commit(t, kv, func(tx *store.Tx) {
		tx.If(store.IfAbsent("new"), store.IfExists("taken")).Put("new", []byte("x")).Delete("taken")
	})
	want := []store.Change{{Key: "new", Value: []byte("x"), Rev: rev}, {Key: "taken", Deleted: true, Rev: rev}}
	equal(t, "changes share a revision and keep their order", want, watchN(bounded(t), t, kv, "", before, 2))
}

func limits(t *testing.T, kv store.KV) {
	long := strings.Repeat("k", store.MaxKeyBytes+1)
	many := func(n int) (tx store.Tx) {
		for _, k := range numbered("k", n) {
			tx.Put(k, nil)
		}
		return tx
	}
	quarter := make([]byte, store.MaxValueBytes)
	tests := []struct {
		name   string
		tx     store.Tx
		reason errs.Reason
		limit  string
	}{
		{"key too long", store.Tx{Ops: []store.Op{{Key: long}}}, errorsv1.Reason_REASON_TOO_LARGE, "key_bytes"},
		{"condition's key too long", store.Tx{Conds: []store.Cond{store.IfAbsent(long)}}, errorsv1.Reason_REASON_TOO_LARGE, "key_bytes"},
		{"value too large", store.Tx{Ops: []store.Op{{Key: "k", Value: append(quarter, 0)}}}, errorsv1.Reason_REASON_TOO_LARGE, "value_bytes"},
		{"too many operations", many(store.MaxTxOps + 1), errorsv1.Reason_REASON_TOO_LARGE, "tx_ops"},
		{"too many bytes", store.Tx{Ops: []store.Op{
			{Key: "1", Value: quarter}, {Key: "2", Value: quarter}, {Key: "3", Value: quarter}, {Key: "4", Value: quarter},
		}}, errorsv1.Reason_REASON_TOO_LARGE, "tx_bytes"},
		{"empty key", store.Tx{Ops: []store.Op{{Key: ""}}}, errorsv1.Reason_REASON_INVALID_FIELD, ""},
		{"key twice", store.Tx{Ops: []store.Op{{Key: "k"}, {Key: "k", Delete: true}}}, errorsv1.Reason_REASON_INVALID_FIELD, ""},
		{"negative revision", store.Tx{Conds: []store.Cond{store.IfRev("k", -2)}}, errorsv1.Reason_REASON_INVALID_FIELD, ""},
	}
	for _, tt := range tests {
		_, err := kv.Commit(t.Context(), tt.tx)
		if !errs.Is(err, errs.Invalid) || errs.ReasonOf(err) != tt.reason {
			t.Errorf("%s: got %v (%v, %v), want Invalid with %v", tt.name, err, errs.KindOf(err), errs.ReasonOf(err), tt.reason)
		}
		if e, ok := errors.AsType[*errs.Error](err); tt.limit != "" && (!ok || e.Meta["limit"] != tt.limit) {
			t.Errorf("%s: the error does not name the limit %s: %+v", tt.name, tt.limit, e)
		}
	}
	if _, err := kv.Get(t.Context(), ""); !errs.Is(err, errs.Invalid) {
		t.Errorf("Get of the empty key: %v, want Invalid", err)
	}
	if _, err := kv.Scan(t.Context(), store.ScanRange{Limit: -1}); !errs.Is(err, errs.Invalid) {
		t.Errorf("Scan with a negative limit: %v, want Invalid", err)
	}
	equal(t, "rows after refused transactions", []store.Entry(nil), scan(t, kv, store.ScanRange{}))
	if _, err := kv.Commit(t.Context(), many(store.MaxTxOps)); err != nil {
		t.Errorf("a transaction with as many operations as allowed: %v", err)
	}
}
