package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/cli"
)

// lines makes the terminal so high.
func lines(n int) option { return func(e *cli.Env) { e.Height = func() int { return n } } }

// What is longer than the screen goes through the pager that the person chose; what is not, and what a program reads, does not.
func TestLongOutputIsPaged(t *testing.T) {
	f := startFake(t)
	args := []string{"plan", "-e", "shop/dev", "--rollback-to", "1", "--files"}
	plain := run(t, f, args).want(t, 0).stdout
	if strings.Count(plain, "\n") < 10 {
		t.Fatal("the plan is too short for this test")
	}
	for name, tc := range map[string]struct {
		args  []string
		opts  []option
		paged bool
	}{
		"TOW_PAGER before PAGER":      {args, []option{terminal(""), lines(8), setenv("TOW_PAGER", "sed 's/^/| /'"), setenv("PAGER", "false")}, true},
		"PAGER":                       {args, []option{terminal(""), lines(8), setenv("PAGER", "sed 's/^/| /'")}, true},
		"a deployment's own --plan":   {strings.Fields("set A=1 -e shop/dev --plan --files"), []option{terminal(""), lines(8), setenv("PAGER", "sed 's/^/| /'")}, true},
		"a page is enough":            {args, []option{terminal(""), lines(500), setenv("PAGER", "sed 's/^/| /'")}, false},
		"no terminal":                 {args, []option{lines(8), setenv("PAGER", "sed 's/^/| /'")}, false},
		"--no-pager":                  {append([]string{"--no-pager"}, args...), []option{terminal(""), lines(8), setenv("PAGER", "sed 's/^/| /'")}, false},
		"cat is none":                 {args, []option{terminal(""), lines(8), setenv("TOW_PAGER", "cat"), setenv("PAGER", "sed 's/^/| /'")}, false},
		"a pager that cannot be run":  {args, []option{terminal(""), lines(8), setenv("PAGER", "/none/pager")}, false},
		"a command that is not paged": {strings.Fields("app list"), []option{terminal(""), lines(2), setenv("PAGER", "sed 's/^/| /'")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, f, tc.args, tc.opts...).want(t, 0)
			if paged := strings.HasPrefix(r.stdout, "| "); paged != tc.paged || r.stdout == "" {
				t.Errorf("paged: %v, want %v\n%s", paged, tc.paged, r.stdout)
			}
		})
	}
}

// An error keeps its exit code behind a pager.
func TestPagedErrorsKeepTheirExitCode(t *testing.T) {
	f := startFake(t)
	run(t, f, strings.Fields("history -e shop/dev 99"), terminal(""), lines(5)).want(t, 5)
}

// --color decides before the terminal and the environment.
func TestColourFlag(t *testing.T) {
	f := startFake(t)
	history := strings.Fields("history -e shop/dev")
	for name, tc := range map[string]struct {
		args     []string
		opts     []option
		coloured bool
	}{
		"always without a terminal": {append(history, "--color", "always"), nil, true},
		"always with NO_COLOR":      {append(history, "--color=always"), []option{setenv("NO_COLOR", "1")}, true},
		"never at a terminal":       {append(history, "--color", "never"), []option{terminal("")}, false},
		"auto at a terminal":        {append(history, "--color", "auto"), []option{terminal("")}, true},
		"auto without a terminal":   {append(history, "--color", "auto"), nil, false},
	} {
		if r := run(t, f, tc.args, tc.opts...).want(t, 0); strings.Contains(r.stdout, "\x1b[") != tc.coloured {
			t.Errorf("%s: %q", name, r.stdout)
		}
	}
	run(t, f, append(history, "--color", "sometimes")).want(t, 2)
	// JSON is for programs: never coloured.
	if r := run(t, f, append(history, "--color", "always", "-o", "json")).want(t, 0); strings.Contains(r.stdout, "\x1b") {
		t.Error("JSON is coloured")
	}
}

// The config file holds tokens: nobody else may read it, also where it was open before.
func TestConfigFileIsPrivate(t *testing.T) {
	f := startFake(t)
	config := filepath.Join(t.TempDir(), "tow", "config.yaml")
	opts := []option{setenv("TOW_CONFIG", config), setenv("TOW_TOKEN", "")}
	run(t, f, []string{"login", "--server", f.addr, "--token", secret}, opts...).want(t, 0)
	for range 2 {
		info, err := os.Stat(config)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		if err := os.Chmod(config, 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, f, []string{"login", "--server", f.addr, "--token", secret, "--context", "other"}, opts...).want(t, 0)
	}
}
