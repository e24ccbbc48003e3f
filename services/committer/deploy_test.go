package committer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/committer"
)

// onBoth runs a test against an embedded repository and against one behind a real Git server, over HTTP and over SSH.
func onBoth(t *testing.T, test func(t *testing.T, w *world), opts ...option) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embedded(t, opts...))
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		w, _ := remote(t, opts...)
		test(t, w)
	})
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		w, _ := overSSH(t, opts...)
		test(t, w)
	})
}

func TestADeploymentIsCommittedWithItsStateAndTold(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 7, map[string]string{"api.yaml": "kind: A\n", "web/web.yaml": "kind: B\n"}))
		got := w.committed(name("dev", 7))

		want := &eventsv1.DeploymentCommitted{
			Deployment: name("dev", 7), Generation: 7, Repository: "repositories/deploy", Branch: "main", Path: "environments/dev/shop",
			Commit: w.bare.Tip("main"), Tree: w.bare.Git("rev-parse", "main:environments/dev/shop"), Sha256: strings.Repeat("5", 64),
			RendererVersion: "test-1", FilesChanged: 2,
		}
		times := protocmp.IgnoreFields(&eventsv1.DeploymentCommitted{}, "render_start_time", "commit_start_time", "commit_end_time")
		if diff := cmp.Diff(want, got, protocmp.Transform(), times); diff != "" {
			t.Errorf("the event differs (-want +got):\n%s", diff)
		}
		if start, mid, end := got.GetRenderStartTime().AsTime(), got.GetCommitStartTime().AsTime(), got.GetCommitEndTime().AsTime(); start.After(mid) || mid.After(end) || time.Since(start) > time.Minute {
			t.Errorf("the times are not in order: %s, %s, %s", start, mid, end)
		}
		wantDesired := &eventsv1.DesiredState{
			Environment: "applications/shop/environments/dev", Deployment: name("dev", 7), Generation: 7, Repository: w.repo,
			Path: "environments/dev/shop", Commit: want.GetCommit(), Tree: want.GetTree(), Namespace: "shop-dev", AutomaticSync: true,
			Target: &eventsv1.TargetRef{Name: "targets/local", Engine: "native"},
		}
		w.await("the desired state", func() bool { return w.has("environment.desired", "applications/shop/environments/dev") })
		if diff := cmp.Diff(wantDesired, w.desired("applications/shop/environments/dev"), protocmp.Transform()); diff != "" {
			t.Errorf("the desired state differs (-want +got):\n%s", diff)
		}
		if got := w.bare.Show("main", "environments/dev/shop/web/web.yaml"); got != "kind: B" && got != "kind: B\n" {
			t.Errorf("the file holds %q", got)
		}
		state := w.stateFile("dev")
		for _, part := range []string{`"generation": 7`, `"request_id": "request-dev-7"`, `"tree": "` + want.GetTree() + `"`, `"set": "sets/abc"`} {
			if !strings.Contains(state, part) {
				t.Errorf("the state file lacks %s:\n%s", part, state)
			}
		}
	})
}

// stateFile gives the environment's state file at the tip.
func (w *world) stateFile(env string) string {
	w.t.Helper()
	for _, f := range w.bare.Files("main") {
		if strings.HasPrefix(f, ".towpath/state/") && strings.HasSuffix(f, "/shop/"+env) {
			return w.bare.Show("main", f)
		}
	}
	w.t.Fatalf("there is no state file of %s in %q", env, w.bare.Files("main"))
	return ""
}

