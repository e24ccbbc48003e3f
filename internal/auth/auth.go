// Package auth says who calls, what each RPC does to what, and what was decided about it. Who a token belongs to is an
// Authenticator's business, what its owner may do an Authorizer's: the catalog has both, the other services ask it. The decision
// itself is made by package policy, which the CLI does not link.
package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Role is a bundle of actions; a greater one includes the lesser ones. builtin.cedar of package policy says which actions.
type Role int

const (
	// Nobody may do nothing.
	Nobody Role = iota
	// Viewer reads everything and plans.
	Viewer
	// Deployer also deploys, rolls back, promotes and syncs: pipelines.
	Deployer
	// Developer also keeps applications, environments, drafts and variables, and reverts drift.
	Developer
	// Operator also approves, unlocks, and keeps types, targets, repositories and definitions.
	Operator
	// Admin does everything.
	Admin
)

// Roles are all roles, the least first.
var Roles = []Role{Viewer, Deployer, Developer, Operator, Admin}

var roleProtos = map[Role]catalogv1.Token_Role{
	Viewer: catalogv1.Token_ROLE_VIEWER, Deployer: catalogv1.Token_ROLE_DEPLOYER, Developer: catalogv1.Token_ROLE_DEVELOPER,
	Operator: catalogv1.Token_ROLE_OPERATOR, Admin: catalogv1.Token_ROLE_ADMIN,
}

// String gives the role's name.
func (r Role) String() string {
	if r < Nobody || r > Admin {
		return "unknown role"
	}
	return [...]string{"nobody", "viewer", "deployer", "developer", "operator", "admin"}[r]
}

// Proto gives the role as the API has it; ROLE_UNSPECIFIED for Nobody.
func (r Role) Proto() catalogv1.Token_Role { return roleProtos[r] }

// RoleOf is the reverse of Proto; Nobody for what is no role. The numbers of the API are not in the order of power.
func RoleOf(p catalogv1.Token_Role) Role {
	for r, q := range roleProtos {
		if q == p {
			return r
		}
	}
	return Nobody
}

// Grant is a role somewhere: applications/{application} or environmentTypes/{environment_type}.
type Grant struct {
	Role  Role
	Scope string
}

// Ways to sign in.
const (
	MethodToken          = "token"
	MethodOIDC           = "oidc"
	MethodServiceAccount = "serviceaccount"
	MethodService        = "service"
)

// ServiceSubject is who the processes of this installation are to each other.
const ServiceSubject = "services/towpathd"

// BootstrapSubject is the token that the server's owner has from the start. Organisation policies do not apply to it, so that
// no policy can lock everybody out.
const BootstrapSubject = "tokens/bootstrap-admin"

// Caller is who makes a call. It is read only once made: several calls share it.
type Caller struct {
	// Subject is the caller's resource name: tokens/ci, users/ada, serviceAccounts/ci/deployer.
	Subject string
	// Role is what it may do everywhere.
	Role Role
	// Grants are roles that it has somewhere only.
	Grants []Grant
	// Groups are those that its identity provider says, without "groups/".
	Groups []string
	// DisplayName and Email are for people, where they are known.
	DisplayName, Email string
	// Method tells how it signed in.
	Method string

	key string // see Key
}

// Key identifies all that decides what the caller may do: subject, groups and grants. Callers that are kept should be Sealed,
// so that it is not computed at each call.
func (c Caller) Key() string {
	if c.key != "" {
		return c.key
	}
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(p)))
			h.Write(n[:])
			h.Write([]byte(p))
		}
		h.Write([]byte{0})
	}
	put(c.Subject, c.Role.String())
	put(c.Groups...)
	for _, g := range c.Grants {
		put(g.Role.String(), g.Scope)
	}
	return string(h.Sum(nil))
}

// Sealed gives the caller with its key computed. Nothing of it may change afterwards.
func (c Caller) Sealed() Caller {
	c.key = ""
	c.key = c.Key()
	return c
}

// Greatest is the greatest role that the caller has anywhere.
func (c Caller) Greatest() Role {
	r := c.Role
	for _, g := range c.Grants {
		r = max(r, g.Role)
	}
	return r
}

// WithRole adds a role at the scopes, everywhere when there are none. What an equal or greater role everywhere makes needless
// is left out.
func (c Caller) WithRole(r Role, scopes ...string) Caller {
	c.key = ""
	if len(scopes) == 0 {
		c.Role = max(c.Role, r)
	}
	c.Grants = slices.Clone(c.Grants)
	for _, s := range scopes {
		c.Grants = append(c.Grants, Grant{Role: r, Scope: s})
	}
	c.Grants = slices.DeleteFunc(c.Grants, func(g Grant) bool { return g.Role <= c.Role })
	slices.SortFunc(c.Grants, func(a, b Grant) int {
		if d := strings.Compare(a.Scope, b.Scope); d != 0 {
			return d
		}
		return int(b.Role - a.Role)
	})
	c.Grants = slices.CompactFunc(c.Grants, func(a, b Grant) bool { return a.Scope == b.Scope })
	return c
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

// Unauthenticated says that the caller is not known, and what to do.
func Unauthenticated(format string, args ...any) *errs.Error {
	return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, format, args...)
}

// HasTypeScope reports whether the caller has a role on an environment type.
func (c Caller) HasTypeScope() bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return strings.HasPrefix(g.Scope, "environmentTypes/") })
}

// CarriedTokenHeader is where a service of this installation carries the token of its own caller to the catalog's WhoAmI. From
// anybody else it means nothing.
const CarriedTokenHeader = "x-towpath-caller-token"
