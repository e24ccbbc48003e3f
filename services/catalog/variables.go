package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// GetVariable gives a variable as it is now.
func (s variableServer) GetVariable(ctx context.Context, r *catalogv1.GetVariableRequest) (*catalogv1.Variable, error) {
	sc, key, err := rules.ParseVariable("name", r.GetName())
	if err != nil {
		return nil, err
	}
	row, err := s.liveVariable(ctx, sc, key)
	if err != nil {
		return nil, err
	}
	return shownVariable(row), nil
}

// liveVariable reads a variable that is there and whose owner is.
func (s *Service) liveVariable(ctx context.Context, sc rules.Scope, key string) (store.Row[*catalogv1.Variable], error) {
	row, err := s.variableRow(ctx, sc, key)
	if err == nil && (row.Rev == 0 || row.Msg.GetDeleted()) {
		if err := s.scopeExists(ctx, sc); err != nil {
			return row, err
		}
		return row, noVariable(sc, key)
	}
	return row, err
}

func noVariable(sc rules.Scope, key string) error {
	return errs.NotFoundf(sc.Variable(key), "see `tow var list%s`", variableFlag(sc))
}

// variableFlag is how the CLI names a scope.
func variableFlag(sc rules.Scope) string {
	if sc.Env == "" {
		return " -a " + sc.App
	}
	return " -e " + sc.App + "/" + sc.Env
}

func (s *Service) scopeExists(ctx context.Context, sc rules.Scope) error {
	if sc.Env != "" {
		_, err := s.environment(ctx, rules.Env{App: sc.App, ID: sc.Env})
		return err
	}
	_, err := applications.Get(ctx, s.cfg.KV, sc.App)
	return orNotFound(err, sc.Name(), "see `tow app list`")
}

// ListVariables lists variables by key; for an environment also the application's that it does not override.
func (s variableServer) ListVariables(ctx context.Context, r *catalogv1.ListVariablesRequest) (*catalogv1.ListVariablesResponse, error) {
	sc, err := rules.ParseScope("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := s.scopeExists(ctx, sc); err != nil {
		return nil, err
	}
	all, err := s.mergedVariables(ctx, sc)
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	page, next, err := store.Page(all, variableID, "variables "+sc.Name(), size, r.GetPageToken())
	return &catalogv1.ListVariablesResponse{Variables: page, NextPageToken: next}, err
}

func variableID(v *catalogv1.Variable) string {
	return v.GetName()[strings.LastIndexByte(v.GetName(), '/')+1:]
}

// mergedVariables gives all variables that hold in a scope, by key. There are few: see rules.MaxVariables.
func (s *Service) mergedVariables(ctx context.Context, sc rules.Scope) ([]*catalogv1.Variable, error) {
	byKey := map[string]*catalogv1.Variable{}
	scopes := []rules.Scope{{App: sc.App}}
	if sc.Env != "" {
		scopes = append(scopes, sc)
	}
	for _, from := range scopes {
		rows, err := s.variableRows(ctx, from)
		if err != nil {
			return nil, err
		}
		for key, row := range rows {
			if row.Msg.GetDeleted() {
				continue
			}
			v := shownVariable(row)
			v.Overrides = byKey[key] != nil
			byKey[key] = v
		}
	}
	out := make([]*catalogv1.Variable, 0, len(byKey))
	for _, v := range byKey {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b *catalogv1.Variable) int { return strings.Compare(variableID(a), variableID(b)) })
	return out, nil
}

// ListVariableVersions lists what a variable has been, newest first.
func (s variableServer) ListVariableVersions(ctx context.Context, r *catalogv1.ListVariableVersionsRequest) (*catalogv1.ListVariableVersionsResponse, error) {
	sc, key, err := rules.ParseVariable("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := variableVersions.List(ctx, s.cfg.KV, store.List{
		Under: variableKey(sc, key) + "/", PageSize: size, PageToken: r.GetPageToken(), Reverse: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 && r.GetPageToken() == "" {
		return nil, noVariable(sc, key)
	}
	out := &catalogv1.ListVariableVersionsResponse{NextPageToken: next}
	for _, row := range rows {
		out.Variables = append(out.Variables, shownVariable(row))
	}
	return out, nil
}

// variableVersion reads one version; its etag is that of the variable as long as it is the newest.
func (s *Service) variableVersion(ctx context.Context, sc rules.Scope, key string, version int64) (*catalogv1.Variable, error) {
	row, err := variableVersions.Get(ctx, s.cfg.KV, variableVersionKey(sc, key, version))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errs.NotFoundf(sc.Variable(key)+" version "+itoa(int(version)), "see `tow var versions %s%s`", key, variableFlag(sc))
	}
	if err != nil {
		return nil, err
	}
	return shownVariable(row), nil
}

// FindVariableUses tells which workloads read a variable, in which environments.
func (s variableServer) FindVariableUses(ctx context.Context, r *catalogv1.FindVariableUsesRequest) (*catalogv1.FindVariableUsesResponse, error) {
	sc, key, err := rules.ParseVariable("name", r.GetName())
	if err != nil {
		return nil, err
	}
	row, err := s.variableRow(ctx, sc, key)
	if err == nil && row.Rev == 0 { // one that was taken away is asked for by who wonders what it broke
		_, err = s.liveVariable(ctx, sc, key)
	}
	if err != nil {
		return nil, err
	}
	uses, err := s.variableUses(ctx, sc, key)
	return &catalogv1.FindVariableUsesResponse{Uses: uses}, err
}

// variableUses looks through what the environments of the application are meant to be. An environment that has a variable of
// that name itself does not read the application's. Environments mostly share sets, so each set is looked at once.
func (s *Service) variableUses(ctx context.Context, sc rules.Scope, key string) ([]*catalogv1.VariableUse, error) {
	var out []*catalogv1.VariableUse
	known := map[string]*catalogv1.Set{}
	for e, err := range store.All(ctx, s.cfg.KV, environments.Key(sc.App+"/")) {
		if err != nil {
			return nil, err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return nil, err
		}
		env, err := rules.ParseEnv("name", row.Msg.GetName())
		if err != nil {
			return nil, err
		}
		if sc.Env != "" && env.ID != sc.Env || sc.Env == "" && hides(row.Msg.GetIntent(), key) {
			continue
		}
		found, err := s.usesOf(ctx, row.Msg, key, known)
		if err != nil {
			return nil, err
		}
		for _, use := range found {
			out = append(out, &catalogv1.VariableUse{
				Environment: env.Name(), Workload: use.Workload, Paths: use.Paths, Version: row.Msg.GetIntent().GetVariableVersions()[sc.Variable(key)],
			})
		}
	}
	return out, nil
}

func hides(intent *catalogv1.Intent, key string) bool {
	_, plain := intent.GetVariables()[key]
	_, secret := intent.GetSecretVariables()[key]
	return plain || secret
}

func (s *Service) usesOf(ctx context.Context, e *catalogv1.Environment, key string, known map[string]*catalogv1.Set) ([]rules.VariableUse, error) {
	set := known[e.GetIntent().GetSet()]
	if set == nil {
		var err error
		if set, err = s.set(ctx, e.GetIntent().GetSet()); err != nil {
			return nil, err
		}
		known[set.GetName()] = set
	}
	doc, err := rules.Effective(rules.State{Intent: e.GetIntent(), Set: set})
	if err != nil {
		doc = rules.DocumentOf(set) // an overlay that does not apply any more says nothing about reading
	}
	return rules.VariableUses(doc, key), nil
}
