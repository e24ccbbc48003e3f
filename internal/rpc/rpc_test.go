package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

func TestAnErrorSurvivesAHopBetweenServices(t *testing.T) {
	for _, e := range []*errs.Error{
		errs.InvalidFields(errs.Field{Path: "a.b[1]", Problem: "is wrong"}, errs.Field{Path: "c", Problem: "too"}),
		errs.NotFoundf("applications/shop", "make it with `tow app create shop`"),
		errs.New(errs.Conflict, errorsv1.Reason_REASON_ETAG_MISMATCH, "read it again").With("etag", "7"),
		errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED, "moved").With("moved", "set"),
		errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "no route"),
		errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED, "list first"),
	} {
		t.Run(rpc.ReasonName(e.Reason), func(t *testing.T) {
			got := rpc.FromStatus(rpc.ToStatus(fmt.Errorf("outer: %w", e), "r1").Err())
			if d := cmp.Diff(e, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-sent +arrived)\n%s", d)
			}
		})
	}
}

func TestEveryErrorLeavesWithExactlyOneErrorInfo(t *testing.T) {
	secret := "password=hunter2"
	for name, err := range map[string]error{
		"ours":         errs.InvalidField("x", "wrong"),
		"unknown":      errors.New(secret),
		"internal":     errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "boom").Because(errors.New(secret)),
		"with a cause": errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "gone").Because(errors.New(secret)),
		"cancelled":    context.Canceled,
		"late":         fmt.Errorf("read: %w", context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			s := rpc.ToStatus(err, "r1")
			infos := 0
			for _, d := range s.Details() {
				if i, ok := d.(*errdetails.ErrorInfo); ok {
					infos++
					if i.GetDomain() != rpc.Domain || i.GetReason() == "" || strings.HasPrefix(i.GetReason(), "REASON_") {
						t.Errorf("ErrorInfo is %v", i)
					}
				}
			}
			if infos != 1 {
				t.Errorf("%d ErrorInfos, want 1", infos)
			}
			if strings.Contains(s.String(), secret) {
				t.Errorf("the cause left the process: %v", s)
			}
		})
	}
}

// whoami answers what the interceptors made of the caller, or fails as told.
type whoami struct {
	catalogv1.UnimplementedAccessServiceServer
	fail func() error
}

func (w *whoami) WhoAmI(ctx context.Context, _ *catalogv1.WhoAmIRequest) (*catalogv1.WhoAmIResponse, error) {
	if w.fail != nil {
		return nil, w.fail()
	}
	c, _ := auth.CallerFrom(ctx)
	return &catalogv1.WhoAmIResponse{Subject: c.Subject + " in " + rpc.RequestID(ctx)}, nil
}

func (w *whoami) CreateToken(context.Context, *catalogv1.CreateTokenRequest) (*catalogv1.Token, error) {
	return &catalogv1.Token{}, nil
}

type tokens map[string]auth.Caller

func (t tokens) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	if c, ok := t[token]; ok {
		return c, nil
	}
	return auth.Caller{}, errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "unknown token")
}

func start(t *testing.T, impl *whoami, log *bytes.Buffer) func(token string) catalogv1.AccessServiceClient {
	t.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{
		Log:           slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Authorizer:    policy.Static(),
		Authenticator: tokens{"v": {Subject: "tokens/viewer", Role: auth.Viewer}, "a": {Subject: "tokens/admin", Role: auth.Admin}},
	})
	if err != nil {
		t.Fatal(err)
	}
	catalogv1.RegisterAccessServiceServer(s, impl)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(token string) catalogv1.AccessServiceClient {
		var opts []grpc.DialOption
		if token != "" {
			opts = append(opts, rpc.WithToken(token))
		}
		conn, err := s.DialLocal(opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return catalogv1.NewAccessServiceClient(conn)
	}
}

func TestTheInterceptorsDecideWhoMayCall(t *testing.T) {
	dial := start(t, &whoami{}, &bytes.Buffer{})
	token := &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}}
	for _, c := range []struct {
		name, token string
		call        func(catalogv1.AccessServiceClient) error
		want        codes.Code
	}{
		{"nobody", "", whoCall, codes.Unauthenticated},
		{"an unknown token", "zzz", whoCall, codes.Unauthenticated},
		{"a viewer reading", "v", whoCall, codes.OK},
		{"a viewer making a token", "v", tokenCall(token), codes.PermissionDenied},
		{"an admin making a token", "a", tokenCall(token), codes.OK},
		{"an admin with a bad request", "a", tokenCall(&catalogv1.CreateTokenRequest{TokenId: "No Good"}), codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := status.Code(c.call(dial(c.token))); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func whoCall(c catalogv1.AccessServiceClient) error {
	_, err := c.WhoAmI(context.Background(), &catalogv1.WhoAmIRequest{})
	return err
}

func tokenCall(req *catalogv1.CreateTokenRequest) func(catalogv1.AccessServiceClient) error {
	return func(c catalogv1.AccessServiceClient) error {
		_, err := c.CreateToken(context.Background(), req)
		return err
	}
}

func TestValidationNamesEachWrongField(t *testing.T) {
	dial := start(t, &whoami{}, &bytes.Buffer{})
	err := rpc.FromStatus(tokenCall(&catalogv1.CreateTokenRequest{TokenId: "No Good", Token: &catalogv1.Token{}})(dial("a")))
	var e *errs.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	got := map[string]bool{}
	for _, f := range e.Fields {
		got[f.Path] = f.Problem != ""
	}
	if d := cmp.Diff(map[string]bool{"token_id": true, "token.role": true}, got); d != "" {
		t.Errorf("fields (-want +got)\n%s", d)
	}
}

func TestAPanicIsLoggedAndLeavesNeutral(t *testing.T) {
	var log bytes.Buffer
	dial := start(t, &whoami{fail: func() error { panic("the cellar is on fire") }}, &log)
	err := whoCall(dial("v"))
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "cellar") {
		t.Errorf("the caller got %v", err)
	}
	if !strings.Contains(log.String(), "cellar") {
		t.Error("the log does not say what happened")
	}
}

func TestTheCallersRequestIDIsKeptAndEchoed(t *testing.T) {
	dial := start(t, &whoami{}, &bytes.Buffer{})
	ctx := metadata.AppendToOutgoingContext(t.Context(), rpc.RequestIDHeader, "abc")
	var header metadata.MD
	who, err := dial("v").WhoAmI(ctx, &catalogv1.WhoAmIRequest{}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if who.GetSubject() != "tokens/viewer in abc" || header.Get(rpc.RequestIDHeader)[0] != "abc" {
		t.Errorf("the service saw %q and the answer carried %v", who.GetSubject(), header.Get(rpc.RequestIDHeader))
	}
}
