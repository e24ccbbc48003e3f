package committer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/services/committer"
)

const headDev = "towpath/shop/dev"

// changer makes a deployment as world.change does.
type changer func(env string, n int, vars map[string]string, mods ...func(*eventsv1.DeploymentRequested)) *eventsv1.DeploymentRequested

// reviewed gives a world whose deployments go by pull request, unless mode says otherwise.
func reviewed(t testing.TB, mode committerv1.WriteMode, opts ...option) (*world, *service, changer) {
	t.Helper()
	svc := &service{t: t}
	w, srv := remote(t, append([]option{func(w *world) {
		svc.bare = w.bare
		w.repo.Forge = &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA, Url: "https://git.test", Project: "shop/deploy"}
		w.cfg.PullInterval = 30 * time.Millisecond
		w.cfg.Forges = func(forge.Config) (committer.PullRequests, error) { return svc, nil }
		w.bare.Commit("main", "begin", map[string][]byte{"README.md": []byte("hello")})
	}}, opts...)...)
	w.srv = srv
	change := func(env string, n int, vars map[string]string, mods ...func(*eventsv1.DeploymentRequested)) *eventsv1.DeploymentRequested {
		cmd := w.change(env, n, vars, mods...)
		cmd.WriteMode = mode
		cmd.PullRequest = &eventsv1.PullRequestText{EnvironmentType: "environmentTypes/production", Summary: []string{"changed variable LOG"}, Link: "https://towpath.test/d/1"}
		return cmd
	}
	return w, svc, change
}

const byPull = committerv1.WriteMode_WRITE_MODE_PULL_REQUEST

// told waits for the event of a pull request of that state.
func (w *world) told(name string, state eventsv1.DeploymentPullRequest_State) *eventsv1.DeploymentPullRequest {
	w.t.Helper()
	var got *eventsv1.DeploymentPullRequest
	w.await(state.String()+" of "+name, func() bool {
		for _, d := range w.all("deployment.pull_request") {
			var ev eventsv1.DeploymentPullRequest
			if d.Resource == name && d.Decode(&ev) == nil && ev.GetState() == state {
				got = &ev
				return true
			}
		}
		return false
	})
	return got
}

// noRecord waits until nothing is watched any more.
func (w *world) noRecord(env string) {
	w.t.Helper()
	subject, err := events.PullSubject("shop", env)
	if err != nil {
		w.t.Fatal(err)
	}
	w.poll("the end of the record", func() bool {
		_, found, err := w.catalog.LastPull(w.t.Context(), subject)
		return err == nil && !found
	})
}

