package cli_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// What people and scripts see is an interface. Each line of commands has a file with its output.
func TestOutput(t *testing.T) {
	f := startFake(t)
	for name, line := range map[string]string{
		"app-list":          "app list",
		"app-list-wide":     "app list -o wide",
		"app-list-json":     "app list -o json",
		"app-list-yaml":     "app list -o yaml",
		"app-list-name":     "app list -o name",
		"app-get":           "app get shop",
		"app-describe":      "app describe shop",
		"env-list":          "env list",
		"env-list-wide":     "env list -o wide",
		"env-describe":      "env describe shop/dev",
		"status":            "status",
		"status-wide":       "status -o wide",
		"status-dev":        "status -e shop/dev",
		"status-dev-json":   "status -e shop/dev -o json",
		"status-new":        "status -e shop/new",
		"status-new-yaml":   "status -e shop/new -o yaml",
		"history":           "history -e shop/dev",
		"history-wide":      "history -e shop/dev -o wide",
		"history-failed":    "history -e shop/dev 3",
		"history-rollback":  "history -e shop/dev active",
		"history-json":      "history -e shop/dev 2 -o json",
		"drift-list":        "drift list -e shop/dev",
		"drift-list-all":    "drift list -A -o wide",
		"drift-show":        "drift show 5f1c2a9be07d4413 -e shop/dev",
		"drift-revert-plan": "drift revert -e shop/dev --plan",
		"drift-revert":      "drift revert -e shop/dev --yes",
		"diff":              "diff -e shop/dev",
		"diff-sets":         "diff -e shop/dev 1 2",
		"events":            "events -e shop/dev",
		"events-json":       "events -o json",
		"diff-full":         "diff -e shop/dev --full",
		"diff-sets-full":    "diff -e shop/dev 1 2 --full",
		"diff-envs":         "diff shop/dev shop/new",
		"draft-list":        "draft list shop",
		"draft-list-wide":   "draft list -o wide",
		"draft-get":         "draft get shop/next",
		"plan":              "plan -e shop/dev --rollback-to 1",
		"plan-files":        "plan -e shop/dev --rollback-to 1 --files",
		"plan-json":         "plan -e shop/dev --rollback-to 1 -o json",
		"token-list":        "token list",
		"token-list-wide":   "token list -o wide",
		"whoami-json":       "whoami -o json",
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, f, strings.Fields(line)).want(t, 0)
			golden(t, filepath.Join("testdata", "golden", name+".txt"), "$ tow "+line+"\n"+r.stdout)
		})
	}
}

func TestColourIsForTerminalsOnly(t *testing.T) {
	f := startFake(t)
	args := []string{"plan", "-e", "shop/dev", "--rollback-to", "1", "--files"}
	if r := run(t, f, args, terminal("")).want(t, 0); !strings.Contains(r.stdout, "\x1b[32m+  value: debug\x1b[0m\n") ||
		!strings.Contains(r.stdout, "\x1b[31m-  value: info\x1b[0m\n") {
		t.Errorf("at a terminal a diff is coloured:\n%q", r.stdout)
	}
	for name, opts := range map[string][]option{
		"without a terminal":   nil,
		"with NO_COLOR":        {terminal(""), setenv("NO_COLOR", "1")},
		"with a dumb terminal": {terminal(""), setenv("TERM", "dumb")},
	} {
		if r := run(t, f, args, opts...).want(t, 0); strings.Contains(r.stdout, "\x1b") {
			t.Errorf("%s there are escapes:\n%q", name, r.stdout)
		}
	}
}

// Escape sequences have no width: a coloured table stands as an uncoloured one.
func TestColourKeepsColumns(t *testing.T) {
	f := startFake(t)
	args := []string{"history", "-e", "shop/dev"}
	plain := run(t, f, args).want(t, 0).stdout
	coloured := run(t, f, args, terminal("")).want(t, 0).stdout
	if plain == coloured {
		t.Fatal("nothing is coloured")
	}
	for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"} {
		coloured = strings.ReplaceAll(coloured, code, "")
	}
	if plain != coloured {
		t.Errorf("without its colours it is\n%s\nand not\n%s", coloured, plain)
	}
}
