package git_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// manifest is a file of about 2 KB, as a small deployment's.
func manifest(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-%d\nspec:\n  template:\n    spec:\n      containers:\n", n)
	for i := range 12 {
		fmt.Fprintf(&b, "      - name: c%d\n        image: registry.example.com/app-%d/c%d:v1.%d.%d\n        resources: {limits: {memory: 256Mi}}\n", i, n, i, n, i)
	}
	return b.Bytes()
}

// manyFiles is a repository of 30,000 files in 100 folders of 100 applications.
func manyFiles() map[string][]byte {
	files := make(map[string][]byte, 30_000)
	for team := range 100 {
		for app := range 100 {
			for _, env := range []string{"dev", "stg", "prod"} {
				files[benchPath(team, app, env)] = manifest(team*1000 + app)
			}
		}
	}
	return files
}

func benchPath(team, app int, env string) string {
	return fmt.Sprintf("apps/team-%03d/app-%03d/%s/manifest.yaml", team, app, env)
}

// randomChange replaces one environment's folder.
func randomChange(n int) git.Change {
	path := benchPath(rand.IntN(100), rand.IntN(100), "prod")
	return git.Change{Path: path[:len(path)-len("/manifest.yaml")], Files: map[string][]byte{"manifest.yaml": manifest(n)}}
}

func filled(b *testing.B, r git.Remote) git.Hash {
	b.Helper()
	tip := mustPush(b, r, "main", "first", git.Change{Files: manyFiles()})
	return tip
}

func BenchmarkSplice(b *testing.B) {
	r := nothing(b)
	tip := filled(b, r)
	objs := git.NewObjectSet()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%1000 == 0 {
			objs, tip = git.NewObjectSet(), mustTip(b, r)
		}
		tip = commit(b, r, objs, tip, "deploy", randomChange(n))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func mustTip(b *testing.B, r git.Remote) git.Hash {
	b.Helper()
	tip, err := r.Fetch(b.Context(), "main")
	if err != nil {
		b.Fatal(err)
	}
	return tip
}

func BenchmarkTreeID(b *testing.B) {
	files := map[string][]byte{}
	for i := range 30 {
		files[fmt.Sprintf("kind-%d/object-%d.yaml", i%5, i)] = manifest(i)
	}
	for b.Loop() {
		if _, err := git.TreeID(files); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLocalPush(b *testing.B) { benchPush(b, nothing(b)) }

func BenchmarkHTTPPush(b *testing.B) {
	s := gittest.NewServer(b)
	bare := s.Create("app")
	bare.Git("config", "--unset", "core.fsync")
	benchPush(b, openHTTP(b, s, "app", func(c *git.Config) { c.Timeout = time.Minute }))
}

func benchPush(b *testing.B, r git.Remote) {
	tip := filled(b, r)
	for _, batch := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			n := 0
			for b.Loop() {
				objs, old := git.NewObjectSet(), tip
				for range batch {
					n++
					tip = commit(b, r, objs, tip, "deploy", randomChange(n))
				}
				if err := r.Push(b.Context(), "main", old, tip, objs); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
