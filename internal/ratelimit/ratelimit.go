// Package ratelimit bounds how many calls a caller may make: token buckets by subject, for reads and writes apart, and by address
// for calls without a valid token. Its memory is bounded whatever callers there are: who was not seen for longest is forgotten,
// and begins with a full bucket again.
package ratelimit

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limit is a token bucket.
type Limit struct {
	// PerSecond is how many calls a second go on and on; no limit when 0.
	PerSecond float64
	// Burst is how many may come at once; PerSecond, at least 1, when 0.
	Burst int
}

func (l Limit) bucket() *rate.Limiter {
	if l.PerSecond <= 0 {
		return nil
	}
	burst := l.Burst
	if burst <= 0 {
		burst = max(1, int(l.PerSecond))
	}
	return rate.NewLimiter(rate.Limit(l.PerSecond), burst)
}

// Config says how much is allowed.
type Config struct {
	// Reads and Writes are for each subject.
	Reads, Writes Limit
	// Failures are calls without a valid token, for each address.
	Failures Limit
	// MaxKeys is how many subjects, and how many addresses, are remembered; 10,000 when 0.
	MaxKeys int
	// Clock gives the time. Default: time.Now.
	Clock func() time.Time
}

// Limiter implements rpc.Limiter.
type Limiter struct {
	now      func() time.Time
	reads    *keyed
	writes   *keyed
	failures *keyed
}

// New makes a limiter.
func New(cfg Config) *Limiter {
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 10_000
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Limiter{
		now: cfg.Clock, reads: newKeyed(cfg.Reads, cfg.MaxKeys), writes: newKeyed(cfg.Writes, cfg.MaxKeys), failures: newKeyed(cfg.Failures, cfg.MaxKeys),
	}
}

// Take counts a call of the subject. It gives how long to wait where there were too many; then the call is not counted.
func (l *Limiter) Take(subject string, reads bool) time.Duration {
	if reads {
		return l.reads.take(subject, l.now())
	}
	return l.writes.take(subject, l.now())
}

// Blocked gives how long an address has to wait that made too many calls without a valid token.
func (l *Limiter) Blocked(address string) time.Duration { return l.failures.empty(address, l.now()) }

// Failed counts a call without a valid token.
func (l *Limiter) Failed(address string) { l.failures.take(address, l.now()) }

// keyed is a bucket for each key, the most recently used first.
type keyed struct {
	limit Limit
	max   int

	mu    sync.Mutex
	order *list.List // of *entry
	byKey map[string]*list.Element
}

type entry struct {
	key    string
	bucket *rate.Limiter
}

func newKeyed(l Limit, limit int) *keyed {
	return &keyed{limit: l, max: limit, order: list.New(), byKey: map[string]*list.Element{}}
}

// of gives the bucket of a key, nil where there is no limit, or none yet and none is to be made.
func (k *keyed) of(key string, create bool) *rate.Limiter {
	if k.limit.PerSecond <= 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.byKey[key]; ok {
		k.order.MoveToFront(e)
		return e.Value.(*entry).bucket
	}
	if !create {
		return nil
	}
	if len(k.byKey) >= k.max {
		last := k.order.Back()
		k.order.Remove(last)
		delete(k.byKey, last.Value.(*entry).key)
	}
	e := &entry{key: key, bucket: k.limit.bucket()}
	k.byKey[key] = k.order.PushFront(e)
	return e.bucket
}

func (k *keyed) take(key string, now time.Time) time.Duration {
	b := k.of(key, true)
	if b == nil || b.AllowN(now, 1) {
		return 0
	}
	return until(b, now)
}

func (k *keyed) empty(key string, now time.Time) time.Duration {
	b := k.of(key, false)
	if b == nil || b.TokensAt(now) >= 1 {
		return 0
	}
	return until(b, now)
}

// until gives when the next call may come.
func until(b *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - b.TokensAt(now)
	return max(time.Millisecond, time.Duration(missing/float64(b.Limit())*float64(time.Second)))
}
