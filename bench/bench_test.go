package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestALineOfGoTestIsRead(t *testing.T) {
	for _, c := range []struct {
		what, line, name string
		want             measured
	}{
		{"times and own units", "BenchmarkPush/batch=100-2  \t 20\t 170598 ns/op\t 586.2 commits/s", "Push/batch=100", measured{"ns/op": 170598, "commits/s": 586.2}},
		{"one core has no suffix", "BenchmarkRender1 \t 2318\t 1030000 ns/op", "Render1", measured{"ns/op": 1030000}},
		{"a name that ends in a word keeps it", "BenchmarkGet-cold-2 10 5 ns/op", "Get-cold", measured{"ns/op": 5}},
		{"a result line is none", "ok  \tgithub.com/towpath-dev/towpath/internal/git\t12.3s", "", nil},
		{"a log line is none", "Benchmarks are slow today, all of them", "", nil},
	} {
		name, got, ok := benchLine(c.line)
		if name != c.name || ok != (c.want != nil) {
			t.Errorf("%s: got %q, %v", c.what, name, ok)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var s sample
	for i := range 100 {
		s = append(s, time.Duration(100-i)*time.Millisecond)
	}
	for p, want := range map[int]float64{50: 50, 99: 99, 100: 100, 1: 1} {
		if got := s.percentile(p); got != want {
			t.Errorf("percentile %d is %v, expected %v", p, got, want)
		}
	}
	if got := (sample{7 * time.Millisecond}).percentile(50); got != 7 {
		t.Errorf("the median of one is %v", got)
	}
}

func TestRatiosAndBarsKnowWhatIsBetter(t *testing.T) {
	const less, more = "deploy.request_to_commit.p50_ms", "git.batch100.per_s"
	got := []string{
		result{Value: 20, PeerValue: 100}.ratio(less), result{Value: 500, PeerValue: 10}.ratio(more), result{Value: 5}.ratio(less),
		figures[less].barText(25), figures[less].barText(26), figures[more].barText(499), figures[more].barText(501), figures["catalog.page_1k.ms"].barText(1),
	}
	want := []string{"5x", "50x", "", "<= 25 met", "<= 25 MISSED", ">= 500 MISSED", ">= 500 met", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARunReplacesItsOwnFiguresOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	for _, add := range []map[string]float64{{"catalog.page_1k.ms": 230.4567, "drift.clean.us": 19.8}, {"catalog.page_1k.ms": 240}} {
		r := &report{results: map[string]result{}}
		for name, v := range add {
			r.add(name, v, "", 0)
		}
		if err := r.save(file); err != nil {
			t.Fatal(err)
		}
	}
	all, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	if all["catalog.page_1k.ms"].Value != 240 || all["drift.clean.us"].Value != 19.8 {
		t.Errorf("the file has %v", all)
	}
}

// The page is made from the file, so both must speak of the same figures, and the page must not be older than the file.
func TestTheDocsAreWhatTheResultsSay(t *testing.T) {
	all, err := load("results.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if f, ok := figures[name]; !ok || f.unit != all[name].Unit {
			t.Errorf("%s (%s) is not described so in figures.go", name, all[name].Unit)
		}
	}
	fresh := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := writeDocs("results.json", fresh); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../" + docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/benchmarks.md is stale; go run ./bench docs: %s", diff)
	}
}
