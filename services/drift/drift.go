// Package drift owns the view of clusters: it applies what Git says, watches that the cluster stays so, tells every
// difference with its author, and puts it right.
//
// One goroutine per environment (environment.go) does what changes a cluster: sync (sync.go, apply.go), removal (remove.go),
// revert (revert.go) and reverting by itself (heal.go), one at a time. One cluster (cluster.go) per target watches the kinds that
// environments use (watch.go); each event is compared at once (observe.go) and dropped. internal/compare is the comparison
// itself, without any I/O. An environment that stands in several places of Git is read as one (places.go): with one place missing,
// nothing is applied and nothing is pruned.
package drift

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/client-go/rest"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// FieldManager is what Towpath's own writes are called in managedFields.
const FieldManager = "towpath"

// generateManager owns generated Secret values: another manager than FieldManager, so that the next apply, which does not
// know the values, leaves them alone.
const generateManager = "towpath-generate"

// bus is the part of events.Bus that drift uses.
type bus interface {
	Publish(ctx context.Context, m events.Message) error
	Tail(ctx context.Context, cfg events.TailConfig) iter.Seq2[events.Delivery, error]
}

// trees is the committer's read side as drift uses it.
type trees interface {
	GetTree(ctx context.Context, in *committerv1.GetTreeRequest, opts ...grpc.CallOption) (*committerv1.Tree, error)
}

// Config is what the service needs.
type Config struct {
	// Bus carries desired states in and events out.
	Bus bus
	// Committer reads deployment repositories.
	Committer trees
	// Connect gives access to the cluster of a target that names no credentials.
	Connect func(*eventsv1.TargetRef) (*rest.Config, error)
	// CredentialsDir holds the files and folders that targets' credentials are named after; none when empty.
	CredentialsDir string
	// Secrets has those that are neither file nor folder; may be nil.
	Secrets secretSource
	// Replica is the name of this process among those that run drift; its address, where others are to reach it. The host and the
	// process id when empty.
	Replica string
	// MaskKey keys the digests that stand for secret values; secret, and the same after a restart.
	MaskKey []byte
	// Audit is where audit events of API servers come from; they name the persons behind findings.
	Audit AuditConfig
	// Log gets what happens.
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Service is the drift service.
type Service struct {
	driftv1.UnimplementedDriftServiceServer

	cfg      Config
	access   *access
	comparer *compare.Comparer
	ready    *preparedCache
	names    names
	stats    stats
	out      *announcer
	hub      *hub
	audit    *auditFeeds

	mu       sync.Mutex
	ctx      context.Context // of Run; environments and clusters live as long
	wg       sync.WaitGroup
	envs     map[string]*environment                // by resource name
	policies map[string]*eventsv1.EnvironmentPolicy // by environment, also of such as are not known yet
	clusters map[string]*cluster                    // by target name
	known    map[string]*eventsv1.DesiredState      // the last one of each environment, by resource name
	targets  targets
	// policiesKnown is closed when the policies that were there at the start have been read.
	policiesKnown chan struct{}
}

// New makes the service; it starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Replica == "" {
		cfg.Replica = processName()
	}
	c, err := compare.New(compare.Options{MaskKey: cfg.MaskKey})
	if err != nil {
		return nil, fmt.Errorf("drift: %w", err)
	}
	return &Service{
		cfg: cfg, comparer: c, ready: newPreparedCache(preparedBytes), audit: newAuditFeeds(cfg.Audit), out: newAnnouncer(cfg.Bus, cfg.Log), hub: newHub(),
		access: &access{dir: cfg.CredentialsDir, secrets: cfg.Secrets, connect: cfg.Connect},
		envs:   map[string]*environment{}, clusters: map[string]*cluster{}, policies: map[string]*eventsv1.EnvironmentPolicy{},
		known:         map[string]*eventsv1.DesiredState{},
		targets:       targets{refs: map[string]*eventsv1.TargetRef{}, told: map[string]bool{}},
		policiesKnown: make(chan struct{}),
	}, nil
}

