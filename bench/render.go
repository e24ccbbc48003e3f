package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// benchSet is how many workloads are rendered beside the peers.
const benchSet = 100

func benchRender(ctx context.Context, r *report) error {
	m, err := goBench(ctx, "./services/renderer/render", "^BenchmarkRender1(00)?$", "-cpu", "1", "-benchtime", "2s")
	if err != nil {
		return err
	}
	large, err := goBench(ctx, "./services/renderer/render", "^BenchmarkRender10000$", "-cpu", "1", "-benchtime", "3x")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-render-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peers, err := measurePeers(ctx, dir)
	if err != nil {
		return err
	}
	m["Render100"]["B/workload"] = m["Render100"]["B/op"] / benchSet
	large["Render10000"]["ratio"] = large["Render10000"]["cpu-ns/workload"] / m["Render100"]["cpu-ns/workload"]
	cli, err := measureRenderCLI(ctx, dir)
	if err != nil {
		return err
	}
	r.add("render.cli.ms", cli, "", 0)
	const kustomize, helm = "kustomize (its Go library)", "helm (its Go library)"
	err = r.take(m,
		take{figure: "render.workloads_per_s", bench: "Render100", unit: "workloads/s", scale: 1, peer: kustomize, peerValue: benchSet / peers["kustomize"].Seconds},
		take{figure: "render.c100_beside_helm.per_s", bench: "Render100", unit: "workloads/s", scale: 1, peer: helm, peerValue: benchSet / peers["helm"].Seconds},
		take{figure: "render.c100.bytes_per_workload", bench: "Render100", unit: "B/workload", scale: 1, peer: kustomize, peerValue: peers["kustomize"].Bytes / benchSet},
		take{figure: "render.c1.per_s", bench: "Render1", unit: "workloads/s", scale: 1},
		take{figure: "render.one.us", bench: "Render1", unit: "ns/op", scale: 1e-3},
	)
	if err != nil {
		return err
	}
	return r.take(large,
		take{figure: "render.c10000.per_s", bench: "Render10000", unit: "workloads/s", scale: 1},
		take{figure: "render.c10000_over_c100.ratio", bench: "Render10000", unit: "ratio", scale: 1},
		take{figure: "render.c10000.peak_mb", bench: "Render10000", unit: "peak-MB", scale: 1},
	)
}

// peerFigures are what bench/peers measures of one tool, for all workloads together.
type peerFigures struct {
	Seconds float64 `json:"seconds"`
	Bytes   float64 `json:"bytes"`
}

// measurePeers renders the workloads with tow, and lets other tools make the same objects.
func measurePeers(ctx context.Context, dir string) (map[string]peerFigures, error) {
	score, err := os.ReadFile("services/renderer/render/testdata/bench.score.yaml")
	if err != nil {
		return nil, err
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.Mkdir(in, 0o755); err != nil {
		return nil, err
	}
	for i := range benchSet {
		name := fmt.Sprintf("%03d", i)
		if err := os.WriteFile(filepath.Join(in, "api-"+name+".score.yaml"), bytes.ReplaceAll(score, []byte("NNN"), []byte(name)), 0o644); err != nil {
			return nil, err
		}
	}
	if err := tow(ctx, "render", "-f", in, "-e", "shop/dev", "--variable", "CURRENCY=EUR", "--restricted", "-o", out); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "-C", "bench/peers", "run", ".", "-want", out)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOMAXPROCS=1")
	fmt.Println("go", strings.Join(cmd.Args[1:], " "))
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("bench/peers: %w", err)
	}
	peers := map[string]peerFigures{}
	if err := json.Unmarshal(b, &peers); err != nil || peers["helm"].Seconds == 0 || peers["kustomize"].Seconds == 0 {
		return nil, fmt.Errorf("bench/peers says %q: %w", b, err)
	}
	return peers, nil
}

// measureRenderCLI gives the median time of a process that renders one file, in milliseconds.
func measureRenderCLI(ctx context.Context, dir string) (float64, error) {
	file := filepath.Join(dir, "in", "api-000.score.yaml")
	var took []float64
	for range 101 {
		start := time.Now()
		if err := tow(ctx, "render", "-f", file, "-e", "shop/dev", "--variable", "CURRENCY=EUR"); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func tow(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "bin/tow", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("tow %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
