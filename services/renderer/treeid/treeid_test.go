package treeid_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/treeid"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

func TestOfIsWhatGitWrites(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no file":                {},
		"one file":               {"a": "content\n"},
		"an empty file":          {"a": ""},
		"files and folders":      {"a": "1", "b/c": "2", "b/d/e": "3", "z": "4"},
		"a folder sorts as b/":   {"b/x": "1", "b.yaml": "2", "b-c": "3", "b0": "4"},
		"names beyond ASCII":     {"ä/ö": "1", "é": "2", "a b": "3"},
		"binary content":         {"x": "\x00\xff\r\n"},
		"upper and lower case":   {"README": "1", "a": "2", "Z/y": "3"},
		"deep folders of a name": {"a/a/a/a": "1", "a/a/b": "2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			content := map[string][]byte{}
			for path, text := range files {
				content[path] = []byte(text)
				full := filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := treeid.Of(content)
			if err != nil {
				t.Fatal(err)
			}
			if want := gitTree(t, dir); got != want {
				t.Errorf("git write-tree says %s, got %s", want, got)
			}
		})
	}
}

func gitTree(t *testing.T, dir string) (tree string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"write-tree"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "core.autocrlf=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		tree = strings.TrimSpace(string(out))
	}
	return tree
}

func TestOfRefusesPathsThatAreNotClean(t *testing.T) {
	for _, path := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", ".git/config", "a/.GIT/x", "a\x00b"} {
		_, err := treeid.Of(map[string][]byte{path: nil})
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PATH {
			t.Errorf("%q: want REASON_INVALID_PATH, got %v", path, err)
		}
	}
	if _, err := treeid.Of(map[string][]byte{"a": nil, "a/b": nil}); errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_PATH {
		t.Errorf("a file that is a folder: want REASON_INVALID_PATH, got %v", err)
	}
}

func TestDigestTellsContentsAndPathsApart(t *testing.T) {
	seen := map[string]int{}
	for i, files := range []map[string][]byte{
		nil, {"a": nil}, {"b": nil}, {"a": []byte("x")}, {"a": []byte("x"), "b": nil}, {"a": nil, "b": []byte("x")},
	} {
		digest := treeid.Digest(files)
		if first, twice := seen[digest]; twice {
			t.Errorf("sets %d and %d have one digest", first, i)
		}
		if seen[digest] = i; len(digest) != 64 {
			t.Errorf("digest %q", digest)
		}
	}
}
