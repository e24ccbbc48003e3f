// Package worker makes resources in processes of their own. A Go template cannot be ended from outside, nor can the libraries of Helm
// and kustomize; a process can. Each worker is the same program once more, without environment, files and network as far as the
// system lets it (see confine), and is ended when it takes too much time or memory. Another one takes its place; nothing of what
// it did is used.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Limits of one resource.
type Limits struct {
	// Time is how long making one resource may take; 0 means DefaultTime.
	Time time.Duration
	// Memory is how much a worker may take for it, in bytes; 0 means DefaultMemory.
	Memory int64
}

// Defaults of Limits.
const (
	DefaultTime   = 5 * time.Second
	DefaultMemory = 256 << 20
)

// Config is what a pool can be told.
type Config struct {
	Limits
	// Workers is how many there may be at once; 0 means one for each processor. They are started when they are needed.
	Workers int
	// Log gets what happens to workers; nil for nothing.
	Log *slog.Logger
}

// Pool gives work to workers. It is safe for concurrent use.
type Pool struct {
	cfg    Config
	slots  chan *process // nil for one that is not started
	scenes atomic.Int64
	level  atomic.Int32 // see start

	mu     sync.Mutex
	live   map[*process]bool
	closed bool
}

// New makes a pool. It starts nothing.
func New(cfg Config) *Pool {
	if cfg.Time <= 0 {
		cfg.Time = DefaultTime
	}
	if cfg.Memory <= 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{cfg: cfg, slots: make(chan *process, cfg.Workers), live: map[*process]bool{}}
	for range cfg.Workers {
		p.slots <- nil
	}
	return p
}

// Close ends all workers. Calls that are under way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for w := range p.live {
		w.kill()
	}
	p.mu.Unlock()
	for range p.cfg.Workers {
		if w := <-p.slots; w != nil {
			w.end()
			p.forget(w)
		}
	}
	for range p.cfg.Workers {
		p.slots <- nil
	}
	return nil
}

// Maker makes resources for one rendering. Once ctx is done it makes none.
func (p *Pool) Maker(ctx context.Context) definition.Maker { return &maker{pool: p, ctx: ctx} }

// Check compiles a definition, loads its archive, and makes a resource of it on trial. The error names every place that is wrong.
func (p *Pool) Check(ctx context.Context, spec *rendererv1.ResourceDefinition) error {
	d, err := definition.Compile(spec)
	if err != nil {
		return err
	}
	m := &maker{pool: p, ctx: ctx}
	_, err = m.do(d, &call{Check: true, Request: trial(spec)}, nil)
	return err
}

// trial is a request that nobody made.
func trial(spec *rendererv1.ResourceDefinition) request {
	return request{
		Uid: spec.GetType() + ".default#trial", Guid: "00000000-0000-4000-8000-000000000000", Type: spec.GetType(), Class: "default", Id: "trial",
		Name: definition.Label(spec.GetType() + "-trial"), Application: "trial", Environment: "trial", EnvironmentType: "trial",
		Namespace: "trial", Instance: "trial", Domain: "trial.invalid", Params: map[string]any{}, Metadata: map[string]any{}, WorkloadMetadata: map[string]any{},
	}
}

// maker implements definition.Maker.
type maker struct {
	pool *Pool
	ctx  context.Context // one rendering's: definition.Maker is pure and knows none
	// scene is what has been sent, services the map that it was made of.
	scene    *scene
	id       int64
	services any
}

// Make implements definition.Maker.
func (m *maker) Make(d *definition.Definition, req *definition.Request) (definition.Result, error) {
	in, err := requestOf(req)
	if err != nil {
		return definition.Result{}, err
	}
	// All requests of a rendering have the same maps.
	if m.scene == nil || reflect.ValueOf(m.services).Pointer() != reflect.ValueOf(req.WorkloadServices).Pointer() {
		m.scene, m.services, m.id = sceneOf(req), req.WorkloadServices, m.pool.scenes.Add(1)
	}
	a, err := m.do(d, &call{Request: in, Outputs: outputsOf(d, req)}, m.scene)
	if err != nil {
		return definition.Result{}, err
	}
	return a.result()
}

