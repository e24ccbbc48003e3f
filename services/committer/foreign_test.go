package committer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
)

const dev = "applications/shop/environments/dev"

func holding(cmd *eventsv1.DeploymentRequested) {
	cmd.ForeignPolicy = committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD
}

// decide sends a decision as the catalog does.
func (w *world) decide(id string, d *eventsv1.ForeignDecision) {
	w.t.Helper()
	d.Environment, d.Repository, d.RequestId, d.RequestTime = dev, w.repo, id, timestamppb.New(birth.Add(time.Hour))
	if d.GetPath() == "" {
		d.Path = "environments/dev/shop"
	}
	d.Author = &eventsv1.Author{Subject: "users/grace"}
	subject, err := events.CommandSubject(events.Shard(w.repo.GetUrl(), w.repo.GetBranch()), "shop", "dev")
	if err == nil {
		err = w.catalog.Publish(context.Background(), events.Message{
			Subject: subject + ".foreign", ID: fmt.Sprintf("%s@%d", id, time.Now().UnixNano()), Type: "dev.towpath.environment.foreign_decision",
			Source: "//towpath.dev/catalog", Resource: dev, Body: d,
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// resolved waits for the event that tells how a foreign change ended.
func (w *world) resolved(how string) *eventsv1.ForeignResolved {
	w.t.Helper()
	got := &eventsv1.ForeignResolved{}
	w.await("resolved as "+how, func() bool {
		for _, d := range w.all("repository.foreign_resolved") {
			if err := d.Decode(got); err != nil {
				w.t.Fatal(err)
			}
			if strings.HasPrefix(got.GetHow(), how) {
				return true
			}
		}
		return false
	})
	return got
}

// changed makes a held change: a deployment, somebody's commit, and the next deployment, which waits.
func (w *world) changed(files map[string][]byte) (found string) {
	w.t.Helper()
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
	w.committed(name("dev", 1))
	w.bare.Commit("main", "Raise the limit", files)
	found, _ = strings.CutPrefix(w.bare.Git("ls-tree", "-d", "main", "environments/dev/shop"), "040000 tree ")
	found, _, _ = strings.Cut(found, "\t")
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "ours again"}, holding))
	return found
}

var hotFix = map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs"), "notes.txt": []byte("keep me")}

func TestAHeldDeploymentGoesOnWhenSomebodyAllowsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		found := w.changed(hotFix)
		wait := find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
		for _, word := range []string{"A Person <person@example.com>", "Raise the limit", w.bare.Tip("main")[:12], "tow foreign show shop/dev"} {
			if !strings.Contains(wait.GetReason(), word) {
				t.Errorf("the reason does not hold %q: %s", word, wait.GetReason())
			}
		}
		told := find(w, "repository.foreign_commit", dev, &eventsv1.ForeignCommit{})
		if told.GetAuthor() != "A Person <person@example.com>" || told.GetForeignCommit() != w.bare.Tip("main") ||
			told.GetSubject() != "Raise the limit" || told.GetTime() == nil || told.GetPolicy() != committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD {
			t.Errorf("it was told as %v", told)
		}
		w.send(w.change("qa", 1, map[string]string{"a.yaml": "qa"}, holding)) // nobody else waits
		w.committed(name("qa", 1))
		w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
		w.committed(name("dev", 2))
		w.resolved("allowed")
		if got := w.resolved("overwritten"); got.GetFoundTree() != found || got.GetCommit() != w.bare.Tip("main") {
			t.Errorf("it was resolved as %v", got)
		}
		if w.bare.Show("main", "environments/dev/shop/a.yaml") != "ours again" || w.bare.Show("main", "notes.txt") != "keep me" {
			t.Error("the deployment is not what stands, or took what is not its own")
		}
		if n := len(w.all("repository.foreign_commit")); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		log := w.bare.Git("log", "--format=%(trailers:key=Towpath-Foreign,valueonly)", "main")
		if strings.TrimSpace(log) != "overwrite "+found {
			t.Errorf("the trailers are %q", log)
		}
	})
}

func TestRestoringPutsTheFolderBackAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
		w.committed(name("dev", 1))
		w.bare.Commit("main", "gone", map[string][]byte{"environments/dev/shop/a.yaml": nil, "notes.txt": []byte("keep me")})
		w.svc.Notice(w.repo.GetUrl(), "main")
		find(w, "repository.foreign_commit", dev, &eventsv1.ForeignCommit{})
		for range 3 { // a redelivery does it once
			w.decide("decision-1", &eventsv1.ForeignDecision{Decision: eventsv1.ForeignDecision_DECISION_RESTORE, Message: "It was right"})
		}
		w.resolved("restored")
		w.settled()
		if w.bare.Show("main", "environments/dev/shop/a.yaml") != "ours" || w.bare.Show("main", "notes.txt") != "keep me" {
			t.Error("it is not as before, or something else was taken")
		}
		if log := w.bare.Log("main"); len(log) != 3 || log[0] != "It was right" {
			t.Errorf("the log is %q", log)
		}
		if n := len(w.all("repository.foreign_resolved")); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "next"}, holding))
		w.committed(name("dev", 2))
	})
}

func TestADecisionIsAboutOneChangeOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		found := w.changed(hotFix)
		find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
		w.bare.Commit("main", "and more", map[string][]byte{"environments/dev/shop/b.yaml": []byte("theirs too")})
		w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
		w.resolved("not done: another change")
		w.await("the new finding", func() bool { return len(w.all("repository.foreign_commit")) == 2 })
		if w.has("deployment.committed", name("dev", 2)) || w.bare.Show("main", "environments/dev/shop/a.yaml") != "theirs" {
			t.Error("it was written over")
		}
		now := w.bare.Git("rev-parse", "main:environments/dev/shop")
		w.decide("decision-2", &eventsv1.ForeignDecision{FoundTree: now, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
		w.committed(name("dev", 2))
	})
}

func TestAChangeThatSomebodyTakesBackHoldsNobody(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.changed(hotFix)
		find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
		w.bare.Commit("main", "take it back", map[string][]byte{"environments/dev/shop/a.yaml": []byte("ours")})
		w.svc.Notice(w.repo.GetUrl(), "main")
		w.committed(name("dev", 2))
		w.resolved("reverted")
	})
}

func TestAHeldDeploymentOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	w, _ := remote(t)
	found := w.changed(hotFix)
	find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	w.stop()
	w.start()
	w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
	w.committed(name("dev", 2))
	if n := len(w.all("repository.foreign_commit")); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestADecisionIsTakenOnceWhereverTheProcessEnds(t *testing.T) {
	decisions := map[string]eventsv1.ForeignDecision_Decision{
		"allowed": eventsv1.ForeignDecision_DECISION_OVERWRITE, "restored": eventsv1.ForeignDecision_DECISION_RESTORE,
	}
	for _, at := range []string{"pack_sent", "ref_moved"} {
		for how, decision := range decisions {
			t.Run(at+" "+how, func(t *testing.T) {
				t.Parallel()
				var armed atomic.Bool
				died := make(chan struct{})
				w := embedded(t, func(w *world) {
					w.cfg.Failpoint = func(p string) {
						if p == at && armed.CompareAndSwap(true, false) {
							close(died)
							runtime.Goexit() // nothing after it happens
						}
					}
				})
				found := w.changed(hotFix)
				find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
				armed.Store(true)
				w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: decision})
				<-died
				w.stop()
				w.start()
				w.committed(name("dev", 2))
				w.resolved(how)
				w.settled()
				trailers := strings.Fields(w.bare.Git("log", "--format=%(trailers:key=Towpath-Foreign,valueonly)", "main"))
				if len(trailers) != 2 || trailers[1] != found {
					t.Errorf("the decision is in Git as %q", trailers)
				}
			})
		}
	}
}

func TestRemovingAnEnvironmentWaitsToo(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
	w.committed(name("dev", 1))
	w.bare.Commit("main", "Raise the limit", hotFix)
	found := w.bare.Git("rev-parse", "main:environments/dev/shop")
	w.send(w.change("dev", 2, nil, holding, remove))
	find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
	w.committed(name("dev", 2))
	if slices.Contains(w.bare.Files("main"), "environments/dev/shop/a.yaml") {
		t.Error("it is still there")
	}
}

func TestWhatIsMadeAgainByTheDeploymentItselfIsNotHeld(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
	w.committed(name("dev", 1))
	w.bare.Commit("main", "Raise the limit", hotFix)
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "theirs"}, holding))
	w.committed(name("dev", 2))
	w.resolved("adopted")
}

