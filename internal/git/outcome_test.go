package git_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

const pushPost = "git-receive-pack"

func TestWhatBecameOfAPushIsToldByTheBranch(t *testing.T) {
	post := func(k gittest.Kind, status int) gittest.Fault {
		return gittest.Fault{Kind: k, Status: status, Path: pushPost, Method: "POST"}
	}
	for name, c := range map[string]struct {
		fault    gittest.Fault
		happened bool
		check    func(error) bool
	}{
		"the answer is cut off after it happened":   {post(gittest.ResetAfter, 0), true, isNil},
		"the answer is empty after it happened":     {post(gittest.EmptyAfter, 0), true, isNil},
		"half of the answer after it happened":      {post(gittest.TruncateAfter, 0), true, isNil},
		"a failure of the host after it happened":   {post(gittest.StatusAfter, 500), true, isNil},
		"a bad gateway after it happened":           {post(gittest.StatusAfter, 502), true, isNil},
		"silence after it happened":                 {post(gittest.HangAfter, 0), true, isNil},
		"a cut connection before it happened":       {post(gittest.ResetBefore, 0), false, isUnknown},
		"silence before it happened":                {post(gittest.Hang, 0), false, isUnknown},
		"a gateway's timeout":                       {post(gittest.Status, 504), false, isUnknown},
		"a failure of the host before it happened":  {post(gittest.Status, 500), false, isKind(errs.Unavailable)},
		"a host that asks for patience":             {post(gittest.Status, 429), false, isKind(errs.Unavailable)},
		"a host that does not know the credentials": {post(gittest.Status, 401), false, isRefused(401)},
		"a host that forbids it":                    {post(gittest.Status, 403), false, isRefused(403)},
		"a host that finds it too large":            {post(gittest.Status, 413), false, isKind(errs.Invalid)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := gittest.NewServer(t)
			bare := s.Create("app")
			r := openHTTP(t, s, "app", func(c *git.Config) { c.Timeout = 3 * time.Second })
			before := mustPush(t, r, "main", "first", file("a", "1"))
			s.Fail(c.fault)
			h, err := push(t, r, "main", "second", file("a", "2"))
			if !c.check(err) {
				t.Fatalf("the push gives %v", err)
			}
			want := before
			if c.happened {
				want = h
			}
			if got := bare.Tip("main"); got != want.String() {
				t.Fatalf("the branch is at %s", got)
			}
			mustPush(t, r, "main", "third", file("a", "3"))
			bare.Fsck()
		})
	}
}

func isNil(err error) bool     { return err == nil }
func isUnknown(err error) bool { return errors.Is(err, git.ErrUnknown) && errs.Is(err, errs.Timeout) }

func isKind(k errs.Kind) func(error) bool { return func(err error) bool { return errs.Is(err, k) } }

func isRefused(status int) func(error) bool {
	return func(err error) bool {
		var r *git.Refused
		return errors.As(err, &r) && r.Status == status && errs.ReasonOf(err) == errorsv1.Reason_REASON_PUSH_REFUSED
	}
}

func TestALostAnswerWithAnotherPushOnTopIsUnknown(t *testing.T) {
	overBoth(t, testALostAnswerWithAnotherPushOnTopIsUnknown)
}

func testALostAnswerWithAnotherPushOnTopIsUnknown(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "first", file("a", "1"))
	// The branch is read again after the lost answer; by then somebody else has built on our commit.
	s.Fail(gittest.Fault{Kind: gittest.ResetAfter, Path: pushPost, Method: "POST", Then: func() {
		bare.Commit("main", "theirs", map[string][]byte{"b": []byte("2")})
	}})
	h, err := push(t, r, "main", "ours", file("a", "2"))
	if !isUnknown(err) {
		t.Fatalf("the push gives %v", err)
	}
	if _, err := gittest.TryGit(t, bare.Dir, "merge-base", "--is-ancestor", h.String(), "main"); err != nil {
		t.Fatal("the push happened, and the branch does not have it")
	}
}

func TestAnOldTipIsMoved(t *testing.T) { overBoth(t, testAnOldTipIsMoved) }

func testAnOldTipIsMoved(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	tip := mustPush(t, r, "main", "first", file("a", "1"))
	objs := git.NewObjectSet()
	h := commit(t, r, objs, tip, "ours", file("a", "2"))
	theirs := bare.Commit("main", "theirs", map[string][]byte{"b": []byte("2")})
	err := r.Push(t.Context(), "main", tip, h, objs)
	if !errors.Is(err, git.ErrMoved) || errs.ReasonOf(err) != errorsv1.Reason_REASON_PUSH_CONFLICT {
		t.Fatalf("the push gives %v", err)
	}
	if err := r.Push(t.Context(), "main", git.ZeroHash, h, objs); !errors.Is(err, git.ErrMoved) {
		t.Fatalf("creating a branch that exists gives %v", err)
	}
	if got := bare.Tip("main"); got != theirs {
		t.Fatalf("the branch is at %s", got)
	}
	mustPush(t, r, "other", "first of another branch", file("a", "2"))
	mustPush(t, r, "main", "second", file("a", "2"))
	bare.Fsck()
}

