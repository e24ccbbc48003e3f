// Package renderer is the service that turns workloads into Kubernetes manifests. It is a pure function behind RPCs: no state,
// no credentials, nothing to start and nothing to close. Everything of substance is in its subpackages, which the CLI uses
// offline too: score loads documents, render makes bundles. What belongs here is only the way from and to gRPC.
package renderer

import (
	"context"
	"runtime"

	"google.golang.org/grpc"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Config is what the service can be told.
type Config struct {
	// Concurrency is how many renderings run at once; 0 means one for each processor. More callers wait: rendering is work
	// for the processor alone, and more at once only makes all of them late.
	Concurrency int
	// Sandbox makes the resources of definitions that an organisation has written. Without one they are made in this process, and
	// those that need Helm or kustomize are an error.
	Sandbox Sandbox
}

// Sandbox is where definitions run that are not our own: what they do there can be ended.
type Sandbox interface {
	// Maker makes resources for one rendering, until ctx is done.
	Maker(ctx context.Context) definition.Maker
	// Check says what is wrong with a definition, as definition.Compile does, and with its archive.
	Check(ctx context.Context, spec *rendererv1.ResourceDefinition) error
}

// Service serves towpath.renderer.v1.RendererService.
type Service struct {
	rendererv1.UnimplementedRendererServiceServer
	slots   chan struct{}
	sandbox Sandbox
}

// New makes the service. A negative Concurrency is an errs.Invalid error.
func New(cfg Config) (*Service, error) {
	if cfg.Concurrency < 0 {
		return nil, errs.InvalidField("renderer.concurrency", "is %d: expected 0 (one for each processor) or more", cfg.Concurrency)
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = runtime.GOMAXPROCS(0)
	}
	return &Service{slots: make(chan struct{}, cfg.Concurrency), sandbox: cfg.Sandbox}, nil
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { rendererv1.RegisterRendererServiceServer(r, s) }

// Run blocks until ctx is done: the service has no work of its own.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// LoadWorkloads loads Score files. The error lists the problems of all of them.
func (s *Service) LoadWorkloads(ctx context.Context, req *rendererv1.LoadWorkloadsRequest) (*rendererv1.LoadWorkloadsResponse, error) {
	if len(req.GetFiles()) == 0 {
		return nil, errs.InvalidField("files", "is empty: send at least one Score file")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	workloads, err := score.LoadAll(req.GetFiles())
	if err != nil {
		return nil, err
	}
	return &rendererv1.LoadWorkloadsResponse{Workloads: workloads}, nil
}

// Render makes the bundle of one environment.
func (s *Service) Render(ctx context.Context, req *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
	if req.GetInput() == nil {
		return nil, errs.InvalidField("input", "is required: what to render")
	}
	done, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := s.made(ctx, req)
	if err != nil {
		return nil, err
	}
	resp.Verdicts, err = guardrail.Evaluate(ctx, req, resp.GetBundle())
	return resp, err
}

func (s *Service) made(ctx context.Context, req *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
	if req.GetClaimsOnly() {
		return render.ClaimsWith(req.GetInput(), s.options(ctx))
	}
	return render.With(req.GetInput(), s.options(ctx))
}

// options say where the resources of one call are made.
func (s *Service) options(ctx context.Context) render.Options {
	if s.sandbox == nil {
		return render.Options{}
	}
	return render.Options{Maker: s.sandbox.Maker(ctx)}
}

// slot waits until fewer than Concurrency renderings run.
func (s *Service) slot(ctx context.Context) (done func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
