package app

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/towpath-dev/towpath/gen/openapi"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/gateway"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/portal"
	"github.com/towpath-dev/towpath/services/renderer"
)

// newGateway serves what every process has (health, metrics), and where the gateway runs also REST and the portal.
func (p *process) newGateway(ctx context.Context) error {
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.handlers.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	p.handlers.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	if !p.runs[Gateway] {
		return nil
	}
	conn, err := p.server.DialLocal()
	if err != nil {
		return err
	}
	p.closing(conn.Close)
	rest, err := gateway.New(ctx, p.server.InProcess(conn))
	if err != nil {
		return err
	}
	p.handlers.Handle("GET "+renderer.SchemaPath, renderer.SchemaHandler())
	people, err := oidc.New(p.Issuers, oidc.Options{Log: p.Log})
	if err != nil {
		return err
	}
	gate := portal.New(portal.Config{Clients: people.Clients(), Key: []byte(p.SessionKey), PublicURL: p.PublicURL, Log: p.Log})
	p.handlers.Handle("/v1/", gate.WithSession(rest))
	p.handlers.Handle("/", gate.Handler(openapi.JSON))
	return nil
}

// serveGit serves the embedded repositories to git. The token is the password; the user name does not matter.
func (p *process) serveGit(repos *git.Repos) {
	h := git.NewHTTPHandler(repos, func(r *http.Request, repo string, write bool) error {
		_, token, ok := r.BasicAuth()
		if !ok {
			return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "give any user name and a Towpath token as the password")
		}
		caller, err := newServiceAuth(p.ServiceToken, p.authn).Authenticate(r.Context(), token)
		if err != nil {
			return err
		}
		action := auth.ReadGit
		if write {
			action = auth.PushGit
		}
		d, err := p.authn.Decide(r.Context(), caller, action, auth.Everything)
		if err != nil {
			return err
		}
		return d.Err(caller)
	})
	p.handlers.Handle("/git/", http.StripPrefix("/git", h))
}
