package git_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// protocols are the two that git speaks over HTTP; the first is what servers without the second get.
var protocols = []string{"0", "2"}

func TestGitReadsAnEmbeddedRepositoryByBothProtocols(t *testing.T) {
	s := serve(t, nil)
	for i := range 40 {
		mustPush(t, s.app, "main", fmt.Sprintf("change %d", i), file(fmt.Sprintf("d%d/f%d.txt", i%4, i), fmt.Sprint(i)), file("last", fmt.Sprint(i)))
	}
	mustPush(t, s.app, "topic", "on the side", file("topic", "1"))
	s.bare.Git("tag", "-a", "v1", "-m", "release", "main")
	for _, version := range protocols {
		t.Run("version "+version, func(t *testing.T) {
			dir := t.TempDir()
			run := func(at string, args ...string) string {
				return gittest.Git(t, at, append([]string{"-c", "protocol.version=" + version}, args...)...)
			}
			whole := filepath.Join(dir, "whole")
			run(dir, "clone", "--quiet", s.url, whole)
			run(whole, "fsck", "--full", "--strict")
			if got := run(whole, "rev-list", "--count", "HEAD"); got != "40" {
				t.Errorf("a clone has %s commits", got)
			}
			if got := run(whole, "tag"); got != "v1" {
				t.Errorf("a clone has the tags %q", got)
			}
			if got := run(whole, "symbolic-ref", "HEAD"); got != "refs/heads/main" {
				t.Errorf("HEAD of a clone is %s", got)
			}

			shallow := filepath.Join(dir, "shallow")
			run(dir, "clone", "--quiet", "--depth", "3", "--branch", "main", s.url, shallow)
			run(shallow, "fetch", "--quiet", "--depth", "7")
			if got := run(shallow, "rev-list", "--count", "HEAD"); got != "7" {
				t.Errorf("deepened to 7 it has %s commits", got)
			}
			run(shallow, "fetch", "--quiet", "--unshallow")
			if got := run(shallow, "rev-list", "--count", "HEAD"); got != "40" {
				t.Errorf("unshallowed it has %s commits", got)
			}
			run(shallow, "fsck", "--full", "--strict")

			part := filepath.Join(dir, "part")
			run(dir, "clone", "--quiet", "--filter=blob:none", "--no-checkout", s.url, part)
			if missing := strings.Count(run(part, "rev-list", "--objects", "--all", "--missing=print"), "?"); missing < 40 {
				t.Errorf("a clone without files lacks only %d", missing)
			}
			run(part, "sparse-checkout", "set", "d2")
			run(part, "checkout", "--quiet", "main")
			if got := run(part, "ls-files", "--deduplicate", "-t", "d2/f2.txt", "d3/f3.txt"); got != "H d2/f2.txt\nS d3/f3.txt" {
				t.Errorf("a sparse checkout has\n%s", got)
			}
			if got := run(part, "show", "main~20:last"); got != "19" {
				t.Errorf("an old file is fetched when it is read, and is %q", got)
			}
			out, err := gittest.TryGit(t, dir, "-c", "protocol.version="+version, "clone", "--quiet", "--filter=tree:0", "--no-checkout", s.url, filepath.Join(dir, "no"))
			if err == nil || !strings.Contains(out, "use blob:none") {
				t.Errorf("a filter that is not served: %v, %s", err, out)
			}
		})
	}

	t.Run("a fetch after others pushed", func(t *testing.T) {
		work := filepath.Join(t.TempDir(), "work")
		gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, work)
		mustPush(t, s.app, "main", "more", file("more", "1"))
		gittest.Git(t, work, "fetch", "--quiet")
		if got := gittest.Git(t, work, "rev-parse", "origin/main"); got != s.bare.Tip("main") {
			t.Errorf("after a fetch origin/main is %s", got)
		}
		// Nothing in common: histories that began apart.
		other := filepath.Join(t.TempDir(), "other")
		gittest.Git(t, t.TempDir(), "init", "--quiet", other)
		writeFile(t, filepath.Join(other, "x"), "x")
		gittest.Git(t, other, "add", ".")
		gittest.Git(t, other, "commit", "--quiet", "-m", "elsewhere")
		gittest.Git(t, other, "fetch", "--quiet", s.url, "main")
		gittest.Git(t, other, "fsck", "--full")
	})
}

