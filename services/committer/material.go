package committer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	creds "github.com/towpath-dev/towpath/internal/credentials"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// The parts of credentials: files of a folder, keys of a Kubernetes Secret.
const (
	keyUsername     = "username"
	keyPassword     = "password"
	keyToken        = "token"
	keyBearer       = "bearerToken"
	keyIdentity     = "identity"
	keyPublic       = "identity.pub"
	keyKnownHosts   = "known_hosts"
	keyHostPolicy   = "host_key_policy"
	keyPassphrase   = "passphrase"
	keyAppID        = "githubAppID"
	keyInstallation = "githubAppInstallationID"
	keyAppKey       = "githubAppPrivateKey"
	keyAppURL       = "githubAppBaseURL"
	keyCA           = "caFile"
	keyGPG          = "git.asc"
)

// spellings are other names of the same parts: of Kubernetes' own Secret types, Argo CD and older Flux.
var spellings = map[string]string{
	"ssh-privatekey": keyIdentity, "sshPrivateKey": keyIdentity, "ssh-publickey": keyPublic, "ssh-knownhosts": keyKnownHosts,
	"ca.crt": keyCA, "githubAppEnterpriseBaseUrl": keyAppURL,
}

// confidential are the parts that nobody may see.
var confidential = []string{keyPassword, keyToken, keyBearer, keyIdentity, keyPassphrase, keyAppKey, keyGPG}

var parts = func() map[string]string {
	all := maps.Clone(spellings)
	for _, k := range []string{
		keyUsername, keyPassword, keyToken, keyBearer, keyIdentity, keyPublic, keyKnownHosts, keyHostPolicy, keyPassphrase,
		keyAppID, keyInstallation, keyAppKey, keyAppURL, keyCA, keyGPG,
	} {
		all[k] = k
	}
	return all
}()

// maxPart bounds one part, and what a forge answers.
const maxPart = creds.MaxPart

// material is what was found under a name.
type material struct {
	name string
	// where it was found, for messages.
	where string
	parts map[string]string
	// text is the whole content of a single file.
	text string
	sum  digest
}

func (m *material) get(part string) string { return m.parts[part] }

func (m *material) has(part string) bool { return m.parts[part] != "" }

// wrong tells what is not as it should be, never by its content.
func (m *material) wrong(format string, args ...any) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED, "the credentials %q (%s) "+format,
		append([]any{m.name, m.where}, args...)...).With("credentials", m.name)
}

// of gives a digest of some parts, to know what was made of them.
func (m *material) of(keys ...string) digest {
	h := sha256.New()
	for _, k := range keys {
		fmt.Fprintf(h, "%s %d\n%s", k, len(m.parts[k]), m.parts[k])
	}
	return digest(h.Sum(nil))
}

// load reads credentials: a file or folder, else a Kubernetes Secret.
func (c *credentials) load(ctx context.Context, name string, maxAge time.Duration) (*material, error) {
	if !creds.ValidName(name) {
		return nil, missingCredentials(name)
	}
	m, err := c.loadFile(name)
	if m == nil && err == nil {
		m, err = c.loadSecret(ctx, name, maxAge)
	}
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, missingCredentials(name)
	}
	if len(m.parts) == 0 && m.text == "" {
		return nil, m.wrong("are empty; fill them, for example with a %q", keyToken)
	}
	m.sum = m.of(append(slices.Sorted(maps.Keys(m.parts)), keyToken)...)
	c.remember(m)
	return m, nil
}

// loadFile gives nil when there is neither a file nor a folder.
func (c *credentials) loadFile(name string) (*material, error) {
	f, err := creds.ReadDir(c.dir, name, partOf)
	var large *creds.TooLargeError
	switch {
	case errors.As(err, &large):
		return nil, (&material{name: name, where: "its file"}).wrong("have more than 1 MiB in %q; that is no secret", large.Part)
	case err != nil:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the credentials %q cannot be read; give the committer access to their file", name).Because(err)
	case f == nil:
		return nil, nil
	}
	for _, file := range f.Files {
		if !file.Mounted && (file.Part == "" || slices.Contains(confidential, file.Part)) {
			c.warnOpen(name, file.Path, file.Mode)
		}
	}
	m := &material{name: name, where: f.Where, parts: f.Parts}
	if f.Text != "" {
		m.single(f.Text)
	}
	return m, nil
}

// partOf gives the part that a file or key is.
func partOf(file string) string { return parts[file] }

// single takes the content of a file that stands for itself.
func (m *material) single(text string) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "-----BEGIN PGP "):
		m.parts[keyGPG] = text
	case strings.HasPrefix(text, "-----BEGIN ") && strings.Contains(text, "PRIVATE KEY-----"):
		m.parts[keyIdentity] = text
	default:
		m.text = text
		if user, password, ok := strings.Cut(text, ":"); ok {
			m.set(keyUsername, user)
			m.set(keyPassword, password)
		} else {
			m.set(keyToken, text)
		}
	}
}

func (m *material) set(part, value string) {
	if value != "" {
		m.parts[part] = value
	}
}

// loadSecret gives nil when there is no such Secret.
func (c *credentials) loadSecret(ctx context.Context, name string, maxAge time.Duration) (*material, error) {
	if c.kube == nil {
		return nil, nil
	}
	data, err := c.kube.Secret(ctx, name, maxAge)
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, nil
	case errs.Is(err, errs.Denied):
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED, "the credentials %q cannot be read: %s", name, errs.Message(err)).
			Because(err)
	case err != nil:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the credentials %q cannot be read from Kubernetes: %s", name, errs.Message(err)).Because(err)
	}
	f := creds.OfSecret(data, partOf)
	return &material{name: name, where: f.Where, parts: f.Parts}, nil
}

// warnOpen tells the operator, once, of a secret that every user of the machine can read. It is used nevertheless: what a
// volume or a container's user allows is not always up to whoever runs the committer.
func (c *credentials) warnOpen(name, path string, mode fs.FileMode) {
	if mode.Perm()&0o004 == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.warned[path] {
		c.warned[path] = true
		c.log.Warn("credentials can be read by every user of this machine; take that right away", "credentials", name,
			"mode", mode.Perm().String())
	}
}

// secrets gives the forms in which the confidential parts may come back in a host's words.
func (m *material) secrets() []string {
	var out []string
	add := func(s string) {
		if len(s) < 4 {
			return
		}
		out = append(out, s)
		if q := url.QueryEscape(s); q != s {
			out = append(out, q)
		}
		if p := url.PathEscape(s); p != s {
			out = append(out, p)
		}
	}
	for _, part := range confidential {
		value := m.parts[part]
		if value == "" {
			continue
		}
		if strings.Contains(value, "\n") {
			for line := range strings.Lines(value) {
				if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
					out = append(out, line)
				}
			}
			continue
		}
		add(value)
		for _, user := range []string{m.parts[keyUsername], tokenUser, ""} {
			out = append(out, base64.StdEncoding.EncodeToString([]byte(user+":"+value)))
		}
	}
	if m.text != "" {
		add(m.text)
	}
	return out
}

// longestFirst orders secrets so that a part is not taken out of the middle of a whole.
func longestFirst(secrets []string) []string {
	out := slices.Clone(secrets)
	slices.SortStableFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}

func contains(all []string, s string) bool { return slices.Contains(all, s) }

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// unauthenticated tells whether a host did not accept the credentials.
func unauthenticated(err error) bool {
	var no *git.Refused
	return errs.Is(err, errs.Unauthenticated) || errors.As(err, &no) && no.Status == 401
}
