package auth

import (
	"context"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Decision is what was decided about a call. A refused call has one too.
type Decision struct {
	// Action is what the call does, such as rollback.
	Action Action
	// Resource is the name of what it is done to, such as applications/shop/environments/dev; "" for the whole installation.
	Resource string
	// Allowed says whether it may be done.
	Allowed bool
	// Filtered says that a list is allowed although not all of it may be read: rows that the caller may not read are left out.
	Filtered bool
	// Whole says that what is allowed here is allowed for everything below, so that no row need be looked at.
	Whole bool
	// Rules are the policies that decided: builtin/developer, policies/no-fridays#0. Empty where nothing permits it.
	Rules []string
}

// Err is the refusal, nil where it is allowed.
func (d Decision) Err(c Caller) error {
	if d.Allowed {
		return nil
	}
	on := d.Resource
	if on == "" {
		on = "the whole installation"
	}
	msg := "%s may not %s on %s; ask an admin for a role that can, see `tow auth can-i`"
	if len(d.Rules) > 0 {
		msg = "%s may not %s on %s: a policy of your organisation forbids it; ask an admin"
	}
	e := errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, msg, c.Subject, d.Action, on).
		With("action", string(d.Action)).With("resource", d.Resource)
	if len(d.Rules) > 0 {
		_ = e.With("rule", d.Rules[0])
	}
	return e
}

// Authorizer decides. It answers errs.Unavailable where it cannot be told now; a refusal is no error but a Decision.
type Authorizer interface {
	// Decide tells whether the caller may do the action to the resource.
	Decide(ctx context.Context, c Caller, a Action, r Resource) (Decision, error)
}

type decisionKey struct{}

// WithDecision puts the decision into the context.
func WithDecision(ctx context.Context, d Decision) context.Context {
	return context.WithValue(ctx, decisionKey{}, d)
}

// DecisionFrom gives the decision about the call of a context; false outside of one, and for a call that was refused before it
// came to one (no valid token, too many calls).
func DecisionFrom(ctx context.Context) (Decision, bool) {
	d, ok := ctx.Value(decisionKey{}).(Decision)
	return d, ok
}

// Record is what was found out about a call while it went in, for who stands outside of authentication, as an audit trail
// that keeps refused calls too: make it with WithRecord, and read it when the call has ended.
type Record struct {
	// Caller is who calls; its Subject is "" where nobody was found.
	Caller Caller
	// Decision is zero where the call did not come to one.
	Decision Decision
}

type recordKey struct{}

// WithRecord gives a context in which a call notes who makes it and what was decided. The record belongs to the call until it
// has ended.
func WithRecord(ctx context.Context) (context.Context, *Record) {
	r := &Record{}
	return context.WithValue(ctx, recordKey{}, r), r
}

// NoteDecision notes the decision, where somebody asked for it.
func NoteDecision(ctx context.Context, d Decision) {
	if r, ok := ctx.Value(recordKey{}).(*Record); ok {
		r.Decision = d
	}
}

// NoteCaller notes the caller, where somebody asked for it.
func NoteCaller(ctx context.Context, c Caller) {
	if r, ok := ctx.Value(recordKey{}).(*Record); ok {
		r.Caller = c
	}
}
