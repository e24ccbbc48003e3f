package committer

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
)

// durable begins the names of the positions in the command stream, one for each shard.
const durable = "committer"

// Service is the committer. Its RPCs work from New on, commands are handled while Run runs.
type Service struct {
	committerv1.UnimplementedCommitterServiceServer

	cfg         Config
	log         *slog.Logger
	metrics     *metrics
	committer   git.Person
	credentials *credentials
	lanes       *lanes
	views       *views
	trees       *treeCache
	waiting     reasons
	withdrawals withdrawals
	hooks       hooks
	holdings    holdings
	holders     holders
	clock       clock
	pulls       *pulls
	health      health
	failpoint   func(name string)
	failpoints  bool
	background  sync.WaitGroup
}

// New makes a committer. It does no input or output and starts nothing. The error is errs.Invalid for a wrong configuration.
func New(cfg Config) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	failpoints := cfg.Failpoint != nil
	cfg = cfg.withDefaults()
	s := &Service{
		cfg: cfg, log: cfg.Log.With("service", "committer"), metrics: newMetrics(cfg.Metrics), committer: cfg.Committer,
		trees:     newTreeCache(cfg.TreeCacheBytes),
		failpoint: cfg.Failpoint, failpoints: failpoints, clock: wallClock,
	}
	s.credentials = newCredentials(cfg)
	s.log = slog.New(redacting{inner: s.log.Handler(), redact: s.credentials.redact})
	s.lanes = &lanes{svc: s}
	s.pulls = newPulls(s)
	s.measure(cfg.Metrics)
	s.views = newViews(s.open, cfg.HeadMaxAge)
	return s, nil
}

// Register adds the read side to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { committerv1.RegisterCommitterServiceServer(r, s) }

// Run handles commands until ctx ends; then it returns nil. A push that is under way at that moment is decided after the next
// start. Other errors mean that the configuration cannot work. It is called once; afterwards the RPCs answer UNAVAILABLE.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.lanes.start(ctx)
	s.background.Go(func() { s.pulls.run(ctx) })
	defer s.views.close()
	defer s.background.Wait()
	defer s.lanes.stop()
	defer cancel()
	s.background.Go(func() { s.learnHooks(ctx) })
	return s.share(ctx)
}

// dispatch handles one command.
func (s *Service) dispatch(ctx context.Context, d events.Delivery) error {
	switch d.Type {
	case typePrefix + typeCancel:
		return s.withdraw(ctx, d)
	case typePrefix + typeForeignDecision:
		return s.decide(ctx, d)
	}
	return s.handle(ctx, d)
}

// Notice tells that a branch may have moved, as a host's webhook or an embedded repository says. It returns at once; foreign
// changes are looked for in the background.
func (s *Service) Notice(repositoryURL, branch string) {
	ref := &committerv1.RepositoryRef{Url: repositoryURL, Branch: branch}
	s.views.moved(ref)
	s.lanes.look(laneKey(ref))
	s.pulls.notice(repositoryKey(repositoryURL))
}

// repositoryKey names a repository: the same for all spellings of its address.
func repositoryKey(url string) string {
	if normal, err := git.NormaliseURL(url); err == nil {
		url = normal
	}
	return strings.TrimSuffix(url, ".git")
}

// laneKey names what has one writer: a branch of a repository.
func laneKey(ref *committerv1.RepositoryRef) string {
	return repositoryKey(ref.GetUrl()) + "#" + ref.GetBranch()
}

// open opens a repository for one purpose. Lanes and readers have mirrors of their own, so that neither waits for the other.
func (s *Service) open(ctx context.Context, ref *committerv1.RepositoryRef, purpose string, hooks git.Hooks) (git.Remote, error) {
	remote, err := git.Open(ctx, git.Config{
		URL: ref.GetUrl(), Repos: s.cfg.Repos, Dir: filepath.Join(s.cfg.Dir, purpose), Client: s.credentials.client(ref.GetCredentials(), s.cfg.HTTPClient),
		Credentials: s.credentials.source(ref.GetCredentials()), SSH: s.credentials.ssh(ref.GetCredentials()), Hooks: hooks, Log: s.log,
	})
	if errs.Is(err, errs.Unavailable) {
		return nil, redacted(err, s.credentials.secrets(ref.GetCredentials()))
	}
	return remote, err
}
