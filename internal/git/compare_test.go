package git_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/git"
)

// counted counts the trees that are read.
type counted struct {
	git.TreeReader
	reads int
}

func (c *counted) RawTree(ctx context.Context, h git.Hash) ([]byte, error) {
	c.reads++
	return c.TreeReader.RawTree(ctx, h)
}

func changes(t testing.TB, r git.TreeReader, a, b git.Hash) []string {
	t.Helper()
	var out []string
	err := git.CompareTrees(t.Context(), r, a, b, func(d git.Difference) error {
		mark := "M"
		if d.Before.Hash.IsZero() {
			mark = "A"
		} else if d.After.Hash.IsZero() {
			mark = "D"
		}
		out = append(out, mark+" "+d.Path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// threeHundredThousand makes a tree of 300,000 files in 100 folders of 100 applications with three environments of ten files.
func threeHundredThousand(objs *git.ObjectSet) git.Hash {
	var files []git.Entry
	for i := range 10 {
		files = append(files, git.Entry{Name: fmt.Sprintf("object-%d.yaml", i), Mode: git.ModeFile, Hash: objs.AddBlob([]byte{byte(i)})})
	}
	level := func(n int, name string, of func(i int) git.Hash) git.Hash {
		entries := make([]git.Entry, n)
		for i := range n {
			entries[i] = git.Entry{Name: fmt.Sprintf(name, i), Mode: git.ModeDir, Hash: of(i)}
		}
		return objs.AddTree(entries)
	}
	return level(100, "team-%03d", func(team int) git.Hash {
		return level(100, "app-%03d", func(app int) git.Hash {
			return level(3, "env-%d", func(env int) git.Hash {
				own := git.Entry{Name: "own.yaml", Mode: git.ModeFile, Hash: objs.AddBlob(fmt.Appendf(nil, "%d %d %d", team, app, env))}
				return objs.AddTree(append(slices.Clone(files[:9]), own))
			})
		})
	})
}

func TestComparingReadsOnlyWhatDiffers(t *testing.T) {
	objs := git.NewObjectSet()
	empty := nothing(t)
	a := threeHundredThousand(objs)
	r := &counted{TreeReader: objs.Over(empty)}
	b, err := git.Splice(t.Context(), objs.Over(empty), objs, a, []git.Change{file("team-042/app-017/env-2/own.yaml", "new")})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got := changes(t, r, a, b)
	if diff := cmp.Diff([]string{"M team-042/app-017/env-2/own.yaml"}, got); diff != "" {
		t.Errorf("the difference differs (-want +got):\n%s", diff)
	}
	if r.reads != 8 {
		t.Errorf("%d trees are read of 300,000 files, want 4 on each side", r.reads)
	}
	t.Logf("one change among 300,000 files: %s, %d trees read", time.Since(start), r.reads)
	r.reads = 0
	if got := changes(t, r, a, a); len(got) != 0 || r.reads != 0 {
		t.Errorf("a tree differs from itself by %q, %d trees read", got, r.reads)
	}
}

func TestComparingEqualsComparingFiles(t *testing.T) {
	empty := nothing(t)
	paths := rapid.SampledFrom([]string{"a", "a.b", "a/b", "a/b/c", "a-", "ab/c", "b", "b/a", "b.c/d", "z/y/x/w"})
	draw := func(rt *rapid.T, name string) map[string][]byte {
		model := map[string][]byte{}
		for range rapid.IntRange(0, 8).Draw(rt, name) {
			put(model, paths.Draw(rt, "path"), []byte(rapid.StringMatching("[01]").Draw(rt, "content")))
		}
		return model
	}
	rapid.Check(t, func(rt *rapid.T) {
		before, after := draw(rt, "before"), draw(rt, "after")
		objs := git.NewObjectSet()
		tree := func(files map[string][]byte) git.Hash {
			h, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{{Files: files}})
			if err != nil {
				rt.Fatal(err)
			}
			return h
		}
		got := changes(t, objs.Over(empty), tree(before), tree(after))
		var want []string
		names := maps.Clone(before)
		maps.Copy(names, after)
		for _, p := range slices.Sorted(maps.Keys(names)) {
			was, had := before[p]
			is, has := after[p]
			switch {
			case !had:
				want = append(want, "A "+p)
			case !has:
				want = append(want, "D "+p)
			case string(was) != string(is):
				want = append(want, "M "+p)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("%v against %v (-want +got):\n%s", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)), diff)
		}
	})
}

func TestAComparisonEndsWithTheErrorOfWhoAsks(t *testing.T) {
	objs := git.NewObjectSet()
	empty := nothing(t)
	tree, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{file("a", "1"), file("b", "2")})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	n := 0
	err = git.CompareTrees(t.Context(), objs.Over(empty), git.ZeroHash, tree, func(git.Difference) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d files", err, n)
	}
}

func TestACommitIsFoundBehindTheTipWhateverItsTime(t *testing.T) {
	r := nothing(t)
	objs := git.NewObjectSet()
	at := func(message string, when int64, parents ...git.Hash) git.Hash {
		h, err := git.NewCommit(objs, git.CommitSpec{
			Tree: git.EmptyTree, Parents: parents, Author: person, Committer: person, When: time.Unix(when, 0), Message: message,
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := at("first", 1000)
	waited := at("asked for long before it was approved", 10, first)
	side := at("merged", 1001, waited)
	other := at("never merged", 1002, waited)
	tip := at("merge", 2000, at("main", 1003, waited), side)
	reader := objs.Over(r)
	for what, tc := range map[string]struct {
		commit git.Hash
		most   int
		want   bool
	}{
		"the tip":                  {tip, 1, true},
		"the beginning":            {first, 100, true},
		"one that waited":          {waited, 100, true},
		"one by the second parent": {side, 100, true},
		"one of another branch":    {other, 100, false},
		"one behind the looked-at": {first, 2, false},
	} {
		got, err := git.Contains(t.Context(), reader, tip, tc.commit, tc.most)
		if err != nil || got != tc.want {
			t.Errorf("%s: %t, %v", what, got, err)
		}
	}
	unknown := git.NewHash(strings.Repeat("1", 40))
	if _, err := git.Contains(t.Context(), reader, tip, unknown, 100); !errors.Is(err, git.ErrMissing) {
		t.Errorf("a commit that nobody has: %v", err)
	}
}
