package webhook

import (
	"crypto/sha256"
	"sync"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Seen remembers webhooks for a while, so that one that comes again, from the host or from somebody who has recorded it, costs
// nothing. It goes by what is signed: the delivery's number is not. The zero value is ready for use, by several goroutines.
type Seen struct {
	mu sync.Mutex
	at map[[sha256.Size]byte]time.Time
}

// The time and number of what is remembered.
const (
	seenFor = 10 * time.Minute
	seenMax = 10_000
)

// Check gives errs.AlreadyExists for a body that came before in this scope, and remembers it.
func (s *Seen) Check(scope string, body []byte, now time.Time) error {
	h := sha256.New()
	h.Write([]byte(scope + "\n"))
	h.Write(body)
	key := [sha256.Size]byte(h.Sum(nil))
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.at[key]; ok && now.Sub(at) < seenFor {
		return errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS, "the webhook came before")
	}
	if s.at == nil {
		s.at = map[[sha256.Size]byte]time.Time{}
	}
	if len(s.at) >= seenMax {
		for k, at := range s.at {
			if now.Sub(at) >= seenFor {
				delete(s.at, k)
			}
		}
		if len(s.at) >= seenMax {
			clear(s.at) // then some are looked at twice
		}
	}
	s.at[key] = now
	return nil
}
