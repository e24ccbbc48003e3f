package drift

import (
	"context"
	"strings"
	"time"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
)

// recallTime bounds how long is waited for what was told earlier. Without it findings are told as new ones.
const recallTime = 20 * time.Second

// recall reads what was told of the environment's findings before this process had it, once: those that are still there then keep
// their onset, and of those that went meanwhile the end can be told. The event server keeps that; drift has no database.
func (e *environment) recall(ctx context.Context) {
	e.mu.Lock()
	known := e.recalled != nil
	e.mu.Unlock()
	parts := strings.Split(e.name, "/")
	detected, err := events.EventSubject(parts[1], parts[3], "drift.detected")
	if known || err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recallTime)
	defer cancel()
	open := map[string]*driftv1.Finding{}
	cfg := events.TailConfig{
		Stream: events.StreamEvents, Filter: []string{detected, strings.TrimSuffix(detected, "detected") + "resolved"}, CaughtUp: cancel,
	}
	for d, err := range e.svc.cfg.Bus.Tail(ctx, cfg) {
		if err != nil && d.Subject == "" {
			e.log.Warn("what was told of findings before cannot be read; they are told anew", "error", err)
			break
		}
		if err == nil {
			retell(open, d)
		}
	}
	e.mu.Lock()
	e.recalled = open
	e.mu.Unlock()
}

// retell takes one event in.
func retell(open map[string]*driftv1.Finding, d events.Delivery) {
	if strings.HasSuffix(d.Type, "drift.resolved") {
		r := &eventsv1.DriftResolved{}
		if d.Decode(r) == nil {
			delete(open, r.GetFinding().GetName())
		}
		return
	}
	r := &eventsv1.DriftDetected{}
	if d.Decode(r) == nil && r.GetFinding().GetName() != "" {
		open[r.GetFinding().GetName()] = r.GetFinding()
	}
}

// resume gives a finding the onset that it was told with before. It needs the mutex.
func (e *environment) resume(f *driftv1.Finding) {
	if old := e.recalled[f.GetName()]; old != nil {
		f.DetectTime = old.GetDetectTime()
		delete(e.recalled, f.GetName())
	}
}

// tellLost tells the end of findings that were told before and are not there any more, once all objects have been looked at. It needs
// the mutex.
func (e *environment) tellLost(done counts) {
	how := resolutionUndone
	if done != (counts{}) {
		how = resolutionDeployed
	}
	for name, f := range e.recalled {
		switch f.GetKind() {
		case driftv1.Finding_KIND_ORPHANED, driftv1.Finding_KIND_UNMANAGED:
			continue // what is not declared is seen by watching only, which may be later
		}
		delete(e.recalled, name)
		e.announceResolved(f, how)
	}
}
