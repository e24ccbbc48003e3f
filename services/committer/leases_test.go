package committer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/services/committer"
)

// shortLeases makes replicas notice each other's end soon.
func shortLeases(w *world) { w.cfg.LeaseTTL, w.cfg.Replica = time.Second, "first" }

// deploymentsInOrder gives the deployments of the branch's commits, the oldest first.
func deploymentsInOrder(b *gittest.Bare) []string {
	out := b.Git("log", "--reverse", "--format=%(trailers:key=Towpath-Deployment,valueonly,separator=%x20)", "refs/heads/main")
	return strings.Fields(out)
}

func TestALaneMovesToAnotherReplicaInTheMiddleOfAPush(t *testing.T) {
	for end, how := range map[string]func(w *world, host *gittest.Server, hang func()){
		"the holder resigns": func(w *world, _ *gittest.Server, hang func()) {
			hang()
			w.second("second")
			w.stop()
		},
		"the holder loses its connection to NATS": func(w *world, _ *gittest.Server, hang func()) {
			w.stop()
			wire := newLine(w.t, w.server.Addr())
			bus, err := events.Connect(context.Background(), events.Config{
				URL: wire.url(), Role: events.RoleCommitter, NkeySeedFile: w.server.SeedFile(events.RoleCommitter),
			})
			if err != nil {
				w.t.Fatal(err)
			}
			w.t.Cleanup(bus.Close)
			w.cfg.Bus = bus
			w.start()
			hang()
			wire.set(true)
			w.second("second")
			w.committed(name("dev", 2))
			wire.set(false) // it comes back, and takes part again
		},
		"the holder is killed": func(w *world, _ *gittest.Server, hang func()) {
			w.stop()
			p := w.spawn("first", w.t.TempDir())
			hang()
			p.kill()
			w.second("second")
		},
	} {
		for what, kind := range map[string]gittest.Kind{
			"before the host has seen it": gittest.Hang, "after it was stored": gittest.HangAfter, "and lands much later": gittest.Late,
		} {
			t.Run(end+", "+what, func(t *testing.T) {
				t.Parallel()
				w, host := remote(t, shortLeases)
				w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
				w.committed(name("dev", 1))
				how(w, host, func() {
					hangs := make(chan struct{})
					host.Fail(gittest.Fault{Kind: kind, Method: "POST", Path: "git-receive-pack", Then: func() { close(hangs) }})
					w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
					for n := range 3 {
						w.send(w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{"a.yaml": "1"}))
					}
					select {
					case <-hangs:
					case <-time.After(patience):
						t.Fatal("no push hangs")
					}
				})
				w.committed(name("dev", 2))
				host.Release() // the late one reaches the repository now
				w.send(w.change("dev", 3, map[string]string{"a.yaml": "3"}))
				w.committed(name("dev", 3))
				for n := range 3 {
					w.committed(name(fmt.Sprintf("env-%d", n), 1))
				}
				w.settled()
				all := deploymentsInOrder(w.bare)
				var dev []string
				for _, d := range all {
					if strings.Contains(d, "/dev/") {
						dev = append(dev, d)
					}
				}
				if diff := cmp.Diff([]string{name("dev", 1), name("dev", 2), name("dev", 3)}, dev); diff != "" {
					t.Errorf("commits of one environment (-want +got):\n%s", diff)
				}
				slices.Sort(all)
				if len(all) != 6 || len(slices.Compact(slices.Clone(all))) != 6 {
					t.Errorf("commits: %v", all)
				}
			})
		}
	}
}

func TestReplicasShareTheBranchesAndGiveThemBack(t *testing.T) {
	t.Parallel()
	w, _ := remote(t, shortLeases)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
	w.committed(name("dev", 1))
	if who, mine := w.svc.Holder(w.repo); who != "first" || !mine {
		t.Errorf("the branch is held by %q, mine: %t", who, mine)
	}
	second, end := w.second("second")
	held := func(svc *committer.Service) (n int) {
		for i := range 400 { // enough branches to meet every shard
			ref := cloneRef(w.repo)
			ref.Branch = fmt.Sprint(i)
			if _, mine := svc.Holder(ref); mine {
				n++
			}
		}
		return n
	}
	w.poll("a half for each", func() bool {
		a, b := held(w.svc), held(second)
		return a+b == 400 && a > 100 && b > 100
	})
	end()
	w.poll("all for the first", func() bool { return held(w.svc) == 400 })
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	w.committed(name("dev", 2))
	if n := w.commits(); n != 2 {
		t.Errorf("%d commits", n)
	}
}