func TestTheCommitSaysWhoWhatAndWhen(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 3, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) {
		cmd.RollbackOf = name("dev", 1)
		cmd.Message = "Fix the cart\r\n\r\nIt was empty.\nTowpath-Actor: users/mallory\n\nTowpath-Generation: 99\n"
		cmd.Author.Subject = "users/ada\nTowpath-Generation: 98"
		cmd.Author.DisplayName = "Ada <root@example.com>\nLovelace"
	}))
	w.committed(name("dev", 3))

	wantTrailers := strings.Join([]string{
		"Towpath-Deployment: " + name("dev", 3), "Towpath-Application: shop", "Towpath-Environment: dev", "Towpath-Generation: 3",
		"Towpath-Set: sets/abc", "Towpath-Actor: users/ada Towpath-Generation: 98", "Towpath-Rollback-Of: " + name("dev", 1),
	}, "\n")
	if diff := cmp.Diff(wantTrailers, strings.TrimSpace(w.bare.Git("log", "-1", "--format=%(trailers)", "main"))); diff != "" {
		t.Errorf("the trailers differ (-want +got):\n%s", diff)
	}
	want := "Fix the cart|Ada root@example.com Lovelace <ada@example.com>|Towpath <towpath@localhost>|2026-03-01T12:00:03+00:00|2026-03-01T12:00:03+00:00"
	if diff := cmp.Diff(want, w.bare.Git("log", "-1", "--format=%s|%an <%ae>|%cn <%ce>|%aI|%cI", "main")); diff != "" {
		t.Errorf("the commit differs (-want +got):\n%s", diff)
	}

	w.send(w.change("dev", 4, map[string]string{"a.yaml": "b"}))
	w.committed(name("dev", 4))
	if got := w.bare.Log("main")[0]; got != "Deploy shop/dev #4" {
		t.Errorf("the subject without a message is %q", got)
	}
}

func TestAWriteReplacesTheFolderAndKeepsEverythingElse(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.bare.Commit("main", "by hand", map[string][]byte{"README.md": []byte("hello"), "environments/dev/other/x.yaml": []byte("x")})
		w.send(w.change("dev", 1, map[string]string{"old.yaml": "1", "same.yaml": "s"}))
		w.committed(name("dev", 1))
		w.send(w.change("dev", 2, map[string]string{"new.yaml": "2", "same.yaml": "s"}))
		got := w.committed(name("dev", 2))
		if got.GetFilesChanged() != 2 {
			t.Errorf("%d files changed, want 2: one added, one removed", got.GetFilesChanged())
		}
		var rest []string
		for _, f := range w.bare.Files("main") {
			if !strings.HasPrefix(f, ".towpath/") {
				rest = append(rest, f)
			}
		}
		want := []string{"README.md", "environments/dev/other/x.yaml", "environments/dev/shop/new.yaml", "environments/dev/shop/same.yaml"}
		if diff := cmp.Diff(want, rest); diff != "" {
			t.Errorf("the files differ (-want +got):\n%s", diff)
		}
	}, seedable)
}

// seedable makes the embedded repository exist before the committer's first write, so that git can commit into it.
func seedable(w *world) {
	if w.cfg.Repos == nil {
		return
	}
	w.bootstrap()
}

func TestADeploymentThatChangesNothingStillAdvancesTheState(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	first := w.committed(name("dev", 1))
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "a"}))
	second := w.committed(name("dev", 2))
	if !second.GetUnchanged() || second.GetFilesChanged() != 0 || first.GetUnchanged() {
		t.Errorf("unchanged is %t with %d files, and was %t", second.GetUnchanged(), second.GetFilesChanged(), first.GetUnchanged())
	}
	if first.GetTree() != second.GetTree() || first.GetCommit() == second.GetCommit() {
		t.Errorf("trees %s and %s, commits %s and %s", first.GetTree(), second.GetTree(), first.GetCommit(), second.GetCommit())
	}
	if !strings.Contains(w.stateFile("dev"), `"generation": 2`) {
		t.Errorf("the state did not advance:\n%s", w.stateFile("dev"))
	}
}

func TestTheSameRequestTwiceIsOneCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		cmd := w.change("dev", 1, map[string]string{"a.yaml": "a"})
		w.send(cmd)
		first := w.committed(name("dev", 1))
		w.settled()
		w.send(cmd)
		w.settled()
		// A new process knows nothing but Git.
		w.stop()
		w.start()
		w.send(cmd)
		w.settled()
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
		w.committed(name("dev", 2))
		if n := w.commits(); n != 2 {
			t.Errorf("there are %d commits, want 2", n)
		}
		if n := len(w.all("deployment.committed")); n != 2 {
			t.Errorf("there are %d events for two deployments: %s", n, w.summary())
		}
		if got := w.bare.Git("rev-parse", "main~1"); got != first.GetCommit() {
			t.Errorf("the first commit is %s and was told as %s", got, first.GetCommit())
		}
	})
}

func TestAnOlderGenerationNeverUndoesANewerOne(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "new"}))
	w.committed(name("dev", 2))
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "old"}))
	got := w.failed(name("dev", 1))
	if !got.GetSuperseded() || got.GetReason() != "SUPERSEDED" || got.GetStage() != "commit" {
		t.Errorf("the older one ended as %v", got)
	}
	if w.commits() != 1 || w.bare.Show("main", "environments/dev/shop/a.yaml") != "new" {
		t.Errorf("the older one is in Git: %q", w.bare.Log("main"))
	}
}

func TestALateCopyOfAnOvertakenCommandIsToldAsCommitted(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	old := w.change("dev", 1, map[string]string{"a.yaml": "1"})
	w.send(old)
	w.committed(name("dev", 1))
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	second := w.committed(name("dev", 2))
	w.stop()
	w.start()
	w.send(old)
	w.settled()
	if w.has("deployment.failed", name("dev", 1)) {
		t.Errorf("a committed deployment was told as failed")
	}
	w.await("the desired state", func() bool { return w.desired("applications/shop/environments/dev").GetGeneration() == 2 })
	if got := w.desired("applications/shop/environments/dev"); got.GetCommit() != second.GetCommit() {
		t.Errorf("the desired state went back to %v", got)
	}
}

func TestAPlanThatMovedIsRefused(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	base := w.committed(name("dev", 1)).GetTree()
	tree := func(f string) func(*eventsv1.DeploymentRequested) {
		return func(cmd *eventsv1.DeploymentRequested) { cmd.ExpectTree = f }
	}
	baseIs := func(f string) func(*eventsv1.DeploymentRequested) {
		return func(cmd *eventsv1.DeploymentRequested) { cmd.ExpectBaseTree = f }
	}
	for n, tc := range []struct {
		what string
		mod  func(*eventsv1.DeploymentRequested)
	}{
		{"another tree stands there", baseIs(strings.Repeat("1", 40))},
		{"nothing was expected there", baseIs("absent")},
		{"something else comes out", tree(strings.Repeat("2", 40))},
	} {
		d := name("dev", n+2)
		w.send(w.change("dev", n+2, map[string]string{"a.yaml": "b"}, tc.mod))
		if got := w.failed(d); got.GetReason() != "PLAN_MOVED" {
			t.Errorf("%s: ended as %v", tc.what, got)
		}
	}
	w.send(w.change("dev", 9, map[string]string{"a.yaml": "a"}, baseIs(base), tree(base)))
	w.committed(name("dev", 9))
	w.send(w.change("new", 1, map[string]string{"a.yaml": "a"}, baseIs("absent"), tree(base)))
	w.committed(name("new", 1))
}

func TestARollbackAssignsTheOldTree(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "good"}))
		good := w.committed(name("dev", 1))
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "bad"}))
		w.committed(name("dev", 2))
		// The renderer would fail: the tree comes from Git alone.
		w.send(w.change("dev", 3, map[string]string{"fail": ""}, restore(good.GetTree())))
		back := w.committed(name("dev", 3))
		if back.GetTree() != good.GetTree() || w.bare.Git("rev-parse", "main:environments/dev/shop") != good.GetTree() {
			t.Errorf("the tree is %s, want %s", back.GetTree(), good.GetTree())
		}
		if w.commits() != 3 {
			t.Errorf("history was rewritten: %q", w.bare.Log("main"))
		}
	}, failing)
}

