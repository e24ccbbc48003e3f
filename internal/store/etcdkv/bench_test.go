package etcdkv_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
)

// benchTx is a transaction like those of the catalog: a row and an index, on the condition that the row is new.
func benchTx(key string) store.Tx {
	var tx store.Tx
	tx.If(store.IfAbsent(key)).Put(key, make([]byte, 2048)).Put("index/"+key, nil)
	return tx
}

// BenchmarkCommit256 has 256 writers at once, on one member: ns/op is the inverse of the throughput, p50 and p99 are what one of
// them waits.
func BenchmarkCommit256(b *testing.B) {
	const writers = 256
	db := mustOpen(b, etcdtest.Start(b).URL("bench"))
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkCommit is the latency of one writer alone.
func BenchmarkCommit(b *testing.B) {
	db := mustOpen(b, etcdtest.Start(b).URL("bench"))
	for i := 0; b.Loop(); i++ {
		if _, err := db.Commit(context.Background(), benchTx(fmt.Sprintf("k%09d", i))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet64 has 64 readers of one row of 2 KiB.
func BenchmarkGet64(b *testing.B) {
	db := mustOpen(b, etcdtest.Start(b).URL("bench"))
	if _, err := db.Commit(context.Background(), benchTx("k")); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := db.Get(context.Background(), "k"); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
}
