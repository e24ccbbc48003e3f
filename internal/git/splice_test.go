package git_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// writeTree is what real git says of files: an index built from nothing, then write-tree.
func writeTree(t testing.TB, bare *gittest.Bare, files map[string][]byte) string {
	t.Helper()
	if len(files) == 0 {
		return git.EmptyTree.String()
	}
	return bare.WriteTree(files)
}

// nothing is a remote of an empty repository.
func nothing(t testing.TB) git.Remote {
	t.Helper()
	return openEmbedded(t, openRepos(t, t.TempDir(), git.ReposOptions{}), "empty")
}

// names are chosen so that folders and files sort against each other in every way: "a", "a.b", "a/", "a0".
var names = rapid.SampledFrom([]string{"a", "a.b", "a-b", "a0", "b", "ab", "ä", "z z"})

var paths = rapid.Custom(func(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(names, 1, 3).Draw(t, "parts"), "/")
})

var bundles = rapid.Custom(func(t *rapid.T) map[string][]byte {
	files := map[string][]byte{}
	for _, p := range rapid.SliceOfN(paths, 0, 8).Draw(t, "paths") {
		put(files, p, []byte(rapid.SampledFrom([]string{"", "1", "two"}).Draw(t, "content")))
	}
	return files
})

// put is what a file system does: a file takes the place of a folder, and a folder that of a file.
func put(files map[string][]byte, path string, data []byte) {
	remove(files, path)
	for p := path; ; {
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			break
		}
		p = p[:i]
		delete(files, p)
	}
	files[path] = data
}

func remove(files map[string][]byte, path string) {
	maps.DeleteFunc(files, func(p string, _ []byte) bool { return p == path || strings.HasPrefix(p, path+"/") })
}

func TestTreeIDIsWhatGitWriteTreeSays(t *testing.T) {
	bare := gittest.NewBare(t, filepath.Join(t.TempDir(), "x.git"))
	rapid.Check(t, func(rt *rapid.T) {
		files := bundles.Draw(rt, "files")
		got, err := git.TreeID(files)
		if err != nil {
			rt.Fatal(err)
		}
		if want := writeTree(t, bare, files); got.String() != want {
			rt.Fatalf("TreeID is %s, git says %s", got, want)
		}
	})
}

func TestSplicingEqualsEditingFiles(t *testing.T) {
	bare := gittest.NewBare(t, filepath.Join(t.TempDir(), "x.git"))
	empty := nothing(t)
	rapid.Check(t, func(rt *rapid.T) {
		model := bundles.Draw(rt, "before")
		objs := git.NewObjectSet()
		root, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{{Files: model}})
		if err != nil {
			rt.Fatal(err)
		}
		model = maps.Clone(model)
		var changes []git.Change
		for range rapid.IntRange(1, 4).Draw(rt, "number of changes") {
			changes = append(changes, drawChange(rt, model, empty, objs))
		}
		got, err := git.Splice(t.Context(), empty, objs, root, changes)
		if err != nil {
			rt.Fatal(err)
		}
		if want := writeTree(t, bare, model); got.String() != want {
			rt.Fatalf("after %+v the tree is %s, git says %s for %v", changes, got, want, slices.Sorted(maps.Keys(model)))
		}
	})
}

// drawChange draws one change and does the same to the model.
func drawChange(rt *rapid.T, model map[string][]byte, empty git.Reader, objs *git.ObjectSet) git.Change {
	path := paths.Draw(rt, "path")
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		put(model, path, []byte("new"))
		return git.Change{Path: path, File: []byte("new")}
	case 1:
		remove(model, path)
		return git.Change{Path: path, Delete: true}
	case 2:
		files := bundles.Draw(rt, "files")
		replaceFolder(model, path, files)
		return git.Change{Path: path, Files: files}
	default:
		files := bundles.Draw(rt, "subtree")
		h, err := git.Splice(rt.Context(), empty, objs, git.ZeroHash, []git.Change{{Files: files}})
		if err != nil {
			rt.Fatal(err)
		}
		replaceFolder(model, path, files)
		return git.Change{Path: path, Subtree: &h}
	}
}

// Writing below a file makes it a folder; that what was written goes again does not bring the file back.
func TestAFileThatBecameAFolderStaysAwayWhenTheFolderIsEmptied(t *testing.T) {
	empty := nothing(t)
	objs := git.NewObjectSet()
	root, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{{Path: "a", File: []byte("x")}, {Path: "z", File: []byte("z")}})
	if err != nil {
		t.Fatal(err)
	}
	want, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{{Path: "z", File: []byte("z")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, below := range []string{"a/b", "a/b/c"} {
		got, err := git.Splice(t.Context(), empty, objs, root, []git.Change{{Path: below, File: []byte("y")}, {Path: below, Delete: true}})
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", below, got, err, want)
		}
	}
}