func TestAHooksWordsReachTheCaller(t *testing.T) { overBoth(t, testAHooksWordsReachTheCaller) }

func testAHooksWordsReachTheCaller(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	tip := mustPush(t, r, "main", "first", file("a", "1"))
	hook := "#!/bin/sh\necho 'changes need two reviews' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bare.Dir, "hooks", "pre-receive"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := push(t, r, "main", "second", file("a", "2"))
	var no *git.Refused
	if !errors.As(err, &no) || !strings.Contains(no.Words, "two reviews") || !errs.Is(err, errs.Precondition) {
		t.Fatalf("the push gives %v", err)
	}
	if got := bare.Tip("main"); got != tip.String() {
		t.Fatalf("the branch is at %s", got)
	}
}

func TestASubtreeThatTheHostDoesNotHaveIsRefused(t *testing.T) {
	overBoth(t, testASubtreeThatTheHostDoesNotHaveIsRefused)
}

func testASubtreeThatTheHostDoesNotHaveIsRefused(t *testing.T, s gittest.Host) {
	s.Create("app")
	lost := git.NewHash(strings.Repeat("12", 20))
	for name, r := range map[string]git.Remote{
		"http": openHTTP(t, s, "app", nil), "embedded": nothing(t),
	} {
		mustPush(t, r, "main", "first", file("a", "1"))
		_, err := push(t, r, "main", "second", git.Change{Path: "old", Subtree: &lost})
		var no *git.Refused
		if !errors.As(err, &no) {
			t.Errorf("%s: the push gives %v", name, err)
		}
		if name == "embedded" && !errors.Is(err, git.ErrMissing) {
			t.Errorf("%s: the push gives %v", name, err)
		}
		if _, err := r.Tree(t.Context(), lost); !errors.Is(err, git.ErrMissing) {
			t.Errorf("%s: reading it gives %v", name, err)
		}
	}
}

func TestAPushOverTheCapIsRefusedBeforeItIsSent(t *testing.T) {
	overBoth(t, testAPushOverTheCapIsRefusedBeforeItIsSent)
}

