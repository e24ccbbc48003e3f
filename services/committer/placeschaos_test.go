package committer_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// layout is where dev is: the main place first, then its parts.
type layout []*committerv1.Part

// randomLayout puts the main place and up to two parts into repositories and folders, some of which they had before.
func (p *places) randomLayout(r *rand.Rand) layout {
	repos, free := []string{"shop", "config", "third"}, []string{"a", "b", "c/d", "c/e", "f"}
	r.Shuffle(len(free), func(i, k int) { free[i], free[k] = free[k], free[i] })
	place := func(id string, i int, kinds ...string) *committerv1.Part {
		part := p.part(id, repos[r.IntN(len(repos))], free[i], kinds...)
		if part.GetRepository().GetName() == "repositories/shop" {
			part.Repository = cloneRef(p.repo)
		}
		return part
	}
	out := layout{place("", 0)}
	if r.IntN(2) == 0 {
		out = append(out, place("config", 1, "/ConfigMap"))
	}
	if r.IntN(2) == 0 {
		out = append(out, place("routes", 2, "*/HTTPRoute"))
	}
	return out
}

// leaves are the places of before that are not in the layout.
func (l layout) leaves(before layout) []*committerv1.Part {
	var out []*committerv1.Part
	for _, old := range before {
		stays := false
		for _, now := range l {
			stays = stays || now.GetId() == old.GetId() && now.GetPath() == old.GetPath() && now.GetRepository().GetUrl() == old.GetRepository().GetUrl()
		}
		if !stays {
			out = append(out, old)
		}
	}
	return out
}

func TestMovesAtRandomWithKillsLoseNothingAndLeaveNothing(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			var dies atomic.Int32
			died := make(chan struct{}, 1)
			p := newPlaces(t, func(w *world) {
				w.cfg.Failpoint = func(at string) {
					if at != "acknowledged" && dies.Add(-1) == 0 {
						died <- struct{}{}
						runtime.Goexit()
					}
				}
			})
			var before layout
			for n := 1; n <= 8; n++ {
				now := p.randomLayout(r)
				vars := map[string]string{"deployment-api.yaml": fmt.Sprint(n), "configmap-api.yaml": fmt.Sprint(n / 2), "route-api.yaml": fmt.Sprint(n / 3)}
				before = p.step(n, now, before, vars, &dies, int32(1+r.IntN(12)), died)
			}
		})
	}
}

// step deploys dev to a layout, with a kill at some point of it, and looks at all repositories then.
func (p *places) step(n int, now, before layout, vars map[string]string, dies *atomic.Int32, at int32, died <-chan struct{}) layout {
	p.t.Helper()
	counts := []int{log(p.bare), log(p.config), log(p.third)}
	dies.Store(at)
	p.send(p.change("dev", n, vars, func(cmd *eventsv1.DeploymentRequested) {
		cmd.Repository, cmd.Path, cmd.Parts = now[0].GetRepository(), now[0].GetPath(), now[1:]
		cmd.Leaves, cmd.ExpectTree = now.leaves(before), bundleOf(p.t, vars)
	}))
	ended := func() bool { return p.has("deployment.committed", name("dev", n)) }
	p.poll("an end or a kill", func() bool { return ended() || len(died) > 0 })
	if len(died) > 0 {
		<-died
		p.stop()
		p.start()
	}
	got := p.committed(name("dev", n))
	p.settled()
	dies.Store(0)
	if len(died) > 0 { // it died after the last word
		<-died
		p.stop()
		p.start()
	}
	if got.GetTree() != bundleOf(p.t, vars) || len(got.GetWarnings()) > 0 || len(p.all("deployment.committed")) != n {
		p.t.Fatalf("step %d: told was %v", n, got)
	}
	together, total := map[string]string{}, 0
	for i, b := range []*gittest.Bare{p.bare, p.config, p.third} {
		for _, folder := range []string{"a", "b", "c", "f"} {
			total += len(filesIn(b, folder))
		}
		// A deployment is one commit in each repository, and one more where it leaves.
		if more := log(b) - counts[i]; more > 2 {
			p.t.Errorf("step %d: %d commits in one repository", n, more)
		}
	}
	for _, place := range now {
		bare := map[string]*gittest.Bare{"repositories/deploy": p.bare, "repositories/config": p.config, "repositories/third": p.third}[place.GetRepository().GetName()]
		maps.Copy(together, filesIn(bare, place.GetPath()))
	}
	if d := cmp.Diff(vars, together); d != "" || total != len(vars) {
		p.t.Fatalf("step %d: %d files are left for %v, %s", n, total, now, d)
	}
	return now
}
