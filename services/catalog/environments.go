package catalog

import (
	"context"
	"errors"
	"fmt"

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

// CreateEnvironment makes an environment, which holds nothing yet.
func (s catalogServer) CreateEnvironment(ctx context.Context, r *catalogv1.CreateEnvironmentRequest) (*catalogv1.Environment, error) {
	app, err := rules.ParseName("parent", "applications", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := rules.CheckID("environment_id", r.GetEnvironmentId(), rules.MaxAppID); err != nil {
		return nil, err
	}
	env := rules.Env{App: app, ID: r.GetEnvironmentId()}
	var out *catalogv1.Environment
	err = retry(ctx, func() error {
		out = &catalogv1.Environment{}
		req := request{"environments", r.GetRequestId(), r}
		rev, found, err := s.earlier(ctx, req, out)
		if err == nil && !found {
			rev, err = s.createEnvironment(ctx, env, r.GetEnvironment(), req, out)
		}
		out.Etag = store.Etag(rev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) createEnvironment(ctx context.Context, env rules.Env, given *catalogv1.Environment, req request, out *catalogv1.Environment) (int64, error) {
	if given.GetType() == "" {
		return 0, errs.InvalidField("environment.type", "is empty; give an environment type such as environmentTypes/development")
	}
	proto.Merge(out, &catalogv1.Environment{
		DisplayName: given.GetDisplayName(), Type: given.GetType(), Namespace: given.GetNamespace(), Labels: given.GetLabels(),
		State: catalogv1.Environment_STATE_ACTIVE,
	})
	s.stampNew(ctx, out, env.Name())
	if out.GetNamespace() == "" {
		out.Namespace = env.App + "-" + env.ID
	}
	if err := rules.CheckNamespace("environment.namespace", out.GetNamespace()); err != nil {
		return 0, err
	}
	var tx store.Tx
	out.DefinitionPins = given.GetDefinitionPins()
	if err := s.checkPins(ctx, &tx, nil, out); err != nil {
		return 0, err
	}
	if err := s.answerAndOwn(ctx, &tx, env, req, out); err != nil {
		return 0, err
	}
	if err := environments.Create(&tx, envKey(env), out); err != nil {
		return 0, err
	}
	rev, err := s.cfg.KV.Commit(ctx, tx)
	return rev, orExists(err, environments.Key(envKey(env)), env.Name())
}

// answerAndOwn completes a new environment: its empty intent, the generation to go on from, its site.
func (s *Service) answerAndOwn(ctx context.Context, tx *store.Tx, env rules.Env, req request, out *catalogv1.Environment) error {
	history, _, err := deployments.List(ctx, s.cfg.KV, store.List{Under: envKey(env) + "/", PageSize: 1, Reverse: true}, nil)
	if err != nil {
		return err
	}
	if len(history) > 0 { // an environment of that name was there before; its numbers are taken
		out.Generation = history[0].Msg.GetGeneration()
	}
	empty := rules.EmptyState()
	out.Intent = empty.Intent
	if err := s.putSet(ctx, tx, empty.Set); err != nil {
		return err
	}
	if _, err := s.cfg.KV.Get(ctx, environments.Key(envKey(env))); err == nil {
		return errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS,
			"%s exists already; choose another id or update it", env.Name()).With("resource", env.Name())
	}
	p, err := s.siteOf(ctx, env, out.GetType(), tx)
	if err != nil {
		return err
	}
	if err := s.answer(tx, req, out); err != nil {
		return err
	}
	return s.own(ctx, tx, env, p, out.GetNamespace())
}

// own makes the environment the owner of its folder and namespace, or names who owns them or a folder above or below.
func (s *Service) own(ctx context.Context, tx *store.Tx, env rules.Env, p site, namespace string) error {
	// One new folder at a time in a branch: two that contain one another would not see each other.
	turn := guard(ownerPathKey(p.repo, ""))
	e, err := s.cfg.KV.Get(ctx, turn)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	tx.If(store.IfRev(turn, e.Rev)).Put(turn, nil)

	key := ownerPathKey(p.repo, p.path)
	for _, above := range append(rules.Ancestors(p.path), p.path) {
		if err := s.unowned(ctx, ownerPathKey(p.repo, above), env, p, above); err != nil {
			return err
		}
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
	out.Live, out.ActiveDeployment = live.Msg.GetLive(), live.Msg.GetActiveDeployment()
	return out, nil
}

// live reads what is reported of an environment; an empty row when nothing was yet.
func (s *Service) live(ctx context.Context, env rules.Env) (store.Row[*catalogv1.Environment], error) {
	row, err := liveEnvironments.Get(ctx, s.cfg.KV, envKey(env))
	if errors.Is(err, store.ErrNotFound) {
		return store.Row[*catalogv1.Environment]{ID: envKey(env), Msg: &catalogv1.Environment{}}, nil
	}
	return row, err
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
	for _, row := range rows {
		env, err := rules.ParseEnv("name", row.Msg.GetName())
		if err != nil {
			return nil, fmt.Errorf("row %q: %w", row.ID, err)
		}
		e, err := s.shown(ctx, env, row)
		if err != nil {
			return nil, err
		}
		out.Environments = append(out.Environments, e)
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
