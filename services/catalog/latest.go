package catalog

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxReason is how much of a reason a list shows, in characters: one that a program wrote can be pages long.
const maxReason = 300

// latestOf is what lists show of a deployment that is its environment's newest.
func latestOf(d *catalogv1.Deployment) *catalogv1.Latest {
	reason := []rune(cmp.Or(d.GetError().GetMessage(), d.GetWaitingReason()))
	return &catalogv1.Latest{
		Deployment: d.GetName(), State: d.GetState().String(), Kind: d.GetKind().String(), Actor: d.GetActor(), Message: d.GetMessage(),
		CreateTime: d.GetCreateTime(), Reason: string(reason[:min(len(reason), maxReason)]),
	}
}

// putLatest adds that a deployment is the newest of its environment, in the transaction that makes it so.
func putLatest(tx *store.Tx, env rules.Env, d *catalogv1.Deployment) error {
	takeBack(tx, newest.Key(envKey(env)))
	return newest.Put(tx, envKey(env), latestOf(d))
}

// forgetLatest adds that an environment has no newest deployment, because it is gone.
func forgetLatest(tx *store.Tx, id string) {
	takeBack(tx, newest.Key(id))
	tx.Delete(newest.Key(id))
}

// takeBack removes what a transaction was to write to a key, where it is to write something else: it may write each key once.
func takeBack(tx *store.Tx, key string) {
	tx.Ops = slices.DeleteFunc(tx.Ops, func(op store.Op) bool { return op.Key == key })
}

// followLatest adds what a deployment's change means for lists, if it is the newest of its environment. The row has a condition
// of its own: a newer deployment that comes at the same time must not be hidden by this one.
func (s *Service) followLatest(ctx context.Context, tx *store.Tx, d *catalogv1.Deployment) error {
	env, _, ok := rules.EnvOfDeployment(d.GetName())
	if !ok {
		return nil
	}
	row, err := newest.Get(ctx, s.cfg.KV, envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return nil // of an environment that is gone, or whose newest deployment is older than these rows: see latest
	}
	if err != nil {
		return err
	}
	next := latestOf(d)
	if row.Msg.GetDeployment() != d.GetName() || proto.Equal(row.Msg, next) {
		return nil
	}
	return newest.Update(tx, row.ID, row.Rev, next)
}

// latest gives what lists show of an environment's newest deployment. known is its row, nil for none; where that is of an older
// deployment or missing, because a program wrote the environment that did not know these rows, the deployment itself tells.
func (s *Service) latest(ctx context.Context, env rules.Env, e *catalogv1.Environment, known *catalogv1.Latest) (*catalogv1.Latest, error) {
	if e.GetLatestDeployment() == "" || known.GetDeployment() == e.GetLatestDeployment() {
		return known, nil
	}
	_, generation, ok := rules.EnvOfDeployment(e.GetLatestDeployment())
	if !ok {
		return nil, nil
	}
	d, err := s.deployment(ctx, env, generation)
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return latestOf(d), nil
}

// latestShown is latest for one environment.
func (s *Service) latestShown(ctx context.Context, env rules.Env, e *catalogv1.Environment) (*catalogv1.Latest, error) {
	row, err := newest.Get(ctx, s.cfg.KV, envKey(env))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return s.latest(ctx, env, e, row.Msg)
}

// inView leaves out of an environment what a view does not show.
func inView(e *catalogv1.Environment, view catalogv1.EnvironmentView) *catalogv1.Environment {
	if view == catalogv1.EnvironmentView_ENVIRONMENT_VIEW_BASIC && e != nil { // the end of a listing has none
		e.Intent, e.DefinitionPins, e.Place, e.LayoutPlace = nil, nil, nil, nil
	}
	return e
}
