package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
)

// benchFile is what everybody writes again and again: one of the repository's files, in the middle of its folders.
const benchFile = "apps/team-000/app-000/prod/manifest.yaml"

// makeRepository makes a bare repository by git fast-import: all files in the first commit, then commits of one file each. What
// its host acknowledges is on disk.
func makeRepository(ctx context.Context, dir string, size gitSize) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	bare := clone{dir}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "-b", "main"}, {"config", "http.receivepack", "true"}, {"config", "uploadpack.allowFilter", "true"},
		{"config", "core.fsync", "committed,loose-object,reference"}, {"config", "gc.auto", "0"}, {"config", "receive.autogc", "false"},
	} {
		if err := bare.git(ctx, args...); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, gitEnv(), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	writeHistory(w, size)
	return errors.Join(w.Flush(), in.Close(), cmd.Wait())
}

func writeHistory(w io.Writer, size gitSize) {
	paths := benchPaths(size.files)
	const start = 1_700_000_000
	begin := func(n int, subject string) {
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter A Person <person@example.com> %d +0000\ndata %d\n%s\n", start+n, len(subject), subject)
	}
	put := func(path string, n int) {
		text := benchManifest(n)
		fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n%s\n", path, len(text), text)
	}
	begin(0, "first")
	for i, path := range paths {
		put(path, i)
	}
	for n := 1; n < size.commits; n++ {
		begin(n, fmt.Sprint("change ", n))
		put(paths[n*7919%len(paths)], size.files+n)
	}
}

// benchPaths spreads environments over teams and applications so that no folder is much larger than the others.
func benchPaths(files int) []string {
	side := int(math.Ceil(math.Sqrt(float64(files) / 3)))
	paths := make([]string, 0, files)
	for team := range side {
		for app := range side {
			for _, env := range []string{"prod", "stg", "dev"} {
				if len(paths) < files {
					paths = append(paths, fmt.Sprintf("apps/team-%03d/app-%03d/%s/manifest.yaml", team, app, env))
				}
			}
		}
	}
	return paths
}

// benchManifest is a file of about a kilobyte, like no other.
func benchManifest(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-%d\nspec:\n  template:\n    spec:\n      containers:\n", n)
	for i := range 8 {
		fmt.Fprintf(&b, "      - name: c%d\n        image: registry.example.com/app-%d/c%d:v1.%d.%d\n        resources: {limits: {memory: 256Mi}}\n", i, n, i, n, i)
	}
	return b.String()
}
