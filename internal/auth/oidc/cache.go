package oidc

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/towpath-dev/towpath/internal/auth"
)

const (
	// keepFor is how long a verified token is taken for granted: with a key that its issuer has withdrawn, it works that long.
	keepFor = time.Minute
	// maxKept bounds the cache. It only ever holds tokens that are valid.
	maxKept = 10_000
)

// identityCache spares the verification of the same signature at each call.
type identityCache struct {
	mu   sync.RWMutex
	kept map[[sha256.Size]byte]identity
}

type identity struct {
	caller auth.Caller
	until  time.Time
}

func newIdentityCache() *identityCache {
	return &identityCache{kept: map[[sha256.Size]byte]identity{}}
}

func (c *identityCache) get(token string, now time.Time) (auth.Caller, bool) {
	key := sha256.Sum256([]byte(token))
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.kept[key]
	return i.caller, ok && now.Before(i.until)
}

func (c *identityCache) put(token string, caller auth.Caller, now, expires time.Time) {
	until := now.Add(keepFor)
	if expires.Before(until) {
		until = expires
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxKept {
		clear(c.kept)
	}
	c.kept[sha256.Sum256([]byte(token))] = identity{caller: caller, until: until}
}
