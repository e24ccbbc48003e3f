package git_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// childDir, when set, makes the test binary the process that TestKilledAtAnyMoment kills.
const childDir = "TOWPATH_GIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := pushForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	// Connections that the shared HTTP client keeps are meant to stay.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

// pushForever pushes to two branches at the same time and prints each commit once it is acknowledged.
func pushForever(dir string) error {
	repos, err := git.OpenRepos(dir, git.ReposOptions{MaxPacks: 6})
	if err != nil {
		return err
	}
	var out sync.Mutex
	failed := make(chan error)
	for _, branch := range []string{"main", "other/branch"} {
		r, err := git.Open(context.Background(), git.Config{URL: "embedded:///app", Repos: repos})
		if err != nil {
			return err
		}
		go func() {
			for i := 0; ; i++ {
				h, err := pushNumber(r, branch, i)
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(branch, h)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

func pushNumber(r git.Remote, branch string, i int) (git.Hash, error) {
	ctx := context.Background()
	tip, err := r.Fetch(ctx, branch)
	if err != nil {
		return tip, err
	}
	spec := git.CommitSpec{Author: person, Committer: person, When: time.Now(), Message: fmt.Sprint(i)}
	root := git.ZeroHash
	if !tip.IsZero() {
		c, err := r.Commit(ctx, tip)
		if err != nil {
			return tip, err
		}
		root, spec.Parents = c.Tree, []git.Hash{tip}
	}
	objs := git.NewObjectSet()
	content := fmt.Sprint(i, time.Now())
	if spec.Tree, err = git.Splice(ctx, r, objs, root, []git.Change{file(fmt.Sprintf("d%d/f%d", i%7, i%13), content)}); err != nil {
		return tip, err
	}
	h, err := git.NewCommit(objs, spec)
	if err != nil {
		return tip, err
	}
	return h, r.Push(ctx, branch, tip, h, objs)
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	bare := gittest.OpenBare(t, filepath.Join(dir, "app.git"))
	acknowledged := map[string][]string{}
	for round := range 12 {
		for _, line := range runAndKill(t, dir, time.Duration(20+rand.IntN(120))*time.Millisecond) {
			branch, h, ok := strings.Cut(line, " ")
			if !ok || len(h) != 40 {
				continue // the last line may be torn
			}
			acknowledged[branch] = append(acknowledged[branch], h)
		}
		if _, err := os.Stat(filepath.Join(bare.Dir, "HEAD")); err != nil {
			continue
		}
		bare.Fsck()
		for branch, commits := range acknowledged {
			history := bare.Git("rev-list", "refs/heads/"+branch)
			for _, h := range commits {
				if !strings.Contains(history, h) {
					t.Fatalf("round %d: %s of %s was acknowledged and is lost", round, h, branch)
				}
			}
		}
	}
	if len(acknowledged["main"]) < 12 || len(acknowledged["other/branch"]) < 12 {
		t.Fatalf("the processes hardly worked: %d and %d pushes", len(acknowledged["main"]), len(acknowledged["other/branch"]))
	}
	// The next process takes over what the last left.
	mustPush(t, openEmbedded(t, openRepos(t, dir, git.ReposOptions{}), "app"), "main", "after all", file("x", "y"))
	bare.Fsck()
	left, err := filepath.Glob(filepath.Join(bare.Dir, "objects", "pack", "tmp_*"))
	if err != nil || len(left) != 0 {
		t.Fatalf("temporary files are left: %v, %v", left, err)
	}
}

// runAndKill starts a process that pushes, kills it some time after its first push, and gives the lines that it printed.
func runAndKill(t *testing.T, dir string, after time.Duration) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scan := bufio.NewScanner(stdout)
	for scan.Scan() {
		if len(lines) == 0 {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		lines = append(lines, scan.Text())
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process ended by itself: %v", cmd.ProcessState)
	}
	return lines
}

func TestOneProcessAtATimeHasTheFolder(t *testing.T) {
	dir := t.TempDir()
	repos := openRepos(t, dir, git.ReposOptions{})
	_, err := git.OpenRepos(dir, git.ReposOptions{})
	if !errs.Is(err, errs.Unavailable) || errs.ReasonOf(err) != errorsv1.Reason_REASON_LOCKED {
		t.Fatalf("opening it twice gives %v", err)
	}
	if err := repos.Close(); err != nil {
		t.Fatal(err)
	}
	openRepos(t, dir, git.ReposOptions{})
}

func TestWhatAKilledProcessLeftIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	repos := openRepos(t, dir, git.ReposOptions{})
	mustPush(t, openEmbedded(t, repos, "app"), "main", "first", file("a", "1"))
	if err := repos.Close(); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(dir, "app.git")
	for _, name := range []string{
		"refs/heads/main.lock", "HEAD.lock", "objects/pack/tmp_pack_1", "objects/pack/pack-" + strings.Repeat("0", 40) + ".pack",
	} {
		if err := os.WriteFile(filepath.Join(bare, name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustPush(t, openEmbedded(t, openRepos(t, dir, git.ReposOptions{}), "app"), "main", "second", file("a", "2"))
	gittest.OpenBare(t, bare).Fsck()
	if _, err := os.Stat(filepath.Join(bare, "objects", "pack", "tmp_pack_1")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the temporary file is still there")
	}
}

func TestARepositoryThatGitMadeIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	bare := gittest.NewBare(t, filepath.Join(dir, "app.git"))
	for i := range 30 { // so that git's pack has deltas
		content := strings.Repeat("a line that stays\n", 200) + fmt.Sprint(i)
		bare.Commit("main", fmt.Sprint(i), map[string][]byte{"a/b": []byte(content), fmt.Sprintf("c/%d", i): []byte("x")})
	}
	bare.Git("repack", "-adq", "--depth=50")
	bare.Git("pack-refs", "--all")
	bare.Commit("main", "loose", map[string][]byte{"loose": []byte("l")})
	bare.Commit("topic", "loose too", map[string][]byte{"loose": []byte("l")})
	bare.Git("pack-refs", "--all")
	r := openEmbedded(t, openRepos(t, dir, git.ReposOptions{}), "app")
	mustPush(t, r, "main", "ours", file("a/c", "2"))
	bare.Fsck()
	if got := len(bare.Log("main")); got != 32 {
		t.Fatalf("%d commits of 32", got)
	}
	tip, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	commits, next, err := git.ListCommits(t.Context(), r, tip, git.ListOptions{Path: "c"})
	if err != nil || len(commits) != 30 || !next.IsZero() {
		t.Fatalf("%d commits of 30, then %s, %v", len(commits), next, err)
	}
}

func TestManyPacksBecomeFewWhileOthersRead(t *testing.T) {
	dir := t.TempDir()
	repos := openRepos(t, dir, git.ReposOptions{MaxPacks: 5})
	bare := gittest.OpenBare(t, filepath.Join(dir, "app.git"))
	r := openEmbedded(t, repos, "app")
	wide := map[string][]byte{}
	for i := range 300 {
		wide[fmt.Sprintf("wide/f%03d", i)] = fmt.Append(nil, i)
	}
	mustPush(t, r, "main", "first", git.Change{Files: wide})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			tip, err := r.Fetch(ctx, "main")
			if err != nil {
				return
			}
			if _, _, err := git.ListCommits(context.WithoutCancel(ctx), r, tip, git.ListOptions{Path: "wide/f001"}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 30 {
		tip, err := r.Fetch(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		objs := git.NewObjectSet()
		for j := range 3 { // several commits in a push, so that packs hold deltas
			tip = commit(t, r, objs, tip, fmt.Sprint(i, j), file(fmt.Sprintf("wide/f%03d", i), fmt.Sprint(i, j)), file("wide/f001", fmt.Sprint(j%2)))
		}
		old, err := r.Fetch(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Push(t.Context(), "main", old, tip, objs); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			gittest.Git(t, t.TempDir(), "clone", "--quiet", "--no-local", bare.Dir, filepath.Join(t.TempDir(), "clone"))
		}
	}
	cancel()
	wg.Wait()
	if err := repos.Close(); err != nil { // waits for repacking
		t.Fatal(err)
	}
	bare.Fsck()
	if got := len(bare.Log("main")); got != 91 {
		t.Fatalf("%d commits of 91", got)
	}
	if chain := bare.Git("verify-pack", "--stat-only", largestPack(t, bare.Dir)); !strings.Contains(chain, "chain length = 2") {
		t.Fatalf("the large pack has no deltas: %s", chain)
	}
	packs, err := filepath.Glob(filepath.Join(bare.Dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) > 15 {
		t.Fatalf("%d packs are left, %v", len(packs), err)
	}
}

func TestManyWritersOfOneEmbeddedBranchLoseNothing(t *testing.T) {
	const writers, each = 8, 6
	dir := t.TempDir()
	repos := openRepos(t, dir, git.ReposOptions{})
	var wg sync.WaitGroup
	for w := range writers {
		r := openEmbedded(t, repos, "app")
		wg.Go(func() {
			for i := range each {
				for {
					_, err := tryPush(t.Context(), r, fmt.Sprintf("w%d-%d", w, i), file(fmt.Sprintf("w%d/%d", w, i), "x"))
					if err == nil {
						break
					}
					if !errors.Is(err, git.ErrMoved) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	bare := gittest.OpenBare(t, filepath.Join(dir, "app.git"))
	bare.Fsck()
	if commits, files := len(bare.Log("main")), len(bare.Files("main")); commits != writers*each || files != writers*each {
		t.Fatalf("%d commits and %d files of %d", commits, files, writers*each)
	}
}

func largestPack(t *testing.T, dir string) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var size int64
	for _, p := range packs {
		if info, err := os.Stat(p); err == nil && info.Size() > size {
			largest, size = p, info.Size()
		}
	}
	return largest
}