func TestAFolderThatNobodyWroteIsNotTakenSilently(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.bootstrap()
	w.bare.Commit("main", "by hand", hotFix)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
	find(w, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{})
	found := w.bare.Git("rev-parse", "main:environments/dev/shop")
	w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_RESTORE})
	w.resolved("not done: Towpath has never written")
	w.decide("decision-2", &eventsv1.ForeignDecision{FoundTree: found, Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
	w.committed(name("dev", 1))
}

// sabotage is what people do to a branch besides editing a folder.
var sabotage = map[string]func(w *world){
	"deletes the folder": func(w *world) {
		w.bare.Commit("main", "sabotage", map[string][]byte{"environments/dev/shop/a.yaml": nil})
	},
	"deletes the state file": func(w *world) {
		w.bare.Commit("main", "sabotage", map[string][]byte{w.ownState(): nil})
	},
	"edits the generation": func(w *world) {
		s := strings.Replace(w.bare.Show("main", w.ownState()), `"generation": 2`, `"generation": 999`, 1)
		w.bare.Commit("main", "sabotage", map[string][]byte{w.ownState(): []byte(s)})
	},
	"breaks the state file": func(w *world) {
		w.bare.Commit("main", "sabotage", map[string][]byte{w.ownState(): []byte("{")})
	},
	"sets the branch back": func(w *world) { w.bare.Git("update-ref", "refs/heads/main", "main~1") },
	"deletes the branch":   func(w *world) { w.bare.Git("update-ref", "-d", "refs/heads/main") },
}

func (w *world) ownState() string {
	for _, f := range w.bare.Files("main") {
		if strings.HasPrefix(f, ".towpath/state/") && strings.HasSuffix(f, "/shop/dev") {
			return f
		}
	}
	w.t.Fatal("there is no state file")
	return ""
}

func TestWhateverSomebodyDoesToABranchItIsToldAndStopsNobody(t *testing.T) {
	for what, act := range sabotage {
		t.Run(what, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world) {
				for n := range 2 {
					w.send(w.change("dev", n+1, map[string]string{"a.yaml": fmt.Sprint(n)}))
					w.committed(name("dev", n+1))
				}
				act(w)
				w.svc.Notice(w.repo.GetUrl(), "main")
				find(w, "repository.foreign_commit", dev, &eventsv1.ForeignCommit{})
				w.send(w.change("dev", 3, map[string]string{"a.yaml": "last"}))
				w.committed(name("dev", 3))
				if got := w.bare.Show("main", "environments/dev/shop/a.yaml"); got != "last" {
					t.Errorf("the folder holds %q", got)
				}
				if n := len(w.all("repository.foreign_commit")); n != 1 {
					t.Errorf("it was told %d times: %s", n, w.summary())
				}
				w.send(w.change("dev", 2, map[string]string{"a.yaml": "old"})) // the fence still stands
				w.settled()
				if got := w.bare.Show("main", "environments/dev/shop/a.yaml"); got != "last" {
					t.Errorf("an old command undid a newer one: %q", got)
				}
			})
		})
	}
}

func TestWhateverSomebodyDoesToAFolderUnderHoldWaitsAndIsDecided(t *testing.T) {
	for _, what := range []string{"deletes the folder", "sets the branch back", "deletes the branch"} {
		t.Run(what, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world) {
				for n := range 2 {
					w.send(w.change("dev", n+1, map[string]string{"a.yaml": fmt.Sprint(n)}, holding))
					w.committed(name("dev", n+1))
				}
				sabotage[what](w)
				w.svc.Notice(w.repo.GetUrl(), "main")
				told := find(w, "repository.foreign_commit", dev, &eventsv1.ForeignCommit{})
				w.send(w.change("dev", 3, map[string]string{"a.yaml": "last"}, holding))
				find(w, "deployment.waiting", name("dev", 3), &eventsv1.DeploymentWaiting{})
				w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: told.GetFoundTree(), Decision: eventsv1.ForeignDecision_DECISION_RESTORE})
				w.resolved("restored")
				w.committed(name("dev", 3))
				if got := w.bare.Show("main~1", "environments/dev/shop/a.yaml"); got != "1" {
					t.Errorf("%q was put back", got)
				}
			})
		})
	}
}

func TestWhatTheHostNoLongerHasCannotBePutBackAndItIsSaid(t *testing.T) {
	t.Parallel()
	w, _ := remote(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}, holding))
	w.committed(name("dev", 1))
	w.bare.Git("update-ref", "-d", "refs/heads/main")
	w.bare.Git("reflog", "expire", "--expire=now", "--all")
	w.bare.Git("gc", "--quiet", "--prune=now")
	w.bare.Commit("main", "from scratch", map[string][]byte{"environments/dev/shop/b.yaml": []byte("theirs"), "README": []byte("x")})
	w.svc.Notice(w.repo.GetUrl(), "main")
	told := find(w, "repository.foreign_commit", dev, &eventsv1.ForeignCommit{})
	w.decide("decision-1", &eventsv1.ForeignDecision{FoundTree: told.GetFoundTree(), Decision: eventsv1.ForeignDecision_DECISION_RESTORE})
	got := w.resolved("not done: what Towpath wrote")
	if !strings.Contains(got.GetHow(), "no longer in the repository") {
		t.Errorf("it was told as %v", got)
	}
	w.decide("decision-2", &eventsv1.ForeignDecision{FoundTree: told.GetFoundTree(), Decision: eventsv1.ForeignDecision_DECISION_OVERWRITE})
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "ours"}, holding))
	w.committed(name("dev", 2))
}

func TestAHeldDeploymentAsksTheHostForNothing(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	w.changed(hotFix)
	find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	srv.Requests()                     // what was asked until now
	end := time.Now().Add(time.Second) // in which the bus tries again ten times
	w.poll("a second", func() bool { return time.Now().After(end) })
	if got := srv.Requests(); len(got) != 0 {
		t.Errorf("the host was asked meanwhile: %q", got)
	}
}
