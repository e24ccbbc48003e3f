package git

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// HostKeyError means that a host showed a key that is not known as its own; test with errors.As. It is the cause inside an
// errs.Precondition.
type HostKeyError struct {
	// Host is the host's name with its port where that is not 22.
	Host string
	// Fingerprint is of the key that the host showed, as ssh-keygen -l prints it.
	Fingerprint string
	// Line is what known_hosts needs for it.
	Line string
	// Changed tells that another key of the host is known.
	Changed bool
	// Revoked tells that known_hosts forbids the key.
	Revoked bool
}

// Error says what the host showed.
func (e *HostKeyError) Error() string {
	return fmt.Sprintf("host %s shows the key %s, which is not known as its own", e.Host, e.Fingerprint)
}

// CheckKnownHosts tells what is wrong with the text of a known_hosts file.
func CheckKnownHosts(text []byte) error {
	_, err := parseKnownHosts(text)
	return err
}

// parseKnownHosts reads the text of a known_hosts file; the library reads files only.
func parseKnownHosts(text []byte) (ssh.HostKeyCallback, error) {
	f, err := os.CreateTemp("", "known_hosts_")
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	return knownhosts.New(f.Name())
}

// firstSeen are the keys of hosts that were taken unseen, where that was asked for.
var firstSeen sync.Map

// hostCheck verifies the key of one host.
type hostCheck struct {
	addr       sshAddress
	login      SSHLogin
	known      ssh.HostKeyCallback
	algorithms []string
	refused    error
}

func newHostCheck(addr sshAddress, login SSHLogin) (*hostCheck, error) {
	known, err := parseKnownHosts(login.KnownHosts)
	if err != nil {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
			"known_hosts of the credentials %q cannot be read; give lines as ssh-keyscan prints them", login.Name).Because(err)
	}
	c := &hostCheck{addr: addr, login: login, known: known}
	c.algorithms = c.knownAlgorithms()
	return c, nil
}

// knownAlgorithms are those of the keys that are known of the host: a host with several keys must show one of these.
func (c *hostCheck) knownAlgorithms() []string {
	var unknown *knownhosts.KeyError
	if err := c.known(c.at(), &net.TCPAddr{IP: net.IPv4zero}, probeKey{}); !errors.As(err, &unknown) {
		return nil
	}
	var out []string
	for _, k := range unknown.Want {
		algorithms := []string{k.Key.Type()}
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, a := range algorithms {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// probeKey is nobody's key: asked about it, known_hosts tells which keys it has.
type probeKey struct{}

func (probeKey) Type() string                        { return "none" }
func (probeKey) Marshal() []byte                     { return []byte("none") }
func (probeKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

func (c *hostCheck) at() string { return net.JoinHostPort(c.addr.host, c.addr.port) }

// verify is asked by the handshake. What it refuses is kept, because the handshake puts its own words around it.
func (c *hostCheck) verify(_ string, remote net.Addr, key ssh.PublicKey) error {
	err := c.known(c.at(), remote, key)
	if err == nil {
		return nil
	}
	no := &HostKeyError{
		Host: knownhosts.Normalize(c.at()), Fingerprint: ssh.FingerprintSHA256(key),
		Line: knownhosts.Line([]string{knownhosts.Normalize(c.at())}, key),
	}
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &unknown):
		no.Changed = len(unknown.Want) > 0
	case errors.As(err, &revoked):
		no.Revoked = true
	}
	if c.login.AcceptNew && !no.Changed && !no.Revoked {
		first, _ := firstSeen.LoadOrStore(c.at(), no.Line)
		if first == no.Line {
			return nil
		}
		no.Changed = true
	}
	c.refused = c.explain(no)
	return c.refused
}

func (c *hostCheck) explain(no *HostKeyError) error {
	text := "is not in known_hosts of the credentials %q; compare it with the fingerprint that the host's operator publishes, then add the line: %s"
	switch {
	case no.Revoked:
		text = "is revoked in known_hosts of the credentials %q; ask the host's operator; the revoked key is: %s"
	case no.Changed:
		text = "is another one than known_hosts of the credentials %q has of it, so somebody may be in between; ask the host's operator, " +
			"and only when the host has a new key replace its lines by: %s"
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
		"the key %s that the Git host %s shows "+text, no.Fingerprint, no.Host, c.login.Name, no.Line).
		With("fingerprint", no.Fingerprint).With("host", no.Host).Because(no)
}
