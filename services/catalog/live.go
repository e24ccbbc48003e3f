package catalog

import (
	"cmp"
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// onHealth notes how an environment is, and moves the deployment that it is about.
func (s *Service) onHealth(ctx context.Context, e *eventsv1.EnvironmentHealth, at time.Time) error {
	env, err := rules.ParseEnv("environment", e.GetEnvironment())
	if err != nil {
		return err
	}
	if seen := e.GetTime(); seen != nil {
		at = seen.AsTime()
	}
	if _, generation, ok := rules.EnvOfDeployment(e.GetDeployment()); ok {
		_, err := s.moveDeployment(ctx, env, generation, func(d *catalogv1.Deployment) { rules.Observe(d, e, at) })
		if err != nil {
			return err
		}
	}
	if e.GetSync() == driftv1.SyncState_SYNC_STATE_SYNCED && e.GetFindings() == 0 {
		if err := s.nothingDrifts(ctx, env, at); err != nil {
			return err
		}
	}
	return s.report(ctx, env, e.GetGeneration(), func(row *catalogv1.Environment) {
		countAt(row, e.GetFindings(), at)
		live := row.GetLive()
		older := e.GetGeneration() < live.GetGeneration() ||
			e.GetGeneration() == live.GetGeneration() && live.GetTime() != nil && !at.After(live.GetTime().AsTime())
		if older {
			return
		}
		row.Live = &catalogv1.Live{
			Sync: e.GetSync(), Health: e.GetHealth(), Message: e.GetMessage(), Generation: e.GetGeneration(),
			Findings: live.GetFindings(), Time: timestamppb.New(at),
		}
	})
}

// countFindings notes how many findings are open.
func (s *Service) countFindings(ctx context.Context, environment string, open int32, at time.Time) error {
	env, err := rules.ParseEnv("environment", environment)
	if err != nil {
		return err
	}
	return s.report(ctx, env, 0, func(row *catalogv1.Environment) { countAt(row, open, at) })
}

// countAt sets the number of findings unless a newer report did. The row's update_time is the time of that report: findings come
// with other events than health, so they need a time of their own for late ones to be told apart.
func countAt(row *catalogv1.Environment, open int32, at time.Time) {
	if row.GetUpdateTime() != nil && !at.After(row.GetUpdateTime().AsTime()) {
		return
	}
	if row.Live == nil {
		row.Live = &catalogv1.Live{}
	}
	row.Live.Findings, row.UpdateTime = open, timestamppb.New(at)
}

// report changes what is reported of an environment. Reports of an environment that is gone, or of a generation of an earlier
// one of that name, are left out; generation 0 stands for no certain one.
func (s *Service) report(ctx context.Context, env rules.Env, generation int64, change func(*catalogv1.Environment)) error {
	return retry(ctx, func() error {
		var tx store.Tx
		row, ok, err := s.reportable(ctx, &tx, env, generation)
		if err != nil || !ok {
			return err
		}
		next := proto.CloneOf(row.Msg)
		change(next)
		if proto.Equal(next, row.Msg) {
			return nil
		}
		if err := liveEnvironments.Update(&tx, row.ID, row.Rev, next); err != nil {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
}

// reportable reads the row for reports, and adds to tx that the environment stays there.
func (s *Service) reportable(ctx context.Context, tx *store.Tx, env rules.Env, generation int64) (store.Row[*catalogv1.Environment], bool, error) {
	var none store.Row[*catalogv1.Environment]
	e, err := environments.Get(ctx, s.cfg.KV, envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return none, false, nil
	}
	if err != nil {
		return none, false, err
	}
	if generation > 0 {
		d, err := s.deployment(ctx, env, generation)
		if errs.Is(err, errs.NotFound) || err == nil && d.GetCreateTime().AsTime().Before(e.Msg.GetCreateTime().AsTime()) {
			return none, false, nil
		}
		if err != nil {
			return none, false, err
		}
	}
	tx.If(store.IfExists(environments.Key(envKey(env))))
	row, err := s.live(ctx, env)
	return row, err == nil, err
}

// activate makes a deployment the active one of its environment, unless a later one is.
func (s *Service) activate(ctx context.Context, tx *store.Tx, env rules.Env, d *catalogv1.Deployment) error {
	row, ok, err := s.reportable(ctx, tx, env, d.GetGeneration())
	if err != nil || !ok {
		return err
	}
	next := proto.CloneOf(row.Msg)
	if _, active, _ := rules.EnvOfDeployment(next.GetActiveDeployment()); active <= d.GetGeneration() {
		next.ActiveDeployment = d.GetName()
		if next.Running, err = s.running(ctx, row.Msg.GetRunning(), d); err != nil {
			return err
		}
	}
	if next.GetLive().GetGeneration() < d.GetGeneration() {
		// No time: the first report of this generation's health, whenever it was made, says more.
		next.Live = &catalogv1.Live{
			Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Generation: d.GetGeneration(), Findings: next.GetLive().GetFindings(),
		}
	}
	if proto.Equal(next, row.Msg) {
		return nil
	}
	return liveEnvironments.Update(tx, row.ID, row.Rev, next)
}

// running is what lists show of a deployment that runs; known is what they show now.
func (s *Service) running(ctx context.Context, known *catalogv1.Running, d *catalogv1.Deployment) (*catalogv1.Running, error) {
	if known.GetDeployment() == d.GetName() {
		known = proto.CloneOf(known) // told again: the rest of it is pinned
		known.Since, known.Commit = d.GetActiveFrom(), cmp.Or(known.GetCommit(), d.GetCommit())
		return known, nil
	}
	state, err := s.state(ctx, d.GetIntent())
	if err != nil {
		return nil, err
	}
	return &catalogv1.Running{
		Deployment: d.GetName(), Actor: d.GetActor(), Message: d.GetMessage(), Since: d.GetActiveFrom(), Commit: d.GetCommit(),
		Version: rules.Version(state),
	}, nil
}

// onCommitted notes the commit of what runs already, where that is told late.
func (s *Service) onCommitted(ctx context.Context, e *eventsv1.DeploymentCommitted, _ time.Time) error {
	env, generation, ok := rules.EnvOfDeployment(e.GetDeployment())
	if !ok {
		return nil // told as an error by who moves the deployment
	}
	late := func(r *catalogv1.Running) bool { return r.GetDeployment() == e.GetDeployment() && r.GetCommit() == "" }
	row, err := s.live(ctx, env)
	if err != nil || !late(row.Msg.GetRunning()) {
		return err
	}
	return s.report(ctx, env, generation, func(row *catalogv1.Environment) {
		if late(row.GetRunning()) {
			row.Running.Commit = e.GetCommit()
		}
	})
}

// onRemoved ends a removal: the environment's row goes, its history stays.
func (s *Service) onRemoved(ctx context.Context, e *eventsv1.EnvironmentRemoved, at time.Time) error {
	var env rules.Env
	var by string
	err := s.onRow(ctx, e.GetDeployment(), func(of rules.Env, row store.Row[*catalogv1.Deployment], tx *store.Tx) error {
		env, by = of, row.Msg.GetActor()
		if err := s.moved(ctx, tx, row, func(d *catalogv1.Deployment) { rules.Removed(d, at, e.GetRetained()...) }); err != nil {
			return err
		}
		gone := proto.CloneOf(row.Msg)
		gone.ActiveFrom = timestamppb.New(at) // only to tell until when the one before it ran
		if err := s.overtake(ctx, tx, env, gone.GetGeneration(), gone); err != nil {
			return err
		}
		return s.forgetEnvironment(ctx, tx, env, gone.GetGeneration())
	})
	if err != nil || env == (rules.Env{}) {
		return err
	}
	return s.forgetDecisions(ctx, env, at, by)
}

// forgetEnvironment adds to tx that the environment is gone, if it is still the one that the removal was of.
func (s *Service) forgetEnvironment(ctx context.Context, tx *store.Tx, env rules.Env, removal int64) error {
	c, err := s.current(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.row.Msg.GetState() != catalogv1.Environment_STATE_DELETING || c.row.Msg.GetGeneration() != removal {
		return nil
	}
	environments.Delete(tx, c.row.ID, c.row.Rev)
	forgetLatest(tx, c.row.ID)
	tx.Delete(liveEnvironments.Key(c.row.ID)).Delete(sentPrefix + c.row.ID).Delete(findingPrefix + c.row.ID)
	reindex(tx, c.row.ID, c.row.Msg, nil)
	disown(tx, c.site, c.row.Msg.GetNamespace())
	if err := s.forgetOutputs(ctx, tx, env); err != nil {
		return err
	}
	return s.dropVariables(ctx, tx, env, removal)
}
