package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// watched is a list that can be watched: first everything that is there, then each resource after each change. What is sent
// is the resource as it is when it is sent, so that two quick changes may be seen as one, and none is ever missed.
type watched[T resource] struct {
	// name tells this list's resume tokens from those of others.
	name string
	// logs are the prefixes of the tables that make up a resource; the rows of one resource have the same id in each. The
	// resource is there as long as it is in the first.
	logs []string
	// under limits the list to ids that start with it, keep, when set, to those that it approves.
	under string
	keep  func(id string) bool
	// get reads a resource as the API shows it; store.ErrNotFound or errs.NotFound when it is gone.
	get func(ctx context.Context, id string) (T, error)
	// first, when set, lists what is sent at the beginning instead of the first table's rows.
	first func(ctx context.Context, each func(id string) error) error
	// gone makes a resource that has only its name.
	gone func(id string) T
}

// sighting is one message of a watch.
type sighting[T any] struct {
	item              T
	removed, caughtUp bool
	token             string
}

// logged is a change in one of the logs.
type logged struct {
	log int
	id  string
	rev int64
}

// run sends the list to a stream until its context ends or the log no longer reaches back (errs.OutOfRange): then whoever
// watches begins anew.
func (w watched[T]) run(ctx context.Context, s *Service, token string, send func(sighting[T]) error) error {
	identity := w.identity()
	at, err := rules.ParseResumeToken(identity, token, len(w.logs))
	if err != nil {
		return err
	}
	if at == nil {
		rev, err := store.Revision(ctx, s.cfg.KV)
		if err != nil {
			return err
		}
		at = slices.Repeat([]int64{rev}, len(w.logs))
		if err := w.list(ctx, s, send); err != nil {
			return err
		}
		if err := send(sighting[T]{caughtUp: true, token: rules.ResumeToken(identity, at)}); err != nil {
			return err
		}
	}
	return w.follow(ctx, s, at, func(c logged) error {
		// More changes of the same revision may follow, so what is certain is all before it.
		at[c.log] = max(at[c.log], c.rev-1)
		return w.show(ctx, c.id, rules.ResumeToken(identity, at), send)
	})
}

// identity tells this list's resume tokens from those of others.
func (w watched[T]) identity() string { return w.name + "\x00" + w.under }

// fromNow gives the token with which a watch tells what changes from now on.
func (w watched[T]) fromNow(ctx context.Context, s *Service) (string, error) {
	rev, err := store.Revision(ctx, s.cfg.KV)
	return rules.ResumeToken(w.identity(), slices.Repeat([]int64{rev}, len(w.logs))), err
}

// list sends what is there. It has no tokens: until all is sent there is no place to go on from.
func (w watched[T]) list(ctx context.Context, s *Service, send func(sighting[T]) error) error {
	each := func(id string) error {
		if w.keep != nil && !w.keep(id) {
			return nil
		}
		item, err := w.get(ctx, id)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return send(sighting[T]{item: item})
	}
	if w.first != nil {
		return w.first(ctx, each)
	}
	for e, err := range store.All(ctx, s.cfg.KV, w.logs[0]+w.under) {
		if err != nil {
			return err
		}
		if err := each(strings.TrimPrefix(e.Key, w.logs[0])); err != nil {
			return err
		}
	}
	return nil
}

func (w watched[T]) show(ctx context.Context, id, token string, send func(sighting[T]) error) error {
	if w.keep != nil && !w.keep(id) {
		return nil
	}
	item, err := w.get(ctx, id)
	switch {
	case isGone(err):
		return send(sighting[T]{item: w.gone(id), removed: true, token: token})
	case err != nil:
		return err
	}
	return send(sighting[T]{item: item, token: token})
}

