package git

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Refusal is what a host refused. It is told by the protocol, never by the host's words.
type Refusal int

const (
	// RefusedBranch means that the host took the objects and would not move the branch: a protected branch, or a hook.
	RefusedBranch Refusal = iota
	// RefusedContent means that the host could not or would not store the objects: a full disk, a quota, an object check.
	RefusedContent
	// RefusedAccess means that the host does not know the caller, does not let it in or shows it no such repository.
	RefusedAccess
)

// What tells what was refused.
func (r *Refused) What() Refusal {
	switch {
	case r.Status == http.StatusRequestEntityTooLarge:
		return RefusedContent
	case r.Status != 0:
		return RefusedAccess
	case r.Unpacked:
		return RefusedBranch
	default:
		return RefusedContent
	}
}

// Limited is a host that asks for fewer requests; test with errors.As. It did nothing of what was asked.
type Limited struct {
	// Wait is for how long; zero when the host does not say.
	Wait time.Duration
	// Words are the host's.
	Words string
}

// Error gives the host's words.
func (l *Limited) Error() string { return fmt.Sprintf("asks to wait %s: %s", l.Wait, l.Words) }

// maxLimit bounds what a host's answer may make us wait: a wrong date must not stop a branch for good.
const maxLimit = time.Hour

// limited reads whether an answer asks for fewer requests: 429, or 403 and 503 that say for how long.
func limited(res *http.Response, words string, now time.Time) *Limited {
	wait := waitOf(res.Header, now)
	switch res.StatusCode {
	case http.StatusTooManyRequests:
	case http.StatusForbidden, http.StatusServiceUnavailable:
		if wait == 0 {
			return nil
		}
	default:
		return nil
	}
	return &Limited{Wait: min(wait, maxLimit), Words: words}
}

// waitOf reads for how long: Retry-After in seconds or as a date, or the end of a budget that is used up, as GitHub and GitLab say it.
func waitOf(h http.Header, now time.Time) time.Duration {
	if text := h.Get("Retry-After"); text != "" {
		if seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err == nil {
			return max(0, time.Duration(seconds)*time.Second)
		}
		if at, err := http.ParseTime(text); err == nil {
			return max(0, at.Sub(now))
		}
	}
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
		if h.Get(prefix+"Remaining") != "0" {
			continue
		}
		if at, err := strconv.ParseInt(h.Get(prefix+"Reset"), 10, 64); err == nil {
			return max(0, time.Unix(at, 0).Sub(now))
		}
	}
	return 0
}

// tooMany is the error for a host that asks for fewer requests.
func tooMany(l *Limited) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "the Git host asks for fewer requests: %s", l.Words).
		With("retry_after", strconv.Itoa(int(l.Wait.Seconds()))).Because(l)
}

// limitOf gives the host's wish in an error, nil when there is none.
func limitOf(err error) *Limited {
	var status *statusError
	if errors.As(err, &status) {
		return status.limit
	}
	return nil
}
