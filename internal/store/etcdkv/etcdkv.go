// Package etcdkv is the store for several catalog processes: an etcd cluster, under a key prefix per installation.
//
// A row's revision is etcd's modification revision (plus a fixed offset after a migration, see meta.go), a
// transaction is one etcd transaction whose conditions are compares, and the change log is etcd's own history. So the
// contract's order, isolation and durability are etcd's: reads are linearizable, and Commit returns when a majority of
// members has the transaction on disk.
//
// etcd's default limits are smaller than the port's. Open refuses a server that does not run with
//
//	--max-request-bytes=20971520 --max-txn-ops=1024
//
// so that a large deployment cannot fail later. Keys are, below the prefix:
//
//	meta       what this engine knows of the installation, see meta.go
//	marks      which revision was current when, for the compaction, see compact.go
//	kv/<key>   the rows
package etcdkv

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// Config says where the cluster is and how this installation uses it. ParseURL makes one.
type Config struct {
	// Endpoints are the members' client URLs, http:// or https://. At least one.
	Endpoints []string
	// Prefix is what all keys of this installation begin with; DefaultPrefix when empty.
	Prefix string
	// TLS is used for https endpoints.
	TLS *tls.Config
	// User and Password are for etcd's own authentication; none when empty. The user needs read and write on Prefix.
	User, Password string
	// RequestTimeout bounds a call whose context has no earlier end; 10 s when 0. Then it is errs.Unavailable.
	RequestTimeout time.Duration
	// LeaseTTL is after how long without a sign of life a leader is replaced; 6 s when 0, at least 2 s, which is as short as
	// etcd grants.
	LeaseTTL time.Duration
	// Retain is how long the change log is kept: the leader compacts what is older. 24 h when 0. Negative leaves compacting
	// to etcd's own --auto-compaction flags, for a cluster that others use as well.
	Retain time.Duration
	// Logger gets outages and compactions; slog's default when nil.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 10 * time.Second
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 6 * time.Second
	}
	if c.Retain == 0 {
		c.Retain = 24 * time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// maxPrefix leaves room in a request for the prefix of each of its keys.
const maxPrefix = 64

func (c Config) validate(field string) error {
	switch {
	case len(c.Endpoints) == 0:
		return errs.InvalidField(field, "names no member; write etcd://host:2379,host2:2379/prefix")
	case len(c.Prefix) > maxPrefix:
		return errs.InvalidField(field, "the prefix has %d bytes; at most %d are allowed", len(c.Prefix), maxPrefix)
	case c.LeaseTTL != 0 && (c.LeaseTTL < 2*time.Second || c.LeaseTTL%time.Second != 0):
		return errs.InvalidField(field, "lease=%v is not a number of seconds from 2 on", c.LeaseTTL)
	case c.Retain > 0 && c.Retain < time.Hour:
		return errs.InvalidField(field, "retain=%v is too short; give at least 1h, so that a process that was down for a while misses nothing", c.Retain)
	}
	return nil
}

// closeGrace is how long Close waits for calls that are under way.
const closeGrace = 5 * time.Second

// DB is the store of one installation. Make it with Open.
type DB struct {
	cfg    Config
	client *clientv3.Client
	root   string // prefix of everything
	rows   string // prefix of the rows
	meta   meta
	tops   tops // where reverse scans begin
	gets   gets // reads that wait for each other

	mu      sync.RWMutex // held for reading while a call begins, so that Close sees all that have
	closed  bool
	calls   sync.WaitGroup
	closing chan struct{} // closed by Close: watches and leases end
	life    context.Context
	cut     context.CancelFunc // ends life, when Close has waited long enough
}

var (
	_ store.KV        = (*DB)(nil)
	_ store.Compactor = (*DB)(nil)
	_ store.Elector   = (*DB)(nil)
)

// Open connects to the cluster and prepares the prefix at its first use. Errors: errs.Unavailable when no member answers
// within the request timeout, errs.Precondition when the server's limits are too small, when the prefix was written by a
// newer version, or when a migration into it did not finish.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	if err := db.prepare(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// connect makes the client. Nothing is sent yet, unless etcd asks for a password.
func connect(cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate("store"); err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, Username: cfg.User, Password: cfg.Password,
		DialTimeout: cfg.RequestTimeout, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize: maxRequestBytes + probeSlack,
		Logger:             zap.NewNop(), // its warnings are our errors
		DialOptions: []grpc.DialOption{grpc.WithUserAgent("towpath"), grpc.WithConnectParams(grpc.ConnectParams{
			// A member that was restarted is used again soon; the library's own pauses grow to two minutes.
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		})},
	})
	if err != nil {
		return nil, unreachable(cfg.Endpoints, err)
	}
	root := strings.Trim(cfg.Prefix, "/") + "/"
	life, cut := context.WithCancel(context.Background())
	return &DB{
		cfg: cfg, client: client, root: root, rows: root + "kv/", closing: make(chan struct{}), life: life, cut: cut,
	}, nil
}

// Close implements store.KV. The cluster goes on.
func (db *DB) Close() error {
	db.mu.Lock()
	again := db.closed
	db.closed = true
	if !again {
		close(db.closing)
	}
	db.mu.Unlock()
	if again {
		return nil
	}
	done := make(chan struct{})
	go func() { db.calls.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeGrace):
	}
	db.cut()
	<-done
	return db.client.Close()
}

// begin starts a call: its context ends with the caller's, after the request timeout, or when Close has waited long enough.
func (db *DB) begin(ctx context.Context) (call context.Context, end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, nil, store.Closed()
	}
	db.calls.Add(1)
	call, cancel := context.WithTimeout(ctx, db.cfg.RequestTimeout)
	stop := context.AfterFunc(db.life, cancel)
	return call, func() {
		stop()
		cancel()
		db.calls.Done()
	}, nil
}

func (db *DB) isClosed() bool {
	select {
	case <-db.closing:
		return true
	default:
		return false
	}
}
