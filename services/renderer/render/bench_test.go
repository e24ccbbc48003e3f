package render_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// benchScore is the Score file of one workload of the benchmarks.
func benchScore(b testing.TB, i int) []byte {
	b.Helper()
	return bytes.ReplaceAll(read(b, "testdata/bench.score.yaml"), []byte("NNN"), fmt.Appendf(nil, "%03d", i))
}

func benchInput(b testing.TB, n int) *rendererv1.RenderInput {
	in := &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev",
		Workloads: map[string]*structpb.Struct{}, Variables: map[string]string{"CURRENCY": "EUR"},
		Defaults: &rendererv1.EnvironmentDefaults{Restricted: true}}
	for i := range n {
		for name, w := range parse(b, string(benchScore(b, i))) {
			in.Workloads[name] = w
		}
	}
	return in
}

func benchmarkRender(b *testing.B, n int) {
	in := benchInput(b, n)
	b.ReportAllocs()
	runtime.GC() // what loading the input has left behind is not the rendering's
	before := cpuTime(b)
	for b.Loop() {
		if _, err := render.Render(in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "workloads/s")
	// Processor time and not the clock's: other processes on the machine do not count.
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/float64(n), "cpu-ns/workload")
	b.ReportMetric(peakMegabytes(b), "peak-MB")
}

// cpuTime is the processor time that the process has had, the collector's included, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// peakMegabytes is the most memory that the process has had, its input included.
func peakMegabytes(b *testing.B) float64 {
	b.Helper()
	for line := range strings.Lines(string(read(b, "/proc/self/status"))) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("the kernel does not say how much memory the process has had")
	return 0
}

func BenchmarkRender1(b *testing.B) { benchmarkRender(b, 1) }

func BenchmarkRender100(b *testing.B) { benchmarkRender(b, 100) }

// BenchmarkRender10000 shows that the cost of a workload does not grow with their number.
func BenchmarkRender10000(b *testing.B) { benchmarkRender(b, 10_000) }
