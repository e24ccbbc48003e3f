package docstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// commandTime is how long a command may take. Those that wait for the cluster need a second or two on an idle machine.
const commandTime = 2 * time.Minute

// home is the folder in which pages are typed, as they show it.
const home = "/home/ada/towpath"

// world is the machine of one page: a folder, programs, an environment of variables and, once the page has said `make run`, a
// platform. What it starts ends with the page.
type world struct {
	t   *testing.T
	dir string
	// env is the environment of commands that do not change, from their point of view.
	env []string
	// there is replaced in what a page tells to type, and back in answers: a page has the ports that everybody has.
	there   [][2]string
	running []*process
	code    int // the exit code of the command before
}

// process is a command that runs beside others.
type process struct {
	cmd  *exec.Cmd
	out  lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld makes the folder: the repository's examples and scripts, the programs, and nothing else.
func newWorld(t *testing.T, page string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	emptied(t, devclustertest.Shared(t))
	root := repository(t)
	for _, link := range []string{"examples", "scripts"} {
		must(t, os.CopyFS(filepath.Join(w.dir, link), os.DirFS(filepath.Join(root, link))))
	}
	for _, link := range []string{"go.mod", "go.sum", "gen"} { // for examples in Go
		must(t, os.Symlink(filepath.Join(root, link), filepath.Join(w.dir, link)))
	}
	bin := filepath.Join(w.dir, "bin")
	must(t, os.Mkdir(bin, 0o700))
	self, err := os.Executable()
	must(t, err)
	for _, own := range []string{"tow", "towpathd", "nats-server"} {
		must(t, os.Symlink(self, filepath.Join(bin, own)))
	}
	for _, built := range []string{"devcluster", "kubectl", "etcd", "gitea"} {
		must(t, os.Symlink(filepath.Join(root, "bin", built), filepath.Join(bin, built)))
	}
	must(t, os.Symlink(filepath.Join(root, "scripts", "run.sh"), filepath.Join(w.dir, "run.sh")))
	w.there = [][2]string{{home, w.dir}, {"/var/lib/towpath", filepath.Join(w.dir, "var")}, {"/etc/towpath", filepath.Join(w.dir, "etc")}}
	for _, host := range hosts(page) {
		w.there = append(w.there, [2]string{host, freeAddress(t)})
	}
	// A page whose servers are its own says where the cluster is by $KUBECONFIG, as one after make run does.
	w.env = []string{
		"TOW_CONFIG=" + filepath.Join(w.dir, "tow.yaml"), "KUBECONFIG=" + devclustertest.Shared(t).Kubeconfig(),
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + w.dir, "TERM=dumb", "LC_ALL=C.UTF-8", "GORACE=atexit_sleep_ms=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "KUBERC=off", "KUBECACHEDIR=" + filepath.Join(w.dir, ".kube-cache"),
		"GOPATH=" + goEnv(t, "GOPATH"), "GOCACHE=" + goEnv(t, "GOCACHE"), "GOFLAGS=-mod=readonly", "GOWORK=off", "GOPROXY=off", "TOWPATH_SOURCE=" + root,
	}
	t.Cleanup(w.end)
	return w
}

var example = regexp.MustCompile(`\b10\.0\.0\.\d+:\d+\b`)

// separate is an address given as two flags.
var separate = regexp.MustCompile(`-a (10\.0\.0\.\d+) -p (\d+)`)

// hosts gives the addresses of machines that a page has and nobody has, each once.
func hosts(page string) []string {
	seen := map[string]bool{}
	var out []string
	for _, h := range example.FindAllString(page, -1) {
		if !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// repository is the folder of the whole repository.
func repository(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(wd, "..", "..")
}

func (w *world) end() {
	for i := len(w.running) - 1; i >= 0; i-- {
		w.running[i].stop()
	}
}

// run types a script and gives its answer, both outputs together as a terminal shows them, and its exit code. failed is the line of
// the script that failed. Variables and the folder stay for the next one.
func (w *world) run(script string) (answer []string, failed, code int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), commandTime)
	defer cancel()
	var out lockedBuffer
	cmd := w.bash(ctx, script, true)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // something that it left behind may hold its output
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		w.t.Errorf("a command does not end within %s: %s", commandTime, script)
		code = -1
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		w.t.Fatalf("%s: %v", script, err)
	}
	w.code = code
	if b, err := os.ReadFile(filepath.Join(w.dir, ".line")); err == nil {
		_, _ = fmt.Sscan(string(b), &failed)
	}
	return w.lines(out.String()), failed, code
}

