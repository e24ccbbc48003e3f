package catalog

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxTraces bounds the memory: a process that does not lead never asks for what it remembers.
const maxTraces = 4096

// traceMemory keeps the trace of a request until its command is published. The oldest goes first. The zero value is ready to
// use.
type traceMemory struct {
	mu    sync.Mutex
	known map[string]trace.SpanContext
	order []string
}

// Store remembers the trace of a deployment.
func (m *traceMemory) Store(deployment string, span trace.SpanContext) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]trace.SpanContext{}
	}
	if len(m.order) == maxTraces {
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
	m.known[deployment] = span
	m.order = append(m.order, deployment)
}

// Load gives what is remembered.
func (m *traceMemory) Load(deployment string) (trace.SpanContext, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	span, ok := m.known[deployment]
	return span, ok
}

// Delete forgets. Its place in the order stays until it is the oldest.
func (m *traceMemory) Delete(deployment string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, deployment)
}

// traceHeader carries a trace as W3C's traceparent.
var traceHeader = propagation.TraceContext{}

// traceOf gives the value of a deployment's open row: the trace of its request, for the process that publishes its command.
func traceOf(ctx context.Context) []byte {
	carrier := propagation.MapCarrier{}
	traceHeader.Inject(ctx, carrier)
	return []byte(carrier["traceparent"])
}

// remember keeps the trace of a request until its command is published, so that one trace spans request to sync.
func (s *Service) remember(ctx context.Context, deployment string) {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		s.traces.Store(deployment, span)
	}
}

// recall continues the trace of a deployment's request, also of one that another process took.
func (s *Service) recall(ctx context.Context, deployment string) context.Context {
	if span, ok := s.traces.Load(deployment); ok {
		s.traces.Delete(deployment)
		return trace.ContextWithRemoteSpanContext(ctx, span)
	}
	if _, alone := s.cfg.Elector.(store.Alone); alone {
		return ctx // there is no other process, and no link across a restart
	}
	env, generation, ok := rules.EnvOfDeployment(deployment)
	if !ok {
		return ctx
	}
	e, err := s.cfg.KV.Get(ctx, openPrefix+depKey(env, generation))
	if err != nil || len(e.Value) == 0 {
		return ctx // a missing link must not hold up a deployment
	}
	return traceHeader.Extract(ctx, propagation.MapCarrier{"traceparent": string(e.Value)})
}
