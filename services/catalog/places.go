package catalog

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// standing reads where an environment stands: where its row says, and for a row from before rows said so where the layout says.
func (s *Service) standing(ctx context.Context, env rules.Env, row *catalogv1.Environment) (site, error) {
	if row.GetPlace() == nil {
		return s.siteOf(ctx, env, row.GetType(), &store.Tx{})
	}
	return s.siteIn(ctx, env, row.GetType(), row.GetPlace())
}

// siteIn reads what belongs to a place.
func (s *Service) siteIn(ctx context.Context, env rules.Env, typeName string, place *catalogv1.Place) (site, error) {
	var p site
	app, err := applications.Get(ctx, s.cfg.KV, env.App)
	if err != nil {
		return p, orNotFound(err, "applications/"+env.App, "")
	}
	p.app = app.Msg
	typ, err := environmentTypes.Get(ctx, s.cfg.KV, typeID(typeName))
	if err != nil {
		return p, orNotFound(err, typeName, "")
	}
	p.typ = typ.Msg
	var unused store.Tx
	if p.target, err = refer(ctx, s, &unused, targets, "targets", "environment_type.target", p.typ.GetTarget()); err != nil {
		return p, err
	}
	var repos []*catalogv1.Repository
	for _, l := range rules.Locations(place) {
		repo, err := refer(ctx, s, &unused, repositories, "repositories", "environment.place", l.Repository)
		if err != nil {
			return p, err
		}
		repos = append(repos, repo)
	}
	p.stand(place, repos)
	return p, nil
}

// stand sets the place and its repositories, in the order of its locations.
func (p *site) stand(place *catalogv1.Place, repos []*catalogv1.Repository) {
	p.place, p.path, p.parts = place, place.GetPath(), nil
	for i, l := range rules.Locations(place) {
		r := proto.CloneOf(repos[i])
		r.Url, r.Branch, r.PathTemplate = l.URL, l.Branch, l.Path
		if i == 0 {
			p.repo = r
			continue
		}
		p.parts = append(p.parts, r)
	}
}

// layOut sets where the layout puts an environment.
func (s *Service) layOut(ctx context.Context, env rules.Env, p *site, tx *store.Tx) error {
	layout, err := s.layoutOf(ctx, p.app, p.typ, tx)
	if err != nil {
		return err
	}
	place, err := layout.Place(namesOf(env, p.app, p.typ))
	if err != nil {
		return err
	}
	if err := checkPlace(env, place); err != nil {
		return err
	}
	repos := []*catalogv1.Repository{layout.Main}
	for _, part := range place.GetParts() {
		repos = append(repos, layout.Splits[part.GetRepository()])
	}
	p.stand(place, repos)
	return checkPartsByPush(env.Name(), place, p.typ, repos...)
}

func namesOf(env rules.Env, app *catalogv1.Application, typ *catalogv1.EnvironmentType) rules.Names {
	return rules.Names{Env: env, Type: typeID(typ.GetName()), Owner: app.GetOwner()}
}

// checkPlace checks what only the filled templates show.
func checkPlace(env rules.Env, place *catalogv1.Place) error {
	for _, l := range rules.Locations(place) {
		if err := checkCloneURL(l.URL); err != nil {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH, "the layout of %s makes the clone URL %q, which cannot be used; change the url of %s",
				env.Name(), l.URL, l.Repository).Because(err).With("path", l.Path)
		}
		if len(l.Path) > maxFolder {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH, "the folder of %s is longer than %d characters; change the path_template of %s",
				env.Name(), maxFolder, l.Repository).With("path", l.Path)
		}
	}
	return nil
}

// maxFolder leaves room for the files below it: paths in a repository have 1,024 bytes at the most.
const maxFolder = 700

// layoutOf reads the layout that environments of an application and type follow: the type's repository, else the application's.
func (s *Service) layoutOf(ctx context.Context, app *catalogv1.Application, typ *catalogv1.EnvironmentType, tx *store.Tx) (rules.Layout, error) {
	field, name := "application.repository", app.GetRepository()
	if typ.GetRepository() != "" {
		field, name = "environment_type.repository", typ.GetRepository()
	}
	main, err := refer(ctx, s, tx, repositories, "repositories", field, name)
	if err != nil {
		return rules.Layout{}, err
	}
	return s.splitsOf(ctx, main, tx)
}

// splitsOf reads the repositories of a repository's splits.
func (s *Service) splitsOf(ctx context.Context, main *catalogv1.Repository, tx *store.Tx) (rules.Layout, error) {
	l := rules.Layout{Main: main, Splits: map[string]*catalogv1.Repository{}}
	for i, split := range main.GetSplits() {
		repo, err := refer(ctx, s, tx, repositories, "repositories", "repository.splits["+itoa(i)+"].repository", split.GetRepository())
		if err != nil {
			return l, err
		}
		l.Splits[split.GetRepository()] = repo
	}
	return l, nil
}

// checkPartsByPush refuses pull requests for an environment that stands in several repositories: nobody could merge them together,
// and between the merges the environment would be half of the old and half of the new.
func checkPartsByPush(who string, place *catalogv1.Place, typ *catalogv1.EnvironmentType, repos ...*catalogv1.Repository) error {
	if len(place.GetParts()) == 0 {
		return nil
	}
	if mode := typ.GetWriteMode(); mode != committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		if rules.ByPullRequest(mode) {
			return notByPullRequest(who, typ.GetName())
		}
		return nil
	}
	for _, r := range repos {
		if rules.ByPullRequest(r.GetWriteMode()) {
			return notByPullRequest(who, r.GetName())
		}
	}
	return nil
}

