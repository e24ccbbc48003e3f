package storetest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/towpath-dev/towpath/internal/store"
)

// snapshots: whatever is written meanwhile, a snapshot is the state of one moment, by the engine's own way and by the general one.
func snapshots(t *testing.T, kv store.KV) {
	const accounts, sum = 8, 800
	ctx := t.Context()
	var tx store.Tx
	for i := range accounts {
		tx.Put(fmt.Sprint("account/", i), strconv.AppendInt(nil, sum/accounts, 10))
	}
	_, err := kv.Commit(ctx, tx)
	noError(t, err)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for n := range 2 {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				moveOne(t, kv, fmt.Sprint("account/", (i+n)%accounts), fmt.Sprint("account/", (i*3+n+1)%accounts))
			}
		})
	}
	defer func() { close(stop); running.Wait() }()
	for name, from := range map[string]store.KV{"own": kv, "general": struct{ store.KV }{kv}} {
		for range 5 {
			rows := map[string]int{}
			rev, err := store.Snapshot(ctx, from, "marker", func(e store.Entry) error {
				n, err := strconv.Atoi(string(e.Value))
				rows[e.Key] = n
				return err
			}, func(key string) error { delete(rows, key); return nil })
			noError(t, err)
			total := 0
			for _, n := range rows {
				total += n
			}
			if total != sum || rev <= 0 {
				t.Fatalf("%s: the accounts have %d at revision %d, want %d: %v", name, total, rev, sum, rows)
			}
		}
	}
	rows, err := kv.Scan(ctx, store.ScanRange{Prefix: "marker"})
	noError(t, err)
	if len(rows) != 0 {
		t.Errorf("the marker was left behind")
	}
}

// moveOne takes one from an account that has some; an account with nothing is removed, and made again.
func moveOne(t *testing.T, kv store.KV, from, to string) {
	if from == to {
		return
	}
	var tx store.Tx
	for _, key := range []string{from, to} {
		e, err := kv.Get(t.Context(), key)
		n := 0
		if err == nil {
			n, _ = strconv.Atoi(string(e.Value))
		}
		tx.If(store.IfRev(key, e.Rev))
		switch {
		case key == from && n == 0:
			return
		case key == from && n == 1:
			tx.Delete(key)
		case key == from:
			tx.Put(key, strconv.AppendInt(nil, int64(n-1), 10))
		default:
			tx.Put(key, strconv.AppendInt(nil, int64(n+1), 10))
		}
	}
	_, _ = kv.Commit(t.Context(), tx) // another writer may have been faster
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
