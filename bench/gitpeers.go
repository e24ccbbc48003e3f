package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// measureCLI is a script that keeps a clone.
func measureCLI(ctx context.Context, dir, url string, size gitSize, t *gitTimes) error {
	w, err := warmClone(ctx, dir, url, "feature.manyFiles=true")
	if err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	var times sample
	for i := range size.cli + 3 { // the first ones fill caches
		start := time.Now()
		if err := errors.Join(w.change(i), w.git(ctx, "add", benchFile), w.git(ctx, "commit", "--quiet", "-m", fmt.Sprint("deploy ", i)),
			w.git(ctx, "push", "--quiet")); err != nil {
			return err
		}
		if i >= 3 {
			times = append(times, time.Since(start))
		}
	}
	t.cli, t.cliWorst = times.percentile(50), times.percentile(100)
	var back sample
	for range 11 {
		start := time.Now()
		if err := errors.Join(w.git(ctx, "checkout", "HEAD~1", "--", filepath.Dir(benchFile)), w.git(ctx, "commit", "--quiet", "-m", "go back"),
			w.git(ctx, "push", "--quiet")); err != nil {
			return err
		}
		back = append(back, time.Since(start))
	}
	t.cliRollback = back.percentile(50)
	return nil
}

// batchCLI gives the rate in commits a second of n commits in one push.
func batchCLI(ctx context.Context, dir, url string, n int) (float64, error) {
	w, err := warmClone(ctx, dir, url, "feature.manyFiles=true")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(w.dir)
	start := time.Now()
	for i := range n {
		if err := errors.Join(w.change(1_000_000+i), w.git(ctx, "add", benchFile), w.git(ctx, "commit", "--quiet", "-m", fmt.Sprint("deploy ", i))); err != nil {
			return 0, err
		}
	}
	err = w.git(ctx, "push", "--quiet")
	return float64(n) / time.Since(start).Seconds(), err
}

// measureGoGit is a program that keeps a clone and uses go-git as its documentation shows.
func measureGoGit(ctx context.Context, dir, url string, size gitSize, t *gitTimes) error {
	w, err := warmClone(ctx, dir, url)
	if err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	repo, err := gogit.PlainOpen(w.dir)
	if err != nil {
		return err
	}
	var times sample
	for i := range size.gogit {
		start := time.Now()
		if err := errors.Join(w.commitGoGit(repo, 2_000_000+i), repo.PushContext(ctx, &gogit.PushOptions{})); err != nil {
			return err
		}
		times = append(times, time.Since(start))
	}
	t.gogit = times.percentile(50)
	return nil
}

func batchGoGit(ctx context.Context, dir, url string, n int) (float64, error) {
	w, err := warmClone(ctx, dir, url)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(w.dir)
	repo, err := gogit.PlainOpen(w.dir)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range n {
		if err := w.commitGoGit(repo, 3_000_000+i); err != nil {
			return 0, err
		}
	}
	err = repo.PushContext(ctx, &gogit.PushOptions{})
	return float64(n) / time.Since(start).Seconds(), err
}

func (w clone) commitGoGit(repo *gogit.Repository, n int) error {
	tree, err := repo.Worktree()
	if err != nil {
		return err
	}
	if err := w.change(n); err != nil {
		return err
	}
	if _, err := tree.Add(benchFile); err != nil {
		return err
	}
	_, err = tree.Commit(fmt.Sprint("deploy ", n), &gogit.CommitOptions{Author: &object.Signature{Name: "bench", Email: "bench@example.com", When: time.Now()}})
	return err
}

// measureStateless is a commit server that keeps nothing between two commits.
func measureStateless(ctx context.Context, dir, url string, size gitSize, t *gitTimes) error {
	var times sample
	for i := range size.stateless {
		start := time.Now()
		w := clone{filepath.Join(dir, "stateless")}
		err := errors.Join(os.Mkdir(w.dir, 0o755), w.git(ctx, "init", "--quiet", "-b", "main"), w.configure(ctx),
			w.git(ctx, "remote", "add", "origin", url), w.git(ctx, "fetch", "--quiet", "--depth", "1", "origin", "main"),
			w.git(ctx, "checkout", "--quiet", "-B", "main", "FETCH_HEAD"), w.change(4_000_000+i), w.git(ctx, "add", benchFile),
			w.git(ctx, "commit", "--quiet", "-m", fmt.Sprint("deploy ", i)), w.git(ctx, "push", "--quiet", "origin", "main"))
		times = append(times, time.Since(start))
		if err := errors.Join(err, os.RemoveAll(w.dir)); err != nil {
			return err
		}
	}
	t.none = times.percentile(50)
	return nil
}
