// Package e2e runs tow as a process against all of Towpath and a real cluster. The scripts are what people type; they stand apart
// from the CLI's own tests because these need neither the server nor the cluster and stay fast without them.
package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/towpath-dev/towpath/internal/app"         //nolint:depguard // towpathd render, for what tow does not link
	"github.com/towpath-dev/towpath/internal/app/apptest" //nolint:depguard // a test of the whole system; what tow links is watched by TestDependencies
	"github.com/towpath-dev/towpath/internal/cli"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

type main struct{ m *testing.M }

// Run runs the tests with a cluster that ends with them.
func (x main) Run() int { return apptest.Main(x.m) }

// TestMain makes the test binary be tow when a script runs it under that name.
func TestMain(m *testing.M) {
	testscript.Main(main{m}, map[string]func(){
		"tow":      func() { os.Exit(cli.Main("v1.2.3")) },
		"towpathd": func() { os.Exit(app.Main("v1.2.3", os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestJourney is what a person does: deploy, change, find what somebody changed by hand, put it back, go back.
func TestJourney(t *testing.T) {
	cluster := devclustertest.Shared(t)
	system := apptest.Start(t, apptest.WithCluster(cluster))
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[scriptTest{}] = e.T()
			e.Setenv("SERVER", system.Endpoints.GRPC)
			e.Setenv("HTTP", "http://"+system.Endpoints.HTTP)
			e.Setenv("GIT", "http://tow:tow_admin@"+strings.TrimPrefix(system.Endpoints.HTTP, "http://")+"/git")
			e.Setenv("SHOP", filepath.Join(wd, "..", "..", "..", "examples", "shop"))
			e.Setenv("GIT", "http://tow:tow_admin@"+system.Endpoints.HTTP+"/git")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else every process of a -race build sleeps a second at its end
			return os.WriteFile(filepath.Join(e.WorkDir, "token"), []byte("tow_admin\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until,
			"kubectl": func(ts *testscript.TestScript, _ bool, args []string) {
				cluster.Kubectl(ts.Value(scriptTest{}).(testing.TB), args...) // a failure ends the script, whose goroutine this is
			},
		},
	})
}

// scriptTest is the key of a script's own test.
type scriptTest struct{}

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

// until TEXT PROGRAM ARGS... runs a program again and again until its output has the text.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT PROGRAM ARGS...")
	}
	for end := time.Now().Add(apptest.Patience); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%q did not come", args[0])
		}
	}
}
