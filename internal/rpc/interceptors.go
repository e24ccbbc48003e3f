package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// RequestIDHeader carries a request's id in and out. A caller's own id is kept, so that its log and ours can be joined.
const RequestIDHeader = "x-request-id"

const maxRequestID = 128

type requestIDKey struct{}

// RequestID gives the id of the request that ctx belongs to, empty outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// call is one RPC, unary or streaming, as the interceptors see it: what to run, and how a stream's messages are checked.
type call struct {
	method string
	// request is the message of a unary call. That of a stream comes later, so it is authorised then.
	request any
	// later says that run sees to authorisation itself.
	later bool
	// run does the rest of the call under the given context.
	run func(ctx context.Context) error
}

// chain is the interceptors, outermost first: request id, access log and metrics, error mapping, recover, authenticate,
// authorise. Validation needs the message, so it is applied by unary and stream below.
type chain struct {
	log       *slog.Logger
	authn     auth.Authenticator
	validator protovalidate.Validator
	metrics   *Metrics
	elsewhere func(fullMethod string) bool
	authz     auth.Authorizer
	limiter   Limiter
	recheck   time.Duration
}

func (c *chain) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	err = c.serve(ctx, call{method: info.FullMethod, request: req, run: func(ctx context.Context) error {
		if err := c.validate(req); err != nil {
			return err
		}
		if resp, err = handler(ctx, req); err == nil {
			_, err = c.filterRows(ctx, info.FullMethod, resp)
		}
		return err
	}})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *chain) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return c.serve(ss.Context(), call{method: info.FullMethod, later: true, run: func(ctx context.Context) error {
		s, err := c.checked(ctx, srv == nil, info.FullMethod, ss)
		if err != nil {
			return err
		}
		return handler(srv, s)
	}})
}

// serve runs one call inside all interceptors and gives the status error that leaves.
func (c *chain) serve(ctx context.Context, cl call) error {
	start := time.Now()
	id := incomingRequestID(ctx)
	ctx = context.WithValue(ctx, requestIDKey{}, id)
	_ = grpc.SetHeader(ctx, metadata.Pairs(RequestIDHeader, id)) // fails only where the transport is gone

	caller, err := c.guarded(&ctx, cl)
	s := status.Convert(nil)
	if err != nil {
		s = ToStatus(err, id)
	}
	took := time.Since(start)
	c.metrics.observe(cl.method, s.Code(), took)
	level := slog.LevelDebug
	if err == nil && !c.log.Enabled(ctx, level) { // the common case; the line's attributes would be made for nothing
		return nil
	}
	attrs := []any{"method", cl.method, "code", s.Code().String(), "ms", took.Milliseconds(), "request_id", id, "caller", caller.Subject}
	if err != nil {
		level = slog.LevelInfo
		if errs.KindOf(err) == errs.Internal {
			level = slog.LevelError
		}
		attrs = append(attrs, "error", err.Error())
	}
	c.log.Log(ctx, level, "rpc", attrs...)
	return s.Err()
}

func (c *chain) guarded(ctx *context.Context, cl call) (caller auth.Caller, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if c.elsewhere != nil && c.elsewhere(cl.method) {
		return auth.Caller{Subject: "handed on"}, cl.run(*ctx)
	}
	if caller, err = c.authenticate(*ctx, cl.method); err != nil {
		return caller, err
	}
	noteCaller(*ctx, caller.Subject)
	auth.NoteCaller(*ctx, caller)
	*ctx = auth.WithCaller(*ctx, caller)
	if err = c.limit(caller, cl.method); err != nil {
		return caller, err
	}
	if !cl.later {
		if *ctx, err = c.authorise(*ctx, caller, cl.method, cl.request); err != nil {
			return caller, err
		}
	}
	return caller, cl.run(*ctx)
}

func (c *chain) authenticate(ctx context.Context, method string) (auth.Caller, error) {
	if auth.Public(method) {
		return auth.Caller{Subject: "anyone"}, nil
	}
	return c.identify(ctx)
}

// validate checks a message against the rules in its proto.
func (c *chain) validate(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	err := c.validator.Validate(m)
	if err == nil {
		return nil
	}
	var v *protovalidate.ValidationError
	if !errors.As(err, &v) {
		return fmt.Errorf("validate %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	fields := make([]errs.Field, 0, len(v.Violations))
	for _, x := range v.Violations {
		fields = append(fields, errs.Field{Path: protovalidate.FieldPathString(x.Proto.GetField()), Problem: x.Proto.GetMessage()})
	}
	return errs.InvalidFields(fields...)
}

func incomingRequestID(ctx context.Context) string {
	if id := RequestID(ctx); id != "" {
		return id
	}
	if v := metadata.ValueFromIncomingContext(ctx, RequestIDHeader); len(v) > 0 && v[0] != "" && len(v[0]) <= maxRequestID {
		return v[0]
	}
	return rand.Text()
}
