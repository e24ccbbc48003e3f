package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// measured are the figures of one benchmark function by their units, such as "ns/op".
type measured map[string]float64

// goBench runs benchmarks of a package in go test's own way, and gives what they measured by their names without "Benchmark"
// and without the number of cores at the end.
func goBench(ctx context.Context, pkg, pattern string, args ...string) (map[string]measured, error) {
	return goBenchWith(ctx, nil, pkg, pattern, args...)
}

// goBenchWith is goBench with further variables in the environment.
func goBenchWith(ctx context.Context, env []string, pkg, pattern string, args ...string) (map[string]measured, error) {
	args = append([]string{"test", "-run", "^$", "-bench", pattern, "-timeout", "10m"}, append(args, pkg)...)
	fmt.Println("go", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("benchmarks of %s: %w\n%s", pkg, err, out.String())
	}
	all := map[string]measured{}
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		if name, m, ok := benchLine(lines.Text()); ok {
			all[name] = m
		}
	}
	return all, lines.Err()
}

// benchLine reads "BenchmarkX/y-2   100   12 ns/op   3 B/op".
func benchLine(line string) (string, measured, bool) {
	f := strings.Fields(line)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return "", nil, false
	}
	m := measured{}
	for i := 2; i+1 < len(f); i += 2 {
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return "", nil, false
		}
		m[f[i+1]] = v
	}
	name := strings.TrimPrefix(f[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			name = name[:i]
		}
	}
	return name, m, true
}

// take says which figure comes from where; scale turns the benchmark's unit into the figure's.
type take struct {
	figure, bench, unit string
	scale               float64
	peer                string
	peerValue           float64
}

// take adds figures. A benchmark that no longer exists is an error: its old number would stay in the file for ever.
func (r *report) take(from map[string]measured, takes ...take) error {
	for _, t := range takes {
		v, ok := from[t.bench][t.unit]
		if !ok {
			return fmt.Errorf("no benchmark %s gives %s; look at where its area is measured in bench/", t.bench, t.unit)
		}
		r.add(t.figure, v*t.scale, t.peer, t.peerValue)
	}
	return nil
}
