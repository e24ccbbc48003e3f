package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The server's version is told with tow's own, and that they do not go together. No server is no error.
func TestVersion(t *testing.T) {
	for name, tc := range map[string]struct{ server, out, says string }{
		"the same":              {"v1.2.3", "tow v1.2.3\nserver v1.2.3 at ADDR\n", ""},
		"one minor apart":       {"v1.3.0", "tow v1.2.3\nserver v1.3.0 at ADDR\n", ""},
		"tow is too old":        {"v1.4.0-7-gabc", "tow v1.2.3\nserver v1.4.0-7-gabc at ADDR\n", "warning: tow v1.2.3 is older than the server"},
		"tow is too new":        {"v0.9.0", "tow v1.2.3\nserver v0.9.0 at ADDR\n", "warning: tow v1.2.3 is newer than the server"},
		"no release":            {"unknown", "tow v1.2.3\nserver unknown at ADDR\n", ""},
		"a server without word": {"", "tow v1.2.3\n", "the server does not tell its version"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			f.version = tc.server
			r := run(t, f, []string{"version"}).want(t, 0)
			if want := strings.ReplaceAll(tc.out, "ADDR", f.addr); r.stdout != want || !strings.HasPrefix(r.stderr, tc.says) || tc.says == "" && r.stderr != "" {
				t.Errorf("stdout %q, want %q\nstderr %q, want %q", r.stdout, want, r.stderr, tc.says)
			}
		})
	}
	if r := run(t, nil, []string{"version"}, setenv("TOW_SERVER", "127.0.0.1:1")).want(t, 0); r.stdout != "tow v1.2.3\n" || !strings.Contains(r.stderr, "not known") {
		t.Errorf("%+v", r)
	}
	if r := run(t, nil, []string{"version", "--client"}, setenv("TOW_SERVER", "127.0.0.1:1")).want(t, 0); r.stdout != "tow v1.2.3\n" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

// tow open gives the address to the person's browser; where there is none, or no terminal, it prints it.
func TestOpen(t *testing.T) {
	f := startFake(t)
	f.portal = "https://towpath.test/"
	const page = "https://towpath.test/#/shop/dev"
	seen := filepath.Join(t.TempDir(), "seen")
	browser := filepath.Join(t.TempDir(), "browser")
	if err := os.WriteFile(browser, []byte("#!/bin/sh\nprintf %s \"$1\" > "+seen+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields("open -e shop/dev")
	if r := run(t, f, args, terminal(""), setenv("BROWSER", browser)).want(t, 0); r.stdout != "" || r.stderr != "opened "+page+"\n" {
		t.Errorf("%+v", r)
	}
	if got, err := os.ReadFile(seen); err != nil || string(got) != page {
		t.Errorf("the browser got %q, %v", got, err)
	}
	for name, r := range map[string]result{
		"no terminal":      run(t, f, args, setenv("BROWSER", browser)),
		"no browser":       run(t, f, args, terminal(""), setenv("BROWSER", "/none/browser")),
		"asked to print":   run(t, f, append(args, "--print-url"), terminal(""), setenv("BROWSER", browser)),
		"another address":  run(t, nil, append(args, "--http", "https://towpath.test")),
		"by its long name": run(t, f, []string{"open", "-e", dev}),
	} {
		if r.want(t, 0).stdout != page+"\n" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	f.portal = ""
	if r := run(t, f, args).want(t, 2); !strings.Contains(r.stderr, "where is the portal?") {
		t.Error(r.stderr)
	}
	run(t, f, []string{"open", "-e", "shop"}).want(t, 2)
}
