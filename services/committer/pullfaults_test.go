package committer_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// dying gives an option that ends the first goroutine that reaches a point, so that nothing after it happens, and what tells of it.
func dying(point string) (option, <-chan struct{}) {
	died := make(chan struct{})
	var once sync.Once
	return func(w *world) {
		w.cfg.Failpoint = func(at string) {
			if at == point {
				once.Do(func() { close(died); runtime.Goexit() })
			}
		}
	}, died
}

// die waits for the end and starts another process, which knows nothing, not even its mirrors.
func (w *world) die(died <-chan struct{}) {
	w.t.Helper()
	select {
	case <-died:
	case <-time.After(patience):
		w.t.Fatalf("the point is never reached; seen: %s", w.summary())
	}
	w.stop()
	entries, err := os.ReadDir(w.cfg.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(w.cfg.Dir, e.Name())); err != nil {
			w.t.Fatal(err)
		}
	}
	w.start()
}

func TestAProcessThatDiesWhileItProposesOpensOnePullRequest(t *testing.T) {
	for _, point := range []string{"rendered", "pack_sent", "ref_moved", "head_pushed", "pull_created", "pull_recorded", "pull_told"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dies, died := dying(point)
			w, svc, change := reviewed(t, byPull, dies)
			w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
			w.die(died)
			w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
			w.settled()
			if svc.created != 1 || w.bare.Git("rev-list", "--count", "main.."+headDev) != "1" {
				t.Errorf("%d pull requests, %s commits", svc.created, w.bare.Git("rev-list", "--count", "main.."+headDev))
			}
			svc.merge(1, forge.MergeCommit, nil)
			w.committed(name("dev", 1))
			w.noRecord("dev")
			w.once(name("dev", 1))
			if w.bare.Tip(headDev) != "" {
				t.Error("the branch is still there")
			}
		})
	}
}

// once holds a deployment against that all of it is told one time.
func (w *world) once(name string) {
	w.t.Helper()
	for _, kind := range []string{"deployment.committed"} {
		n := 0
		for _, d := range w.all(kind) {
			if d.Resource == name {
				n++
			}
		}
		if n != 1 {
			w.t.Errorf("%s is told %d times; seen: %s", kind, n, w.summary())
		}
	}
}

func TestAProcessThatDiesAroundTheMergeTellsItOnce(t *testing.T) {
	for _, point := range []string{"pull_merged", "event_sent", "merge_told", "head_deleted"} {
		for _, automatic := range []bool{false, true} {
			t.Run(point+map[bool]string{true: " automatic"}[automatic], func(t *testing.T) {
				t.Parallel()
				dies, died := dying(point)
				w, svc, change := reviewed(t, byPull, dies, func(w *world) { w.repo.Forge.AutoMerge = automatic })
				w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
				w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
				if !automatic {
					svc.merge(1, forge.Squash, nil)
				}
				w.die(died)
				w.committed(name("dev", 1))
				w.noRecord("dev")
				w.once(name("dev", 1))
				if svc.created != 1 || w.bare.Tip(headDev) != "" || w.desired("applications/shop/environments/dev").GetGeneration() != 1 {
					t.Errorf("%d pull requests, head %q", svc.created, w.bare.Tip(headDev))
				}
			})
		}
	}
}

func TestAProcessThatDiesAroundTheEndOfAPullRequestEndsItOnce(t *testing.T) {
	for _, point := range []string{"close_told", "pull_closed", "head_deleted"} {
		for _, cancelled := range []bool{false, true} {
			if point == "close_told" && cancelled || point == "pull_closed" && !cancelled {
				continue
			}
			t.Run(point+map[bool]string{true: " cancelled"}[cancelled], func(t *testing.T) {
				t.Parallel()
				dies, died := dying(point)
				w, svc, change := reviewed(t, byPull, dies)
				cmd := change("dev", 1, map[string]string{"a.yaml": "a"})
				w.send(cmd)
				w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
				w.settled()
				if cancelled {
					w.cancel(cmd)
				} else {
					svc.shut(1)
				}
				w.die(died)
				w.noRecord("dev")
				if cancelled {
					w.withdrawn(name("dev", 1))
				} else {
					w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_CLOSED)
				}
				w.settled()
				if svc.created != 1 || len(svc.open()) != 0 || w.bare.Tip(headDev) != "" || w.commits() != 1 {
					t.Errorf("%d pull requests, head %q", svc.created, w.bare.Tip(headDev))
				}
			})
		}
	}
}

func TestARecordThatWasLostIsFoundByTheBranch(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull, func(w *world) { w.cfg.PullInterval = time.Hour })
	cmd := change("dev", 1, map[string]string{"a.yaml": "a"})
	w.send(cmd)
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	w.settled()
	subject, err := events.PullSubject("shop", "dev")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cfg.Bus.DropPull(t.Context(), subject, 1<<32); err != nil {
		t.Fatal(err)
	}
	head := w.bare.Tip(headDev)
	w.send(cmd) // as the catalog does when it finds that nobody watches any more
	w.poll("a record", func() bool {
		_, found, err := w.catalog.LastPull(t.Context(), subject)
		return err == nil && found
	})
	if svc.created != 1 || w.bare.Tip(headDev) != head {
		t.Errorf("%d pull requests, the head went from %s to %s", svc.created, head, w.bare.Tip(headDev))
	}
	svc.merge(1, forge.Squash, nil)
	w.svc.Notice(w.repo.GetUrl(), "main")
	w.committed(name("dev", 1))
}

func TestManyEnvironmentsAreReviewedBesideEachOther(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	envs := []string{"a", "b", "c", "d", "e", "f"}
	for _, env := range envs {
		w.send(change(env, 1, map[string]string{"a.yaml": env}))
	}
	for _, env := range envs {
		w.told(name(env, 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	}
	for _, pr := range svc.open() {
		svc.merge(pr.Number, forge.MergeCommit, nil)
	}
	for _, env := range envs {
		w.committed(name(env, 1))
		if !slices.Contains(w.bare.Files("main"), "environments/"+env+"/shop/a.yaml") {
			t.Errorf("%s is lost", env)
		}
	}
}

func TestALostAnswerOfAPushToTheHeadIsDecidedByTheHead(t *testing.T) {
	for what, fault := range map[string]gittest.Fault{
		"before": {Kind: gittest.Status, Status: 500, Path: "git-receive-pack"}, "after": {Kind: gittest.EmptyAfter, Path: "git-receive-pack"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, svc, change := reviewed(t, byPull)
			w.srv.Fail(fault)
			w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
			w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
			if svc.created != 1 || w.bare.Git("rev-list", "--count", "main.."+headDev) != "1" {
				t.Error("it was pushed twice")
			}
		})
	}
}
