package committer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

const phrase = "correct horse battery staple"

// folder writes credentials as a folder of parts, as a volume of Kubernetes holds them; what was there before is taken away.
func (w *world) folder(name string, parts map[string]string) {
	w.t.Helper()
	if w.cfg.CredentialsDir == "" {
		w.cfg.CredentialsDir = w.t.TempDir()
	}
	// As the kubelet does it: a new folder, and one link that is swapped.
	dir := filepath.Join(w.cfg.CredentialsDir, name)
	version, err := os.MkdirTemp(mkdir(w.t, dir), "..v")
	if err != nil {
		w.t.Fatal(err)
	}
	for part, content := range parts {
		if err := os.WriteFile(filepath.Join(version, part), []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "..tmp")
	if err := os.Symlink(filepath.Base(version), link); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
		w.t.Fatal(err)
	}
}

func mkdir(t testing.TB, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// signingWith makes the world's repository sign with these parts.
func signingWith(format committerv1.Signing_Format, parts map[string]string) option {
	return func(w *world) {
		w.folder("signer", parts)
		w.repo.Signing = &committerv1.Signing{
			Format: format, Credentials: "signer", CommitterName: "Towpath Bot", CommitterEmail: "bot@example.com",
		}
	}
}

// sshParts gives a private key in OpenSSH's format, encrypted where there is a passphrase, and its public line.
func sshParts(t testing.TB, key crypto.Signer, passphrase string) (parts map[string]string, public string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	parts = map[string]string{}
	if passphrase != "" {
		parts["passphrase"] = passphrase
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	parts["identity"] = string(pem.EncodeToMemory(block))
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return parts, string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

func ed25519Key(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecdsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// gpgParts gives an OpenPGP key in armour, encrypted where there is a passphrase, and its public part.
func gpgParts(t testing.TB, algorithm packet.PublicKeyAlgorithm, passphrase string) (parts map[string]string, public string) {
	t.Helper()
	cfg := &packet.Config{Algorithm: algorithm, RSABits: 2048}
	entity, err := openpgp.NewEntity("Towpath Bot", "", "bot@example.com", cfg)
	if err != nil {
		t.Fatal(err)
	}
	armoured := func(kind string, write func(b *bytes.Buffer) error) string {
		var raw, out bytes.Buffer
		if err := write(&raw); err != nil {
			t.Fatal(err)
		}
		a, err := armor.Encode(&out, kind, nil)
		if err == nil {
			_, err = a.Write(raw.Bytes())
		}
		if err == nil {
			err = a.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.String() + "\n"
	}
	public = armoured(openpgp.PublicKeyType, func(b *bytes.Buffer) error { return entity.Serialize(b) })
	parts = map[string]string{}
	if passphrase != "" {
		parts["passphrase"] = passphrase
		if err := entity.EncryptPrivateKeys([]byte(passphrase), cfg); err != nil {
			t.Fatal(err)
		}
	}
	parts["git.asc"] = armoured(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return entity.SerializePrivateWithoutSigning(b, cfg) })
	return parts, public
}

// verifier gives what git needs to verify signatures by this public key.
func verifier(t testing.TB, format committerv1.Signing_Format, public string) []string {
	t.Helper()
	dir := t.TempDir()
	if format == committerv1.Signing_FORMAT_SSH {
		if _, err := exec.LookPath("ssh-keygen"); err != nil {
			t.Fatal("this test needs ssh-keygen on the PATH; install openssh-client")
		}
		signers := filepath.Join(dir, "allowed_signers")
		if err := os.WriteFile(signers, []byte("bot@example.com namespaces=\"git\" "+public), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"-c", "gpg.ssh.allowedSignersFile=" + signers}
	}
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal("this test needs gpg on the PATH; install gnupg")
	}
	program := filepath.Join(dir, "gpg")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --homedir %s --batch --no-autostart --trust-model always \"$@\"\n", gpg, dir)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--import")
	cmd.Stdin = strings.NewReader(public)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gpg --import: %v\n%s", err, out)
	}
	return []string{"-c", "gpg.program=" + program}
}

func TestSignedCommitsAreVerifiedByGit(t *testing.T) {
	const overSSH, overGPG = committerv1.Signing_FORMAT_SSH, committerv1.Signing_FORMAT_GPG
	sshCase := func(key crypto.Signer, passphrase string) func(testing.TB) (map[string]string, string) {
		return func(t testing.TB) (map[string]string, string) { return sshParts(t, key, passphrase) }
	}
	gpgCase := func(a packet.PublicKeyAlgorithm, passphrase string) func(testing.TB) (map[string]string, string) {
		return func(t testing.TB) (map[string]string, string) { return gpgParts(t, a, passphrase) }
	}
	for name, c := range map[string]struct {
		format committerv1.Signing_Format
		make   func(testing.TB) (map[string]string, string)
	}{
		"ssh ed25519":              {overSSH, sshCase(ed25519Key(t), "")},
		"ssh ed25519, encrypted":   {overSSH, sshCase(ed25519Key(t), phrase)},
		"ssh ecdsa":                {overSSH, sshCase(ecdsaKey(t), "")},
		"ssh rsa":                  {overSSH, sshCase(rsaKey(t), "")},
		"ssh rsa, encrypted":       {overSSH, sshCase(rsaKey(t), phrase)},
		"openpgp rsa":              {overGPG, gpgCase(packet.PubKeyAlgoRSA, "")},
		"openpgp rsa, encrypted":   {overGPG, gpgCase(packet.PubKeyAlgoRSA, phrase)},
		"openpgp eddsa":            {overGPG, gpgCase(packet.PubKeyAlgoEdDSA, "")},
		"openpgp eddsa, encrypted": {overGPG, gpgCase(packet.PubKeyAlgoEdDSA, phrase)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parts, public := c.make(t)
			w := embedded(t, signingWith(c.format, parts))
			w.send(w.change("dev", 1, map[string]string{"a.yaml": "1"}))
			w.committed(dep("dev", 1))
			theirs := w.bare.Commit("main", "theirs", map[string][]byte{"b": []byte("2")})
			w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
			w.committed(dep("dev", 2))

			with := verifier(t, c.format, public)
			ids := strings.Fields(w.bare.Git("rev-list", "main"))
			if len(ids) != 3 || !slices.Contains(ids, theirs) {
				t.Fatalf("the branch has %v", ids)
			}
			for _, id := range ids {
				out, err := gittest.TryGit(t, w.bare.Dir, append(with, "verify-commit", id)...)
				if (err == nil) == (id == theirs) {
					t.Errorf("git verify-commit %s (ours: %t): %v\n%s", id, id != theirs, err, out)
				}
			}
			if got := w.bare.Git("log", "-1", "--format=%cn <%ce> %an", "main"); got != "Towpath Bot <bot@example.com> Ada Lovelace" {
				t.Errorf("committer and author are %s", got)
			}
		})
	}
}

