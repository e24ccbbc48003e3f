package committer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/singleflight"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// tokenUser is the user name sent with a bare token. Git hosts look at the token only, but want some name.
const tokenUser = "x-access-token"

// secretSource reads Kubernetes Secrets of one namespace. Its answer is no older than maxAge. A Secret that is not there is
// errs.NotFound, a cluster that does not answer errs.Unavailable.
type secretSource interface {
	Secret(ctx context.Context, name string, maxAge time.Duration) (map[string][]byte, error)
}

// secretAge is how old a Kubernetes Secret may be. What is in a file is read at each use.
const secretAge = 10 * time.Second

// credentials resolves names of the catalog to secrets. It is the only one that does, and the only place where secrets are: a
// name is a file or a folder in dir, else a Kubernetes Secret. They are read at each use, so that they can be changed at any
// time; only what is expensive to make of them is kept, by a digest of what it was made of.
type credentials struct {
	dir  string
	kube secretSource
	http *http.Client
	log  *slog.Logger
	now  func() time.Time

	refreshes singleflight.Group // of installation tokens

	mu      sync.Mutex
	keys    map[digest]ssh.Signer
	signers map[digest]signature
	tokens  map[digest]installationToken
	pools   map[digest]http.RoundTripper
	used    map[string]digest   // what was last handed out, by name
	seen    map[string][]string // what must not be shown, by name; the newest last
	warned  map[string]bool
}

type digest [sha256.Size]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// maxSeen bounds the secrets remembered of one name: those before the last rotations too, because a host may answer late.
const maxSeen = 512

// maxParsed bounds what is kept of parsed keys and tokens; rotated ones are never asked for again.
const maxParsed = 256

func newCredentials(cfg Config) *credentials {
	return &credentials{
		dir: cfg.CredentialsDir, kube: cfg.Secrets, http: cfg.HTTPClient, log: cfg.Log, now: time.Now,
		keys: map[digest]ssh.Signer{}, signers: map[digest]signature{}, tokens: map[digest]installationToken{},
		pools: map[digest]http.RoundTripper{}, used: map[string]digest{}, seen: map[string][]string{}, warned: map[string]bool{},
	}
}

// source gives the function that internal/git asks before each HTTP session.
func (c *credentials) source(name string) git.Credentials {
	if name == "" {
		return nil
	}
	return func(ctx context.Context) (string, string, error) { return c.basic(ctx, name) }
}

// basic gives user and password; an empty user goes with a bearer token. No error of it holds anything of the secret.
func (c *credentials) basic(ctx context.Context, name string) (user, password string, err error) {
	m, err := c.load(ctx, name, secretAge)
	if err != nil {
		return "", "", err
	}
	user = m.get(keyUsername)
	switch {
	case m.has(keyAppID):
		password, err = c.installationToken(ctx, m)
		return tokenUser, password, err
	case m.has(keyToken):
		return orDefault(user, tokenUser), m.get(keyToken), nil
	case m.has(keyBearer):
		return "", m.get(keyBearer), nil
	case m.has(keyIdentity):
		return "", "", m.wrong("hold an SSH key, and the repository is reached over HTTP; give its SSH address, or credentials with a token")
	case m.has(keyPassword):
		return orDefault(user, tokenUser), m.get(keyPassword), nil
	case user != "":
		return "", "", m.wrong("hold a username and no password; add %q or %q", keyPassword, keyToken)
	case m.has(keyCA):
		return "", "", nil
	}
	return "", "", m.wrong("hold nothing to log in with; give %q with %q, a %q, or a GitHub App", keyUsername, keyPassword, keyToken)
}

// token gives what an API takes as its token.
func (c *credentials) token(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", missingCredentials(name)
	}
	_, password, err := c.basic(ctx, name)
	if err == nil && password == "" {
		err = errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
			"the credentials %q hold no token; add a %q", name, keyToken)
	}
	return password, err
}

// webhookSecret gives what a forge signs its calls with: the token, or the whole of a file.
func (c *credentials) webhookSecret(ctx context.Context, name string) (string, error) {
	m, err := c.load(ctx, name, secretAge)
	if err != nil {
		return "", err
	}
	for _, secret := range []string{m.text, m.get(keyToken), m.get(keyPassword)} {
		if secret != "" {
			return secret, nil
		}
	}
	return "", m.wrong("hold no secret for webhooks; add a %q", keyToken)
}

// ssh gives the function that internal/git asks before each SSH session.
func (c *credentials) ssh(name string) git.SSHCredentials {
	if name == "" {
		return nil
	}
	return func(ctx context.Context) (git.SSHLogin, error) {
		m, err := c.load(ctx, name, secretAge)
		if err != nil {
			return git.SSHLogin{}, err
		}
		key, err := c.sshKey(m)
		if err != nil {
			return git.SSHLogin{}, err
		}
		login := git.SSHLogin{Name: name, Signers: []ssh.Signer{key}, KnownHosts: []byte(m.get(keyKnownHosts))}
		if err := git.CheckKnownHosts(login.KnownHosts); err != nil {
			return git.SSHLogin{}, m.wrong("have %q that cannot be read; give lines as ssh-keyscan prints them", keyKnownHosts)
		}
		switch policy := m.get(keyHostPolicy); policy {
		case "", "strict":
		case "accept-new":
			login.AcceptNew = true
		default:
			return git.SSHLogin{}, m.wrong("have a %q that is neither strict nor accept-new", keyHostPolicy)
		}
		return login, nil
	}
}

// secrets gives what must not be seen in a message about these credentials.
func (c *credentials) secrets(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return longestFirst(c.seen[name])
}

// redact takes all secrets that were ever read out of a text.
func (c *credentials) redact(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secrets := range c.seen {
		text = rules.Redact(text, longestFirst(secrets)...)
	}
	return text
}

// renewed tells whether the credentials that a host has just refused are others by now: then the same may be tried again. A
// short-lived token counts as renewed once, because it may have been taken back before its time.
func (c *credentials) renewed(ctx context.Context, name string) bool {
	if name == "" {
		return false
	}
	c.mu.Lock()
	before, was := c.used[name]
	c.mu.Unlock()
	m, err := c.load(ctx, name, 0)
	if err != nil || !was {
		return false
	}
	return m.sum != before || c.dropToken(m)
}

// retryRenewed makes a host's "I do not know you" something to try again where the credentials were changed meanwhile.
func (c *credentials) retryRenewed(ctx context.Context, name string, err error) error {
	if !unauthenticated(err) || !c.renewed(ctx, name) {
		return err
	}
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
		"the Git host refused the credentials %q, which were renewed meanwhile; it is tried again with the new ones", name)
}

// remember notes what must not be shown of these credentials, and what was handed out last.
func (c *credentials) remember(m *material, more ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[m.name] == m.sum && len(more) == 0 {
		return
	}
	c.used[m.name] = m.sum
	known := c.seen[m.name]
	for _, s := range append(m.secrets(), more...) {
		if !contains(known, s) {
			known = append(known, s)
		}
	}
	c.seen[m.name] = known[max(0, len(known)-maxSeen):]
}

func missingCredentials(name string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
		"the credentials %q are not among the committer's; put a file of that name into its credentials folder, with "+
			"\"username:password\" or a token, or a folder or Kubernetes Secret of that name", name)
}
