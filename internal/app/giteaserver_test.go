package app_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/app/apptest"
)

// gitea is a real Gitea, on loopback, of one test. Its first user may do everything.
type gitea struct {
	t           testing.TB
	url, dir    string
	user, token string
}

const giteaConfig = `
RUN_MODE = prod
RUN_USER = %[4]s
WORK_PATH = %[1]s
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]s
ROOT_URL = http://127.0.0.1:%[2]s/
STATIC_ROOT_PATH = %[3]s
APP_DATA_PATH = %[1]s/data
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
SQLITE_JOURNAL_MODE = WAL
[repository]
ROOT = %[1]s/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-tests
PASSWORD_HASH_ALGO = pbkdf2$1$10
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
`

// startGitea runs bin/gitea until the test ends.
func startGitea(t testing.TB) *gitea {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("..", "..", "bin", "gitea"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatalf("bin/gitea is missing (%v): run make bin/gitea", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	g := &gitea{t: t, url: "http://127.0.0.1:" + port, dir: t.TempDir(), user: "towpath-bot"}
	config := fmt.Sprintf(giteaConfig, g.dir, port, giteaModule(t, info), me(t))
	if err := os.WriteFile(filepath.Join(g.dir, "app.ini"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	web := g.command(program, "web")
	web.Stdout, web.Stderr = log, log
	if err := web.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = web.Process.Kill()
		_ = web.Wait()
		if t.Failed() {
			t.Logf("gitea says:\n%s", log)
		}
	})
	apptest.Await(t, "an answer of Gitea", func() bool {
		resp, err := http.Get(g.url + "/api/v1/version")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	g.token = g.newUser(program, g.user, "--admin")
	return g
}

func me(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// giteaModule is the folder of the module that the program was built from, which has its templates.
func giteaModule(t testing.TB, info *buildinfo.BuildInfo) string {
	t.Helper()
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != "code.gitea.io/gitea" {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		out, err := exec.Command("go", "env", "GOMODCACHE").Output()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(strings.TrimSpace(string(out)), m.Path+"@"+m.Version)
	}
	t.Fatal("bin/gitea is not built from code.gitea.io/gitea")
	return ""
}

func (g *gitea) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, append([]string{"--config", filepath.Join(g.dir, "app.ini"), "--work-path", g.dir}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "GIT_CONFIG_NOSYSTEM=1", "USER="+me(g.t))
	return cmd
}

var giteaToken = regexp.MustCompile(`\b[0-9a-f]{40}\b`)

// newUser makes a user and gives a token of theirs.
func (g *gitea) newUser(program, name string, more ...string) string {
	g.t.Helper()
	out, err := g.command(program, append([]string{"admin", "user", "create", "--must-change-password=false", "--username", name,
		"--random-password", "--email", name + "@example.com", "--access-token", "--access-token-scopes", "all"}, more...)...).CombinedOutput()
	token := string(giteaToken.Find(out))
	if err != nil || token == "" {
		g.t.Fatalf("no user %s: %v\n%s", name, err, out)
	}
	return token
}

// call asks the API as the first user, and reads the answer into out unless that is nil.
func (g *gitea) call(method, path string, body, out any) {
	g.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		g.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "token "+g.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
}
