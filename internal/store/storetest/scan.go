package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/store"
)

func scanOrder(t *testing.T, kv store.KV) {
	keys := []string{"\x00", "\x00\x00", "a", "a\x00", "a/", "a/b", "a0", "b", "zz", "ä", "\xfe", "\xff", "\xff\x00", "\xff\xff"}
	if !slices.IsSorted(keys) {
		t.Fatal("the test's own keys are not in order")
	}
	for _, k := range slices.Backward(keys) {
		put(t, kv, k, "v:"+k)
	}
	got := scan(t, kv, store.ScanRange{})
	equal(t, "keys", keys, keysOf(got))
	for _, e := range got {
		if string(e.Value) != "v:"+e.Key {
			t.Errorf("key %q has value %q", e.Key, e.Value)
		}
	}
	slices.Reverse(keys)
	equal(t, "keys, reverse", keys, keysOf(scan(t, kv, store.ScanRange{Reverse: true})))
}

func scanPrefix(t *testing.T, kv store.KV) {
	keys := []string{"\x00", "a", "a\xff", "a\xff\xff", "aa", "b", "\xfe\xff", "\xff", "\xffa", "\xff\xff", "\xff\xff\xff"}
	slices.Sort(keys)
	for _, k := range keys {
		put(t, kv, k, "v")
	}
	for _, prefix := range []string{"", "\x00", "a", "a\xff", "a\xff\xff", "aa", "b", "c", "\xfe", "\xfe\xff", "\xff", "\xff\xff", "\xff\xff\xff", "\xff\xff\xff\xff"} {
		want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		equal(t, "prefix "+prefix, want, keysOf(scan(t, kv, store.ScanRange{Prefix: prefix})))
		slices.Reverse(want)
		equal(t, "reverse, prefix "+prefix, want, keysOf(scan(t, kv, store.ScanRange{Prefix: prefix, Reverse: true})))
	}
}

func scanPages(t *testing.T, kv store.KV) {
	keys := numbered("row/", 10)
	commit(t, kv, func(tx *store.Tx) {
		tx.Put("rov", nil).Put("rox", nil).Put("row", nil)
		for _, k := range keys {
			tx.Put(k, nil)
		}
	})
	for _, reverse := range []bool{false, true} {
		want := slices.Clone(keys)
		if reverse {
			slices.Reverse(want)
		}
		for _, limit := range []int{1, 3, 5, 10, 11} {
			r := store.ScanRange{Prefix: "row/", Limit: limit, Reverse: reverse}
			var got []string
			for {
				page := scan(t, kv, r)
				got = append(got, keysOf(page)...)
				if len(page) > limit {
					t.Fatalf("limit %d gave %d entries", limit, len(page))
				}
				if len(page) == 0 {
					break
				}
				r.After = page[len(page)-1].Key
			}
			equal(t, "pages", want, got)
		}
	}
	edges := []struct {
		name string
		r    store.ScanRange
		want []string
	}{
		{"after a key that does not exist", store.ScanRange{Prefix: "row/", After: "row/007x"}, keys[8:]},
		{"after a key that does not exist, reverse", store.ScanRange{Prefix: "row/", After: "row/001x", Reverse: true}, []string{keys[1], keys[0]}},
		{"after a key before the prefix is all", store.ScanRange{Prefix: "row/", After: "a"}, keys},
		{"after a key behind the prefix is none", store.ScanRange{Prefix: "row/", After: "z"}, nil},
		{"reverse after a key behind the prefix is all", store.ScanRange{Prefix: "row/", After: "z", Reverse: true, Limit: 1}, keys[9:]},
		{"reverse after a key before the prefix is none", store.ScanRange{Prefix: "row/", After: "a", Reverse: true}, nil},
		{"after the last key is none", store.ScanRange{Prefix: "row/", After: "row/009"}, nil},
		{"after the prefix itself is all", store.ScanRange{Prefix: "row/", After: "row/"}, keys},
		{"no prefix, reverse", store.ScanRange{After: "row", Reverse: true}, []string{"rov"}},
	}
	for _, tt := range edges {
		equal(t, tt.name, tt.want, keysOf(scan(t, kv, tt.r)))
	}
}

func allPages(t *testing.T, kv store.KV) {
	keys := numbered("row/", 600)
	commit(t, kv, func(tx *store.Tx) {
		for _, k := range keys {
			tx.Put(k, nil)
		}
		tx.Put("s", nil)
	})
	var got []string
	for e, err := range store.All(t.Context(), kv, "row/") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Key)
	}
	equal(t, "keys", keys, got)
	for e, err := range store.All(t.Context(), kv, "row/") { // leaving early is fine
		if err != nil || e.Key != keys[0] {
			t.Fatalf("first entry: %v, %v", e, err)
		}
		break
	}
}
