package committer_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/git"
)

// bulk is a renderer that makes whatever a test wants, without the limits of a message on its way.
type bulk struct{ files func() map[string][]byte }

func (r bulk) Render(context.Context, *rendererv1.RenderRequest, ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	b := &rendererv1.Bundle{Files: r.files(), Sha256: strings.Repeat("5", 64)}
	if len(b.GetFiles()) < 1000 { // larger ones are refused before anybody asks for their id
		if tree, err := git.TreeID(b.GetFiles()); err == nil {
			b.Tree = tree.String()
		}
	}
	return &rendererv1.RenderResponse{Bundle: b, RendererVersion: "test-1"}, nil
}

func TestHostileNamesAndSizesAreRefusedAndNamed(t *testing.T) {
	some := []byte("kind: ConfigMap\n")
	many := func(n int, format string) func() map[string][]byte {
		return func() map[string][]byte {
			files := make(map[string][]byte, n)
			for i := range n {
				files[fmt.Sprintf(format, i)] = some
			}
			return files
		}
	}
	one := func(names ...string) func() map[string][]byte {
		return func() map[string][]byte {
			files := map[string][]byte{}
			for _, n := range names {
				files[n] = some
			}
			return files
		}
	}
	for what, tc := range map[string]struct {
		files   func() map[string][]byte
		reason  string // "" when it is to work
		message string
	}{
		"git's own folder":                        {one(".git/config"), "INVALID_PATH", ".git"},
		"git's own folder below":                  {one("a/.GIT/hooks/post-checkout"), "INVALID_PATH", ".GIT"},
		"its short name on Windows":               {one("GIT~1/config"), "INVALID_PATH", "GIT~1"},
		"its name with a stream":                  {one(".git::$INDEX_ALLOCATION/x"), "INVALID_PATH", ".git"},
		"a way out":                               {one("../../other/shop/a.yaml"), "INVALID_PATH", ".."},
		"a way out in the middle":                 {one("a/../../b.yaml"), "INVALID_PATH", ".."},
		"an absolute path":                        {one("/etc/passwd"), "INVALID_PATH", "slash"},
		"a backslash":                             {one(`..\x.yaml`), "INVALID_PATH", "backslash"},
		"twins that differ in capitals":           {one("a/Config.yaml", "a/config.yaml"), "INVALID_PATH", "capitals"},
		"folders that differ in capitals":         {one("A/x.yaml", "a/y.yaml"), "INVALID_PATH", "capitals"},
		"twins by Unicode's folding":              {one("stra\u00dfe.yaml", "strasse.yaml"), "INVALID_PATH", "capitals"},
		"a decomposed name":                       {one("cafe\u0301.yaml"), "INVALID_PATH", "NFC"},
		"a composed name and its twin":            {one("caf\u00e9.yaml", "cafe\u0301.yaml"), "INVALID_PATH", "NFC"},
		"a composed name":                         {one("caf\u00e9.yaml"), "", ""},
		"an invisible character":                  {one("a\u200b.yaml"), "INVALID_PATH", "invisible"},
		"text that turns around":                  {one("a\u202elmay.yaml"), "INVALID_PATH", "invisible"},
		"a line end":                              {one("a\nb.yaml"), "INVALID_PATH", "control"},
		"no name":                                 {one(""), "INVALID_PATH", "empty"},
		"a file where a folder is":                {one("a", "a/b"), "INVALID_PATH", "folder"},
		"a name that is too long":                 {one(strings.Repeat("n", 256)), "INVALID_PATH", "255"},
		"a path that is too long":                 {one(strings.Repeat("n/", 600) + "x"), "INVALID_PATH", "1,024"},
		"a path that is too long with its folder": {one(strings.Repeat("n/", 505) + "x"), "INVALID_PATH", "1,024"},
		"names that are references":               {one("HEAD", "refs/heads/main", "main", "@", "-rf", "FETCH_HEAD"), "", ""},
		"names of git's files":                    {one("x/.gitattributes", "x/.gitmodules"), "", ""},
		"a file of 100 MB":                        {func() map[string][]byte { return map[string][]byte{"a.yaml": some, "big.bin": make([]byte, 100<<20)} }, "TOO_LARGE", "big.bin has 104857600 bytes, and the limit is 16777216"},
		"many files of 10 MB": {func() map[string][]byte {
			files, ten := map[string][]byte{}, make([]byte, 10<<20)
			for i := range 6 {
				files[fmt.Sprint(i)] = ten
			}
			return files
		}, "TOO_LARGE", "62914560 bytes, and the limit is 50331648"},
		"1,000,000 files":                  {many(1_000_000, "f%d"), "TOO_LARGE", "1000000 files, and the limit is 50000"},
		"more entries than a folder takes": {many(10_001, "d/f%d"), "TOO_LARGE", "d/ has 10001 entries"},
	} {
		t.Run(what, func(t *testing.T) {
			w, _ := remote(t, func(w *world) { w.cfg.Renderer = bulk{tc.files} })
			w.send(w.change("dev", 1, nil))
			if tc.reason == "" {
				w.committed(name("dev", 1))
				return
			}
			got := w.failed(name("dev", 1))
			if got.GetReason() != tc.reason || !strings.Contains(got.GetMessage(), tc.message) {
				t.Errorf("it ended as %v", got)
			}
			if w.bare.Tip("main") != "" {
				t.Error("something was pushed")
			}
		})
	}
}

