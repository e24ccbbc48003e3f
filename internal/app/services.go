package app

import (
	"context"
	"path/filepath"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/catalog"
	"github.com/towpath-dev/towpath/services/committer"
	"github.com/towpath-dev/towpath/services/renderer"
	"github.com/towpath-dev/towpath/services/renderer/worker"
)

func (p *process) newCatalog(ctx context.Context) error {
	if !p.runs[Catalog] {
		return nil
	}
	kv, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	bus, err := p.bus(ctx, events.RoleCatalog)
	if err != nil {
		return err
	}
	old, err := p.openHistory()
	if err != nil {
		return err
	}
	people, err := oidc.New(p.Issuers, oidc.Options{Log: p.Log})
	if err != nil {
		return err
	}
	cfg := catalog.Config{
		KV: kv, Bus: bus, Logger: p.Log, History: old, Archive: catalog.ArchiveConfig{After: p.ArchiveAfter},
		BackupDir:      filepath.Join(p.DataDir, "catalog"),
		Identities:     people,
		Renderer:       rendererv1.NewRendererServiceClient(p.renderer()),
		Committer:      committerv1.NewCommitterServiceClient(p.conns[Committer]),
		BootstrapToken: p.AdminToken, RepublishAfter: p.RepublishAfter, Failpoint: p.Failpoint,
		PublicURL: p.PublicURL, Version: p.Version,
	}
	if c := p.conns[Drift]; c != nil { // without it nothing can be adopted, and all else works
		cfg.Drift = driftv1.NewInspectServiceClient(c)
	}
	s := catalog.New(cfg)
	s.Register(p.server)
	p.authn.set(s.Authenticator(), s.Authorizer())
	p.auditors.set(Catalog, s.Auditor())
	p.running("catalog", s.Run)
	p.readied = append(p.readied, s.Ready()) // before, the admin's token is not known
	return nil
}

// untilBroken gives the store's error once it has one. A disk that lost a write cannot be trusted any more: the process ends,
// and starts again on what is durable.
func untilBroken(ctx context.Context, broken func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := broken(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *process) newRenderer(context.Context) error {
	if !p.runs[Renderer] {
		return nil
	}
	pool := worker.New(worker.Config{Log: p.Log})
	p.closing(pool.Close)
	s, err := renderer.New(renderer.Config{Sandbox: pool})
	if err != nil {
		return err
	}
	s.Register(p.server)
	p.running("renderer", s.Run)
	return nil
}

func (p *process) newCommitter(ctx context.Context) error {
	if !p.runs[Committer] {
		return nil
	}
	bus, err := p.bus(ctx, events.RoleCommitter)
	if err != nil {
		return err
	}
	var s *committer.Service
	repos, err := git.OpenRepos(filepath.Join(p.DataDir, "repositories"), git.ReposOptions{
		Log: p.Log,
		// A person's push is noticed at once instead of at the next look at the branch.
		Moved: func(repo, branch string, _, _ git.Hash) { s.Notice("embedded:///"+repo, branch) },
	})
	if err != nil {
		return err
	}
	p.closing(repos.Close)
	cfg := committer.Config{
		Bus: bus, Renderer: rendererv1.NewRendererServiceClient(p.renderer()), Repos: repos,
		Dir: filepath.Join(p.DataDir, "mirrors"), CredentialsDir: p.CredentialsDir,
		Metrics: p.registry, Log: p.Log, Failpoint: p.Failpoint, PullInterval: p.PullInterval,
	}
	if secrets, err := p.secrets(); err != nil {
		return err
	} else if secrets != nil {
		cfg.Secrets = secrets
	}
	if s, err = committer.New(cfg); err != nil {
		return err
	}
	s.Register(p.server)
	p.running("committer", s.Run)
	p.serveGit(repos)
	p.handlers.Handle("POST "+committer.WebhookPath, s.Webhooks())
	return nil
}
