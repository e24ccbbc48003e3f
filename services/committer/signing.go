package committer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/sshsig"
)

// signature gives the armoured signature of a commit's bytes.
type signature func(payload []byte) (armoured string, err error)

// sign makes the commit a signed one where the repository asks for that. The key is resolved once per fold and only when there
// is a commit to sign: a deployment that is in Git already needs none. Whatever is wrong with it is told before anything is
// pushed.
func (l *lane) sign(ctx context.Context, f *fold, spec *git.CommitSpec) error {
	how := l.ref.GetSigning()
	if how.GetFormat() == committerv1.Signing_FORMAT_UNSPECIFIED {
		return nil
	}
	if f.sign == nil {
		signer, err := l.svc.credentials.signer(ctx, how)
		if err != nil {
			return err
		}
		f.sign = signer
	}
	spec.Sign = f.sign
	spec.Committer.Name = orDefault(how.GetCommitterName(), spec.Committer.Name)
	spec.Committer.Email = orDefault(how.GetCommitterEmail(), spec.Committer.Email)
	return nil
}

// signer gives what signs commits. Its errors, and those of signing, are errs.Precondition with REASON_SIGNING_FAILED, or
// errs.Unavailable where the key may be had later.
func (c *credentials) signer(ctx context.Context, how *committerv1.Signing) (signature, error) {
	m, err := c.load(ctx, how.GetCredentials(), secretAge)
	if err != nil {
		return nil, signingFailed(err)
	}
	key := m.of(keyIdentity, keyPassphrase, keyPassword, keyGPG)
	key[0] ^= byte(how.GetFormat())
	c.mu.Lock()
	sign := c.signers[key]
	c.mu.Unlock()
	if sign != nil {
		return sign, nil
	}
	switch how.GetFormat() {
	case committerv1.Signing_FORMAT_SSH:
		sign, err = c.sshSignature(m)
	case committerv1.Signing_FORMAT_GPG:
		sign, err = gpgSignature(m)
	default:
		err = m.wrong("are to sign in the format %d, which this committer does not know; update it", how.GetFormat())
	}
	if err != nil {
		return nil, signingFailed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.signers) >= maxParsed {
		clear(c.signers)
	}
	c.signers[key] = sign
	return sign, nil
}

// signingFailed says the same under the reason of signing.
func signingFailed(err error) error {
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Precondition {
		return err
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_SIGNING_FAILED, "the commit cannot be signed: %s", e.Msg).Because(err)
}

// sshKey gives the private key, parsed once: opening an encrypted one takes as long as a push.
func (c *credentials) sshKey(m *material) (ssh.Signer, error) {
	if !m.has(keyIdentity) {
		return nil, m.wrong("hold no SSH key; put the private key into %q and the host's keys into %q", keyIdentity, keyKnownHosts)
	}
	key := m.of(keyIdentity, keyPublic, keyPassphrase, keyPassword)
	c.mu.Lock()
	have := c.keys[key]
	c.mu.Unlock()
	if have != nil {
		return have, nil
	}
	signer, err := parseSSHKey(m)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) >= maxParsed {
		clear(c.keys)
	}
	c.keys[key] = signer
	return signer, nil
}

// parseSSHKey keeps the library's words to itself: they are about the key's inside.
func parseSSHKey(m *material) (ssh.Signer, error) {
	pem := []byte(m.get(keyIdentity) + "\n")
	raw, err := ssh.ParseRawPrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		phrase := orDefault(m.get(keyPassphrase), m.get(keyPassword))
		if phrase == "" {
			return nil, m.wrong("have an encrypted %q and no %q; add it", keyIdentity, keyPassphrase)
		}
		if raw, err = ssh.ParseRawPrivateKeyWithPassphrase(pem, []byte(phrase)); err != nil {
			return nil, m.wrong("have a %q that does not open %q; correct it", keyPassphrase, keyIdentity)
		}
	}
	if err != nil {
		return nil, m.wrong("have an %q that is no private key in OpenSSH or PEM form; make one with ssh-keygen -t ed25519", keyIdentity)
	}
	signer, err := ssh.NewSignerFromKey(raw)
	if err != nil || signer.PublicKey().Type() == ssh.InsecureKeyAlgoDSA {
		return nil, m.wrong("have an %q of a kind that no host takes; make one with ssh-keygen -t ed25519", keyIdentity)
	}
	if m.has(keyPublic) {
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.get(keyPublic)))
		if err != nil || !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
			return nil, m.wrong("have an %q that does not belong to %q; put the matching one there, or leave it out", keyPublic, keyIdentity)
		}
	}
	return signer, nil
}

