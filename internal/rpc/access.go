package rpc

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The stages of access: who calls, how much, and whether it may. They are the same for unary calls and streams; REST comes
// through the gateway as either.

// identify finds the caller by the bearer token, unless too many wrong ones came from where the call comes from.
func (c *chain) identify(ctx context.Context) (auth.Caller, error) {
	from := clientAddress(ctx)
	if c.limiter != nil {
		if wait := c.limiter.Blocked(from); wait > 0 {
			return auth.Caller{Subject: "unknown"}, tooMany(wait, "too many calls from %s had no valid token", from)
		}
	}
	caller, err := c.bearer(ctx)
	if c.limiter != nil && errs.Is(err, errs.Unauthenticated) {
		c.limiter.Failed(from)
	}
	return caller, err
}

func (c *chain) bearer(ctx context.Context) (auth.Caller, error) {
	token := ""
	if v := metadata.ValueFromIncomingContext(ctx, "authorization"); len(v) > 0 {
		scheme, rest, _ := strings.Cut(v[0], " ")
		if strings.EqualFold(scheme, "bearer") {
			token = strings.TrimSpace(rest)
		}
	}
	if token == "" {
		return auth.Caller{Subject: "unknown"}, auth.Unauthenticated(
			"no bearer token in the authorization header; make one with `tow token create`, then `tow login`")
	}
	caller, err := c.authn.Authenticate(ctx, token)
	if err != nil && caller.Subject == "" {
		caller.Subject = "unknown"
	}
	return caller, err
}

// authorise decides about a call by its request. The context it gives carries the decision, also a refusal.
func (c *chain) authorise(ctx context.Context, caller auth.Caller, method string, req any) (context.Context, error) {
	if auth.Public(method) {
		return ctx, nil
	}
	d, err := c.decide(ctx, caller, method, req)
	auth.NoteDecision(ctx, d)
	return auth.WithDecision(ctx, d), err
}

func (c *chain) decide(ctx context.Context, caller auth.Caller, method string, req any) (auth.Decision, error) {
	rule, ok := auth.MethodRule(method)
	if !ok {
		return auth.Decision{}, unknownMethod(method)
	}
	m, _ := req.(proto.Message)
	r, _ := rule.On.In(m)
	d, err := c.authz.Decide(ctx, caller, rule.Action, r)
	if err != nil {
		return d, err
	}
	if rule.Rows != "" && !d.Whole {
		if !d.Allowed && len(d.Rules) == 0 {
			// Whoever may read anything may ask for the list, and gets what that is.
			some, err := c.authz.Decide(ctx, caller, auth.ReadShared, auth.Everything)
			if err != nil {
				return d, err
			}
			d.Allowed, d.Rules = some.Allowed, some.Rules
		}
		d.Filtered = d.Allowed
	}
	if !d.Allowed {
		return d, d.Err(caller)
	}
	for _, also := range rule.Also {
		r, asked := also.On.In(m)
		if !asked {
			continue
		}
		x, err := c.authz.Decide(ctx, caller, also.Action, r)
		if err == nil {
			err = x.Err(caller)
		}
		if err != nil {
			d.Allowed, d.Rules = false, x.Rules
			return d, err
		}
	}
	return d, nil
}

func unknownMethod(method string) error {
	return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, "%s has no access rule", method).With("action", method)
}

