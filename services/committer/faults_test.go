package committer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestForeignWritersAndTowpathLoseNothing(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	w.bare.Commit("main", "begin", map[string][]byte{"README.md": []byte("hello")})
	const writers, each, deployments = 3, 3, 8
	var people sync.WaitGroup
	for i := range writers {
		dir := filepath.Join(t.TempDir(), "clone")
		gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", srv.URL("shop"), dir)
		people.Go(func() {
			for k := range each {
				pushFile(t, dir, fmt.Sprintf("by-hand/%d-%d.txt", i, k))
			}
		})
	}
	for n := range deployments {
		w.send(w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{"a.yaml": fmt.Sprint(n)}))
	}
	for n := range deployments {
		w.committed(name(fmt.Sprintf("env-%d", n), 1))
	}
	people.Wait()
	if got, want := w.commits(), 1+writers*each+deployments; got != want {
		t.Errorf("there are %d commits, want %d", got, want)
	}
	all := w.bare.Files("main")
	for i := range writers {
		for k := range each {
			if f := fmt.Sprintf("by-hand/%d-%d.txt", i, k); !slices.Contains(all, f) {
				t.Errorf("%s is lost", f)
			}
		}
	}
	for n := range deployments {
		if f := fmt.Sprintf("environments/env-%d/shop/a.yaml", n); !slices.Contains(all, f) {
			t.Errorf("%s is lost", f)
		}
	}
	if n := len(w.all("repository.foreign_commit")); n != 0 {
		t.Errorf("%d commits outside owned folders were reported", n)
	}
}

// pushFile is a person who commits a file and pushes until it got through.
func pushFile(t *testing.T, dir, file string) {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(file), 0o644); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "-m", file}} {
		if out, err := gittest.TryGit(t, dir, args...); err != nil {
			t.Errorf("git %v: %v\n%s", args, err, out)
		}
	}
	for range 100 {
		if _, err := gittest.TryGit(t, dir, "push", "--quiet", "origin", "HEAD:main"); err == nil {
			return
		}
		if out, err := gittest.TryGit(t, dir, "pull", "--quiet", "--rebase", "origin", "main"); err != nil {
			t.Errorf("git pull: %v\n%s", err, out)
		}
	}
	t.Errorf("%s was never pushed", file)
}

func TestAnOutageShowsAndEndsByItself(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Times: 8})
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	waiting := find(w, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{})
	if waiting.GetStage() != "commit" || waiting.GetReason() == "" || waiting.GetAttempts() != 1 {
		t.Errorf("the wait is shown as %v", waiting)
	}
	w.committed(name("dev", 1))
	if n := len(w.all("deployment.waiting")); n != 1 {
		t.Errorf("the same reason was told %d times", n)
	}
}

func TestAParkedRepositoryHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w, srv := remote(t)
	other := srv.Create("other")
	srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Path: "/shop.git", Times: 1 << 30})
	for n := range 5 {
		w.send(w.change(fmt.Sprintf("down-%d", n), 1, map[string]string{"a.yaml": "a"}))
	}
	find(w, "deployment.waiting", name("down-4", 1), &eventsv1.DeploymentWaiting{})
	w.send(w.change("up", 1, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) {
		cmd.Repository = cloneRef(w.repo)
		cmd.Repository.Url = srv.URL("other")
	}))
	w.committed(name("up", 1))
	other.Fsck()
	if w.bare.Tip("main") != "" {
		t.Error("the repository that is down has a commit")
	}
}

func TestALostAnswerIsExactlyOneCommit(t *testing.T) {
	for what, kind := range map[string]gittest.Kind{
		"reset after the push": gittest.ResetAfter, "no answer body": gittest.EmptyAfter, "half an answer": gittest.TruncateAfter,
		"reset before the push": gittest.ResetBefore, "an error after the push": gittest.StatusAfter,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, srv := remote(t)
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
			w.committed(name("dev", 1))
			srv.Fail(gittest.Fault{Kind: kind, Status: 502, Method: "POST", Path: "git-receive-pack"})
			// The look at the branch right after it fails as well, so that the outcome stays unknown.
			srv.Fail(gittest.Fault{Kind: gittest.ResetBefore, Method: "POST", Path: "git-upload-pack"})
			w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
			got := w.committed(name("dev", 2))
			if n := w.commits(); n != 2 || got.GetCommit() != w.bare.Tip("main") {
				t.Errorf("there are %d commits; the tip is %s and was told as %s", n, w.bare.Tip("main"), got.GetCommit())
			}
			if n := len(w.all("deployment.waiting")); n != 0 {
				t.Errorf("what the tip decides at once was shown as an outage %d times", n)
			}
		})
	}
}