// dep is name, where a variable of a test has that name.
func dep(env string, n int) string { return name(env, n) }

func TestAKeyThatCannotSignStopsTheDeploymentAndNothingElse(t *testing.T) {
	good, public := sshParts(t, ed25519Key(t), "")
	other, _ := sshParts(t, ed25519Key(t), phrase)
	pgp, _ := gpgParts(t, packet.PubKeyAlgoEdDSA, phrase)
	for name, c := range map[string]struct {
		format committerv1.Signing_Format
		parts  map[string]string
		says   string
	}{
		"no key":                         {committerv1.Signing_FORMAT_SSH, map[string]string{"token": "PLANTED"}, `"identity"`},
		"a key that is none":             {committerv1.Signing_FORMAT_SSH, map[string]string{"identity": "PLANTED"}, "ssh-keygen"},
		"a key cut short":                {committerv1.Signing_FORMAT_SSH, map[string]string{"identity": good["identity"][:120] + "PLANTED"}, "ssh-keygen"},
		"an encrypted key alone":         {committerv1.Signing_FORMAT_SSH, map[string]string{"identity": other["identity"]}, `no "passphrase"`},
		"another passphrase":             {committerv1.Signing_FORMAT_SSH, map[string]string{"identity": other["identity"], "passphrase": "PLANTED"}, "does not open"},
		"a public key of somebody else":  {committerv1.Signing_FORMAT_SSH, map[string]string{"identity": other["identity"], "passphrase": phrase, "identity.pub": public}, `"identity.pub"`},
		"no OpenPGP key":                 {committerv1.Signing_FORMAT_GPG, good, `"git.asc"`},
		"an OpenPGP key that is none":    {committerv1.Signing_FORMAT_GPG, map[string]string{"git.asc": "PLANTED"}, "--export-secret-keys"},
		"an encrypted OpenPGP key alone": {committerv1.Signing_FORMAT_GPG, map[string]string{"git.asc": pgp["git.asc"]}, `no "passphrase"`},
		"an OpenPGP key's other phrase":  {committerv1.Signing_FORMAT_GPG, map[string]string{"git.asc": pgp["git.asc"], "passphrase": "PLANTED"}, "does not open"},
		"a format of the future":         {7, good, "format 7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := embedded(t, signingWith(committerv1.Signing_FORMAT_SSH, good))
			first := w.change("dev", 1, map[string]string{"a.yaml": "1"})
			w.send(first)
			w.committed(dep("dev", 1))

			w.repo = cloneRef(w.repo)
			w.repo.Signing.Format = c.format
			w.folder("signer", c.parts)
			w.send(w.change("dev", 2, map[string]string{"a.yaml": "2"}))
			got := w.failed(dep("dev", 2))
			if got.GetReason() != "SIGNING_FAILED" || !strings.Contains(got.GetMessage(), `"signer"`) || !strings.Contains(got.GetMessage(), c.says) ||
				strings.Contains(got.GetMessage(), "PLANTED") {
				t.Errorf("it ended as %v", got)
			}
			if w.commits() != 1 {
				t.Fatalf("the branch has %d commits", w.commits())
			}
			// What is in Git already needs no key to be told.
			w.send(first)
			w.settled()
			if w.has("deployment.failed", dep("dev", 1)) {
				t.Fatal("a deployment that is in Git failed for want of a key")
			}
			w.repo.Signing.Format = committerv1.Signing_FORMAT_SSH
			w.folder("signer", good)
			w.send(w.change("dev", 3, map[string]string{"a.yaml": "3"}))
			w.committed(dep("dev", 3))
		})
	}
}
