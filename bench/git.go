package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The peers of everything about Git.
const (
	peerCLI       = "git CLI, warm clone"
	peerGoGit     = "go-git: work tree, Remote.Push"
	peerStateless = "keeps nothing: init, fetch, checkout, commit, push"
	// peerHost is a limit: what the host takes for these very pushes, which Towpath's figure contains.
	peerHost = "limit: git http-backend's own part of it"
)

// gitSize is one repository, and how often each peer is measured in it: as often as its slowness allows.
type gitSize struct {
	name                  string
	files, commits        int
	cli, gogit, stateless int
	// runs is how often we are.
	runs int
}

var gitSizes = []gitSize{
	{name: "files_1k", files: 1_000, commits: 10, cli: 20, gogit: 7, stateless: 7, runs: 200},
	{name: "files_30k", files: 30_000, commits: 2_000, cli: 40, gogit: 3, stateless: 5, runs: 200},
	{name: "history_2k", files: 1_000, commits: 2_000, cli: 20, gogit: 5, stateless: 7, runs: 200},
	{name: "history_40k", files: 1_000, commits: 40_000, cli: 20, gogit: 3, stateless: 7, runs: 200},
}

// largest comes last, because it takes longest.
var largest = gitSize{name: "files_300k", files: 300_000, commits: 10, cli: 15, gogit: 1, stateless: 1, runs: 30}

// gitTimes are what Towpath and its peers take in one repository, in milliseconds.
type gitTimes struct {
	p50, p99, cold, rollback                float64
	host, hostWorst, hostRollback           float64
	cli, cliWorst, cliRollback, gogit, none float64
}

