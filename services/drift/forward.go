package drift

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

const (
	// peerHeader marks a call that another drift process hands on: it is answered here and goes no further. From anybody who is
	// not a process of this installation it means nothing.
	peerHeader = "x-towpath-drift-peer"
	// actorHeader says for whom.
	actorHeader = "x-towpath-drift-actor"
	// retryAfter is what callers are told to wait, in seconds, while an environment has no holder.
	retryAfter = "2"
)

// router registers services so that every process answers every call: what is of an environment that another process looks after
// is handed on to that one, behind all interceptors, so that callers are known and decided about where they came in.
type router struct {
	grpc.ServiceRegistrar
	s *Service
}

// RegisterService implements grpc.ServiceRegistrar.
func (r router) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods, d.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range d.Methods {
		m, handler := &d.Methods[i], desc.Methods[i].Handler
		method := "/" + desc.ServiceName + "/" + m.MethodName
		m.Handler = func(srv any, ctx context.Context, dec func(any) error, outer grpc.UnaryServerInterceptor) (any, error) {
			return handler(srv, ctx, dec, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
				routed := func(ctx context.Context, req any) (any, error) { return r.s.route(ctx, method, req, h) }
				if outer == nil {
					return routed(ctx, req)
				}
				return outer(ctx, req, info, routed)
			})
		}
	}
	for i := range d.Streams {
		m, handler := &d.Streams[i], desc.Streams[i].Handler
		method := "/" + desc.ServiceName + "/" + m.StreamName
		m.Handler = func(srv any, ss grpc.ServerStream) error { return r.s.routeStream(srv, ss, method, handler) }
	}
	r.ServiceRegistrar.RegisterService(&d, impl)
}

// environmentIn gives the environment that a request is about, "" for none.
func environmentIn(req any) string {
	name := ""
	switch r := req.(type) {
	case interface{ GetParent() string }:
		name = r.GetParent()
	case interface{ GetName() string }:
		name = r.GetName()
	}
	parts := strings.Split(name, "/")
	if len(parts) < 4 || parts[0] != "applications" || parts[2] != "environments" {
		return ""
	}
	return strings.Join(parts[:4], "/")
}

func isAny(env string) bool { return slices.Contains(strings.Split(env, "/"), "-") }

// handedOn reports whether a call comes from another drift process, and gives it the caller that it is for.
func handedOn(ctx context.Context) (context.Context, bool) {
	caller, known := auth.CallerFrom(ctx)
	if len(metadata.ValueFromIncomingContext(ctx, peerHeader)) == 0 || known && caller.Subject != auth.ServiceSubject {
		return ctx, false
	}
	if actor := metadata.ValueFromIncomingContext(ctx, actorHeader); len(actor) == 1 && known {
		caller.Subject = actor[0]
		ctx = auth.WithCaller(ctx, caller.Sealed())
	}
	return ctx, true
}

// handOn makes the context of a call to another process.
func (s *Service) handOn(ctx context.Context) context.Context {
	md := metadata.Pairs(peerHeader, s.replica())
	if c, ok := auth.CallerFrom(ctx); ok {
		md.Set(actorHeader, c.Subject)
	}
	if id := rpc.RequestID(ctx); id != "" {
		md.Set(rpc.RequestIDHeader, id)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// others are the names of the other processes that hold something, sorted. It needs the mutex.
func (s *Service) others() []string {
	seen := map[string]bool{"": true, s.replica(): true}
	var out []string
	for _, name := range s.holder {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// where tells who looks after an environment: this process for as long as life goes on, else the one of that name. An environment that
// nobody has heard of is this one's to answer for. Errors: Unavailable while nobody looks after it.
func (s *Service) where(env string) (holder string, life context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shard := s.shard[env]
	if shard == "" {
		return "", nil, nil
	}
	if life := s.held[shard]; life != nil && life.Err() == nil {
		return "", life, nil
	}
	if name := s.holder[shard]; name != "" && name != s.replica() {
		return name, nil, nil
	}
	return "", nil, moving(env)
}

// moving is the answer about an environment that goes from one process to another.
func moving(env string) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
		"no drift process looks after %s at the moment; another one takes over, try again in a moment", env).
		With("resource", env).With("retry_after", retryAfter)
}

// route answers a call here, or hands it on.
func (s *Service) route(ctx context.Context, method string, req any, h grpc.UnaryHandler) (any, error) {
	ctx, peer := handedOn(ctx)
	env := environmentIn(req)
	if peer {
		if holder, _, err := s.where(env); env != "" && !isAny(env) && (err != nil || holder != "") {
			return nil, moving(env) // it was here a moment ago
		}
		return h(ctx, req)
	}
	switch r := req.(type) {
	case *driftv1.GetTargetStatusRequest:
		return s.targetOfAll(ctx, method, r)
	case *driftv1.ListFindingsRequest:
		if isAny(env) {
			return s.listAll(ctx, method, r)
		}
	}
	if env == "" || isAny(env) {
		return h(ctx, req)
	}
	holder, _, err := s.where(env)
	if err != nil {
		return nil, err
	}
	if holder == "" {
		return h(ctx, req)
	}
	return s.ask(ctx, holder, method, req)
}

// ask hands a call on to another process.
func (s *Service) ask(ctx context.Context, holder, method string, req any) (proto.Message, error) {
	conn, err := s.peer(holder)
	if err != nil {
		return nil, err
	}
	resp, err := newMessage(method, protoreflect.MethodDescriptor.Output)
	if err != nil {
		return nil, err
	}
	if err := conn.Invoke(s.handOn(ctx), method, req, resp); err != nil {
		return nil, fromPeer(holder, err)
	}
	return resp, nil
}

// fromPeer turns the error of a call to another process into ours. A process that is gone is replaced soon.
func fromPeer(holder string, err error) error {
	err = rpc.FromStatus(err)
	var e *errs.Error
	if errors.As(err, &e) && e.Kind == errs.Unavailable && e.Err != nil {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
			"the drift process %s does not answer; another one takes over if it is gone, try again in a moment", holder).
			With("retry_after", retryAfter).Because(err)
	}
	return err
}

// newMessage makes an empty message of a method.
func newMessage(method string, which func(protoreflect.MethodDescriptor) protoreflect.MessageDescriptor) (proto.Message, error) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, err
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(which(d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))).FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}

