// Command smoke walks the whole journey of a first user without a person, on a fresh state: a real control plane, the real server,
// the real command line, plain HTTP, git and kubectl, and nothing of Towpath's insides. Run it from the repository's root by
// `make smoke`, which builds what it needs. It prints a line for each step and ends with exit code 0 only when all passed;
// it stops what it started and leaves nothing behind.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// step is one thing that a user does, and what must be true afterwards.
type step struct {
	name string
	run  func(context.Context, *world) error
}

// patience bounds the whole walk: it takes about 15 seconds on two cores that have nothing else to do.
const patience = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := walk(ctx)
	stop()
	os.Exit(code)
}

func walk(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	w, err := newWorld()
	if err != nil {
		fmt.Println("FAILED preparation:", err)
		return 1
	}
	for _, s := range journey {
		start := time.Now()
		if err := s.run(ctx, w); err != nil {
			fmt.Printf("FAILED %s: %v\n", s.name, err)
			_ = w.stop() // the failure is told; that a server which died cannot be stopped is no news
			w.tellLogs()
			w.remove()
			return 1
		}
		fmt.Println("ok", s.name, time.Since(start).Milliseconds())
	}
	if err := w.stop(); err != nil {
		fmt.Println("FAILED stop:", err)
		w.tellLogs()
		w.remove()
		return 1
	}
	w.remove()
	fmt.Printf("smoke: %d steps passed in %.1f s\n", len(journey), time.Since(began).Seconds())
	return 0
}
