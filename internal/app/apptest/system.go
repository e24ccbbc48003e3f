package apptest

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/app"
)

// System is the whole of Towpath in this process.
type System struct {
	*Client
	// Endpoints are where it listens.
	Endpoints app.Endpoints
	// DataDir holds everything it keeps.
	DataDir string

	stop func(t testing.TB)
}

// Start runs the whole system on free loopback ports and temporary folders. It stops with the test.
func Start(t testing.TB, opts ...Option) *System {
	t.Helper()
	cfg := app.Config{
		DataDir: t.TempDir(), GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		RepublishAfter: time.Second, AckWait: time.Second, AdminToken: "tow_admin", Version: "test",
		Log:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		Failpoint: func(string) {},
	}
	for _, o := range opts {
		o(&cfg)
	}
	ready := make(chan app.Endpoints, 1)
	cfg.Ready = func(e app.Endpoints) { ready <- e }
	a, err := cfg.Complete()
	if err != nil {
		t.Fatalf("the configuration of the system: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := &System{DataDir: cfg.DataDir}
	ended := false
	s.stop = func(t testing.TB) {
		t.Helper()
		if ended {
			return
		}
		ended = true
		if s.Client != nil {
			s.close()
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the system ended with: %v", err)
			}
		case <-time.After(Patience):
			buf := make([]byte, 1<<20)
			t.Fatalf("the system does not stop:\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
	t.Cleanup(func() { s.stop(t) })
	select {
	case s.Endpoints = <-ready:
	case err := <-done:
		ended = true
		t.Fatalf("the system does not start: %v", err)
	case <-time.After(Patience):
		t.Fatal("the system is not ready")
	}
	s.Client = dial(t, s.Endpoints.GRPC, s.Endpoints.HTTP, s.Endpoints.NATS, cfg.DataDir, cfg.AdminToken)
	return s
}

// Stop ends the system in an orderly way. Without it the end of the test does.
func (s *System) Stop(t testing.TB) {
	t.Helper()
	s.stop(t)
}

// VerifyNoLeaks fails the test when more goroutines run than at the given moment. No parallel test may run at the same time.
func VerifyNoLeaks(t testing.TB, before goleak.Option) {
	t.Helper()
	if err := goleak.Find(append(knownGoroutines(), before)...); err != nil {
		t.Error(err)
	}
}
