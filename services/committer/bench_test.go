package committer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// bundle is what a small service needs: six manifests of about a kilobyte.
func bundle(n int) map[string]string {
	vars := map[string]string{}
	for i := range 6 {
		vars[fmt.Sprintf("object-%d.yaml", i)] = fmt.Sprintf("kind: Thing\nmetadata: {name: x%d}\nspec: {n: %d}\n# %s\n", i, n, strings.Repeat("x", 900))
	}
	return vars
}

// BenchmarkRequestToCommitted measures one deployment at a time: from the command's publishing to its event, and the part of it
// between rendering and the durable commit.
func BenchmarkRequestToCommitted(b *testing.B) {
	run := func(b *testing.B, w *world) {
		w.send(w.change("dev", 1, bundle(1)))
		w.committed(name("dev", 1))
		n := 1
		var commits []time.Duration
		for b.Loop() {
			n++
			w.send(w.change("dev", n, bundle(n)))
			c := w.committed(name("dev", n))
			commits = append(commits, c.GetCommitEndTime().AsTime().Sub(c.GetCommitStartTime().AsTime()))
		}
		slices.Sort(commits)
		b.ReportMetric(float64(commits[len(commits)/2].Microseconds())/1000, "ms-commit-p50")
	}
	b.Run("embedded", func(b *testing.B) { run(b, embedded(b)) })
	b.Run("http", func(b *testing.B) {
		w, _ := remote(b)
		run(b, w)
	})
}

// BenchmarkHundredAtOnce measures 100 deployments of as many environments, sent together.
func BenchmarkHundredAtOnce(b *testing.B) {
	run := func(b *testing.B, w *world) {
		round := 0
		for b.Loop() {
			round++
			for i := range 100 {
				w.send(w.change(fmt.Sprintf("env-%d", i), round, bundle(round*1000+i)))
			}
			for i := range 100 {
				w.committed(name(fmt.Sprintf("env-%d", i), round))
			}
		}
		b.ReportMetric(float64(100*round)/b.Elapsed().Seconds(), "deployments/s")
	}
	b.Run("embedded", func(b *testing.B) { run(b, embedded(b)) })
	b.Run("http", func(b *testing.B) {
		w, _ := remote(b)
		run(b, w)
	})
}
