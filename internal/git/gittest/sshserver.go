package gittest

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer is an SSH server on a loopback address that runs the real git-upload-pack and git-receive-pack. It takes the same
// faults as Server: a command that is only asked what it can do is a GET, one that gets a request a POST.
type SSHServer struct {
	t        testing.TB
	root     string
	listener net.Listener
	wg       sync.WaitGroup

	mu         sync.Mutex
	hostKey    ssh.Signer
	authorized map[string]bool
	conns      map[net.Conn]bool
	faults     []Fault
	requests   []string
	logins     int
	protocol   bool
	denied     string
	released   chan struct{}
}

// SSHKey is a key pair of a client.
type SSHKey struct {
	// Private is the key in OpenSSH's format; Public is its line for authorized_keys.
	Private, Public string
	// Signer signs with it.
	Signer ssh.Signer
}

// NewSSHKey makes an ed25519 key.
func NewSSHKey(t testing.TB) SSHKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "towpath")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return SSHKey{
		Private: string(pem.EncodeToMemory(block)), Public: string(ssh.MarshalAuthorizedKey(signer.PublicKey())), Signer: signer,
	}
}

// NewSSHServer starts a server without repositories that lets nobody in. It ends with the test.
func NewSSHServer(t testing.TB) *SSHServer {
	t.Helper()
	gitBinary(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHServer{
		t: t, root: t.TempDir(), listener: listener, hostKey: NewSSHKey(t).Signer, authorized: map[string]bool{},
		conns: map[net.Conn]bool{}, protocol: true, released: make(chan struct{}),
	}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		s.Release()
		listener.Close()
		s.Drop()
		s.wg.Wait()
	})
	return s
}

// Create makes an empty bare repository on the server.
func (s *SSHServer) Create(name string) *Bare {
	s.t.Helper()
	return NewBare(s.t, filepath.Join(s.root, name+".git"))
}

// URL is a repository's address.
func (s *SSHServer) URL(name string) string {
	return "ssh://git@" + s.listener.Addr().String() + "/" + name + ".git"
}

// Authorize lets exactly these keys in.
func (s *SSHServer) Authorize(keys ...SSHKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.authorized)
	for _, k := range keys {
		s.authorized[string(k.Signer.PublicKey().Marshal())] = true
	}
}

// Deny makes the server end every command with these words on its error output, as hosts do that do not know a repository;
// an empty text ends it.
func (s *SSHServer) Deny(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = words
}

// KnownHosts is the server's line for known_hosts.
func (s *SSHServer) KnownHosts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return knownhosts.Line([]string{knownhosts.Normalize(s.listener.Addr().String())}, s.hostKey.PublicKey()) + "\n"
}

// Fingerprint is of the server's key.
func (s *SSHServer) Fingerprint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ssh.FingerprintSHA256(s.hostKey.PublicKey())
}

// ChangeHostKey gives the server another key, for connections from now on.
func (s *SSHServer) ChangeHostKey() {
	key := NewSSHKey(s.t).Signer
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hostKey = key
}

// Drop cuts all connections.
func (s *SSHServer) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Logins gives how many connections got in so far.
func (s *SSHServer) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Fail makes the next matching requests go wrong. Several faults are used up in the order they were given.
func (s *SSHServer) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Heal takes back all that Fail asked for and that has not happened yet.
func (s *SSHServer) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Release lets hanging requests go on; later ones do not hang any more.
func (s *SSHServer) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.released:
	default:
		close(s.released)
	}
}

// ForgetProtocol makes the server speak version 0 only.
func (s *SSHServer) ForgetProtocol() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.protocol = false
}

// Requests gives the commands so far, and forgets them.
func (s *SSHServer) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func (s *SSHServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *SSHServer) config() *ssh.ServerConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.authorized[string(key.Marshal())] {
			return nil, errors.New("not authorized")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(s.hostKey)
	return cfg
}

func (s *SSHServer) serve(c net.Conn) {
	conn, chans, reqs, err := ssh.NewServerConn(c, s.config())
	if err != nil {
		return
	}
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	go ssh.DiscardRequests(reqs)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for nc := range chans {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		ch, requests, err := nc.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { s.session(conn, ch, requests) })
	}
}