func TestAMergedPullRequestCommitsItsDeployment(t *testing.T) {
	for _, how := range []forge.MergeMethod{forge.MergeCommit, forge.Squash, forge.Rebase} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			w, svc, change := reviewed(t, byPull)
			cmd := change("dev", 1, map[string]string{"a.yaml": "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n"})
			w.send(cmd)
			open := w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
			w.settled()
			pr := svc.open()[0]
			if open.GetUrl() != pr.URL || open.GetNumber() != pr.Number || open.GetHead() != headDev || open.GetBranch() != "main" ||
				open.GetCommit() != pr.HeadCommit || !open.GetRenderStartTime().IsValid() {
				t.Errorf("the event says %v of %v", open, pr)
			}
			for _, want := range []string{"shop", "dev", "environmentTypes/production", "changed variable LOG", "+ ConfigMap a", "https://towpath.test/d/1", "users/ada"} {
				if !strings.Contains(strings.ReplaceAll(pr.Body, `\`, ""), want) {
					t.Errorf("its text has no %q:\n%s", want, pr.Body)
				}
			}
			if w.has("deployment.committed", name("dev", 1)) || w.commits() != 1 {
				t.Fatal("it is in the base before it is merged")
			}
			svc.merge(pr.Number, how, nil)
			done := w.committed(name("dev", 1))
			if got := done.GetPullRequest(); got.GetActor() != "grace" || got.GetState() != eventsv1.DeploymentPullRequest_STATE_MERGED || got.GetUrl() != pr.URL {
				t.Errorf("the commit came by %v", got)
			}
			w.await("a desired state", func() bool { return w.desired("applications/shop/environments/dev").GetGeneration() == 1 }) // another stream
			desired := w.desired("applications/shop/environments/dev")
			if desired.GetTree() != done.GetTree() || desired.GetGeneration() != 1 || !desired.GetAutomaticSync() || desired.GetTarget().GetName() != "targets/local" {
				t.Errorf("the desired state is %v", desired)
			}
			if w.bare.Show(done.GetCommit(), "environments/dev/shop/a.yaml") == "" {
				t.Error("the commit does not have the file")
			}
			w.noRecord("dev")
			if tip := w.bare.Tip(headDev); tip != "" {
				t.Errorf("the branch is still there, at %s", tip)
			}
		})
	}
}

func TestAClosedPullRequestRejectsItsDeployment(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	svc.shut(1)
	if got := w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_CLOSED); got.GetActor() != "grace" {
		t.Errorf("it was closed by %q", got.GetActor())
	}
	w.noRecord("dev")
	if w.bare.Tip(headDev) != "" || w.commits() != 1 {
		t.Error("something of it is left")
	}
	w.send(change("dev", 2, map[string]string{"a.yaml": "b"}))
	if got := w.told(name("dev", 2), eventsv1.DeploymentPullRequest_STATE_OPEN); got.GetNumber() != 2 {
		t.Errorf("the next one is %v", got)
	}
}

func TestALaterDeploymentTakesOverBranchAndPullRequest(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	first := w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	w.send(change("dev", 2, map[string]string{"b.yaml": "b"}, func(c *eventsv1.DeploymentRequested) { c.Message = "the second" }))
	second := w.told(name("dev", 2), eventsv1.DeploymentPullRequest_STATE_OPEN)
	if second.GetNumber() != first.GetNumber() || second.GetCommit() == first.GetCommit() || svc.created != 1 {
		t.Errorf("the second is %v, the first %v", second, first)
	}
	if f := w.failed(name("dev", 1)); !f.GetSuperseded() || f.GetReason() != "SUPERSEDED" {
		t.Errorf("the first ended as %v", f)
	}
	pr := svc.open()[0]
	if !strings.Contains(pr.Title, "the second") || !strings.Contains(pr.Body, name("dev", 2)) || strings.Contains(pr.Body, name("dev", 1)) {
		t.Errorf("the text is %s\n%s", pr.Title, pr.Body)
	}
	if got := w.bare.Git("rev-list", "--count", "main.."+headDev); got != "1" {
		t.Errorf("the branch has %s commits", got)
	}
	svc.merge(1, forge.Squash, nil)
	w.committed(name("dev", 2))
	if slices.Contains(w.bare.Files("main"), "environments/dev/shop/a.yaml") {
		t.Error("what was superseded is in the base")
	}
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"})) // the old command again
	w.settled()
	if len(svc.open()) != 0 {
		t.Error("an overtaken deployment opened a pull request")
	}
}

func TestAPullRequestFollowsItsBase(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	tip := w.bare.Commit("main", "by hand", map[string][]byte{"docs/x.md": []byte("x")})
	w.poll("a head on the new tip", func() bool { return w.bare.Git("rev-parse", headDev+"^") == tip })
	// A conflict in the very folder: somebody else wrote there.
	tip = w.bare.Commit("main", "in the folder", map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs")})
	w.poll("a head on the newest tip", func() bool { return w.bare.Git("rev-parse", headDev+"^") == tip })
	if got := w.bare.Show(headDev, "environments/dev/shop/a.yaml"); got != "a" {
		t.Errorf("the head has %q", got)
	}
	if got := w.bare.Git("log", "-1", "--format=%(trailers:key=Towpath-Deployment,valueonly)", headDev); strings.TrimSpace(got) != name("dev", 1) {
		t.Errorf("the new commit is of %q", got)
	}
	svc.merge(1, forge.MergeCommit, nil)
	w.committed(name("dev", 1))
	if got := w.bare.Show("main", "docs/x.md"); got != "x" {
		t.Error("a commit of somebody else is lost")
	}
}

func TestAReviewersCommitIsLeftAloneAndCountsWhenMerged(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	fix := w.bare.Commit(headDev, "a fix", map[string][]byte{"environments/dev/shop/a.yaml": []byte("fixed")})
	waits := func() bool {
		return slices.ContainsFunc(w.all("deployment.pull_request"), func(d events.Delivery) bool {
			var ev eventsv1.DeploymentPullRequest
			return d.Decode(&ev) == nil && strings.Contains(ev.GetWaitsFor(), fix[:12])
		})
	}
	w.await("that it is told", waits)
	w.bare.Commit("main", "by hand", map[string][]byte{"docs/x.md": []byte("x")})
	w.svc.Notice(w.repo.GetUrl(), "main")
	w.never("a rewritten head", func() bool { return w.bare.Tip(headDev) != fix })
	svc.merge(1, forge.MergeCommit, nil)
	done := w.committed(name("dev", 1))
	if want := w.bare.Git("rev-parse", "main:environments/dev/shop"); done.GetTree() != want {
		t.Errorf("the tree is %s and not what was merged, %s", done.GetTree(), want)
	}
	find(w, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
}

// never watches for a while that something does not happen: that long the service was asked many times.
func (w *world) never(what string, ok func() bool) {
	w.t.Helper()
	for range 20 {
		if ok() {
			w.t.Fatalf("%s", what)
		}
		time.Sleep(15 * time.Millisecond)
	}
}

func TestASquashThatWasEditedIsToldAsWhatItIs(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	svc.merge(1, forge.Squash, map[string][]byte{"environments/dev/shop/a.yaml": []byte("edited")})
	done := w.committed(name("dev", 1))
	if want := w.bare.Git("rev-parse", "main:environments/dev/shop"); done.GetTree() != want || done.GetCommit() != w.bare.Tip("main") {
		t.Errorf("it is told as %v", done)
	}
	foreign := find(w, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
	if foreign.GetFoundTree() != done.GetTree() || foreign.GetExpectedTree() == done.GetTree() {
		t.Errorf("the edit is told as %v", foreign)
	}
}

func TestALaterDeploymentReplacesAReviewersCommitAndSaysSo(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	fix := w.bare.Commit(headDev, "a fix", map[string][]byte{"environments/dev/shop/a.yaml": []byte("fixed")})
	w.send(change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.told(name("dev", 2), eventsv1.DeploymentPullRequest_STATE_OPEN)
	if pr := svc.open()[0]; !strings.Contains(pr.Body, fix) {
		t.Errorf("the text does not say what it replaced:\n%s", pr.Body)
	}
}

func TestACancelledDeploymentClosesItsPullRequest(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	cmd := change("dev", 1, map[string]string{"a.yaml": "a"})
	w.send(cmd)
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	w.settled()
	w.cancel(cmd)
	w.withdrawn(name("dev", 1))
	if len(svc.open()) != 0 || w.bare.Tip(headDev) != "" || len(svc.comment[1]) != 1 || !strings.Contains(svc.comment[1][0], "cancelled") {
		t.Errorf("what is left: %v, comments %v", svc.open(), svc.comment)
	}
	w.noRecord("dev")
}

func TestACancellationThatComesAfterTheMergeIsTooLate(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull, func(w *world) { w.cfg.PullInterval = time.Hour })
	cmd := change("dev", 1, map[string]string{"a.yaml": "a"})
	w.send(cmd)
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	w.settled()
	svc.merge(1, forge.Rebase, nil)
	w.cancel(cmd)
	w.committed(name("dev", 1))
	w.settled()
	if w.has("deployment.cancelled", name("dev", 1)) {
		t.Error("it was told as cancelled, too")
	}
}

func TestAPullRequestIsMergedByItselfWhenItMay(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull, func(w *world) {
		w.repo.Forge.AutoMerge, w.repo.Forge.MergeMethod = true, committerv1.Forge_MERGE_METHOD_SQUASH
	})
	svc.mu.Lock()
	svc.refuse = "2 approvals"
	svc.mu.Unlock()
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.await("what it waits for", func() bool {
		return slices.ContainsFunc(w.all("deployment.pull_request"), func(d events.Delivery) bool {
			var ev eventsv1.DeploymentPullRequest
			return d.Decode(&ev) == nil && ev.GetWaitsFor() == "2 approvals"
		})
	})
	svc.mu.Lock()
	svc.refuse = ""
	svc.mu.Unlock()
	if done := w.committed(name("dev", 1)); done.GetPullRequest().GetActor() != "towpath-bot" {
		t.Errorf("it was merged by %q", done.GetPullRequest().GetActor())
	}
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if m := svc.merges[len(svc.merges)-1]; m.Method != forge.Squash || m.HeadCommit == "" || !strings.Contains(m.Body, "Towpath-Deployment") {
		t.Errorf("it was merged with %v", m)
	}
}

func TestWhatTheBaseHasNeedsNoPullRequest(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	svc.merge(1, forge.Squash, nil)
	w.committed(name("dev", 1))
	w.noRecord("dev")
	w.send(change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.told(name("dev", 2), eventsv1.DeploymentPullRequest_STATE_OPEN)
	w.send(change("dev", 3, map[string]string{"a.yaml": "a"})) // back to what stands
	done := w.committed(name("dev", 3))
	if !done.GetUnchanged() || done.GetCommit() != w.bare.Tip("main") || done.GetGeneration() != 3 || done.GetPullRequest() != nil {
		t.Errorf("it is told as %v", done)
	}
	if f := w.failed(name("dev", 2)); !f.GetSuperseded() || len(svc.open()) != 0 || w.bare.Tip(headDev) != "" {
		t.Errorf("the one before ended as %v, open %v", f, svc.open())
	}
	w.noRecord("dev")
}

func TestRemovalRollbackAndClaimsGoByPullRequestToo(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull, func(w *world) { w.repo.Forge.AutoMerge = true })
	claims := change("dev", 1, map[string]string{"claim.yaml": "c"}, func(c *eventsv1.DeploymentRequested) {
		c.Mode, c.RequestId = eventsv1.DeploymentRequested_MODE_CLAIMS, "request-dev-1-claims"
	})
	w.send(claims)
	find(w, "deployment.claims", name("dev", 1), &eventsv1.ClaimsCommitted{})
	w.noRecord("dev")
	w.send(change("dev", 1, map[string]string{"a.yaml": "a", "claim.yaml": "c"}))
	first := w.committed(name("dev", 1))
	w.send(change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.committed(name("dev", 2))
	w.send(change("dev", 3, nil, restore(first.GetTree())))
	if back := w.committed(name("dev", 3)); back.GetTree() != first.GetTree() {
		t.Errorf("the rollback brought %s and not %s", back.GetTree(), first.GetTree())
	}
	w.noRecord("dev")
	w.send(change("dev", 4, nil, remove))
	w.committed(name("dev", 4))
	if !w.desired("applications/shop/environments/dev").GetRemoved() || slices.Contains(w.bare.Files("main"), "environments/dev/shop/a.yaml") {
		t.Error("the environment is still there")
	}
	if svc.created != 5 {
		t.Errorf("there were %d pull requests", svc.created)
	}
}

func TestABranchThatRefusesFallsBackToAPullRequest(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST)
	w.send(change("free", 1, map[string]string{"a.yaml": "a"}))
	if done := w.committed(name("free", 1)); done.GetPullRequest() != nil || svc.created != 0 {
		t.Errorf("it went by %v", done.GetPullRequest())
	}
	protect(t, w.bare)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	svc.merge(1, forge.Squash, nil)
	w.committed(name("dev", 1))
	direct := change("direct", 1, map[string]string{"a.yaml": "a"})
	direct.WriteMode = committerv1.WriteMode_WRITE_MODE_DIRECT
	w.send(direct)
	if f := w.failed(name("direct", 1)); f.GetReason() != "PUSH_REFUSED" || !strings.Contains(f.GetMessage(), "protected") {
		t.Errorf("it failed as %v", f)
	}
}

func TestAServiceThatIsDownHoldsUpItsOwnDeploymentOnly(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	svc.fail(errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "git.test answered 502"))
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	if got := find(w, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{}); !strings.Contains(got.GetReason(), "502") {
		t.Errorf("it waits for %q", got.GetReason())
	}
	direct := change("other", 1, map[string]string{"a.yaml": "a"})
	direct.WriteMode = committerv1.WriteMode_WRITE_MODE_DIRECT
	w.send(direct)
	w.committed(name("other", 1))
	svc.fail(nil)
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	svc.fail(errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "git.test answered 503"))
	w.await("that it is told", func() bool {
		return slices.ContainsFunc(w.all("deployment.waiting"), func(d events.Delivery) bool {
			var ev eventsv1.DeploymentWaiting
			return d.Decode(&ev) == nil && strings.Contains(ev.GetReason(), "503")
		})
	})
	svc.fail(nil)
	svc.merge(1, forge.Squash, nil)
	w.committed(name("dev", 1))
}

func TestATokenWithoutRightsFailsTheDeployment(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	svc.fail(errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, "the token may not open a pull request"))
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	if f := w.failed(name("dev", 1)); f.GetReason() != "PUSH_REFUSED" || !strings.Contains(f.GetMessage(), "may not open") {
		t.Errorf("it failed as %v", f)
	}
}

func TestADirectDeploymentEndsAnOpenPullRequest(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	direct := change("dev", 2, map[string]string{"a.yaml": "b"})
	direct.WriteMode = committerv1.WriteMode_WRITE_MODE_DIRECT
	w.send(direct)
	w.committed(name("dev", 2))
	if f := w.failed(name("dev", 1)); !f.GetSuperseded() {
		t.Errorf("it ended as %v", f)
	}
	w.noRecord("dev")
	if len(svc.open()) != 0 || w.bare.Tip(headDev) != "" {
		t.Error("its pull request is still open")
	}
}

func TestAMergeThatWasTakenBackFailsTheDeployment(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull, func(w *world) { w.cfg.PullInterval = time.Hour })
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.told(name("dev", 1), eventsv1.DeploymentPullRequest_STATE_OPEN)
	before := w.bare.Tip("main")
	svc.merge(1, forge.Squash, nil)
	w.bare.Git("update-ref", "refs/heads/main", w.bare.Git("commit-tree", before+"^{tree}", "-m", "Revert", "-p", w.bare.Tip("main")))
	w.svc.Notice(w.repo.GetUrl(), "main")
	if f := w.failed(name("dev", 1)); f.GetReason() != "PULL_REQUEST_CLOSED" {
		t.Errorf("it failed as %v", f)
	}
}

func TestSeveralPlacesInOnePullRequestAreRefused(t *testing.T) {
	t.Parallel()
	w, svc, change := reviewed(t, byPull)
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}, func(c *eventsv1.DeploymentRequested) {
		c.Leaves = []*committerv1.Part{{Repository: w.repo, Path: "old/dev"}}
	}))
	if f := w.failed(name("dev", 1)); f.GetReason() != "INVALID_FIELD" || !strings.Contains(f.GetMessage(), "write_mode") || svc.created != 0 {
		t.Errorf("it failed as %v", f)
	}
}

// protect makes the host refuse pushes to main after it took the objects, as a protected branch does.
func protect(t *testing.T, bare *gittest.Bare) {
	t.Helper()
	hook := filepath.Join(bare.Dir, "hooks", "update")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nif [ \"$1\" = refs/heads/main ]; then echo 'protected branch: open a pull request' >&2; exit 1; fi\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil { //nolint:gosec // a hook must be executable
		t.Fatal(err)
	}
}
