package main

import "context"

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
