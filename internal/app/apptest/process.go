package apptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/failpoint"
)

// Process is towpathd as a process of its own. Its methods are for one goroutine at a time.
type Process struct {
	*Client
	// DataDir holds everything it keeps.
	DataDir string

	cfg   app.Config
	ready string
	log   string
	cmd   *exec.Cmd     // nil while it does not run
	stdin io.Closer     // the process ends when it closes
	ended chan struct{} // closed when it has ended
	exit  error         // how, once ended is closed
}

// NewProcess prepares towpathd with the same ports at every start. It ends with the test.
func NewProcess(t testing.TB, opts ...Option) *Process {
	t.Helper()
	cfg := app.Config{
		DataDir: t.TempDir(), GRPCListen: freeAddress(t), HTTPListen: freeAddress(t), NATSListen: freeAddress(t),
		RepublishAfter: time.Second, AckWait: time.Second,
	}
	for _, o := range opts {
		o(&cfg)
	}
	own := t.TempDir()
	p := &Process{DataDir: cfg.DataDir, cfg: cfg, ready: filepath.Join(own, "ready"), log: filepath.Join(own, "log")}
	t.Cleanup(func() {
		if p.Client != nil {
			p.close()
		}
		p.Kill(t)
		if t.Failed() {
			t.Logf("the end of the process's log:\n%s", p.logTail())
		}
	})
	return p
}

// StartProcess is NewProcess and Start.
func StartProcess(t testing.TB, opts ...Option) *Process {
	t.Helper()
	p := NewProcess(t, opts...)
	p.Start(t)
	return p
}

// NATSAddress is where the embedded event server listens once the process runs.
func (p *Process) NATSAddress() string { return p.cfg.NATSListen }

// Start runs the process and waits until it is ready. Failpoints ("rendered@2") kill it at boundaries of deployments.
func (p *Process) Start(t testing.TB, failpoints ...string) {
	t.Helper()
	if !p.StartOrDie(t, failpoints...) {
		t.Fatalf("towpathd ended before it was ready; the end of its log:\n%s", p.logTail())
	}
}

// StartOrDie is Start for a process that may be killed by a failpoint before it is ready, because what it has to go on with is
// at that boundary. False tells that it was.
func (p *Process) StartOrDie(t testing.TB, failpoints ...string) bool {
	t.Helper()
	p.launch(t, failpoints)
	return p.awaitReady(t)
}

// StartAndKill is Start for a process that is killed after a time, which may be before it is ready; then it gives false.
func (p *Process) StartAndKill(t testing.TB, after time.Duration) bool {
	t.Helper()
	p.launch(t, nil)
	process := p.cmd.Process
	time.AfterFunc(after, func() { _ = process.Kill() }) // the only error is that it has ended
	return p.awaitReady(t)
}

func (p *Process) launch(t testing.TB, failpoints []string) {
	t.Helper()
	if p.cmd != nil {
		t.Fatal("the process runs already")
	}
	_ = os.Remove(p.ready) // it stays behind after a kill
	cmd := exec.Command(os.Args[0], p.args()...)
	cmd.Env = append(os.Environ(), childEnv+"=1", failpoint.Env+"="+strings.Join(failpoints, ","))
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.ended = cmd, make(chan struct{})
	go func() {
		p.exit = cmd.Wait()
		close(p.ended)
	}()
}

// awaitReady gives false when the process ended before.
func (p *Process) awaitReady(t testing.TB) bool {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(p.ready); err == nil {
			break
		}
		if !p.Alive() {
			p.Kill(t)
			return false
		}
		if time.Now().After(end) {
			t.Fatalf("towpathd is not ready; the end of its log:\n%s", p.logTail())
		}
	}
	if p.Client == nil {
		p.Client = dial(t, p.cfg.GRPCListen, p.cfg.HTTPListen, p.cfg.NATSListen, p.DataDir, p.token(t))
	}
	return true
}

// token is what the process was given, else what it made up; a process without a catalog has none of its own.
func (p *Process) token(t testing.TB) string {
	t.Helper()
	if p.cfg.AdminToken != "" {
		return p.cfg.AdminToken
	}
	b, err := os.ReadFile(filepath.Join(p.DataDir, "admin-token"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// args gives the configuration as flags.
func (p *Process) args() []string {
	c := p.cfg
	values := map[string]string{
		"data-dir": c.DataDir, "grpc-listen": c.GRPCListen, "http-listen": c.HTTPListen, "nats-listen": c.NATSListen,
		"nats-url": c.NATSURL, "nats-seeds": c.NATSSeeds, "kubeconfig": c.Kubeconfig, "credentials-dir": c.CredentialsDir,
		"store": c.Store, "republish-after": c.RepublishAfter.String(), "ack-wait": c.AckWait.String(), "ready-file": p.ready, "log-format": "text",
	}
	for t, addr := range c.Addresses {
		values[string(t)+"-addr"] = addr
	}
	if c.ServiceToken != "" {
		values["service-token-file"] = filepath.Join(filepath.Dir(p.ready), "service-token")
		_ = os.WriteFile(values["service-token-file"], []byte(c.ServiceToken), 0o600) // towpathd says when it cannot read it
	}
	if c.AdminToken != "" {
		values["admin-token-file"] = filepath.Join(filepath.Dir(p.ready), "admin-token")
		_ = os.WriteFile(values["admin-token-file"], []byte(c.AdminToken), 0o600)
	}
	if len(c.Targets) > 0 {
		names := make([]string, 0, len(c.Targets))
		for _, t := range c.Targets {
			names = append(names, string(t))
		}
		values["target"] = strings.Join(names, ",")
	}
	args := []string{"serve"}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != "" {
			args = append(args, "--"+name+"="+values[name])
		}
	}
	return args
}

// PID is the number of the running process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Alive reports whether the process has not ended, by itself or by a failpoint.
func (p *Process) Alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Kill ends the process at once, as a power cut would, and waits for it. On one that has ended it only collects it.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	_ = p.stdin.Close()
	<-p.ended
	p.cmd = nil
	p.checkRaces(t)
}

// AwaitDeath waits until a failpoint has killed the process.
func (p *Process) AwaitDeath(t testing.TB) {
	t.Helper()
	Await(t, "the failpoint kills the process", func() bool { return !p.Alive() })
	p.Kill(t)
}

// Stop asks the process to end, as a service manager would, and demands that it ends well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(Patience, func() { _ = p.cmd.Process.Kill() })
	<-p.ended
	timer.Stop()
	p.cmd = nil
	_ = p.stdin.Close()
	p.checkRaces(t)
	if p.exit != nil {
		t.Fatalf("towpathd did not end well: %v; the end of its log:\n%s", p.exit, p.logTail())
	}
}

// checkRaces fails the test for what the race detector or a panic wrote: a killed process has no exit code that tells it.
func (p *Process) checkRaces(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"WARNING: DATA RACE", "panic: "} {
		if i := bytes.Index(b, []byte(bad)); i >= 0 {
			t.Errorf("towpathd: %s", b[i:min(len(b), i+4000)])
		}
	}
}

func (p *Process) logTail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 8000
	return string(b[max(0, len(b)-most):])
}

// given are the addresses that were handed out: a port is free while the process that it belongs to is killed, and must not go
// to another test then.
var given sync.Map

// freeAddress finds a port below those that the system gives to outgoing connections, so that nobody takes it while the process
// that uses it is killed.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port was found")
	return ""
}
