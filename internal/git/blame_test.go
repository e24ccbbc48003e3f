package git_test

import (
	"testing"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// The one who changed what stands at a path is found through merges and later commits, and nobody is named where it cannot be told.
func TestTheLastChangeOfAPathIsFoundThroughMerges(t *testing.T) {
	srv := gittest.NewServer(t)
	bare := srv.Create("shop")
	first := bare.Commit("main", "ours", map[string][]byte{"env/a.yaml": []byte("1"), "other.txt": []byte("x")})
	side := bare.CommitOn(first, "their branch", map[string][]byte{"env/a.yaml": []byte("2")})
	main := bare.Commit("main", "elsewhere", map[string][]byte{"other.txt": []byte("y")})
	tree := bare.Git("merge-tree", "--write-tree", main, side)
	merge := bare.Git("-c", "user.name=M", "-c", "user.email=m@example.com", "commit-tree", tree, "-p", main, "-p", side, "-m", "merge")
	bare.Git("update-ref", "refs/heads/main", merge)
	last := bare.Commit("main", "elsewhere again", map[string][]byte{"other.txt": []byte("z")})
	gone := bare.CommitOn(last, "gone", map[string][]byte{"env/a.yaml": nil})

	r, err := git.Open(t.Context(), git.Config{URL: srv.URL("shop"), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // it was only read
	bare.Git("update-ref", "refs/heads/gone", gone)
	if _, err := r.Fetch(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		from, path string
		scan       int
		want       string
	}{
		"on the side of a merge":   {last, "env", 50, side},
		"a removal":                {gone, "env", 50, gone},
		"what nobody ever changed": {first, "nothing", 50, ""},
		"too far back":             {last, "env", 1, ""},
		"the first commit":         {first, "env", 50, first},
		"no branch at all":         {"", "env", 50, ""},
	} {
		c, ok, err := git.LastChange(t.Context(), r, git.NewHash(tc.from), tc.path, tc.scan)
		if err != nil || ok != (tc.want != "") || ok && c.Hash.String() != tc.want {
			t.Errorf("%s: %s (%t), %v; want %s", name, c.Hash, ok, err, tc.want)
		}
	}
}
