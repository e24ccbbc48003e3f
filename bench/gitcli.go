package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// gitRuns is how many commits of the smaller repositories are measured.
const gitRuns = 40

// gitHost serves the bare repositories of a folder as Git servers do, and times what it does itself.
type gitHost struct {
	url    string
	server *http.Server

	mu     sync.Mutex
	pushes sample
}

func serveGit(ctx context.Context, dir string) (*gitHost, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &gitHost{url: "http://" + l.Addr().String()}
	h.server = &http.Server{ReadHeaderTimeout: time.Second, Handler: h.timed(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=bench"},
	})}
	go func() { _ = h.server.Serve(l) }() // ends with Close
	return h, nil
}

// timed notes how long git-receive-pack takes from a push's request to the end of its answer: no client can be faster.
func (h *gitHost) timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		next.ServeHTTP(w, r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.pushes = append(h.pushes, time.Since(start))
		}
	})
}

// took gives the times of the pushes since it was asked last.
func (h *gitHost) took() sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.pushes
	h.pushes = nil
	return s
}

func (h *gitHost) stop() { _ = h.server.Close() }

// clone is the work tree that a peer keeps.
type clone struct{ dir string }

// warmClone clones a repository with its whole history, and sets what a person would who waits for git too long.
func warmClone(ctx context.Context, dir, url string, settings ...string) (clone, error) {
	w := clone{filepath.Join(dir, "clone")}
	args := []string{"clone", "--quiet"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	if err := (clone{dir}).git(ctx, append(args, url, w.dir)...); err != nil {
		return w, err
	}
	return w, w.configure(ctx)
}

func (w clone) configure(ctx context.Context) error {
	return errors.Join(w.git(ctx, "config", "user.name", "bench"), w.git(ctx, "config", "user.email", "bench@example.com"), w.git(ctx, "config", "gc.auto", "0"))
}

// change writes the file that everybody writes.
func (w clone) change(n int) error {
	return os.WriteFile(filepath.Join(w.dir, filepath.FromSlash(benchFile)), []byte(benchManifest(n)), 0o644)
}

// measureScript commits and pushes again and again in a warm clone.
func measureScript(ctx context.Context, dir, url string) (sample, error) {
	w, err := warmClone(ctx, dir, url)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(w.dir)
	var times sample
	for i := range gitRuns + 3 {
		start := time.Now()
		if err := errors.Join(w.change(5_000_000+i), w.git(ctx, "add", benchFile), w.git(ctx, "commit", "--quiet", "-m", fmt.Sprint("deploy ", i)), w.git(ctx, "push", "--quiet")); err != nil {
			return nil, err
		}
		if i >= 3 {
			times = append(times, time.Since(start))
		}
	}
	return times, nil
}

// measureGitCLI gives what a script takes over HTTP and to a path, in a repository of 64 environments.
func measureGitCLI(ctx context.Context) (http, local sample, err error) {
	dir, err := os.MkdirTemp("", "towpath-bench-git-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	host, err := serveGit(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	defer host.stop()
	bare := filepath.Join(dir, "small.git")
	if err := makeRepository(ctx, bare, gitSize{files: 64, commits: 1}); err != nil {
		return nil, nil, err
	}
	if http, err = measureScript(ctx, dir, host.url+"/small.git"); err != nil {
		return nil, nil, err
	}
	local, err = measureScript(ctx, dir, bare)
	return http, local, err
}

// gitEnv keeps nobody's own settings, so that the figure is the same for everybody.
func gitEnv() []string {
	return append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
}

func (w clone) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = w.dir, gitEnv()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return nil
}