func TestReplacingAFolderBelowAFileByNothingKeepsTheFile(t *testing.T) {
	empty := nothing(t)
	none := git.EmptyTree
	for name, change := range map[string]git.Change{
		"no files":      {Path: "a/b", Files: map[string][]byte{}},
		"an empty tree": {Path: "a/b", Subtree: &none},
		"a removal":     {Path: "a/b", Delete: true},
	} {
		t.Run(name, func(t *testing.T) {
			objs := git.NewObjectSet()
			file := git.Change{Path: "a", File: []byte("x")}
			want, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{file})
			if err != nil {
				t.Fatal(err)
			}
			together, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{file, change})
			if err != nil || together != want {
				t.Errorf("in one splice: %v, %v; want %v", together, err, want)
			}
			later, err := git.Splice(t.Context(), empty, objs, want, []git.Change{change})
			if err != nil || later != want {
				t.Errorf("on top of it: %v, %v; want %v", later, err, want)
			}
		})
	}
}

func replaceFolder(model map[string][]byte, path string, files map[string][]byte) {
	remove(model, path)
	for p, data := range files {
		put(model, path+"/"+p, data)
	}
}

func TestSpliceKeepsWhatItDoesNotTouch(t *testing.T) {
	dir := t.TempDir()
	bare := gittest.NewBare(t, filepath.Join(dir, "x.git"))
	// A script, a link and a submodule, which Towpath never writes.
	work := filepath.Join(dir, "work")
	gittest.Git(t, dir, "clone", "--quiet", bare.Dir, work)
	writeFile(t, filepath.Join(work, "run.sh"), "#!/bin/sh")
	if err := os.Chmod(filepath.Join(work, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run.sh", filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, work, "add", ".")
	gittest.Git(t, work, "update-index", "--add", "--cacheinfo", "160000,1111111111111111111111111111111111111111,sub")
	gittest.Git(t, work, "commit", "--quiet", "-m", "first")
	gittest.Git(t, work, "push", "--quiet", "origin", "HEAD:main")
	s := gittest.NewServer(t)
	served := s.Create("app")
	gittest.Git(t, work, "push", "--quiet", served.Dir, "HEAD:main")
	r := openHTTP(t, s, "app", nil)
	mustPush(t, r, "main", "second", file("a/b", "x"))
	want := "100644 a/b\n120000 link\n100755 run.sh\n160000 sub"
	if got := served.Git("ls-tree", "-r", "--format=%(objectmode) %(path)", "main"); got != want {
		t.Fatalf("the tree holds %q", got)
	}
	c, err := r.Commit(t.Context(), git.NewHash(served.Tip("main")))
	if err != nil {
		t.Fatal(err)
	}
	files, err := git.ReadSubtree(t.Context(), r, c.Tree, "", git.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a/b", "run.sh"}, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Fatal(diff)
	}
}

func TestSpliceAddsNothingThatIsThere(t *testing.T) {
	r := nothing(t)
	mustPush(t, r, "main", "first", file("a/b", "1"), file("a/c", "2"))
	tip, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Commit(t.Context(), tip)
	if err != nil {
		t.Fatal(err)
	}
	objs := git.NewObjectSet()
	root, err := git.Splice(t.Context(), r, objs, c.Tree, []git.Change{
		file("a/b", "1"), {Path: "x/y", Delete: true}, {Path: "a/b/c", Delete: true},
	})
	if err != nil || root != c.Tree || objs.Len() != 0 {
		t.Fatalf("an edit that changes nothing gives %s with %d new objects, %v", root, objs.Len(), err)
	}
	a, err := git.Lookup(t.Context(), r, c.Tree, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := git.Splice(t.Context(), r, objs, c.Tree, []git.Change{{Path: "copy/of/a", Subtree: &a.Hash}}); err != nil || objs.Len() != 3 {
		t.Fatalf("assigning a subtree makes %d objects and not the 3 trees above it, %v", objs.Len(), err)
	}
}

func TestAChangeMustSayOneThing(t *testing.T) {
	objs, empty := git.NewObjectSet(), nothing(t)
	for name, c := range map[string]git.Change{
		"nothing at all":           {Path: "a"},
		"two things":               {Path: "a", Delete: true, File: []byte{}},
		"a file without a path":    {File: []byte("x")},
		"a path that goes up":      {Path: "../x", Delete: true},
		"a wrong path in a bundle": {Path: "a", Files: map[string][]byte{"b/../c": nil}},
	} {
		if _, err := git.Splice(t.Context(), empty, objs, git.ZeroHash, []git.Change{c}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPathsThatGitOrACheckoutCouldMisread(t *testing.T) {
	for _, p := range []string{
		"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", ".git", "a/.GIT/b", ".git ", ".git.", ".git . .", "git~1", "GIT~2/x",
		".git::$INDEX_ALLOCATION", ".git:x", ".g\u200cit", "\ufeff.git", "a\\b", "a\x00b", "a\nb", "a\x7f", "a\u0085", "e\u0301", "\xff",
		strings.Repeat("a", 256), strings.Repeat("a/", 512) + "a",
	} {
		err := git.ValidatePath(p)
		if !errs.Is(err, errs.Invalid) || errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PATH {
			t.Errorf("%q: %v", p, err)
			continue
		}
		var e *errs.Error
		if errors.As(err, &e) && e.Meta["path"] != p {
			t.Errorf("%q: the error names %q", p, e.Meta["path"])
		}
	}
	for _, p := range []string{"a", "a/b.yaml", ".gitignore", ".github/x", "git", "git~", "git~x", "é", "a b", "...", ".g", "x.git", strings.Repeat("a", 255)} {
		if err := git.ValidatePath(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestBundlesThatAFileSystemCouldNotHold(t *testing.T) {
	for name, files := range map[string][]string{
		"two files that differ in capitals":   {"a/Deploy.yaml", "a/deploy.yaml"},
		"two folders that differ in capitals": {"App/x", "app/y"},
		"capitals beyond ASCII":               {"Ä", "ä"},
		"sharp s":                             {"straße", "STRASSE"},
		"a file where a folder is needed":     {"a", "a/b"},
		"a file deep where one is needed":     {"x/a", "x/a-b", "x/a/b/c"},
	} {
		bundle := map[string][]byte{}
		for _, f := range files {
			bundle[f] = nil
		}
		if err := git.ValidateFiles(bundle); errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PATH {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := git.ValidateFiles(map[string][]byte{"a": nil, "a-b": nil, "b/a": nil, "b/c/d": nil}); err != nil {
		t.Error(err)
	}
}

func TestBranchNamesAreThoseThatGitTakes(t *testing.T) {
	dir := t.TempDir()
	for _, b := range []string{
		"main", "a/b", "release-1.0", "ü", "a.b", "a@b", "a..b", ".a", "a/.b", "a.lock", "a/b.lock/c", "a.", "a b", "a~1", "a^", "a:b",
		"a?", "a*", "a[b", "a\\b", "a@{b", "/a", "a/", "a//b", "-a", "a\x01", "",
	} {
		_, gitErr := gittest.TryGit(t, dir, "check-ref-format", "--branch", b)
		if b == "" {
			gitErr = errors.New("git takes no empty argument")
		}
		if err := git.ValidateBranch(b); (err == nil) != (gitErr == nil) {
			t.Errorf("%q: we say %v, git says %v", b, err, gitErr)
		}
	}
}

func TestWideFoldersKeepGitsOrder(t *testing.T) {
	bare := gittest.NewBare(t, filepath.Join(t.TempDir(), "x.git"))
	r := nothing(t)
	model := map[string][]byte{}
	for i := range 3000 {
		model[fmt.Sprintf("apps/app-%04d/prod/x.yaml", i)] = []byte("x")
	}
	tip := mustPush(t, r, "main", "first", git.Change{Files: maps.Clone(model)})
	objs := git.NewObjectSet()
	for i := range 60 { // longer than the longest chain of deltas
		path := fmt.Sprintf("apps/app-%04d/prod/x.yaml", i*37)
		tip = commit(t, r, objs, tip, "next", file(path, "new"), file(fmt.Sprintf("apps/b-%d", i), "file"))
		model[path], model[fmt.Sprintf("apps/b-%d", i)] = []byte("new"), []byte("file")
	}
	old, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), "main", old, tip, objs); err != nil {
		t.Fatal(err)
	}
	c, err := r.Commit(t.Context(), tip)
	if err != nil {
		t.Fatal(err)
	}
	if want := writeTree(t, bare, model); c.Tree.String() != want {
		t.Fatalf("the tree is %s, git says %s", c.Tree, want)
	}
}