func benchGit(ctx context.Context, r *report) error {
	dir, err := os.MkdirTemp("", "towpath-bench-git-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	host, err := serveGit(ctx, dir)
	if err != nil {
		return err
	}
	defer host.stop()
	times := map[string]gitTimes{}
	measure := func(size gitSize) error {
		t, err := measureSize(ctx, dir, host, size)
		if err != nil {
			return fmt.Errorf("%s: %w", size.name, err)
		}
		times[size.name] = t
		addSizes(r, times) // what was measured is kept when a later one fails
		return nil
	}
	for _, size := range gitSizes {
		if err := measure(size); err != nil {
			return err
		}
	}
	if err := benchBatches(ctx, r, dir, host.url, times["files_30k"]); err != nil {
		return err
	}
	if err := benchEmbedded(ctx, r, times["files_30k"]); err != nil {
		return err
	}
	return measure(largest)
}

func measureSize(ctx context.Context, dir string, host *gitHost, size gitSize) (gitTimes, error) {
	fmt.Printf("a repository of %d files and %d commits\n", size.files, size.commits)
	var t gitTimes
	if err := makeRepository(ctx, filepath.Join(dir, size.name+".git"), size); err != nil {
		return t, err
	}
	url := host.url + "/" + size.name + ".git"
	ours := func(name string) (map[string]float64, sample, error) {
		host.took()
		got, err := goBenchWith(ctx, []string{"TOWPATH_BENCH_GIT=" + url}, "./services/committer", "^Benchmark"+name+"$", "-benchtime", fmt.Sprintf("%dx", size.runs))
		if err == nil && got[name]["ms-p50"] == 0 {
			err = fmt.Errorf("services/committer has no benchmark %s any more", name)
		}
		return got[name], host.took(), err
	}
	single, pushes, err := ours("Single")
	if err != nil {
		return t, err
	}
	t.p50, t.p99, t.cold, t.host, t.hostWorst = single["ms-p50"], single["ms-p99"], single["ms-cold"], pushes.percentile(50), pushes.percentile(99)
	rollback, pushes, err := ours("Rollback")
	if err != nil {
		return t, err
	}
	t.rollback, t.hostRollback = rollback["ms-p50"], pushes.percentile(50)
	return t, errors.Join(measureCLI(ctx, dir, url, size, &t), measureGoGit(ctx, dir, url, size, &t), measureStateless(ctx, dir, url, size, &t))
}

func addSizes(r *report, times map[string]gitTimes) {
	peers := func(t gitTimes) []peer {
		return []peer{{peerCLI, t.cli}, {peerGoGit, t.gogit}, {peerStateless, t.none}, {peerHost, t.host}}
	}
	for name, t := range times {
		r.addBeside("git."+name+".p50_ms", t.p50, peers(t)...)
	}
	if usual, ok := times["files_30k"]; ok {
		r.addBeside("git.single.p50_ms", usual.p50, peers(usual)...)
		r.addBeside("git.single.p99_ms", usual.p99, peer{peerCLI, usual.cliWorst}, peer{peerHost, usual.hostWorst})
		r.addBeside("git.rollback.ms", usual.rollback, peer{peerCLI, usual.cliRollback}, peer{peerHost, usual.hostRollback})
	}
	for figure, of := range map[string][2]string{
		"git.files_300k_over_1k.ratio": {"files_300k", "files_1k"}, "git.history_40k_over_2k.ratio": {"history_40k", "history_2k"},
	} {
		large, small := times[of[0]], times[of[1]]
		if large.p50 == 0 || small.p50 == 0 {
			continue
		}
		r.addBeside(figure, large.p50/small.p50, peer{peerCLI, large.cli / small.cli}, peer{peerGoGit, large.gogit / small.gogit},
			peer{peerStateless, large.none / small.none}, peer{peerHost, large.host / small.host})
	}
	if large, ok := times["files_300k"]; ok {
		r.addBeside("git.cold_300k.ms", large.cold, peer{peerStateless, large.none})
	}
}

// benchBatches measures how many commits share a push.
func benchBatches(ctx context.Context, r *report, dir, url string, single gitTimes) error {
	low, err := goBench(ctx, "./internal/git", "^Benchmark(Splice|HTTPPush)$", "-benchtime", "2s")
	if err != nil {
		return err
	}
	url += "/files_30k.git"
	hundred, err := batchCLI(ctx, dir, url, 100)
	if err != nil {
		return err
	}
	thousand, err := batchCLI(ctx, dir, url, 1000)
	if err != nil {
		return err
	}
	gogit, err := batchGoGit(ctx, dir, url, 5)
	if err != nil {
		return err
	}
	for figure, of := range map[string]struct {
		bench string
		cli   float64
	}{"git.batch100.per_s": {"HTTPPush/batch=100", hundred}, "git.batch1000.per_s": {"HTTPPush/batch=1000", thousand}} {
		rate, ok := low[of.bench]["commits/s"]
		if !ok {
			return fmt.Errorf("no benchmark %s", of.bench)
		}
		r.addBeside(figure, rate, peer{peerCLI, of.cli}, peer{peerGoGit, gogit}, peer{peerStateless, 1000 / single.none})
	}
	return r.take(low, take{figure: "git.splice.per_s", bench: "Splice", unit: "commits/s", scale: 1})
}

// benchEmbedded measures what needs no repository of a size.
func benchEmbedded(ctx context.Context, r *report, single gitTimes) error {
	high, err := goBench(ctx, "./services/committer", "^Benchmark(RequestToCommitted|HundredAtOnce)$", "-benchtime", "2s")
	if err != nil {
		return err
	}
	_, local, err := measureGitCLI(ctx)
	if err != nil {
		return err
	}
	return r.take(high,
		take{figure: "git.embedded.p50_ms", bench: "RequestToCommitted/embedded", unit: "ms-commit-p50", scale: 1, peer: "git CLI: write, add, commit, push to a path", peerValue: local.percentile(50)},
		take{figure: "git.hundred_envs.per_s", bench: "HundredAtOnce/http", unit: "deployments/s", scale: 1, peer: "git CLI: one after the other, over HTTP", peerValue: 1000 / single.cli},
	)
}
