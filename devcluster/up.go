package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// upFlags are the options of "devcluster up": those of the cluster and those of the command around it.
type upFlags struct {
	Options
	readyFile      string
	exitOnStdinEOF bool
}

// parseUp reads the flags and refuses what cannot work, before anything is written to disk.
func parseUp(args []string, stderr io.Writer) (upFlags, error) {
	var f upFlags
	fs := flag.NewFlagSet("devcluster up", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&f.Dir, "dir", "", "folder of the cluster's state (certificates, etcd, kubeconfig, logs); a second start there continues.\nEmpty: a temporary folder, removed at the end")
	fs.IntVar(&f.Port, "port", 0, "port of the API server on 127.0.0.1; 0 takes the folder's last port when it is free, else any free one")
	fs.IntVar(&f.Nodes, "nodes", 1, "number of simulated nodes")
	fs.StringVar(&f.Stages, "stages", "", "file of more KWOK Stage documents; of several that match an object KWOK picks one at random by weight,\nand the built-in ones weigh 0 (broken image: 1)")
	fs.IntVar(&f.Verbosity, "v", 0, "verbosity of the components' log, 0 to 10")
	fs.StringVar(&f.readyFile, "ready-file", "", "file that holds the path of the kubeconfig while the cluster is ready")
	fs.BoolVar(&f.exitOnStdinEOF, "exit-on-stdin-eof", false, "stop when standard input closes: the cluster cannot outlive the process that started it")
	if err := fs.Parse(args); err != nil {
		return f, errParsed{err}
	}
	switch {
	case fs.NArg() > 0:
		return f, fmt.Errorf("%q is not a flag; all options of \"devcluster up\" are flags, see \"devcluster up -h\"", fs.Arg(0))
	case f.Port < 0 || f.Port > 65535:
		return f, fmt.Errorf("--port %d: choose a port from 1 to 65535, or 0 for any free one", f.Port)
	case f.Nodes < 0 || f.Nodes > 1000:
		return f, fmt.Errorf("--nodes %d: choose 0 to 1000", f.Nodes)
	}
	return f, nil
}

// errParsed is an error which the flag package has already printed.
type errParsed struct{ error }

// up runs a cluster until a signal, the end of standard input or the failure of a component, and returns the exit code: 0 after
// an orderly stop, 1 when something failed, 2 for wrong flags.
func up(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f, err := parseUp(args, stderr)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		if !errors.As(err, new(errParsed)) {
			fmt.Fprintln(stderr, "devcluster:", err)
		}
		return 2
	}
	ctx, restoreSignals := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer restoreSignals()
	context.AfterFunc(ctx, restoreSignals) // a second Ctrl-C ends at once
	if f.exitOnStdinEOF {
		ctx = untilEOF(ctx, stdin)
	}
	begun := time.Now()
	f.Logf = func(format string, a ...any) {
		fmt.Fprintf(stdout, "%8.3fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, a...))
	}
	if err := run(ctx, f, stdout); err != nil {
		fmt.Fprintln(stderr, "devcluster:", err)
		return 1
	}
	f.Logf("stopped")
	return 0
}

// run starts the cluster, announces it and waits for its end. Being told to stop while starting is an orderly end.
func run(ctx context.Context, f upFlags, stdout io.Writer) error {
	if f.readyFile != "" { // one left over from a killed run would announce a cluster that is not there yet
		if err := os.Remove(f.readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the old ready file: %w", err)
		}
	}
	c, err := Start(ctx, f.Options)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer c.Stop()
	if f.readyFile != "" {
		if err := writeFileAtomic(f.readyFile, []byte(c.Kubeconfig()+"\n"), 0o644); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
		defer os.Remove(f.readyFile)
	}
	// KUBECONFIG comes last: whoever waits for it has seen everything else.
	fmt.Fprintf(stdout, "AUDIT_LOG=%s\nKUBECONFIG=%s\n", c.AuditLog(), c.Kubeconfig())
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.Failed():
		return c.explain(fmt.Errorf("a component stopped: %w", err))
	}
}

// untilEOF returns a context that ends with ctx or when r can no longer be read.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, r) // its end is the message, whatever the cause
	}()
	return ctx
}

// writeFileAtomic writes a file so that a reader sees all of it or nothing.
func writeFileAtomic(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
