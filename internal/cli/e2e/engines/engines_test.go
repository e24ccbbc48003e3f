//go:build engines

// The tag is there because these tests need the controllers, which make e2e-argocd and make e2e-flux build.

package engines

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/towpath-dev/towpath/internal/app/apptest" //nolint:depguard // a test of the whole system
	"github.com/towpath-dev/towpath/internal/cli"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

type main struct{ m *testing.M }

// Run runs the tests with a cluster that ends with them.
func (x main) Run() int { return apptest.Main(x.m) }

func TestMain(m *testing.M) {
	testscript.Main(main{m}, map[string]func(){"tow": func() { os.Exit(cli.Main("v1.2.3")) }})
}

const patience = 2 * time.Minute

// runScripts runs what a person types, with the engine at work.
func runScripts(t *testing.T, dir string, system *apptest.System, cluster *devclustertest.Cluster) {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", dir), RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[scriptTest{}] = e.T()
			e.Setenv("SERVER", system.Endpoints.GRPC)
			e.Setenv("GITURL", "http://"+system.Endpoints.HTTP+"/git")
			e.Setenv("SHOP", filepath.Join(wd, "..", "..", "..", "..", "examples", "shop"))
			e.Setenv("HOME", e.WorkDir)
			return os.WriteFile(filepath.Join(e.WorkDir, "token"), []byte("tow_admin\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"until": until,
			"kubectl": func(ts *testscript.TestScript, _ bool, args []string) {
				out := cluster.Kubectl(ts.Value(scriptTest{}).(testing.TB), args...)
				ts.Check(os.WriteFile(ts.MkAbs("kubectl.out"), []byte(out), 0o600))
			},
		},
	})
}

type scriptTest struct{}

// until TEXT PROGRAM ARGS... runs a program again and again until its output has the text.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT PROGRAM ARGS...")
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%q did not come; the last answer is %s (%v)", args[0], ts.ReadFile("stdout"), err)
		}
	}
}

// program runs one of an engine's processes until the test ends. What it writes is shown when the test has failed.
func program(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), text[max(0, len(text)-12000):])
			}
		}
		_ = log.Close()
	})
}

// freePort gives an address on loopback that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// awaitListening waits until something answers at the address.
func awaitListening(t *testing.T, addr string) {
	t.Helper()
	apptest.Await(t, addr+" answers", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// applyText applies manifests.
func applyText(t *testing.T, cluster *devclustertest.Cluster, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "apply", "--server-side", "-f", file)
}

// given is what the Makefile tells by the environment.
func given(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set; run make e2e-argocd or make e2e-flux", name)
	}
	return v
}
