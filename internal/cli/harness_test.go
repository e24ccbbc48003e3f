package cli_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/cli"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
)

// TestMain makes the test binary be tow when a script runs it under that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tow": func() { os.Exit(cli.Main("v1.2.3")) }, "towpathd": towpathdRender})
}

// towpathdRender is the server program's `render`, with guardrails.
func towpathdRender() {
	cmd := cli.RenderCommand("towpathd", "v1.2.3", cli.Engines{Guardrails: guardrail.Evaluate}, os.Exit)
	cmd.SetArgs(os.Args[2:])
	if cmd.Execute() != nil {
		os.Exit(1)
	}
}

// result is what a run left behind.
type result struct {
	stdout, stderr string
	code           int
}

// option changes how a run is started.
type option func(*cli.Env)

// terminal makes somebody sit at it who types the answers.
func terminal(answers string) option {
	return func(e *cli.Env) {
		e.Stdin, e.InTerminal, e.OutTerminal = strings.NewReader(answers), true, true
		e.Width = func() int { return 80 }
	}
}

// output can be read while a run writes it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func stdoutTo(o *output) option { return func(e *cli.Env) { e.Stdout = o } }

func setenv(key, value string) option {
	return func(e *cli.Env) {
		before := e.Getenv
		e.Getenv = func(k string) string {
			if k == key {
				return value
			}
			return before(k)
		}
	}
}

// run runs one command line in this process, against the server.
func run(t *testing.T, f *fake, args []string, opts ...option) result {
	t.Helper()
	return runContext(t.Context(), t, f, args, opts...)
}

func runContext(ctx context.Context, t *testing.T, f *fake, args []string, opts ...option) result {
	t.Helper()
	vars := map[string]string{"TOW_CONFIG": filepath.Join(t.TempDir(), "config.yaml"), "TOW_TOKEN": secret, "TOW_RETRY": "2s"}
	if f != nil {
		vars["TOW_SERVER"] = f.addr
	}
	var stdout, stderr bytes.Buffer
	env := cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Version: "v1.2.3",
		Getenv: func(k string) string { return vars[k] }, Now: func() time.Time { return now },
		Width: func() int { return 0 }, ReadSecret: func() (string, error) { return secret, nil },
	}
	for _, o := range opts {
		o(&env)
	}
	code := cli.Run(ctx, env)
	return result{stdout.String(), stderr.String(), code}
}

// want fails unless the run ended with the code.
func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// golden compares with a file, or writes it where UPDATE is set.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; UPDATE=1 writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); UPDATE=1 rewrites it:\n%s", file, diff)
	}
}

// TestScripts runs tow as a process.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			f := startFake(e.T().(testing.TB))
			e.Values[scriptServer{}] = f
			e.Setenv("ANYTHING", startAnything(e.T().(testing.TB)).addr) // a server that has every method and thing
			e.Setenv("SERVER", f.addr)
			e.Setenv("OTHER", strings.Replace(f.addr, "127.0.0.1", "localhost", 1)) // the same server by another name
			e.Setenv("SECRET", secret)
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("TOW_RETRY", "0s")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else every process of a -race build sleeps a second at its end
			e.Setenv("REPO", repoRoot())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode, "fails": fails},
	})
}

// scriptServer is the key of a script's own server.
type scriptServer struct{}

// fails METHOD KIND REASON MESSAGE makes the server answer the next call of a method with an error.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	kinds := map[string]errs.Kind{
		"conflict": errs.Conflict, "precondition": errs.Precondition, "exists": errs.AlreadyExists, "denied": errs.Denied, "unavailable": errs.Unavailable,
		"invalid": errs.Invalid, "exhausted": errs.Exhausted, "internal": errs.Internal, "timeout": errs.Timeout,
	}
	if neg || len(args) != 4 || kinds[args[1]] == 0 && args[1] != "internal" {
		ts.Fatalf("usage: fails METHOD KIND REASON MESSAGE")
	}
	reason := errs.Reason(errorsv1.Reason_value["REASON_"+args[2]])
	f := ts.Value(scriptServer{}).(*fake)
	f.fail(args[0], errs.New(kinds[args[1]], reason, "%s", args[3]).With("moved", "the base tree").With("used_by", "applications/shop").With("retry_after", "3"))
}

func repoRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(dir))
}

// exits CODE PROGRAM ARGS... runs a program that must end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode MODE FILE demands the permissions of a file.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode MODE FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strconv.FormatInt(int64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