func TestHostileFoldersAreRefused(t *testing.T) {
	w, _ := remote(t)
	for i, path := range []string{".git", "a/.git/b", "..", "a/../b", "/a", "a/", "a//b", "", ".towpath/state/00", ".TOWPATH/x", "a\\b", strings.Repeat("x/", 600)} {
		env := fmt.Sprintf("env-%d", i)
		w.send(w.change(env, 1, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) { cmd.Path = path }))
		if got := w.failed(name(env, 1)); got.GetReason() != "INVALID_PATH" {
			t.Errorf("%q ended as %v", path, got)
		}
	}
}

// literal writes an object as it is given, however wrong, and gives its id.
func literal(t *testing.T, dir, kind string, data []byte) string {
	t.Helper()
	cmd := exec.Command("git", "hash-object", "-t", kind, "--literally", "-w", "--stdin")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git hash-object: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// entry is a line of a tree.
func entry(mode, name, id string) []byte {
	h := git.NewHash(id)
	return append([]byte(mode+" "+name+"\x00"), h[:]...)
}

func TestTreesThatOthersMadeAreKeptHoweverHostile(t *testing.T) {
	type made struct{ root []byte }
	levels := 1000 // git itself, at the host, takes most of a minute for ten times as many
	if os.Getenv(chaosEnv) == "long" {
		levels = 10_000
	}
	for what, build := range map[string]func(t *testing.T, w *world, blob string) made{
		"links, programs and submodules": func(_ *testing.T, _ *world, blob string) made {
			return made{bytes.Join([][]byte{entry("120000", "link", blob), entry("160000", "module", blob), entry("100755", "run.sh", blob)}, nil)}
		},
		"out of order": func(_ *testing.T, _ *world, blob string) made {
			return made{bytes.Join([][]byte{entry("100644", "z", blob), entry("100644", "a", blob), entry("100644", "m", blob)}, nil)}
		},
		"the same name twice": func(_ *testing.T, _ *world, blob string) made {
			return made{bytes.Join([][]byte{entry("100644", "a", blob), entry("100644", "a", blob)}, nil)}
		},
		"git's own folder": func(t *testing.T, w *world, blob string) made {
			inner := literal(t, w.bare.Dir, "tree", entry("100644", "config", blob))
			return made{bytes.Join([][]byte{entry("100644", "..", blob), entry("40000", ".git", inner)}, nil)}
		},
		"twins in capitals and forms": func(_ *testing.T, _ *world, blob string) made {
			return made{bytes.Join([][]byte{entry("100644", "README", blob), entry("100644", "cafe\u0301", blob), entry("100644", "caf\u00e9", blob), entry("100644", "readme", blob)}, nil)}
		},
		"folders deep in each other": func(t *testing.T, w *world, blob string) made {
			tree := literal(t, w.bare.Dir, "tree", entry("100644", "x", blob))
			return made{entry("40000", "deep", nest(t, w.bare.Dir, tree, levels))}
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, _ := remote(t, func(w *world) { w.cfg.PushDeadline = time.Minute })
			blob := literal(t, w.bare.Dir, "blob", []byte("theirs"))
			theirs := build(t, w, blob)
			root := literal(t, w.bare.Dir, "tree", theirs.root)
			commit := w.bare.Git("commit-tree", root, "-m", "hostile")
			w.bare.Git("update-ref", "refs/heads/main", commit)
			before := w.bare.Git("ls-tree", "main")
			for n := 1; n <= 2; n++ {
				w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
				w.committed(name("dev", n))
			}
			after := w.bare.Git("ls-tree", "main")
			for line := range strings.SplitSeq(before, "\n") {
				if strings.Count(after, line) < strings.Count(before, line) {
					t.Errorf("%q is lost", line)
				}
			}
			if got := w.bare.Show("main", "environments/dev/shop/a.yaml"); got != "2" {
				t.Errorf("the file is %q", got)
			}
			w.bare = nil // git fsck rightly complains of what they made
		})
	}
}

