package rpc_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/ratelimit"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// passed is what a call gets that reached a service without that method.
const passed = codes.Internal

// watched sends applications and environments to whoever watches, as told, and tells what it was asked with.
type watched struct {
	catalogv1.UnimplementedCatalogServiceServer
	send chan *catalogv1.WatchApplicationsResponse
	seen chan auth.Decision
}

func (w *watched) WatchApplications(_ *catalogv1.WatchApplicationsRequest, s grpc.ServerStreamingServer[catalogv1.WatchApplicationsResponse]) error {
	d, _ := auth.DecisionFrom(s.Context())
	w.seen <- d
	for {
		select {
		case m, ok := <-w.send:
			if !ok {
				return nil
			}
			if err := s.Send(m); err != nil {
				return err
			}
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (w *watched) WatchEnvironments(r *catalogv1.WatchEnvironmentsRequest, s grpc.ServerStreamingServer[catalogv1.WatchEnvironmentsResponse]) error {
	d, _ := auth.DecisionFrom(s.Context())
	w.seen <- d
	for _, e := range []struct{ id, typ string }{{"dev", "development"}, {"prod", "production"}} {
		env := &catalogv1.Environment{Name: r.GetParent() + "/environments/" + e.id, Type: "environmentTypes/" + e.typ}
		if err := s.Send(&catalogv1.WatchEnvironmentsResponse{Environment: env}); err != nil {
			return err
		}
	}
	return s.Send(&catalogv1.WatchEnvironmentsResponse{CaughtUp: true})
}

// book is who has which token; it can change.
type book struct {
	mu sync.Mutex
	by map[string]auth.Caller
}

func (b *book) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.by[token]; ok {
		return c, nil
	}
	return auth.Caller{}, auth.Unauthenticated("unknown token")
}

func (b *book) set(token string, c auth.Caller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.by[token] = c
}

// serveWatched starts a server and gives a way to call it with a token.
func serveWatched(t *testing.T, w *watched, cfg rpc.ServerConfig) func(token string) catalogv1.CatalogServiceClient {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	if cfg.Authorizer == nil {
		cfg.Authorizer = policy.Static()
	}
	s, err := rpc.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	catalogv1.RegisterCatalogServiceServer(s, w)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, nil) }()
	t.Cleanup(func() { cancel(); <-done })
	return func(token string) catalogv1.CatalogServiceClient {
		conn, err := s.DialLocal(rpc.WithToken(token))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return catalogv1.NewCatalogServiceClient(conn)
	}
}

func TestAStreamGivesWhatMayBeReadAndNoMore(t *testing.T) {
	w := &watched{send: make(chan *catalogv1.WatchApplicationsResponse, 10), seen: make(chan auth.Decision, 10)}
	b := &book{by: map[string]auth.Caller{
		"shop": auth.Caller{Subject: "users/ada"}.WithRole(auth.Viewer, "applications/shop"),
		"prod": auth.Caller{Subject: "users/bob"}.WithRole(auth.Viewer, "environmentTypes/production"),
		"none": {Subject: "users/eve"},
	}}
	dial := serveWatched(t, w, rpc.ServerConfig{Authenticator: b})
	for _, id := range []string{"blog", "shop"} {
		w.send <- &catalogv1.WatchApplicationsResponse{Application: &catalogv1.Application{Name: "applications/" + id}}
	}
	w.send <- &catalogv1.WatchApplicationsResponse{CaughtUp: true}
	close(w.send)
	s, err := dial("shop").WatchApplications(t.Context(), &catalogv1.WatchApplicationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		m, err := s.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.GetApplication().GetName()+fmt.Sprint(m.GetCaughtUp()))
	}
	if strings.Join(got, " ") != "applications/shopfalse true" {
		t.Errorf("got %q", got)
	}
	if d := <-w.seen; d.Action != auth.Read || !d.Filtered {
		t.Errorf("the handler saw %+v", d)
	}
	for token, want := range map[string]string{"shop": "dev prod", "prod": "prod"} {
		envs, err := dial(token).WatchEnvironments(t.Context(), &catalogv1.WatchEnvironmentsRequest{Parent: "applications/shop"})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for m, err := envs.Recv(); err == nil; m, err = envs.Recv() {
			if name := m.GetEnvironment().GetName(); name != "" {
				ids = append(ids, name[strings.LastIndexByte(name, '/')+1:])
			}
		}
		if strings.Join(ids, " ") != want {
			t.Errorf("%s sees %q, want %q", token, ids, want)
		}
		<-w.seen
	}
	refused, err := dial("none").WatchApplications(t.Context(), &catalogv1.WatchApplicationsRequest{})
	if err == nil {
		_, err = refused.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("nobody: %v", err)
	}
	if len(w.seen) != 0 {
		t.Error("the handler ran for somebody who may not")
	}
}

