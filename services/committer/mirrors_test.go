package committer_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// mirrorFiles lists what the lanes' mirrors have on disk.
func mirrorFiles(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(dir, "lanes"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".lock") {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// damages are ways in which a file goes bad.
var damages = map[string]func(path string) error{
	"emptied":     func(p string) error { return os.Truncate(p, 0) },
	"cut in half": func(p string) error { return resize(p, func(n int64) int64 { return n / 2 }) },
	"cut by one":  func(p string) error { return resize(p, func(n int64) int64 { return max(0, n-1) }) },
	"longer":      func(p string) error { return resize(p, func(n int64) int64 { return n + 4096 }) },
	"garbage":     func(p string) error { return overwrite(p, 0, 1<<20) },
	"bits off":    func(p string) error { return overwrite(p, 40, 3) },
	"gone":        os.Remove,
	"a folder":    func(p string) error { return firstOf(os.Remove(p), os.MkdirAll(filepath.Join(p, "x"), 0o755)) },
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func resize(p string, to func(int64) int64) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	return os.Truncate(p, to(info.Size()))
}

// overwrite changes bytes in place, as a bad disk does: whoever has the file mapped sees it.
func overwrite(p string, from, count int) error {
	data, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	for i := from; i < min(len(data), from+count); i++ {
		data[i] ^= 0x5a
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(data, 0)
	return err
}

func TestADamagedMirrorHoldsUpNothingAndMakesNoWrongCommit(t *testing.T) {
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, _ := remote(t)
			n, last := 0, ""
			deploy := func() {
				t.Helper()
				n++
				w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n), "deep/er/b.yaml": "b"}))
				got := w.committed(name("dev", n))
				last = got.GetTree()
			}
			for i := range 3 {
				w.bare.Commit("main", "theirs", map[string][]byte{fmt.Sprintf("theirs/%d.txt", i): []byte("keep")})
				deploy()
			}
			for _, kind := range []string{".pack", ".idx", "shallow"} {
				for _, how := range []string{"while it works", "while others push", "while it is stopped"} {
					if how == "while it is stopped" {
						w.stop()
					}
					for _, file := range mirrorFiles(t, w.cfg.Dir) {
						if strings.HasSuffix(file, kind) {
							if err := os.Chmod(file, 0o644); err != nil {
								t.Fatal(err)
							}
							if err := damage(file); err != nil {
								t.Fatal(err)
							}
						}
					}
					switch how {
					case "while others push":
						w.bare.Commit("main", "theirs", map[string][]byte{fmt.Sprintf("theirs/%s-%d.txt", kind, n): []byte("keep")})
					case "while it is stopped":
						w.start()
					}
					deploy()
					// A folder that the lane has not in memory.
					w.send(w.change("fresh-"+strings.Trim(kind, "."), n, map[string]string{"a.yaml": "a"}))
					w.committed(name("fresh-"+strings.Trim(kind, "."), n))
				}
			}
			if got := w.bare.Git("rev-parse", "main:environments/dev/shop"); got != last {
				t.Errorf("the folder is %s, told was %s", got, last)
			}
			for i := range 3 {
				if f := fmt.Sprintf("theirs/%d.txt", i); !slices.Contains(w.bare.Files("main"), f) {
					t.Errorf("%s is lost", f)
				}
			}
		})
	}
}

func TestAMirrorWhoseFolderGoesAwayIsMadeAgain(t *testing.T) {
	for what, damage := range map[string]func(dir string) error{
		"the folder is removed":      os.RemoveAll,
		"a file stands in its place": func(dir string) error { return firstOf(os.RemoveAll(dir), os.WriteFile(dir, []byte("x"), 0o600)) },
		"its objects are removed":    func(dir string) error { return os.RemoveAll(filepath.Join(dir, "objects")) },
		"a file stands where its packs are": func(dir string) error {
			p := filepath.Join(dir, "objects", "pack")
			return firstOf(os.RemoveAll(p), os.WriteFile(p, nil, 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, _ := remote(t)
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
			w.committed(name("dev", 1))
			dirs, err := filepath.Glob(filepath.Join(w.cfg.Dir, "lanes", "*-0"))
			if err != nil || len(dirs) != 1 {
				t.Fatalf("mirrors: %v, %v", dirs, err)
			}
			if err := damage(dirs[0]); err != nil {
				t.Fatal(err)
			}
			w.bare.Commit("main", "theirs", map[string][]byte{"theirs/x/y.txt": []byte("keep"), "environments/qa/notes.txt": []byte("keep")})
			for n := 2; n < 5; n++ {
				w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
				w.send(w.change("qa", n, map[string]string{"a.yaml": fmt.Sprint(n)}))
				w.committed(name("dev", n))
				w.committed(name("qa", n))
			}
		})
	}
}

func TestAFullDiskWaitsVisiblyAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	w, _ := remote(t, shortLeases)
	w.stop()
	p := w.spawn("full", t.TempDir())
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
	w.committed(name("dev", 1))
	room := func(bytes uint64) {
		t.Helper()
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	room(0) // no file of the committer can have a byte from here on
	for i := range 3 {
		w.bare.Commit("main", "theirs", map[string][]byte{fmt.Sprintf("theirs/%d/x.txt", i): []byte("keep")})
	}
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
	got := find(w, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	if !strings.Contains(got.GetReason(), "make room on its disk") || strings.Contains(got.GetReason(), w.cfg.Dir) {
		t.Errorf("it waits because %q", got.GetReason())
	}
	room(unix.RLIM_INFINITY)
	w.committed(name("dev", 2))
}

func TestRandomDamageMakesNoWrongCommit(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	w, _ := remote(t)
	var kinds []string
	for what := range damages {
		kinds = append(kinds, what)
	}
	slices.Sort(kinds)
	for n := 1; n <= 25; n++ {
		w.send(w.change("dev", n, map[string]string{"a.yaml": fmt.Sprint(n), fmt.Sprintf("d%d/b.yaml", dice.IntN(3)): "b"}))
		got := w.committed(name("dev", n))
		if tree := w.bare.Git("rev-parse", "main:environments/dev/shop"); tree != got.GetTree() {
			t.Fatalf("generation %d is %s, told was %s", n, tree, got.GetTree())
		}
		if dice.IntN(2) == 0 {
			w.bare.Commit("main", "theirs", map[string][]byte{fmt.Sprintf("theirs/%d.txt", n): []byte("keep")})
		}
		files := mirrorFiles(t, w.cfg.Dir)
		dice.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		for _, file := range files[:min(len(files), 1+dice.IntN(3))] {
			_ = os.Chmod(file, 0o644)                       // a folder by now, or gone
			_ = damages[kinds[dice.IntN(len(kinds))]](file) // the same
		}
	}
}
