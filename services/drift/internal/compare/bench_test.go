package compare_test

import (
	"testing"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// The bar of the design is 110 us for a clean object.
func BenchmarkCompareClean(b *testing.B) {
	desired := object(b, deploymentYAML)
	c := applied(b, desired)
	base := baseline(b, desired, deploymentLive(c))
	c.update("kube-controller-manager", func(o map[string]any) {
		put(o, map[string]any{"deployment.kubernetes.io/revision": "3"}, "metadata", "annotations")
	})
	live := deploymentLive(c)
	prepared, err := comparer().Prepare(desired, base)
	if err != nil {
		b.Fatal(err)
	}
	in := compare.Input{Prepared: prepared, Live: live, Self: self}
	if got := comparer().Compare(in); !got.Clean() {
		b.Fatalf("findings %v, unverified %v", paths(got.Findings), got.Unverified)
	}
	b.ReportAllocs()
	for b.Loop() {
		comparer().Compare(in)
	}
}

func BenchmarkCompareDrifted(b *testing.B) {
	desired := object(b, deploymentYAML)
	c := applied(b, desired)
	base := baseline(b, desired, deploymentLive(c))
	c.update("kubectl-edit", func(o map[string]any) {
		for _, e := range edits {
			if e.object == deploymentYAML {
				e.edit(o)
			}
		}
	})
	prepared, err := comparer().Prepare(desired, base)
	if err != nil {
		b.Fatal(err)
	}
	in := compare.Input{Prepared: prepared, Live: deploymentLive(c), Self: self}
	b.ReportAllocs()
	for b.Loop() {
		if got := comparer().Compare(in); len(got.Findings) != 5 {
			b.Fatalf("findings %v", paths(got.Findings))
		}
	}
}

// BenchmarkCompareUnprepared is the cost where nothing is cached but the compressed baseline: what a sweep pays.
func BenchmarkCompareUnprepared(b *testing.B) {
	desired := object(b, deploymentYAML)
	live := deploymentLive(applied(b, desired))
	data, err := baseline(b, desired, live).MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data)), "baseline-bytes")
	b.ReportAllocs()
	for b.Loop() {
		var base compare.Baseline
		if err := base.UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
		comparer().Compare(compare.Input{Desired: desired, Baseline: base, Live: live, Self: self})
	}
	b.ReportMetric(float64(len(data)), "baseline-bytes")
}

func BenchmarkSpecHash(b *testing.B) {
	live := deploymentLive(applied(b, object(b, deploymentYAML)))
	for b.Loop() {
		compare.SpecHash(live)
	}
}
