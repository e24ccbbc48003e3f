package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// defaultRetry is how long a call is repeated while the server cannot be reached; a restart takes less.
const defaultRetry = 5 * time.Second

// client is the connection to a server. All errors of its calls are errs.Error.
type client struct {
	catalogv1.CatalogServiceClient
	access catalogv1.AccessServiceClient
	drift  driftv1.DriftServiceClient
	events eventsv1.EventServiceClient
	live   driftv1.LiveServiceClient
	// adoption takes over what runs already.
	adoption catalogv1.AdoptionServiceClient
	conn     *grpc.ClientConn
	server   string
	// retry is how long to go on when the server cannot be reached.
	retry time.Duration
	// waiting is called once when a call has waited for the server for a while.
	waiting func()
}

// api gives the connection that flags, environment and config file ask for. It is made once and nothing is sent yet.
func (t *tow) api() (*client, error) {
	if t.client != nil {
		return t.client, nil
	}
	to, err := t.connection()
	if err != nil {
		return nil, err
	}
	t.client, err = t.dial(to)
	return t.client, err
}

func (t *tow) dial(to serverContext) (*client, error) {
	if host, port, err := net.SplitHostPort(to.Server); err != nil || host == "" || port == "" || strings.ContainsAny(to.Server, " /") {
		return nil, usagef("%q is no server address; give host:port such as %s", to.Server, defaultServer)
	}
	c := &client{server: to.Server, retry: defaultRetry, waiting: func() {}}
	if v := t.Getenv("TOW_RETRY"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return nil, usagef("TOW_RETRY is %q: give a duration such as 10s, or 0s for no retry", v)
		}
		c.retry = d
	}
	if t.completing {
		c.retry = 0
	} else if t.OutTerminal {
		c.waiting = func() { t.notef("waiting for the server at %s ...", to.Server) }
	}
	opts := []grpc.DialOption{
		grpc.WithUnaryInterceptor(c.unary), grpc.WithStreamInterceptor(c.stream),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		// A server that vanished without a word is noticed, also while nothing is expected from it.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if to.TLS {
		creds, err := tlsFor(to)
		if err != nil {
			return nil, err
		}
		opts = append(opts, grpc.WithTransportCredentials(creds))
	}
	if to.Token != "" {
		opts = append(opts, rpc.WithToken(to.Token))
	}
	conn, err := rpc.Dial(to.Server, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c.conn = conn
	c.CatalogServiceClient, c.access = catalogv1.NewCatalogServiceClient(conn), catalogv1.NewAccessServiceClient(conn)
	c.drift, c.events = driftv1.NewDriftServiceClient(conn), eventsv1.NewEventServiceClient(conn)
	c.live, c.adoption = driftv1.NewLiveServiceClient(conn), catalogv1.NewAdoptionServiceClient(conn)
	return c, nil
}

func tlsFor(to serverContext) (credentials.TransportCredentials, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if to.CAFile != "" {
		pem, err := os.ReadFile(to.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("%s holds no PEM certificate", to.CAFile)
		}
	}
	return credentials.NewTLS(cfg), nil
}

// unary waits for a server that is just restarting, and repeats a call that broke on the way where a second one does no harm.
func (c *client) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "x-towpath-origin", "cli") // told in history
	until := time.Now().Add(c.retry)
	pause := 100 * time.Millisecond
	for {
		c.ready(ctx, conn, until)
		err := invoke(ctx, method, req, reply, conn, opts...)
		if err == nil {
			return nil
		}
		mine := c.explain(err)
		if !errs.Is(mine, errs.Unavailable) || !repeatable(method, req) || time.Now().Add(pause).After(until) {
			return mine
		}
		select {
		case <-ctx.Done():
			return mine
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

// ready waits until the connection stands, the time is over, or ctx ends. It reports nothing: the call itself finds out best.
func (c *client) ready(ctx context.Context, conn *grpc.ClientConn, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	soon, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	if connected(soon, conn) || ctx.Err() != nil {
		return
	}
	c.waiting()
	connected(ctx, conn)
}

// connected waits until the connection stands, or never will again; false when ctx ends before.
func connected(ctx context.Context, conn *grpc.ClientConn) bool {
	for {
		state := conn.GetState()
		if state == connectivity.Idle {
			conn.Connect()
		}
		if state == connectivity.Ready || state == connectivity.Shutdown {
			return true
		}
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// repeatable reports whether a call may have happened already without harm: it only reads, it carries a request id, or doing
// it twice is the same as once.
func repeatable(method string, req any) bool {
	if r, ok := req.(interface{ GetRequestId() string }); ok && r.GetRequestId() != "" {
		return true
	}
	verb := method[strings.LastIndexByte(method, '/')+1:]
	for _, prefix := range []string{"Get", "List", "Plan", "WhoAmI", "Sync", "Explain", "Diff", "Compare"} {
		if strings.HasPrefix(verb, prefix) {
			return true
		}
	}
	return false
}

func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.ready(ctx, conn, time.Now().Add(c.retry))
	s, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, c.explain(err)
	}
	return &explained{s, c}, nil
}

// explained makes the errors of a stream ours.
type explained struct {
	grpc.ClientStream
	c *client
}

// RecvMsg receives; io.EOF is the end.
func (e *explained) RecvMsg(m any) error {
	err := e.ClientStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return e.c.explain(err)
}

// explain turns a call's error into ours, and says of one that never reached a server which one that was and why.
func (c *client) explain(err error) error {
	mine := rpc.FromStatus(err)
	var e *errs.Error
	if !errors.As(mine, &e) || e.Err == nil {
		return mine
	}
	switch e.Kind {
	case errs.Unavailable:
		why := status.Convert(err).Message()
		if _, after, ok := strings.Cut(why, "Error while dialing: "); ok {
			why = strings.TrimSuffix(after, `"`)
		}
		e.Msg = fmt.Sprintf("the server at %s cannot be reached: %s", c.server, why)
		return e.With("tow_hint", "is towpathd running there? name another server with --server or TOW_SERVER, or log in with `tow login`")
	case errs.Timeout:
		e.Msg = "the server did not answer in time"
	case errs.Internal:
		e.Msg = fmt.Sprintf("the server at %s answers like none of Towpath's: %s", c.server, status.Convert(err).Message())
	}
	return e
}

// newRequestID makes an idempotency key. With it a call that is repeated after a broken connection happens once.
func newRequestID() string { return "tow-" + rand.Text() }

// pages collects all pages of a listing.
func pages[T any](ctx context.Context, list func(ctx context.Context, size int32, token string) ([]T, string, error)) ([]T, error) {
	var all []T
	token := ""
	for {
		page, next, err := list(ctx, 1000, token)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		token = next
	}
}
