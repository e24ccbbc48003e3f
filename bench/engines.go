package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/towpath-dev/towpath/internal/events"
)

// engine is one place where the catalog keeps its rows, on a fresh state.
type engine struct {
	*stack
	// args are what towpathd is started with beside what all engines have.
	args []string
	// used gives the bytes of the database that hold something. Where rest is set towpathd must not run meanwhile.
	used func(ctx context.Context) (int64, error)
	rest bool
	// end ends towpathd, nil while it does not run.
	end func()
}

// newEngine makes a folder and the secrets; stop removes it and ends everything, also what started before an error.
func newEngine() (e *engine, stop func(), err error) {
	e = &engine{stack: &stack{ready: map[string]string{}}}
	stop = func() {
		for i := len(e.stops) - 1; i >= 0; i-- {
			e.stops[i]()
		}
	}
	if e.dir, err = os.MkdirTemp("", "towpath-bench-"); err != nil {
		return e, stop, err
	}
	e.stops = append(e.stops, func() { os.RemoveAll(e.dir) })
	for _, name := range []string{"secret", "admin"} {
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte("tow_"+rand.Text()), 0o600); err != nil {
			return e, stop, err
		}
	}
	return e, stop, nil
}

// boltEngine keeps the rows in a file.
func boltEngine(context.Context) (*engine, func(), error) {
	e, stop, err := newEngine()
	e.rest = true
	e.used = func(context.Context) (int64, error) {
		return boltUsed(filepath.Join(e.dir, "data", "catalog", "catalog.db"))
	}
	return e, stop, err
}

// boltUsed counts the pages in use: the file itself grows in large steps.
func boltUsed(file string) (int64, error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second, PreLoadFreelist: true})
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	var size int64
	err = db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil })
	s := db.Stats()
	return size - int64((s.FreePageN+s.PendingPageN)*db.Info().PageSize), err
}

// etcdEngine keeps the rows in an etcd of one member, with the flags that the documentation tells operators to use, and has an
// event server in this process.
func etcdEngine(ctx context.Context) (*engine, func(), error) {
	e, stop, err := newEngine()
	if err != nil {
		return e, stop, err
	}
	client, err := e.startEtcd(ctx)
	if err != nil {
		return e, stop, err
	}
	bus, err := events.StartServer(events.ServerConfig{Dir: filepath.Join(e.dir, "bus"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Listen: "127.0.0.1:0"})
	if err != nil {
		return e, stop, err
	}
	e.stops = append(e.stops, bus.Shutdown)
	e.args = []string{
		"--store", "etcd://" + client + "/bench", "--nats-url", "nats://" + bus.Addr(), "--nats-seeds", filepath.Join(e.dir, "bus", "nats"),
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{client}, DialTimeout: 10 * time.Second})
	if err != nil {
		return e, stop, err
	}
	e.stops = append(e.stops, func() { _ = c.Close() })
	e.used = func(ctx context.Context) (int64, error) {
		s, err := c.Status(ctx, client)
		return s.DbSizeInUse, err
	}
	return e, stop, nil
}

func (e *engine) startEtcd(ctx context.Context) (client string, err error) {
	client, err = freeAddress()
	if err != nil {
		return "", err
	}
	peer, err := freeAddress()
	if err != nil {
		return "", err
	}
	ready := func() bool {
		resp, err := http.Get("http://" + client + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && bytes.Contains(body, []byte(`"health":"true"`))
	}
	_, err = e.launch(ctx, "etcd", ready, "--name=one", "--data-dir="+filepath.Join(e.dir, "etcd"),
		"--listen-client-urls=http://"+client, "--advertise-client-urls=http://"+client,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=one=http://"+peer,
		"--log-level=warn", "--max-request-bytes=20971520", "--max-txn-ops=1024")
	return client, err
}

// freeAddress finds a port of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts towpathd with everything but committer and drift, on what is there. No limit bounds the load.
func (e *engine) start(ctx context.Context) error {
	ready, admin := filepath.Join(e.dir, "towpathd.ready"), filepath.Join(e.dir, "admin")
	const nobody = "127.0.0.1:9" // commands wait in the event server; no plan is made
	args := append([]string{
		"serve", "--target", "catalog,renderer,gateway", "--data-dir", filepath.Join(e.dir, "data"), "--ready-file", ready,
		"--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--rate-limit-reads", "0", "--rate-limit-writes", "0", "--admin-token-file", admin,
		"--committer-addr", nobody, "--drift-addr", nobody, "--service-token-file", filepath.Join(e.dir, "secret"),
	}, e.args...)
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return err
	}
	end, err := e.launch(ctx, "towpathd", written(ready), args...)
	if err != nil {
		return err
	}
	e.end = end
	return e.connect(ready, admin)
}

// size gives the bytes in use of the database, and has towpathd run again where it has to rest for that.
func (e *engine) size(ctx context.Context) (int64, error) {
	if !e.rest {
		return e.used(ctx)
	}
	e.end()
	n, err := e.used(ctx)
	if err != nil {
		return 0, err
	}
	return n, e.start(ctx)
}

// sizedCreates is how many deployments are made to see how much the database grows by one.
const sizedCreates = 4000

// bytesPerDeployment gives the growth of the database by each of some thousand deployments.
func bytesPerDeployment(ctx context.Context, start func(context.Context) (*engine, func(), error)) (float64, error) {
	e, stop, err := start(ctx)
	defer stop()
	if err != nil {
		return 0, err
	}
	if err := e.start(ctx); err != nil {
		return 0, err
	}
	c := &catalogLoad{stack: e.stack}
	if err := c.prepare(ctx); err != nil {
		return 0, err
	}
	before, err := e.size(ctx)
	if err != nil {
		return 0, err
	}
	if err := c.redial(); err != nil {
		return 0, err
	}
	var next atomic.Int64
	if err := each(ctx, callersAtMost, func(ctx context.Context, caller int) (bool, error) {
		if next.Add(1) > sizedCreates {
			return false, nil
		}
		return true, c.createGRPC(ctx, caller)
	}); err != nil {
		return 0, err
	}
	sleep(ctx, 2*time.Second) // until the commands are published, which writes rows, too
	after, err := e.size(ctx)
	if err != nil {
		return 0, err
	}
	if after <= before {
		return 0, fmt.Errorf("the database went from %s to %s bytes by %d deployments", strconv.FormatInt(before, 10), strconv.FormatInt(after, 10), sizedCreates)
	}
	return float64(after-before) / sizedCreates, nil
}