func (s *SSHServer) session(conn *ssh.ServerConn, ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	version := ""
	for r := range requests {
		switch r.Type {
		case "env":
			var kv struct{ Name, Value string }
			ok := ssh.Unmarshal(r.Payload, &kv) == nil && kv.Name == "GIT_PROTOCOL"
			if ok {
				version = kv.Value
			}
			_ = r.Reply(ok, nil)
		case "exec":
			var command struct{ Text string }
			_ = r.Reply(ssh.Unmarshal(r.Payload, &command) == nil, nil)
			go ssh.DiscardRequests(requests)
			status := s.run(conn, ch, command.Text, version)
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// run runs one command and gives its exit status.
func (s *SSHServer) run(conn *ssh.ServerConn, ch ssh.Channel, command, version string) uint32 {
	service, path, ok := strings.Cut(command, " ")
	s.mu.Lock()
	denied, protocol := s.denied, s.protocol
	s.mu.Unlock()
	if path = strings.Trim(path, "'"); !ok || denied != "" || service != "git-upload-pack" && service != "git-receive-pack" {
		fmt.Fprintln(ch.Stderr(), denied)
		return 1
	}
	cmd := exec.Command(gitBinary(s.t), strings.TrimPrefix(service, "git-"), filepath.Join(s.root, filepath.Clean("/"+path)))
	cmd.Env = cleanEnv()
	if protocol && version != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+version)
	}
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	from, to := bufio.NewReader(ch), bufio.NewReader(out)
	status, honest := s.talk(conn, ch, service, from, to, in)
	in.Close()
	_, _ = io.Copy(io.Discard, to)
	if err := cmd.Wait(); err != nil && honest {
		_, _ = ch.Stderr().Write(stderr.Bytes())
		return 128
	}
	return status
}

// talk passes on what client and command say to each other, or does what a fault asks for, which is not honest.
func (s *SSHServer) talk(
	conn *ssh.ServerConn, ch ssh.Channel, service string, from, to *bufio.Reader, in io.WriteCloser,
) (status uint32, honest bool) {
	fault, hit := s.due("GET", service, false)
	if hit {
		return s.misbehave(conn, ch, fault, nil), false
	}
	if !copyAdvertisement(ch, to) {
		return 0, true // the command's own words say why
	}
	if head, err := from.Peek(4); err != nil || string(head) == "0000" {
		s.note("GET " + service)
		_, _ = io.Copy(in, from)
		return 0, true
	}
	fault, hit = s.due("POST", service, true)
	if !hit {
		go func() {
			_, _ = io.Copy(in, from)
			in.Close()
		}()
		_, _ = io.Copy(ch, to)
		return 0, true
	}
	if !fault.processes() {
		_, _ = io.Copy(io.Discard, from)
		return s.misbehave(conn, ch, fault, nil), false
	}
	go func() {
		_, _ = io.Copy(in, from)
		in.Close()
	}()
	answer, _ := io.ReadAll(to)
	return s.misbehave(conn, ch, fault, answer), false
}

func (s *SSHServer) misbehave(conn *ssh.ServerConn, ch ssh.Channel, f Fault, answer []byte) uint32 {
	if f.Then != nil {
		f.Then()
	}
	switch f.Kind {
	case Status, StatusAfter:
		fmt.Fprintln(ch.Stderr(), "a fault on demand")
		return 1
	case Hang, HangAfter:
		ended := make(chan struct{})
		go func() {
			_ = conn.Wait()
			close(ended)
		}()
		select {
		case <-s.released:
		case <-ended:
		}
	case ResetAfter, ResetBefore:
		conn.Close()
	case TruncateAfter:
		_, _ = ch.Write(answer[:len(answer)/2])
	case EmptyAfter:
	}
	return 0
}

// due takes the fault of a request. Before the client has said what it wants, only faults of GETs are.
func (s *SSHServer) due(method, service string, note bool) (Fault, bool) {
	if note {
		s.note(method + " " + service)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !strings.Contains(service, f.Path) || f.Method != method && (f.Method != "" || method == "GET") {
			continue
		}
		if s.faults[i].Times--; s.faults[i].Times <= 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return f, true
	}
	return Fault{}, false
}

func (s *SSHServer) note(request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
}

// copyAdvertisement passes packets on up to the flush; false when there is none.
func copyAdvertisement(w io.Writer, r *bufio.Reader) bool {
	for {
		head, err := r.Peek(4)
		if err != nil {
			return false
		}
		n, err := strconv.ParseInt(string(head), 16, 32)
		if err != nil {
			return false
		}
		if _, err := io.CopyN(w, r, max(n, 4)); err != nil {
			return false
		}
		if n == 0 {
			return true
		}
	}
}
