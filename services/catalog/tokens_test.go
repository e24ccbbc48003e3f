package catalog_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

func TestTokensLetInUntilTheyEnd(t *testing.T) {
	clock := sec(0)
	kv := memkv.New()
	w, _ := lightWorld(t, kv, func(c *catalog.Config) {
		c.Clock, c.Version, c.PublicURL = func() time.Time { return clock }, "v1.2.3", "https://towpath.test"
	})
	ctx := t.Context()
	who, err := w.access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	must(t, err)
	if who.GetSubject() != "tokens/bootstrap-admin" || who.GetRole() != catalogv1.Token_ROLE_ADMIN {
		t.Errorf("bootstrap token is %v", who)
	}
	if who.GetServerVersion() != "v1.2.3" || who.GetPortalUrl() != "https://towpath.test" {
		t.Errorf("the server says of itself %q at %q", who.GetServerVersion(), who.GetPortalUrl())
	}
	tok, err := w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{
		Role: catalogv1.Token_ROLE_DEVELOPER, ExpireTime: timestamppb.New(sec(3600)),
	}})
	must(t, err)
	if !strings.HasPrefix(tok.GetSecret(), "tow_") || len(tok.GetSecret()) < 24 {
		t.Fatalf("the secret is too weak: %d characters", len(tok.GetSecret()))
	}
	a := w.svc.Authenticator()
	for range 2 { // read, then remembered
		caller, err := a.Authenticate(ctx, tok.GetSecret())
		must(t, err)
		if caller.Subject != "tokens/ci" || caller.Role != auth.Developer || len(caller.Grants) != 0 {
			t.Fatalf("caller = %v", caller)
		}
	}
	refused := func(secret string) {
		t.Helper()
		if _, err := a.Authenticate(ctx, secret); errs.ReasonOf(err) != errorsv1.Reason_REASON_UNAUTHENTICATED {
			t.Fatalf("error = %v", err)
		}
	}
	refused("")
	refused("tow_guess")
	list, err := w.access.ListTokens(ctx, &catalogv1.ListTokensRequest{})
	must(t, err)
	for _, l := range list.GetTokens() {
		if l.GetSecret() != "" {
			t.Errorf("%s is listed with its secret", l.GetName())
		}
	}
	if len(list.GetTokens()) != 2 {
		t.Errorf("tokens = %v", list.GetTokens())
	}
	for e, err := range store.All(ctx, kv, "") {
		must(t, err)
		if s := e.Key + string(e.Value); strings.Contains(s, tok.GetSecret()) || strings.Contains(s, adminSecret) {
			t.Errorf("row %q holds a secret", e.Key)
		}
	}
	_, err = w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_ADMIN}})
	wantError(t, err, codes.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS)

	clock = sec(3600)
	refused(tok.GetSecret())
	other, err := w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "other", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(t, err)
	_, err = a.Authenticate(ctx, other.GetSecret())
	must(t, err)
	_, err = w.access.DeleteToken(ctx, &catalogv1.DeleteTokenRequest{Name: "tokens/other"})
	must(t, err)
	refused(other.GetSecret()) // at once
	_, err = w.access.DeleteToken(ctx, &catalogv1.DeleteTokenRequest{Name: "tokens/other"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestTokenOfThePastIsRefused(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	_, err := w.access.CreateToken(t.Context(), &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{
		Role: catalogv1.Token_ROLE_VIEWER, ExpireTime: timestamppb.New(time.Now().Add(-time.Hour)),
	}})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
}

func TestNewBootstrapSecretReplacesTheOldOne(t *testing.T) {
	kv := memkv.New()
	w, _ := lightWorld(t, kv)
	w.stop()
	const next = "tow_another0secret0for0the0admin"
	w, _ = lightWorld(t, kv, func(c *catalog.Config) { c.BootstrapToken = next })
	a := w.svc.Authenticator()
	if _, err := a.Authenticate(t.Context(), adminSecret); errs.ReasonOf(err) != errorsv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("the old secret still works: %v", err)
	}
	_, err := a.Authenticate(t.Context(), next)
	must(t, err)
}
