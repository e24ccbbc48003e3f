package catalog

import (
	"context"
	"errors"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
)

// runAuditIntake takes what other services did into the trail, until ctx ends. An event is acknowledged when it is durable here.
func (s *Service) runAuditIntake(ctx context.Context) error {
	if err := s.ensured(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	cfg := events.ConsumerConfig{
		Stream: events.StreamEvents, Durable: "catalog-audit", Filter: []string{audit.Subjects},
		OnDeadLetter: func(_ context.Context, d events.Delivery, dead events.DeadLetter) {
			s.log.Error("an audit event could not be taken in", "event", d.Resource, "reason", dead.Reason)
		},
	}
	return s.cfg.Bus.Consume(ctx, cfg, s.takeAuditEvent)
}

// takeAuditEvent keeps an event under the id that its sender gave it, so that a second delivery changes nothing.
func (s *Service) takeAuditEvent(ctx context.Context, d events.Delivery) error {
	e := &catalogv1.AuditEvent{}
	if err := d.Decode(e); err != nil {
		return err
	}
	id, ok := strings.CutPrefix(e.GetName(), auditCollection)
	if !ok || len(id) < 20 || len(id) > 64 || strings.Contains(id, "/") {
		return errs.InvalidField("name", "%.80q is no name of an audit event", e.GetName())
	}
	var tx store.Tx
	if err := auditEvents.Create(&tx, id, e); err != nil {
		return err
	}
	_, err := s.cfg.KV.Commit(ctx, tx)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
