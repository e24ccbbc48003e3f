package catalog

import (
	"context"
	"errors"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// checkLayout checks what a repository says about where environments stand. Environments that stand already stay where they are,
// so that nothing of it is refused on their account, but what would put two of them into the same folder is.
func checkLayout(ctx context.Context, s *Service, old, msg *catalogv1.Repository, tx *store.Tx) error {
	if err := rules.CheckSplits("repository.splits", msg); err != nil {
		return err
	}
	layout, err := s.splitsOf(ctx, msg, tx)
	if err != nil {
		return err
	}
	for i, split := range msg.GetSplits() {
		field := "repository.splits[" + itoa(i) + "].repository"
		to := layout.Splits[split.GetRepository()]
		if len(to.GetSplits()) > 0 {
			return errs.InvalidField(field, "%s has splits of its own; name one that has none", to.GetName())
		}
		if rules.ByPullRequest(to.GetWriteMode()) {
			return notByPullRequest(msg.GetName(), to.GetName())
		}
	}
	if len(msg.GetSplits()) > 0 {
		if rules.ByPullRequest(msg.GetWriteMode()) {
			return notByPullRequest(msg.GetName(), msg.GetName())
		}
		if err := rules.CheckSplitPlaces("repository.splits", layout); err != nil {
			return err
		}
	}
	if old == nil {
		return nil
	}
	if err := s.checkAsSplit(ctx, old, msg, tx); err != nil {
		return err
	}
	if sameLayout(old, msg) {
		return nil
	}
	return s.checkFollowers(ctx, msg)
}

func sameLayout(a, b *catalogv1.Repository) bool {
	if a.GetUrl() != b.GetUrl() || a.GetBranch() != b.GetBranch() || a.GetPathTemplate() != b.GetPathTemplate() || len(a.GetSplits()) != len(b.GetSplits()) {
		return false
	}
	for i, split := range a.GetSplits() {
		if split.GetRepository() != b.GetSplits()[i].GetRepository() {
			return false
		}
	}
	return true
}

// checkAsSplit checks what a change of a repository means for repositories that have it as a split, and for environments that
// stand in several repositories.
func (s *Service) checkAsSplit(ctx context.Context, old, msg *catalogv1.Repository, tx *store.Tx) error {
	key := repositories.Key(strings.TrimPrefix(msg.GetName(), "repositories/"))
	if len(msg.GetSplits()) > 0 && len(old.GetSplits()) == 0 {
		err := s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "given splits of its own", func() (string, error) { return s.splitBy(ctx, msg.GetName()) })
		if err != nil {
			return err
		}
	}
	if rules.ByPullRequest(msg.GetWriteMode()) && !rules.ByPullRequest(old.GetWriteMode()) {
		err := s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "written by pull requests, because what is split over several repositories cannot be", func() (string, error) {
			if by, err := s.splitBy(ctx, msg.GetName()); by != "" || err != nil {
				return by, err
			}
			return s.placed(ctx, msg.GetName(), func(e *catalogv1.Environment) bool {
				return len(e.GetPlace().GetParts())+len(e.GetLayoutPlace().GetParts()) > 0
			})
		})
		if err != nil {
			return err
		}
	}
	if sameLayout(old, msg) {
		return nil
	}
	for main, err := range s.allRepositories(ctx) {
		if err != nil {
			return err
		}
		for _, split := range main.GetSplits() {
			if split.GetRepository() != msg.GetName() {
				continue
			}
			var unused store.Tx
			layout, err := s.splitsOf(ctx, main, &unused)
			if err != nil {
				return err
			}
			layout.Splits[msg.GetName()] = msg
			if err := rules.CheckSplitPlaces("repository", layout); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) allRepositories(ctx context.Context) func(func(*catalogv1.Repository, error) bool) {
	return func(yield func(*catalogv1.Repository, error) bool) {
		for e, err := range store.All(ctx, s.cfg.KV, repositories.Prefix()) {
			row := store.Row[*catalogv1.Repository]{}
			if err == nil {
				row, err = repositories.Decode(e)
			}
			if !yield(row.Msg, err) || err != nil {
				return
			}
		}
	}
}

// splitBy names a repository that has the named one as a split, "" for none.
func (s *Service) splitBy(ctx context.Context, name string) (string, error) {
	return find(ctx, s, repositories, func(r *catalogv1.Repository) bool { return hasSplit(r, name) })
}

func hasSplit(r *catalogv1.Repository, name string) bool {
	for _, split := range r.GetSplits() {
		if split.GetRepository() == name {
			return true
		}
	}
	return false
}

// repositoryUser names who refers to a repository, "" for nobody.
func (s *Service) repositoryUser(ctx context.Context, name string) (string, error) {
	for _, look := range []func() (string, error){
		func() (string, error) {
			return find(ctx, s, applications, func(a *catalogv1.Application) bool { return a.GetRepository() == name })
		},
		func() (string, error) {
			return find(ctx, s, environmentTypes, func(t *catalogv1.EnvironmentType) bool { return t.GetRepository() == name })
		},
		func() (string, error) { return s.splitBy(ctx, name) },
		func() (string, error) { return s.placed(ctx, name, nil) },
	} {
		if by, err := look(); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// checkTypeLayout checks the repository of an environment type. Environments of it stay where they are.
func checkTypeLayout(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType, tx *store.Tx) error {
	if name := msg.GetRepository(); name != "" && name != old.GetRepository() {
		repo, err := refer(ctx, s, tx, repositories, "repositories", "environment_type.repository", name)
		if err != nil {
			return err
		}
		if len(repo.GetSplits()) > 0 && rules.ByPullRequest(msg.GetWriteMode()) {
			return notByPullRequest(repo.GetName(), msg.GetName())
		}
	}
	if old == nil || !rules.ByPullRequest(msg.GetWriteMode()) || rules.ByPullRequest(old.GetWriteMode()) {
		return nil
	}
	key := environmentTypes.Key(strings.TrimPrefix(msg.GetName(), "environmentTypes/"))
	return s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "written by pull requests, because what is split over several repositories cannot be", func() (string, error) {
		return find(ctx, s, environments, func(e *catalogv1.Environment) bool {
			return e.GetType() == msg.GetName() && len(e.GetPlace().GetParts())+len(e.GetLayoutPlace().GetParts()) > 0
		})
	})
}

// layoutView tells where layouts put environments, reading each row once however many environments there are.
type layoutView struct {
	s     *Service
	apps  map[string]*catalogv1.Application
	types map[string]*catalogv1.EnvironmentType
	repos map[string]*catalogv1.Repository
}

func (s *Service) newLayoutView() *layoutView {
	return &layoutView{s, map[string]*catalogv1.Application{}, map[string]*catalogv1.EnvironmentType{}, map[string]*catalogv1.Repository{}}
}

// cached reads a row once; nil when it is not there.
func cached[T resource](ctx context.Context, s *Service, known map[string]T, t store.Table[T], id string) (T, error) {
	if m, ok := known[id]; ok {
		return m, nil
	}
	row, err := t.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err == nil {
		known[id] = row.Msg
	}
	return row.Msg, err
}

func (v *layoutView) repo(ctx context.Context, name string) (*catalogv1.Repository, error) {
	return cached(ctx, v.s, v.repos, repositories, strings.TrimPrefix(name, "repositories/"))
}

// place gives where the layout puts an environment, and by which layout.
func (v *layoutView) place(ctx context.Context, env rules.Env, typeName string) (*catalogv1.Place, rules.Layout, error) {
	l := rules.Layout{Splits: map[string]*catalogv1.Repository{}}
	app, err := cached(ctx, v.s, v.apps, applications, env.App)
	if err != nil {
		return nil, l, err
	}
	typ, err := cached(ctx, v.s, v.types, environmentTypes, typeID(typeName))
	if err != nil {
		return nil, l, err
	}
	name := app.GetRepository()
	if typ.GetRepository() != "" {
		name = typ.GetRepository()
	}
	if l.Main, err = v.repo(ctx, name); err != nil {
		return nil, l, err
	}
	for _, split := range l.Main.GetSplits() {
		if l.Splits[split.GetRepository()], err = v.repo(ctx, split.GetRepository()); err != nil {
			return nil, l, err
		}
	}
	if l.Main == nil || app == nil || typ == nil {
		return nil, l, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "%s refers to what is not there", env.Name())
	}
	place, err := l.Place(namesOf(env, app, typ))
	return place, l, err
}

// show adds to an environment where it stands, and where its layout would put it when that is elsewhere. A layout that cannot
// tell, as for want of a team, says nothing here: who moves the environment hears why.
func (v *layoutView) show(ctx context.Context, env rules.Env, e *catalogv1.Environment) *catalogv1.Environment {
	e.LayoutPlace = nil
	place, _, err := v.place(ctx, env, e.GetType())
	if err != nil {
		return e
	}
	if e.GetPlace() == nil {
		e.Place = place
	}
	if !rules.SamePlace(e.GetPlace(), place) {
		e.LayoutPlace = place
	}
	return e
}

// checkFollowers checks that a changed repository gives each environment that follows it folders of its own.
func (s *Service) checkFollowers(ctx context.Context, msg *catalogv1.Repository) error {
	v := s.newLayoutView()
	v.repos[strings.TrimPrefix(msg.GetName(), "repositories/")] = msg
	var all []rules.Standing
	for e, err := range store.All(ctx, s.cfg.KV, environments.Prefix()) {
		if err != nil {
			return err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return err
		}
		place, layout, err := v.place(ctx, envOfKey(row.ID), row.Msg.GetType())
		if err != nil {
			if errs.KindOf(err) == errs.Invalid || errs.KindOf(err) == errs.Internal {
				continue // it has no place in this layout, and who moves it hears why
			}
			return err
		}
		if layout.Main.GetName() == msg.GetName() || hasSplit(layout.Main, msg.GetName()) {
			all = append(all, rules.Standing{Env: row.Msg.GetName(), At: place})
		}
	}
	return rules.CheckTogether("repository.path_template", all)
}
