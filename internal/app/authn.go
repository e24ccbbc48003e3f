package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// serviceAuth lets the processes of this installation in by their common secret, and asks next about everybody else.
type serviceAuth struct {
	secret [sha256.Size]byte
	next   auth.Authenticator
}

func newServiceAuth(secret string, next auth.Authenticator) *serviceAuth {
	return &serviceAuth{secret: sha256.Sum256([]byte(secret)), next: next}
}

// Authenticate compares in constant time, so that the secret cannot be guessed byte by byte.
func (a *serviceAuth) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], a.secret[:]) == 1 {
		return auth.Caller{Subject: "services/towpathd", Role: auth.Admin}, nil
	}
	return a.next.Authenticate(ctx, token)
}

// remoteAuth asks the catalog's process who a token belongs to.
type remoteAuth struct {
	client catalogv1.AccessServiceClient
	ttl    time.Duration
	now    func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]remembered
}

type remembered struct {
	caller auth.Caller
	until  time.Time
}

// rememberFor is how long another process may still let a revoked token in.
const rememberFor = 10 * time.Second

// maxRemembered bounds the memory that callers can make us use.
const maxRemembered = 10_000

func newRemoteAuth(conn grpc.ClientConnInterface) *remoteAuth {
	return &remoteAuth{
		client: catalogv1.NewAccessServiceClient(conn), ttl: rememberFor, now: time.Now,
		known: map[[sha256.Size]byte]remembered{},
	}
}

// Authenticate remembers good answers for a moment; a refusal is asked again each time.
func (a *remoteAuth) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	key := sha256.Sum256([]byte(token))
	a.mu.Lock()
	r, ok := a.known[key]
	a.mu.Unlock()
	if ok && a.now().Before(r.until) {
		return r.caller, nil
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
	who, err := a.client.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	if err != nil {
		return auth.Caller{Subject: "unknown"}, rpc.FromStatus(err)
	}
	c := auth.Caller{Subject: who.GetSubject(), Role: auth.Role(who.GetRole())}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxRemembered {
		clear(a.known)
	}
	a.known[key] = remembered{caller: c, until: a.now().Add(a.ttl)}
	return c, nil
}
