package catalog

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// site is where an environment is written and run. It stays the same for an environment's whole life: whatever would move it is
// refused while the environment exists, else its old folder and objects would be left behind by nobody's decision.
type site struct {
	app    *catalogv1.Application
	typ    *catalogv1.EnvironmentType
	repo   *catalogv1.Repository
	target *catalogv1.Target
	path   string
}

// siteOf reads what an environment's site is made of. It adds to tx that all of it stays as it is and has a user.
func (s *Service) siteOf(ctx context.Context, env rules.Env, typeName string, tx *store.Tx) (site, error) {
	var p site
	app, err := applications.Get(ctx, s.cfg.KV, env.App)
	if err != nil {
		return p, orNotFound(err, "applications/"+env.App, "create it first, as with `tow app create %s`", env.App)
	}
	p.app = app.Msg
	key := applications.Key(env.App)
	tx.If(store.IfRev(key, app.Rev)).Put(guard(key), nil)
	if p.typ, err = refer(ctx, s, tx, environmentTypes, "environmentTypes", "environment.type", typeName); err != nil {
		return p, err
	}
	if p.repo, err = refer(ctx, s, tx, repositories, "repositories", "application.repository", p.app.GetRepository()); err != nil {
		return p, err
	}
	if p.target, err = refer(ctx, s, tx, targets, "targets", "environment_type.target", p.typ.GetTarget()); err != nil {
		return p, err
	}
	p.path = rules.EnvironmentPath(p.repo.GetPathTemplate(), env.App, env.ID, typeID(typeName))
	return p, nil
}

// own makes the environment the owner of its folder and namespace, or names who owns them or a folder above or below.
func (s *Service) own(ctx context.Context, tx *store.Tx, env rules.Env, p site, namespace string) error {
	key := ownerPathKey(p.repo, p.path)
	// Of two new folders that contain one another, neither sees the other. The inner one tells all folders above it, by their
	// guards, and demands that nobody owns them; the outer one demands that nobody has told it anything since it looked. So
	// any number of environments of one branch can be made at a time.
	told, err := s.cfg.KV.Get(ctx, guard(key))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	tx.If(store.IfRev(guard(key), told.Rev))
	for _, above := range rules.Ancestors(p.path) {
		if err := s.unowned(ctx, ownerPathKey(p.repo, above), env, p, above); err != nil {
			return err
		}
		tx.If(store.IfAbsent(ownerPathKey(p.repo, above))).Put(guard(ownerPathKey(p.repo, above)), nil)
	}
	if err := s.unowned(ctx, key, env, p, p.path); err != nil {
		return err
	}
	below, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: key + "/", Limit: 1})
	if err != nil {
		return err
	}
	if len(below) > 0 {
		return pathOwned(env, p, string(below[0].Value), p.path)
	}
	ns := ownerNamespaceKey(p.target.GetName(), namespace)
	switch e, err := s.cfg.KV.Get(ctx, ns); {
	case err == nil:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"namespace %s of %s belongs to %s; give another in environment.namespace", namespace, p.target.GetName(), e.Value).
			With("used_by", string(e.Value))
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	tx.If(store.IfAbsent(key), store.IfAbsent(ns)).Put(key, []byte(env.Name())).Put(ns, []byte(env.Name()))
	return nil
}

func (s *Service) unowned(ctx context.Context, key string, env rules.Env, p site, path string) error {
	e, err := s.cfg.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return pathOwned(env, p, string(e.Value), path)
}

func pathOwned(env rules.Env, p site, owner, path string) error {
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH,
		"%s would be written to %s, branch %s, folder %s, and %s belongs to %s; change the path template of the repository or use another repository",
		env.Name(), p.repo.GetName(), p.repo.GetBranch(), p.path, path, owner)
	return e.With("owner", owner).With("path", p.path)
}

// disown adds to tx that nobody owns the environment's folder and namespace any more.
func disown(tx *store.Tx, p site, namespace string) {
	tx.Delete(ownerPathKey(p.repo, p.path)).Delete(ownerNamespaceKey(p.target.GetName(), namespace))
}

// GetEnvironment gives an environment.
func (s catalogServer) GetEnvironment(ctx context.Context, r *catalogv1.GetEnvironmentRequest) (*catalogv1.Environment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	row, err := s.environment(ctx, env)
	if err != nil {
		return nil, err
	}
	return s.shown(ctx, env, row)
}

// environment reads an environment's own row, without what is reported of it.
func (s *Service) environment(ctx context.Context, env rules.Env) (store.Row[*catalogv1.Environment], error) {
	row, err := environments.Get(ctx, s.cfg.KV, envKey(env))
	return row, orNotFound(err, env.Name(), "see `tow env list %s`", env.App)
}

// shown gives an environment as the API shows it: its row, and what is reported of it.
func (s *Service) shown(ctx context.Context, env rules.Env, row store.Row[*catalogv1.Environment]) (*catalogv1.Environment, error) {
	out := row.Msg
	out.Etag = store.Etag(row.Rev)
	live, err := s.live(ctx, env)
	if err != nil {
		return nil, err
	}
	return withReport(out, live.Msg, s.now()), nil
}

