package policy

import (
	"context"

	"github.com/towpath-dev/towpath/internal/auth"
)

// Authorizer decides by the policies of now, after it has looked up what they need to know of the resource.
type Authorizer struct {
	// Policies gives the policies of now.
	Policies func(ctx context.Context) (*Set, error)
	// Types finds the types of environments.
	Types auth.Types
}

// Decide implements auth.Authorizer.
func (a Authorizer) Decide(ctx context.Context, c auth.Caller, action auth.Action, r auth.Resource) (auth.Decision, error) {
	set, err := a.Policies(ctx)
	if err != nil {
		return auth.Decision{Action: action, Resource: r.Name}, err
	}
	// The type decides nothing where the same is allowed everywhere anyway, and most callers have their role everywhere.
	if r.Kind == auth.Environment && r.Type == "" {
		if d := set.Decide(c, action, auth.Everything); d.Whole {
			d.Resource = r.Name
			return d, nil
		}
		if r, err = r.Typed(ctx, a.Types); err != nil {
			return auth.Decision{Action: action, Resource: r.Name}, err
		}
	}
	return set.Decide(c, action, r), nil
}

// Static decides by the built-in policies alone and knows no types: for a server that has no catalog, as in tests.
func Static() Authorizer {
	set := BuiltinOnly()
	return Authorizer{Policies: func(context.Context) (*Set, error) { return set, nil }, Types: noTypes{}}
}

type noTypes struct{}

// EnvironmentType knows none.
func (noTypes) EnvironmentType(context.Context, string, string) (string, error) { return "", nil }
