package events

import (
	"math/rand/v2"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Delays are the waits between attempts. Zero values are the defaults; tests make them short.
type Delays struct {
	// Failure are the waits after internal errors, the last one repeated. Default 1 s, 5 s, 30 s, 2 m, 10 m.
	Failure []time.Duration
	// ParkMin and ParkMax bound the growing wait of a parked lane. Default 200 ms and 15 s.
	ParkMin, ParkMax time.Duration
	// ConflictMin and ConflictMax bound the growing wait after a conflict. Default 50 ms and 5 s.
	ConflictMin, ConflictMax time.Duration
}

func (d Delays) withDefaults() Delays {
	if len(d.Failure) == 0 {
		d.Failure = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
	}
	set := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&d.ParkMin, 200*time.Millisecond)
	set(&d.ParkMax, 15*time.Second)
	set(&d.ConflictMin, 50*time.Millisecond)
	set(&d.ConflictMax, 5*time.Second)
	return d
}

// action is what happens to a message after an attempt.
type action int

const (
	actionAck action = iota
	actionPark
	actionRetry
	actionDeadLetter
)

// patience is how many conflicts in a row are normal. From then on the wait is shown like an outage.
const patience = 10

// tally counts what a message has been through in this process.
type tally struct{ attempts, failures, parks, conflicts int }

// next decides by the kind of the error. Outages and conflicts never add up to a dead letter: they end, and then the same
// message works. Internal errors may be a fault of the message, so they are counted.
func (t *tally) next(err error, d Delays, maxFailures int) (action, time.Duration) {
	if err == nil {
		return actionAck, 0
	}
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Timeout:
		t.parks++
		t.conflicts = 0
		return actionPark, grow(d.ParkMin, d.ParkMax, t.parks)
	case errs.Conflict:
		t.conflicts++
		t.parks = 0
		if t.conflicts > patience {
			return actionPark, grow(d.ConflictMin, d.ConflictMax, t.conflicts)
		}
		return actionRetry, grow(d.ConflictMin, d.ConflictMax, t.conflicts)
	case errs.Internal, errs.Cancelled:
		t.failures++
		t.parks, t.conflicts = 0, 0
		if t.failures >= maxFailures {
			return actionDeadLetter, 0
		}
		return actionRetry, d.Failure[min(t.failures, len(d.Failure))-1]
	default:
		return actionDeadLetter, 0
	}
}

// grow doubles from lo to hi and takes away up to a fifth, so that many lanes do not probe in step.
func grow(lo, hi time.Duration, n int) time.Duration {
	d := hi
	if shift := min(n-1, 20); lo<<shift < hi {
		d = lo << shift
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}
