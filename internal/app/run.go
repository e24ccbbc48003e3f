package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/gateway"
	"github.com/towpath-dev/towpath/internal/ratelimit"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// process is one running towpathd: what its parts share, and how it ends.
type process struct {
	completed
	registry *prometheus.Registry
	authn    *lateAuth
	auditors *auditors
	server   *rpc.Server
	nats     *events.Server
	conns    map[Target]*grpc.ClientConn // with our own credentials
	handlers *http.ServeMux
	grpcAt   string // where gRPC listens, known before the tasks run

	closers []func() error                    // run last in, first out
	tasks   []func(ctx context.Context) error // run together; the first failure ends all
	readied []<-chan struct{}                 // closed when a task can be of use
}

// Run wires the targets, serves until ctx ends, and closes everything in reverse order. It gives nil after a cancel.
func (a *App) Run(ctx context.Context) (err error) {
	p := &process{
		completed: a.cfg, registry: prometheus.NewRegistry(), authn: &lateAuth{}, auditors: &auditors{},
		conns: map[Target]*grpc.ClientConn{}, handlers: http.NewServeMux(),
	}
	defer func() {
		for _, c := range slices.Backward(p.closers) {
			err = errors.Join(err, c())
		}
	}()
	for _, part := range []func(context.Context) error{
		p.newEvents, p.newServer, p.newCatalog, p.newRenderer, p.newCommitter, p.newDrift, p.newGateway,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return p.serve(ctx)
}

// closing registers what is closed at the end.
func (p *process) closing(f func() error) { p.closers = append(p.closers, f) }

// runs registers a task.
func (p *process) running(name string, f func(ctx context.Context) error) {
	p.tasks = append(p.tasks, func(ctx context.Context) error {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// newServer makes the gRPC server and the connections to all services, in this process or elsewhere.
func (p *process) newServer(context.Context) error {
	remote := map[Target]*grpc.ClientConn{}
	for t, addr := range p.Addresses {
		if p.runs[t] || addr == "" {
			continue
		}
		// Callers' own credentials are forwarded on this one.
		conn, err := rpc.Dial(addr)
		if err != nil {
			return err
		}
		p.closing(conn.Close)
		remote[t] = conn
		if p.conns[t], err = rpc.Dial(addr, rpc.WithToken(p.ServiceToken)); err != nil {
			return err
		}
		p.closing(p.conns[t].Close)
	}
	cfg := rpc.ServerConfig{
		Log: p.Log, Authenticator: newServiceAuth(p.ServiceToken, p.authn), Authorizer: p.authn, Registerer: p.registry,
		Limiter: ratelimit.New(*p.Limits),
		Auditor: p.auditors,
	}
	if p.runs[Gateway] {
		there := byService(remote)
		cfg.Options = gateway.Proxy(there)
		cfg.Elsewhere = func(fullMethod string) bool {
			service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
			return there[service] != nil
		}
	}
	var err error
	if p.server, err = rpc.NewServer(cfg); err != nil {
		return err
	}
	local, err := p.server.DialLocal(rpc.WithToken(p.ServiceToken))
	if err != nil {
		return err
	}
	p.closing(local.Close)
	for t := range p.runs {
		p.conns[t] = local
	}
	if !p.runs[Catalog] {
		r := newRemoteAuth(p.conns[Catalog])
		p.authn.set(r, r)
	}
	return nil
}

// renderer gives the way to the renderer. It is called for each deployment, several times, so in the same process without HTTP/2
// and encoding.
func (p *process) renderer() grpc.ClientConnInterface {
	if p.runs[Renderer] {
		return p.server.OwnCalls(p.ServiceToken)
	}
	return p.conns[Renderer]
}

// serviceNames says which gRPC services a target serves.
var serviceNames = map[Target][]string{
	Catalog: {
		"towpath.catalog.v1.CatalogService", "towpath.catalog.v1.DraftService", "towpath.catalog.v1.ManifestService", "towpath.catalog.v1.GitService", "towpath.catalog.v1.VariableService",
		"towpath.catalog.v1.FindingService", "towpath.catalog.v1.AdoptionService",
		"towpath.catalog.v1.DefinitionService", "towpath.catalog.v1.AccessService", "towpath.events.v1.EventService",
	},
	Renderer:  {"towpath.renderer.v1.RendererService"},
	Committer: {"towpath.committer.v1.CommitterService"},
	Drift:     {"towpath.drift.v1.DriftService", "towpath.drift.v1.LiveService", "towpath.drift.v1.InspectService"},
}

func byService(conns map[Target]*grpc.ClientConn) map[string]*grpc.ClientConn {
	out := map[string]*grpc.ClientConn{}
	for t, c := range conns {
		for _, name := range serviceNames[t] {
			out[name] = c
		}
	}
	return out
}

// newEvents starts the embedded event server where the catalog runs and no other is named.
func (p *process) newEvents(context.Context) error {
	if p.NATSURL != "" || !p.runs[Catalog] {
		return nil
	}
	s, err := events.StartServer(events.ServerConfig{Dir: p.DataDir, Listen: p.NATSListen, Logger: p.Log})
	if err != nil {
		return err
	}
	p.nats = s
	p.closing(func() error { s.Shutdown(); return nil })
	return nil
}

// bus connects to the event server with a role's credential.
func (p *process) bus(ctx context.Context, role events.Role) (*events.Bus, error) {
	cfg := events.Config{Server: p.nats, URL: p.NATSURL, Role: role, CredsFile: p.NATSCreds, AckWait: p.AckWait, Logger: p.Log}
	switch {
	case p.NATSSeeds != "":
		cfg.NkeySeedFile = p.NATSSeeds + "/" + string(role) + ".nk"
	case p.nats == nil:
		cfg.Role, cfg.Name = "", string(role) // its permissions are that server's business
	}
	b, err := events.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p.closing(func() error { b.Close(); return nil })
	return b, nil
}

const (
	readHeaderTimeout = 10 * time.Second
	shutdownTimeout   = 2 * time.Second
)

// serve listens, runs all tasks, and tells that it is ready.
func (p *process) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	grpcL, err := net.Listen("tcp", p.GRPCListen)
	if err != nil {
		return errs.InvalidField("--grpc-listen", "%v", err)
	}
	httpL, err := net.Listen("tcp", p.HTTPListen)
	if err != nil {
		grpcL.Close()
		return errs.InvalidField("--http-listen", "%v", err)
	}
	p.grpcAt = grpcL.Addr().String()
	for _, t := range p.tasks {
		g.Go(func() error { return t(ctx) })
	}
	g.Go(func() error { return p.server.Serve(ctx, grpcL) })
	g.Go(func() error { return p.serveHTTP(ctx, httpL) })
	e := Endpoints{GRPC: grpcL.Addr().String(), HTTP: httpL.Addr().String()}
	if p.nats != nil {
		e.NATS = p.nats.Addr()
	}
	if p.runs[Catalog] {
		e.AdminTokenFile = p.adminTokenFile()
	}
	for _, ready := range p.readied {
		select {
		case <-ready:
		case <-ctx.Done(): // a task failed
			return g.Wait()
		}
	}
	p.Log.Info("towpathd is up", "version", p.Version, "targets", p.Targets, "grpc", e.GRPC, "http", e.HTTP, "nats", e.NATS)
	p.Ready(e)
	return g.Wait()
}

func (p *process) serveHTTP(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler: p.handlers, ReadHeaderTimeout: readHeaderTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := s.Shutdown(late); err != nil {
			_ = s.Close() // streams that do not end by themselves are cut
		}
	})()
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("http server: %w", err)
}
