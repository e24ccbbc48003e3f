package rpc_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

func TestOwnCallsGoThroughAllInterceptorsAsTheTokensOwner(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerConfig{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Authorizer: policy.Static(),
		Authenticator: tokens{"v": {Subject: "tokens/viewer", Role: auth.Viewer}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Services are registered after the connections are made.
	viewer, nobody := catalogv1.NewAccessServiceClient(s.OwnCalls("v")), catalogv1.NewAccessServiceClient(s.OwnCalls("x"))
	impl := &whoami{}
	catalogv1.RegisterAccessServiceServer(s, impl)
	me, err := viewer.WhoAmI(t.Context(), &catalogv1.WhoAmIRequest{})
	if err != nil || !strings.HasPrefix(me.GetSubject(), "tokens/viewer in ") {
		t.Errorf("the caller is %q: %v", me.GetSubject(), err)
	}
	for what, c := range map[string]struct {
		call func(context.Context) error
		want codes.Code
	}{
		"a role that may not": {func(ctx context.Context) error {
			_, err := viewer.CreateToken(ctx, &catalogv1.CreateTokenRequest{})
			return err
		}, codes.PermissionDenied},
		"an unknown token": {func(ctx context.Context) error {
			_, err := nobody.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
			return err
		}, codes.Unauthenticated},
	} {
		if err := c.call(t.Context()); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	impl.fail = func() error { return errs.InvalidField("a.b", "is wrong") }
	_, err = viewer.WhoAmI(t.Context(), &catalogv1.WhoAmIRequest{})
	if err := rpc.FromStatus(err); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "a.b") {
		t.Errorf("the error arrives as %v", err)
	}
}
