package catalog

import (
	"context"
	"errors"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// gitPlace is a folder of a branch that is read.
type gitPlace struct {
	ref *committerv1.RepositoryRef
	// folder is where what is asked for begins; empty for all of the branch.
	folder string
	// env is whose folder it is, by its name; empty for all of a repository.
	env string
}

// placeOf tells where an environment stands in Git, or one part of it. It is the one place that readings of Git know it from. An
// environment that is gone is where its last deployment was: what is left of it is its history.
func (s *Service) placeOf(ctx context.Context, env rules.Env, part string) (gitPlace, error) {
	row, err := s.environment(ctx, env)
	if errs.Is(err, errs.NotFound) && part == "" {
		return s.lastPlaceOf(ctx, env, err)
	}
	if err != nil {
		return gitPlace{}, err
	}
	site, err := s.standing(ctx, env, row.Msg)
	if err != nil {
		return gitPlace{}, err
	}
	if part == "" {
		return gitPlace{ref: repositoryRef(site.repo), folder: site.path, env: env.Name()}, nil
	}
	var known []string
	for _, pp := range site.place.GetParts() {
		if pp.GetId() == part {
			return s.pinnedPlace(ctx, env, pp.GetRepository(), pp.GetUrl(), pp.GetBranch(), pp.GetPath())
		}
		known = append(known, pp.GetId())
	}
	if len(known) == 0 {
		return gitPlace{}, errs.InvalidField("part", "%s is written to one place and has no parts; leave it out", env.Name())
	}
	return gitPlace{}, errs.InvalidField("part", "%s has no part %q; it has %s", env.Name(), part, strings.Join(known, ", "))
}

// pinnedPlace takes credentials and the like from the repository as it is now: they may have been renewed.
func (s *Service) pinnedPlace(ctx context.Context, env rules.Env, repository, url, branch, path string) (gitPlace, error) {
	row, err := repositoryKind.get(ctx, s, "repository", repository)
	if err != nil {
		return gitPlace{}, err
	}
	ref := repositoryRef(row.Msg)
	ref.Url, ref.Branch = url, branch
	return gitPlace{ref: ref, folder: path, env: env.Name()}, nil
}

// lastPlaceOf gives where an environment was that is gone; gone is the error to answer when there never was one.
func (s *Service) lastPlaceOf(ctx context.Context, env rules.Env, gone error) (gitPlace, error) {
	for row, err := range deployments.Range(ctx, s.cfg.KV, store.ScanRange{Prefix: envKey(env) + "/", Reverse: true, Limit: 8}) {
		if err != nil {
			return gitPlace{}, err
		}
		d := row.Msg
		if d.GetPath() == "" || d.GetRepository() == "" {
			continue
		}
		repo, err := repositoryKind.get(ctx, s, "repository", d.GetRepository())
		if errs.Is(err, errs.NotFound) || err == nil && hasPlaceholders(repo.Msg) {
			return gitPlace{}, gone // nobody knows any more where that was
		}
		if err != nil {
			return gitPlace{}, err
		}
		owned, err := s.ownedByOthers(ctx, repo.Msg, d)
		if err != nil {
			return gitPlace{}, err
		}
		if owned {
			return gitPlace{}, gone
		}
		ref := repositoryRef(repo.Msg)
		ref.Branch = d.GetBranch()
		return gitPlace{ref: ref, folder: d.GetPath(), env: env.Name()}, nil
	}
	return gitPlace{}, gone
}

// ownedByOthers reports whether the folder of an environment that is gone is another one's now, or has one above or below it.
func (s *Service) ownedByOthers(ctx context.Context, repo *catalogv1.Repository, d *catalogv1.Deployment) (bool, error) {
	at := rules.Location{URL: repo.GetUrl(), Branch: d.GetBranch()}
	for _, path := range append(rules.Ancestors(d.GetPath()), d.GetPath()) {
		_, err := s.cfg.KV.Get(ctx, ownerPathKey(at, path))
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return err == nil, err
		}
	}
	below, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: ownerPathKey(at, d.GetPath()) + "/", Limit: 1})
	return len(below) > 0, err
}

// gitParent reads the parent of a reading of Git: an environment, or a repository.
func (s *Service) gitParent(ctx context.Context, parent, part string) (gitPlace, error) {
	if !strings.HasPrefix(parent, "repositories/") {
		env, err := rules.ParseEnv("parent", parent)
		if err != nil {
			return gitPlace{}, err
		}
		return s.placeOf(ctx, env, part)
	}
	if part != "" {
		return gitPlace{}, errs.InvalidField("part", "is for an environment; %s has no parts", parent)
	}
	row, err := repositoryKind.get(ctx, s, "parent", parent)
	if err != nil {
		return gitPlace{}, err
	}
	if hasPlaceholders(row.Msg) {
		return gitPlace{}, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s has placeholders in its URL or branch, so that it stands for many; ask by an environment that is written there", parent).
			With("state", "PLACEHOLDERS")
	}
	return gitPlace{ref: repositoryRef(row.Msg)}, nil
}

func hasPlaceholders(r *catalogv1.Repository) bool {
	return strings.ContainsAny(r.GetUrl()+r.GetBranch(), "{}")
}

// below gives the path in the branch of one that is relative to the place.
func (p gitPlace) below(path string) string {
	switch {
	case path == "":
		return p.folder
	case p.folder == "":
		return path
	default:
		return p.folder + "/" + path
	}
}
