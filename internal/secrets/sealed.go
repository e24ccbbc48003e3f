package secrets

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Sizes of what the Sealed Secrets controller takes: a length, a session key encrypted by RSA, and the value encrypted by AES-GCM.
const (
	sealedPrefix = 2
	minRSA       = 256 // a key of 2048 bits; controllers make 4096
	maxRSA       = 2048
	gcmTag       = 16
)

// SealedProblem says why a text is no ciphertext as kubeseal makes it in its raw mode; "" when it is one. A plain value, encoded or
// not, is none: nobody should get a secret into Git by taking the one for the other. The text is never part of the answer.
func SealedProblem(text string) string {
	const remedy = "; make one with `tow secret seal`, or `kubeseal --raw`"
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "is no base64, so it is no ciphertext" + remedy
	}
	if len(raw) < sealedPrefix+minRSA+gcmTag {
		return fmt.Sprintf("is too short for a ciphertext: %d bytes, at least %d%s", len(raw), sealedPrefix+minRSA+gcmTag, remedy)
	}
	key := int(binary.BigEndian.Uint16(raw))
	if key < minRSA || key > maxRSA || key%8 != 0 || len(raw) < sealedPrefix+key+gcmTag {
		return "does not begin as a ciphertext does" + remedy
	}
	return ""
}

// CutSealed gives what tells one ciphertext from another to people: its end, for all begin alike with the key that they are made for.
func CutSealed(text string) string {
	const shown = 12
	if len(text) <= shown {
		return text
	}
	return "…" + text[len(text)-shown:]
}
