// Package auth says who calls and what a caller may do. Who a token belongs to is an Authenticator's business: the catalog
// has the tokens, the other services ask it.
package auth

import (
	"context"
	"fmt"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Role is what a caller may do; a greater one includes the lesser ones.
type Role int

const (
	// Nobody may do nothing.
	Nobody Role = iota
	// Viewer reads everything.
	Viewer
	// Developer also deploys, reverts and syncs.
	Developer
	// Admin does everything.
	Admin
)

// String gives the role's name.
func (r Role) String() string {
	if r < Nobody || r > Admin {
		return fmt.Sprintf("role %d", int(r))
	}
	return [...]string{"nobody", "viewer", "developer", "admin"}[r]
}

// Caller is who makes a call.
type Caller struct {
	// Subject is the caller's resource name, such as tokens/ci.
	Subject string
	// Role is what it may do.
	Role Role
}

// Authenticator finds the caller that a bearer token belongs to. An unknown, expired or revoked token is errs.Unauthenticated;
// errs.Unavailable means that it cannot be told now.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Caller, error)
}

type callerKey struct{}

// WithCaller puts the caller into the context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom gives the caller of a context; false where nobody has authenticated.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Require answers errs.Denied where the caller's role is less than need.
func Require(c Caller, need Role, action string) error {
	if c.Role >= need {
		return nil
	}
	return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
		"%s is %s and %s needs %s; ask an admin for a token with that role", c.Subject, c.Role, action, need).
		With("action", action)
}