func failing(w *world) {
	w.cfg.Renderer = files{onFail: func() error { return errs.InvalidField("workloads", "cannot be rendered any more") }}
}

func TestARestoredTreeThatGitLostIsRendered(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
		tree := w.committed(name("dev", 1)).GetTree()
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "lost"}, restore(lostTree(t))))
		if got := w.committed(name("dev", 2)); got.GetTree() != lostTree(t) || got.GetTree() == tree {
			t.Errorf("the tree is %s, want %s", got.GetTree(), lostTree(t))
		}
		w.send(w.change("dev", 3, map[string]string{"a.yaml": "something else"}, restore(strings.Repeat("7", 40))))
		if got := w.failed(name("dev", 3)); got.GetReason() != "PLAN_MOVED" {
			t.Errorf("a bundle that is not the promised one ended as %v", got)
		}
	})
}

func TestARemovedEnvironmentLeavesATombstone(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	late := w.change("dev", 1, map[string]string{"a.yaml": "zombie"}, func(cmd *eventsv1.DeploymentRequested) { cmd.RequestId = "another" })
	w.send(w.change("dev", 2, nil, remove))
	got := w.committed(name("dev", 2))
	if got.GetTree() != "" || got.GetFilesChanged() != 1 {
		t.Errorf("the event is %v", got)
	}
	w.await("the desired state", func() bool { return w.desired("applications/shop/environments/dev").GetGeneration() == 2 })
	if d := w.desired("applications/shop/environments/dev"); !d.GetRemoved() || d.GetTree() != "" {
		t.Errorf("the desired state is %v", d)
	}
	for _, f := range w.bare.Files("main") {
		if strings.HasPrefix(f, "environments/") {
			t.Errorf("%s is left", f)
		}
	}
	w.send(late)
	if got := w.failed(name("dev", 1)); !got.GetSuperseded() {
		t.Errorf("an old command brought the environment back: %v", got)
	}
	// The same name again, later: it begins at generation 1.
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "born again"}, func(cmd *eventsv1.DeploymentRequested) {
		cmd.RequestId, cmd.Deployment = "second-life", name("dev", 100)
		cmd.RequestTime.Seconds += 3600
	}))
	w.committed(name("dev", 100))
}

func TestAnEnvironmentThatMovesLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	for n, path := range []string{"environments/dev/shop/inner", "environments/dev", "apps/shop/dev"} {
		w.send(w.change("dev", n+2, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) { cmd.Path = path }))
		w.committed(name("dev", n+2))
		var rest []string
		for _, f := range w.bare.Files("main") {
			if !strings.HasPrefix(f, ".towpath/") {
				rest = append(rest, f)
			}
		}
		if diff := cmp.Diff([]string{path + "/a.yaml"}, rest); diff != "" {
			t.Errorf("after the move to %s (-want +got):\n%s", path, diff)
		}
	}
}

func TestABundleWithoutFilesIsNotARemoval(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	w.send(w.change("dev", 2, nil))
	got := w.committed(name("dev", 2))
	w.await("the desired state", func() bool { return w.desired("applications/shop/environments/dev").GetGeneration() == 2 })
	if d := w.desired("applications/shop/environments/dev"); d.GetRemoved() || d.GetTree() != got.GetTree() || d.GetTree() == "" {
		t.Errorf("the desired state is %v", d)
	}
	if tree := w.tree(&committerv1.GetTreeRequest{Tree: got.GetTree()}); len(tree.GetFiles()) != 0 || tree.GetTree() != got.GetTree() {
		t.Errorf("the empty tree reads as %v", tree)
	}
	w.send(w.change("dev", 3, map[string]string{"a.yaml": "b"}))
	w.committed(name("dev", 3))
	if n := len(w.all("repository.foreign_commit")); n != 0 {
		t.Errorf("%d foreign commits were told of", n)
	}
}

