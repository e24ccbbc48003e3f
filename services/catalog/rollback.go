package catalog

import (
	"context"
	"errors"
	"maps"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// Rollback restores what an earlier deployment made, by a new deployment.
func (s catalogServer) Rollback(ctx context.Context, r *catalogv1.RollbackRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_ROLLBACK, message: r.GetMessage(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r},
		decide:  s.goBackTo("deployment", r.GetDeployment(), r.GetRerender()),
	}, s.accept)
}

// goBackTo prepares the decision of a rollback, by the tree of then or with rerender by rendering the intent of then with the
// definitions, defaults and renderer of today.
func (s *Service) goBackTo(field, name string, rerender bool) func(context.Context, current) (decision, error) {
	back := s.goBack(field, name)
	if !rerender {
		return back
	}
	return func(ctx context.Context, c current) (decision, error) {
		next, err := back(ctx, c)
		next.restore, next.rerender = nil, next.restore // without restore it is pinned anew
		return next, err
	}
}

// keepVariables puts back the application's variables of then into an intent that is rendered anew and was pinned: today's
// definitions, defaults and renderer are meant, not today's values.
func keepVariables(next decision) {
	if next.rerender == nil || next.state.Intent == nil {
		return
	}
	now, then := next.state.Intent, next.rerender.GetIntent()
	now.ApplicationVariables, now.ApplicationSecretVariables = then.GetApplicationVariables(), then.GetApplicationSecretVariables()
	ofApplication := func(name string, _ int64) bool { return !strings.Contains(name, "/environments/") }
	maps.DeleteFunc(now.VariableVersions, ofApplication)
	for name, version := range then.GetVariableVersions() {
		if ofApplication(name, version) {
			if now.VariableVersions == nil {
				now.VariableVersions = map[string]int64{}
			}
			now.VariableVersions[name] = version
		}
	}
}

// sayWhatReturns notes in a rollback what it goes back to. A tree that is put back is not rendered, so that what it was made by
// is known here and nowhere later.
func sayWhatReturns(d *catalogv1.Deployment, next decision) {
	if to := next.restore; to != nil {
		d.Sha256, d.RendererVersion = to.GetSha256(), to.GetRendererVersion()
	}
	if next.rerender != nil {
		d.RollbackOf, d.Rerender = next.rerender.GetName(), true
	}
}

// goBack prepares the decision of a rollback to the named deployment, or to the last good one when name is empty.
func (s *Service) goBack(field, name string) func(context.Context, current) (decision, error) {
	return func(ctx context.Context, c current) (decision, error) {
		to, err := s.rollbackTarget(ctx, c, field, name)
		if err != nil {
			return decision{}, err
		}
		state, err := s.state(ctx, to.GetIntent())
		if err != nil {
			return decision{}, err
		}
		return decision{state: state, restore: to, summary: rules.Summary(c.state, state)}, nil
	}
}

func (s *Service) rollbackTarget(ctx context.Context, c current, field, name string) (*catalogv1.Deployment, error) {
	if name == "" {
		return s.lastGood(ctx, c)
	}
	env, number, err := rules.ParseDeployment(field, name)
	if err != nil {
		return nil, err
	}
	if env != c.env {
		return nil, errs.InvalidField(field, "%s is of another environment; copy its set with change.set instead", name)
	}
	to, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return nil, err
	}
	if to.GetCommit() == "" || to.GetTree() == "" {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s never was in Git, so there is nothing to restore; choose another of `tow history`", to.GetName()).
			With("state", stateName(to.GetState()))
	}
	return to, nil
}

// lastGood finds the default of a rollback: the last deployment before the newest that ran, with another tree than the newest
// made. Where the newest never reached Git, that is what runs now, and the rollback takes the failed intent back.
func (s *Service) lastGood(ctx context.Context, c current) (*catalogv1.Deployment, error) {
	if c.row.Msg.GetLatestDeployment() != "" {
		newest, err := s.newestMeant(ctx, c)
		if err != nil {
			return nil, err
		}
		r := store.ScanRange{Prefix: envKey(c.env) + "/", After: depKey(c.env, newest.GetGeneration()), Reverse: true, Limit: 32}
		for row, err := range deployments.Range(ctx, s.cfg.KV, r) {
			if err != nil {
				return nil, err
			}
			d := row.Msg
			if d.GetKind() == catalogv1.Deployment_KIND_REMOVAL {
				break // before it was another environment of that name
			}
			ran := d.GetState() == catalogv1.Deployment_STATE_HEALTHY || d.GetActiveFrom() != nil
			if ran && d.GetTree() != "" && d.GetTree() != newest.GetTree() {
				return d, nil
			}
		}
	}
	return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"%s has no earlier deployment that ran and differs from the newest; name one of `tow history`", c.env.Name()).With("state", "NO_EARLIER")
}

