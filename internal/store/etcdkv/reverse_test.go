package etcdkv_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

// fill writes keys, many in a transaction.
func fill(t testing.TB, db *etcdkv.DB, keys []string) {
	t.Helper()
	for page := range slices.Chunk(keys, store.MaxTxOps) {
		var tx store.Tx
		for _, k := range page {
			tx.Put(k, []byte(k))
		}
		if _, err := db.Commit(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScansBackwardsOfLongListsAreComplete compares with a sorted list: numbers with leading zeros, awkward bytes, keys of which one
// is the beginning of others, all more than are read at once.
func TestScansBackwardsOfLongListsAreComplete(t *testing.T) {
	t.Parallel()
	db := mustOpen(t, etcdtest.Start(t).URL("x"))
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var keys []string
	add := func(k string) {
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	for i := range 3000 {
		add(fmt.Sprintf("deployments/shop/dev/%020d", i+1))
	}
	for range 1500 {
		b := []byte("r/")
		for range random.IntN(6) {
			b = append(b, []byte{0, 1, 'a', 'b', 0xfe, 0xff}[random.IntN(6)])
		}
		add(string(b))
	}
	for i := range 700 {
		add("same/" + strings.Repeat("x", i+1)) // each is the beginning of the next
	}
	slices.Sort(keys)
	fill(t, db, keys)
	for range 400 {
		r := store.ScanRange{
			Prefix:  []string{"", "deployments/", "deployments/shop/dev/", "r/", "r/\xff", "same/", "none/", "deployments/shop/dev/000000000000000019"}[random.IntN(8)],
			Limit:   []int{1, 2, 50, 300, 1000}[random.IntN(5)],
			Reverse: true,
		}
		if random.IntN(2) == 0 {
			r.After = keys[random.IntN(len(keys))]
		}
		var want []string
		for _, k := range slices.Backward(keys) {
			if strings.HasPrefix(k, r.Prefix) && (r.After == "" || k < r.After) && len(want) < r.Limit {
				want = append(want, k)
			}
		}
		got, err := db.Scan(t.Context(), r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		var names []string
		for _, e := range got {
			names = append(names, e.Key)
		}
		if d := cmp.Diff(want, names); d != "" {
			t.Fatalf("%+v (-want +got):\n%s", r, d)
		}
		if random.IntN(20) == 0 { // the list grows at its end, behind what is remembered
			k := fmt.Sprintf("deployments/shop/dev/%020d", 10_000+random.IntN(10_000))
			if !seen[k] {
				seen[k] = true
				i, _ := slices.BinarySearch(keys, k)
				keys = slices.Insert(keys, i, k)
				fill(t, db, []string{k})
			}
		}
	}
}

// BenchmarkLastPage reads the newest 50 of a history of 100,000 rows of 2 KiB.
func BenchmarkLastPage(b *testing.B) {
	url := etcdtest.Start(b).URL("x")
	db := mustOpen(b, url)
	row := make([]byte, 2048)
	for page := range 100 {
		var tx store.Tx
		for i := range 1000 {
			tx.Put(fmt.Sprintf("deployments/shop/dev/%020d", page*1000+i+1), row)
		}
		if _, err := db.Commit(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
	}
	newest := store.ScanRange{Prefix: "deployments/shop/dev/", Limit: 50, Reverse: true}
	b.Run("first time", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer() // a process that has read nothing yet
			fresh := mustOpen(b, url)
			b.StartTimer()
			if rows, err := fresh.Scan(context.Background(), newest); err != nil || len(rows) != 50 {
				b.Fatal(len(rows), err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		if _, err := db.Scan(context.Background(), newest); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for b.Loop() {
			if rows, err := db.Scan(context.Background(), newest); err != nil || len(rows) != 50 {
				b.Fatal(len(rows), err)
			}
		}
	})
	b.Run("a page in the middle", func(b *testing.B) {
		middle := newest
		middle.After = fmt.Sprintf("deployments/shop/dev/%020d", 50_000)
		for b.Loop() {
			if rows, err := db.Scan(context.Background(), middle); err != nil || len(rows) != 50 {
				b.Fatal(len(rows), err)
			}
		}
	})
}