// filterRows takes out of a list what the caller may not read. It reports false for a message of a stream of which nothing is left.
func (c *chain) filterRows(ctx context.Context, method string, resp any) (bool, error) {
	d, _ := auth.DecisionFrom(ctx)
	m, ok := resp.(proto.Message)
	if !d.Filtered || !ok {
		return true, nil
	}
	caller, _ := auth.CallerFrom(ctx)
	rule, _ := auth.MethodRule(method)
	msg := m.ProtoReflect()
	fd := msg.Descriptor().Fields().ByName(protoreflect.Name(rule.Rows))
	switch {
	case fd == nil:
		return false, nil
	case fd.Kind() == protoreflect.StringKind:
		return c.readable(ctx, caller, auth.ParseResource(msg.Get(fd).String()))
	case !fd.IsList():
		if !msg.Has(fd) {
			return true, nil // a bookmark
		}
		gone := msg.Descriptor().Fields().ByName("removed")
		r := auth.RowResource(msg.Get(fd).Message())
		if gone != nil && msg.Get(gone).Bool() && caller.HasTypeScope() {
			// Its type is not known any more. Whoever was shown the row must learn that it went.
			return true, nil
		}
		return c.readable(ctx, caller, r)
	}
	rows := msg.Get(fd).List()
	kept := msg.NewField(fd).List()
	for i := range rows.Len() {
		may, err := c.readable(ctx, caller, auth.RowResource(rows.Get(i).Message()))
		if err != nil {
			return false, err
		}
		if may {
			kept.Append(rows.Get(i))
		}
	}
	msg.Set(fd, protoreflect.ValueOfList(kept))
	return true, nil
}

func (c *chain) readable(ctx context.Context, caller auth.Caller, r auth.Resource) (bool, error) {
	d, err := c.authz.Decide(ctx, caller, auth.Read, r)
	return d.Allowed, err
}

// checkedStream authorises by the first message, validates each one, leaves out what may not be read, and decides again from
// time to time.
type checkedStream struct {
	grpc.ServerStream
	chain  *chain
	method string
	ctx    context.Context
	// request is what the decision was made by; decided says that it was made, checked when.
	request any
	decided bool
	checked time.Time
	// forwarded says that another service decides.
	forwarded bool
}

// checked gives a stream with all checks. Where a call is handed on to the service that serves it (forwarded), its
// messages are not decoded here, and that service decides.
func (c *chain) checked(ctx context.Context, forwarded bool, method string, ss grpc.ServerStream) (*checkedStream, error) {
	s := &checkedStream{ServerStream: ss, chain: c, method: method, ctx: ctx, checked: time.Now()}
	rule, known := auth.MethodRule(method)
	switch {
	case auth.Public(method):
		s.decided = true
	case !known:
		return nil, unknownMethod(method)
	case forwarded:
		s.decided, s.forwarded = true, true
		s.ctx = auth.WithDecision(ctx, auth.Decision{Action: rule.Action, Allowed: true})
	case rule.On.Everything():
		return s, s.decide(ctx, nil)
	}
	return s, nil
}

func (s *checkedStream) decide(ctx context.Context, req any) error {
	caller, _ := auth.CallerFrom(ctx)
	ctx, err := s.chain.authorise(ctx, caller, s.method, req)
	s.ctx, s.decided, s.request = ctx, err == nil, req
	return err
}

// Context gives the context with caller, decision and request id.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg receives, authorises by the first message, and validates.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if !s.decided {
		if err := s.decide(s.ctx, m); err != nil {
			return err
		}
	}
	return s.chain.validate(m)
}

// SendMsg sends what the caller may read.
func (s *checkedStream) SendMsg(m any) error {
	if !s.decided {
		return unknownMethod(s.method) // a handler that answers before it has read what is asked
	}
	if !s.forwarded && !auth.Public(s.method) && time.Since(s.checked) > s.chain.recheck {
		if err := s.again(); err != nil {
			return err
		}
	}
	send, err := s.chain.filterRows(s.ctx, s.method, m)
	if err != nil || !send {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// again finds the caller and decides as at the beginning. A moment in which that cannot be told changes nothing.
func (s *checkedStream) again() error {
	caller, err := s.chain.bearer(s.ctx)
	if err == nil {
		err = s.decideAgain(caller)
	}
	if errs.Is(err, errs.Unavailable) {
		return nil
	}
	s.checked = time.Now()
	return err
}

func (s *checkedStream) decideAgain(caller auth.Caller) error {
	ctx, err := s.chain.authorise(auth.WithCaller(s.ctx, caller), caller, s.method, s.request)
	if err == nil {
		s.ctx = ctx
	}
	return err
}
