package drift

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// benchSize gives a size that an environment variable may make smaller, so that the bench can be tried.
func benchSize(b *testing.B, variable string, size int) int {
	b.Helper()
	if v := os.Getenv(variable); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			b.Fatalf("%s=%q: give a number of objects", variable, v)
		}
		return min(n, size)
	}
	return size
}

func heap() uint64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkState measures what 10,000 and 100,000 objects take in memory after they were looked at, and how long looking at all of
// them takes on one core: first with nothing cached, so that each is decoded and compared; then when nothing moved.
func BenchmarkState(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			n := benchSize(b, "TOWPATH_BENCH_REPLAYED", size)
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			for b.Loop() { // with -benchtime 1x
				r := newReplay(b, 1) // what there is once: schemas, connections
				r.sweep(b, 1, func(f func()) { f() })
				r.reset()
				before := heap()
				for i := range n {
					r.declare(b, i)
				}
				var cold, warm, used time.Duration
				into := func(d *time.Duration) func(func()) {
					return func(f func()) {
						at, cpu := time.Now(), processorTime(b)
						f()
						*d += time.Since(at)
						used += processorTime(b) - cpu
					}
				}
				r.sweep(b, n, into(&cold))
				busy := used
				if fs := r.findings(); len(fs) != 0 || r.svc.stats.compared.Load() != int64(n) {
					b.Fatalf("%d findings, %d compared", len(fs), r.svc.stats.compared.Load())
				}
				r.version++
				r.sweep(b, n, into(&warm))
				clear(r.pages)
				b.ReportMetric((float64(heap())-float64(before))/float64(n), "bytes/object")
				b.ReportMetric(cold.Seconds(), "sweep-s")
				b.ReportMetric(busy.Seconds(), "sweep-cpu-s")
				b.ReportMetric(warm.Seconds(), "unmoved-s")
				runtime.KeepAlive(r)
				if size == 10_000 {
					b.ReportMetric(informerBytes(b, r, n), "informer-bytes/object")
				}
			}
		})
	}
}

// informerBytes is what the same objects take in the store of an informer.
func informerBytes(b *testing.B, r *replayed, n int) float64 {
	b.Helper()
	before := heap()
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	for i := range n {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(r.object(i))); err != nil {
			b.Fatal(err)
		}
		if err := store.Add(u); err != nil {
			b.Fatal(err)
		}
	}
	used := float64(heap()) - float64(before)
	runtime.KeepAlive(store)
	return used / float64(n)
}

// BenchmarkEvent measures what an event of a watch costs from its bytes on: one that changed nothing but bookkeeping, one that changed
// the status too, so that health is read anew, and one that changed what is compared.
func BenchmarkEvent(b *testing.B) {
	r := newReplay(b, replayedIn)
	r.sweep(b, replayedIn, func(f func()) { f() })
	w := &kindWatch{c: r.cluster, gvr: replayedKind, dec: decoder{wire.NewDecoder()}}
	version := r.version
	for _, c := range []struct {
		name   string
		change func(o string, n int) string
	}{
		{"Bookkeeping", func(o string, _ int) string { return o }},
		{"Status", func(o string, n int) string {
			return strings.Replace(o, `"observedGeneration":1`, fmt.Sprintf(`"observedGeneration":1,"collisionCount":%d`, n), 1)
		}},
		{"Compared", func(o string, n int) string {
			return strings.Replace(o, `"deployment.kubernetes.io/revision":"1"`, fmt.Sprintf(`"deployment.kubernetes.io/revision":"%d"`, n), 1)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			// The text of the event is made outside of what is measured.
			objects := make([][]byte, 100)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%100 == 0 {
					b.StopTimer()
					for i := range objects {
						version++
						r.version = version
						objects[i] = []byte(c.change(r.object(i), version))
					}
					b.StartTimer()
				}
				o := objects[n%100]
				h, err := wire.HeadOf(o)
				if err == nil {
					err = w.event("MODIFIED", &h, o)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if fs := r.findings(); len(fs) != 0 {
		b.Fatalf("%d findings, such as %s", len(fs), fs[0])
	}
}
