package catalog

import (
	"context"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// What an empty reference means on create.
const (
	defaultRepository = "repositories/default"
	defaultTarget     = "targets/default"
	defaultBranch     = "main"
)

func itoa(i int) string { return strconv.Itoa(i) }

var applicationKind = collection[*catalogv1.Application]{
	table: applications, name: "applications", singular: "application", maxID: rules.MaxAppID,
	mutable: []string{"display_name", "owner", "labels", "repository"},
	complete: func(ctx context.Context, s *Service, old, msg *catalogv1.Application, tx *store.Tx) error {
		if msg.GetRepository() == "" {
			msg.Repository = defaultRepository
		}
		if msg.GetRepository() == old.GetRepository() {
			return nil
		}
		_, err := refer(ctx, s, tx, repositories, "repositories", "application.repository", msg.GetRepository())
		return err
	},
	usedBy: func(ctx context.Context, s *Service, name string) (string, error) {
		id := strings.TrimPrefix(name, "applications/")
		if by, err := s.environmentOf(ctx, id); by != "" || err != nil {
			return by, err
		}
		return s.draftOf(ctx, id)
	},
}

var environmentTypeKind = collection[*catalogv1.EnvironmentType]{
	table: environmentTypes, name: "environmentTypes", singular: "environment_type", maxID: rules.MaxID,
	mutable: []string{"display_name", "target", "automatic_sync", "self_heal", "defaults", "default_ttl", "guardrails", "approvals", "freezes", "provisioning_deadline", "repository", "write_mode", "foreign_policy", "sync_policy"},
	complete: func(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType, tx *store.Tx) error {
		if err := rules.CheckFreezes("environment_type.freezes", msg.GetFreezes()); err != nil {
			return err
		}
		if msg.GetTarget() == "" {
			msg.Target = defaultTarget
		}
		if err := checkDefaults(ctx, s, old, msg); err != nil {
			return err
		}
		if err := checkGuardrails(ctx, s, old, msg); err != nil {
			return err
		}
		if err := checkSecretRules(ctx, s, old, msg, tx); err != nil {
			return err
		}
		if err := checkTypeReviewing(ctx, s, old, msg); err != nil {
			return err
		}
		if err := rules.CheckProvisioning("environment_type.provisioning_deadline", msg.GetProvisioningDeadline()); err != nil {
			return err
		}
		if err := checkTypeLayout(ctx, s, old, msg, tx); err != nil {
			return err
		}
		if msg.GetTarget() == old.GetTarget() {
			return nil
		}
		if _, err := refer(ctx, s, tx, targets, "targets", "environment_type.target", msg.GetTarget()); err != nil || old == nil {
			return err
		}
		key := environmentTypes.Key(strings.TrimPrefix(msg.GetName(), "environmentTypes/"))
		return s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "moved to another target",
			func() (string, error) { return s.environmentOfType(ctx, msg.GetName()) })
	},
	usedBy: func(ctx context.Context, s *Service, name string) (string, error) {
		return s.environmentOfType(ctx, name)
	},
}

var targetKind = collection[*catalogv1.Target]{
	table: targets, name: "targets", singular: "target", maxID: rules.MaxID,
	mutable: []string{"display_name", "engine", "kubeconfig", "context", "server", "credentials", "request_limit", "engine_settings"},
	complete: func(_ context.Context, _ *Service, _, msg *catalogv1.Target, _ *store.Tx) error {
		if err := checkTargetAccess(msg); err != nil {
			return err
		}
		if msg.GetEngine() == catalogv1.Target_ENGINE_UNSPECIFIED {
			msg.Engine = catalogv1.Target_ENGINE_NATIVE
		}
		if msg.GetEngine() != catalogv1.Target_ENGINE_NATIVE {
			return errs.InvalidField("target.engine", "%d is no engine; use ENGINE_NATIVE", msg.GetEngine())
		}
		return nil
	},
	usedBy: func(ctx context.Context, s *Service, name string) (string, error) {
		return find(ctx, s, environmentTypes, func(t *catalogv1.EnvironmentType) bool { return t.GetTarget() == name })
	},
}

var repositoryKind = collection[*catalogv1.Repository]{
	table: repositories, name: "repositories", singular: "repository", maxID: rules.MaxID,
	mutable:  []string{"display_name", "url", "branch", "path_template", "credentials", "push_budget", "write_mode", "forge", "signing", "foreign_policy", "splits"},
	complete: completeRepository,
	usedBy: func(ctx context.Context, s *Service, name string) (string, error) {
		return s.repositoryUser(ctx, name)
	},
}

var embeddedName = regexp.MustCompile(`^/[a-z0-9][a-z0-9._-]*$`)

