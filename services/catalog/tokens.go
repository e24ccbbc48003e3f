package catalog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// secretPrefix makes a token recognisable, for people and for scanners of leaked secrets.
const secretPrefix = "tow_"

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CreateToken makes a token. Its secret is in this answer and nowhere else.
func (a accessServer) CreateToken(ctx context.Context, r *catalogv1.CreateTokenRequest) (*catalogv1.Token, error) {
	s := a.s
	if err := rules.CheckID("token_id", r.GetTokenId(), rules.MaxID); err != nil {
		return nil, err
	}
	if auth.RoleOf(r.GetToken().GetRole()) == auth.Nobody {
		return nil, errs.InvalidField("token.role", "is missing; give ROLE_VIEWER, ROLE_DEPLOYER, ROLE_DEVELOPER, ROLE_OPERATOR or ROLE_ADMIN")
	}
	if err := rules.CheckScopes("token.scopes", r.GetToken().GetScopes()); err != nil {
		return nil, err
	}
	if end := r.GetToken().GetExpireTime(); end != nil && !end.AsTime().After(s.now()) {
		return nil, errs.InvalidField("token.expire_time", "is in the past; give a later time, or none")
	}
	secret := secretPrefix + rand.Text()
	t := &catalogv1.Token{
		Description: r.GetToken().GetDescription(), Role: r.GetToken().GetRole(), ExpireTime: r.GetToken().GetExpireTime(),
		Secret: hashSecret(secret), Scopes: r.GetToken().GetScopes(),
	}
	s.stampNew(ctx, t, "tokens/"+r.GetTokenId())
	var tx store.Tx
	if err := tokens.Create(&tx, r.GetTokenId(), t); err != nil {
		return nil, err
	}
	tx.Put(tokenHashPrefix+t.GetSecret(), []byte(r.GetTokenId()))
	if _, err := s.cfg.KV.Commit(ctx, tx); err != nil {
		return nil, orExists(err, tokens.Key(r.GetTokenId()), t.GetName())
	}
	out := proto.CloneOf(t)
	out.Secret = secret
	return out, nil
}

// ListTokens lists tokens without their secrets.
func (a accessServer) ListTokens(ctx context.Context, r *catalogv1.ListTokensRequest) (*catalogv1.ListTokensResponse, error) {
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := tokens.List(ctx, a.s.cfg.KV, store.List{PageSize: size, PageToken: r.GetPageToken()}, nil)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ListTokensResponse{NextPageToken: next}
	for _, row := range rows {
		row.Msg.Secret = ""
		out.Tokens = append(out.Tokens, row.Msg)
	}
	return out, nil
}

// DeleteToken revokes a token, at once in this process and within cacheFor in others.
func (a accessServer) DeleteToken(ctx context.Context, r *catalogv1.DeleteTokenRequest) (*emptypb.Empty, error) {
	s := a.s
	id, err := rules.ParseName("name", "tokens", r.GetName())
	if err != nil {
		return nil, err
	}
	err = retry(ctx, func() error {
		row, err := tokens.Get(ctx, s.cfg.KV, id)
		if err != nil {
			return orNotFound(err, r.GetName(), "see `tow token list`")
		}
		var tx store.Tx
		tokens.Delete(&tx, id, row.Rev)
		tx.Delete(tokenHashPrefix + row.Msg.GetSecret())
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	s.tokens.purge()
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// Authenticator finds callers by the tokens of this catalog.
func (s *Service) Authenticator() auth.Authenticator { return authenticator{s: s} }

type authenticator struct{ s *Service }

// Authenticate implements auth.Authenticator.
func (a authenticator) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	s := a.s
	if token == "" {
		return auth.Caller{}, unauthenticated("the call carries no token; make one with `tow token create`, then `tow login`")
	}
	if s.cfg.Identities != nil && isJWT(token) {
		return s.authenticateIdentity(ctx, token)
	}
	hash := hashSecret(token)
	known, epoch, ok := s.tokens.get(hash, s.now())
	if !ok {
		t, err := s.tokenByHash(ctx, hash)
		if err != nil {
			return auth.Caller{}, err
		}
		known = knownToken{caller: tokenCaller(t), until: s.now().Add(cacheFor)}
		if t.GetExpireTime() != nil {
			known.expires = t.GetExpireTime().AsTime()
		}
		s.tokens.put(hash, known, epoch)
	}
	if !known.expires.IsZero() && !s.now().Before(known.expires) {
		return auth.Caller{}, unauthenticated("%s has expired; ask an admin for a new token", known.caller.Subject)
	}
	return known.caller, nil
}

func (s *Service) tokenByHash(ctx context.Context, hash string) (*catalogv1.Token, error) {
	e, err := s.cfg.KV.Get(ctx, tokenHashPrefix+hash)
	if err == nil {
		var row store.Row[*catalogv1.Token]
		// The token's own row decides: it says which hash is its.
		if row, err = tokens.Get(ctx, s.cfg.KV, string(e.Value)); err == nil && row.Msg.GetSecret() == hash {
			return row.Msg, nil
		}
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return nil, unauthenticated("the token is unknown or was revoked; ask an admin for a new one")
	}
	return nil, err
}

func unauthenticated(format string, args ...any) error { return auth.Unauthenticated(format, args...) }

// tokenCaller gives who a token lets in. Scopes that make no sense any more must not turn into "everywhere".
func tokenCaller(t *catalogv1.Token) auth.Caller {
	c := auth.Caller{Subject: t.GetName(), Method: auth.MethodToken, DisplayName: t.GetDescription()}
	return c.WithRole(auth.RoleOf(t.GetRole()), t.GetScopes()...).Sealed()
}

const (
	// cacheFor is how long a token that was found is taken for granted: revoked by another process, it works that long.
	cacheFor = 5 * time.Second
	// maxCached bounds the cache. It only ever holds tokens that exist.
	maxCached = 10_000
)

type knownToken struct {
	caller  auth.Caller
	expires time.Time // zero for never
	until   time.Time
}

// tokenCache spares the database the same question at each call. The zero value is ready to use.
type tokenCache struct {
	mu    sync.Mutex
	known map[string]knownToken
	epoch int
}

// get gives what is known of a hash, and the epoch to put with.
func (c *tokenCache) get(hash string, now time.Time) (knownToken, int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[hash]
	return k, c.epoch, ok && now.Before(k.until)
}

// put keeps what was read, unless a token was revoked since the reading began: it could be this one.
func (c *tokenCache) put(hash string, k knownToken, epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if c.known == nil || len(c.known) >= maxCached {
		c.known = map[string]knownToken{}
	}
	c.known[hash] = k
}

// purge forgets everything. Revocations are rare.
func (c *tokenCache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
	c.epoch++
}
