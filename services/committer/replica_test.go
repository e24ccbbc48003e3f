package committer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/services/committer"
)

// replicaEnv carries the configuration of a committer in a process of its own.
const replicaEnv = "TOWPATH_TEST_REPLICA"

// replicaConfig is what such a process needs.
type replicaConfig struct {
	URL, Seed, Dir, Name string
	TTL                  time.Duration
}

// replicaMain is the process: the real committer, until it is killed or interrupted.
func replicaMain(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var rc replicaConfig
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	fail := func(err error) int { log.Error("the replica ends", "error", err); return 1 }
	if err := json.Unmarshal([]byte(config), &rc); err != nil {
		return fail(err)
	}
	bus, err := events.Connect(ctx, events.Config{URL: rc.URL, Role: events.RoleCommitter, NkeySeedFile: rc.Seed, Name: rc.Name, Logger: log})
	if err != nil {
		return fail(err)
	}
	defer bus.Close()
	svc, err := committer.New(committer.Config{
		Bus: bus, Renderer: files{}, Dir: rc.Dir, TipInterval: time.Hour, PushDeadline: 10 * time.Second, Log: log,
		Delays: quick, LeaseTTL: rc.TTL, Replica: rc.Name,
	})
	if err != nil {
		return fail(err)
	}
	if err := svc.Run(ctx); err != nil {
		return fail(err)
	}
	return 0
}

// quick are the delays of tests.
var quick = events.Delays{Failure: []time.Duration{20 * time.Millisecond}, ParkMin: 20 * time.Millisecond, ParkMax: 100 * time.Millisecond}

// process is a committer in a process of its own.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
}

// spawn starts one. Its folder stays the same when it is started again under the same name.
func (w *world) spawn(name, dir string) *process {
	w.t.Helper()
	config, err := json.Marshal(replicaConfig{
		URL: w.server.ClientURL(), Seed: w.server.SeedFile(events.RoleCommitter), Dir: dir, Name: name, TTL: w.cfg.LeaseTTL,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), replicaEnv+"="+string(config))
	p.cmd.Stderr = testLog{w.t}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // it says that it was killed
	})
}

// second starts another committer in this process; it stops with the test, or by its end.
func (w *world) second(name string, mods ...func(*committer.Config)) (svc *committer.Service, end func()) {
	w.t.Helper()
	cfg := w.cfg
	cfg.Replica, cfg.Dir = name, w.t.TempDir()
	cfg.Bus = eventstest.Connect(w.t, w.server, events.RoleCommitter)
	for _, m := range mods {
		m(&cfg)
	}
	svc, err := committer.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("Run of %s: %v", name, err)
			}
		case <-time.After(patience):
			w.t.Errorf("Run of %s does not end", name)
		}
	})
	w.t.Cleanup(end)
	return svc, end
}

// line is a TCP connection to the event server that can be cut.
type line struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
	alive sync.WaitGroup
}

// newLine listens on loopback and passes everything on to the target.
func newLine(t testing.TB, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, target: target}
	l.alive.Go(l.serve)
	t.Cleanup(func() {
		listener.Close()
		l.set(true)
		l.alive.Wait()
	})
	return l
}

func (l *line) url() string { return fmt.Sprintf("nats://%s", l.listener.Addr()) }

func (l *line) serve() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.target)
		if err != nil || !l.keep(in, out) {
			in.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			l.alive.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // ends with either connection
				pair[0].Close()
				pair[1].Close()
			})
		}
	}
}

// keep notes the connections unless the line is cut.
func (l *line) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	l.conns = append(l.conns, conns...)
	return true
}

// set cuts the line, or lets new connections through again.
func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}
