package catalog

import (
	"context"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// gitSubject is who makes drafts of what others changed in Git, by policy.
const gitSubject = "system/git"

// onForeign notes what somebody else changed in an environment's folder. Where the policy says so, it becomes a draft at once.
func (s *Service) onForeign(ctx context.Context, e *eventsv1.ForeignCommit, at time.Time) error {
	env, err := rules.ParseEnv("environment", e.GetEnvironment())
	if err != nil {
		return err
	}
	policy, err := s.foreignPolicy(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return nil // it is gone
	}
	if err != nil {
		return err
	}
	if err := s.report(ctx, env, 0, func(row *catalogv1.Environment) { rules.NoteForeign(row, e, policy, at) }); err != nil {
		return err
	}
	if err := s.recordForeign(ctx, env, e, at); err != nil {
		return err
	}
	if policy != committerv1.ForeignPolicy_FOREIGN_POLICY_ADOPT || rules.IsStateFile(e.GetPath()) {
		return nil
	}
	return s.adoptByPolicy(auth.WithCaller(ctx, auth.Caller{Subject: gitSubject, Role: auth.Admin}), env, e.GetPath())
}

// onForeignResolved notes how a foreign change ended.
func (s *Service) onForeignResolved(ctx context.Context, e *eventsv1.ForeignResolved, at time.Time) error {
	env, err := rules.ParseEnv("environment", e.GetEnvironment())
	if err != nil {
		return err
	}
	policy, err := s.foreignPolicy(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return s.forgetDecision(ctx, env, e)
	}
	if err != nil {
		return err
	}
	if err := s.report(ctx, env, 0, func(row *catalogv1.Environment) { rules.ResolveForeign(row, e, policy) }); err != nil {
		return err
	}
	if err := s.recordForeignEnd(ctx, env, e, at); err != nil {
		return err
	}
	return s.forgetDecision(ctx, env, e)
}

// onCommittedOver drops findings that a commit has ended.
func (s *Service) onCommittedOver(ctx context.Context, e *eventsv1.DeploymentCommitted, at time.Time) error {
	env, generation, ok := rules.EnvOfDeployment(e.GetDeployment())
	if !ok {
		return nil // told as an error by who moves the deployment
	}
	row, err := s.live(ctx, env)
	if err != nil || len(row.Msg.GetForeignChanges()) == 0 {
		return err
	}
	if err := s.report(ctx, env, generation, func(row *catalogv1.Environment) { rules.CommittedOver(row, e) }); err != nil {
		return err
	}
	return s.recordForeignEnd(ctx, env, nil, at)
}

func (s *Service) foreignPolicy(ctx context.Context, env rules.Env) (committerv1.ForeignPolicy, error) {
	c, err := s.current(ctx, env)
	return rules.ForeignPolicy(c.site.typ, c.site.repo), err
}
