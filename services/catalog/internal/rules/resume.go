package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// ResumeToken names a place in a watched list: for each of the logs that the list follows, the revision up to which everything
// was sent. list says which list it is, so that a token of another one is noticed.
func ResumeToken(list string, revs []int64) string {
	parts := make([]string, 0, len(revs)+1)
	parts = append(parts, listSum(list))
	for _, r := range revs {
		parts = append(parts, strconv.FormatInt(r, 36))
	}
	return strings.Join(parts, "-")
}

// ParseResumeToken gives the n revisions of a token of that list; nil for the empty token: begin with a listing.
func ParseResumeToken(list, token string, n int) ([]int64, error) {
	if token == "" {
		return nil, nil
	}
	parts := strings.Split(token, "-")
	revs := make([]int64, 0, n)
	for _, p := range parts[1:] {
		if r, err := strconv.ParseInt(p, 36, 64); err == nil && r >= 0 {
			revs = append(revs, r)
		}
	}
	if parts[0] != listSum(list) || len(revs) != n || ResumeToken(list, revs) != token {
		return nil, errs.InvalidField("resume_token", "was not given by this list; leave it out to begin with all that is there")
	}
	return revs, nil
}

// listSum is a checksum of a list's identity. It guards against mixing up lists, not against attackers: a forged token gives
// nothing that the same caller may not watch anyway.
func listSum(list string) string {
	sum := sha256.Sum256([]byte(list))
	return hex.EncodeToString(sum[:5])
}