func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// Register puts the service on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	driftv1.RegisterDriftServiceServer(r, s)
	driftv1.RegisterLiveServiceServer(r, liveServer{s: s})
	driftv1.RegisterInspectServiceServer(r, inspectServer{s: s})
}

// Each API has a server type of its own because the generated interfaces must be embedded by value.
type (
	liveServer struct {
		driftv1.UnimplementedLiveServiceServer
		s *Service
	}
	inspectServer struct {
		driftv1.UnimplementedInspectServiceServer
		s *Service
	}
)

// Run follows the desired states until ctx ends. It needs no memory of its own: the stream keeps the last desired state of
// each environment, and each environment's cluster keeps its inventory.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	// The announcer ends last, so that what the others tell while they end is published too.
	var out sync.WaitGroup
	stopped := make(chan struct{})
	out.Go(func() { s.out.run(ctx, stopped) })
	defer out.Wait()
	defer func() { cancel(); s.wg.Wait(); close(stopped) }()
	s.wg.Go(func() {
		if err := s.followPolicies(ctx); err != nil {
			s.cfg.Log.Error("policies are not followed any more", "error", err)
		}
	})
	s.wg.Go(func() {
		if err := s.followTargets(ctx); err != nil {
			s.cfg.Log.Error("changes of targets are not followed any more", "error", err)
		}
	})
	for target, file := range s.audit.files {
		s.wg.Go(func() { s.followAudit(ctx, target, file) })
	}
	select { // else an environment that is not to heal itself any more could do so once
	case <-s.policiesKnown:
	case <-ctx.Done():
	}
	for d, err := range s.cfg.Bus.Tail(ctx, events.TailConfig{Stream: events.StreamDesired, LastPerSubject: true}) {
		if err != nil && d.Subject == "" {
			return fmt.Errorf("follow desired states: %w", err)
		}
		want := &eventsv1.DesiredState{}
		if err == nil {
			err = d.Decode(want)
		}
		if err != nil {
			s.cfg.Log.Error("a desired state cannot be read and is left out", "subject", d.Subject, "error", err)
			continue
		}
		s.want(want)
	}
	return nil
}

// want hands a desired state to its environment, which is made at its first one.
func (s *Service) want(d *eventsv1.DesiredState) {
	if parts := strings.Split(d.GetEnvironment(), "/"); len(parts) != 4 || d.GetNamespace() == "" && !d.GetRemoved() {
		s.cfg.Log.Error("a desired state names no environment or no namespace and is left out",
			"environment", d.GetEnvironment(), "deployment", d.GetDeployment())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[d.GetEnvironment()] = d
	s.learn(d.GetTarget(), false)
	e := s.envs[d.GetEnvironment()]
	if e == nil {
		e = newEnvironment(s, d.GetEnvironment())
		e.treatAs(s.policies[d.GetEnvironment()])
		s.envs[d.GetEnvironment()] = e
		s.wg.Go(func() { e.run(s.ctx) })
	}
	e.want(d)
}

// environment gives an environment that drift knows.
func (s *Service) environment(name string) *environment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.envs[name]
}

// matching gives the environments of a parent in which "-" stands for any.
func (s *Service) matching(parent string) []*environment {
	want := strings.Split(parent, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*environment
	for name, e := range s.envs {
		if matches(want, strings.Split(name, "/")) {
			out = append(out, e)
		}
	}
	return out
}

// matches compares resource names part by part.
func matches(want, name []string) bool {
	if len(want) > len(name) {
		return false
	}
	for i := range want {
		if want[i] != "-" && want[i] != name[i] {
			return false
		}
	}
	return true
}

// forget drops an environment that is gone from its cluster, unless it is wanted again since: then it gives false.
func (s *Service) forget(e *environment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.desired.GetRemoved() {
		e.gone = false
		return false
	}
	delete(s.envs, e.name)
	return true
}
