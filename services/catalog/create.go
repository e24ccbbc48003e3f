package catalog

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// birth is what a new environment is to be. prefix is where the request has the parts of begin, for errors.
type birth struct {
	env         rules.Env
	begin       *catalogv1.NewEnvironment
	pullRequest string
	prefix      string
	// stand puts it elsewhere than its layout does; nil for where the layout puts it.
	stand func(*site)
}

// deploys reports whether there is something to begin with.
func (b birth) deploys() bool { return b.begin.GetFrom() != "" || proto.Size(b.begin.GetChange()) > 0 }

// CreateEnvironment makes an environment. With something to begin with, its first deployment is made in the same transaction:
// what cannot be rendered makes no environment either.
func (s catalogServer) CreateEnvironment(ctx context.Context, r *catalogv1.CreateEnvironmentRequest) (*catalogv1.Environment, error) {
	app, err := rules.ParseName("parent", "applications", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := rules.CheckID("environment_id", r.GetEnvironmentId(), rules.MaxAppID); err != nil {
		return nil, err
	}
	b := birth{env: rules.Env{App: app, ID: r.GetEnvironmentId()}, pullRequest: r.GetPullRequest(), begin: &catalogv1.NewEnvironment{
		Environment: r.GetEnvironment(), From: r.GetFrom(), Change: r.GetChange(), Ttl: r.GetTtl(),
	}}
	if r.GetPlanHash() != "" && !b.deploys() {
		return nil, errs.InvalidField("plan_hash", "is given though nothing is deployed; give from or a change, or leave it out")
	}
	unlock, err := s.envs.lock(ctx, envKey(b.env))
	if err != nil {
		return nil, err
	}
	defer unlock()
	var out *catalogv1.Environment
	err = retry(ctx, func() (err error) {
		out, err = s.createOnce(ctx, b, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) createOnce(ctx context.Context, b birth, r *catalogv1.CreateEnvironmentRequest) (*catalogv1.Environment, error) {
	req, out := request{"environments", r.GetRequestId(), r}, &catalogv1.Environment{}
	rev, found, err := s.earlier(ctx, req, out)
	if err != nil || found {
		out.Etag = store.Etag(rev)
		return out, err
	}
	var made *catalogv1.Environment
	join := func(tx *store.Tx, e *catalogv1.Environment) error {
		made = proto.CloneOf(e)
		return s.answer(tx, req, made)
	}
	if !b.deploys() {
		rev, err = s.createEmpty(ctx, b, join)
	} else {
		rev, err = s.createAndDeploy(ctx, b, r, join)
	}
	if err != nil {
		return nil, orExists(err, environments.Key(envKey(b.env)), b.env.Name())
	}
	made.Etag = store.Etag(rev)
	return made, nil
}

// createEmpty makes an environment that holds nothing yet.
func (s *Service) createEmpty(ctx context.Context, b birth, join func(*store.Tx, *catalogv1.Environment) error) (int64, error) {
	c, err := s.unborn(ctx, b)
	if err != nil {
		return 0, err
	}
	var tx store.Tx
	err = errors.Join(c.born(&tx, c.row.Msg), join(&tx, c.row.Msg), environments.Create(&tx, c.row.ID, c.row.Msg))
	if err != nil {
		return 0, err
	}
	return s.cfg.KV.Commit(ctx, tx)
}

// createAndDeploy makes an environment and its first deployment, by the way that every deployment is accepted.
func (s *Service) createAndDeploy(ctx context.Context, b birth, r *catalogv1.CreateEnvironmentRequest, join func(*store.Tx, *catalogv1.Environment) error) (int64, error) {
	decide, err := s.firstDecision(ctx, b)
	if err != nil {
		return 0, err
	}
	d, err := s.accept(ctx, order{
		env: b.env, kind: catalogv1.Deployment_KIND_CHANGE, message: r.GetMessage(), planHash: r.GetPlanHash(), decide: decide,
		current: func(ctx context.Context) (current, error) {
			c, err := s.unborn(ctx, b)
			own := c.born
			c.born = func(tx *store.Tx, e *catalogv1.Environment) error { return errors.Join(own(tx, e), join(tx, e)) }
			return c, err
		},
	})
	if err != nil {
		return 0, err
	}
	return store.ParseEtag(d.GetEtag())
}

// planCreation plans an environment that does not exist yet, with its first deployment.
func (s *Service) planCreation(ctx context.Context, env rules.Env, n *catalogv1.NewEnvironment) (*catalogv1.Plan, error) {
	b := birth{env: env, begin: n, prefix: "creation."}
	decide, err := s.firstDecision(ctx, b)
	if err != nil {
		return nil, err
	}
	c, err := s.unborn(ctx, b)
	if err != nil {
		return nil, err
	}
	next, err := s.decided(ctx, c, decide)
	if err != nil {
		return nil, err
	}
	return s.planOf(ctx, c, next)
}

// unborn gives a new environment as decisions and plans see it: there, and empty. Nothing of it is written yet; born adds to the
// transaction that writes the environment what must hold and be written with it.
func (s *Service) unborn(ctx context.Context, b birth) (current, error) {
	c := current{env: b.env, state: rules.EmptyState()}
	e, err := s.newborn(ctx, b)
	if err != nil {
		return c, err
	}
	e.Intent = c.state.Intent
	c.row = store.Row[*catalogv1.Environment]{ID: envKey(b.env), Msg: e}
	var with store.Tx
	if c.site, err = s.siteOf(ctx, b.env, e.GetType(), &with); err != nil {
		return c, err
	}
	if b.stand != nil {
		b.stand(&c.site)
	}
	if err := s.expires(b, c.site.typ, e); err != nil {
		return c, err
	}
	e.Place = c.site.place
	if err := s.own(ctx, &with, b.env, rules.Locations(c.site.place)); err != nil {
		return c, err
	}
	if err := s.ownNamespace(ctx, &with, b.env, c.site, e.GetNamespace()); err != nil {
		return c, err
	}
	if err := s.checkPins(ctx, &with, nil, e); err != nil {
		return c, err
	}
	c.born = func(tx *store.Tx, e *catalogv1.Environment) error {
		tx.Conds, tx.Ops = append(tx.Conds, with.Conds...), append(tx.Ops, with.Ops...)
		reindex(tx, envKey(b.env), nil, e)
		// The environment may stay empty, until its first deployment is approved.
		empty, _ := setID(c.state.Set.GetName())
		if slices.ContainsFunc(tx.Ops, func(o store.Op) bool { return o.Key == sets.Key(empty) }) {
			return nil
		}
		return s.putSet(ctx, tx, c.state.Set)
	}
	return c, nil
}

// bear adds to tx what is written with an environment that does not exist yet, nothing for one that does.
func (c current) bear(tx *store.Tx, e *catalogv1.Environment) error {
	if c.born == nil {
		return nil
	}
	return c.born(tx, e)
}

// newborn makes the row of a new environment, without its site.
func (s *Service) newborn(ctx context.Context, b birth) (*catalogv1.Environment, error) {
	if _, err := s.cfg.KV.Get(ctx, environments.Key(envKey(b.env))); !errors.Is(err, store.ErrNotFound) {
		if err != nil {
			return nil, err
		}
		return nil, errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS,
			"%s exists already; choose another id or update it", b.env.Name()).With("resource", b.env.Name())
	}
	given := b.begin.GetEnvironment()
	e := &catalogv1.Environment{
		DisplayName: given.GetDisplayName(), Type: given.GetType(), Namespace: given.GetNamespace(), Labels: given.GetLabels(),
		State: catalogv1.Environment_STATE_ACTIVE, DefinitionPins: given.GetDefinitionPins(),
	}
	s.stampNew(ctx, e, b.env.Name())
	if e.GetNamespace() == "" {
		e.Namespace = b.env.App + "-" + b.env.ID
	}
	if err := rules.CheckNamespace("environment.namespace", e.GetNamespace()); err != nil {
		return nil, err
	}
	if err := s.originate(ctx, b, e); err != nil {
		return nil, err
	}
	if e.GetType() == "" {
		return nil, errs.InvalidField("environment.type", "is empty; give an environment type such as environmentTypes/development")
	}
	history, _, err := deployments.List(ctx, s.cfg.KV, store.List{Under: envKey(b.env) + "/", PageSize: 1, Reverse: true}, nil)
	if len(history) > 0 { // an environment of that name was there before; its numbers are taken
		e.Generation = history[0].Msg.GetGeneration()
	}
	return e, err
}
