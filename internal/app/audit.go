package app

import (
	"context"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/internal/rpc"
)

// auditors hands each call to the auditor of its service. Like lateAuth it is there before the services are.
type auditors struct {
	mu sync.RWMutex
	of map[string]rpc.Auditor // by the service's full name
}

// set makes a the auditor of a target's services.
func (a *auditors) set(t Target, auditor rpc.Auditor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[string]rpc.Auditor{}
	}
	for _, name := range serviceNames[t] {
		a.of[name] = auditor
	}
}

func (a *auditors) find(fullMethod string) rpc.Auditor {
	service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.of[service]
}

// Audits implements rpc.Auditor.
func (a *auditors) Audits(fullMethod string) bool {
	of := a.find(fullMethod)
	return of != nil && of.Audits(fullMethod)
}

// Begin implements rpc.Auditor.
func (a *auditors) Begin(ctx context.Context, c *rpc.Call) context.Context {
	if of := a.find(c.Method); of != nil {
		return of.Begin(ctx, c)
	}
	return ctx
}

// End implements rpc.Auditor.
func (a *auditors) End(ctx context.Context, c *rpc.Call, err error) {
	if of := a.find(c.Method); of != nil {
		of.End(ctx, c, err)
	}
}
