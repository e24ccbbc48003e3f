package main

import "context"

func benchGit(ctx context.Context, r *report) error {
	cli, err := measureGitCLI(ctx)
	if err != nil {
		return err
	}
	low, err := goBench(ctx, "./internal/git", "^Benchmark(Splice|HTTPPush)$", "-benchtime", "2s")
	if err != nil {
		return err
	}
	high, err := goBench(ctx, "./services/committer", "^Benchmark(RequestToCommitted|HundredAtOnce)$", "-benchtime", "2s")
	if err != nil {
		return err
	}
	err = r.take(low,
		take{figure: "git.batch100.per_s", bench: "HTTPPush/batch=100", unit: "commits/s", scale: 1, peer: "git CLI: 100 commits, one push over HTTP", peerValue: cli.batch},
		take{figure: "git.batch1000.per_s", bench: "HTTPPush/batch=1000", unit: "commits/s", scale: 1},
		take{figure: "git.push30000.ms", bench: "HTTPPush/batch=1", unit: "ns/op", scale: 1e-6},
		take{figure: "git.splice.per_s", bench: "Splice", unit: "commits/s", scale: 1},
	)
	if err != nil {
		return err
	}
	return r.take(high,
		take{figure: "git.single.p50_ms", bench: "RequestToCommitted/http", unit: "ms-commit-p50", scale: 1, peer: "git CLI: write, add, commit, push over HTTP", peerValue: cli.http.percentile(50)},
		take{figure: "git.embedded.p50_ms", bench: "RequestToCommitted/embedded", unit: "ms-commit-p50", scale: 1, peer: "git CLI: write, add, commit, push to a path", peerValue: cli.local.percentile(50)},
		take{figure: "git.hundred_envs.per_s", bench: "HundredAtOnce/http", unit: "deployments/s", scale: 1, peer: "git CLI: one process after the other, over HTTP", peerValue: 1000 / cli.http.percentile(50)},
	)
}

func benchDrift(ctx context.Context, r *report) error {
	m, err := goBench(ctx, "./services/drift/internal/compare", "^Benchmark(CompareClean|CompareUnprepared|SpecHash)$", "-cpu", "1", "-benchtime", "1s")
	if err != nil {
		return err
	}
	return r.take(m,
		take{figure: "drift.clean.us", bench: "CompareClean", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.clean_cold.us", bench: "CompareUnprepared", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.spec_hash.us", bench: "SpecHash", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.baseline.bytes", bench: "CompareUnprepared", unit: "baseline-bytes", scale: 1},
	)
}
