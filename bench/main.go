// Command bench measures Towpath and writes what it measured to bench/results.json, beside what an operator would use otherwise
// (a "peer"), measured in the same run on the same machine. `go run ./bench <area>` measures one area and prints its table;
// `go run ./bench docs` writes docs/benchmarks.md from the file. Run it from the repository's root; `make bench` does all.
//
// A figure belongs here when a user would notice it. Each is described in figures.go: what was measured from where to where.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

const (
	resultsFile = "bench/results.json"
	docsFile    = "docs/benchmarks.md"
)

// areas are what can be measured by itself.
var areas = map[string]func(context.Context, *report) error{
	"deploy": benchDeploy, "catalog": benchCatalog, "render": benchRender, "git": benchGit, "drift": benchDrift,
	"portal": benchPortal, "env": benchEnv,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	names := slices.Sorted(maps.Keys(areas))
	usage := fmt.Errorf("which area? go run ./bench docs, or one of %s", strings.Join(names, ", "))
	if len(args) != 1 {
		return usage
	}
	if args[0] == "docs" {
		return writeDocs(resultsFile, docsFile)
	}
	area, ok := areas[args[0]]
	if !ok {
		return usage
	}
	if _, err := os.Stat("bench/main.go"); err != nil {
		return errors.New("run it from the repository's root: go run ./bench " + args[0])
	}
	r := &report{results: map[string]result{}}
	fmt.Println("load before:", loadAverage())
	err := area(ctx, r)
	// What was measured before something failed is as true as it would be otherwise.
	return errors.Join(err, r.print(os.Stdout), r.save(resultsFile))
}

// loadAverage tells how busy the machine is with other things: figures of a busy machine are worse than they could be.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
