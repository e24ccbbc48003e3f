// Package giteatest runs a real Gitea for tests: one per test binary, on loopback, with SQLite in a folder of its own, behind
// a path as behind a proxy. Use it to prove what a service did; users and projects are new ones per test, so that tests run
// side by side. A test without bin/gitea fails; it is not skipped.
package giteatest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout is long because machines that run tests are busy; an idle one needs two seconds.
const startTimeout = 2 * time.Minute

// subPath is where Gitea is served: a client that forgets it finds nothing.
const subPath = "/forge"

// Server is a running Gitea.
type Server struct {
	// URL is its base, without a slash at the end.
	URL string
	// Admin may do everything.
	Admin User

	dir     string
	program string
	cmd     *exec.Cmd
	ended   chan struct{}
}

// one is the server of this test binary.
var one struct {
	sync.Once

	server *Server
	err    error
}

// Main runs the tests of a package whose tests use Get, and ends the server after them. It gives the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if s := one.server; s != nil {
		s.stop()
		if err := os.RemoveAll(s.dir); err != nil {
			fmt.Fprintln(os.Stderr, "giteatest:", err)
		}
	}
	return code
}

// Get gives the server of this test binary, which must run its tests by Main. The first call starts it.
func Get(t testing.TB) *Server {
	t.Helper()
	one.Do(func() { one.server, one.err = start() })
	if one.err != nil {
		t.Fatalf("gitea: %v", one.err)
	}
	return one.server
}

func start() (*Server, error) {
	program, err := binary()
	if err != nil {
		return nil, err
	}
	static, err := staticRoot(program)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "giteatest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, program: program, ended: make(chan struct{})}
	if err := s.launch(static); err != nil {
		if s.cmd != nil {
			s.stop()
		}
		err = fmt.Errorf("%w; the end of its log:\n%s", err, s.logTail())
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) launch(static string) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	s.URL = "http://" + addr + subPath
	config, err := s.config(addr, static)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "app.ini"), []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	s.cmd = s.command("web")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	dieWithParent(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	if err := s.awaitReady(); err != nil {
		return err
	}
	return s.createAdmin()
}

func (s *Server) command(args ...string) *exec.Cmd {
	args = append([]string{"--config", filepath.Join(s.dir, "app.ini"), "--work-path", s.dir}, args...)
	cmd := exec.Command(s.program, args...)
	cmd.Dir = s.dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GIT_") && !strings.HasPrefix(kv, "GITEA_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+s.dir, "GIT_CONFIG_NOSYSTEM=1", "USER="+me())
	return cmd
}

// config leaves out what tests of Git and pull requests do not need, and what would ask the internet.
func (s *Server) config(addr, static string) (string, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("{dir}", s.dir, "{root}", s.URL+"/", "{port}", port, "{static}", static, "{me}", me()).Replace(`
RUN_MODE = prod
RUN_USER = {me}
WORK_PATH = {dir}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true

[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {root}
LOCAL_ROOT_URL = {root}
USE_SUB_URL_PATH = true
STATIC_ROOT_PATH = {static}
APP_DATA_PATH = {dir}/data
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false

[database]
DB_TYPE = sqlite3
PATH = {dir}/gitea.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = {dir}/repositories
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-tests
INTERNAL_TOKEN = eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYmYiOjE1MDU0OTczMDd9.m4CpZ7GyqzSgkXWM6nOyjjJpLxhkpYqW1L5gDDiwqAo
PASSWORD_HASH_ALGO = pbkdf2$1$10

[oauth2]
ENABLED = false

[service]
DISABLE_REGISTRATION = true

[session]
PROVIDER = memory

[queue]
TYPE = channel

[webhook]
ALLOWED_HOST_LIST = loopback
DELIVER_TIMEOUT = 20

[indexer]
ISSUE_INDEXER_TYPE = db

[actions]
ENABLED = false

[packages]
ENABLED = false

[picture]
DISABLE_GRAVATAR = true

[log]
MODE = console
LEVEL = Warn
`), nil
}

func (s *Server) awaitReady() error {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			return errors.New("it ended")
		default:
		}
		resp, err := client.Get(s.URL + "/api/v1/version")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("not ready within %v", startTimeout)
}

var tokenLine = regexp.MustCompile(`\b[0-9a-f]{40}\b`)

func (s *Server) createAdmin() error {
	s.Admin = User{Name: "root-admin", Password: newPassword()}
	out, err := s.command("admin", "user", "create", "--admin", "--must-change-password=false", "--username", s.Admin.Name,
		"--password", s.Admin.Password, "--email", "admin@example.com", "--access-token", "--access-token-scopes", "all").CombinedOutput()
	s.Admin.Token = string(tokenLine.Find(out))
	if err != nil || s.Admin.Token == "" {
		return fmt.Errorf("no administrator was made: %w\n%s", err, out)
	}
	return nil
}

// stop ends the server at once. What it has stored goes with its folder.
func (s *Server) stop() {
	_ = s.cmd.Process.Kill() // the only error is that it has ended
	<-s.ended
}

func (s *Server) logTail() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(b[max(0, len(b)-most):])
}

func me() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

// binary finds the program: where GITEA says, else in bin/ of the repository around the working directory.
func binary() (string, error) {
	if path := os.Getenv("GITEA"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err != nil {
			continue
		}
		path := filepath.Join(dir, "bin", "gitea")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		break
	}
	return "", errors.New("bin/gitea is missing: run make bin/gitea")
}

// staticRoot is the folder of Gitea's module, with its templates and texts.
func staticRoot(program string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	cmd.Dir = filepath.Join(filepath.Dir(filepath.Dir(program)), "tools", "gitea")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("the folder of Gitea's module was not found: %w\n%s", err, problems.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// freeAddress finds a port below those that the system gives to outgoing connections.
func freeAddress() (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port was found")
}
