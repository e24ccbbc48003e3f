package catalog

import (
	"context"
	"errors"
	_ "time/tzdata" // freeze windows name time zones, and a server's image may have none

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// LockEnvironment keeps an environment as it is. Who has locked it can say it anew; somebody else has to unlock it first.
func (s catalogServer) LockEnvironment(ctx context.Context, r *catalogv1.LockEnvironmentRequest) (*catalogv1.Environment, error) {
	now, by := s.now(), actor(ctx)
	lock := &catalogv1.Lock{
		Actor: by, Message: r.GetLock().GetMessage(), CreateTime: timestamppb.New(now),
		ExpireTime: r.GetLock().GetExpireTime(), Hold: r.GetLock().GetHold(),
	}
	if lock.GetHold() == catalogv1.Hold_HOLD_UNSPECIFIED {
		lock.Hold = catalogv1.Hold_HOLD_QUEUE
	}
	if t := lock.GetExpireTime(); t != nil && (!t.IsValid() || !t.AsTime().After(now)) {
		return nil, errs.InvalidField("lock.expire_time", "is not in the future; give a later time, or none for a lock without end")
	}
	return s.changeLock(ctx, r.GetName(), func(env rules.Env, e *catalogv1.Environment, _ *store.Tx) error {
		if old := e.GetLock(); rules.LockHolds(old, now) && old.GetActor() != by {
			return rules.HeldBy(old, nil, catalogv1.Deployment_KIND_CHANGE, now).Err(env)
		}
		e.Lock = lock
		return nil
	})
}

// UnlockEnvironment takes the lock away, if there is one. What waited goes on: its row is written, and the outbox follows
// those.
func (s catalogServer) UnlockEnvironment(ctx context.Context, r *catalogv1.UnlockEnvironmentRequest) (*catalogv1.Environment, error) {
	return s.changeLock(ctx, r.GetName(), func(env rules.Env, e *catalogv1.Environment, tx *store.Tx) error {
		e.Lock = nil
		return s.wake(ctx, tx, env)
	})
}

// wake clears why the deployments in line wait.
func (s *Service) wake(ctx context.Context, tx *store.Tx, env rules.Env) error {
	const most = 200
	open, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: openPrefix + envKey(env) + "/", Limit: most})
	if err != nil {
		return err
	}
	for _, entry := range open {
		row, err := deployments.Get(ctx, s.cfg.KV, entry.Key[len(openPrefix):])
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		err = s.moved(ctx, tx, row, func(d *catalogv1.Deployment) {
			if d.GetState() == catalogv1.Deployment_STATE_PENDING && d.GetCancellation() == nil {
				d.WaitingReason = ""
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) changeLock(ctx context.Context, name string, change func(rules.Env, *catalogv1.Environment, *store.Tx) error) (*catalogv1.Environment, error) {
	env, err := rules.ParseEnv("name", name)
	if err != nil {
		return nil, err
	}
	var out *catalogv1.Environment
	err = retry(ctx, func() error {
		row, err := s.environment(ctx, env)
		if err != nil {
			return err
		}
		var tx store.Tx
		next := proto.CloneOf(row.Msg)
		if err := change(env, next, &tx); err != nil {
			return err
		}
		if !proto.Equal(next, row.Msg) {
			next.UpdateTime = timestamppb.New(s.now())
			if err := environments.Update(&tx, row.ID, row.Rev, next); err != nil {
				return err
			}
			if row.Rev, err = s.cfg.KV.Commit(ctx, tx); err != nil {
				return err
			}
		}
		row.Msg = next
		out, err = s.shown(ctx, env, row)
		return err
	})
	return out, err
}

// refuseHeld refuses a deployment to an environment whose lock or freeze refuses. What only waits is accepted.
func (s *Service) refuseHeld(c current, kind catalogv1.Deployment_Kind) error {
	held := rules.HeldBy(c.row.Msg.GetLock(), c.site.typ.GetFreezes(), kind, s.now())
	if held == nil || !held.Refuse {
		return nil
	}
	return held.Err(c.env)
}
