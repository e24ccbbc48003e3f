package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	sshKeepAlive = 30 * time.Second // between signs of life on a connection
	sshSilence   = 15 * time.Second // after which a host that gives none is given up
	sshIdle      = 5 * time.Minute  // after which a connection that nobody uses is closed, as over HTTP
)

// SSHCredentials gives the login of an SSH session. It is asked once per request, so that keys can be changed at any time.
type SSHCredentials func(ctx context.Context) (SSHLogin, error)

// SSHLogin is how to get in over SSH, and by what the host is known.
type SSHLogin struct {
	// Name is what the credentials are called in messages.
	Name string
	// Signers are the private keys.
	Signers []ssh.Signer
	// KnownHosts are the keys of hosts, in OpenSSH's format. A host that is not in it is refused.
	KnownHosts []byte
	// AcceptNew takes the key that a host shows first, for the life of this process, when KnownHosts has none of it.
	AcceptNew bool
}

// identity tells logins apart.
func (l SSHLogin) identity() string {
	h := sha256.New()
	for _, s := range l.Signers {
		h.Write(s.PublicKey().Marshal())
	}
	fmt.Fprintf(h, "\x00%t\x00", l.AcceptNew)
	h.Write(l.KnownHosts)
	return hex.EncodeToString(h.Sum(nil))
}

func (l SSHLogin) keys() string {
	text := ""
	for i, s := range l.Signers {
		if i > 0 {
			text += ", "
		}
		text += ssh.FingerprintSHA256(s.PublicKey())
	}
	return text
}

// sshConn is a connection that is kept.
type sshConn struct {
	client *ssh.Client
	login  string
	done   chan struct{}

	mu    sync.Mutex
	users int
	used  time.Time
}

// dialSSH connects, checks the host's key and logs in.
func dialSSH(ctx context.Context, addr sshAddress, login SSHLogin) (*sshConn, error) {
	check, err := newHostCheck(addr, login)
	if err != nil {
		return nil, err
	}
	at := net.JoinHostPort(addr.host, addr.port)
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	asked := false
	conn, chans, reqs, err := ssh.NewClientConn(raw, at, &ssh.ClientConfig{
		User: addr.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			asked = true
			return login.Signers, nil
		})},
		HostKeyCallback: check.verify, HostKeyAlgorithms: check.algorithms, ClientVersion: "SSH-2.0-towpath",
	})
	if !stop() && err == nil {
		conn.Close()
		err = net.ErrClosed
	}
	switch {
	case err == nil:
	case check.refused != nil:
		raw.Close()
		return nil, check.refused
	case ctx.Err() != nil:
		raw.Close()
		return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case asked && !brokenConnection(err):
		raw.Close()
		return nil, errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED,
			"the Git host does not let user %q in with the key %s of the credentials %q; add its public key there, with the right to write",
			addr.user, login.keys(), login.Name).Because(err)
	default:
		raw.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	c := &sshConn{client: ssh.NewClient(conn, chans, reqs), login: login.identity(), done: make(chan struct{}), used: time.Now()}
	go func() {
		_ = c.client.Wait()
		close(c.done)
	}()
	go c.keep()
	return c, nil
}

// brokenConnection tells the end of a connection from the host's no.
func brokenConnection(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.As(err, &network)
}

func (c *sshConn) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

func (c *sshConn) close() { _ = c.client.Close() }

func (c *sshConn) begin() { c.count(1) }

func (c *sshConn) end() { c.count(-1) }

func (c *sshConn) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users += n
	c.used = time.Now()
}

func (c *sshConn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users == 0 && time.Since(c.used) > sshIdle
}

// keep asks the host for signs of life, so that routers on the way do not forget the connection and a dead one is noticed
// before the next push needs it.
func (c *sshConn) keep() {
	tick := time.NewTicker(sshKeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.idle() {
			c.close()
			return
		}
		silence := time.AfterFunc(sshSilence, c.close)
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		silence.Stop()
		if err != nil {
			c.close()
			return
		}
	}
}

func errNoSSHLogin(addr sshAddress) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
		"the repository at %s is reached over SSH and has no credentials; name some that hold a private key (identity) and the host's keys (known_hosts)",
		addr.host)
}