func completeRepository(ctx context.Context, s *Service, old, msg *catalogv1.Repository, tx *store.Tx) error {
	if msg.GetBranch() == "" {
		msg.Branch = defaultBranch
	}
	if msg.GetPathTemplate() == "" {
		msg.PathTemplate = rules.DefaultPathTemplate
	}
	if err := rules.CheckURLTemplate("repository.url", msg.GetUrl()); err != nil {
		return err
	}
	if err := checkCloneURL(rules.Sample(msg.GetUrl())); err != nil {
		return err
	}
	if err := checkRepositoryAccess(old, msg); err != nil {
		return err
	}
	if err := rules.CheckBranchTemplate("repository.branch", msg.GetBranch()); err != nil {
		return err
	}
	if err := rules.CheckPathTemplate("repository.path_template", msg.GetPathTemplate()); err != nil {
		return err
	}
	if err := checkReviewing(msg); err != nil {
		return err
	}
	if msg.GetPushBudget() < 0 {
		return errs.InvalidField("repository.push_budget", "is negative; give pushes a minute, or 0 for no limit")
	}
	return checkLayout(ctx, s, old, msg, tx)
}

// checkCloneURL checks what a committer can reach. Credentials in it would be a secret in the catalog.
func checkCloneURL(raw string) error {
	const field = "repository.url"
	if raw == "" {
		return errs.InvalidField(field, "is empty; give a clone URL such as https://git.example.com/team/deployments.git, or embedded:///deployments")
	}
	if _, ssh, err := sshURL(raw); ssh {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errs.InvalidField(field, "is no URL; give one such as https://git.example.com/team/deployments.git")
	case u.User != nil:
		return errs.InvalidField(field, "has a user or password in it; take it out and name the credentials in repository.credentials")
	case u.Scheme == "embedded" && u.Host == "" && embeddedName.MatchString(u.Path) && !strings.Contains(u.Path, ".."):
		return nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		return nil
	}
	return errs.InvalidField(field, "cannot be used; give an http, https or ssh clone URL (git@host:path too), or embedded:///{name} with lower-case letters, digits, \".\", \"_\" and \"-\"")
}

// environmentOf names an environment of the application, "" when it has none.
func (s *Service) environmentOf(ctx context.Context, app string) (string, error) {
	rows, _, err := environments.List(ctx, s.cfg.KV, store.List{Under: app + "/", PageSize: 1}, nil)
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].Msg.GetName(), nil
}

func (s *Service) environmentOfType(ctx context.Context, name string) (string, error) {
	return find(ctx, s, environments, func(e *catalogv1.Environment) bool { return e.GetType() == name })
}

// find names the first row that has it, "" when none has. It reads the whole table: only rare calls may use it.
func find[T resource](ctx context.Context, s *Service, t store.Table[T], has func(T) bool) (string, error) {
	for e, err := range store.All(ctx, s.cfg.KV, t.Prefix()) {
		if err != nil {
			return "", err
		}
		row, err := t.Decode(e)
		if err != nil {
			return "", err
		}
		if has(row.Msg) {
			return row.Msg.GetName(), nil
		}
	}
	return "", nil
}

// The handlers of these four kinds are all alike.

// CreateApplication makes an application.
func (s catalogServer) CreateApplication(ctx context.Context, r *catalogv1.CreateApplicationRequest) (*catalogv1.Application, error) {
	return applicationKind.create(ctx, s.Service, r.GetApplicationId(), r.GetApplication(), request{"applications", r.GetRequestId(), r})
}

// GetApplication gives an application.
func (s catalogServer) GetApplication(ctx context.Context, r *catalogv1.GetApplicationRequest) (*catalogv1.Application, error) {
	row, err := applicationKind.get(ctx, s.Service, "name", r.GetName())
	return row.Msg, err
}

