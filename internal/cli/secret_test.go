package cli_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unseal decrypts as the Sealed Secrets controller does. That it does so is held by testdata/seal/library.sealed, which the
// controller's own library (v0.40.0) has encrypted with the certificate beside it.
func unseal(t *testing.T, label, sealed string) (string, error) {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(readTestFile(t, "testdata/seal/key.der.b64")))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sealed))
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.BigEndian.Uint16(raw))
	session, err := rsa.DecryptOAEP(sha256.New(), rand.Reader, key, raw[2:2+n], []byte(label))
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(session)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	value, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), raw[2+n:], nil)
	return string(value), err
}

func readTestFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSealEncryptsAsTheControllerDecrypts(t *testing.T) {
	if got, err := unseal(t, "shop-prod/payments", readTestFile(t, "testdata/seal/library.sealed")); err != nil || got != "a value of the library" {
		t.Fatalf("what the controller's library encrypted is %q, %v", got, err)
	}
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, []byte("hunter2\nsecond line"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, nil, []string{"secret", "seal", "payments/api-key", "--namespace", "shop-prod", "--cert", "testdata/seal/cert.pem", "--from-file", value})
	if r.code != 0 || strings.Contains(r.stdout+r.stderr, "hunter2") {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if got, err := unseal(t, "shop-prod/payments", r.stdout); err != nil || got != "hunter2\nsecond line" {
		t.Errorf("decrypted %q, %v", got, err)
	}
	for _, other := range []string{"shop-dev/payments", "shop-prod/other", ""} {
		if _, err := unseal(t, other, r.stdout); err == nil {
			t.Errorf("it can be decrypted as %q", other)
		}
	}
}