// nest writes folders in each other, as loose objects: a process of git for each would take minutes.
func nest(t *testing.T, dir, inner string, levels int) string {
	t.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	for range levels {
		data := entry("40000", "d", inner)
		whole := append([]byte(fmt.Sprintf("tree %d\x00", len(data))), data...)
		sum := sha1.Sum(whole)
		inner = hex.EncodeToString(sum[:])
		path := filepath.Join(dir, "objects", inner[:2], inner[2:])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		packed.Reset()
		z.Reset(&packed)
		_, err := z.Write(whole)
		if err == nil {
			err = z.Close()
		}
		if err == nil {
			err = os.WriteFile(path, packed.Bytes(), 0o444)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return inner
}

func TestARepositoryThatIsBrokenAtTheHostIsWaitedForWithItsWords(t *testing.T) {
	w, _ := remote(t)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	good := w.bare.Tip("main")
	broken := literal(t, w.bare.Dir, "tree", []byte("100644 no end"))
	top := w.bare.Git("rev-parse", "main:.towpath")
	root := literal(t, w.bare.Dir, "tree", bytes.Join([][]byte{entry("40000", ".towpath", top), entry("40000", "broken", broken)}, nil))
	w.bare.Git("update-ref", "refs/heads/main", w.bare.Git("commit-tree", root, "-p", "main", "-m", "hostile"))
	w.send(w.change("qa", 1, map[string]string{"a.yaml": "a"}, func(cmd *eventsv1.DeploymentRequested) { cmd.Path = "broken/qa" }))
	got := find(w, "deployment.waiting", name("qa", 1), &eventsv1.DeploymentWaiting{})
	if !strings.Contains(got.GetReason(), "corruption") {
		t.Errorf("it waits because %q", got.GetReason())
	}
	w.bare.Git("update-ref", "refs/heads/main", good)
	w.committed(name("qa", 1))
	w.bare.Git("gc", "--prune=now", "--quiet")
}

func TestALargeFileOfOthersIsNeitherReadNorLost(t *testing.T) {
	w, _ := remote(t)
	big := make([]byte, 100<<20)
	for i := range big {
		big[i] = byte(i * i >> 7)
	}
	w.bare.Commit("main", "a film", map[string][]byte{"film.bin": big, "environments/dev/shop/old.bin": big[:1<<20]})
	id := w.bare.Git("rev-parse", "main:film.bin")
	big = nil
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := 1; n <= 3; n++ {
		w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
		w.committed(name("dev", n))
	}
	runtime.ReadMemStats(&after)
	if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 80 {
		t.Errorf("%d MB were allocated", grown)
	}
	if got := w.bare.Git("rev-parse", "main:film.bin"); got != id {
		t.Errorf("the file is %s, was %s", got, id)
	}
}

func TestManyEntriesBesideOursAreKeptInTime(t *testing.T) {
	entries, unhurried := 100_000, func(*world) {}
	if os.Getenv(chaosEnv) == "long" { // under the race detector a push of it takes longer than is usual
		was := patience
		t.Cleanup(func() { patience = was })
		entries, patience = 1_000_000, 5*time.Minute
		unhurried = func(w *world) { w.cfg.PushDeadline = patience }
	}
	w, _ := remote(t, unhurried)
	blob := literal(t, w.bare.Dir, "blob", []byte("theirs"))
	var wide bytes.Buffer
	for i := range entries {
		wide.Write(entry("100644", fmt.Sprintf("%07d", i), blob))
	}
	tree := literal(t, w.bare.Dir, "tree", wide.Bytes())
	for _, folder := range []string{"dev", "environments"} {
		tree = literal(t, w.bare.Dir, "tree", entry("40000", folder, tree))
	}
	w.bare.Git("update-ref", "refs/heads/main", w.bare.Git("commit-tree", tree, "-m", "wide"))
	start := time.Now()
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
	w.committed(name("dev", 1))
	first := time.Since(start)
	start = time.Now()
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	w.committed(name("dev", 2))
	second := time.Since(start)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("first %s, second %s, %d MB from the system", first, second, mem.Sys>>20)
	if first > patience || second > patience || mem.Sys > 2<<30 {
		t.Errorf("first %s, second %s, %d MB", first, second, mem.Sys>>20)
	}
	if n := strings.Count(w.bare.Git("ls-tree", "--name-only", "main:environments/dev"), "\n") + 1; n != entries+1 {
		t.Errorf("there are %d entries", n)
	}
}
