package git_test

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/git"
)

// treeOf stores files as trees of their own and gives a layer of them.
func treeOf(t rapid.TB, files map[string][]byte) git.Layer {
	objs := git.NewObjectSet()
	var changes []git.Change
	for p, data := range files {
		changes = append(changes, git.Change{Path: p, File: data})
	}
	root, err := git.Splice(context.Background(), noTrees{}, objs, git.ZeroHash, changes)
	if err != nil {
		t.Fatal(err)
	}
	return git.Layer{Reader: objs.Over(nil), Tree: root}
}

type noTrees struct{}

func (noTrees) RawTree(_ context.Context, h git.Hash) ([]byte, error) {
	if h.IsZero() || h == git.EmptyTree {
		return nil, nil
	}
	return nil, git.ErrMissing
}

func TestMergedTreesAreTheTreeOfAllFiles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a.yaml", "b.yaml", "x/a.yaml", "x/b.yaml", "x/y/a.yaml", "x/y/z/a.yaml", "z/a.yaml"})
		all := map[string][]byte{}
		shares := make([]map[string][]byte, rapid.IntRange(1, 4).Draw(t, "shares"))
		for i := range shares {
			shares[i] = map[string][]byte{}
		}
		for _, p := range rapid.SliceOfDistinct(names, rapid.ID).Draw(t, "files") {
			all[p] = []byte(p)
			shares[rapid.IntRange(0, len(shares)-1).Draw(t, "share")][p] = []byte(p)
		}
		var layers []git.Layer
		for _, s := range shares {
			layers = append(layers, treeOf(t, s))
		}
		want, err := git.TreeID(all)
		if err != nil {
			t.Fatal(err)
		}
		got, err := git.MergeTrees(context.Background(), layers, func(p string) error { return errors.New(p) })
		if err != nil || got != want {
			t.Fatalf("merged %s, %v; want %s", got, err, want)
		}
	})
}

func TestTheFirstLayerCountsWhereTwoHaveTheSameFile(t *testing.T) {
	t.Parallel()
	a := treeOf(t, map[string][]byte{"x/a.yaml": []byte("first"), "b": []byte("file")})
	b := treeOf(t, map[string][]byte{"x/a.yaml": []byte("second"), "x/c.yaml": []byte("c"), "b/d": []byte("d")})
	want, err := git.TreeID(map[string][]byte{"x/a.yaml": []byte("first"), "x/c.yaml": []byte("c"), "b": []byte("file")})
	if err != nil {
		t.Fatal(err)
	}
	var clashes []string
	got, err := git.MergeTrees(t.Context(), []git.Layer{a, b}, func(p string) error { clashes = append(clashes, p); return nil })
	if err != nil || got != want || len(clashes) != 2 {
		t.Errorf("merged %s with clashes %v, %v; want %s", got, clashes, err, want)
	}
	if again, err := git.MergeTrees(t.Context(), []git.Layer{a, b}, nil); err != nil || again != want {
		t.Errorf("without asking it is %s, %v", again, err)
	}
	stop := errors.New("stop")
	if _, err := git.MergeTrees(t.Context(), []git.Layer{a, b}, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a clash that is refused ends as %v", err)
	}
	if _, err := git.MergeTrees(t.Context(), []git.Layer{a, {Reader: noTrees{}, Tree: b.Tree}}, nil); !errors.Is(err, git.ErrMissing) {
		t.Errorf("a missing tree ends as %v", err)
	}
}
