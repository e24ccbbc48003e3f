package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// world is what the walk has: programs, a folder, and what earlier steps left for later ones.
type world struct {
	root, dir         string
	cluster, server   *process
	grpc, rest, nats  string // addresses
	kubeconfig, token string

	// first and second are commits, tree is that of the environment in the first.
	first, second, tree string
	// events are the lines of the event stream since the first step that listened.
	events <-chan event
}

func newWorld() (*world, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"towpathd", "tow", "devcluster", "kubectl"} {
		if _, err := os.Stat(filepath.Join(root, "bin", name)); err != nil {
			return nil, fmt.Errorf("bin/%s is missing; run it by `make smoke`, from the repository's root", name)
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("git is missing; install it")
	}
	w := &world{root: root}
	// The addresses are chosen once, so that the server is found again after its restart.
	for _, a := range []*string{&w.grpc, &w.rest, &w.nats} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		*a = l.Addr().String()
	}
	w.dir, err = os.MkdirTemp("", "towpath-smoke-")
	return w, err
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) bin(name string) string { return filepath.Join(w.root, "bin", name) }

func (w *world) remove() { os.RemoveAll(w.dir) }

// stop ends what runs, the last started first.
func (w *world) stop() error {
	var err error
	for _, p := range []*process{w.server, w.cluster} {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}
	w.server, w.cluster = nil, nil
	return err
}

// tellLogs shows the ends of the logs: what a person would look at first.
func (w *world) tellLogs() {
	for _, name := range []string{"cluster", "towpathd"} {
		b, err := os.ReadFile(w.path(name + ".log"))
		if err != nil || len(b) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
		fmt.Printf("--- the end of %s.log\n%s\n", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// answer is what a program said.
type answer struct {
	out, err string
	code     int
}

// program runs a program to its end. An exit code is an answer and no error.
func (w *world) program(ctx context.Context, name string, args ...string) (answer, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	// Nobody's own settings: the walk must be the same on every machine.
	cmd.Env = append(os.Environ(), "TOW_CONFIG="+w.path("tow.yaml"), "TOW_TOKEN=", "TOW_SERVER=", "TOW_CONTEXT=", "NO_COLOR=1",
		"KUBECONFIG="+w.kubeconfig, "HOME="+w.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	err := cmd.Run()
	a := answer{out: strings.TrimSpace(out.String()), err: strings.TrimSpace(problems.String())}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		a.code = exit.ExitCode()
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return a, nil
}

// must runs a program that has to succeed, and gives its output.
func (w *world) must(ctx context.Context, name string, args ...string) (string, error) {
	a, err := w.program(ctx, name, args...)
	if err != nil {
		return "", err
	}
	if a.code != 0 {
		text := fmt.Sprintf("%s %s: exit code %d: %s%s", filepath.Base(name), strings.Join(args, " "), a.code, a.out, a.err)
		return "", errors.New(w.redacted(text))
	}
	return a.out, nil
}

// redacted takes the token out of a text: git has it in its URL, and what is printed may end up in a CI's log.
func (w *world) redacted(text string) string {
	if w.token == "" {
		return text
	}
	return strings.ReplaceAll(text, w.token, "TOKEN")
}

func (w *world) tow(ctx context.Context, args ...string) (string, error) {
	return w.must(ctx, w.bin("tow"), args...)
}

// towJSON runs a command with -o json and reads what it says into to.
func (w *world) towJSON(ctx context.Context, to any, args ...string) error {
	out, err := w.tow(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), to); err != nil {
		return fmt.Errorf("tow %s: %w in %q", strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *world) kubectl(ctx context.Context, args ...string) (string, error) {
	return w.must(ctx, w.bin("kubectl"), append([]string{"-n", "shop-dev"}, args...)...)
}

func (w *world) git(ctx context.Context, args ...string) (string, error) {
	return w.must(ctx, "git", append([]string{"-C", w.path("clone")}, args...)...)
}

// request makes a REST call and reads its JSON into to. An empty body makes it a GET, any other a POST.
func (w *world) request(ctx context.Context, path, body string, to any) (int, error) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.rest+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return resp.StatusCode, fmt.Errorf("%s %s: %s: %w in %q", method, path, resp.Status, err, text)
	}
	return resp.StatusCode, nil
}

// get reads a resource that has to be there.
func (w *world) get(ctx context.Context, path string, to any) error {
	var raw json.RawMessage
	code, err := w.request(ctx, path, "", &raw)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("GET %s: %d: %s", path, code, raw)
	}
	return json.Unmarshal(raw, to)
}

// eventually tries until check is content, for at most ten seconds, and gives its last complaint.
func eventually(ctx context.Context, check func() error) error {
	end := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// equal complains when something is not what it should be.
func equal[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, expected %v", what, got, want)
	}
	return nil
}