func TestWhatMayNotReachGitIsRefused(t *testing.T) {
	t.Parallel()
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2}\n"
	w := embedded(t, failing)
	w.send(w.change("prod", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("prod", 1))
	n := 0
	for what, tc := range map[string]struct {
		mod    func(*eventsv1.DeploymentRequested)
		stage  string
		reason string
	}{
		"a path that leaves its place":        {func(c *eventsv1.DeploymentRequested) { c.Path = "environments/../../etc" }, "commit", "INVALID_PATH"},
		"Git's own folder":                    {func(c *eventsv1.DeploymentRequested) { c.Path = "a/.GIT/hooks" }, "commit", "INVALID_PATH"},
		"Towpath's own folder":                {func(c *eventsv1.DeploymentRequested) { c.Path = ".towpath/state/00" }, "commit", "INVALID_PATH"},
		"the root":                            {func(c *eventsv1.DeploymentRequested) { c.Path = "" }, "commit", "INVALID_PATH"},
		"a folder of another environment":     {func(c *eventsv1.DeploymentRequested) { c.Path = "environments/prod/shop" }, "commit", "INVALID_PATH"},
		"a folder inside another environment": {func(c *eventsv1.DeploymentRequested) { c.Path = "environments/prod/shop/sub" }, "commit", "INVALID_PATH"},
		"a folder around another environment": {func(c *eventsv1.DeploymentRequested) { c.Path = "Environments" }, "commit", "INVALID_PATH"},
		"a file that leaves the bundle":       {func(c *eventsv1.DeploymentRequested) { c.Input.Variables = map[string]string{"../x.yaml": ""} }, "render", "INVALID_PATH"},
		"a file in a Git folder":              {func(c *eventsv1.DeploymentRequested) { c.Input.Variables = map[string]string{"sub/git~1/config": ""} }, "render", "INVALID_PATH"},
		"a plaintext secret":                  {func(c *eventsv1.DeploymentRequested) { c.Input.Variables = map[string]string{"db.yaml": secret} }, "render", "PLAINTEXT_SECRET"},
		"no request id":                       {func(c *eventsv1.DeploymentRequested) { c.RequestId = "" }, "commit", "INVALID_FIELD"},
		"an unknown mode":                     {func(c *eventsv1.DeploymentRequested) { c.Mode = 99 }, "commit", "INVALID_FIELD"},
		"a strange branch":                    {func(c *eventsv1.DeploymentRequested) { c.Repository.Branch = "a..b" }, "commit", "INVALID_FIELD"},
		"credentials in the address":          {func(c *eventsv1.DeploymentRequested) { c.Repository.Url = "https://u:hunter2@example.com/x" }, "commit", "INVALID_FIELD"},
		"what cannot be rendered":             {func(c *eventsv1.DeploymentRequested) { c.Input.Variables = map[string]string{"fail": ""} }, "render", "INVALID_FIELD"},
	} {
		n++
		env := fmt.Sprintf("case-%d", n)
		cmd := w.change(env, 1, map[string]string{"a.yaml": "a"})
		cmd.Repository = cloneRef(w.repo)
		tc.mod(cmd)
		w.send(cmd)
		got := w.failed(name(env, 1))
		if got.GetReason() != tc.reason || got.GetStage() != tc.stage || got.GetMessage() == "" {
			t.Errorf("%s: it ended as %v", what, got)
		}
		if strings.Contains(got.GetMessage(), "hunter2") {
			t.Errorf("%s: the message holds the secret: %s", what, got.GetMessage())
		}
	}
	w.settled()
	if n := w.commits(); n != 1 {
		t.Errorf("there are %d commits", n)
	}
}

func TestAWrongConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	_, err := committer.New(committer.Config{Renderer: files{}})
	if !errs.Is(err, errs.Invalid) {
		t.Errorf("New gave %v", err)
	}
}