func notByPullRequest(who, by string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"%s is split over several repositories, and %s has its deployments go by pull requests, which nobody could merge at the same moment; "+
			"take the splits out of the layout, or set write_mode of %s to WRITE_MODE_DIRECT", who, by, by).With("state", "SPLIT").With("resource", by)
}

// own makes an environment the owner of folders, or names who owns them or a folder above or below. What it finds is demanded of
// the transaction, so that of two who take the same folder at the same moment one fails and looks again.
func (s *Service) own(ctx context.Context, tx *store.Tx, env rules.Env, locations []rules.Location) error {
	told := map[string]bool{}
	for _, l := range locations {
		key := ownerPathKey(l, l.Path)
		// Of two new folders that contain one another, neither sees the other. The inner one tells all folders above it, by their
		// guards, and demands that nobody owns them; the outer one demands that nobody has told it anything since it looked. So
		// any number of environments of one branch can be made at a time.
		mark, err := s.cfg.KV.Get(ctx, guard(key))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		tx.If(store.IfRev(guard(key), mark.Rev))
		for _, above := range rules.Ancestors(l.Path) {
			k := ownerPathKey(l, above)
			if err := s.unowned(ctx, k, env, l, above); err != nil {
				return err
			}
			if !told[k] {
				told[k] = true
				tx.If(store.IfAbsent(k)).Put(guard(k), nil)
			}
		}
		if err := s.unowned(ctx, key, env, l, l.Path); err != nil {
			return err
		}
		below, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: key + "/", Limit: 1})
		if err != nil {
			return err
		}
		if len(below) > 0 {
			return pathOwned(env, l, string(below[0].Value), l.Path)
		}
		tx.If(store.IfAbsent(key)).Put(key, []byte(env.Name()))
	}
	return nil
}

// ownNamespace makes an environment the owner of its namespace.
func (s *Service) ownNamespace(ctx context.Context, tx *store.Tx, env rules.Env, p site, namespace string) error {
	ns := ownerNamespaceKey(p.target.GetName(), namespace)
	switch e, err := s.cfg.KV.Get(ctx, ns); {
	case err == nil:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"namespace %s of %s belongs to %s; give another in environment.namespace", namespace, p.target.GetName(), e.Value).
			With("used_by", string(e.Value))
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	tx.If(store.IfAbsent(ns)).Put(ns, []byte(env.Name()))
	return nil
}

func (s *Service) unowned(ctx context.Context, key string, env rules.Env, l rules.Location, path string) error {
	e, err := s.cfg.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return pathOwned(env, l, string(e.Value), path)
}

func pathOwned(env rules.Env, l rules.Location, owner, path string) error {
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH,
		"%s would be written to %s, and %s belongs to %s; change the path template of the repository or use another repository",
		env.Name(), l, path, owner)
	return e.With("owner", owner).With("path", l.Path)
}

// disown adds to tx that nobody owns the environment's folders and namespace any more.
func disown(tx *store.Tx, p site, namespace string) {
	giveBack(tx, rules.Locations(p.place))
	tx.Delete(ownerNamespaceKey(p.target.GetName(), namespace))
}

// giveBack adds to tx that nobody owns the folders any more.
func giveBack(tx *store.Tx, locations []rules.Location) {
	for _, l := range locations {
		tx.Delete(ownerPathKey(l, l.Path))
	}
}

// placed names an environment with a folder in a repository, or that is on its way there; "" when there is none.
func (s *Service) placed(ctx context.Context, repository string, also func(*catalogv1.Environment) bool) (string, error) {
	return find(ctx, s, environments, func(e *catalogv1.Environment) bool {
		for _, l := range append(rules.Locations(e.GetPlace()), rules.Locations(e.GetLayoutPlace())...) {
			if l.Repository == repository {
				return also == nil || also(e)
			}
		}
		return false
	})
}

// pinPlaces writes into the rows of environments from before rows had it where they stand: where the layout says, which could not
// change under them until now. Folders whose template has capitals are owned by their folded form from now on. Doing it again
// changes nothing.
func (s *Service) pinPlaces(ctx context.Context) error {
	if _, err := s.raw.Get(ctx, keyPlaces); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for e, err := range store.All(ctx, s.raw, environments.Prefix()) {
		if err != nil {
			return err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return err
		}
		if err := retry(ctx, func() error { return s.pinPlace(ctx, row.ID) }); err != nil {
			return err
		}
	}
	var tx store.Tx
	_, err := s.raw.Commit(ctx, *tx.Put(keyPlaces, nil))
	return err
}

func (s *Service) pinPlace(ctx context.Context, id string) error {
	row, err := environments.Get(ctx, s.raw, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Msg.GetPlace() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	env := envOfKey(id)
	p, err := s.standing(ctx, env, row.Msg)
	if err != nil { // a row that refers to nothing; whatever is done with it says so
		s.log.Warn("an environment's place cannot be told; it is left as it is", "environment", env.Name(), "error", err)
		return nil
	}
	var tx store.Tx
	l := rules.Locations(p.place)[0]
	exact := ownerPathPrefix + branchPlace(l.URL, l.Branch) + "/" + l.Path
	if key := ownerPathKey(l, l.Path); key != exact {
		if e, err := s.raw.Get(ctx, exact); err == nil && string(e.Value) == env.Name() {
			tx.Delete(exact).Put(key, []byte(env.Name()))
		}
	}
	row.Msg.Place = p.place
	if err := environments.Update(&tx, row.ID, row.Rev, row.Msg); err != nil {
		return err
	}
	_, err = s.raw.Commit(ctx, tx)
	return err
}