func (c *credentials) sshSignature(m *material) (signature, error) {
	key, err := c.sshKey(m)
	if err != nil {
		return nil, err
	}
	return func(payload []byte) (string, error) {
		armoured, err := sshsig.Sign(key, "git", payload)
		if err != nil {
			return "", signingFailed(m.wrong("have an %q that cannot sign; make one with ssh-keygen -t ed25519", keyIdentity))
		}
		return armoured, nil
	}, nil
}

func gpgSignature(m *material) (signature, error) {
	if !m.has(keyGPG) {
		return nil, m.wrong("hold no OpenPGP key; put what gpg --export-secret-keys --armor prints into %q", keyGPG)
	}
	ring, err := openpgp.ReadArmoredKeyRing(strings.NewReader(m.get(keyGPG) + "\n"))
	if err != nil || len(ring) == 0 {
		return nil, m.wrong("have a %q that is no OpenPGP key; put what gpg --export-secret-keys --armor prints there", keyGPG)
	}
	if len(ring) > 1 {
		return nil, m.wrong("have %d keys in %q; export one alone, because nobody could tell which signs", len(ring), keyGPG)
	}
	entity := ring[0]
	if entity.Revoked(time.Now()) {
		return nil, m.wrong("have an OpenPGP key in %q that is revoked; export another one", keyGPG)
	}
	key, ok := entity.SigningKey(time.Now())
	if !ok {
		return nil, m.wrong("have an OpenPGP key in %q that may not sign now; it has expired, or is for other uses", keyGPG)
	}
	if key.PrivateKey == nil || key.PrivateKey.Dummy() {
		return nil, m.wrong("have only the public part of the signing key in %q; use gpg --export-secret-keys", keyGPG)
	}
	if key.PrivateKey.Encrypted {
		if !m.has(keyPassphrase) && !m.has(keyPassword) {
			return nil, m.wrong("have an encrypted %q and no %q; add it", keyGPG, keyPassphrase)
		}
		if key.PrivateKey.Decrypt([]byte(orDefault(m.get(keyPassphrase), m.get(keyPassword)))) != nil {
			return nil, m.wrong("have a %q that does not open %q; correct it", keyPassphrase, keyGPG)
		}
	}
	cfg := &packet.Config{DefaultHash: crypto.SHA512, SigningKeyId: key.PublicKey.KeyId}
	return func(payload []byte) (string, error) {
		var b bytes.Buffer
		if err := openpgp.ArmoredDetachSign(&b, entity, bytes.NewReader(payload), cfg); err != nil {
			return "", signingFailed(m.wrong("have an OpenPGP key in %q that does not sign any more; it may have expired: export a new one", keyGPG))
		}
		return b.String() + "\n", nil
	}, nil
}

// fingerprint tells people which key signs; "" when it cannot be had.
func (c *credentials) fingerprint(ctx context.Context, how *committerv1.Signing) (string, error) {
	m, err := c.load(ctx, how.GetCredentials(), secretAge)
	if err != nil {
		return "", signingFailed(err)
	}
	if how.GetFormat() == committerv1.Signing_FORMAT_SSH {
		key, err := c.sshKey(m)
		if err != nil {
			return "", signingFailed(err)
		}
		return ssh.FingerprintSHA256(key.PublicKey()), nil
	}
	ring, err := openpgp.ReadArmoredKeyRing(strings.NewReader(m.get(keyGPG) + "\n"))
	if err != nil || len(ring) == 0 {
		_, err := gpgSignature(m)
		return "", signingFailed(err)
	}
	return fmt.Sprintf("%X", ring[0].PrimaryKey.Fingerprint), nil
}
