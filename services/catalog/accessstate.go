package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/store"
)

// accessState keeps what decisions depend on in memory: role bindings and policies. Every replica follows the store, so that a
// change holds everywhere within moments, and in the process that made it at once. The zero value is ready to use.
type accessState struct {
	mu  sync.Mutex // one load at a time
	now atomic.Pointer[accessSnapshot]
}

// accessSnapshot is bindings and policies as they were at one revision. It never changes.
type accessSnapshot struct {
	rev int64
	// grants are what the bindings give, by member.
	grants map[string][]binding
	docs   []policy.Document
	set    *policy.Set

	callers sync.Map // subject and groups -> auth.Caller, sealed
	known   atomic.Int64
}

type binding struct {
	role   auth.Role
	scopes []string
}

// accessNow gives bindings and policies of now, loaded at the first call.
func (s *Service) accessNow(ctx context.Context) (*accessSnapshot, error) {
	if snap := s.access.now.Load(); snap != nil {
		return snap, nil
	}
	return s.loadAccess(ctx, 0)
}

// loadAccess reads bindings and policies as they are at revision rev or later, unless that is known already.
func (s *Service) loadAccess(ctx context.Context, rev int64) (*accessSnapshot, error) {
	s.access.mu.Lock()
	defer s.access.mu.Unlock()
	old := s.access.now.Load()
	if old != nil && old.rev >= rev {
		return old, nil
	}
	at, err := store.Revision(ctx, s.cfg.KV)
	if err != nil {
		return nil, err
	}
	snap := &accessSnapshot{rev: at, grants: map[string][]binding{}}
	for e, err := range store.All(ctx, s.cfg.KV, accessPrefix) {
		if err == nil {
			err = snap.take(e)
		}
		if err != nil {
			return nil, err
		}
	}
	if old != nil && slices.Equal(old.docs, snap.docs) {
		snap.set = old.set // with all that it has decided: a caller's grants are part of each question
	} else if snap.set, err = policy.New(snap.docs); err != nil {
		s.log.Error("a policy cannot be read; only the bootstrap token is let in until it is replaced", "error", err)
	}
	s.access.now.Store(snap)
	return snap, nil
}

func (a *accessSnapshot) take(e store.Entry) error {
	switch {
	case strings.HasPrefix(e.Key, roleBindings.Prefix()):
		row, err := roleBindings.Decode(e)
		if err != nil {
			return err
		}
		b := binding{role: auth.RoleOf(row.Msg.GetRole()), scopes: row.Msg.GetScopes()}
		for _, m := range row.Msg.GetMembers() {
			a.grants[m] = append(a.grants[m], b)
		}
	case strings.HasPrefix(e.Key, policies.Prefix()):
		row, err := policies.Decode(e)
		if err != nil {
			return err
		}
		a.docs = append(a.docs, policy.Document{Name: row.Msg.GetName(), Text: row.Msg.GetCedar()})
	}
	return nil
}

// maxKnownCallers bounds what is kept of callers that come and go; beyond it they are computed at each call.
const maxKnownCallers = 20_000

// caller adds to somebody of an identity provider what the bindings give.
func (a *accessSnapshot) caller(c auth.Caller) auth.Caller {
	key := c.Subject + "\x00" + strings.Join(c.Groups, "\x00")
	if known, ok := a.callers.Load(key); ok {
		k := known.(auth.Caller)
		if k.DisplayName == c.DisplayName && k.Email == c.Email && k.Method == c.Method {
			return k
		}
	}
	members := []string{c.Subject}
	for _, g := range c.Groups {
		members = append(members, "groups/"+g)
	}
	for _, m := range members {
		for _, b := range a.grants[m] {
			c = c.WithRole(b.role, b.scopes...)
		}
	}
	c = c.Sealed()
	if a.known.Load() < maxKnownCallers {
		a.known.Add(1)
		a.callers.Store(key, c)
	}
	return c
}

// accessChanged brings a change that this process has made into effect before its caller hears of it.
func (s *Service) accessChanged(ctx context.Context) {
	rev, err := store.Revision(ctx, s.cfg.KV)
	if err == nil {
		_, err = s.loadAccess(ctx, rev)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("bindings and policies could not be read again; it is tried again", "error", err)
	}
}

