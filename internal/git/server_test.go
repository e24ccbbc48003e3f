package git_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// served is embedded repositories behind HTTP, with one of the name team/app.
type served struct {
	repos *git.Repos
	app   git.Remote
	bare  *gittest.Bare
	url   string
	moves chan string
}

func serve(t *testing.T, authorise git.Authorise) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{moves: make(chan string, 10_000)}
	s.repos = openRepos(t, dir, git.ReposOptions{Moved: func(repo, branch string, _, _ git.Hash) { s.moves <- repo + " " + branch }})
	s.app = openEmbedded(t, s.repos, "team/app")
	s.bare = gittest.OpenBare(t, filepath.Join(dir, "team", "app.git"))
	if authorise == nil {
		authorise = func(*http.Request, string, bool) error { return nil }
	}
	srv := httptest.NewServer(git.NewHTTPHandler(s.repos, authorise))
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/team/app.git"
	return s
}

func TestGitClonesFetchesAndPushesAnEmbeddedRepository(t *testing.T) {
	s := serve(t, nil)
	mustPush(t, s.app, "main", "first", file("a/one.txt", "1"), file("b/two.txt", "2"))
	mustPush(t, s.app, "main", "second", file("a/one.txt", "1.1"))
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, work)
	gittest.Git(t, work, "fsck", "--full", "--strict")
	if got := gittest.Git(t, work, "log", "--format=%s"); got != "second\nfirst" {
		t.Fatalf("the clone has the history %q", got)
	}

	// A rollback in between: trees that were there before come back.
	mustPush(t, s.app, "main", "third", file("a/one.txt", "1"))
	mustPush(t, s.app, "main", "fourth", git.Change{Path: "b", Delete: true}, file("c/d/e.txt", strings.Repeat("x", 5000)))
	gittest.Git(t, work, "pull", "--quiet", "--ff-only")
	gittest.Git(t, work, "fsck", "--full", "--strict")
	if got := gittest.Git(t, work, "ls-files"); got != "a/one.txt\nc/d/e.txt" {
		t.Fatalf("the clone has %q after the pull", got)
	}

	writeFile(t, filepath.Join(work, "a", "mine.txt"), "by a person")
	gittest.Git(t, work, "add", ".")
	gittest.Git(t, work, "commit", "--quiet", "-m", "fifth")
	gittest.Git(t, work, "tag", "-a", "v1", "-m", "release")
	gittest.Git(t, work, "push", "--quiet", "--follow-tags", "origin", "HEAD:main", "HEAD:refs/heads/feature/x")
	s.bare.Fsck()
	if got := s.bare.Show("main", "a/mine.txt"); got != "by a person" {
		t.Fatal(got)
	}
	tip, err := s.app.Fetch(t.Context(), "feature/x")
	if err != nil || tip.String() != s.bare.Tip("main") {
		t.Fatalf("the pushed branch is %s, %v", tip, err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, fresh)
	if got := gittest.Git(t, fresh, "tag"); got != "v1" {
		t.Fatalf("a clone has the tags %q", got)
	}
	gittest.Git(t, fresh, "fsck", "--full", "--strict")
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGitClonesAndDeepensAShallowCopy(t *testing.T) {
	s := serve(t, nil)
	for _, m := range []string{"1", "2", "3", "4", "5", "6"} {
		mustPush(t, s.app, "main", m, file("n/"+m, m), file("last", m))
	}
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", "--depth", "1", s.url, work)
	log := func() string { return strings.ReplaceAll(gittest.Git(t, work, "log", "--format=%s"), "\n", " ") }
	if got := log(); got != "6" {
		t.Fatalf("a clone of depth 1 has %q", got)
	}
	mustPush(t, s.app, "main", "7", file("n/2", "again"), git.Change{Path: "n/3", Delete: true})
	gittest.Git(t, work, "pull", "--quiet", "--ff-only")
	if got := log(); got != "7 6" {
		t.Fatalf("after a pull it has %q", got)
	}
	gittest.Git(t, work, "fetch", "--quiet", "--depth", "4")
	if got := log(); got != "7 6 5 4" {
		t.Fatalf("deepened to 4 it has %q", got)
	}
	gittest.Git(t, work, "fsck", "--full")
	writeFile(t, filepath.Join(work, "pushed"), "from a shallow copy")
	gittest.Git(t, work, "add", ".")
	gittest.Git(t, work, "commit", "--quiet", "-m", "8")
	gittest.Git(t, work, "push", "--quiet", "origin", "main")
	gittest.Git(t, work, "fetch", "--quiet", "--unshallow")
	if got := log(); got != "8 7 6 5 4 3 2 1" {
		t.Fatalf("unshallowed it has %q", got)
	}
	gittest.Git(t, work, "fsck", "--full", "--strict")
	s.bare.Fsck()
}

func TestAPushThatDoesNotOnlyAddIsRefused(t *testing.T) {
	s := serve(t, nil)
	mustPush(t, s.app, "main", "first", file("a", "1"))
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, work)
	want := mustPush(t, s.app, "main", "second", file("a", "2"))
	gittest.Git(t, work, "commit", "--quiet", "--allow-empty", "-m", "mine")
	for name, args := range map[string][]string{
		"behind the branch":           {"push", "origin", "main"},
		"by force":                    {"push", "--force", "origin", "main"},
		"deletion of the main branch": {"push", "origin", ":main"},
		"outside branches and tags":   {"push", "origin", "HEAD:refs/notes/x"},
	} {
		if out, err := gittest.TryGit(t, work, args...); err == nil {
			t.Errorf("%s: the push went through: %s", name, out)
		}
	}
	if got := s.bare.Tip("main"); got != want.String() {
		t.Fatalf("the branch moved to %s", got)
	}
	gittest.Git(t, work, "push", "--quiet", "origin", "HEAD:refs/heads/topic/a")
	gittest.Git(t, work, "push", "--quiet", "origin", ":topic/a", "HEAD:refs/heads/topic2")
	gittest.Git(t, work, "push", "--quiet", "origin", "HEAD:refs/heads/topic")
	s.bare.Fsck()
	if got := s.bare.Git("for-each-ref", "--format=%(refname)"); got != "refs/heads/main\nrefs/heads/topic\nrefs/heads/topic2" {
		t.Fatal(got)
	}
}

