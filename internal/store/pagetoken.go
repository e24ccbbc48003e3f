package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// pageSumBytes is the length of the checksum of a page token. It guards against mixing up lists, not against attackers: a
// forged token gives nothing that the same caller may not list anyway.
const pageSumBytes = 8

// pageToken makes a token for the place behind `after` in the list that identity names.
func pageToken(after string, identity ...string) string {
	return base64.RawURLEncoding.EncodeToString(append(pageSum(after, identity), after...))
}

// parsePageToken gives the place in a list; "" for the empty token, the start.
func parsePageToken(token string, identity ...string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil && len(b) > pageSumBytes && base64.RawURLEncoding.EncodeToString(b) == token { // the decoder skips line breaks
		after = string(b[pageSumBytes:])
		if bytes.Equal(b[:pageSumBytes], pageSum(after, identity)) {
			return after, nil
		}
	}
	const problem = "this token was not made by this list with this filter; leave it out to start from the first page"
	return "", &errs.Error{
		Kind: errs.Invalid, Reason: errorsv1.Reason_REASON_INVALID_PAGE_TOKEN, Msg: "the page token is not valid",
		Fields: []errs.Field{{Path: "page_token", Problem: problem}},
	}
}

// pageSum is a checksum of the place and the list, each part with its length so that parts cannot flow into each other.
func pageSum(after string, identity []string) []byte {
	var b []byte
	for _, s := range append([]string{after}, identity...) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return sum[:pageSumBytes]
}