func TestAStreamEndsSoonAfterItsTokenOrRole(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*book)
		want   codes.Code
	}{
		"revoked":   {func(b *book) { b.mu.Lock(); delete(b.by, "t"); b.mu.Unlock() }, codes.Unauthenticated},
		"no role":   {func(b *book) { b.set("t", auth.Caller{Subject: "users/ada"}) }, codes.PermissionDenied},
		"no change": {func(*book) {}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watched{send: make(chan *catalogv1.WatchApplicationsResponse), seen: make(chan auth.Decision, 1)}
			b := &book{by: map[string]auth.Caller{"t": {Subject: "users/ada", Role: auth.Viewer}}}
			dial := serveWatched(t, w, rpc.ServerConfig{Authenticator: b, RecheckStreams: time.Nanosecond})
			s, err := dial("t").WatchApplications(t.Context(), &catalogv1.WatchApplicationsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			row := &catalogv1.WatchApplicationsResponse{Application: &catalogv1.Application{Name: "applications/shop"}}
			w.send <- row
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
			c.change(b)
			w.send <- row
			if _, err := s.Recv(); status.Code(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestTooManyCallsAreToldWhenToComeBack(t *testing.T) {
	now := time.Unix(0, 0)
	w := &watched{seen: make(chan auth.Decision, 10)}
	b := &book{by: map[string]auth.Caller{"a": {Subject: "users/ada", Role: auth.Admin}, "b": {Subject: "users/bob", Role: auth.Admin}, "s": {Subject: auth.ServiceSubject, Role: auth.Admin}}}
	dial := serveWatched(t, w, rpc.ServerConfig{Authenticator: b, Limiter: ratelimit.New(ratelimit.Config{
		Reads: ratelimit.Limit{PerSecond: 0.25, Burst: 2}, Writes: ratelimit.Limit{PerSecond: 1}, Clock: func() time.Time { return now },
	})})
	read := func(token string) error {
		_, err := dial(token).ListTargets(t.Context(), &catalogv1.ListTargetsRequest{})
		return err
	}
	for range 2 {
		if err := read("a"); status.Code(err) != passed {
			t.Fatal(err)
		}
	}
	err := read("a")
	var e *errs.Error
	if e, _ = rpc.FromStatus(err).(*errs.Error); e == nil || e.Reason != errorsv1.Reason_REASON_RATE_LIMITED || e.Kind != errs.Exhausted || e.Meta["retry_after"] != "4" {
		t.Fatalf("got %v", err)
	}
	found := false
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			found = r.GetRetryDelay().AsDuration() == 4*time.Second
		}
	}
	if !found {
		t.Error("no RetryInfo of 4 s")
	}
	s, err := dial("a").WatchApplications(t.Context(), &catalogv1.WatchApplicationsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a stream: %v", err)
	}
	for _, other := range []string{"b", "s", "s", "s", "s"} {
		if err := read(other); status.Code(err) != passed {
			t.Errorf("%s: %v", other, err)
		}
	}
	if _, err := dial("a").CreateTarget(t.Context(), &catalogv1.CreateTargetRequest{TargetId: "eu"}); status.Code(err) != passed {
		t.Errorf("a write: %v", err)
	}
}

func TestManyWrongTokensBlockTheirAddress(t *testing.T) {
	now := time.Unix(0, 0)
	b := &book{by: map[string]auth.Caller{"a": {Subject: "users/ada", Role: auth.Admin}}}
	dial := serveWatched(t, &watched{}, rpc.ServerConfig{Authenticator: b, Limiter: ratelimit.New(ratelimit.Config{
		Failures: ratelimit.Limit{PerSecond: 1, Burst: 3}, Clock: func() time.Time { return now },
	})})
	call := func(token string) codes.Code {
		_, err := dial(token).ListTargets(t.Context(), &catalogv1.ListTargetsRequest{})
		return status.Code(err)
	}
	for range 3 {
		if c := call("guess"); c != codes.Unauthenticated {
			t.Fatal(c)
		}
	}
	if c := call("guess"); c != codes.ResourceExhausted {
		t.Errorf("a fourth guess: %s", c)
	}
	if c := call("a"); c != codes.ResourceExhausted {
		t.Errorf("a right one among guesses: %s", c)
	}
	now = now.Add(2 * time.Second)
	if c := call("a"); c != passed {
		t.Errorf("after the wait: %s", c)
	}
}
