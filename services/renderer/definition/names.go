package definition

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/towpath-dev/towpath/internal/secrets"
)

// MaxName is how long the names of what definitions make may be: a StatefulSet appends a revision to its name and puts that
// into a label of 63 characters.
const MaxName = 50

// Label makes a DNS label of at most MaxName characters from a text. Dots and everything else that a label cannot hold become
// dashes; a text that is too long is cut and gets a hash of the whole, so that two long texts stay different.
func Label(text string) string { return Shorten(text, MaxName) }

// Shorten makes a DNS label of at most limit characters (at least 10) from a text, as Label does.
func Shorten(text string, limit int) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, text)
	out = strings.Trim(out, "-")
	if len(out) <= limit && out != "" {
		return out
	}
	sum := sha256.Sum256([]byte(text))
	start := strings.TrimRight(out[:min(len(out), limit-9)], "-")
	if start == "" {
		start = "x"
	}
	return start + "-" + hex.EncodeToString(sum[:4])
}

// Secret is a reference to one key of a Secret in the environment's namespace. It stands where a secret value would: the
// value itself never enters rendering.
type Secret struct {
	Name, Key string
}

// SecretMark begins a secret reference inside an output's text. Input that holds it is refused, so that nobody can name a
// Secret that no definition gave to them.
const SecretMark = secrets.Mark

// EncodeSecret makes the text that stands for one key of a Secret. Templates call it as encodeSecretRef.
func EncodeSecret(name, key string) (string, error) {
	text := SecretMark + name + "/" + key + ")"
	if secrets.Reference.FindString(text) != text {
		return "", fmt.Errorf("encodeSecretRef: %q and %q are not the name of a Secret and a key of it", name, key)
	}
	return text, nil
}

// Piece is a part of an output's text: plain text, or a secret reference when Secret is set.
type Piece struct {
	Text   string
	Secret *Secret
}

// SplitSecrets splits an output's text at the secret references in it.
func SplitSecrets(text string) []Piece {
	if !strings.Contains(text, SecretMark) {
		return []Piece{{Text: text}}
	}
	var out []Piece
	at := 0
	for _, m := range secrets.Reference.FindAllStringSubmatchIndex(text, -1) {
		if m[0] > at {
			out = append(out, Piece{Text: text[at:m[0]]})
		}
		out = append(out, Piece{Secret: &Secret{Name: text[m[2]:m[3]], Key: text[m[4]:m[5]]}})
		at = m[1]
	}
	if at < len(text) {
		out = append(out, Piece{Text: text[at:]})
	}
	return out
}

// HasSecret reports whether there is a secret reference anywhere in a value.
func HasSecret(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, SecretMark)
	case map[string]any:
		for k, e := range v {
			if HasSecret(k) || HasSecret(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if HasSecret(e) {
				return true
			}
		}
	}
	return false
}