func TestAPackThatLacksObjectsIsRefused(t *testing.T) {
	s := serve(t, nil)
	first := mustPush(t, s.app, "main", "first", file("a", "1"))
	// A Git repository whose newest commit names a file that is not there, pushed by git with its own checks off.
	broken := filepath.Join(t.TempDir(), "broken")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, broken)
	writeFile(t, filepath.Join(broken, "lost"), "lost")
	gittest.Git(t, broken, "add", ".")
	gittest.Git(t, broken, "commit", "--quiet", "-m", "broken")
	blob := gittest.Git(t, broken, "rev-parse", "HEAD:lost")
	gittest.Git(t, broken, "config", "pack.allowPackReuse", "false")
	objects := gittest.Git(t, broken, "rev-list", "--objects", "--no-object-names", first.String()+"..HEAD")
	var kept []string
	for id := range strings.Lines(objects) {
		if id = strings.TrimSpace(id); id != blob {
			kept = append(kept, id)
		}
	}
	if diff := cmp.Diff(2, len(kept)); diff != "" {
		t.Fatal(diff)
	}
	answer := postPack(t, s.url, first.String(), gittest.Git(t, broken, "rev-parse", "HEAD"), gittest.Pack(t, broken, kept))
	if !strings.Contains(answer, "ng refs/heads/main") {
		t.Fatalf("the answer is %q", answer)
	}
	if got := s.bare.Tip("main"); got != first.String() {
		t.Fatalf("the branch moved to %s", got)
	}
	s.bare.Fsck()
}

func postPack(t *testing.T, url, old, new string, pack []byte) string {
	t.Helper()
	line := old + " " + new + " refs/heads/main\x00report-status"
	body := strings.NewReader(pkt(line) + "0000" + string(pack))
	res, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func pkt(line string) string {
	const hex = "0123456789abcdef"
	n := len(line) + 4
	return string([]byte{hex[n>>12&15], hex[n>>8&15], hex[n>>4&15], hex[n&15]}) + line
}

func TestTheServerAsksForCredentialsAndTellsReadingFromWriting(t *testing.T) {
	s := serve(t, func(r *http.Request, repo string, write bool) error {
		user, password, _ := r.BasicAuth()
		switch {
		case password != "secret":
			return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "who are you?")
		case write && user != "writer":
			return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, "%s may not write %s", user, repo)
		}
		return nil
	})
	mustPush(t, s.app, "main", "first", file("a", "1"))
	with := func(user, password string) string {
		return strings.Replace(s.url, "http://", "http://"+user+":"+password+"@", 1)
	}
	if out, err := gittest.TryGit(t, t.TempDir(), "ls-remote", s.url); err == nil || !strings.Contains(out, "could not read Username") {
		t.Fatalf("without credentials: %v %s", err, out)
	}
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", with("reader", "secret"), work)
	gittest.Git(t, work, "commit", "--quiet", "--allow-empty", "-m", "mine")
	if out, err := gittest.TryGit(t, work, "push", with("reader", "secret"), "main"); err == nil || !strings.Contains(out, "403") {
		t.Fatalf("a reader's push: %v %s", err, out)
	}
	gittest.Git(t, work, "push", "--quiet", with("writer", "secret"), "main")
	if out, err := gittest.TryGit(t, work, "ls-remote", strings.Replace(with("reader", "secret"), "app", "other", 1)); err == nil {
		t.Fatalf("a repository that does not exist gives %s", out)
	}
	for range 2 {
		if got := <-s.moves; got != "team/app main" {
			t.Fatalf("the listener heard %q", got)
		}
	}
	if names, err := s.repos.Names(); err != nil || !cmp.Equal(names, []string{"team/app"}) {
		t.Fatalf("the repositories are %v, %v", names, err)
	}
}

func TestAPersonAndTheCommitterPushAtTheSameTime(t *testing.T) {
	s := serve(t, nil)
	mustPush(t, s.app, "main", "first", file("a", "1"))
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, t.TempDir(), "clone", "--quiet", s.url, work)
	const rounds = 6
	ours := 0
	for range rounds {
		gittest.Git(t, work, "commit", "--quiet", "--allow-empty", "-m", "theirs")
		// Both at once; whoever was slower goes again on top of the other.
		done := make(chan error)
		go func() {
			_, err := tryPush(t.Context(), s.app, "ours")
			done <- err
		}()
		_, theirs := gittest.TryGit(t, work, "push", "--quiet", "origin", "main")
		switch err := <-done; {
		case err == nil:
			ours++
		case !errors.Is(err, git.ErrMoved):
			t.Fatal(err)
		}
		gittest.Git(t, work, "pull", "--quiet", "--rebase")
		if theirs != nil {
			gittest.Git(t, work, "push", "--quiet", "origin", "main")
		}
	}
	count := map[string]int{}
	for _, subject := range s.bare.Log("main") {
		count[subject]++
	}
	if diff := cmp.Diff(map[string]int{"first": 1, "ours": ours, "theirs": rounds}, count); diff != "" {
		t.Fatal(diff)
	}
	s.bare.Fsck()
}