func TestAProcessThatDiesAnywhereLeavesOneCommitAndOneEvent(t *testing.T) {
	for _, point := range []string{"rendered", "pack_sent", "ref_moved", "event_sent"} {
		for _, kind := range []string{"embedded", "http"} {
			t.Run(point+" "+kind, func(t *testing.T) {
				t.Parallel()
				died := make(chan struct{})
				var once sync.Once
				die := func(w *world) {
					w.cfg.Failpoint = func(at string) {
						if at == point {
							// The first time this goroutine never goes on, and nothing after it happens.
							once.Do(func() { close(died); runtime.Goexit() })
						}
					}
				}
				var w *world
				if kind == "http" {
					w, _ = remote(t, die)
				} else {
					w = embedded(t, die)
				}
				w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
				select {
				case <-died:
				case <-time.After(patience):
					t.Fatalf("%s is never reached", point)
				}
				w.stop()
				w.start()
				got := w.committed(name("dev", 1))
				w.settled()
				if w.commits() != 1 || got.GetCommit() != w.bare.Tip("main") || got.GetTree() != w.bare.Git("rev-parse", "main:environments/dev/shop") {
					t.Errorf("there are %d commits; told was %v", w.commits(), got)
				}
				if n := len(w.all("deployment.committed")); n != 1 {
					t.Errorf("%d events", n)
				}
			})
		}
	}
}

// refusing is a renderer that no longer takes what it took before.
type refusing struct{}

func (refusing) Render(context.Context, *rendererv1.RenderRequest, ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	return nil, errs.InvalidField("workloads", "are not what this version wants")
}

func TestARenderersUpgradeDoesNotFailWhatIsCommitted(t *testing.T) {
	t.Parallel()
	died := make(chan struct{})
	var once sync.Once
	w := embedded(t, func(w *world) {
		w.cfg.Failpoint = func(at string) {
			if at == "ref_moved" {
				once.Do(func() { close(died); runtime.Goexit() })
			}
		}
	})
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	<-died
	w.stop()
	w.cfg.Renderer = refusing{}
	w.start()
	if got := w.committed(name("dev", 1)); got.GetCommit() != w.bare.Tip("main") {
		t.Errorf("it was told as %v", got)
	}
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.failed(name("dev", 2))
}

