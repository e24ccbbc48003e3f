package events

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// startTimeout is how long the server may take until it answers; recovering large streams takes a while.
const startTimeout = 60 * time.Second

// ServerConfig configures the embedded server.
type ServerConfig struct {
	// Dir is the data directory. The server keeps everything in Dir/nats, keys included.
	Dir string
	// Listen is where operators connect, "127.0.0.1:4222". Default "127.0.0.1:0": a free port, chosen at the first start
	// and used again at later ones as long as it is free. Anything but loopback needs TLS.
	Listen string
	// TLS is the server's certificate for connections over the network; in-process connections never use it.
	TLS *tls.Config
	// MaxStore limits the disk space of all streams in bytes. Default: the server's own, three quarters of the free space.
	MaxStore int64
	// Logger gets the server's warnings and errors. Default: slog.Default.
	Logger *slog.Logger
}

// Server is an embedded NATS server with JetStream. Every stored message is on disk before it is acknowledged.
type Server struct {
	ns   *server.Server
	dir  string
	addr string
	lock *os.File
	once sync.Once
}

// StartServer starts the server and returns when it answers. Invalid when the configuration cannot work, Precondition
// when the folder is in use by another server or the address is taken.
func StartServer(cfg ServerConfig) (_ *Server, err error) {
	if cfg.Dir == "" {
		return nil, errs.InvalidField("events.dir", "is empty; give the data directory")
	}
	s := &Server{dir: filepath.Join(cfg.Dir, "nats")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the event server's folder: %w", err)
	}
	if s.lock, err = lockDir(s.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close() // the start's own error is the one that matters
		}
	}()
	keys, err := loadKeys(s.dir)
	if err != nil {
		return nil, err
	}
	accounts, err := accountsConfig(keys)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("the event server's accounts: %w", err)
	}
	host, port, err := s.listenAddress(cfg)
	if err != nil {
		return nil, err
	}
	opts.ServerName, opts.Host, opts.Port = "towpath", host, port
	opts.NoSigs, opts.DisableJetStreamBanner = true, true // signals and the terminal belong to the process
	opts.JetStream, opts.StoreDir, opts.SyncAlways, opts.JetStreamMaxStore = true, s.dir, true, cfg.MaxStore
	opts.TLSConfig, opts.TLS = cfg.TLS, cfg.TLS != nil
	if err := s.start(opts, cfg.Logger); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) start(opts *server.Options, log *slog.Logger) error {
	if log == nil {
		log = slog.Default()
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return errs.InvalidField("events", "the event server cannot run as configured: %v", err)
	}
	bridge := &logBridge{log: log.With("component", "nats"), fatal: make(chan string, 1)}
	ns.SetLoggerV2(bridge, false, false, false)
	go ns.Start()
	ready := make(chan bool, 1)
	go func() { ready <- ns.ReadyForConnections(startTimeout) }()
	var failure string
	select {
	case ok := <-ready:
		if !ok {
			failure = "it did not answer in time"
		}
	case failure = <-bridge.fatal:
	}
	if failure != "" {
		ns.Shutdown()
		ns.WaitForShutdown()
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_EVENTS_UNAVAILABLE, "the event server does not start: %s", failure)
	}
	s.ns, s.addr = ns, ns.Addr().String()
	return s.rememberPort()
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the event server's lock: %w", err)
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"the event server's folder is used by another process; stop that one first").With("dir", dir).Because(err), f.Close())
	}
	return f, nil
}

// listenAddress decides host and port. The address is tried here because the server would end the process on a failure.
func (s *Server) listenAddress(cfg ServerConfig) (host string, port int, err error) {
	listen := cfg.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, errs.InvalidField("events.listen", "%q is not host:port; use 127.0.0.1:4222", listen)
	}
	ip := net.ParseIP(host)
	if cfg.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, errs.InvalidField("events.listen", "%q is reachable from other machines and needs TLS; give a certificate or listen on 127.0.0.1", listen)
	}
	if text == "0" {
		if free := s.lastPort(); free != "" && tryListen(host, free) == nil {
			text = free
		}
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, errs.InvalidField("events.listen", "%q has no port number; use 127.0.0.1:4222", listen)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	if err := tryListen(host, text); err != nil {
		return "", 0, errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"the event server cannot listen on %s; free the port or choose another", listen).Because(err)
	}
	return host, port, nil
}

func tryListen(host, port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	return l.Close()
}

func (s *Server) portFile() string { return filepath.Join(s.dir, "port") }

func (s *Server) lastPort() string {
	data, err := os.ReadFile(s.portFile())
	if err != nil {
		return "" // the first start
	}
	return strings.TrimSpace(string(data))
}

// rememberPort keeps the port for the next start, so that operators' subscribers find the server again.
func (s *Server) rememberPort() error {
	_, port, err := net.SplitHostPort(s.addr)
	if err == nil {
		err = writeFile(s.portFile(), []byte(port+"\n"))
	}
	if err != nil {
		s.Shutdown()
		return fmt.Errorf("remember the event server's port: %w", err)
	}
	return nil
}

// Addr is where the server listens, "127.0.0.1:4222".
func (s *Server) Addr() string { return s.addr }

// ClientURL is the URL for Config.URL and for operators' tools.
func (s *Server) ClientURL() string { return s.ns.ClientURL() }

// SeedFile is the file of a role's key. It is for the role's process and for operators; it must not leave the machine.
func (s *Server) SeedFile(r Role) string { return seedFile(s.dir, r) }

// InProcessConn gives a connection that never touches the network. Connect uses it.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// Shutdown stops the server and waits until everything is on disk and the folder is free. It may be called again.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
		_ = s.lock.Close() // closing an unwritten file cannot lose anything
	})
}

// logBridge passes the server's log on. Notices are debug here: a start prints dozens.
type logBridge struct {
	log   *slog.Logger
	fatal chan string
}

func (l *logBridge) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logBridge) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logBridge) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logBridge) Debugf(string, ...any)           {}
func (l *logBridge) Tracef(string, ...any)           {}

// Fatalf must not end the process: the start reports the failure instead.
func (l *logBridge) Fatalf(format string, v ...any) {
	l.Errorf(format, v...)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
