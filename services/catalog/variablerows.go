package catalog

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// The truth about an environment's variables is its intent: that is what its deployments pin. The rows beside it are written in
// the transaction of the deployment, and give each variable its versions, times and actors. An application's variables are
// rows alone, and intents pin what they were.

// scopeKey begins the ids of a scope's variables. "-" is no environment's id.
func scopeKey(sc rules.Scope) string {
	if sc.Env == "" {
		return sc.App + "/-/"
	}
	return sc.App + "/" + sc.Env + "/"
}

func variableKey(sc rules.Scope, key string) string { return scopeKey(sc) + key }

func variableVersionKey(sc rules.Scope, key string, version int64) string {
	return fmt.Sprintf("%s/%020d", variableKey(sc, key), version)
}

func scopeOf(e rules.Env) rules.Scope { return rules.Scope{App: e.App, Env: e.ID} }

// variableRows reads all rows of a scope by key, also of variables that were taken away.
func (s *Service) variableRows(ctx context.Context, sc rules.Scope) (map[string]store.Row[*catalogv1.Variable], error) {
	out := map[string]store.Row[*catalogv1.Variable]{}
	under := scopeKey(sc)
	for e, err := range store.All(ctx, s.cfg.KV, variables.Key(under)) {
		if err != nil {
			return nil, err
		}
		row, err := variables.Decode(e)
		if err != nil {
			return nil, err
		}
		out[row.ID[len(under):]] = row
	}
	return out, nil
}

// variableRow reads one; a row without revision and version when there never was one.
func (s *Service) variableRow(ctx context.Context, sc rules.Scope, key string) (store.Row[*catalogv1.Variable], error) {
	row, err := variables.Get(ctx, s.cfg.KV, variableKey(sc, key))
	if errors.Is(err, store.ErrNotFound) {
		return store.Row[*catalogv1.Variable]{ID: variableKey(sc, key), Msg: &catalogv1.Variable{Name: sc.Variable(key)}}, nil
	}
	return row, err
}

// putVariable adds the next version of a variable to tx: what to says, or that it is taken away when to is nil.
func (s *Service) putVariable(tx *store.Tx, sc rules.Scope, key string, row store.Row[*catalogv1.Variable], to *catalogv1.Variable, deployment, by string) (*catalogv1.Variable, error) {
	now := timestamppb.New(s.now())
	next := &catalogv1.Variable{
		Name: sc.Variable(key), Value: to.GetValue(), Secret: to.GetSecret(), Description: to.GetDescription(), Deleted: to == nil,
		Version: row.Msg.GetVersion() + 1, Deployment: deployment, UpdateActor: by, UpdateTime: now,
		CreateTime: row.Msg.GetCreateTime(), CreateActor: row.Msg.GetCreateActor(),
	}
	if row.Rev == 0 || row.Msg.GetDeleted() {
		next.CreateTime, next.CreateActor = now, by
	}
	return next, errors.Join(
		variables.Update(tx, variableKey(sc, key), row.Rev, next),
		variableVersions.Create(tx, variableVersionKey(sc, key, next.GetVersion()), next),
	)
}

// putVariables adds to tx what makes an environment's variables of those of its intent: before, what it was, after, what it is
// from now on by d.
func (s *Service) putVariables(ctx context.Context, tx *store.Tx, env rules.Env, before, after *catalogv1.Intent, d *catalogv1.Deployment, describe map[string]string) error {
	rows, changes, err := s.variableChanges(ctx, env, before, after, describe)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if _, err := s.putVariable(tx, scopeOf(env), change.Key, rows[change.Key], change.To, d.GetName(), d.GetActor()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) variableChanges(ctx context.Context, env rules.Env, was, intent *catalogv1.Intent, describe map[string]string) (map[string]store.Row[*catalogv1.Variable], []rules.VariableChange, error) {
	if len(was.GetVariables())+len(was.GetSecretVariables())+len(intent.GetVariables())+len(intent.GetSecretVariables()) == 0 {
		return nil, nil, nil // as most: spare them the scan
	}
	rows, err := s.variableRows(ctx, scopeOf(env))
	if err != nil {
		return nil, nil, err
	}
	msgs := make(map[string]*catalogv1.Variable, len(rows))
	for key, row := range rows {
		msgs[key] = row.Msg
	}
	changes := rules.VariableChanges(msgs, intent, describe)
	for _, change := range changes {
		if _, ok := rows[change.Key]; !ok {
			rows[change.Key] = store.Row[*catalogv1.Variable]{}
		}
	}
	return rows, changes, nil
}

// dropVariables adds to tx that an environment that is gone has no variables. Their versions stay.
func (s *Service) dropVariables(ctx context.Context, tx *store.Tx, env rules.Env, removal int64) error {
	d, err := s.deployment(ctx, env, removal)
	if err != nil {
		return err
	}
	rows, err := s.variableRows(ctx, scopeOf(env))
	if err != nil {
		return err
	}
	for key, row := range rows {
		if row.Msg.GetDeleted() {
			continue
		}
		if _, err := s.putVariable(tx, scopeOf(env), key, row, nil, d.GetName(), d.GetActor()); err != nil {
			return err
		}
	}
	return nil
}

// pinVariables notes in an intent the application's variables as they are now, and the version that each variable has with
// this intent: of the environment's own, that which the deployment will write.
func (s *Service) pinVariables(ctx context.Context, c current, intent *catalogv1.Intent) error {
	rows, err := s.variableRows(ctx, rules.Scope{App: c.env.App})
	if err != nil {
		return err
	}
	intent.ApplicationVariables, intent.ApplicationSecretVariables, intent.VariableVersions = nil, nil, nil
	app := make([]*catalogv1.Variable, 0, len(rows))
	for _, row := range rows {
		app = append(app, row.Msg)
	}
	rules.PinApplicationVariables(intent, app)
	own, changes, err := s.variableChanges(ctx, c.env, c.row.Msg.GetIntent(), intent, nil)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, change := range changes {
		if changed[change.Key] = true; change.To != nil {
			rules.PinVersion(intent, scopeOf(c.env).Variable(change.Key), own[change.Key].Msg.GetVersion()+1)
		}
	}
	for key, row := range own {
		if !changed[key] && row.Msg != nil && !row.Msg.GetDeleted() {
			rules.PinVersion(intent, row.Msg.GetName(), row.Msg.GetVersion())
		}
	}
	return nil
}

// shownVariable gives a row as the API shows it.
func shownVariable(row store.Row[*catalogv1.Variable]) *catalogv1.Variable {
	out := proto.CloneOf(row.Msg)
	out.Etag = store.Etag(row.Rev)
	return out
}
