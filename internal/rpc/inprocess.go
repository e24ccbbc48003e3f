package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// RegisterService implements grpc.ServiceRegistrar: a service is served to connections and to InProcess alike.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.Server.RegisterService(desc, impl)
	s.direct.RegisterService(desc, impl)
	s.own.RegisterService(desc, impl)
	s.ours[desc.ServiceName] = true
}

// InProcess gives a way to call this server's services from the same process as function calls, through all interceptors but
// without HTTP/2 and encoding: what the REST gateway calls. Services that are not this server's are called over fallback.
func (s *Server) InProcess(fallback grpc.ClientConnInterface) grpc.ClientConnInterface {
	return inProcess{ours: s.ours, direct: s.direct, fallback: fallback}
}

// OwnCalls gives a way to call this server's services with a bearer token as InProcess does: what one service of a process calls
// another with. Only services that are registered by the time of the call are known.
func (s *Server) OwnCalls(token string) grpc.ClientConnInterface {
	return ownCalls{Channel: s.own, as: grpc.PerRPCCredentials(bearer(token))}
}

type ownCalls struct {
	*inprocgrpc.Channel
	as grpc.CallOption
}

// Invoke implements grpc.ClientConnInterface.
func (c ownCalls) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.Channel.Invoke(ctx, method, args, reply, append(slices.Clip(opts), c.as)...)
}

// NewStream implements grpc.ClientConnInterface.
func (c ownCalls) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.Channel.NewStream(ctx, desc, method, append(slices.Clip(opts), c.as)...)
}

func newDirect(unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) *inprocgrpc.Channel {
	ch := &inprocgrpc.Channel{}
	return ch.WithServerUnaryInterceptor(chainUnary(unary)).WithServerStreamInterceptor(chainStream(stream)).WithCloner(cloner{}).
		WithServerStatsHandler(otelgrpc.NewServerHandler())
}

// chainUnary makes one interceptor of several, the first outermost.
func chainUnary(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(all) == 1 {
		return all[0]
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return all[0](ctx, req, info, func(ctx context.Context, req any) (any, error) {
			return chainUnary(all[1:])(ctx, req, info, handler)
		})
	}
}

func chainStream(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(all) == 1 {
		return all[0]
	}
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return all[0](srv, ss, info, func(srv any, ss grpc.ServerStream) error { return chainStream(all[1:])(srv, ss, info, handler) })
	}
}

type inProcess struct {
	ours     map[string]bool
	direct   *inprocgrpc.Channel
	fallback grpc.ClientConnInterface
}

func (p inProcess) conn(method string) grpc.ClientConnInterface {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if p.ours[service] {
		return p.direct
	}
	return p.fallback
}

// Invoke implements grpc.ClientConnInterface.
func (p inProcess) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return p.conn(method).Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (p inProcess) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return p.conn(method).NewStream(ctx, desc, method, opts...)
}

// cloner copies messages between caller and handler: each may change its own, as over a network.
type cloner struct{}

func (cloner) Copy(out, in any) error {
	dst, ok1 := out.(proto.Message)
	src, ok2 := in.(proto.Message)
	if !ok1 || !ok2 {
		return fmt.Errorf("%T and %T are no messages", out, in)
	}
	proto.Reset(dst)
	proto.Merge(dst, src)
	return nil
}

func (cloner) Clone(in any) (any, error) {
	m, ok := in.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", in)
	}
	return proto.Clone(m), nil
}