// DeleteEnvironment takes an environment out of Git and its cluster by a deployment. Asking again while that goes on gives the
// same one; after it failed it is tried again.
func (s catalogServer) DeleteEnvironment(ctx context.Context, r *catalogv1.DeleteEnvironmentRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_REMOVAL, message: r.GetMessage(), etag: r.GetEtag(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r}, decide: s.removal,
	}, s.acceptRemoval)
}

// removal is the decision to take an environment away.
func (s *Service) removal(_ context.Context, c current) (decision, error) {
	return decision{state: c.state, removal: true, summary: []string{"removed the environment"}}, nil
}

func (s *Service) acceptRemoval(ctx context.Context, o order) (*catalogv1.Deployment, error) {
	c, err := s.current(ctx, o.env)
	if err != nil {
		return nil, err
	}
	if err := checkEtag(o.etag, c.row.Rev, o.env.Name()); err != nil {
		return nil, err
	}
	if err := refuseHeldRemoval(o.env, c.row.Msg); err != nil {
		return nil, err
	}
	if c.row.Msg.GetState() == catalogv1.Environment_STATE_DELETING {
		d, err := s.deployment(ctx, o.env, c.row.Msg.GetGeneration())
		if err != nil && !errs.Is(err, errs.NotFound) || err == nil && isRemoval(d) && !rules.IsFinal(d.GetState()) {
			return d, err
		}
	}
	if err := s.refuseMoving(ctx, c); err != nil {
		return nil, err
	}
	if err := s.refuseHeld(c, o.kind); err != nil {
		return nil, err
	}
	next, err := s.decided(ctx, c, o.decide)
	if err != nil {
		return nil, err
	}
	d := s.draft(ctx, o, c, next)
	if err := s.hold(ctx, o, c, next, d); err != nil {
		return nil, err
	}
	if c.row.Msg.GetLatestDeployment() == "" {
		return d, s.removeUnused(ctx, o, c, d)
	}
	return d, s.commitDeployment(ctx, o, c, next, d)
}

func isRemoval(d *catalogv1.Deployment) bool { return d.GetKind() == catalogv1.Deployment_KIND_REMOVAL }

// removeUnused removes an environment that nothing was ever deployed to: nothing of it is in Git or cluster.
func (s *Service) removeUnused(ctx context.Context, o order, c current, d *catalogv1.Deployment) error {
	rules.Removed(d, d.GetCreateTime().AsTime())
	d.UpdateTime = timestamppb.New(s.now())
	var tx store.Tx
	err := errors.Join(
		s.answer(&tx, o.request, &catalogv1.Deployment{Name: d.GetName()}),
		deployments.Create(&tx, depKey(o.env, d.GetGeneration()), d),
	)
	if err != nil {
		return err
	}
	if err := putTimes(&tx, depKey(o.env, d.GetGeneration()), d); err != nil {
		return err
	}
	environments.Delete(&tx, c.row.ID, c.row.Rev)
	forgetLatest(&tx, c.row.ID)
	tx.Delete(liveEnvironments.Key(c.row.ID)).Delete(sentPrefix + c.row.ID).Delete(findingPrefix + c.row.ID)
	reindex(&tx, c.row.ID, c.row.Msg, nil)
	disown(&tx, c.site, c.row.Msg.GetNamespace())
	rev, err := s.cfg.KV.Commit(ctx, tx)
	if err != nil {
		return err
	}
	d.Etag = store.Etag(rev)
	s.cfg.Failpoint(failpoint.RowCommitted)
	return s.forgetDecisions(ctx, o.env, s.now(), d.GetActor())
}