func TestAStateFileThatSomebodyBrokeStopsNobody(t *testing.T) {
	t.Parallel()
	w, _ := remote(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	for _, f := range w.bare.Files("main") {
		if strings.HasPrefix(f, ".towpath/") {
			w.bare.Commit("main", "merge", map[string][]byte{f: []byte("<<<<<<< HEAD\n")})
		}
	}
	w.stop()
	w.start() // without any memory of what it wrote
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.committed(name("dev", 2))
	got := find(w, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
	if !strings.HasPrefix(got.GetPath(), ".towpath/state/") || got.GetSubject() != "merge" {
		t.Errorf("it was told as %v", got)
	}
	w.send(w.change("qa", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("qa", 1))
}

func TestTheLastFailpointIsReachedAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	acknowledged := make(chan struct{})
	w := embedded(t, func(w *world) {
		w.cfg.Failpoint = func(at string) {
			if at == "acknowledged" {
				close(acknowledged)
			}
		}
	})
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	select {
	case <-acknowledged:
	case <-time.After(patience):
		t.Fatal("it is never reached")
	}
	if pending, err := w.catalog.PendingCommand(t.Context(), "towpath.cmd.>"); err != nil || pending {
		t.Errorf("the command is still there: %t, %v", pending, err)
	}
}

// hook installs a pre-receive hook.
func hook(t *testing.T, b *gittest.Bare, script string) {
	t.Helper()
	file := filepath.Join(b.Dir, "hooks", "pre-receive")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestARefusedPushFailsWithTheHostsWordsAndWithoutSecrets(t *testing.T) {
	t.Parallel()
	w, srv := remote(t, withCredentials(t, "bot:s3cr3t-token"))
	srv.RequireAuth("bot", "s3cr3t-token")
	hook(t, w.bare, "echo 'main is frozen until Monday, see https://bot:hunter2@example.com/why?token=hunter3 or s3cr3t-token' >&2; exit 1\n")
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	got := w.failed(name("dev", 1))
	if got.GetReason() != "PUSH_REFUSED" || got.GetStage() != "commit" || !strings.Contains(got.GetMessage(), "main is frozen until Monday") {
		t.Errorf("it ended as %v", got)
	}
	for _, secret := range []string{"hunter2", "hunter3", "s3cr3t"} {
		if strings.Contains(got.GetMessage(), secret) {
			t.Errorf("the message holds %s: %s", secret, got.GetMessage())
		}
	}
}

// withCredentials makes the world's repository use credentials from a file.
func withCredentials(t *testing.T, content string) option {
	return func(w *world) {
		w.cfg.CredentialsDir = t.TempDir()
		w.repo.Credentials = "host"
		w.writeCredentials(content)
	}
}

func (w *world) writeCredentials(content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.cfg.CredentialsDir, "host"), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestCredentialsAreReadAtEachUse(t *testing.T) {
	t.Parallel()
	w, srv := remote(t, withCredentials(t, "bot:first\n"))
	srv.RequireAuth("bot", "first")
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
	w.committed(name("dev", 1))

	srv.RequireAuth("x-access-token", "second")
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	if got := w.failed(name("dev", 2)); got.GetReason() != "PUSH_REFUSED" || strings.Contains(got.GetMessage(), "first") {
		t.Errorf("with old credentials it ended as %v", got)
	}
	w.writeCredentials("second")
	w.send(w.change("dev", 3, map[string]string{"a.yaml": "3"}))
	w.committed(name("dev", 3))

	if err := os.Remove(filepath.Join(w.cfg.CredentialsDir, "host")); err != nil {
		t.Fatal(err)
	}
	w.send(w.change("dev", 4, map[string]string{"a.yaml": "4"}))
	if got := w.failed(name("dev", 4)); !strings.Contains(got.GetMessage(), `"host"`) {
		t.Errorf("without credentials it ended as %v", got)
	}
}

// gate holds the first push until it is opened, so that commands gather behind it.
type gate struct {
	held, open chan struct{}
	once       sync.Once
	metrics    *prometheus.Registry
}

func newGate() *gate {
	return &gate{held: make(chan struct{}), open: make(chan struct{}), metrics: prometheus.NewRegistry()}
}

func (g *gate) option(w *world) {
	w.cfg.Metrics = g.metrics
	w.cfg.Failpoint = func(at string) {
		if at == "pack_sent" {
			g.once.Do(func() { close(g.held); <-g.open })
		}
	}
}

// value gives a metric summed over its labels.
func (g *gate) value(t *testing.T, metric string) float64 {
	t.Helper()
	families, err := g.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "towpath_committer_"+metric {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// gather sends the commands while a first push is held, and lets all go when they wait.
func (g *gate) gather(t *testing.T, w *world, cmds ...*eventsv1.DeploymentRequested) {
	t.Helper()
	w.send(w.change("first", 1, map[string]string{"a.yaml": "a"}))
	select {
	case <-g.held:
	case <-time.After(patience):
		t.Fatal("the first push does not begin")
	}
	for _, cmd := range cmds {
		w.send(cmd)
	}
	w.poll("a full queue", func() bool { return g.value(t, "queued_deployments") == float64(len(cmds)) })
	close(g.open)
}

func TestWhatWaitsSharesOnePush(t *testing.T) {
	onBothGated(t, func(t *testing.T, w *world, g *gate) {
		var cmds []*eventsv1.DeploymentRequested
		for n := range 20 {
			cmds = append(cmds, w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{"a.yaml": fmt.Sprint(n)}))
		}
		g.gather(t, w, cmds...)
		for _, cmd := range cmds {
			w.committed(cmd.GetDeployment())
		}
		if pushes, commits := g.value(t, "pushes_total"), w.commits(); pushes != 2 || commits != 21 {
			t.Errorf("%v pushes for %d commits, want 2 for 21", pushes, commits)
		}
	})
}

func onBothGated(t *testing.T, test func(t *testing.T, w *world, g *gate)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		test(t, embedded(t, g.option), g)
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		w, _ := remote(t, g.option)
		test(t, w, g)
	})
}

func TestOneRefusedDeploymentDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	g := newGate()
	w, _ := remote(t, g.option)
	hook(t, w.bare, `while read old new ref; do
  if git ls-tree -r --name-only $new | grep -q bad.yaml; then echo 'no bad files here' >&2; exit 1; fi
done
`)
	var cmds []*eventsv1.DeploymentRequested
	for n := range 4 {
		file := "a.yaml"
		if n == 2 {
			file = "bad.yaml"
		}
		cmds = append(cmds, w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{file: fmt.Sprint(n)}))
	}
	g.gather(t, w, cmds...)
	for n, cmd := range cmds {
		if n == 2 {
			if got := w.failed(cmd.GetDeployment()); got.GetReason() != "PUSH_REFUSED" || !strings.Contains(got.GetMessage(), "no bad files here") {
				t.Errorf("the bad one ended as %v", got)
			}
			continue
		}
		w.committed(cmd.GetDeployment())
	}
}

