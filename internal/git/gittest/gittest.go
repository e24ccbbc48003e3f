// Package gittest is real Git for tests: bare repositories, `git http-backend` on a loopback address with faults on demand,
// and helpers that read and write by the git command line. Use it to prove what a push did at the other side, never our own
// reading of it. A test without git on the machine fails; it is not skipped.
package gittest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Git runs git in a folder and gives what it printed, without the last line end. It ends the test when git fails.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := TryGit(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryGit is Git for commands that may fail; what it gives includes what git printed about the failure.
func TryGit(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	return run(t, dir, nil, nil, args...)
}

func run(t testing.TB, dir string, env []string, stdin []byte, args ...string) (string, error) {
	t.Helper()
	// Not the test's own context: helpers also run while it is cleaned up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, gitBinary(t), args...)
	cmd.Dir = dir
	cmd.Env = append(cleanEnv(), env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	text := out.String()
	if args[0] != "pack-objects" {
		text = strings.TrimSuffix(text, "\n")
	}
	if err != nil {
		text += problems.String()
	}
	return text, err
}

// cleanEnv keeps the machine's own Git configuration and the caller's repository out of the tests.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GIT_") {
			env = append(env, kv)
		}
	}
	return append(env,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A Person", "GIT_AUTHOR_EMAIL=person@example.com",
		"GIT_COMMITTER_NAME=A Person", "GIT_COMMITTER_EMAIL=person@example.com",
	)
}

func gitBinary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal("these tests need git on the PATH; install it")
	}
	return path
}

// Bare is a bare repository on disk that only real git writes.
type Bare struct {
	t   testing.TB
	Dir string

	mu    sync.Mutex
	blobs map[string]string // content -> id, of WriteTree
}

// NewBare makes an empty bare repository whose HEAD is main.
func NewBare(t testing.TB, dir string) *Bare {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	Git(t, filepath.Dir(dir), "init", "--quiet", "--bare", "--initial-branch=main", dir)
	b := &Bare{t: t, Dir: dir}
	for key, value := range map[string]string{
		"http.receivepack": "true", "receive.autogc": "false", "gc.auto": "0", "uploadpack.allowFilter": "true",
		"core.fsync": "none",
	} {
		b.Git("config", key, value)
	}
	return b
}

// OpenBare wraps a repository that is there already.
func OpenBare(t testing.TB, dir string) *Bare { return &Bare{t: t, Dir: dir} }

// Git runs git in the repository.
func (b *Bare) Git(args ...string) string {
	b.t.Helper()
	return Git(b.t, b.Dir, args...)
}

// Fsck ends the test when the repository has anything wrong: corruption, missing objects, broken references.
func (b *Bare) Fsck() {
	b.t.Helper()
	out, err := TryGit(b.t, b.Dir, "fsck", "--full", "--strict", "--no-dangling")
	if err != nil {
		b.t.Fatalf("git fsck: %v\n%s", err, out)
	}
}

// Tip gives the id of a branch's tip, "" when there is no such branch.
func (b *Bare) Tip(branch string) string {
	b.t.Helper()
	return b.Git("for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

// Log gives the subjects of a branch's commits, the newest first.
func (b *Bare) Log(branch string) []string {
	b.t.Helper()
	return lines(b.Git("log", "--format=%s", "refs/heads/"+branch))
}

// Show gives a file's content at a branch, a tag or a commit.
func (b *Bare) Show(rev, path string) string {
	b.t.Helper()
	out, err := run(b.t, b.Dir, nil, nil, "cat-file", "blob", rev+":"+path)
	if err != nil {
		b.t.Fatalf("git cat-file %s:%s: %v\n%s", rev, path, err, out)
	}
	return out
}

// Files gives the paths of all files at a revision.
func (b *Bare) Files(rev string) []string {
	b.t.Helper()
	return lines(b.Git("ls-tree", "-r", "--name-only", "-z", rev))
}

func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == 0 })
}

// Commit is somebody else's commit on a branch: files are set, those with nil content are removed. It reads the tip, builds
// on it and moves the branch by compare-and-swap, again and again until it was the first. It gives the commit's id.
func (b *Bare) Commit(branch, message string, files map[string][]byte) string {
	b.t.Helper()
	for range 200 {
		tip := b.Tip(branch)
		commit := b.CommitOn(tip, message, files)
		old := tip
		if old == "" {
			old = strings.Repeat("0", 40)
		}
		if _, err := TryGit(b.t, b.Dir, "update-ref", "refs/heads/"+branch, commit, old); err == nil {
			return commit
		}
	}
	b.t.Fatalf("the branch %s moved away 200 times", branch)
	return ""
}

// CommitOn writes a commit on a parent ("" for none) without moving any branch, and gives its id.
func (b *Bare) CommitOn(parent, message string, files map[string][]byte) string {
	b.t.Helper()
	index := filepath.Join(b.t.TempDir(), "index")
	env := []string{"GIT_INDEX_FILE=" + index}
	must := func(stdin []byte, args ...string) string {
		b.t.Helper()
		out, err := run(b.t, b.Dir, env, stdin, args...)
		if err != nil {
			b.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	if parent != "" {
		must(nil, "read-tree", parent)
	}
	var info bytes.Buffer
	for path, data := range files {
		if data == nil {
			info.WriteString("0 " + strings.Repeat("0", 40) + "\t" + path + "\x00")
			continue
		}
		info.WriteString("100644 " + must(data, "hash-object", "-w", "--stdin") + "\t" + path + "\x00")
	}
	must(info.Bytes(), "update-index", "-z", "--index-info")
	args := []string{"commit-tree", must(nil, "write-tree"), "-m", message}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	return must(nil, args...)
}

// WriteTree gives what `git write-tree` says of an index with exactly these files.
func (b *Bare) WriteTree(files map[string][]byte) string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == nil {
		b.blobs = map[string]string{}
	}
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(b.t.TempDir(), "index")}
	must := func(stdin []byte, args ...string) string {
		b.t.Helper()
		out, err := run(b.t, b.Dir, env, stdin, args...)
		if err != nil {
			b.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	var info bytes.Buffer
	for path, data := range files {
		id, ok := b.blobs[string(data)]
		if !ok {
			id = must(data, "hash-object", "-w", "--stdin")
			b.blobs[string(data)] = id
		}
		info.WriteString("100644 " + id + "\t" + path + "\x00")
	}
	must(info.Bytes(), "update-index", "--add", "-z", "--index-info")
	return must(nil, "write-tree")
}

// Pack gives a pack of exactly these objects.
func Pack(t testing.TB, dir string, ids []string) []byte {
	t.Helper()
	out, err := run(t, dir, nil, []byte(strings.Join(ids, "\n")+"\n"), "pack-objects", "--stdout", "-q")
	if err != nil {
		t.Fatalf("git pack-objects: %v", err)
	}
	return []byte(out)
}