// follow calls handle with the changes of all logs, one at a time, each log in its order.
func (w watched[T]) follow(ctx context.Context, s *Service, at []int64, handle func(logged) error) error {
	changes := make(chan logged)
	g, ctx := errgroup.WithContext(ctx)
	for i, prefix := range w.logs {
		after := at[i]
		g.Go(func() error {
			for c, err := range s.cfg.KV.Watch(ctx, prefix+w.under, after) {
				if err != nil {
					return err
				}
				select {
				case changes <- logged{i, strings.TrimPrefix(c.Key, prefix), c.Rev}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for {
			select {
			case c := <-changes:
				if err := handle(c); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return g.Wait()
}

func isGone(err error) bool { return errors.Is(err, store.ErrNotFound) || errs.Is(err, errs.NotFound) }

// watch is the list of a collection that people write.
func (c collection[T]) watch(s *Service) watched[T] {
	return watched[T]{
		name: c.name, logs: []string{c.table.Prefix()},
		get: func(ctx context.Context, id string) (T, error) {
			row, err := c.get(ctx, s, "name", c.name+"/"+id)
			return row.Msg, err
		},
		gone: func(id string) T { return named[T](c.name + "/" + id) },
	}
}

func named[T resource](name string) T {
	m := fresh[T]()
	setString(m, "name", name)
	return m
}

// watchEnvironments is the list of environments of one application, or of all.
func (s *Service) watchEnvironments(parent string) (watched[*catalogv1.Environment], error) {
	w := watched[*catalogv1.Environment]{
		name: "environments", logs: []string{environments.Prefix(), liveEnvironments.Prefix(), newest.Prefix()},
		get: func(ctx context.Context, id string) (*catalogv1.Environment, error) {
			env := envOfKey(id)
			row, err := s.environment(ctx, env)
			if err != nil {
				return nil, err
			}
			return s.shown(ctx, env, row)
		},
		gone: func(id string) *catalogv1.Environment { return &catalogv1.Environment{Name: envOfKey(id).Name()} },
	}
	if parent != "applications/-" {
		app, err := rules.ParseName("parent", "applications", parent)
		if err != nil {
			return w, err
		}
		w.under = app + "/"
	}
	return w, nil
}

// watchFromNow gives the token with which WatchEnvironments tells what changes from now on.
func (s *Service) watchFromNow(ctx context.Context, parent string) (string, error) {
	w, err := s.watchEnvironments(parent)
	if err != nil {
		return "", err
	}
	return w.fromNow(ctx, s)
}

// envOfKey is the reverse of envKey.
func envOfKey(id string) rules.Env {
	app, env, _ := strings.Cut(id, "/")
	return rules.Env{App: app, ID: env}
}

// watchDeployments is the list of deployments of an environment, or of several. It begins with those that have not ended: what
// has is history, which can be long and has a list of its own.
func (s *Service) watchDeployments(parent string) (watched[*catalogv1.Deployment], error) {
	w := watched[*catalogv1.Deployment]{
		name: "deployments", logs: []string{deployments.Prefix()},
		get: func(ctx context.Context, id string) (*catalogv1.Deployment, error) {
			env, generation, _ := envOfDepKey(id)
			return s.deployment(ctx, env, generation)
		},
		gone: func(id string) *catalogv1.Deployment {
			env, generation, _ := envOfDepKey(id)
			return &catalogv1.Deployment{Name: env.Deployment(generation)}
		},
	}
	app, env, ok := strings.Cut(strings.TrimPrefix(parent, "applications/"), "/environments/")
	switch {
	case !ok:
		_, err := rules.ParseEnv("parent", parent)
		return w, err
	case app == "-" && env == "-":
	case app == "-":
		return w, errs.InvalidField("parent", "names one environment of all applications; give applications/-/environments/- or one application")
	case env == "-":
		if err := rules.CheckID("parent", app, rules.MaxAppID); err != nil {
			return w, err
		}
		w.under = app + "/"
	default:
		e, err := rules.ParseEnv("parent", parent)
		if err != nil {
			return w, err
		}
		w.under = envKey(e) + "/"
	}
	w.first = func(ctx context.Context, each func(id string) error) error {
		for e, err := range store.All(ctx, s.cfg.KV, openPrefix+w.under) {
			if err != nil {
				return err
			}
			if err := each(strings.TrimPrefix(e.Key, openPrefix)); err != nil {
				return err
			}
		}
		return nil
	}
	return w, nil
}

// watchDrafts is the list of drafts of one application, or of all.
func (s *Service) watchDrafts(parent string) (watched[*catalogv1.Draft], error) {
	draftName := func(id string) string {
		app, draft, _ := strings.Cut(id, "/")
		return "applications/" + app + "/drafts/" + draft
	}
	w := watched[*catalogv1.Draft]{
		name: "drafts", logs: []string{drafts.Prefix()},
		get: func(ctx context.Context, id string) (*catalogv1.Draft, error) {
			row, _, err := s.draftRow(ctx, "name", draftName(id))
			return row.Msg, err
		},
		gone: func(id string) *catalogv1.Draft { return &catalogv1.Draft{Name: draftName(id)} },
	}
	if parent != "applications/-" {
		app, err := rules.ParseName("parent", "applications", parent)
		if err != nil {
			return w, err
		}
		w.under = app + "/"
	}
	return w, nil
}

// watchDefinitions is the list of resource definitions.
func (s *Service) watchDefinitions() watched[*catalogv1.ResourceDefinition] {
	return definitionKind.watch(s)
}

// watchVariables is the list of variables that hold in an application or environment. An environment's own hide the
// application's, so that both are followed.
func (s *Service) watchVariables(parent string) (watched[*catalogv1.Variable], error) {
	w := watched[*catalogv1.Variable]{name: "variables " + parent}
	sc, err := rules.ParseScope("parent", parent)
	if err != nil {
		return w, err
	}
	scopes := []rules.Scope{sc}
	if sc.Env != "" {
		scopes = append(scopes, rules.Scope{App: sc.App})
	}
	for _, one := range scopes {
		w.logs = append(w.logs, variables.Key(scopeKey(one)))
	}
	w.get = func(ctx context.Context, key string) (*catalogv1.Variable, error) {
		all, err := s.mergedVariables(ctx, sc)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(v *catalogv1.Variable) bool { return variableID(v) == key })
		if i < 0 {
			return nil, store.ErrNotFound
		}
		return all[i], nil
	}
	w.first = func(ctx context.Context, each func(id string) error) error {
		all, err := s.mergedVariables(ctx, sc)
		if err != nil {
			return err
		}
		for _, v := range all {
			if err := each(variableID(v)); err != nil {
				return err
			}
		}
		return nil
	}
	w.gone = func(key string) *catalogv1.Variable { return &catalogv1.Variable{Name: sc.Variable(key)} }
	return w, nil
}
