// Package sshsig makes signatures in OpenSSH's format for files ("ssh-keygen -Y sign", PROTOCOL.sshsig), which Git takes as
// signatures of commits. It is pure: the same ed25519 or RSA key and message give the same signature, and so the same commit id.
package sshsig

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	magic     = "SSHSIG"
	hashName  = "sha512"
	lineWidth = 70
)

// signed is what the key signs.
type signed struct {
	Magic     [6]byte
	Namespace string
	Reserved  string
	Hash      string
	Digest    string
}

// envelope is what the armour holds.
type envelope struct {
	Magic     [6]byte
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

// Sign signs a message for a namespace and gives the armoured signature. RSA keys sign with SHA-512: OpenSSH takes no older
// digest here.
func Sign(key ssh.Signer, namespace string, message []byte) (string, error) {
	sum := sha512.Sum512(message)
	s := signed{Namespace: namespace, Hash: hashName, Digest: string(sum[:])}
	copy(s.Magic[:], magic)
	sig, err := signWith(key, ssh.Marshal(s))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	e := envelope{
		Version: 1, PublicKey: string(key.PublicKey().Marshal()), Namespace: namespace, Hash: hashName, Signature: string(ssh.Marshal(sig)),
	}
	copy(e.Magic[:], magic)
	return armour(ssh.Marshal(e)), nil
}

func signWith(key ssh.Signer, data []byte) (*ssh.Signature, error) {
	if key.PublicKey().Type() == ssh.KeyAlgoRSA {
		rsa, ok := key.(ssh.AlgorithmSigner)
		if !ok {
			return nil, fmt.Errorf("the key cannot sign with %s", ssh.KeyAlgoRSASHA512)
		}
		return rsa.SignWithAlgorithm(nil, data, ssh.KeyAlgoRSASHA512)
	}
	return key.Sign(nil, data)
}

func armour(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 0 {
		n := min(lineWidth, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString("-----END SSH SIGNATURE-----\n")
	return b.String()
}
