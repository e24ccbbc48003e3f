package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/cli"
)

const watchedScore = `apiVersion: score.dev/v1b1
metadata: {name: NAME}
containers:
  main:
    image: IMAGE
    files: {/etc/motd: {source: motd.txt}}
`

// watching is a `tow render --watch` that runs.
type watching struct {
	t    *testing.T
	out  *output
	seen int
	stop context.CancelFunc
	done chan result
}

func watch(t *testing.T, args ...string) *watching {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watching{t: t, out: &output{}, stop: stop, done: make(chan result, 1)}
	both := func(e *cli.Env) { e.Stdout, e.Stderr = w.out, w.out }
	go func() { w.done <- runContext(ctx, t, nil, append([]string{"render", "--watch"}, args...), both) }()
	t.Cleanup(func() {
		if stop(); w.done != nil {
			<-w.done
		}
	})
	return w
}

// round waits for the end of a rendering that told all of the texts, and gives what it told. Renderings before it are passed over:
// a change that takes several steps may be seen in between.
func (w *watching) round(texts ...string) string {
	w.t.Helper()
	const end = "waiting for changes; Ctrl-C ends\n"
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for {
			rest := w.out.String()[w.seen:]
			told, _, complete := strings.Cut(rest, end)
			if !complete {
				break
			}
			w.seen += len(told) + len(end)
			if containsAll(told, texts) {
				return told
			}
		}
	}
	w.t.Fatalf("no rendering told %q; all that was told:\n%s", texts, w.out.String())
	return ""
}

func containsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// put writes a file as editors do: another one that is renamed.
func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+"~", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+"~", name); err != nil {
		t.Fatal(err)
	}
}

func TestWatchRendersAgainAndSaysWhatChanged(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	score := func(name, image string) string {
		return strings.NewReplacer("NAME", name, "IMAGE", image).Replace(watchedScore)
	}
	put(t, file("apps/api.score.yaml"), score("api", "api:1"))
	put(t, file("apps/motd.txt"), "hello\n")
	w := watch(t, "-f", file("apps"), "-o", file("out"), "--prune", "--definitions", file("definitions"), "--variables-file", file("dev.env"))
	w.round("there is no file") // the folder and the file come later
	put(t, file("dev.env"), "A=b\n")
	w.round("there is no folder " + file("definitions"))
	put(t, file("definitions/broker.yaml"), "type: broker\ndriver: static\ninputs: {outputs: {host: x}}\n")
	w.round("rendered 2 files, tree")

	put(t, file("apps/api.score.yaml"), score("api", "api:2"))
	w.round("~ Deployment api\n", "spec.template.spec.containers[name=main].image: api:1 -> api:2\n")
	if err := os.WriteFile(file("apps/motd.txt"), []byte("good day\n"), 0o644); err != nil { // in place
		t.Fatal(err)
	}
	w.round("~ ConfigMap api-main-files", `"hello\n" -> "good day\n"`, "[towpath.dev/files-checksum]")

	put(t, file("apps/web.score.yaml"), score("web", "web:1")) // a new file in a folder
	w.round("+ Deployment web\n", "+ ConfigMap web-main-files\n")
	put(t, file("apps/web.score.yaml"), "metadata: [")
	w.round("error: ", "web.score.yaml") // it stays on the screen, and it goes on
	if _, err := os.Stat(file("out/deployment-web.yaml")); err != nil {
		t.Errorf("an error took away what was written: %v", err)
	}
	if err := os.Remove(file("apps/web.score.yaml")); err != nil {
		t.Fatal(err)
	}
	w.round("- Deployment web\n", "removed "+file("out/deployment-web.yaml"))
	if _, err := os.Stat(file("out/deployment-web.yaml")); !os.IsNotExist(err) {
		t.Errorf("what is no longer part was not removed: %v", err)
	}

	// The whole folder goes and comes again, as a checkout of another branch does it.
	if err := os.Rename(file("apps"), file("elsewhere")); err != nil {
		t.Fatal(err)
	}
	w.round("error: ")
	put(t, file("apps/motd.txt"), "hello\n")
	put(t, file("apps/api.score.yaml"), score("api", "api:3"))
	w.round("containers[name=main].image: api:2 -> api:3\n")
	put(t, file("apps/api.score.yaml"), score("api", "api:4"))
	w.round("containers[name=main].image: api:3 -> api:4\n")

	w.stop()
	if got := <-w.done; got.code != 0 {
		t.Errorf("Ctrl-C ends with %d", got.code)
	}
	w.done = nil
}

func TestWatchWithoutAFolderTellsOnlyChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "score.yaml")
	put(t, file, "apiVersion: score.dev/v1b1\nmetadata: {name: api}\ncontainers: {main: {image: 'api:1'}}\n")
	w := watch(t, "-f", file)
	if told := w.round("rendered 1 file, tree"); strings.Contains(told, "kind:") {
		t.Errorf("manifests are printed:\n%s", told)
	}
	put(t, file, "# a comment\napiVersion: score.dev/v1b1\nmetadata: {name: api}\ncontainers: {main: {image: 'api:1'}}\n")
	w.round("no manifest changes")
}

func TestWatchEndsAtAMistakeInTheCommandLine(t *testing.T) {
	got := run(t, nil, []string{"render", "--watch", "-f", t.TempDir(), "--variable", "x"}).want(t, 2)
	if !strings.Contains(got.stderr, `--variable "x" is not KEY=VALUE`) {
		t.Error(got.stderr)
	}
}
