package devclustertest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// startTimeout is long because a start shares the machine with compilers; an idle machine needs 3 s.
	startTimeout = 3 * time.Minute
	// stopTimeout is after which an orderly stop becomes a kill.
	stopTimeout = 30 * time.Second
)

// Cluster is one devcluster process and its state folder. Its methods are for one goroutine at a time, except those that only
// read: Kubeconfig, Config, AuditLog, Kubectl and Namespace.
type Cluster struct {
	program string
	args    []string
	dir     string   // state folder, known once it was ready
	proc    *process // nil while stopped
}

// process is a running devcluster. Nothing here runs a goroutine of its own: tests that look for leaked ones shall not find ours.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer // devcluster stops when it closes, so it cannot outlive the test binary
	output *os.File  // standard output and error
}

// Start runs a cluster for one test, which may stop, kill and start it again. It ends with the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c, err := newCluster(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	c.Start(t)
	return c
}

// newCluster prepares a cluster; launch runs it. With an empty o.Dir the process makes a temporary folder and removes it when it
// stops, even when the test binary crashed.
func newCluster(o Options) (*Cluster, error) {
	program, err := binary()
	if err != nil {
		return nil, err
	}
	return &Cluster{program: program, args: []string{
		"up", "--exit-on-stdin-eof", "--dir=" + o.Dir, "--nodes=" + strconv.Itoa(max(o.Nodes, 1)), "--stages=" + o.Stages,
	}}, nil
}

// Start runs a stopped or killed cluster again, on the same state and, when nobody took it meanwhile, the same port. It returns
// when objects can be created. On a running cluster it does nothing.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	if err := c.launch(); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the cluster in an orderly way and waits for it. Clients see their watches close. On a stopped cluster it does nothing.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	if err := c.halt(false); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the cluster at once, as a power cut would. Nothing that was answered is lost.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	if err := c.halt(true); err != nil {
		t.Fatal(err)
	}
}

// Restart stops the cluster and starts it again.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.Stop(t)
	c.Start(t)
}

// Dir is the state folder.
func (c *Cluster) Dir() string { return c.dir }

// Kubeconfig is the path of the administrator's kubeconfig. It stays valid over restarts.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// AuditLog is the path of the audit log, as the package's AuditLog says.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dir, "audit.log") }

// Config is a client configuration for the administrator, the caller's to change.
func (c *Cluster) Config(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatalf("kubeconfig of the cluster: %v", err)
	}
	return cfg
}

// Kubectl runs kubectl as the administrator and returns its standard output. A failure fails the test with what kubectl said.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *Cluster) kubectl(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.program, append([]string{"kubectl"}, args...)...)
	// A cache of its own: kubectl keeps what a server can do under its address, and the next cluster may get the same port.
	// No kuberc: the person's preferences must not change a test.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(c.dir, "kubectl-cache"), "KUBERC=off")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// launch runs the process and waits until it says that it is ready.
func (c *Cluster) launch() error {
	if c.proc != nil {
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close() // the process has its own copy; without this reading would never end
	cmd := exec.Command(c.program, c.args...)
	cmd.Stdout, cmd.Stderr = write, write
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return errors.Join(err, read.Close())
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start devcluster: %w", err), read.Close())
	}
	c.proc = &process{cmd: cmd, stdin: stdin, output: read}
	kubeconfig, err := c.proc.waitReady()
	if err != nil {
		return errors.Join(err, c.halt(true))
	}
	c.dir = filepath.Dir(kubeconfig)
	return nil
}

// waitReady reads the output up to the line that announces the kubeconfig, and returns its path.
func (p *process) waitReady() (kubeconfig string, err error) {
	if err := p.output.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return "", err
	}
	var said strings.Builder
	for s := bufio.NewScanner(p.output); s.Scan(); {
		if path, ok := strings.CutPrefix(s.Text(), "KUBECONFIG="); ok {
			return path, nil
		}
		said.WriteString(s.Text() + "\n")
	}
	return "", fmt.Errorf("devcluster did not become ready within %s; it said:\n%s", startTimeout, said.String())
}

// halt ends the process, by force or by closing its input, and waits for it.
func (c *Cluster) halt(force bool) error {
	p := c.proc
	if p == nil {
		return nil
	}
	c.proc = nil
	if force {
		_ = p.cmd.Process.Kill() // the only error is that it is gone already
	}
	_ = p.stdin.Close()
	// The output ends when the process does. Reading it, with a deadline, is the wait; what it said is the explanation.
	_ = p.output.SetReadDeadline(time.Now().Add(stopTimeout))
	said, err := io.ReadAll(p.output)
	_ = p.output.Close()
	if err != nil {
		_ = p.cmd.Process.Kill()
	}
	exit := p.cmd.Wait()
	if force {
		return nil
	}
	if err != nil {
		return fmt.Errorf("devcluster did not stop within %s and was killed; it said:\n%s", stopTimeout, said)
	}
	if exit != nil {
		return fmt.Errorf("devcluster: %w; it said:\n%s", exit, said)
	}
	return nil
}

// end stops the cluster for good. Errors are of no interest any more: the tests have had their say.
func (c *Cluster) end() { _ = c.halt(false) }
