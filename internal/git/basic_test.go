package git_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

var person = git.Person{Name: "Towpath", Email: "towpath@example.com"}

// commit builds one commit on tip with the changes given.
func commit(t testing.TB, r git.Reader, objs *git.ObjectSet, tip git.Hash, message string, changes ...git.Change) git.Hash {
	t.Helper()
	ctx := t.Context()
	r = objs.Over(r)
	root := git.ZeroHash
	var parents []git.Hash
	if !tip.IsZero() {
		c, err := r.Commit(ctx, tip)
		if err != nil {
			t.Fatal(err)
		}
		root, parents = c.Tree, []git.Hash{tip}
	}
	tree, err := git.Splice(ctx, r, objs, root, changes)
	if err != nil {
		t.Fatal(err)
	}
	h, err := git.NewCommit(objs, git.CommitSpec{
		Tree: tree, Parents: parents, Author: person, Committer: person, When: time.Unix(1_750_000_000, 0).UTC(), Message: message,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func file(path, content string) git.Change { return git.Change{Path: path, File: []byte(content)} }

// push builds one commit on the branch's tip and pushes it.
func push(t testing.TB, r git.Remote, branch, message string, changes ...git.Change) (git.Hash, error) {
	t.Helper()
	tip, err := r.Fetch(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	objs := git.NewObjectSet()
	h := commit(t, r, objs, tip, message, changes...)
	return h, r.Push(t.Context(), branch, tip, h, objs)
}

// tryPush is push for goroutines.
func tryPush(ctx context.Context, r git.Remote, message string, changes ...git.Change) (git.Hash, error) {
	tip, err := r.Fetch(ctx, "main")
	if err != nil {
		return tip, err
	}
	objs := git.NewObjectSet()
	root := git.ZeroHash
	var parents []git.Hash
	if !tip.IsZero() {
		c, err := r.Commit(ctx, tip)
		if err != nil {
			return tip, err
		}
		root, parents = c.Tree, []git.Hash{tip}
	}
	tree, err := git.Splice(ctx, r, objs, root, changes)
	if err != nil {
		return tip, err
	}
	h, err := git.NewCommit(objs, git.CommitSpec{
		Tree: tree, Parents: parents, Author: person, Committer: person, When: time.Now(), Message: message,
	})
	if err != nil {
		return tip, err
	}
	return h, r.Push(ctx, "main", tip, h, objs)
}

func mustPush(t testing.TB, r git.Remote, branch, message string, changes ...git.Change) git.Hash {
	t.Helper()
	h, err := push(t, r, branch, message, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func openHTTP(t testing.TB, s gittest.Host, name string, set func(*git.Config)) git.Remote {
	t.Helper()
	cfg := git.Config{URL: s.URL(name), Dir: t.TempDir(), Timeout: 20 * time.Second}
	if over, ok := s.(*gittest.SSHServer); ok {
		cfg.SSH = loginTo(t, over)
	}
	if set != nil {
		set(&cfg)
	}
	r, err := git.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func openRepos(t testing.TB, dir string, opts git.ReposOptions) *git.Repos {
	t.Helper()
	repos, err := git.OpenRepos(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repos.Close() })
	return repos
}

func openEmbedded(t testing.TB, repos *git.Repos, name string) git.Remote {
	t.Helper()
	r, err := git.Open(context.Background(), git.Config{URL: "embedded:///" + name, Repos: repos})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEmbeddedRepositoryIsReadableByGit(t *testing.T) {
	dir := t.TempDir()
	r := openEmbedded(t, openRepos(t, dir, git.ReposOptions{}), "team/app")
	first := mustPush(t, r, "main", "first", file("a/b.yaml", "one"))
	mustPush(t, r, "main", "second", file("a/c.yaml", "two"))
	objs := git.NewObjectSet()
	stale := commit(t, r, objs, first, "stale", file("x", "x"))
	if err := r.Push(t.Context(), "main", first, stale, objs); !errors.Is(err, git.ErrMoved) {
		t.Fatalf("a stale push gives %v", err)
	}
	bare := gittest.OpenBare(t, dir+"/team/app.git")
	bare.Fsck()
	if got := bare.Show("main", "a/c.yaml"); got != "two" {
		t.Fatal(got)
	}
	if got := bare.Log("main"); len(got) != 2 {
		t.Fatal(got)
	}
}

func TestHTTPRoundTrip(t *testing.T) {
	s := gittest.NewServer(t)
	bare := s.Create("app")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "first", file("a/b.yaml", "one"))
	bare.Commit("main", "foreign", map[string][]byte{"foreign.txt": []byte("hello")})
	mustPush(t, r, "main", "second", file("a/c.yaml", "two"))
	bare.Fsck()
	t.Log(bare.Log("main"), s.Requests())
	if got := bare.Show("main", "foreign.txt"); got != "hello" {
		t.Fatal(got)
	}
}