// runAccess follows what other processes change: bindings and policies, tokens, and the types of environments.
func (s *Service) runAccess(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.followPrefix(ctx, accessPrefix, func(ctx context.Context) error {
			rev, err := store.Revision(ctx, s.cfg.KV)
			if err == nil {
				_, err = s.loadAccess(ctx, rev)
			}
			return err
		}, func(ctx context.Context, c store.Change) error {
			_, err := s.loadAccess(ctx, c.Rev)
			return err
		})
	})
	g.Go(func() error {
		return s.followPrefix(ctx, tokens.Prefix(), func(context.Context) error { s.tokens.purge(); return nil },
			func(context.Context, store.Change) error { s.tokens.purge(); return nil })
	})
	g.Go(func() error {
		return s.followPrefix(ctx, environments.Prefix(), func(context.Context) error { s.types.purge(); return nil },
			func(_ context.Context, c store.Change) error {
				s.types.forget(strings.TrimPrefix(c.Key, environments.Prefix()))
				return nil
			})
	})
	return g.Wait()
}

// followPause is how long a broken watch waits before it begins again.
const followPause = time.Second

// followPrefix calls start, then each for every change since, and begins anew where the watch breaks off, until ctx ends.
func (s *Service) followPrefix(ctx context.Context, prefix string, start func(context.Context) error, each func(context.Context, store.Change) error) error {
	for {
		err := s.followOnce(ctx, prefix, start, each)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return nil //nolint:nilerr // that is how it is stopped
		}
		s.log.Warn("changes cannot be followed; it is tried again", "prefix", prefix, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

func (s *Service) followOnce(ctx context.Context, prefix string, start func(context.Context) error, each func(context.Context, store.Change) error) error {
	rev, err := store.Revision(ctx, s.cfg.KV)
	if err != nil {
		return err
	}
	if err := start(ctx); err != nil {
		return err
	}
	for c, err := range s.cfg.KV.Watch(ctx, prefix, rev) {
		if err == nil {
			err = each(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// typeCache knows the types of environments. The zero value is ready to use.
type typeCache struct {
	mu    sync.RWMutex
	known map[string]string
	epoch int // counts what was forgotten, so that nothing older is put
}

// maxKnownTypes bounds the cache.
const maxKnownTypes = 100_000

func (c *typeCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, id)
	c.epoch++
}

func (c *typeCache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
	c.epoch++
}

func (c *typeCache) get(id string) (string, int, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.known[id]
	return t, c.epoch, ok
}

func (c *typeCache) put(id, typ string, epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if c.known == nil || len(c.known) >= maxKnownTypes {
		c.known = map[string]string{}
	}
	c.known[id] = typ
}

// EnvironmentType implements auth.Types.
func (s *Service) EnvironmentType(ctx context.Context, app, env string) (string, error) {
	id := app + "/" + env
	typ, epoch, ok := s.types.get(id)
	if ok {
		return typ, nil
	}
	row, err := environments.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil // not kept: it may be made in the next moment, and names are without number
	}
	if err != nil {
		return "", err
	}
	typ = strings.TrimPrefix(row.Msg.GetType(), "environmentTypes/")
	s.types.put(id, typ, epoch)
	return typ, nil
}

// Authorizer decides by the roles and policies of this catalog.
func (s *Service) Authorizer() auth.Authorizer {
	return policy.Authorizer{Types: s, Policies: func(ctx context.Context) (*policy.Set, error) {
		snap, err := s.accessNow(ctx)
		if err != nil {
			return nil, err
		}
		return snap.set, nil
	}}
}

// identities finds who a token of an identity provider belongs to; no role is set. The error's kinds are auth.Authenticator's.
type identities interface {
	Identify(ctx context.Context, token string) (auth.Caller, error)
}

// isJWT tells tokens of identity providers from our own, which have no dots.
func isJWT(token string) bool {
	return strings.Count(token, ".") == 2 && !strings.HasPrefix(token, secretPrefix)
}

func (s *Service) authenticateIdentity(ctx context.Context, token string) (auth.Caller, error) {
	c, err := s.cfg.Identities.Identify(ctx, token)
	if err != nil {
		return auth.Caller{}, err
	}
	snap, err := s.accessNow(ctx)
	if err != nil {
		return auth.Caller{}, err
	}
	return snap.caller(c), nil
}
