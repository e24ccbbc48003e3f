package audit

import (
	"fmt"
	"sync"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// Refusals bounds how many calls a second of callers that nobody knows, or that call too often, get into the trail: else whoever
// can reach the port could fill the disk. How many were left out is told with the next one. The zero value is ready to use.
type Refusals struct {
	mu   sync.Mutex
	rate *rate.Limiter
	left int64
}

const (
	refusalsPerSecond = 10
	refusalsBurst     = 100
)

// Admit reports whether a failure of that code is recorded, and how many were not before it.
func (r *Refusals) Admit(code codes.Code) (left int64, ok bool) {
	if code != codes.Unauthenticated && code != codes.ResourceExhausted {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rate == nil {
		r.rate = rate.NewLimiter(refusalsPerSecond, refusalsBurst)
	}
	if !r.rate.Allow() {
		r.left++
		return 0, false
	}
	left, r.left = r.left, 0
	return left, true
}

// LeftOutBefore notes in an event how many calls before it were not recorded.
func LeftOutBefore(e *catalogv1.AuditEvent, left int64) {
	if left > 0 {
		e.Message += fmt.Sprintf(" (%d more refused calls before this one are not in the trail: there were too many)", left)
	}
}
