package events

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Config says how to reach the event server. Exactly one of URL and Server is set.
type Config struct {
	// URL is where the servers are, "nats://127.0.0.1:4222", several separated by commas.
	URL string
	// Server is the embedded server of this process; the connection then never touches the network.
	Server *Server
	// Role chooses the credential of the embedded server, and what Ensure may change. Empty means an outside server whose
	// credential may do everything. With a role the client's inbox is _INBOX_<role>, which that credential may read.
	Role Role
	// NkeySeedFile holds an nkey seed. Default with Server and Role: that role's seed.
	NkeySeedFile string
	// CredsFile holds a NATS user credential (JWT and seed), instead of NkeySeedFile.
	CredsFile string
	// TLSCA is a file of PEM certificates that the server's certificate is checked against. Default: the system's.
	TLSCA string
	// Name is shown in the server's list of connections. Default: the role.
	Name string
	// Streams sets retention and replicas of the streams.
	Streams StreamsConfig
	// AckWait is ConsumerConfig.AckWait for consumers that give none. Default 30 s.
	AckWait time.Duration
	// Timeout limits one request to the server when the caller's context has no deadline. Default 5 s.
	Timeout time.Duration
	// Logger gets connection changes and faults. Default: slog.Default.
	Logger *slog.Logger
}

// Bus is one connection. It is safe for concurrent use.
type Bus struct {
	cfg  Config
	nc   *nats.Conn
	js   jetstream.JetStream
	log  *slog.Logger
	zstd *codec

	mu      sync.Mutex
	changed chan struct{}                              // closed and replaced at every change of the connection
	refused map[string]map[int]context.CancelCauseFunc // publishes in flight by subject
	nextID  int
}

// Connect makes a Bus and returns at once, also when no server answers yet: the connection is tried forever, and is made
// again whenever it is lost. Only a wrong configuration is an error. End it with Close.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.AckWait <= 0 {
		cfg.AckWait = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Name == "" {
		cfg.Name = string(cfg.Role)
	}
	b := &Bus{
		cfg: cfg, log: cfg.Logger.With("component", "events", "connection", cfg.Name),
		changed: make(chan struct{}), refused: map[string]map[int]context.CancelCauseFunc{},
	}
	opts, err := b.options()
	if err != nil {
		return nil, err
	}
	if b.zstd, err = newCodec(); err != nil {
		return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the compressor cannot be made").Because(err)
	}
	if b.nc, err = nats.Connect(cfg.URL, opts...); err != nil {
		return nil, errs.InvalidField("events.url", "the event server cannot be used as configured: %v", err)
	}
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(cfg.Timeout)); err != nil {
		b.nc.Close()
		return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "JetStream cannot be used").Because(err)
	}
	return b, nil
}

// options gives the client's options. A publish is refused while there is no connection instead of waiting in a buffer:
// the caller hears Unavailable and still owns the message.
func (b *Bus) options() ([]nats.Option, error) {
	cfg := b.cfg
	if (cfg.URL == "") == (cfg.Server == nil) {
		return nil, errs.InvalidField("events.url", "give either the URL of an event server or the embedded server")
	}
	opts := []nats.Option{
		nats.Name(cfg.Name), nats.Timeout(cfg.Timeout), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), nats.CustomReconnectDelay(reconnectDelay), nats.ReconnectBufSize(-1),
		nats.PingInterval(20 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(*nats.Conn) { b.stateChanged("connected", nil) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.stateChanged("connected again", nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.stateChanged("disconnected", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.asyncError(err) }),
	}
	if cfg.Server != nil {
		opts = append(opts, nats.InProcessServer(cfg.Server))
		if cfg.NkeySeedFile == "" && cfg.Role != "" {
			cfg.NkeySeedFile = cfg.Server.SeedFile(cfg.Role)
		}
	}
	if cfg.Role != "" && cfg.CredsFile == "" {
		opts = append(opts, nats.CustomInboxPrefix(inboxPrefix(cfg.Role)))
	}
	if cfg.NkeySeedFile != "" {
		opt, err := nats.NkeyOptionFromSeed(cfg.NkeySeedFile)
		if err != nil {
			return nil, errs.InvalidField("events.nkey_seed_file", "cannot be read as an nkey seed; give a file that holds one, readable by this process").Because(err)
		}
		opts = append(opts, opt)
	}
	if cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.TLSCA != "" {
		opts = append(opts, nats.RootCAs(cfg.TLSCA))
	}
	return opts, nil
}

// reconnectDelay starts small so that a restart of the server is hardly noticed, and stays under two seconds.
func reconnectDelay(attempts int) time.Duration {
	return min(25*time.Millisecond<<min(attempts, 6), 1600*time.Millisecond)
}

// Close ends the connection. Consume and Tail calls still running end with an error unless their context ended first.
func (b *Bus) Close() { b.nc.Close() }

// Connected reports whether the server can be reached now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Wait blocks until the server can be reached. It returns the context's error when that ends first.
func (b *Bus) Wait(ctx context.Context) error {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if b.Connected() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(unavailable("be reached", b.nc.LastError()), ctx.Err())
		}
	}
}

// untilChange gives a context that ends when the connection is lost or made again, too.
func (b *Bus) untilChange(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	changed := b.changed
	b.mu.Unlock()
	go func() {
		select {
		case <-changed:
			cancel(unavailable("be reached: the connection changed", nil))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (b *Bus) stateChanged(state string, err error) {
	if err != nil {
		b.log.Warn("event server "+state, "error", err)
	} else {
		b.log.Info("event server " + state)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// violation takes the subject out of the server's text: the protocol carries it nowhere else.
var violation = regexp.MustCompile(`(?i)permissions violation for publish to "([^"]+)"`)

// asyncError ends publishes that the server refused. Without it a forbidden publish would only time out.
func (b *Bus) asyncError(err error) {
	m := violation.FindStringSubmatch(err.Error())
	if m == nil {
		b.log.Warn("event server reports a fault", "error", err)
		return
	}
	b.log.Error("event server refused a publish", "subject", m[1])
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, cancel := range b.refused[m[1]] {
		cancel(denied("publish", m[1], err))
	}
}

// watchRefusal gives a context that ends with a Denied error as its cause when the server refuses a publish to subject.
func (b *Bus) watchRefusal(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nextID++
	id := b.nextID
	if b.refused[subject] == nil {
		b.refused[subject] = map[int]context.CancelCauseFunc{}
	}
	b.refused[subject][id] = cancel
	return ctx, func() {
		cancel(nil)
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.refused[subject], id)
		if len(b.refused[subject]) == 0 {
			delete(b.refused, subject)
		}
	}
}
