package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// stack is the real thing on a fresh state: a control plane and towpathd as processes of their own, and a client's connections.
type stack struct {
	dir        string
	kubeconfig string
	// ready holds the shell variables of towpathd's ready file.
	ready map[string]string
	// bearer is the admin's authorization header.
	bearer  string
	catalog catalogv1.CatalogServiceClient
	drift   driftv1.DriftServiceClient
	stops   []func()
}

// startStack starts it in a temporary folder and on free ports of loopback. stop ends all of it, also what started before an error.
func startStack(ctx context.Context) (s *stack, stop func(), err error) {
	s = &stack{ready: map[string]string{}}
	stop = func() {
		for i := len(s.stops) - 1; i >= 0; i-- {
			s.stops[i]()
		}
	}
	if s.dir, err = os.MkdirTemp("", "towpath-bench-"); err != nil {
		return s, stop, err
	}
	s.stops = append(s.stops, func() { os.RemoveAll(s.dir) })
	clusterReady := filepath.Join(s.dir, "cluster.ready")
	if err := s.spawn(ctx, "devcluster", clusterReady, "up", "--dir", filepath.Join(s.dir, "cluster"), "--ready-file", clusterReady, "--exit-on-stdin-eof"); err != nil {
		return s, stop, err
	}
	b, err := os.ReadFile(clusterReady)
	if err != nil {
		return s, stop, err
	}
	s.kubeconfig = strings.TrimSpace(string(b))
	serverReady := filepath.Join(s.dir, "towpathd.ready")
	err = s.spawn(ctx, "towpathd", serverReady, "serve", "--rate-limit-reads", "0", "--rate-limit-writes", "0", "--data-dir", filepath.Join(s.dir, "data"), "--kubeconfig", s.kubeconfig,
		"--ready-file", serverReady, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0")
	if err != nil {
		return s, stop, err
	}
	return s, stop, s.connect(serverReady, "")
}

// spawn starts a binary and waits until it has written its ready file.
func (s *stack) spawn(ctx context.Context, name, ready string, args ...string) error {
	_, err := s.launch(ctx, name, written(ready), args...)
	return err
}

// written reports whether a ready file is there.
func written(file string) func() bool {
	return func() bool {
		b, err := os.ReadFile(file)
		return err == nil && len(b) > 0
	}
}

// launch starts a binary and waits until it is ready. end ends it before all else ends.
func (s *stack) launch(ctx context.Context, name string, ready func() bool, args ...string) (end func(), err error) {
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join("bin", name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// devcluster ends with its standard input, so that it cannot outlive this process.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (make build bin/devcluster bin/etcd)", name, err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
	}
	s.stops = append(s.stops, end)
	limit := time.After(2 * time.Minute)
	for {
		if ready() {
			return end, nil
		}
		select {
		case <-exited:
			return nil, fmt.Errorf("%s ended before it was ready:\n%s", name, tail(log.Name()))
		case <-limit:
			return nil, fmt.Errorf("%s is not ready after two minutes:\n%s", name, tail(log.Name()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}

// connect reads where towpathd is. The admin's token is in a file that the ready file names, unless another is given.
func (s *stack) connect(readyFile, tokenFile string) error {
	b, err := os.ReadFile(readyFile)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		s.ready[key] = strings.Trim(value, "'")
	}
	token, err := os.ReadFile(cmp.Or(tokenFile, s.ready["TOWPATH_ADMIN_TOKEN_FILE"]))
	if err != nil {
		return err
	}
	s.bearer = "Bearer " + strings.TrimSpace(string(token))
	conn, err := s.dial()
	if err != nil {
		return err
	}
	s.catalog, s.drift = catalogv1.NewCatalogServiceClient(conn), driftv1.NewDriftServiceClient(conn)
	return nil
}

// dial opens another connection, as the admin.
func (s *stack) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(s.ready["TOWPATH_GRPC"], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return call(metadata.AppendToOutgoingContext(ctx, "authorization", s.bearer), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, "authorization", s.bearer), desc, cc, method, opts...)
		}))
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() { _ = conn.Close() })
	return conn, nil
}

// watchUntil streams a deployment until done says so, and gives it as it was then.
func (s *stack) watchUntil(ctx context.Context, name string, done func(*catalogv1.Deployment) bool) (*catalogv1.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := s.catalog.WatchDeployment(ctx, &catalogv1.WatchDeploymentRequest{Name: name})
	if err != nil {
		return nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s ended before it got so far", name)
		}
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", name, err)
		}
		d := r.GetDeployment()
		if e := d.GetError(); e != nil {
			return nil, fmt.Errorf("%s failed at %s: %s", name, e.GetStage(), e.GetMessage())
		}
		if done(d) {
			return d, nil
		}
	}
}
