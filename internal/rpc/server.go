// Package rpc builds Towpath's gRPC servers and connections, and is the one boundary between our errors and gRPC's.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"time"

	"buf.build/go/protovalidate"
	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"

	"github.com/towpath-dev/towpath/internal/auth"
)

// MaxMessageBytes is the largest message that a server takes. It is above the admission limit of the services (16 MiB of
// content), so that what is too large for them gets their typed error and not gRPC's.
const MaxMessageBytes = 32 << 20

// MaxAnswerBytes is the largest message that a client takes, and so that a server sends: a bundle has up to 64 MiB of manifests. It is
// not what servers take, because anybody can send and only servers that were asked answer.
const MaxAnswerBytes = 96 << 20

// workersPerCPU is how many calls per core are served by workers; more than those at once get goroutines of their own. They are
// many because calls wait for the disk, or in streams, and cost little: a worker that waits for a call has a small stack.
const workersPerCPU = 256

// ServerConfig is what a server needs; all fields are required unless said.
type ServerConfig struct {
	// Log gets one line a call.
	Log *slog.Logger
	// Authenticator finds the callers.
	Authenticator auth.Authenticator
	// Auditor records calls; none when nil.
	Auditor Auditor
	// Elsewhere reports the methods that are only handed on to another server, which finds the caller, decides and records by
	// itself. May be nil.
	Elsewhere func(fullMethod string) bool
	// Authorizer decides what they may do.
	Authorizer auth.Authorizer
	// Limiter bounds how much a caller may ask; none when nil.
	Limiter Limiter
	// RecheckStreams is how long a stream may go on before it is decided again whether it may; 30 s when 0. So nobody goes on
	// watching for long whose token was revoked or whose role was taken away.
	RecheckStreams time.Duration
	// Registerer gets the metrics; none when nil.
	Registerer prometheus.Registerer
	// Options are added behind our own.
	Options []grpc.ServerOption
}

// Server is a gRPC server with health and reflection, reachable over TCP and in process.
type Server struct {
	*grpc.Server
	// Health is set per service by whoever knows; "" is the whole server.
	Health *health.Server
	local  *bufconn.Listener
	direct *inprocgrpc.Channel
	// own is direct for this process's own calls, which begin spans.
	own *inprocgrpc.Channel
	// ours are the services that are registered, which is done before anything is served.
	ours map[string]bool
}

// NewServer builds a server with all interceptors. It listens to nothing yet.
func NewServer(cfg ServerConfig) (*Server, error) {
	v, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("protovalidate: %w", err)
	}
	if cfg.Authorizer == nil {
		return nil, errors.New("rpc: a server needs an Authorizer, policy.Static() where there is no catalog")
	}
	if cfg.RecheckStreams <= 0 {
		cfg.RecheckStreams = 30 * time.Second
	}
	c := &chain{
		log: cfg.Log, authn: cfg.Authenticator, authz: cfg.Authorizer, limiter: cfg.Limiter, recheck: cfg.RecheckStreams, validator: v,
		metrics: newMetrics(cfg.Registerer), elsewhere: cfg.Elsewhere,
	}
	unary, stream := []grpc.UnaryServerInterceptor{c.unary}, []grpc.StreamServerInterceptor{c.stream}
	if a := cfg.Auditor; a != nil { // outermost, to see what all others refuse
		unary, stream = slices.Insert(unary, 0, auditUnary(a)), slices.Insert(stream, 0, auditStream(a))
	}
	opts := append([]grpc.ServerOption{
		grpc.StatsHandler(otelgrpc.NewServerHandler()),
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxAnswerBytes),
		// Workers that stay keep their grown stacks; a new goroutine grows its own at each call, about a tenth of a read's cost.
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0) * workersPerCPU)),
		// Clients may keep idle connections alive through load balancers.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}, cfg.Options...)
	s := &Server{
		Server: grpc.NewServer(opts...),
		Health: health.NewServer(),
		local:  bufconn.Listen(1 << 20),
		direct: newDirect(unary, stream),
		own:    newDirect(unary, stream).WithClientStatsHandler(otelgrpc.NewClientHandler()),
		ours:   map[string]bool{},
	}
	healthv1.RegisterHealthServer(s.Server, s.Health)
	reflection.Register(s.Server)
	return s, nil
}

// Serve serves the listener, if one is given, and the in-process connections until ctx ends, then lets calls finish for a moment.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	errc := make(chan error, 2)
	n := 1
	// The server itself, not this method.
	serve := s.Server.Serve
	go func() { errc <- serve(s.local) }()
	if l != nil {
		n++
		go func() { errc <- serve(l) }()
	}
	select {
	case <-ctx.Done():
		s.stop()
		for range n {
			if err := <-errc; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("grpc server: %w", err)
			}
		}
		return nil
	case err := <-errc:
		s.Stop()
		return fmt.Errorf("grpc server: %w", err)
	}
}

// stop ends gracefully, but does not wait for streams that never end by themselves.
func (s *Server) stop() {
	s.Health.Shutdown()
	done := make(chan struct{})
	go func() { s.GracefulStop(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		s.Stop()
		<-done
	}
}

// DialLocal connects to the server without a network. Calls go through all interceptors like any other.
func (s *Server) DialLocal(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.local.DialContext(ctx) }))
	return Dial("passthrough:///local", opts...)
}

// Dial connects to a Towpath server. It returns at once; calls wait or fail according to the connection's state.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	all := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		// gRPC's own delays grow to two minutes, for as long as a service would stay unknown to the others after a restart.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxAnswerBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
	}, opts...)
	conn, err := grpc.NewClient(target, all...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

// WithToken makes each call of a connection carry a bearer token.
func WithToken(token string) grpc.DialOption {
	return grpc.WithPerRPCCredentials(bearer(token))
}

type bearer string

// GetRequestMetadata gives the authorization header.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false: between services of one machine the network is loopback or memory; TLS is given as a
// dial option where it is not.
func (b bearer) RequireTransportSecurity() bool { return false }

// Metrics counts calls and their time.
type Metrics struct {
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "towpath_rpc_seconds", Help: "Time of RPCs by method and code.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"method", "code"})}
	if r != nil {
		r.MustRegister(m.seconds)
	}
	return m
}

func (m *Metrics) observe(method string, code codes.Code, took time.Duration) {
	m.seconds.WithLabelValues(method, code.String()).Observe(took.Seconds())
}