// do gives a call to a worker.
func (m *maker) do(d *definition.Definition, c *call, s *scene) (*answer, error) {
	w, err := m.pool.take(m.ctx)
	if err != nil {
		return nil, err
	}
	c.Key = []byte(d.Key())
	if !w.known[d.Key()] {
		if c.Spec, err = proto.Marshal(d.Spec); err != nil {
			m.pool.put(w)
			return nil, errs.New(errs.Internal, 0, "encode a definition").Because(err)
		}
		c.Reset = w.learn(d.Key(), len(c.Spec))
	}
	if s != nil && w.scene != m.id {
		c.Scene, w.scene = s, m.id
	}
	a, err := w.call(m.ctx, c, m.pool.cfg.Limits)
	if err != nil {
		m.pool.drop(w)
		return nil, m.pool.explain(err, d, c.Request.Uid)
	}
	if a.Error != nil && c.Spec != nil {
		delete(w.known, d.Key()) // perhaps it did not compile
	}
	m.pool.put(w)
	return a, a.Error.err()
}

// take waits for a worker that is free, and starts one where there is none yet. It waits as long as those before it may take, and
// not longer.
func (p *Pool) take(ctx context.Context) (*process, error) {
	wait := time.NewTimer(2 * p.cfg.Time)
	defer wait.Stop()
	var w *process
	select {
	case w = <-p.slots:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "all %d render workers are busy with resource definitions that take very long; try again", p.cfg.Workers)
	}
	if w != nil {
		return w, nil
	}
	w, err := p.start(ctx)
	if err != nil {
		p.slots <- nil
		return nil, err
	}
	return w, nil
}

// start starts a worker, confined as far as the system permits.
func (p *Pool) start(ctx context.Context) (*process, error) {
	for {
		level := p.level.Load()
		w, err := launch(ctx, p.cfg.Limits, int(level))
		if err == nil {
			p.mu.Lock()
			p.live[w] = true
			closed := p.closed
			p.mu.Unlock()
			if closed {
				w.end()
				p.forget(w)
				return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the renderer is stopping")
			}
			p.cfg.Log.Debug("a render worker runs", "pid", w.pid(), "network", networks[level], "syscalls", w.ready.Syscalls, "limits", w.ready.Limits, "problem", w.ready.Problem)
			return w, nil
		}
		if !errors.Is(err, errNotPermitted) {
			return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "a render worker cannot be started; try again").Because(err)
		}
		p.level.CompareAndSwap(level, level+1) // else another one has done so
	}
}

// put gives a worker back.
func (p *Pool) put(w *process) { p.slots <- w }

// drop ends a worker. Another one takes its place when it is needed.
func (p *Pool) drop(w *process) {
	w.kill()
	w.end()
	p.forget(w)
	p.slots <- nil
}

func (p *Pool) forget(w *process) {
	p.mu.Lock()
	delete(p.live, w)
	p.mu.Unlock()
}

// explain makes the error of a worker that was ended or ended itself.
func (p *Pool) explain(err error, d *definition.Definition, uid string) error {
	var over *overrun
	if !errors.As(err, &over) {
		return err
	}
	name := d.Spec.GetName()
	p.cfg.Log.Warn("a render worker was ended", "definition", name, "resource", uid, "why", over.why, "said", over.said)
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the renderer is stopping")
	}
	if name == "" {
		name = "of the type " + d.Spec.GetType()
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "the resource %s cannot be made: the definition %s %s", uid, name, over.text(p.cfg.Limits)).
		With("definition", d.Spec.GetName()).With("resource", uid).With("limit", over.why)
}
