// Package eventstest starts a real event server for tests: embedded, on loopback, in the test's own folder. What belongs
// here is only what tests of several packages need to run against internal/events.
package eventstest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/events"
)

// Start starts a server that stops with the test.
func Start(t testing.TB) *events.Server {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn starts a server in a folder. After Shutdown it can be called again with the same folder: the server then has
// the same keys, the same port and the same streams.
func StartIn(t testing.TB, dir string) *events.Server {
	t.Helper()
	s, err := events.StartServer(events.ServerConfig{Dir: dir, Logger: Logger(t)})
	if err != nil {
		t.Fatalf("start the event server: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect connects with a role's key over TCP, so that the connection survives a restart of the server, waits until the
// server answers and makes the streams. The connection closes with the test.
func Connect(t testing.TB, s *events.Server, role events.Role) *events.Bus {
	t.Helper()
	b, err := events.Connect(t.Context(), events.Config{
		URL: s.ClientURL(), Role: role, NkeySeedFile: s.SeedFile(role), Name: t.Name() + "/" + string(role), Logger: Logger(t),
	})
	if err != nil {
		t.Fatalf("connect as %s: %v", role, err)
	}
	t.Cleanup(b.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Wait(ctx); err != nil {
		t.Fatalf("connect as %s: %v", role, err)
	}
	if role == events.RoleOperator || role == events.RoleGateway {
		return b // they only read what others made
	}
	if err := b.Ensure(ctx); err != nil {
		t.Fatalf("make the streams as %s: %v", role, err)
	}
	return b
}

// Logger writes what is worth reading to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
