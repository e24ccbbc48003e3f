package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// serviceAuth lets the processes of this installation in by their common secret, and asks next about everybody else.
type serviceAuth struct {
	secret [sha256.Size]byte
	next   auth.Authenticator
	caller auth.Caller
}

func newServiceAuth(secret string, next auth.Authenticator) *serviceAuth {
	c := auth.Caller{Subject: auth.ServiceSubject, Role: auth.Admin, Method: auth.MethodService}
	return &serviceAuth{secret: sha256.Sum256([]byte(secret)), next: next, caller: c.Sealed()}
}

// Authenticate compares in constant time, so that the secret cannot be guessed byte by byte.
func (a *serviceAuth) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], a.secret[:]) == 1 {
		return a.caller, nil
	}
	return a.next.Authenticate(ctx, token)
}

// lateAuth is what answers who a token belongs to and what its owner may do. It is known only after the server that needs it:
// the catalog both answers that and is served by that server.
type lateAuth struct{ next atomic.Pointer[access] }

type access struct {
	auth.Authenticator
	auth.Authorizer
}

func (l *lateAuth) set(n auth.Authenticator, z auth.Authorizer) { l.next.Store(&access{n, z}) }

var errStarting = errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the server is starting; try again")

// Authenticate asks the authenticator that was set.
func (l *lateAuth) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	if a := l.next.Load(); a != nil {
		return a.Authenticate(ctx, token)
	}
	return auth.Caller{}, errStarting
}

// Decide asks the authorizer that was set.
func (l *lateAuth) Decide(ctx context.Context, c auth.Caller, action auth.Action, r auth.Resource) (auth.Decision, error) {
	if a := l.next.Load(); a != nil {
		return a.Decide(ctx, c, action, r)
	}
	return auth.Decision{Action: action, Resource: r.Name}, errStarting
}

// rememberFor is how long another process may still let a revoked token in, or go by roles and policies of before.
const rememberFor = 10 * time.Second

// maxRemembered bounds the memory that callers can make us use.
const maxRemembered = 10_000

// remoteAuth asks the catalog's process who a token belongs to and what its owner may do. Good answers and decisions are
// remembered for a moment; that a token is not valid is asked again each time.
type remoteAuth struct {
	client  catalogv1.AccessServiceClient
	callers *memory[[sha256.Size]byte, auth.Caller]
	decided *memory[asked, auth.Decision]
}

// asked is all that a decision depends on. A type that the request itself gives to something new is no matter of other services.
type asked struct {
	caller   string
	action   auth.Action
	resource string
}

// newRemoteAuth asks over a connection with the installation's own credentials.
func newRemoteAuth(conn grpc.ClientConnInterface) *remoteAuth {
	return &remoteAuth{
		client: catalogv1.NewAccessServiceClient(conn), callers: newMemory[[sha256.Size]byte, auth.Caller](), decided: newMemory[asked, auth.Decision](),
	}
}

// Authenticate implements auth.Authenticator. The token travels in a header of its own, so that wrong ones are not counted as ours.
func (a *remoteAuth) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	return a.callers.get(sha256.Sum256([]byte(token)), func() (auth.Caller, error) {
		ctx := metadata.NewOutgoingContext(ctx, metadata.Pairs(auth.CarriedTokenHeader, token))
		who, err := a.client.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
		if err != nil {
			return auth.Caller{Subject: "unknown"}, rpc.FromStatus(err)
		}
		c := auth.Caller{
			Subject: who.GetSubject(), Groups: who.GetGroups(), DisplayName: who.GetDisplayName(), Email: who.GetEmail(), Method: who.GetMethod(),
		}
		for _, g := range who.GetGrants() {
			var scopes []string
			if g.GetScope() != "" {
				scopes = append(scopes, g.GetScope())
			}
			c = c.WithRole(auth.RoleOf(g.GetRole()), scopes...)
		}
		return c.Sealed(), nil
	})
}

// Decide implements auth.Authorizer. The catalog has the policies of the organisation and the types of environments.
func (a *remoteAuth) Decide(ctx context.Context, c auth.Caller, action auth.Action, r auth.Resource) (auth.Decision, error) {
	if c.Subject == auth.ServiceSubject {
		return auth.Decision{Action: action, Resource: r.Name, Allowed: true, Whole: true}, nil
	}
	return a.decided.get(asked{c.Key(), action, r.Name}, func() (auth.Decision, error) {
		ctx := metadata.NewOutgoingContext(ctx, nil) // nothing of the caller's own
		resp, err := a.client.CheckAccess(ctx, &catalogv1.CheckAccessRequest{
			Action: string(action), Resource: r.Name, Subject: c.Subject, Groups: c.Groups,
		})
		if err != nil {
			return auth.Decision{Action: action, Resource: r.Name}, rpc.FromStatus(err)
		}
		return auth.Decision{Action: action, Resource: r.Name, Allowed: resp.GetAllowed(), Rules: resp.GetRules()}, nil
	})
}

// memory keeps answers for a moment.
type memory[K comparable, V any] struct {
	ttl time.Duration
	now func() time.Time

	mu    sync.Mutex
	known map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[K comparable, V any]() *memory[K, V] {
	return &memory[K, V]{ttl: rememberFor, now: time.Now, known: map[K]remembered[V]{}}
}

// get gives what is known, else what ask gives. An error is not kept.
func (m *memory[K, V]) get(key K, ask func() (V, error)) (V, error) {
	m.mu.Lock()
	r, ok := m.known[key]
	m.mu.Unlock()
	if ok && m.now().Before(r.until) {
		return r.value, nil
	}
	v, err := ask()
	if err != nil {
		return v, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) >= maxRemembered {
		clear(m.known)
	}
	m.known[key] = remembered[V]{value: v, until: m.now().Add(m.ttl)}
	return v, nil
}
