package portal

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
)

// sealer makes opaque texts of values for cookies: nobody but who has the key can read or make them. The purpose is sealed too, so
// that what was made for one cookie is nothing in another.
type sealer struct{ aead cipher.AEAD }

// newSealer derives the key from any secret.
func newSealer(secret []byte) sealer {
	key, err := hkdf.Key(sha256.New, secret, nil, "towpath portal session v1", 32)
	if err != nil {
		panic(err) // the length is fixed
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return sealer{aead}
}

func (s sealer) seal(purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(plain); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, packed.Bytes(), []byte(purpose))), nil
}

// open reports whether the text is one of seal, for the same purpose.
func (s sealer) open(purpose, text string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	packed, err := s.aead.Open(nil, nil, b, []byte(purpose))
	if err != nil {
		return false
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	return err == nil && json.Unmarshal(plain, v) == nil
}

// randomKey is a key for as long as this process runs.
func randomKey() []byte { return []byte(rand.Text() + rand.Text()) }
