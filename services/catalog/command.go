package catalog

import (
	"context"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

const (
	// typePrefix is what CloudEvents types have and the API's event types do not.
	typePrefix = "dev.towpath."
	source     = "//towpath.dev/catalog"
)

func repositoryRef(r *catalogv1.Repository) *committerv1.RepositoryRef {
	return &committerv1.RepositoryRef{
		Name: r.GetName(), Url: r.GetUrl(), Branch: r.GetBranch(), Credentials: r.GetCredentials(), PushBudget: r.GetPushBudget(),
		Signing: r.GetSigning(), Forge: r.GetForge(),
	}
}

// commandSubject is where the committer that writes the branch listens.
func commandSubject(env rules.Env, ref *committerv1.RepositoryRef) (string, error) {
	return events.CommandSubject(events.Shard(ref.GetUrl(), ref.GetBranch()), env.App, env.ID)
}

// cancelSubject is where the committer is asked to withdraw a deployment: beside its command, not behind it.
func cancelSubject(env rules.Env, ref *committerv1.RepositoryRef) (string, error) {
	subject, err := commandSubject(env, ref)
	return subject + ".cancel", err
}

// commandID is the idempotency key of a deployment's command.
func commandID(d *catalogv1.Deployment) string {
	return d.GetName() + "#" + d.GetRequestId() + rules.ClaimsRound(d)
}

// command builds what the committer needs to bring a deployment into Git. All of it comes from rows: the deployment pins
// intent, place and plan, its set is immutable.
func (s *Service) command(ctx context.Context, env rules.Env, d *catalogv1.Deployment) (*eventsv1.DeploymentRequested, error) {
	c, err := s.current(ctx, env)
	if err == nil {
		c, err = s.at(ctx, c, d)
	}
	if err != nil {
		return nil, err
	}
	state, err := s.state(ctx, d.GetIntent())
	if err != nil {
		return nil, err
	}
	cmd := &eventsv1.DeploymentRequested{
		Deployment: d.GetName(), Generation: d.GetGeneration(), RequestId: commandID(d),
		Mode:       eventsv1.DeploymentRequested_MODE_RENDER,
		Repository: repositoryRef(c.site.repo), Path: d.GetPath(), Set: d.GetIntent().GetSet(),
		Author: author(d.GetActor()), Message: d.GetMessage(), RequestTime: d.GetCreateTime(), RollbackOf: d.GetRollbackOf(),
		ExpectBaseTree: d.GetPlannedBaseTree(), ExpectTree: d.GetPlannedTree(),
		Target:    targetRef(c.site.target),
		Namespace: c.row.Msg.GetNamespace(), AutomaticSync: c.site.typ.GetAutomaticSync(), SelfHeal: c.site.typ.GetSelfHeal(),
		SyncPolicy: c.site.typ.GetSyncPolicy(), EnvironmentType: c.site.typ.GetName(), PruneHeld: c.row.Msg.GetPruneHeld(),
		ForeignPolicy: rules.ForeignPolicy(c.site.typ, c.site.repo),
	}
	s.byPullRequest(cmd, c, d)
	if err := s.commandParts(ctx, c, d, cmd); err != nil {
		return nil, err
	}
	switch d.GetKind() {
	case catalogv1.Deployment_KIND_REMOVAL:
		cmd.Mode = eventsv1.DeploymentRequested_MODE_REMOVE
		return cmd, nil
	case catalogv1.Deployment_KIND_ROLLBACK:
		if d.GetRerender() {
			break
		}
		to, err := s.rollbackOf(ctx, d)
		if err != nil {
			return nil, err
		}
		restoreIn(cmd, c.site.place, to)
	case catalogv1.Deployment_KIND_UNSPECIFIED, catalogv1.Deployment_KIND_CHANGE, catalogv1.Deployment_KIND_PROMOTION, catalogv1.Deployment_KIND_MOVE:
	}
	if rules.ClaimsRound(d) != "" {
		cmd.Mode = eventsv1.DeploymentRequested_MODE_CLAIMS
	}
	cmd.Input, err = s.input(ctx, c, state)
	return cmd, err
}

func (s *Service) rollbackOf(ctx context.Context, d *catalogv1.Deployment) (*catalogv1.Deployment, error) {
	env, generation, _ := rules.EnvOfDeployment(d.GetRollbackOf())
	return s.deployment(ctx, env, generation)
}

// author is who the commit is by. The catalog knows subjects only; the committer makes an address of it.
func author(subject string) *eventsv1.Author {
	return &eventsv1.Author{Subject: subject, DisplayName: subject[strings.LastIndexByte(subject, '/')+1:]}
}
