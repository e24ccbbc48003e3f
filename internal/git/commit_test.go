package git_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestACommitIsReadBackAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	r := openEmbedded(t, openRepos(t, dir, git.ReposOptions{}), "app")
	objs := git.NewObjectSet()
	tree, err := git.Splice(t.Context(), r, objs, git.ZeroHash, []git.Change{file("a", "1")})
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 2*3600))
	trailers := []git.Trailer{{Key: "Towpath-Deployment", Value: "d-1"}, {Key: "Towpath-Set", Value: "two\nlines"}}
	author := git.Person{Name: "Jo Ü", Email: "jo@example.com"}
	signature := "-----BEGIN SSH SIGNATURE-----\nabc\n\ndef\n-----END SSH SIGNATURE-----\n"
	h, err := git.NewCommit(objs, git.CommitSpec{
		Tree: tree, Author: author, Committer: person, When: when, Message: "Deploy shop\n\nBecause.", Trailers: trailers,
		Sign: func(payload []byte) (string, error) {
			if !strings.HasPrefix(string(payload), "tree ") || strings.Contains(string(payload), "gpgsig") {
				return "", errors.New("this is not a commit's payload")
			}
			return signature, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), "main", git.ZeroHash, h, objs); err != nil {
		t.Fatal(err)
	}
	got, err := r.Commit(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	want := git.Commit{
		Hash: h, Tree: tree, Author: author, AuthorTime: when, Committer: person, CommitTime: when, Signature: signature,
		Message: "Deploy shop\n\nBecause.\n\nTowpath-Deployment: d-1\nTowpath-Set: two lines\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if got.Trailer("towpath-set") != "two lines" || got.Trailer("Towpath-Actor") != "" {
		t.Fatalf("the trailers are %v", git.ParseTrailers(got.Message))
	}
	bare := gittest.OpenBare(t, filepath.Join(dir, "app.git"))
	bare.Fsck()
	format := "--format=%an|%ae|%aI|%cn|%(trailers:key=Towpath-Deployment,valueonly,separator=)"
	if got := bare.Git("log", format, "main"); got != "Jo Ü|jo@example.com|2026-03-01T12:00:00+02:00|Towpath|d-1" {
		t.Fatalf("git reads %q", got)
	}
}

func TestCommitsThatGitCouldNotReadBackAreRefused(t *testing.T) {
	good := git.CommitSpec{Tree: git.EmptyTree, Author: person, Committer: person, Message: "m"}
	for name, spoil := range map[string]func(*git.CommitSpec){
		"no author":               func(s *git.CommitSpec) { s.Author = git.Person{} },
		"a line end in the email": func(s *git.CommitSpec) { s.Committer.Email = "a\nparent b" },
		"a bracket in the name":   func(s *git.CommitSpec) { s.Author.Name = "a <b>" },
		"no message":              func(s *git.CommitSpec) { s.Message = " \n" },
		"a trailer with a space":  func(s *git.CommitSpec) { s.Trailers = []git.Trailer{{Key: "a b"}} },
	} {
		spec := good
		spoil(&spec)
		if _, err := git.NewCommit(git.NewObjectSet(), spec); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrailersAreTheLastParagraphOnly(t *testing.T) {
	for message, want := range map[string][]git.Trailer{
		"subject":                              nil,
		"Key: value":                           nil,
		"s\n\nA: 1\nB-c: 2\n":                  {{Key: "A", Value: "1"}, {Key: "B-c", Value: "2"}},
		"s\n\nA: 1\n  and on\n":                {{Key: "A", Value: "1 and on"}},
		"s\n\nA: 1\nnot a trailer\n":           nil,
		"s\n\nA: 1\n\nbody\n":                  nil,
		"s\n\nbody\n\nLink: https://x/y?z:1\n": {{Key: "Link", Value: "https://x/y?z:1"}},
	} {
		if diff := cmp.Diff(want, git.ParseTrailers(message)); diff != "" {
			t.Errorf("%q: %s", message, diff)
		}
	}
}

func TestHistoryIsListedNewestFirstByPathAndInPages(t *testing.T) {
	s := gittest.NewServer(t)
	s.Create("app")
	for name, r := range map[string]git.Remote{
		"embedded": openEmbedded(t, openRepos(t, t.TempDir(), git.ReposOptions{}), "app"),
		"http":     openHTTP(t, s, "app", nil),
	} {
		t.Run(name, func(t *testing.T) {
			var tip git.Hash
			for i, m := range []string{"1", "2", "3", "4", "5"} {
				path := []string{"a/x", "b/x"}[i%2]
				tip = mustPush(t, r, "main", m, file(path, m))
			}
			listed := func(r git.Reader, from git.Hash, opts git.ListOptions) (string, git.Hash) {
				t.Helper()
				commits, next, err := git.ListCommits(t.Context(), r, from, opts)
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				for _, c := range commits {
					b.WriteString(strings.TrimSpace(c.Message))
				}
				return b.String(), next
			}
			if got, next := listed(r, tip, git.ListOptions{}); got != "54321" || !next.IsZero() {
				t.Fatalf("all commits are %q, then %s", got, next)
			}
			if got, _ := listed(r, tip, git.ListOptions{Path: "b"}); got != "42" {
				t.Fatalf("the commits of b are %q", got)
			}
			first, next := listed(r, tip, git.ListOptions{Path: "a/x", Limit: 2})
			second, _ := listed(r, next, git.ListOptions{Path: "a/x", Limit: 2})
			if first+"|"+second != "53|1" {
				t.Fatalf("in pages of two: %q and %q", first, second)
			}
			if name == "http" {
				// A mirror without history reads on behind the cut.
				fresh := openHTTP(t, s, "app", nil)
				if _, err := fresh.Fetch(t.Context(), "main"); err != nil {
					t.Fatal(err)
				}
				if got, _ := listed(fresh, tip, git.ListOptions{Path: "a/x"}); got != "531" {
					t.Fatalf("from a fresh mirror the commits of a/x are %q", got)
				}
			}
		})
	}
}

func TestReadingWhatIsNotThere(t *testing.T) {
	r := nothing(t)
	tip := mustPush(t, r, "main", "first", file("a/b", "1"))
	c, err := r.Commit(t.Context(), tip)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"x", "a/x", "a/b/c"} {
		if _, err := git.Lookup(t.Context(), r, c.Tree, p); !errors.Is(err, git.ErrNotFound) || !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := r.Blob(t.Context(), c.Tree); !errors.Is(err, git.ErrMissing) {
		t.Errorf("a tree read as a file: %v", err)
	}
	if _, err := git.ReadSubtree(t.Context(), r, c.Tree, "", git.Limits{Bytes: 0, Files: 0}); err != nil {
		t.Error(err)
	}
	mustPush(t, r, "main", "second", file("a/c", "22"))
	tip, _ = r.Fetch(t.Context(), "main")
	c, _ = r.Commit(t.Context(), tip)
	for name, l := range map[string]git.Limits{"files": {Files: 1}, "bytes": {Bytes: 2}} {
		if _, err := git.ReadSubtree(t.Context(), r, c.Tree, "a", l); !errs.Is(err, errs.OutOfRange) {
			t.Errorf("over the limit of %s: %v", name, err)
		}
	}
}
