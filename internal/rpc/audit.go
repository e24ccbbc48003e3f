package rpc

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// Auditor keeps record of calls. It sees a call from before its caller is known until its answer is ready to leave, so also
// what is refused.
type Auditor interface {
	// Audits reports whether calls of the method are recorded at all.
	Audits(fullMethod string) bool
	// Begin gives the context that the call goes on with.
	Begin(ctx context.Context, c *Call) context.Context
	// End records how the call ended, before its answer leaves. err is the status error that the caller gets.
	End(ctx context.Context, c *Call, err error)
}

// Call is one call as an Auditor sees it.
type Call struct {
	// Method is the full method.
	Method string
	// Start is when it came.
	Start time.Time
	// Request is what was sent; nil of a stream.
	Request proto.Message
	// Caller is who was found to call, "" before that and where nobody was.
	Caller string
	// Peer is the address that the call came from, that of the HTTP client behind our own gateway.
	Peer string
	// UserAgent is the program that called.
	UserAgent string
	// RequestID is the id that logs and errors have.
	RequestID string
}

type auditedKey struct{}

// noteCaller tells the auditor who calls, once that is known.
func noteCaller(ctx context.Context, subject string) {
	if c, ok := ctx.Value(auditedKey{}).(*Call); ok {
		c.Caller = subject
	}
}

func auditUnary(a Auditor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if !a.Audits(info.FullMethod) {
			return handler(ctx, req)
		}
		m, _ := req.(proto.Message)
		c := newCall(ctx, info.FullMethod, m)
		ctx = a.Begin(withCall(ctx, c), c)
		resp, err := handler(ctx, req)
		a.End(ctx, c, err)
		return resp, err
	}
}

func auditStream(a Auditor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if !a.Audits(info.FullMethod) {
			return handler(srv, ss)
		}
		c := newCall(ss.Context(), info.FullMethod, nil)
		ctx := a.Begin(withCall(ss.Context(), c), c)
		err := handler(srv, &auditedStream{ServerStream: ss, ctx: ctx})
		a.End(ctx, c, err)
		return err
	}
}

// withCall puts the call into the context, and its request id so that everybody uses the same.
func withCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(context.WithValue(ctx, auditedKey{}, c), requestIDKey{}, c.RequestID)
}

func newCall(ctx context.Context, method string, req proto.Message) *Call {
	c := &Call{Method: method, Start: time.Now(), Request: req, RequestID: incomingRequestID(ctx), Peer: peerOf(ctx)}
	c.UserAgent = first(ctx, "user-agent")
	if agent := first(ctx, "grpcgateway-user-agent"); agent != "" {
		c.UserAgent = agent
	}
	return c
}

// maxAgent bounds what a caller can make us keep.
const maxAgent = 256

func first(ctx context.Context, key string) string {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
		return v[0][:min(len(v[0]), maxAgent)]
	}
	return ""
}

// peerOf gives the address of the caller. Only of a call that comes from within this process, which is the gateway's, the
// header counts that says whom it is for: everybody else could write there what he likes.
func peerOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err == nil {
		return host
	}
	if f := first(ctx, "x-forwarded-for"); f != "" {
		parts := strings.Split(f, ",") // the gateway appends the address that it saw
		return strings.TrimSpace(parts[len(parts)-1])
	}
	return "local"
}

// auditedStream carries the auditor's context.
type auditedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context gives the context with the call.
func (s *auditedStream) Context() context.Context { return s.ctx }