// ListApplications lists applications by name.
func (s catalogServer) ListApplications(ctx context.Context, r *catalogv1.ListApplicationsRequest) (*catalogv1.ListApplicationsResponse, error) {
	list, next, err := applicationKind.list(ctx, s.Service, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListApplicationsResponse{Applications: list, NextPageToken: next}, err
}

// UpdateApplication changes an application.
func (s catalogServer) UpdateApplication(ctx context.Context, r *catalogv1.UpdateApplicationRequest) (*catalogv1.Application, error) {
	return applicationKind.update(ctx, s.Service, r.GetApplication(), r.GetUpdateMask())
}

// DeleteApplication removes an application without environments.
func (s catalogServer) DeleteApplication(ctx context.Context, r *catalogv1.DeleteApplicationRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, applicationKind.remove(ctx, s.Service, r.GetName(), r.GetEtag())
}

// CreateEnvironmentType makes an environment type.
func (s catalogServer) CreateEnvironmentType(ctx context.Context, r *catalogv1.CreateEnvironmentTypeRequest) (*catalogv1.EnvironmentType, error) {
	return environmentTypeKind.create(ctx, s.Service, r.GetEnvironmentTypeId(), r.GetEnvironmentType(), request{"environmentTypes", r.GetRequestId(), r})
}

// GetEnvironmentType gives an environment type.
func (s catalogServer) GetEnvironmentType(ctx context.Context, r *catalogv1.GetEnvironmentTypeRequest) (*catalogv1.EnvironmentType, error) {
	row, err := environmentTypeKind.get(ctx, s.Service, "name", r.GetName())
	return row.Msg, err
}

// ListEnvironmentTypes lists environment types by name.
func (s catalogServer) ListEnvironmentTypes(ctx context.Context, r *catalogv1.ListEnvironmentTypesRequest) (*catalogv1.ListEnvironmentTypesResponse, error) {
	list, next, err := environmentTypeKind.list(ctx, s.Service, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListEnvironmentTypesResponse{EnvironmentTypes: list, NextPageToken: next}, err
}

// UpdateEnvironmentType changes an environment type.
func (s catalogServer) UpdateEnvironmentType(ctx context.Context, r *catalogv1.UpdateEnvironmentTypeRequest) (*catalogv1.EnvironmentType, error) {
	return environmentTypeKind.update(ctx, s.Service, r.GetEnvironmentType(), r.GetUpdateMask())
}

// DeleteEnvironmentType removes an environment type that no environment has.
func (s catalogServer) DeleteEnvironmentType(ctx context.Context, r *catalogv1.DeleteEnvironmentTypeRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, environmentTypeKind.remove(ctx, s.Service, r.GetName(), r.GetEtag())
}

// CreateTarget makes a target.
func (s catalogServer) CreateTarget(ctx context.Context, r *catalogv1.CreateTargetRequest) (*catalogv1.Target, error) {
	return targetKind.create(ctx, s.Service, r.GetTargetId(), r.GetTarget(), request{"targets", r.GetRequestId(), r})
}

// GetTarget gives a target.
func (s catalogServer) GetTarget(ctx context.Context, r *catalogv1.GetTargetRequest) (*catalogv1.Target, error) {
	row, err := targetKind.get(ctx, s.Service, "name", r.GetName())
	return row.Msg, err
}

// ListTargets lists targets by name.
func (s catalogServer) ListTargets(ctx context.Context, r *catalogv1.ListTargetsRequest) (*catalogv1.ListTargetsResponse, error) {
	list, next, err := targetKind.list(ctx, s.Service, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListTargetsResponse{Targets: list, NextPageToken: next}, err
}

// UpdateTarget changes a target.
func (s catalogServer) UpdateTarget(ctx context.Context, r *catalogv1.UpdateTargetRequest) (*catalogv1.Target, error) {
	return targetKind.update(ctx, s.Service, r.GetTarget(), r.GetUpdateMask())
}

// DeleteTarget removes a target that no environment type names.
func (s catalogServer) DeleteTarget(ctx context.Context, r *catalogv1.DeleteTargetRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, targetKind.remove(ctx, s.Service, r.GetName(), r.GetEtag())
}

// CreateRepository makes a repository.
func (s catalogServer) CreateRepository(ctx context.Context, r *catalogv1.CreateRepositoryRequest) (*catalogv1.Repository, error) {
	return repositoryKind.create(ctx, s.Service, r.GetRepositoryId(), r.GetRepository(), request{"repositories", r.GetRequestId(), r})
}

// GetRepository gives a repository.
func (s catalogServer) GetRepository(ctx context.Context, r *catalogv1.GetRepositoryRequest) (*catalogv1.Repository, error) {
	row, err := repositoryKind.get(ctx, s.Service, "name", r.GetName())
	return row.Msg, err
}

// ListRepositories lists repositories by name.
func (s catalogServer) ListRepositories(ctx context.Context, r *catalogv1.ListRepositoriesRequest) (*catalogv1.ListRepositoriesResponse, error) {
	list, next, err := repositoryKind.list(ctx, s.Service, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListRepositoriesResponse{Repositories: list, NextPageToken: next}, err
}

// UpdateRepository changes a repository.
func (s catalogServer) UpdateRepository(ctx context.Context, r *catalogv1.UpdateRepositoryRequest) (*catalogv1.Repository, error) {
	return repositoryKind.update(ctx, s.Service, r.GetRepository(), r.GetUpdateMask())
}

// DeleteRepository removes a repository that no application names.
func (s catalogServer) DeleteRepository(ctx context.Context, r *catalogv1.DeleteRepositoryRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, repositoryKind.remove(ctx, s.Service, r.GetName(), r.GetEtag())
}
