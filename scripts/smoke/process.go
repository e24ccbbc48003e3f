package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a server that runs beside the walk.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan error
}

// start starts a server and waits until it has written its ready file. Its log goes on where an earlier start's ended.
func (w *world) start(ctx context.Context, name, ready, binary string, args ...string) (*process, error) {
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	log, err := os.OpenFile(w.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(w.bin(binary), args...)
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{name: name, cmd: cmd, done: make(chan error, 1)}
	// devcluster ends when its standard input does, so that it cannot outlive us.
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- cmd.Wait() }()
	limit := time.After(time.Minute)
	for {
		if b, err := os.ReadFile(ready); err == nil && len(b) > 0 {
			return p, nil
		}
		select {
		case err := <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready: %w", filepath.Base(binary), err)
		case <-limit:
			_ = p.stop()
			return nil, fmt.Errorf("%s is not ready after a minute", name)
		case <-ctx.Done():
			_ = p.stop()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop asks a server to end as an operator would. One that does not, or that ends with an error, is a failure.
func (p *process) stop() error {
	defer p.stdin.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s is no longer there: %w", p.name, err)
	}
	select {
	case err := <-p.done:
		if err != nil {
			return fmt.Errorf("%s did not stop cleanly: %w", p.name, err)
		}
		return nil
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s was asked to stop and had not 15 s later: %w", p.name, <-p.done)
	}
}
