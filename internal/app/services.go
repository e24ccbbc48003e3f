package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/catalog"
	"github.com/towpath-dev/towpath/services/committer"
	"github.com/towpath-dev/towpath/services/drift"
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
		PublicURL: p.PublicURL,
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

func (p *process) newDrift(ctx context.Context) error {
	if !p.runs[Drift] {
		return nil
	}
	bus, err := p.bus(ctx, events.RoleDrift)
	if err != nil {
		return err
	}
	// Baselines hold digests made with this key, so it must be the same after a restart.
	key, err := keptSecret(filepath.Join(p.DataDir, "drift-mask-key"), "")
	if err != nil {
		return err
	}
	s, err := drift.New(drift.Config{
		Bus: bus, Committer: committerv1.NewCommitterServiceClient(p.conns[Committer]),
		Connect: p.connect, MaskKey: []byte(key), Log: p.Log,
	})
	if err != nil {
		return err
	}
	s.Register(p.server)
	trail := audit.NewPublisher(bus, "drift", p.Log)
	p.auditors.set(Drift, trail)
	p.running("audit of drift", trail.Run)
	p.running("drift", s.Run)
	return nil
}

// connect gives access to a target's cluster: its own kubeconfig, else ours, else the cluster that this process runs in.
func (p *process) connect(t *eventsv1.TargetRef) (*rest.Config, error) {
	file := t.GetKubeconfig()
	if file == "" {
		file = p.Kubeconfig
	}
	unusable := func(err error) error {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"target %s: its kubeconfig cannot be used; check the target's kubeconfig and context, or --kubeconfig", t.GetName()).Because(err)
	}
	if file == "" {
		cfg, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, unusable(fmt.Errorf("no kubeconfig is given and this process runs in no cluster: %w", err))
		}
		if err != nil {
			return nil, unusable(err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file},
		&clientcmd.ConfigOverrides{CurrentContext: t.GetContext()},
	).ClientConfig()
	if err != nil {
		return nil, unusable(err)
	}
	return cfg, nil
}
