package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
)

// runTargets tells drift how targets are reached, and each change of it, so that it takes effect without a deployment. All are
// told at the start: the last word about each stays in the stream, so telling it again changes nothing.
func (s *Service) runTargets(ctx context.Context) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		start := time.Now()
		err := s.tellTargets(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return nil //nolint:nilerr // the end of ctx is how it is stopped
		}
		s.log.Warn("drift is not told of targets now; it is tried again", "error", err)
		if time.Since(start) > time.Minute {
			wait = 50 * time.Millisecond
		}
		_ = sleep(ctx, wait) // ended by ctx, which the next round says
	}
}

func (s *Service) tellTargets(ctx context.Context) error {
	if err := s.cfg.Bus.Ensure(ctx); err != nil {
		return err
	}
	rev, err := store.Revision(ctx, s.cfg.KV)
	if err != nil {
		return err
	}
	for e, err := range store.All(ctx, s.cfg.KV, targets.Prefix()) {
		if err != nil {
			return err
		}
		row, err := targets.Decode(e)
		if err != nil {
			return err
		}
		if err := s.tellTarget(ctx, targetRef(row.Msg), e.Rev); err != nil {
			return err
		}
	}
	for c, err := range s.cfg.KV.Watch(ctx, targets.Prefix(), rev) {
		if err != nil {
			return err
		}
		row, err := targets.DecodeChange(c)
		if err != nil {
			return err
		}
		ref := &eventsv1.TargetRef{Name: "targets/" + row.ID} // without an engine: it is gone
		if row.Msg != nil {
			ref = targetRef(row.Msg)
		}
		if err := s.tellTarget(ctx, ref, c.Rev); err != nil {
			return err
		}
	}
	return nil
}

// tellTarget publishes how a target is reached as of a revision.
func (s *Service) tellTarget(ctx context.Context, ref *eventsv1.TargetRef, rev int64) error {
	subject, err := events.TargetSubject(strings.TrimPrefix(ref.GetName(), "targets/"))
	if err != nil {
		s.log.Error("drift cannot be told of a target", "target", ref.GetName(), "error", err)
		return nil
	}
	m := events.Message{
		Subject: subject, ID: fmt.Sprintf("%s@%d", ref.GetName(), rev), Type: typePrefix + "target.access", Source: source,
		Resource: ref.GetName(), Time: s.cfg.Clock(), Body: ref,
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := s.cfg.Bus.Publish(ctx, m)
		if k := errs.KindOf(err); err == nil || k != errs.Unavailable && k != errs.Timeout {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}
