package committer

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
)

// bus is what the committer needs of JetStream: to store events, to get commands one at a time per environment, again and
// again until the handler answers nil or an error that says that it never will, to see whether one is still there, and to share
// the commands with other replicas.
type bus interface {
	Publish(ctx context.Context, m events.Message) error
	Consume(ctx context.Context, cfg events.ConsumerConfig, handle events.Handler) error
	PendingCommand(ctx context.Context, subject string) (bool, error)
	Share(ctx context.Context, cfg events.ShareConfig) error
}

var _ bus = (*events.Bus)(nil)

// renderer is the one RPC of the renderer that the committer calls.
type renderer interface {
	Render(ctx context.Context, in *rendererv1.RenderRequest, opts ...grpc.CallOption) (*rendererv1.RenderResponse, error)
}

// Config says what the committer works with. Bus, Renderer and Dir are required.
type Config struct {
	// Bus carries commands and events.
	Bus bus
	// Renderer renders bundles, over a connection to the renderer service.
	Renderer renderer
	// Repos holds the embedded repositories; nil when this process keeps none.
	Repos *git.Repos
	// Dir is the folder for mirrors of remote repositories. What is in it can be deleted while nothing runs.
	Dir string
	// CredentialsDir is the folder with one file per credentials name, holding "username:password" or a token, or a folder per
	// name. They are read at each use, so a credential can be changed without a restart. Empty: no credentials.
	CredentialsDir string
	// Secrets gives credentials that are not in the folder: Kubernetes Secrets. Nil for none.
	Secrets secretSource
	// Committer signs off the commits beside their author. Default: Towpath <towpath@localhost>.
	Committer git.Person
	// HTTPClient is for HTTP(S) remotes. Default: internal/git's.
	HTTPClient *http.Client
	// TipInterval is how often a branch is looked at for commits of others. Default 60 s.
	TipInterval time.Duration
	// LaneIdle is after how long without use a lane is closed. Default 1 h.
	LaneIdle time.Duration
	// PushDeadline bounds all attempts to push one batch; after it the deployments wait and are tried again. Default 2 min.
	PushDeadline time.Duration
	// HeadMaxAge is how old a tip known to GetHead may be. Commits of this process are seen at once in any case. Default 1 s.
	HeadMaxAge time.Duration
	// MaxBatch is the largest number of deployments in one push. Default 1000.
	MaxBatch int
	// Workers is the number of commands in work at the same time. Default 256.
	Workers int
	// LeaseTTL is after how long without a sign of life another replica takes over. Default 10 s.
	LeaseTTL time.Duration
	// Replica is this process's name among the replicas, for people. Default: the host and the process id.
	Replica string
	// TreeCacheBytes bounds the files kept for GetTree. Default 64 MiB.
	TreeCacheBytes int64
	// Delays are the waits between attempts to bring a deployment into Git. Default: internal/events's.
	Delays events.Delays
	// Metrics takes the committer's metrics; nil for none.
	Metrics prometheus.Registerer
	// Log gets what an operator wants to know. Default slog.Default.
	Log *slog.Logger
	// Failpoint is called at the boundaries of a deployment, so that a test can end the process there: "rendered", "pack_sent",
	// "ref_moved", "event_sent", "acknowledged". Default: nothing.
	Failpoint func(name string)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Committer, git.Person{Name: "Towpath", Email: "towpath@localhost"})
	setDefault(&c.TipInterval, time.Minute)
	setDefault(&c.LaneIdle, time.Hour)
	setDefault(&c.PushDeadline, 2*time.Minute)
	setDefault(&c.HeadMaxAge, time.Second)
	setDefault(&c.MaxBatch, 1000)
	setDefault(&c.Workers, 256)
	setDefault(&c.TreeCacheBytes, 64<<20)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c Config) validate() error {
	var fields []errs.Field
	require := func(ok bool, field string) {
		if !ok {
			fields = append(fields, errs.Field{Path: field, Problem: "is missing; the committer cannot work without it"})
		}
	}
	require(c.Bus != nil, "bus")
	require(c.Renderer != nil, "renderer")
	require(c.Dir != "", "dir")
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}
