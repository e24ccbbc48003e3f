package committer_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
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

// at gives a world whose repository is where TOWPATH_BENCH_GIT says, so that bench can let others write the same one; without it, an
// empty one behind a server of its own.
func at(b *testing.B) *world {
	url := os.Getenv("TOWPATH_BENCH_GIT")
	if url == "" {
		w, _ := remote(b)
		return w
	}
	patience = 5 * time.Minute // the first look at a large repository fetches all of its trees
	return newWorld(b, []option{func(w *world) { w.repo.Url, w.cfg.PushDeadline = url, patience }})
}

// benchFolder is in the middle of the folders of such a repository.
const benchFolder = "apps/team-000/app-000/prod"

// round deploys once and gives the time from before the command is published until its commit is durable.
func round(w *world, cmd *eventsv1.DeploymentRequested) time.Duration {
	start := time.Now()
	w.send(cmd)
	return w.committed(cmd.GetDeployment()).GetCommitEndTime().AsTime().Sub(start)
}

func reportPercentiles(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(times[(len(times)*p+99)/100-1].Microseconds())/1000, fmt.Sprintf("ms-p%d", p))
	}
}

// generation tells the runs against one repository apart: what an earlier one has committed is in Git.
func generation() int { return int(time.Now().Unix()-1_700_000_000) * 1000 }

func inBenchFolder(cmd *eventsv1.DeploymentRequested) {
	cmd.Path, cmd.RequestTime = benchFolder, timestamppb.Now()
}

// BenchmarkSingle measures one deployment after the other, from the request to the durable commit at the host.
func BenchmarkSingle(b *testing.B) {
	w := at(b)
	n := generation()
	b.ReportMetric(float64(round(w, w.change("prod", n, bundle(n), inBenchFolder)).Microseconds())/1000, "ms-cold")
	for range 3 {
		n++
		round(w, w.change("prod", n, bundle(n), inBenchFolder))
	}
	var times []time.Duration
	for b.Loop() {
		n++
		times = append(times, round(w, w.change("prod", n, bundle(n), inBenchFolder)))
	}
	reportPercentiles(b, times)
}

// BenchmarkRollback measures putting back the folder of the deployment before the last, by its tree id.
func BenchmarkRollback(b *testing.B) {
	w := at(b)
	n := generation()
	trees := [2]string{}
	for i := range trees {
		n++
		w.send(w.change("prod", n, bundle(n), inBenchFolder))
		trees[i] = w.committed(name("prod", n)).GetTree()
	}
	var times []time.Duration
	for b.Loop() {
		n++
		times = append(times, round(w, w.change("prod", n, bundle(0), inBenchFolder, restore(trees[n%2]))))
	}
	reportPercentiles(b, times)
}