func testAPushOverTheCapIsRefusedBeforeItIsSent(t *testing.T, s gittest.Host) {
	s.Create("app")
	random := make([]byte, 200_000)
	for i := range random {
		random[i] = byte(i * i * 7919 >> 7)
	}
	set := func(c *git.Config) { c.MaxPush = 1000 }
	embedded, err := git.Open(t.Context(), git.Config{
		URL: "embedded:///app", MaxPush: 1000, Repos: openRepos(t, t.TempDir(), git.ReposOptions{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]git.Remote{"http": openHTTP(t, s, "app", set), "embedded": embedded} {
		_, err := push(t, r, "main", "first", git.Change{Path: "a", File: random})
		if !errs.Is(err, errs.Invalid) || errs.ReasonOf(err) != errorsv1.Reason_REASON_TOO_LARGE {
			t.Errorf("%s: the push gives %v", name, err)
		}
	}
}

func TestCredentialsAreSentAndNeverShown(t *testing.T) {
	s := gittest.NewServer(t)
	s.Create("app")
	s.RequireAuth("bot", "hunter2")
	password := "wrong-secret"
	r := openHTTP(t, s, "app", func(c *git.Config) {
		c.Credentials = func(context.Context) (string, string, error) { return "bot", password, nil }
	})
	_, err := r.Fetch(t.Context(), "main")
	if !errs.Is(err, errs.Unauthenticated) || strings.Contains(err.Error(), password) {
		t.Fatalf("wrong credentials give %v", err)
	}
	password = "hunter2"
	mustPush(t, r, "main", "first", file("a", "1"))
	_, err = git.Open(t.Context(), git.Config{URL: "https://bot:hunter2@example.com/x", Dir: t.TempDir()})
	if !errs.Is(err, errs.Invalid) || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("credentials in the URL give %v", err)
	}
}

func TestAHostOfTheOldProtocolWorksToo(t *testing.T) { overBoth(t, testAHostOfTheOldProtocolWorksToo) }

func testAHostOfTheOldProtocolWorksToo(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	bare.Git("config", "uploadpack.allowAnySHA1InWant", "true")
	s.ForgetProtocol()
	r := openHTTP(t, s, "app", nil)
	if tip, err := r.Fetch(t.Context(), "main"); err != nil || !tip.IsZero() {
		t.Fatalf("an empty repository gives %s, %v", tip, err)
	}
	mustPush(t, r, "main", "first", file("a/b", "1"))
	bare.Commit("main", "theirs", map[string][]byte{"a/c": []byte("2")})
	bare.Commit("main", "theirs", map[string][]byte{"a/d": []byte("3")})
	mustPush(t, r, "main", "second", file("a/e", "4"))
	bare.Fsck()
	if diff := cmp.Diff([]string{"a/b", "a/c", "a/d", "a/e"}, bare.Files("main")); diff != "" {
		t.Fatal(diff)
	}
	fresh := openHTTP(t, s, "app", nil)
	checkSubtree(t, fresh, "a", map[string]string{"b": "1", "c": "2", "d": "3", "e": "4"})
}

// checkSubtree compares the files at the tip of main.
func checkSubtree(t *testing.T, r git.Remote, path string, want map[string]string) {
	t.Helper()
	tip, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Commit(t.Context(), tip)
	if err != nil {
		t.Fatal(err)
	}
	files, err := git.ReadSubtree(t.Context(), r, c.Tree, path, git.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for p, data := range files {
		got[p] = string(data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestFilesAreFetchedWhenReadAndAllAtOnce(t *testing.T) {
	overBoth(t, testFilesAreFetchedWhenReadAndAllAtOnce)
}

func testFilesAreFetchedWhenReadAndAllAtOnce(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	want := map[string]string{}
	files := map[string][]byte{}
	for i := range 50 {
		want[fmt.Sprintf("f%d", i)] = fmt.Sprint(i)
		files[fmt.Sprintf("a/f%d", i)] = fmt.Append(nil, i)
	}
	bare.Commit("main", "theirs", files)
	r := openHTTP(t, s, "app", nil)
	checkSubtree(t, r, "a", want)
	requests := s.Requests()
	if len(requests) != 4 { // discovery, tip, trees, files
		t.Fatalf("reading 50 files took the requests %v", requests)
	}
	checkSubtree(t, r, "a", want)
	if got := s.Requests(); len(got) != 1 {
		t.Fatalf("reading them again took %v", got)
	}
}

func TestADamagedMirrorIsFetchedAnew(t *testing.T) { overBoth(t, testADamagedMirrorIsFetchedAnew) }

func testADamagedMirrorIsFetchedAnew(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	bare.Commit("main", "theirs", map[string][]byte{"a/b": []byte("1"), "c": []byte("2")})
	dir := t.TempDir()
	for name, damage := range map[string]func(path string) error{
		"cut short":     func(p string) error { return os.Truncate(p, 40) },
		"emptied":       func(p string) error { return os.Truncate(p, 0) },
		"gone":          os.Remove,
		"with bits off": flipBits,
	} {
		for _, suffix := range []string{".pack", ".idx"} {
			set := func(c *git.Config) { c.Dir = dir }
			r := openHTTP(t, s, "app", set)
			checkSubtree(t, r, "", map[string]string{"a/b": "1", "c": "2"})
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			packs, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*"+suffix))
			if err != nil || len(packs) == 0 {
				t.Fatalf("no packs in the mirror: %v", err)
			}
			for _, p := range packs {
				if err := os.Chmod(p, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := damage(p); err != nil {
					t.Fatal(err)
				}
			}
			again := openHTTP(t, s, "app", set)
			tip, err := again.Fetch(t.Context(), "main")
			if err != nil || tip.String() != bare.Tip("main") {
				t.Fatalf("%s %s: %s, %v", suffix, name, tip, err)
			}
			checkSubtree(t, again, "", map[string]string{"a/b": "1", "c": "2"})
			again.Close()
		}
	}
}

func flipBits(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := 12; i < len(data)-40; i++ {
		data[i] ^= 0x55
	}
	return os.WriteFile(path, data, 0o644)
}

func TestForeignHistoryIsFollowedHoweverItMoves(t *testing.T) {
	overBoth(t, testForeignHistoryIsFollowedHoweverItMoves)
}

func testForeignHistoryIsFollowedHoweverItMoves(t *testing.T, s gittest.Host) {
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "first", file("a/b", "1"), file("c/d", "2"))
	first := bare.Tip("main")
	bare.Commit("main", "theirs", map[string][]byte{"a/b": []byte("3")})
	mustPush(t, r, "main", "second", file("c/d", "4"))
	// Back to the beginning by force, where trees are wanted that were there before.
	bare.Git("update-ref", "refs/heads/main", first)
	mustPush(t, r, "main", "third", file("e/f", "5"))
	// A history that has nothing to do with the first.
	bare.Git("update-ref", "refs/heads/main", bare.CommitOn("", "unrelated", map[string][]byte{"x/y": []byte("6"), "c/d": []byte("2")}))
	mustPush(t, r, "main", "fourth", file("a/b", "1"))
	checkSubtree(t, r, "", map[string]string{"x/y": "6", "c/d": "2", "a/b": "1"})
	bare.Git("update-ref", "-d", "refs/heads/main")
	if tip, err := r.Fetch(t.Context(), "main"); err != nil || !tip.IsZero() {
		t.Fatalf("a deleted branch gives %s, %v", tip, err)
	}
	mustPush(t, r, "main", "fifth", file("a/b", "1"))
	bare.Fsck()
}

func TestWritersOnOneBranchLoseNothing(t *testing.T) {
	const writers, each = 4, 3
	s := gittest.NewServer(t)
	bare := s.Create("app")
	var wg sync.WaitGroup
	for w := range writers {
		r := openHTTP(t, s, "app", nil)
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("w%d-%d", w, i)
				for {
					_, err := tryPush(t.Context(), r, name, file(fmt.Sprintf("w%d/%d", w, i), name))
					if err == nil {
						break
					}
					if !errors.Is(err, git.ErrMoved) {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			}
		})
	}
	for i := range each {
		bare.Commit("main", fmt.Sprintf("foreign-%d", i), map[string][]byte{fmt.Sprintf("foreign/%d", i): []byte("x")})
	}
	wg.Wait()
	bare.Fsck()
	count := map[string]int{}
	for _, subject := range bare.Log("main") {
		count[subject]++
	}
	if len(count) != (writers+1)*each {
		t.Errorf("%d different commits of %d", len(count), (writers+1)*each)
	}
	for subject, n := range count {
		if n != 1 {
			t.Errorf("%s is there %d times", subject, n)
		}
	}
	if got := len(bare.Files("main")); got != (writers+1)*each {
		t.Errorf("%d files of %d", got, (writers+1)*each)
	}
}

func TestHooksAreCalledAtTheBoundaries(t *testing.T) { overBoth(t, testHooksAreCalledAtTheBoundaries) }

func testHooksAreCalledAtTheBoundaries(t *testing.T, s gittest.Host) {
	s.Create("app")
	var calls []string
	hooks := git.Hooks{
		PackSent: func() { calls = append(calls, "pack") },
		RefMoved: func() { calls = append(calls, "ref") },
	}
	embedded, err := git.Open(t.Context(), git.Config{
		URL: "embedded:///app", Hooks: hooks, Repos: openRepos(t, t.TempDir(), git.ReposOptions{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]git.Remote{
		"http": openHTTP(t, s, "app", func(c *git.Config) { c.Hooks = hooks }), "embedded": embedded,
	} {
		calls = nil
		mustPush(t, r, "main", "first", file("a", "1"))
		if diff := cmp.Diff([]string{"pack", "ref"}, calls); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestURLsHaveOneSpelling(t *testing.T) {
	for raw, want := range map[string]string{
		"embedded:///a/b.git":             "embedded:///a/b",
		"HTTPS://Example.COM:443/a/b/":    "https://example.com/a/b",
		"http://example.com:80/a.git":     "http://example.com/a.git",
		"https://example.com:8443/x":      "https://example.com:8443/x",
		"embedded://host/a":               "",
		"embedded:///../a":                "",
		"embedded:///a.git/b":             "",
		"ssh://git@example.com/x":         "ssh://git@example.com/x",
		"git@Example.com:team/x.git":      "ssh://git@example.com/team/x.git",
		"ssh://Example.com:22/team/x/":    "ssh://git@example.com/team/x",
		"SSH://bot@example.com:2222/x":    "ssh://bot@example.com:2222/x",
		"bot@[::1]:x":                     "ssh://bot@[::1]/x",
		"ssh://git@[::1]:2222/x":          "ssh://git@[::1]:2222/x",
		"git@example.com:~me/x":           "ssh://git@example.com/~me/x",
		"ssh://git@example.com/~me/x":     "ssh://git@example.com/~me/x",
		"ssh://git:hunter2@example.com/x": "",
		"git:hunter2@example.com:x":       "",
		"git@example.com:":                "",
		"git@example.com:--upload-pack=x": "",
		"ssh://-oProxyCommand=x/x":        "",
		"ssh://git@example.com/":          "",
		"ssh://git@example.com/x?y=z":     "",
		"/a/path":                         "",
		"https://example.com/x?token=abc": "",
		"https:///x":                      "",
	} {
		got, err := git.NormaliseURL(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s gives %q, %v", raw, got, err)
		}
	}
}
