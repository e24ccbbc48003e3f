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
	"time"
)

// gitTimes are the peer's: somebody's script that keeps a clone, writes the changed manifest, and runs git add, commit, push.
type gitTimes struct {
	// http pushes to git http-backend over loopback, local to a bare repository by its path.
	http, local sample
	// batch is the rate in commits a second of 100 commits in one push over HTTP.
	batch float64
}

// gitRuns is how many commits of each kind are measured.
const gitRuns = 40

func measureGitCLI(ctx context.Context) (gitTimes, error) {
	var t gitTimes
	dir, err := os.MkdirTemp("", "towpath-bench-git-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	url, stop, err := serveGit(ctx, dir)
	if err != nil {
		return t, err
	}
	defer stop()
	for _, c := range []struct {
		name, url string
		into      *sample
	}{{"http.git", url + "/http.git", &t.http}, {"local.git", filepath.Join(dir, "local.git"), &t.local}} {
		w, err := newClone(ctx, dir, c.name, c.url)
		if err != nil {
			return t, err
		}
		for i := range gitRuns + 3 {
			start := time.Now()
			if err := errors.Join(w.commit(ctx, i), w.git(ctx, "push", "--quiet")); err != nil {
				return t, err
			}
			if i >= 3 {
				*c.into = append(*c.into, time.Since(start))
			}
		}
		if c.name != "http.git" {
			continue
		}
		start := time.Now()
		for i := range 100 {
			if err := w.commit(ctx, 1000+i); err != nil {
				return t, err
			}
		}
		if err := w.git(ctx, "push", "--quiet"); err != nil {
			return t, err
		}
		t.batch = 100 / time.Since(start).Seconds()
	}
	return t, nil
}

// serveGit serves the bare repositories of a folder as Git servers do.
func serveGit(ctx context.Context, dir string) (url string, stop func(), err error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return "", nil, fmt.Errorf("git: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=bench"},
	}}
	go func() { _ = s.Serve(l) }() // ends with Close
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}

// clone is the work tree that the peer keeps.
type clone struct{ dir string }

// newClone makes a bare repository with as many environments as a small team has, and a clone of it. fsync is on at the server, as
// Towpath's is: what is acknowledged is on disk.
func newClone(ctx context.Context, dir, name, url string) (clone, error) {
	w := clone{filepath.Join(dir, strings.TrimSuffix(name, ".git")+"-clone")}
	bare := clone{filepath.Join(dir, name)}
	err := errors.Join(os.Mkdir(w.dir, 0o755), os.Mkdir(bare.dir, 0o755))
	for _, args := range [][]string{{"init", "--quiet", "--bare", "-b", "main"}, {"config", "http.receivepack", "true"}, {"config", "core.fsync", "committed,loose-object,reference"}} {
		err = errors.Join(err, bare.git(ctx, args...))
	}
	for _, args := range [][]string{{"init", "--quiet", "-b", "main"}, {"remote", "add", "origin", url}, {"config", "user.name", "bench"}, {"config", "user.email", "bench@example.com"}, {"config", "gc.auto", "0"}} {
		err = errors.Join(err, w.git(ctx, args...))
	}
	for app := range 8 {
		for env := range 8 {
			folder := filepath.Join(w.dir, "environments", fmt.Sprintf("env-%d", env), fmt.Sprintf("app-%d", app))
			err = errors.Join(err, os.MkdirAll(folder, 0o755), w.write(folder, -1))
		}
	}
	return w, errors.Join(err, w.git(ctx, "add", "-A"), w.git(ctx, "commit", "--quiet", "-m", "first"), w.git(ctx, "push", "--quiet", "-u", "origin", "main"))
}

func (w clone) write(folder string, n int) error {
	text := fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\nspec: {round: %d}\n# %s\n", n, strings.Repeat("x", 1500))
	return os.WriteFile(filepath.Join(folder, "deployment-api.yaml"), []byte(text), 0o644)
}

// commit changes one manifest of one environment.
func (w clone) commit(ctx context.Context, n int) error {
	err := w.write(filepath.Join(w.dir, "environments", "env-0", "app-0"), n)
	return errors.Join(err, w.git(ctx, "add", "-A"), w.git(ctx, "commit", "--quiet", "-m", fmt.Sprint("deploy ", n)))
}

func (w clone) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = w.dir
	// Nobody's own settings, so that the figure is the same for everybody.
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return nil
}