func TestManyReferencesAreNotToldToWhoAsksForOne(t *testing.T) {
	s := serve(t, nil)
	tip := mustPush(t, s.app, "main", "first", file("a", "1"))
	var refs strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&refs, "%s refs/heads/preview/%05d\n", tip, i)
	}
	writeFile(t, filepath.Join(s.bare.Dir, "packed-refs"), refs.String())
	told := func(version, service, body string) int {
		method, path := http.MethodGet, "/info/refs?service="+service
		if body != "" {
			method, path = http.MethodPost, "/"+service
		}
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Git-Protocol", "version="+version)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		return int(n)
	}
	all := told("0", "git-upload-pack", "")
	greeting := told("2", "git-upload-pack", "")
	one := told("2", "git-upload-pack", pkt("command=ls-refs\n")+"0001"+pkt("ref-prefix refs/heads/main\n")+"0000")
	t.Logf("10,000 references: %d bytes by version 0, %d + %d by version 2", all, greeting, one)
	if all < 500_000 || greeting+one > 1000 {
		t.Errorf("version 0 tells %d bytes, version 2 %d and %d", all, greeting, one)
	}
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", "--single-branch", s.url, work)
}

func TestWrongRequestsOfVersion2AreAnswered(t *testing.T) {
	s := serve(t, nil)
	tip := mustPush(t, s.app, "main", "first", file("a", "1"))
	for body, want := range map[string]string{
		pkt("command=steal\n") + "0000":     "is not served here",
		pkt("command=fetch\n") + "00010000": "nothing is wanted",
		pkt("command=fetch\n") + "0001" + pkt("want "+strings.Repeat("1", 40)+"\n") + pkt("done\n") + "0000":     "not our ref",
		pkt("command=fetch\n") + "0001" + pkt("want "+tip.String()+"\n") + pkt("deepen x\n") + "0000":            "is not a depth",
		pkt("command=fetch\n") + "0001" + pkt("want "+tip.String()+"\n") + pkt("filter blob:limit=1\n") + "0000": "use blob:none",
		pkt("command=fetch\n") + "0001" + pkt("want "+tip.String()+"\n") + pkt("frobnicate\n") + "0000":          "is not understood here",
		pkt("command=fetch\n") + pkt("object-format=sha256\n") + "0000":                                          "sha256 is not served here",
		"zzzz": "not readable",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/git-upload-pack", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Git-Protocol", "version=2")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(answer), want) || !strings.Contains(string(answer), "ERR ") {
			t.Errorf("%q is answered by %q, %v, want %q", body, answer, err, want)
		}
	}
}

// BenchmarkClone measures a clone of 30,000 files by git, beside git's own server for the same repository.
func BenchmarkClone(b *testing.B) {
	dir := b.TempDir()
	repos := openRepos(b, dir, git.ReposOptions{})
	filled(b, openEmbedded(b, repos, "app"))
	ours := httptest.NewServer(git.NewHTTPHandler(repos, func(*http.Request, string, bool) error { return nil }))
	b.Cleanup(ours.Close)
	url := ours.URL + "/app.git"
	peer := gittest.NewServer(b)
	bare := peer.Create("app")
	gittest.Git(b, bare.Dir, "fetch", "--quiet", filepath.Join(dir, "app.git"), "main:main")
	for name, from := range map[string]string{"towpathd": url, "git-http-backend": peer.URL("app")} {
		for _, kind := range [][]string{{"whole"}, {"shallow", "--depth=1"}, {"partial", "--filter=blob:none"}} {
			b.Run(name+"/"+kind[0], func(b *testing.B) {
				for b.Loop() {
					gittest.Git(b, b.TempDir(), append([]string{"clone", "--quiet", "--no-checkout", from, "clone"}, kind[1:]...)...)
				}
			})
		}
	}
}

func FuzzRequestsOfReadersAreAnswered(f *testing.F) {
	for _, seed := range []string{
		pkt("command=ls-refs\n") + "0001" + pkt("peel\n") + pkt("symrefs\n") + pkt("unborn\n") + pkt("ref-prefix refs/\n") + "0000",
		pkt("command=fetch\n") + "0001" + pkt("want "+strings.Repeat("1", 40)+"\n") + pkt("deepen 3\n") + pkt("filter blob:none\n") + pkt("done\n") + "0000",
		pkt("want "+strings.Repeat("1", 40)+" side-band-64k filter\n") + pkt("filter blob:none\n") + "0000" + pkt("done\n"), "0001", "0002", "ffff",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	repos := openRepos(f, f.TempDir(), git.ReposOptions{})
	mustPush(f, openEmbedded(f, repos, "app"), "main", "first", file("a/b", "1"))
	h := git.NewHTTPHandler(repos, func(*http.Request, string, bool) error { return nil })
	f.Fuzz(func(t *testing.T, body string, v2 bool) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/app.git/git-upload-pack", strings.NewReader(body))
		if v2 {
			req.Header.Set("Git-Protocol", "version=2")
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, req)
		if answer.Code != http.StatusOK {
			t.Errorf("%q is answered by %d", body, answer.Code)
		}
	})
}