func TestAPushBudgetSpreadsPushes(t *testing.T) {
	t.Parallel()
	g := newGate()
	close(g.open)
	w := embedded(t, g.option, func(w *world) { w.repo.PushBudget = 60 })
	start := time.Now()
	w.send(w.change("first", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("first", 1))
	for n := range 5 {
		w.send(w.change(fmt.Sprintf("env-%d", n), 1, map[string]string{"a.yaml": fmt.Sprint(n)}))
	}
	for n := range 5 {
		w.committed(name(fmt.Sprintf("env-%d", n), 1))
	}
	if pushes, took := g.value(t, "pushes_total"), time.Since(start); pushes > took.Seconds()+1 {
		t.Errorf("%v pushes in %s, the budget is one a second", pushes, took)
	}
}

func TestForeignChangesOfOwnedFoldersAreTold(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}))
		ours := w.committed(name("dev", 1))
		theirs := w.bare.Commit("main", "hot fix", map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs"), "notes.txt": []byte("keep me")})
		found := w.bare.Git("rev-parse", "main:environments/dev/shop")
		w.svc.Notice(w.repo.GetUrl(), "main")
		env := "applications/shop/environments/dev"
		got := find(w, "repository.foreign_commit", env, &eventsv1.ForeignCommit{})
		if got.GetCommit() != theirs || got.GetExpectedTree() != ours.GetTree() || got.GetFoundTree() != found || got.GetPath() != "environments/dev/shop" {
			t.Errorf("it was told as %v", got)
		}
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "ours again"}))
		w.committed(name("dev", 2))
		if w.bare.Show("main", "environments/dev/shop/a.yaml") != "ours again" || w.bare.Show("main", "notes.txt") != "keep me" {
			t.Error("Towpath's write did not win, or took what is not its own")
		}
		if n := len(w.all("repository.foreign_commit")); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		// Nobody told this one before the write, which finds it by itself.
		w.bare.Commit("main", "hot fix 2", map[string][]byte{"environments/dev/shop/b.yaml": []byte("theirs")})
		w.stop()
		w.start()
		w.send(w.change("dev", 3, map[string]string{"a.yaml": "and again"}))
		w.committed(name("dev", 3))
		if n := len(w.all("repository.foreign_commit")); n != 2 {
			t.Errorf("two changes were told %d times", n)
		}
	})
}

func TestForeignChangesAreNoticedWithoutAnyDeployment(t *testing.T) {
	t.Parallel()
	w, _ := remote(t, func(w *world) { w.cfg.TipInterval = 50 * time.Millisecond })
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "ours"}))
	w.committed(name("dev", 1))
	w.bare.Commit("main", "gone", map[string][]byte{"environments/dev/shop/a.yaml": nil})
	got := find(w, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
	if got.GetFoundTree() != "" {
		t.Errorf("it was told as %v", got)
	}
}

func TestARewrittenHistoryDoesNotCommitTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		cmd := w.change("dev", 1, map[string]string{"a.yaml": "a"})
		w.send(cmd)
		w.committed(name("dev", 1))
		w.send(w.change("qa", 1, map[string]string{"a.yaml": "a"}))
		w.committed(name("qa", 1))
		w.settled()
		squashed := w.bare.Git("-c", "user.name=A", "-c", "user.email=a@example.com", "commit-tree", "main^{tree}", "-m", "squashed")
		w.bare.Git("update-ref", "refs/heads/main", squashed)
		w.stop()
		w.start()
		w.send(cmd)
		w.settled()
		if got := w.bare.Tip("main"); got != squashed {
			t.Errorf("the tip moved to %s: %q", got, w.bare.Log("main"))
		}
		w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
		w.committed(name("dev", 2))
	})
}

func TestInternalErrorsAreTriedAgainAndThenGivenUpVisibly(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	broken := func(w *world) {
		w.cfg.Renderer = files{onFail: func() error {
			calls.Add(1)
			return errs.New(errs.Internal, 0, "the password is hunter2")
		}}
	}
	w := embedded(t, broken)
	w.send(w.change("dev", 1, map[string]string{"fail": ""}))
	got := w.failed(name("dev", 1))
	if got.GetReason() != "INTERNAL" || calls.Load() < 2 || strings.Contains(got.GetMessage(), "hunter2") {
		t.Errorf("after %d attempts it ended as %v", calls.Load(), got)
	}
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 2))
}

func TestAnUnreachableRendererIsWaitedFor(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	w := embedded(t, func(w *world) {
		w.cfg.Renderer = files{onFail: func() error {
			if calls.Add(1) < 4 {
				return errs.New(errs.Unavailable, 0, "the renderer is away")
			}
			return errs.InvalidField("workloads", "are wrong")
		}}
	})
	w.send(w.change("dev", 1, map[string]string{"fail": ""}))
	if got := find(w, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{}); got.GetStage() != "render" {
		t.Errorf("the wait is shown as %v", got)
	}
	w.failed(name("dev", 1))
}
