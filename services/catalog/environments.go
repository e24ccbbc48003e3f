package catalog

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// site is where an environment is written and run. Its place stays as it was pinned, whatever becomes of the layout, until a
// deployment moves it.
type site struct {
	app    *catalogv1.Application
	typ    *catalogv1.EnvironmentType
	place  *catalogv1.Place
	repo   *catalogv1.Repository   // of the main place, with URL and branch as the place has them and the rest as it is now
	parts  []*catalogv1.Repository // of the place's parts, likewise
	target *catalogv1.Target
	path   string
}

// siteOf reads where the layout of now puts an environment. It adds to tx that all of it stays as it is and has a user.
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
	if err := s.layOut(ctx, env, &p, tx); err != nil {
		return p, err
	}
	p.target, err = refer(ctx, s, tx, targets, "targets", "environment_type.target", p.typ.GetTarget())
	return p, err
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
	if out.Latest, err = s.latestShown(ctx, env, out); err != nil {
		return nil, err
	}
	return s.newLayoutView().show(ctx, env, withReport(out, live.Msg, s.now())), nil
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

// beside reads the rows of another table that belong to environments that stand one after the other: in one scan, as both tables
// have the same order.
func beside[T proto.Message](ctx context.Context, s *Service, table store.Table[T], rows []store.Row[*catalogv1.Environment]) (map[string]T, error) {
	out := make(map[string]T, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	first, last := table.Key(rows[0].ID), table.Key(rows[len(rows)-1].ID)
	before := first[:len(first)-1] + string(rune(first[len(first)-1]-1)) + "~" // no id has a byte behind "~"
	r := store.ScanRange{Prefix: table.Prefix(), After: before, Limit: len(rows) + 1}
	for {
		page, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Key > last {
				return out, nil
			}
			row, err := table.Decode(e)
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
	token := ""
	if r.GetPageToken() == "" { // before anything is read: what changes from here on is told by the watch
		var err error
		if token, err = s.watchFromNow(ctx, r.GetParent()); err != nil {
			return nil, err
		}
	}
	rows, next, err := environments.List(ctx, s.cfg.KV, store.List{Under: under, PageSize: size, PageToken: r.GetPageToken()}, nil)
	if err != nil {
		return nil, err
	}
	all, err := s.listed(ctx, rows, r.GetView())
	return &catalogv1.ListEnvironmentsResponse{Environments: all, NextPageToken: next, ResumeToken: token}, err
}

// listed gives environments that stand one after the other as lists show them.
func (s *Service) listed(ctx context.Context, rows []store.Row[*catalogv1.Environment], view catalogv1.EnvironmentView) ([]*catalogv1.Environment, error) {
	reported, err := beside(ctx, s, liveEnvironments, rows)
	if err != nil {
		return nil, err
	}
	news, err := beside(ctx, s, newest, rows)
	if err != nil {
		return nil, err
	}
	layouts := s.newLayoutView()
	out := make([]*catalogv1.Environment, 0, len(rows))
	for _, row := range rows {
		e, env := row.Msg, envOfKey(row.ID)
		e.Etag = store.Etag(row.Rev)
		if e.Latest, err = s.latest(ctx, env, e, news[row.ID]); err != nil {
			return nil, err
		}
		e = inView(withReport(e, reported[row.ID], s.now()), view)
		if view != catalogv1.EnvironmentView_ENVIRONMENT_VIEW_BASIC {
			e = layouts.show(ctx, env, e)
		}
		out = append(out, e)
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
			if err := s.sameSite(ctx, &tx, env, row.Msg, next.GetType()); err != nil {
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

// sameSite refuses a new type whose environments run on another cluster. One with another layout does not move the environment:
// it stays where it is until somebody moves it.
func (s *Service) sameSite(ctx context.Context, tx *store.Tx, env rules.Env, row *catalogv1.Environment, after string) error {
	if row.GetType() == after {
		return nil
	}
	old, err := s.standing(ctx, env, row)
	if err != nil {
		return err
	}
	typ, err := refer(ctx, s, tx, environmentTypes, "environmentTypes", "environment.type", after)
	if err != nil {
		return err
	}
	if old.target.GetName() != typ.GetTarget() {
		return errs.InvalidField("environment.type", "would move %s from %s to %s; create another environment of that type instead",
			env.Name(), old.target.GetName(), typ.GetTarget())
	}
	return checkPartsByPush(env.Name(), old.place, typ, old.repo)
}

func typeID(name string) string {
	id, _ := rules.ParseName("", "environmentTypes", name)
	return id
}