// withReport adds what is reported of an environment to its row.
func withReport(e, live *catalogv1.Environment, now time.Time) *catalogv1.Environment {
	e.Live, e.ActiveDeployment, e.Running = live.GetLive(), live.GetActiveDeployment(), live.GetRunning()
	e.ForeignChanges = live.GetForeignChanges()
	if !rules.LockHolds(e.GetLock(), now) { // the end of a lock is no write
		e.Lock = nil
	}
	return e
}

// live reads what is reported of an environment; an empty row when nothing was yet.
func (s *Service) live(ctx context.Context, env rules.Env) (store.Row[*catalogv1.Environment], error) {
	row, err := liveEnvironments.Get(ctx, s.cfg.KV, envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return store.Row[*catalogv1.Environment]{ID: envKey(env), Msg: &catalogv1.Environment{}}, nil
	}
	return row, err
}

// reported reads what is reported of environments that stand one after the other: in one scan, as both tables have the same order.
func (s *Service) reported(ctx context.Context, rows []store.Row[*catalogv1.Environment]) (map[string]*catalogv1.Environment, error) {
	out := make(map[string]*catalogv1.Environment, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	first, last := liveEnvironments.Key(rows[0].ID), liveEnvironments.Key(rows[len(rows)-1].ID)
	before := first[:len(first)-1] + string(rune(first[len(first)-1]-1)) + "~" // no id has a byte behind "~"
	r := store.ScanRange{Prefix: liveEnvironments.Prefix(), After: before, Limit: len(rows) + 1}
	for {
		page, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Key > last {
				return out, nil
			}
			row, err := liveEnvironments.Decode(e)
			if err != nil {
				return nil, err
			}
			out[row.ID] = row.Msg
		}
		if len(page) < r.Limit {
			return out, nil
		}
		r.After = page[len(page)-1].Key
	}
}

// ListEnvironments lists the environments of one application, or of all for applications/-.
func (s catalogServer) ListEnvironments(ctx context.Context, r *catalogv1.ListEnvironmentsRequest) (*catalogv1.ListEnvironmentsResponse, error) {
	under := ""
	if r.GetParent() != "applications/-" {
		app, err := applicationKind.get(ctx, s.Service, "parent", r.GetParent())
		if err != nil {
			return nil, err
		}
		under = app.ID + "/"
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := environments.List(ctx, s.cfg.KV, store.List{Under: under, PageSize: size, PageToken: r.GetPageToken()}, nil)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ListEnvironmentsResponse{NextPageToken: next}
	reported, err := s.reported(ctx, rows)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		row.Msg.Etag = store.Etag(row.Rev)
		out.Environments = append(out.Environments, withReport(row.Msg, reported[row.ID], s.now()))
	}
	return out, nil
}

var environmentMutable = []string{"display_name", "type", "labels", "definition_pins"}

// UpdateEnvironment changes what people set of an environment. A new type takes effect with the next deployment.
func (s catalogServer) UpdateEnvironment(ctx context.Context, r *catalogv1.UpdateEnvironmentRequest) (*catalogv1.Environment, error) {
	given := r.GetEnvironment()
	env, err := rules.ParseEnv("environment.name", given.GetName())
	if err != nil {
		return nil, err
	}
	var out *catalogv1.Environment
	err = retry(ctx, func() error {
		row, err := s.environment(ctx, env)
		if err != nil {
			return err
		}
		if err := checkEtag(given.GetEtag(), row.Rev, env.Name()); err != nil {
			return err
		}
		next := proto.CloneOf(row.Msg)
		if err := merge(next, given, r.GetUpdateMask(), environmentMutable); err != nil {
			return err
		}
		if len(r.GetUpdateMask().GetPaths()) == 0 && given.GetType() == "" {
			next.Type = row.Msg.GetType() // a full update need not repeat what has no empty value
		}
		if !proto.Equal(next, row.Msg) {
			var tx store.Tx
			if err := s.sameSite(ctx, &tx, env, row.Msg.GetType(), next.GetType()); err != nil {
				return err
			}
			if err := s.checkPins(ctx, &tx, row.Msg, next); err != nil {
				return err
			}
			next.UpdateTime = timestamppb.New(s.now())
			if err := environments.Update(&tx, row.ID, row.Rev, next); err != nil {
				return err
			}
			if row.Rev, err = s.cfg.KV.Commit(ctx, tx); err != nil {
				return err
			}
		}
		row.Msg = next
		out, err = s.shown(ctx, env, row)
		return err
	})
	return out, err
}

// sameSite refuses a new type that would move the environment.
func (s *Service) sameSite(ctx context.Context, tx *store.Tx, env rules.Env, before, after string) error {
	if before == after {
		return nil
	}
	var unused store.Tx
	old, err := s.siteOf(ctx, env, before, &unused)
	if err != nil {
		return err
	}
	now, err := s.siteOf(ctx, env, after, tx)
	if err != nil {
		return err
	}
	if old.path != now.path || old.target.GetName() != now.target.GetName() {
		return errs.InvalidField("environment.type", "would move %s from folder %s on %s to folder %s on %s; create another environment of that type instead",
			env.Name(), old.path, old.target.GetName(), now.path, now.target.GetName())
	}
	return nil
}

func typeID(name string) string {
	id, _ := rules.ParseName("", "environmentTypes", name)
	return id
}
