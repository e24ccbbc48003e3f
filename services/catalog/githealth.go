package catalog

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

const (
	// maxBranches bounds the branches of one answer: a repository may have one for each environment.
	maxBranches = 200
	// healthCalls bounds the questions to the committer at the same time.
	healthCalls = 16
)

// standsIn is a branch of a repository with the environments that stand in it.
type standsIn struct {
	url, branch string
	envs        []rules.Env
	first       *catalogv1.Environment
}

// branchesOf gives the branches of a repository that environments stand in, those with the most environments first. A repository
// that stands for one branch has that one in any case.
func (s *Service) branchesOf(ctx context.Context, repo *catalogv1.Repository) ([]*standsIn, error) {
	all := map[[2]string]*standsIn{}
	branch := func(url, name string) *standsIn {
		b := all[[2]string{url, name}]
		if b == nil {
			b = &standsIn{url: url, branch: name}
			all[[2]string{url, name}] = b
		}
		return b
	}
	if !hasPlaceholders(repo) {
		branch(repo.GetUrl(), repo.GetBranch())
	}
	for e, err := range store.All(ctx, s.cfg.KV, environments.Prefix()) {
		if err != nil {
			return nil, err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return nil, err
		}
		seen := map[*standsIn]bool{}
		for _, l := range rules.Locations(row.Msg.GetPlace()) {
			if l.Repository != repo.GetName() {
				continue
			}
			b := branch(l.URL, l.Branch)
			if !seen[b] {
				seen[b] = true
				b.envs = append(b.envs, envOfKey(row.ID))
				b.first = cmp.Or(b.first, row.Msg)
			}
		}
	}
	out := make([]*standsIn, 0, len(all))
	for _, b := range all {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *standsIn) int {
		return cmp.Or(len(b.envs)-len(a.envs), strings.Compare(a.url, b.url), strings.Compare(a.branch, b.branch))
	})
	return out[:min(len(out), maxBranches)], nil
}

// ref is the branch as the committer is to reach it: by the repository's credentials of now.
func (b *standsIn) ref(repo *catalogv1.Repository) *committerv1.RepositoryRef {
	ref := repositoryRef(repo)
	ref.Url, ref.Branch = b.url, b.branch
	return ref
}

// visible leaves those branches whose environments the caller may read: where each has its own, their names tell who there is.
func (s *Service) visible(ctx context.Context, branches []*standsIn) ([]*standsIn, error) {
	caller, ok := auth.CallerFrom(ctx)
	if !ok {
		return branches, nil // this process itself
	}
	var out []*standsIn
	for _, b := range branches {
		for _, env := range b.envs {
			d, err := s.Authorizer().Decide(ctx, caller, auth.Read, auth.ParseResource(env.Name()))
			if err != nil {
				return nil, err
			}
			if d.Allowed {
				out = append(out, b)
				break
			}
		}
	}
	return out, nil
}

// GetRepositoryHealth tells how the branches of a repository do, from what the committer knows. Nobody asks the host.
func (s gitServer) GetRepositoryHealth(ctx context.Context, r *catalogv1.GetRepositoryHealthRequest) (*catalogv1.GetRepositoryHealthResponse, error) {
	row, err := repositoryKind.get(ctx, s.Service, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	branches, err := s.branchesOf(ctx, row.Msg)
	if err == nil && hasPlaceholders(row.Msg) {
		branches, err = s.visible(ctx, branches)
	}
	if err != nil {
		return nil, err
	}
	out := &catalogv1.GetRepositoryHealthResponse{Branches: make([]*catalogv1.BranchHealth, len(branches))}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(healthCalls)
	for i, b := range branches {
		group.Go(func() error {
			h, err := s.cfg.Committer.GetRepositoryHealth(ctx, &committerv1.GetRepositoryHealthRequest{Repository: b.ref(row.Msg)})
			out.Branches[i] = &catalogv1.BranchHealth{Url: b.url, Branch: b.branch, Health: h, Environments: int32(min(len(b.envs), 1<<30))}
			return rpc.FromStatus(err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// DiagnoseRepository has the committer try all that a deployment needs of a repository.
func (s gitServer) DiagnoseRepository(ctx context.Context, r *catalogv1.DiagnoseRepositoryRequest) (*committerv1.Diagnosis, error) {
	row, err := repositoryKind.get(ctx, s.Service, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	ask := &committerv1.DiagnoseRepositoryRequest{Repository: repositoryRef(row.Msg), WriteMode: row.Msg.GetWriteMode()}
	if r.GetEnvironment() != "" || hasPlaceholders(row.Msg) {
		if err := s.diagnoseFor(ctx, ask, row.Msg, r.GetEnvironment()); err != nil {
			return nil, err
		}
	}
	d, err := s.cfg.Committer.DiagnoseRepository(ctx, ask)
	return d, rpc.FromStatus(err)
}

// diagnoseFor aims a diagnosis at the branch that an environment is written to, or would be.
func (s *Service) diagnoseFor(ctx context.Context, ask *committerv1.DiagnoseRepositoryRequest, repo *catalogv1.Repository, environment string) error {
	if environment == "" {
		branches, err := s.branchesOf(ctx, repo)
		if err != nil {
			return err
		}
		if len(branches) == 0 {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
				"%s has placeholders in its URL or branch, and no environment stands in it yet; name the environment that it is to be tried for, as with `tow repo doctor %s --env shop/dev`",
				repo.GetName(), strings.TrimPrefix(repo.GetName(), "repositories/")).With("state", "PLACEHOLDERS")
		}
		ask.Repository = branches[0].ref(repo)
		environment = branches[0].first.GetName()
	}
	env, err := rules.ParseEnv("environment", environment)
	if err != nil {
		return err
	}
	row, err := s.environment(ctx, env)
	if err != nil {
		return err
	}
	if typ, err := environmentTypes.Get(ctx, s.cfg.KV, typeID(row.Msg.GetType())); err == nil && typ.Msg.GetWriteMode() != committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		ask.WriteMode = typ.Msg.GetWriteMode()
	}
	for _, l := range append(rules.Locations(row.Msg.GetPlace()), rules.Locations(row.Msg.GetLayoutPlace())...) {
		if l.Repository == repo.GetName() {
			ask.Repository.Url, ask.Repository.Branch = l.URL, l.Branch
			return nil
		}
	}
	// One that does not stand in it may be about to: by a new layout, or a type that is to have it.
	return s.fillFor(ctx, ask.GetRepository(), env, row.Msg)
}

// fillFor fills the placeholders of a repository's URL and branch as if the environment were written to it.
func (s *Service) fillFor(ctx context.Context, ref *committerv1.RepositoryRef, env rules.Env, row *catalogv1.Environment) error {
	app, err := applications.Get(ctx, s.cfg.KV, env.App)
	if err != nil {
		return orNotFound(err, "applications/"+env.App, "")
	}
	typ, err := environmentTypes.Get(ctx, s.cfg.KV, typeID(row.GetType()))
	if err != nil {
		return orNotFound(err, row.GetType(), "")
	}
	layout := rules.Layout{Main: &catalogv1.Repository{Name: ref.GetName(), Url: ref.GetUrl(), Branch: ref.GetBranch(), PathTemplate: "any"}}
	place, err := layout.Place(namesOf(env, app.Msg, typ.Msg))
	if err != nil {
		return err
	}
	ref.Url, ref.Branch = place.GetUrl(), place.GetBranch()
	return nil
}
