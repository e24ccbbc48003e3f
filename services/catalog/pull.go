package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// pullRecords are the committer's records of open pull requests. The catalog only looks whether there is one.
type pullRecords interface {
	LastPull(ctx context.Context, subject string) (events.Delivery, bool, error)
}

// byPullRequest adds to a command how it reaches its branch, and what a pull request says.
func (s *Service) byPullRequest(cmd *eventsv1.DeploymentRequested, c current, d *catalogv1.Deployment) {
	cmd.WriteMode = rules.WriteModeOf(c.site.typ, c.site.repo)
	if !rules.ByPullRequest(cmd.GetWriteMode()) {
		return
	}
	cmd.PullRequest = &eventsv1.PullRequestText{EnvironmentType: c.row.Msg.GetType(), Summary: d.GetSummary()}
	if s.cfg.PublicURL != "" {
		cmd.PullRequest.Link = strings.TrimRight(s.cfg.PublicURL, "/") + "/#/" + c.env.App + "/" + c.env.ID + "/history"
	}
}

// unwatched reports whether nobody watches the open pull request of an environment any more: the event server lost the record. Its
// command, sent again, finds the pull request by its branch. During an outage nobody can tell.
func (o *outbox) unwatched(ctx context.Context, env rules.Env) (bool, error) {
	subject, err := events.PullSubject(env.App, env.ID)
	if err != nil {
		return false, err
	}
	_, found, err := o.cfg.Bus.LastPull(ctx, subject)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) {
		return false, nil
	}
	return !found, err
}

// maxPullName bounds the name of a label or reviewer.
const maxPullName = 100

// checkReviewing checks what a repository says of the service around its host, and that it can have the pull requests that it asks
// for.
func checkReviewing(r *catalogv1.Repository) error {
	if err := rules.CheckWriteMode("repository.write_mode", r.GetWriteMode(), r); err != nil {
		return err
	}
	f := r.GetForge()
	if f == nil {
		return nil
	}
	if f.GetKind() == committerv1.Forge_KIND_UNSPECIFIED {
		return errs.InvalidField("repository.forge.kind", "is missing; give github, gitlab or gitea (also for Forgejo), or leave repository.forge out")
	}
	if strings.HasPrefix(r.GetUrl(), "embedded:") {
		return errs.InvalidField("repository.forge", "is of no use to a repository that Towpath itself keeps; leave it out")
	}
	for field, names := range map[string][]string{"labels": f.GetLabels(), "reviewers": f.GetReviewers()} {
		for i, name := range names {
			if strings.TrimSpace(strings.TrimPrefix(name, "team:")) == "" || len(name) > maxPullName || strings.ContainsFunc(name, unicode.IsControl) {
				return errs.InvalidField(fmt.Sprintf("repository.forge.%s[%d]", field, i), "is not the name of anything; give 1 to %d printable characters", maxPullName)
			}
		}
	}
	base, project := forge.Address(r.GetUrl())
	kinds := map[committerv1.Forge_Kind]forge.Kind{
		committerv1.Forge_KIND_GITHUB: forge.GitHub, committerv1.Forge_KIND_GITLAB: forge.GitLab, committerv1.Forge_KIND_GITEA: forge.Gitea,
	}
	_, err := forge.New(forge.Config{Kind: kinds[f.GetKind()], URL: cmp.Or(f.GetUrl(), base), Project: cmp.Or(f.GetProject(), project)})
	return inRepository(err)
}

// inRepository names the fields of a service's configuration as they are in a repository.
func inRepository(err error) error {
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	return errs.InvalidField("repository."+e.Fields[0].Path, "%s", e.Fields[0].Problem)
}

// checkTypeReviewing refuses a type that asks for pull requests where one of its environments can have none.
func checkTypeReviewing(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType) error {
	if !rules.ByPullRequest(msg.GetWriteMode()) || old != nil && old.GetWriteMode() == msg.GetWriteMode() && old.GetRepository() == msg.GetRepository() {
		return nil
	}
	if msg.GetRepository() != "" {
		repo, err := repositories.Get(ctx, s.cfg.KV, strings.TrimPrefix(msg.GetRepository(), "repositories/"))
		if err != nil {
			return orNotFound(err, msg.GetRepository(), "see `tow repo list`")
		}
		return rules.CheckWriteMode("environment_type.write_mode", msg.GetWriteMode(), repo.Msg)
	}
	var wrong error
	_, err := find(ctx, s, environments, func(e *catalogv1.Environment) bool {
		if e.GetType() != msg.GetName() || wrong != nil {
			return false
		}
		env, err := rules.ParseEnv("", e.GetName())
		if err != nil {
			return false
		}
		var unused store.Tx
		if site, err := s.siteOf(ctx, env, e.GetType(), &unused); err == nil {
			wrong = rules.CheckWriteMode("environment_type.write_mode", msg.GetWriteMode(), site.repo)
		}
		return wrong != nil
	})
	return errors.Join(err, wrong)
}

// mayReview refuses a deployment that would need a pull request where there can be none: its type asks for one, and the repository
// changed since.
func mayReview(c current) error {
	return rules.CheckWriteMode("environment_type.write_mode", rules.WriteModeOf(c.site.typ, c.site.repo), c.site.repo)
}
