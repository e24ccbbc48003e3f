package events

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const encodingZstd = "zstd"

// codec compresses bodies. EncodeAll and DecodeAll need no goroutines and may be used concurrently.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, encErr := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
	// The decoder refuses anything that would grow over the admission limit, before it allocates it.
	dec, decErr := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxBody), zstd.WithDecoderLowmem(true))
	return &codec{enc: enc, dec: dec}, errors.Join(encErr, decErr)
}

// pack compresses a body when that makes it smaller; encoding is "" when it does not.
func (c *codec) pack(body []byte) (stored []byte, encoding string) {
	if len(body) < compressFrom {
		return body, ""
	}
	if z := c.enc.EncodeAll(body, nil); len(z) < len(body) {
		return z, encodingZstd
	}
	return body, ""
}

// unpack is the inverse. An error is poison: the same bytes never unpack.
func (c *codec) unpack(stored []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return stored, nil
	case encodingZstd:
		body, err := c.dec.DecodeAll(stored, nil)
		if err != nil {
			return nil, poison("the compressed body is damaged or too large").Because(err)
		}
		return body, nil
	default:
		return nil, poison("the body has the unknown encoding %q", encoding)
	}
}

// objectName names a large body by the SHA-256 of its bytes and, so that removing it after the acknowledgement never
// takes it from another message with the same content, of the message that owns it.
func objectName(subject, id string, stored []byte) string {
	owner := sha256.Sum256([]byte(subject + "\n" + id))
	return contentSum(stored) + "." + hex.EncodeToString(owner[:8])
}

func contentSum(stored []byte) string {
	sum := sha256.Sum256(stored)
	return hex.EncodeToString(sum[:])
}

// checkObject compares a fetched body with its name.
func checkObject(name string, stored []byte) error {
	if want, _, _ := strings.Cut(name, "."); want != contentSum(stored) {
		return poison("the stored body does not have the digest of its name %s", name)
	}
	return nil
}
