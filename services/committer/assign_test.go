package committer_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// sent is what one push brought.
type sent struct {
	blobs, trees, commits int
	bytes                 int64
}

// packs gives the packs of a repository.
func packs(t testing.TB, dir string) map[string]bool {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.idx"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, p := range all {
		out[p] = true
	}
	return out
}

// pushing gives what the deployments of do bring to the repository, as real git reads the packs there.
func (w *world) pushing(do func()) sent {
	w.t.Helper()
	before := packs(w.t, w.bare.Dir)
	do()
	var out sent
	for idx := range packs(w.t, w.bare.Dir) {
		if before[idx] {
			continue
		}
		info, err := os.Stat(strings.TrimSuffix(idx, ".idx") + ".pack")
		if err != nil {
			w.t.Fatal(err)
		}
		out.bytes += info.Size()
		for line := range strings.Lines(gittest.Git(w.t, w.bare.Dir, "verify-pack", "-v", idx)) {
			switch f := strings.Fields(line); {
			case len(f) < 5:
			case f[1] == "blob":
				out.blobs++
			case f[1] == "tree":
				out.trees++
			case f[1] == "commit":
				out.commits++
			}
		}
	}
	return out
}

// keepPacks makes a real Git server keep the packs that it gets as they are.
func keepPacks(w *world) {
	if strings.HasPrefix(w.repo.GetUrl(), "embedded:") {
		w.bootstrap()
		return
	}
	w.bare.Git("config", "receive.unpackLimit", "1")
}

// large is a bundle of 300 files in folders.
func large(edit map[string]string) map[string]string {
	vars := map[string]string{}
	for i := range 300 {
		vars[fmt.Sprintf("kind-%d/object-%03d.yaml", i%10, i)] = fmt.Sprintf("kind: Thing\nmetadata: {name: x%d}\n# %s\n", i, strings.Repeat("x", 500))
	}
	maps.Copy(vars, edit)
	return vars
}

func (w *world) deployed(env string, n int, vars map[string]string) {
	w.t.Helper()
	w.send(w.change(env, n, vars))
	w.committed(name(env, n))
}

func TestAPushBringsOnlyWhatIsNew(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		keepPacks(w)
		first := w.pushing(func() { w.deployed("dev", 1, large(nil)) })
		if first.blobs != 301 {
			t.Fatalf("the first deployment brings %+v", first)
		}
		one := w.pushing(func() { w.deployed("dev", 2, large(map[string]string{"kind-3/object-003.yaml": "changed"})) })
		if one.blobs != 2 || one.commits != 1 || one.trees > 10 {
			t.Errorf("one changed file of 300 brings %+v, want it and the state file, and the trees above them", one)
		}
		gone := large(nil)
		delete(gone, "kind-7/object-007.yaml")
		gone["kind-3/object-003.yaml"] = "changed"
		if less := w.pushing(func() { w.deployed("dev", 3, gone) }); less.blobs != 1 {
			t.Errorf("one file less brings %+v, want the state file", less)
		}
		back := w.pushing(func() { w.deployed("dev", 4, large(nil)) })
		if back.blobs != 1 || back.trees > 8 || back.bytes > 5<<10 {
			t.Errorf("going back to the files of the first deployment brings %+v, want the state file and the trees above", back)
		}
		promoted := w.pushing(func() { w.deployed("prod", 1, large(nil)) })
		if promoted.blobs != 1 || promoted.trees > 8 || promoted.bytes > 5<<10 {
			t.Errorf("what renders to the same elsewhere brings %+v, want the state file and the trees above", promoted)
		}
		same := w.pushing(func() { w.deployed("prod", 2, large(nil)) })
		if same.blobs != 1 || same.trees > 5 {
			t.Errorf("a deployment that changes nothing brings %+v, want the state file", same)
		}
		t.Logf("first %+v, one file %+v, back %+v, promoted %+v", first, one, back, promoted)
		checkFiles(t, w, "prod", large(nil))
	})
}

func checkFiles(t *testing.T, w *world, env string, want map[string]string) {
	t.Helper()
	n := 0
	for _, p := range w.bare.Files("main") {
		if rest, ok := strings.CutPrefix(p, "environments/"+env+"/shop/"); ok {
			n++
			if got := w.bare.Git("show", "main:"+p); got != strings.TrimSpace(want[rest]) {
				t.Fatalf("%s is %q", p, got)
			}
		}
	}
	if n != len(want) {
		t.Errorf("%s has %d files, want %d", env, n, len(want))
	}
}

func TestATreeThatTheHostHasDroppedIsSentWhole(t *testing.T) {
	t.Parallel()
	w, _ := remote(t)
	keepPacks(w)
	w.deployed("dev", 1, map[string]string{"a.yaml": "first"})
	start := w.bare.Tip("main")
	w.deployed("dev", 2, map[string]string{"a.yaml": "second"})
	// Somebody takes the second deployment out of the history, and the host forgets it. The lane's mirror still has its tree.
	w.bare.Git("update-ref", "refs/heads/main", start)
	w.bare.Git("reflog", "expire", "--expire=now", "--all")
	w.bare.Git("repack", "-a", "-d")
	w.bare.Git("prune", "--expire=now")
	w.svc.Notice(w.repo.GetUrl(), "main")
	w.deployed("qa", 1, map[string]string{"a.yaml": "second"})
	if got := w.bare.Show("main", "environments/qa/shop/a.yaml"); got != "second" {
		t.Errorf("the file is %q", got)
	}
	w.bare.Fsck()
}
