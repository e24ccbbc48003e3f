package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	maxAdvertisement = 256 << 20
	// sshReopen bounds the first answer on a connection that was kept: one that died without a word is replaced by then.
	sshReopen = 10 * time.Second
)

// sshWire carries the requests of Git's protocol over SSH: one command at the host per request, all over one connection that
// is kept between them and opened again when it is dead or the login has changed.
type sshWire struct {
	addr  sshAddress
	login SSHCredentials

	mu     sync.Mutex
	conn   *sshConn
	closed bool
}

func newSSHWire(cfg Config) *sshWire {
	return &sshWire{addr: cfg.ssh, login: cfg.SSH}
}

// sshRefusal is the host's no to a command, before anything of it was sent: it ended with a failure and said why.
type sshRefusal struct {
	words  string
	status int
}

func (e *sshRefusal) Error() string {
	return fmt.Sprintf("the Git host ended the session with status %d: %s", e.status, e.words)
}

// advertise asks what a service can do.
func (w *sshWire) advertise(ctx context.Context, service string) (io.ReadCloser, error) {
	s, err := w.open(ctx, service)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	// Told that nothing follows, the command ends well instead of complaining in the host's log.
	_, _ = s.in.Write([]byte("0000"))
	_ = s.in.Close()
	return io.NopCloser(bytes.NewReader(s.advertisement)), nil
}

// request sends one request. sent says whether the host may have seen it.
func (w *sshWire) request(ctx context.Context, service string, body []byte) (answer io.ReadCloser, sent bool, err error) {
	s, err := w.open(ctx, service)
	if err != nil {
		return nil, false, err
	}
	if _, err := s.in.Write(body); err != nil {
		s.Close()
		return nil, true, s.because(err)
	}
	if err := s.in.Close(); err != nil && !errors.Is(err, io.EOF) {
		s.Close()
		return nil, true, s.because(err)
	}
	return s, true, nil
}

func (w *sshWire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.conn != nil {
		w.conn.close()
	}
}

// open starts a command and reads what it advertises. A kept connection that does not answer is replaced once: nothing was
// sent over it yet.
func (w *sshWire) open(ctx context.Context, service string) (*sshSession, error) {
	if w.login == nil {
		return nil, errNoSSHLogin(w.addr)
	}
	login, err := w.login(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, unavailable(nil, "the remote is closed")
	}
	if c := w.conn; c != nil && c.alive() && c.login == login.identity() {
		s, err := c.start(ctx, w.addr.command(service), sshReopen)
		var no *sshRefusal
		if err == nil || errors.As(err, &no) || ctx.Err() != nil {
			return s, err
		}
	}
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
	if w.conn, err = dialSSH(ctx, w.addr, login); err != nil {
		return nil, err
	}
	return w.conn.start(ctx, w.addr.command(service), 0)
}

// sshSession is one command at the host. Reading it gives the command's output behind the advertisement.
type sshSession struct {
	ctx           context.Context //nolint:containedctx // Reading is bounded by the request's context, like an HTTP answer's body.
	stop          func() bool
	session       *ssh.Session
	conn          *sshConn
	in            io.WriteCloser
	out           *bufio.Reader
	words         *boundedBuffer
	advertisement []byte
}

// start runs a command on the connection. The connection is closed when ctx ends before the session is: a host that hangs
// would not hear anything less.
func (c *sshConn) start(ctx context.Context, command string, patience time.Duration) (*sshSession, error) {
	c.begin()
	s := &sshSession{ctx: ctx, conn: c, words: &boundedBuffer{}}
	s.stop = context.AfterFunc(ctx, c.close)
	var slow *time.Timer
	if patience > 0 {
		slow = time.AfterFunc(patience, c.close)
		defer slow.Stop()
	}
	if err := s.run(command); err != nil {
		err = s.because(err)
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sshSession) run(command string) (err error) {
	if s.session, err = s.conn.client.NewSession(); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	s.session.Stderr = s.words
	out, err := s.session.StdoutPipe()
	if err != nil {
		return err
	}
	if s.in, err = s.session.StdinPipe(); err != nil {
		return err
	}
	s.out = bufio.NewReaderSize(out, 64<<10)
	if strings.HasPrefix(command, uploadPack) {
		// Without waiting for an answer: hosts that do not take it speak version 0.
		env := ssh.Marshal(struct{ Name, Value string }{"GIT_PROTOCOL", "version=2"})
		if _, err := s.session.SendRequest("env", false, env); err != nil {
			return err
		}
	}
	if err := s.session.Start(command); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	var b bytes.Buffer
	if err := copyToFlush(s.out, &b); err != nil {
		return s.ended(err)
	}
	s.advertisement = b.Bytes()
	return nil
}

// ended tells a host that refused from a connection that broke: only a command that failed and said something is a no.
func (s *sshSession) ended(cause error) error {
	if !errors.Is(cause, io.EOF) && !errors.Is(cause, io.ErrUnexpectedEOF) {
		return cause
	}
	var exit *ssh.ExitError
	if errors.As(s.session.Wait(), &exit) {
		if words := cleanWords(s.words.String()); words != "" && exit.Signal() == "" {
			return &sshRefusal{words: words, status: exit.ExitStatus()}
		}
	}
	return fmt.Errorf("the host ended the session: %w", cause)
}

// because puts the context's end in front of what it led to.
func (s *sshSession) because(err error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(s.ctx), err)
	}
	return err
}

// Read gives the command's answer.
func (s *sshSession) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if err != nil && s.ctx.Err() != nil {
		err = s.because(err)
	}
	return n, err
}

// Close ends the command; the connection stays.
func (s *sshSession) Close() error {
	s.stop()
	defer s.conn.end()
	if s.session == nil {
		return nil
	}
	return s.session.Close()
}

// copyToFlush copies packets up to the flush that ends them.
func copyToFlush(r *bufio.Reader, w *bytes.Buffer) error {
	var head [4]byte
	for w.Len() < maxAdvertisement {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(head[:]), 16, 17)
		if err != nil {
			return errNotPkt
		}
		w.Write(head[:])
		if n == 0 {
			return nil
		}
		if n < 4 {
			continue
		}
		if _, err := io.CopyN(w, r, int64(n)-4); err != nil {
			return err
		}
	}
	return errNotPkt
}

// boundedBuffer keeps the beginning of what a host prints.
type boundedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write takes everything and keeps some.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(p[:min(len(p), max(0, 2*maxWords-b.b.Len()))])
	return len(p), nil
}

// String gives what was kept.
func (b *boundedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
