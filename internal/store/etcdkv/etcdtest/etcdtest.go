// Package etcdtest runs real etcd servers for tests: the program that operators run, with the flags that the documentation
// tells them to use, each as a process of its own that a test can kill and start again on its data.
package etcdtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout is long because machines that run tests are busy; an idle one needs half a second.
const startTimeout = time.Minute

// Flags are those that Towpath needs, as docs/guides/high-availability.md says.
func Flags() []string { return []string{"--max-request-bytes=20971520", "--max-txn-ops=1024"} }

// Server is one member of a cluster. Its methods are for one goroutine at a time.
type Server struct {
	// Client and Peer are host:port.
	Client, Peer string

	name  string
	dir   string
	flags []string
	log   string
	cmd   *exec.Cmd // nil while it does not run
	ended chan struct{}
}

// Start runs a cluster of one for the test, with Flags unless others are given. It ends with the test.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	if len(flags) == 0 {
		flags = Flags()
	}
	s := newServer(t, "one", flags)
	s.flags = append(s.flags, "--initial-cluster=one=http://"+s.Peer)
	s.Start(t)
	return s
}

// StartCluster runs a cluster of three.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	var members []*Server
	var names []string
	for _, name := range []string{"a", "b", "c"} {
		s := newServer(t, name, Flags())
		members, names = append(members, s), append(names, name+"=http://"+s.Peer)
	}
	var wg sync.WaitGroup
	for _, s := range members {
		s.flags = append(s.flags, "--initial-cluster="+strings.Join(names, ","))
		if err := s.launch(); err != nil { // none is ready before two of them run
			t.Fatal(err)
		}
	}
	for _, s := range members {
		wg.Go(func() {
			if err := s.awaitReady(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return members
}

func newServer(t testing.TB, name string, flags []string) *Server {
	t.Helper()
	s := &Server{
		Client: freeAddress(t), Peer: freeAddress(t), name: name, dir: filepath.Join(t.TempDir(), "etcd"), flags: flags,
		log: filepath.Join(t.TempDir(), "etcd.log"),
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of etcd's log:\n%s", s.logTail())
		}
	})
	return s
}

// URL is the store's URL for a prefix.
func (s *Server) URL(prefix string) string { return "etcd://" + s.Client + "/" + prefix }

// Start runs a killed server again, on its data and ports, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	err := s.launch()
	if err == nil {
		err = s.awaitReady()
	}
	if err != nil {
		t.Fatalf("etcd: %v; the end of its log:\n%s", err, s.logTail())
	}
}

func (s *Server) launch() error {
	program, err := binary()
	if err != nil {
		return err
	}
	args := append([]string{
		"--name=" + s.name, "--data-dir=" + s.dir, "--listen-client-urls=http://" + s.Client, "--advertise-client-urls=http://" + s.Client,
		"--listen-peer-urls=http://" + s.Peer, "--initial-advertise-peer-urls=http://" + s.Peer,
		"--heartbeat-interval=50", "--election-timeout=500", "--log-level=warn",
	}, s.flags...)
	cmd := exec.Command(program, args...)
	dieWithParent(cmd)
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.ended = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	return nil
}

func (s *Server) awaitReady() error {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.ended:
			return errors.New("it ended")
		default:
		}
		resp, err := client.Get("http://" + s.Client + "/health")
		if err != nil {
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if bytes.Contains(body, []byte(`"health":"true"`)) {
			return nil
		}
	}
	return fmt.Errorf("not ready within %v", startTimeout)
}

// Kill ends the server at once, as a power cut would. On one that has ended it does nothing.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // the only error is that it has ended
	<-s.ended
	s.cmd = nil
}

func (s *Server) logTail() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(b[max(0, len(b)-most):])
}

// binary finds the program: where ETCD says, else in bin/ of the repository around the working directory.
func binary() (string, error) {
	if path := os.Getenv("ETCD"); path != "" {
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
		if path := filepath.Join(dir, "bin", "etcd"); exists(path) {
			return path, nil
		}
		break
	}
	return "", errors.New("bin/etcd is missing: run make bin/etcd")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// given are the addresses that were handed out: a port is free while its server is killed, and must not go to another one then.
var given sync.Map

// freeAddress finds a port below those that the system gives to outgoing connections.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port was found")
	return ""
}
