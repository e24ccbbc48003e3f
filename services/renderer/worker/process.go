package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// maxKnown and maxKnownSize are how many definitions a worker keeps, and how many bytes of them.
const (
	maxKnown     = 500
	maxKnownSize = 32 << 20
)

// startTime is how long a worker may take to get ready on a machine that is busy.
const startTime = 30 * time.Second

// process is a worker. One call at a time is given to it.
type process struct {
	cmd    *exec.Cmd
	in     *os.File // what it reads
	out    *os.File // what it writes
	said   *tail
	ready  hello
	before int64 // the memory that it has without doing anything
	ended  sync.Once

	known map[string]bool
	size  int
	scene int64
}

// launch starts a worker and waits until it is ready.
func launch(ctx context.Context, limits Limits, level int) (*process, error) {
	arg, err := json.Marshal(limits)
	if err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	w := &process{in: in, out: out, said: &tail{}, known: map[string]bool{}}
	w.cmd = &exec.Cmd{
		Path: executable(), Args: []string{os.Args[0], Command, string(arg)}, Env: []string{}, Dir: string(os.PathSeparator),
		Stdin: theirIn, Stdout: theirOut, Stderr: w.said, SysProcAttr: attributes(level), WaitDelay: time.Second,
	}
	err = w.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, startError(err, level)
	}
	if err := w.exchange(ctx, nil, &w.ready, Limits{Time: startTime}); err != nil {
		w.kill()
		w.end()
		err = fmt.Errorf("it does not get ready: %w: %s", err, w.said.text())
		if ctx.Err() == nil {
			err = startError(err, level)
		}
		return nil, err
	}
	w.before = memoryOf(w.pid())
	return w, nil
}

func (w *process) pid() int { return w.cmd.Process.Pid }

// learn notes that the worker knows a definition. It gives true when it must forget the others for it.
func (w *process) learn(key string, size int) (reset bool) {
	if len(w.known) >= maxKnown || w.size+size > maxKnownSize {
		w.known, w.size, reset = map[string]bool{}, 0, true
	}
	w.known[key] = true
	w.size += size
	return reset
}

// call asks the worker. After an error it must not be used any more.
func (w *process) call(ctx context.Context, c *call, limits Limits) (*answer, error) {
	a := &answer{}
	if err := w.exchange(ctx, c, a, limits); err != nil {
		return nil, err
	}
	return a, nil
}

// exchange sends a message and reads the answer. When the limits are reached the worker is killed.
func (w *process) exchange(ctx context.Context, send, receive any, limits Limits) error {
	done := make(chan error, 1)
	go func() {
		if send != nil {
			if err := writeFrame(w.in, send); err != nil {
				done <- err
				return
			}
		}
		done <- readFrame(w.out, receive)
	}()
	over := time.NewTimer(limits.Time)
	look := time.NewTicker(lookEvery)
	defer over.Stop()
	defer look.Stop()
	why := ""
	for why == "" {
		select {
		case err := <-done:
			if err != nil {
				return w.died(err)
			}
			return nil
		case <-ctx.Done():
			why = "context"
		case <-over.C:
			why = whyTime
		case <-look.C:
			if limits.Memory > 0 && memoryOf(w.pid())-w.before > limits.Memory {
				why = whyMemory
			}
		}
	}
	w.kill()
	<-done //nolint:errcheck // the call ends with the process; why it ended is known
	if err := ctx.Err(); err != nil && why == "context" {
		return err
	}
	return &overrun{why: why, said: w.said.text()}
}

// lookEvery is how often the memory of a working worker is looked at.
const lookEvery = 10 * time.Millisecond

// died says why a worker ended itself.
func (w *process) died(err error) error {
	w.kill()
	w.end()
	said := w.said.text()
	why := whyCrash
	switch {
	case strings.Contains(said, "stack overflow") || strings.Contains(said, "stack exceeds"):
		why = whyDepth
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory"):
		why = whyMemory
	}
	return fmt.Errorf("%w: %w", &overrun{why: why, said: said}, err)
}

// kill ends the process, whatever it does.
func (w *process) kill() { _ = w.cmd.Process.Kill() }

// end waits for the process to be gone, which has been killed or has nothing more to read.
func (w *process) end() {
	w.ended.Do(func() {
		w.in.Close()
		_ = w.cmd.Wait() // however it ended
		w.out.Close()
	})
}

// Why a worker was ended.
const (
	whyTime   = "time"
	whyMemory = "memory"
	whyDepth  = "depth"
	whyCrash  = "crash"
)

// overrun is the error of a worker that was ended, or ended itself.
type overrun struct{ why, said string }

// Error gives the reason in a word; text is for people.
func (o *overrun) Error() string { return "the worker was ended: " + o.why }

func (o *overrun) text(limits Limits) string {
	switch o.why {
	case whyTime:
		return fmt.Sprintf("took longer than %s and was ended; look for loops and includes without an end, or for work that grows with its own output", limits.Time)
	case whyMemory:
		return fmt.Sprintf("took more than %d MB of memory and was ended; let it make less, or split it", limits.Memory>>20)
	case whyDepth:
		return "calls itself without an end; look for templates that include each other"
	default:
		return "ended the process that rendered it; the server's log has what it said"
	}
}

// tail keeps the beginning of what a worker writes to standard error: Go says there first why it ends.
type tail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

const maxTail = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if left := maxTail - t.kept.Len(); left > 0 {
		t.kept.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept.String()
}

var _ io.Writer = &tail{}
