package catalog

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
)

// Config is what the catalog needs. KV, Bus, Renderer and Committer are required.
type Config struct {
	// KV is the database. The catalog does not close it.
	KV store.KV
	// Bus is the connection to the event server, with the catalog's role. The catalog does not close it.
	Bus bus
	// Renderer loads Score files and renders, to validate and to plan.
	Renderer rendererv1.RendererServiceClient
	// Committer reads deployment repositories, for plans.
	Committer committerv1.CommitterServiceClient
	// Drift reads clusters, for adoptions; nil where there is none.
	Drift inspector
	// Logger gets what nobody called for: events that cannot be used, outages. Default: slog.Default.
	Logger *slog.Logger
	// Clock gives the time of rows. Default: time.Now.
	Clock func() time.Time
	// BootstrapToken is the secret of tokens/bootstrap-admin, an admin; none when empty. Only its hash is stored. A new
	// secret replaces the old one.
	BootstrapToken string
	// Bootstrap are the objects that an empty store begins with, targets, repositories and environment types with their
	// names. Default: DefaultBootstrap.
	Bootstrap []proto.Message
	// RepublishAfter is how long a command may stay without any effect before it is looked for, and sent again when the
	// event server no longer has it. Default 1 minute.
	RepublishAfter time.Duration
	// SweepEvery is how often is looked for environments that have expired. Default 10 seconds.
	SweepEvery time.Duration
	// Elector decides which of several catalog processes on the store publishes. Default: the store's own, else this one alone.
	Elector store.Elector
	// History keeps old rows; they stay in the database when nil.
	History segmentStore
	// Archive says which rows are old.
	Archive ArchiveConfig
	// BackupDir is where a backup is written before a migration of the rows; none is when empty.
	BackupDir string
	// Leads reports whether this process does what only one of several catalogs on one database may. Default: always.
	Leads func() bool
	// PublicURL is where people find the portal, for links in pull requests; none when empty.
	PublicURL string
	// Version is what the server calls itself, for clients that compare it with theirs.
	Version string
	// Identities finds who a token of an identity provider belongs to; nobody when nil.
	Identities identities
	// Failpoint is called at named boundaries: "row_committed" after a deployment's transaction, "published" after the
	// event server has the command. Tests kill the process there. May be nil.
	Failpoint func(name string)
}

// bus is what the catalog needs of internal/events. The methods' contracts are there.
type bus interface {
	pullRecords
	policyRecords
	Ensure(ctx context.Context) error
	Publish(ctx context.Context, m events.Message) error
	PendingCommand(ctx context.Context, subject string) (bool, error)
	Consume(ctx context.Context, cfg events.ConsumerConfig, handle events.Handler) error
	Tail(ctx context.Context, cfg events.TailConfig) iter.Seq2[events.Delivery, error]
}

// Service is the catalog. Make it with New.
type Service struct {
	cfg        Config
	raw        store.KV // the database without audit and archive
	log        *slog.Logger
	envs       keyedMutex // one change of an environment at a time in this process
	plans      planMemory
	tokens     tokenCache
	refusals   audit.Refusals
	auditBatch auditBatch
	pause      pause
	access     accessState
	types      typeCache
	traces     traceMemory
	// definitions are contents of versions, which never change.
	definitions definitionCache
	ready       chan struct{}
}

// New makes a catalog. It does no I/O and starts nothing.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Bootstrap == nil {
		cfg.Bootstrap = DefaultBootstrap()
	}
	if cfg.RepublishAfter <= 0 {
		cfg.RepublishAfter = time.Minute
	}
	if cfg.SweepEvery <= 0 {
		cfg.SweepEvery = 10 * time.Second
	}
	if cfg.Elector == nil {
		cfg.Elector = store.ElectorOf(cfg.KV)
	}
	if cfg.Failpoint == nil {
		cfg.Failpoint = func(string) {}
	}
	s := &Service{cfg: cfg, log: cfg.Logger.With("service", "catalog"), ready: make(chan struct{}), pause: newPause()}
	if cfg.Leads == nil {
		s.cfg.Leads = func() bool { return true }
	}
	s.cfg.Archive = cfg.Archive.withDefaults()
	rows := rowStore{KV: cfg.KV, s: s}
	if cfg.History != nil {
		rows.archive = &archive{kv: cfg.KV, segments: cfg.History}
	}
	s.cfg.KV, s.raw = rows, cfg.KV
	return s
}

// Register adds the catalog's services to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	catalogv1.RegisterCatalogServiceServer(r, catalogServer{Service: s})
	catalogv1.RegisterDraftServiceServer(r, draftServer{Service: s})
	catalogv1.RegisterManifestServiceServer(r, manifestServer{Service: s})
	catalogv1.RegisterGitServiceServer(r, gitServer{Service: s})
	catalogv1.RegisterFindingServiceServer(r, findingServer{Service: s})
	catalogv1.RegisterAdoptionServiceServer(r, adoptionServer{Service: s})
	catalogv1.RegisterVariableServiceServer(r, variableServer{Service: s})
	catalogv1.RegisterDefinitionServiceServer(r, definitionServer{Service: s})
	catalogv1.RegisterAccessServiceServer(r, accessServer{s: s})
	eventsv1.RegisterEventServiceServer(r, eventServer{s: s})
}

// Each API has a server type of its own because the generated interfaces must be embedded by value, and because nobody but a gRPC
// server needs the handlers.
type (
	catalogServer struct {
		catalogv1.UnimplementedCatalogServiceServer
		*Service
	}
	draftServer struct {
		catalogv1.UnimplementedDraftServiceServer
		*Service
	}
	manifestServer struct {
		catalogv1.UnimplementedManifestServiceServer
		*Service
	}
	gitServer struct {
		catalogv1.UnimplementedGitServiceServer
		*Service
	}
	findingServer struct {
		catalogv1.UnimplementedFindingServiceServer
		*Service
	}
	adoptionServer struct {
		catalogv1.UnimplementedAdoptionServiceServer
		*Service
	}
	variableServer struct {
		catalogv1.UnimplementedVariableServiceServer
		*Service
	}
	definitionServer struct {
		catalogv1.UnimplementedDefinitionServiceServer
		*Service
	}
	accessServer struct {
		catalogv1.UnimplementedAccessServiceServer
		s *Service
	}
	eventServer struct {
		eventsv1.UnimplementedEventServiceServer
		s *Service
	}
)

// Ready is closed when Run has brought the store to its beginning: from then on the bootstrap objects and token are there.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run prepares the store, then publishes commands and takes in events until ctx ends; then it returns nil. Run it once. An
// outage of the event server ends nothing, requests are accepted and their commands follow. An error means that the
// configuration or the data cannot work.
func (s *Service) Run(ctx context.Context) error {
	if err := s.bootstrap(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	close(s.ready)
	return s.unlessPaused(ctx, s.work)
}

// work is what the catalog does beside answering, until ctx ends.
func (s *Service) work(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runLeader(ctx) })
	g.Go(func() error { return s.runProjection(ctx) })
	g.Go(func() error { return s.runAuditIntake(ctx) })
	g.Go(func() error { return s.runAccess(ctx) })
	return g.Wait()
}

// unlessEnded gives nil where ctx has ended: then that is why something failed, and it is how Run ends.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// now gives the time of a row. Rows keep microseconds, which every engine and client can show.
func (s *Service) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Microsecond) }
