package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// An environment that was rolled back gets nothing by itself until a person makes a newer deployment to it. Environment's
// held_by_rollback tells it, kept in the same transactions that decide what the environment is meant to be (goAhead, settleIntent).
// Whatever deploys without a person naming the environment sets order.byItself, and accept refuses it there, within the
// transaction that it would deploy in. The end of an environment's time is no deployment of that kind: a person set it.

// refuseHeldByRollback refuses what would deploy by itself to an environment that was rolled back.
func refuseHeldByRollback(o order, c current) error {
	if rollback := c.row.Msg.GetHeldByRollback(); o.byItself && rollback != "" {
		return rules.HeldByRollback(o.env, rollback)
	}
	return nil
}

// settleHold notes in an environment's row whether a rollback holds it, by the newest deployment that is in Git or on its way. A move
// changes nothing of what runs.
func settleHold(e *catalogv1.Environment, newest *catalogv1.Deployment) {
	if newest.GetKind() == catalogv1.Deployment_KIND_MOVE {
		return
	}
	e.HeldByRollback = rules.RollbackHold(newest)
}

// rolloutTargets gives the environments that read an application's variable, without those that a rollback holds, and those.
func (s *Service) rolloutTargets(ctx context.Context, o variableOrder) (targets []rules.Env, held []string, err error) {
	envs, err := s.readers(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	for _, env := range envs {
		row, err := s.environment(ctx, env)
		switch {
		case errs.Is(err, errs.NotFound):
			continue // removed meanwhile
		case err != nil:
			return nil, nil, err
		case row.Msg.GetHeldByRollback() != "":
			held = append(held, env.Name())
		default:
			targets = append(targets, env)
		}
	}
	return targets, held, nil
}
