package main

import "context"

const (
	informerPeer = "informer cache of unstructured objects"
	dryRunPeer   = "informer cache and server-side dry run per object"
	// refreshes is how often an hour engines that compare by time look at everything, by their defaults of three minutes.
	refreshes = 20
	// fleet is how many real objects there are.
	fleet = 10_000
)

func benchDrift(ctx context.Context, r *report) error {
	m, err := goBench(ctx, "./services/drift/internal/compare", "^Benchmark(CompareClean|CompareUnprepared|SpecHash)$", "-cpu", "1", "-benchtime", "1s")
	if err != nil {
		return err
	}
	state, err := goBench(ctx, "./services/drift", "^BenchmarkState$", "-cpu", "1", "-benchtime", "1x")
	if err != nil {
		return err
	}
	events, err := goBench(ctx, "./services/drift", "^BenchmarkEvent$", "-cpu", "1", "-benchtime", "1s")
	if err != nil {
		return err
	}
	real, err := goBench(ctx, "./services/drift", "^BenchmarkFleet$", "-benchtime", "1x")
	if err != nil {
		return err
	}
	dryRun, informer := real["Fleet"]["peer-us/compare"], state["State/10000"]["informer-bytes/object"]
	if err := r.take(m,
		take{figure: "drift.clean.us", bench: "CompareClean", unit: "ns/op", scale: 1e-3, peer: dryRunPeer, peerValue: dryRun},
		take{figure: "drift.clean_cold.us", bench: "CompareUnprepared", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.spec_hash.us", bench: "SpecHash", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.baseline.bytes", bench: "CompareUnprepared", unit: "baseline-bytes", scale: 1},
	); err != nil {
		return err
	}
	if err := r.take(state,
		take{figure: "drift.bytes_per_object", bench: "State/100000", unit: "bytes/object", scale: 1, peer: informerPeer, peerValue: informer},
		take{figure: "drift.bytes_per_object_10k", bench: "State/10000", unit: "bytes/object", scale: 1, peer: informerPeer, peerValue: informer},
		take{figure: "drift.sweep_100k.s", bench: "State/100000", unit: "sweep-s", scale: 1, peer: dryRunPeer, peerValue: dryRun * 100_000 / 1e6},
		take{figure: "drift.sweep_unmoved_100k.s", bench: "State/100000", unit: "unmoved-s", scale: 1},
	); err != nil {
		return err
	}
	if err := r.take(events,
		take{figure: "drift.event.us", bench: "Event/Bookkeeping", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.event_status.us", bench: "Event/Status", unit: "ns/op", scale: 1e-3},
		take{figure: "drift.event_compared.us", bench: "Event/Compared", unit: "ns/op", scale: 1e-3},
	); err != nil {
		return err
	}
	return r.take(real,
		take{figure: "drift.event_to_finding.p50_ms", bench: "Fleet", unit: "edit-p50-ms", scale: 1},
		take{figure: "drift.event_to_finding.p99_ms", bench: "Fleet", unit: "edit-p99-ms", scale: 1},
		take{figure: "drift.gate.percent", bench: "Fleet", unit: "gate-percent", scale: 1},
		take{figure: "drift.idle.requests_per_hour", bench: "Fleet", unit: "idle-requests/h", scale: 1, peer: dryRunPeer, peerValue: fleet * refreshes},
		take{figure: "drift.idle.writes_per_hour", bench: "Fleet", unit: "idle-writes/h", scale: 1},
	)
}
