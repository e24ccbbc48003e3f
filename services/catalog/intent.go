package catalog

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// enterLine adds to a new deployment's transaction what it means for its environment. One that needs no approval gets in line:
// the environment is from now on meant to be what it brings, and those that still wait for approval are made pointless. One
// that needs approval leaves the environment as it is until it has it.
func (s *Service) enterLine(ctx context.Context, tx *store.Tx, c current, e *catalogv1.Environment, d *catalogv1.Deployment, describe map[string]string) error {
	if d.GetState() != catalogv1.Deployment_STATE_AWAITING_APPROVAL {
		return s.goAhead(ctx, tx, c.env, e, d, describe)
	}
	return putBase(tx, depKey(c.env, d.GetGeneration()), c.row.Msg.GetIntent())
}

// putBase notes the intent that a waiting deployment was made on.
func putBase(tx *store.Tx, id string, base *catalogv1.Intent) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(base)
	if err != nil {
		return err
	}
	tx.Put(awaitingPrefix+id, value)
	return nil
}

// goAhead makes the environment what the deployment brings, and ends the earlier ones that wait for approval: their plans
// were made without it.
func (s *Service) goAhead(ctx context.Context, tx *store.Tx, env rules.Env, e *catalogv1.Environment, d *catalogv1.Deployment, describe map[string]string) error {
	if err := s.putVariables(ctx, tx, env, e.GetIntent(), d.GetIntent(), d, describe); err != nil {
		return err
	}
	e.Intent = d.GetIntent()
	settleHold(e, d)
	if d.GetKind() == catalogv1.Deployment_KIND_REMOVAL {
		beginRemoval(tx, envKey(env), e)
	}
	const most = 200 // a transaction has a limit; what is left ends when somebody votes on it
	waiting, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: awaitingPrefix + envKey(env) + "/", Limit: most})
	if err != nil {
		return err
	}
	at := s.now()
	for _, w := range waiting {
		id := w.Key[len(awaitingPrefix):]
		if _, generation, ok := envOfDepKey(id); !ok || generation >= d.GetGeneration() {
			continue
		}
		row, err := deployments.Get(ctx, s.cfg.KV, id)
		if err != nil {
			return err
		}
		if err := s.moved(ctx, tx, row, func(d *catalogv1.Deployment) { rules.Overtake(d, at) }); err != nil {
			return err
		}
		if row.Msg.GetKind() == catalogv1.Deployment_KIND_MOVE {
			giveBack(tx, rules.Without(rules.Locations(e.GetLayoutPlace()), rules.Locations(e.GetPlace())))
		}
	}
	return nil
}

// settleIntent adds to a deployment's change what it means for its environment: what ended before it was in Git must not be in
// what the next deployment is made on. The environment's intent becomes that of the newest deployment that is in Git or on its
// way there.
func (s *Service) settleIntent(ctx context.Context, tx *store.Tx, env rules.Env, before *catalogv1.Deployment, move func(*catalogv1.Deployment)) error {
	after := proto.CloneOf(before)
	move(after)
	withdrawn := after.GetKind() == catalogv1.Deployment_KIND_REMOVAL &&
		(after.GetState() == catalogv1.Deployment_STATE_CANCELLED || after.GetState() == catalogv1.Deployment_STATE_REJECTED) && before.GetState() != after.GetState()
	settles := rules.Settles(before, after)
	if rules.Carries(before) == rules.Carries(after) && !withdrawn && !settles {
		return nil
	}
	row, err := environments.Get(ctx, s.cfg.KV, envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	e := proto.CloneOf(row.Msg)
	if after.GetCreateTime().AsTime().Before(e.GetCreateTime().AsTime()) {
		return nil // of an earlier environment of that name
	}
	carrier, err := s.newestThat(ctx, env, e, func(d *catalogv1.Deployment) bool {
		if d.GetGeneration() == after.GetGeneration() {
			d = after
		}
		return rules.Carries(d)
	})
	if err != nil {
		return err
	}
	e.Intent = carrier.GetIntent()
	settleHold(e, carrier)
	if carrier == nil {
		e.Intent = rules.EmptyState().Intent
	}
	if withdrawn && e.GetGeneration() == after.GetGeneration() {
		e.State = catalogv1.Environment_STATE_ACTIVE
	}
	if settles {
		if err := s.settleMove(ctx, tx, e, after); err != nil {
			return err
		}
	}
	if proto.Equal(e, row.Msg) {
		return nil
	}
	reindex(tx, row.ID, row.Msg, e)
	if err := s.putVariables(ctx, tx, env, row.Msg.GetIntent(), e.GetIntent(), carrier, nil); err != nil {
		return err
	}
	return environments.Update(tx, row.ID, row.Rev, e)
}

// newestThat gives the newest deployment of an environment that it holds for, nil for none. Those of an earlier environment
// of that name do not count.
func (s *Service) newestThat(ctx context.Context, env rules.Env, e *catalogv1.Environment, holds func(*catalogv1.Deployment) bool) (*catalogv1.Deployment, error) {
	r := store.ScanRange{Prefix: envKey(env) + "/", Reverse: true, Limit: 16}
	for row, err := range deployments.Range(ctx, s.cfg.KV, r) {
		if err != nil {
			return nil, err
		}
		if row.Msg.GetCreateTime().AsTime().Before(e.GetCreateTime().AsTime()) {
			return nil, nil
		}
		if holds(row.Msg) {
			row.Msg.Etag = store.Etag(row.Rev)
			return row.Msg, nil
		}
	}
	return nil, nil
}

// newestMeant gives the newest deployment that was meant to run: not one that waits for approval or that people withdrew. An
// empty one where there is none.
func (s *Service) newestMeant(ctx context.Context, c current) (*catalogv1.Deployment, error) {
	d, err := s.newestThat(ctx, c.env, c.row.Msg, func(d *catalogv1.Deployment) bool {
		switch d.GetState() {
		case catalogv1.Deployment_STATE_AWAITING_APPROVAL, catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED:
			return false
		}
		return true
	})
	if d == nil && err == nil {
		d = &catalogv1.Deployment{}
	}
	return d, err
}
