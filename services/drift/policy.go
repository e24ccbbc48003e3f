package drift

import (
	"context"
	"fmt"
	"sync"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/ignorerule"
)

// policy is how an environment is treated: as its catalog says now, else as its deployment said.
type policy struct {
	automatic, selfHeal, pruneHeld bool
	sync                           *driftv1.SyncPolicy
}

// policy needs the mutex.
func (e *environment) policy() policy {
	if p := e.given; p != nil {
		return policy{automatic: p.GetAutomaticSync(), selfHeal: p.GetSelfHeal(), pruneHeld: p.GetPruneHeld(), sync: p.GetSyncPolicy()}
	}
	d := e.desired
	if d == nil {
		d = e.claims.want
	}
	return policy{automatic: d.GetAutomaticSync(), selfHeal: d.GetSelfHeal(), pruneHeld: d.GetPruneHeld(), sync: d.GetSyncPolicy()}
}

// automatic reports whether what Git says is applied by itself.
func (e *environment) automatic() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.policy().automatic
}

// followPolicies hands each environment its policy, until ctx ends. One that comes before its environment waits for it.
func (s *Service) followPolicies(ctx context.Context) error {
	known := sync.OnceFunc(func() { close(s.policiesKnown) })
	defer known()
	cfg := events.TailConfig{Stream: events.StreamPolicies, LastPerSubject: true, CaughtUp: known}
	for d, err := range s.cfg.Bus.Tail(ctx, cfg) {
		if err != nil && d.Subject == "" {
			return fmt.Errorf("follow policies: %w", err)
		}
		if events.IsTarget(d.Subject) {
			continue // see followTargets
		}
		p := &eventsv1.EnvironmentPolicy{}
		if err == nil {
			err = d.Decode(p)
		}
		if err != nil {
			s.cfg.Log.Error("a policy cannot be read and is left out", "subject", d.Subject, "error", err)
			continue
		}
		s.treat(p)
	}
	return nil
}

// treat takes a newer policy.
func (s *Service) treat(p *eventsv1.EnvironmentPolicy) {
	s.mu.Lock()
	if old := s.policies[p.GetEnvironment()]; old.GetRevision() > p.GetRevision() {
		s.mu.Unlock()
		return
	}
	if p.GetRemoved() {
		delete(s.policies, p.GetEnvironment())
		p = nil
	} else {
		s.policies[p.GetEnvironment()] = p
	}
	e := s.envs[p.GetEnvironment()]
	s.mu.Unlock()
	if e == nil || p == nil {
		return
	}
	e.mu.Lock()
	before := e.policy()
	e.treatAs(p)
	look := before.sync.GetReportUnmanaged() != p.GetSyncPolicy().GetReportUnmanaged()
	changed := e.busy == "" && e.reconsider()
	e.engine.due = true
	e.mu.Unlock()
	if changed {
		e.tell()
	}
	poke(e.wake)
	poke(e.look)
	if look {
		e.lookAgain()
	}
}

// treatAs takes a policy; nil for none. It needs the mutex.
func (e *environment) treatAs(p *eventsv1.EnvironmentPolicy) {
	e.given = p
	e.quiet.rules = ignorerule.Compile(p.GetIgnores())
}
