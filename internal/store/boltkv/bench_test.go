package boltkv_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
)

// benchTx is a transaction like those of the catalog: a row and an index, on the condition that the row is new.
func benchTx(key string) store.Tx {
	var tx store.Tx
	tx.If(store.IfAbsent(key)).Put(key, make([]byte, 2048)).Put("index/"+key, nil)
	return tx
}

// BenchmarkCommit is the latency of one writer alone: one wait for the disk.
func BenchmarkCommit(b *testing.B) {
	db := mustOpen(b, boltkv.Config{Path: filepath.Join(b.TempDir(), "towpath.db")})
	for i := 0; b.Loop(); i++ {
		if _, err := db.Commit(context.Background(), benchTx(fmt.Sprintf("k%09d", i))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit256 has 256 writers at once: ns/op is the inverse of the throughput, p50 and p99 are what one of them waits.
func BenchmarkCommit256(b *testing.B) {
	const writers = 256
	db := mustOpen(b, boltkv.Config{Path: filepath.Join(b.TempDir(), "towpath.db")})
	var (
		mu    sync.Mutex
		waits []time.Duration
		wg    sync.WaitGroup
		next  = make(chan int)
	)
	for range writers {
		wg.Go(func() {
			var own []time.Duration
			for i := range next {
				start := time.Now()
				if _, err := db.Commit(context.Background(), benchTx(fmt.Sprintf("k%09d", i))); err != nil {
					b.Error(err)
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			waits = append(waits, own...)
			mu.Unlock()
		})
	}
	for i := 0; b.Loop(); i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkGet reads one row of 2 KiB.
func BenchmarkGet(b *testing.B) {
	db := mustOpen(b, boltkv.Config{Path: filepath.Join(b.TempDir(), "towpath.db")})
	if _, err := db.Commit(context.Background(), benchTx("k")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := db.Get(context.Background(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}