// peer gives the connection to another process.
func (s *Service) peer(name string) (*grpc.ClientConn, error) {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	if c := s.conns[name]; c != nil {
		return c, nil
	}
	if s.cfg.Dial == nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
			"the drift process %s looks after it, and this one knows no way to it; start both with --advertise-grpc", name)
	}
	c, err := s.cfg.Dial(name)
	if err != nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
			"the drift process %s looks after it and cannot be reached under that name; start it with --advertise-grpc", name).Because(err)
	}
	s.conns[name] = c
	return c, nil
}

// hangUp closes the connections to others.
func (s *Service) hangUp() {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	for name, c := range s.conns {
		_ = c.Close() // nobody calls any more
		delete(s.conns, name)
	}
}

// replay is a stream whose request has been read already.
type replay struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // a stream has one
	req  proto.Message
	read bool
}

// Context implements grpc.ServerStream.
func (r *replay) Context() context.Context { return r.ctx }

// RecvMsg implements grpc.ServerStream.
func (r *replay) RecvMsg(m any) error {
	if r.read {
		return r.ServerStream.RecvMsg(m)
	}
	r.read = true
	proto.Merge(m.(proto.Message), r.req)
	return nil
}

// routeStream serves a stream here for as long as its environment is looked after here, or hands it on.
func (s *Service) routeStream(srv any, ss grpc.ServerStream, method string, h grpc.StreamHandler) error {
	req, err := newMessage(method, protoreflect.MethodDescriptor.Input)
	if err != nil {
		return err
	}
	if err := ss.RecvMsg(req); err != nil {
		return err
	}
	ctx, peer := handedOn(ss.Context())
	env := environmentIn(req)
	if w, ok := req.(*driftv1.WatchFindingsRequest); ok && isAny(env) && !peer {
		return s.watchAll(ctx, method, w, ss)
	}
	if env == "" || isAny(env) {
		return h(srv, &replay{ServerStream: ss, ctx: ctx, req: req})
	}
	holder, life, err := s.where(env)
	switch {
	case err != nil:
		return err
	case holder != "" && peer:
		return moving(env)
	case holder != "":
		return s.relay(ctx, holder, method, req, func(m proto.Message) error { return ss.SendMsg(m) })
	case life == nil:
		return h(srv, &replay{ServerStream: ss, ctx: ctx, req: req})
	}
	here, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	if err := h(srv, &replay{ServerStream: ss, ctx: here, req: req}); err != nil || life.Err() == nil || ctx.Err() != nil {
		return err
	}
	return moving(env)
}

// relay hands a stream on to another process and passes on what it sends.
func (s *Service) relay(ctx context.Context, holder, method string, req proto.Message, send func(proto.Message) error) error {
	conn, err := s.peer(holder)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.handOn(ctx))
	defer cancel()
	in, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return fromPeer(holder, err)
	}
	if err := in.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return fromPeer(holder, err)
	}
	if err := in.CloseSend(); err != nil {
		return fromPeer(holder, err)
	}
	for {
		m, err := newMessage(method, protoreflect.MethodDescriptor.Output)
		if err != nil {
			return err
		}
		if err := in.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fromPeer(holder, err)
		}
		if err := send(m); err != nil {
			return err
		}
	}
}