// bash prepares a script in the shell that all commands of a page seem to share: variables, the folder and the last exit code come from
// files, and go back there when keep is set.
func (w *world) bash(ctx context.Context, script string, keep bool) *exec.Cmd {
	w.t.Helper()
	for _, r := range w.there {
		script = strings.ReplaceAll(script, r[0], r[1])
	}
	if script == "echo $?" {
		script = fmt.Sprintf("echo %d", w.code)
	}
	for _, m := range separate.FindAllStringSubmatch(script, -1) {
		for _, r := range w.there {
			if r[0] == m[1]+":"+m[2] {
				host, port, _ := net.SplitHostPort(r[1])
				script = strings.ReplaceAll(script, m[0], "-a "+host+" -p "+port)
			}
		}
	}
	file := filepath.Join(w.dir, ".typed")
	must(w.t, os.WriteFile(file, []byte(script+"\n"), 0o600))
	frame := `set -a; [ -f "$HOME/.vars" ] && . "$HOME/.vars" 2>/dev/null; [ -f "$HOME/.folder" ] && cd "$(cat "$HOME/.folder")"
rm -f "$HOME/.line"
`
	if keep {
		frame += `trap 'code=$?; trap - ERR; export -p | grep -v "^declare -x \(BASH\|SHLVL\|_=\|TOW_CONFIG\|KUBECONFIG\)" >"$HOME/.vars"; pwd >"$HOME/.folder"; exit $code' EXIT
set -E; trap 'code=$?; echo "$LINENO" >"$HOME/.line"; exit $code' ERR
`
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", frame+`. "`+file+`"`)
	cmd.Dir, cmd.Env = w.dir, w.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// lines is an answer as a page would show it.
func (w *world) lines(answer string) []string {
	for _, r := range w.there {
		answer = strings.ReplaceAll(answer, r[1], r[0])
	}
	answer = strings.TrimRight(answer, "\n")
	if answer == "" {
		return nil
	}
	out := strings.Split(answer, "\n")
	for i := range out {
		out[i] = strings.TrimRight(strings.ReplaceAll(out[i], "\r", ""), " \t")
	}
	return out
}

// start runs a script beside what follows.
func (w *world) start(script string) *process {
	w.t.Helper()
	p := &process{done: make(chan struct{})}
	p.cmd = w.bash(context.Background(), script, false)
	p.cmd.Args[len(p.cmd.Args)-1] = strings.Replace(p.cmd.Args[len(p.cmd.Args)-1], ".typed", ".typed-"+fmt.Sprint(len(w.running)), 1)
	must(w.t, os.Rename(filepath.Join(w.dir, ".typed"), filepath.Join(w.dir, ".typed-"+fmt.Sprint(len(w.running)))))
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second
	must(w.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.running = append(w.running, p)
	return p
}

// stop ends a process and all that it started: in an orderly way, and by force when that takes long.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) // the only error is that it has ended
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// platform does what `make run` does once everything is built: scripts/run.sh, here with the cluster that all pages share and ports
// that are free. It gives what that prints.
func (w *world) platform() []string {
	w.t.Helper()
	cluster := devclustertest.Shared(w.t)
	ctx := context.WithoutCancel(w.t.Context())
	// It ends when its input does, so that nothing outlives a test binary that crashed.
	cmd := exec.CommandContext(ctx, "bash", "-c", `scripts/run.sh & run=$!; cat >/dev/null; kill -TERM $run; wait $run`)
	cmd.Dir = w.dir
	cmd.Env = append([]string{
		"KUBECONFIG=" + cluster.Kubeconfig(),
		"TOWPATH_SERVE_FLAGS=--grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --nats-listen 127.0.0.1:0 --republish-after 1s --ack-wait 1s" +
			" --audit-log default=" + cluster.AuditLog(),
	}, w.env...)
	in, err := cmd.StdinPipe()
	must(w.t, err)
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	must(w.t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		_ = in.Close()
		select {
		case <-p.done:
		case <-time.After(apptest.Patience):
			w.t.Error("make run does not stop")
		}
		if w.t.Failed() {
			w.t.Logf("make run printed:\n%s\nthe end of towpathd's log:\n%s", p.out.String(), w.tail(".towpath/towpathd.log"))
		}
	})
	apptest.Await(w.t, "make run is done", func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("make run ended by itself:\n%s", p.out.String())
		default:
		}
		return strings.Contains(p.out.String(), "`make run` continues.")
	})
	w.ports()
	w.env = append(w.env, "TOW_CONFIG="+filepath.Join(w.dir, ".towpath", "tow.yaml"), "KUBECONFIG="+cluster.Kubeconfig())
	return w.lines(p.out.String())
}

// ports takes the addresses that everybody has for those of this platform.
func (w *world) ports() {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, ".towpath", "towpathd.ready"))
	must(w.t, err)
	for name, usual := range map[string]string{"TOWPATH_HTTP": "127.0.0.1:7080", "TOWPATH_GRPC": "127.0.0.1:7081", "TOWPATH_NATS": "127.0.0.1:7082"} {
		m := regexp.MustCompile(`(?m)^` + name + `=(\S+)$`).FindSubmatch(b)
		if m == nil {
			w.t.Fatalf("the file of the addresses has no %s: %s", name, b)
		}
		w.there = append(w.there, [2]string{usual, string(m[1])})
	}
}

func (w *world) tail(file string) string {
	f, err := os.Open(filepath.Join(w.dir, file))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 4000 {
		_, _ = f.Seek(-4000, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// serving waits until every server of a block listens: those whose addresses the block has.
func (w *world) serving(b *Block, p *process) {
	w.t.Helper()
	var want []string
	for _, r := range w.there {
		if listens := regexp.MustCompile(`listen(s on|-client-urls)? (http://)?` + regexp.QuoteMeta(r[0]) + `\b`); listens.MatchString(b.Text()) {
			want = append(want, r[1])
		}
	}
	apptest.Await(w.t, At(b.File, b.Line)+" serves", func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("%s: it ended by itself:\n%s", At(b.File, b.Line), p.out.String())
		default:
		}
		for _, addr := range want {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			_ = c.Close()
		}
		return true
	})
}
