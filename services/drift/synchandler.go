package drift

import (
	"context"
	"slices"
	"strings"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// SyncEnvironment applies what Git says, whatever is known.
func (s *Service) SyncEnvironment(ctx context.Context, req *driftv1.SyncEnvironmentRequest) (*driftv1.SyncEnvironmentResponse, error) {
	e := s.environment(req.GetName())
	if e == nil {
		return nil, notHere(req.GetName())
	}
	partial := len(req.GetObjects())+len(req.GetWorkloads()) > 0
	if partial && req.GetConfirmPrune() {
		return nil, errs.InvalidField("confirm_prune", "is given beside objects or workloads; nothing is removed in a sync of a part: sync the whole environment to confirm")
	}
	var changes []*driftv1.SyncChange
	err := e.do(ctx, func(ctx context.Context) (err error) {
		e.mu.Lock()
		want := e.desired
		e.mu.Unlock()
		switch {
		case want.GetRemoved():
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is being removed; deploy to it again first", e.name)
		case want == nil && (partial || req.GetValidateOnly()):
			return notHere(e.name)
		case req.GetValidateOnly() && want.GetTarget().GetEngine() == engineFlux:
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is synced by Flux, which cannot say beforehand what it will do; "+
				"see what a deployment changes with tow deploy --plan, and what differs now with tow drift", e.name)
		case req.GetValidateOnly():
			changes, err = e.dryRun(ctx, want, req)
			return err
		case partial:
			changes, err = e.syncPart(ctx, want, req.GetObjects(), req.GetWorkloads())
			e.tell()
			return err
		}
		changes, err = e.syncByHand(ctx, want, req.GetConfirmPrune())
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(changes, func(a, b *driftv1.SyncChange) int {
		return strings.Compare(a.GetObject().GetKind()+"/"+a.GetObject().GetName(), b.GetObject().GetKind()+"/"+b.GetObject().GetName())
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	return &driftv1.SyncEnvironmentResponse{Status: e.status(), Changes: changes}, nil
}

// syncByHand syncs because a person asked for it.
func (e *environment) syncByHand(ctx context.Context, want *eventsv1.DesiredState, confirmed bool) ([]*driftv1.SyncChange, error) {
	if err := e.settleClaims(ctx, true); err != nil || want == nil {
		return nil, err
	}
	changes, err := e.syncAs(ctx, want, syncOptions{force: true, confirmed: confirmed})
	e.note(ctx, want, err)
	if err != nil && e.automatic() {
		poke(e.wake) // it is tried again by itself
	}
	return changes, err
}
