package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// variableOrder is what somebody wants a variable to become, whichever RPC it came by.
type variableOrder struct {
	scope   rules.Scope
	key     string
	etag    string
	rollout catalogv1.Rollout
	message string
	request request
	// to gives the new value, nil to take the variable away. It is asked again when another writer was faster.
	to func(ctx context.Context, row store.Row[*catalogv1.Variable]) (*catalogv1.Variable, error)
}

// SetVariable writes a variable, new or not.
func (s variableServer) SetVariable(ctx context.Context, r *catalogv1.SetVariableRequest) (*catalogv1.SetVariableResponse, error) {
	v := r.GetVariable()
	sc, key, err := rules.ParseVariable("variable.name", v.GetName())
	if err != nil {
		return nil, err
	}
	if err := rules.CheckVariable("variable", key, v); err != nil {
		return nil, err
	}
	return s.changeVariable(ctx, variableOrder{
		scope: sc, key: key, etag: v.GetEtag(), rollout: r.GetRollout(), message: r.GetMessage(), request: request{id: r.GetRequestId(), content: r},
		to: func(context.Context, store.Row[*catalogv1.Variable]) (*catalogv1.Variable, error) { return v, nil },
	})
}

// DeleteVariable takes a variable away; its versions stay.
func (s variableServer) DeleteVariable(ctx context.Context, r *catalogv1.DeleteVariableRequest) (*catalogv1.SetVariableResponse, error) {
	sc, key, err := rules.ParseVariable("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.changeVariable(ctx, variableOrder{
		scope: sc, key: key, etag: r.GetEtag(), rollout: r.GetRollout(), message: r.GetMessage(), request: request{id: r.GetRequestId(), content: r},
		to: func(ctx context.Context, row store.Row[*catalogv1.Variable]) (*catalogv1.Variable, error) {
			if row.Rev == 0 || row.Msg.GetDeleted() {
				return nil, noVariable(sc, key)
			}
			if sc.Env != "" { // rendering its deployment tells who reads it
				return nil, nil
			}
			uses, err := s.variableUses(ctx, sc, key)
			if err == nil && len(uses) > 0 {
				by := uses[0].GetEnvironment()
				err = errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
					"%s is read in %s%s; let its workloads read something else first, or set it there", sc.Variable(key), by, andMore(len(uses)-1)).With("used_by", by)
			}
			return nil, err
		},
	})
}

func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return " and " + itoa(n) + " more places"
}

// RestoreVariable gives a variable the value of one of its versions, also one that was deleted.
func (s variableServer) RestoreVariable(ctx context.Context, r *catalogv1.RestoreVariableRequest) (*catalogv1.SetVariableResponse, error) {
	sc, key, err := rules.ParseVariable("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.changeVariable(ctx, variableOrder{
		scope: sc, key: key, rollout: r.GetRollout(), message: r.GetMessage(), request: request{id: r.GetRequestId(), content: r},
		to: func(ctx context.Context, _ store.Row[*catalogv1.Variable]) (*catalogv1.Variable, error) {
			v, err := s.variableVersion(ctx, sc, key, r.GetVersion())
			if err == nil && v.GetDeleted() {
				return nil, errs.InvalidField("version", "version %d says that %s was taken away; restore another, or delete the variable", r.GetVersion(), key)
			}
			return v, err
		},
	})
}

func (s *Service) changeVariable(ctx context.Context, o variableOrder) (*catalogv1.SetVariableResponse, error) {
	if o.scope.Env == "" {
		return s.changeApplicationVariable(ctx, o)
	}
	if o.rollout == catalogv1.Rollout_ROLLOUT_ALL {
		return nil, errs.InvalidField("rollout", "is for an application's variable; %s has this one alone and gets it at once", o.scope.Name())
	}
	env := rules.Env{App: o.scope.App, ID: o.scope.Env}
	describe := map[string]string{}
	o.request.scope = "deployments/" + envKey(env)
	d, err := s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: o.message, request: o.request, describe: describe,
		decide: func(ctx context.Context, c current) (decision, error) {
			row, err := s.variableRow(ctx, o.scope, o.key)
			if err != nil {
				return decision{}, err
			}
			if err := checkVariableEtag(o, row); err != nil {
				return decision{}, err
			}
			to, err := o.to(ctx, row)
			if err != nil {
				return decision{}, err
			}
			describe[o.key] = to.GetDescription()
			decide, err := s.change(ctx, changeOf(o.key, to))
			if err != nil {
				return decision{}, err
			}
			return decide(ctx, c)
		},
	}, s.accept)
	if err != nil {
		return nil, err
	}
	v, err := s.broughtBy(ctx, o, d)
	return &catalogv1.SetVariableResponse{Variable: v, Deployments: []*catalogv1.Deployment{d}}, err
}

func changeOf(key string, to *catalogv1.Variable) *catalogv1.Change {
	switch {
	case to == nil:
		return &catalogv1.Change{VariableDrops: []string{key}}
	case to.GetSecret() != nil:
		return &catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{key: to.GetSecret()}}
	default:
		return &catalogv1.Change{Variables: map[string]string{key: to.GetValue()}}
	}
}

// broughtBy gives the version of a variable that a deployment pinned, or with which it took it away.
func (s *Service) broughtBy(ctx context.Context, o variableOrder, d *catalogv1.Deployment) (*catalogv1.Variable, error) {
	if version := d.GetIntent().GetVariableVersions()[o.scope.Variable(o.key)]; version > 0 {
		return s.variableVersion(ctx, o.scope, o.key, version)
	}
	rows, _, err := variableVersions.List(ctx, s.cfg.KV, store.List{Under: variableKey(o.scope, o.key) + "/", Reverse: true},
		func(v *catalogv1.Variable) bool { return v.GetDeployment() == d.GetName() })
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return shownVariable(rows[0]), nil
}

func checkVariableEtag(o variableOrder, row store.Row[*catalogv1.Variable]) error {
	return checkEtag(o.etag, row.Rev, o.scope.Variable(o.key))
}

func (s *Service) changeApplicationVariable(ctx context.Context, o variableOrder) (*catalogv1.SetVariableResponse, error) {
	o.request.scope = "variables/" + o.scope.App
	var v *catalogv1.Variable
	err := retry(ctx, func() (err error) {
		v = &catalogv1.Variable{}
		rev, found, err := s.earlier(ctx, o.request, v)
		if err == nil && !found {
			v, rev, err = s.writeApplicationVariable(ctx, o)
		}
		if err == nil && v.GetEtag() == "" {
			v.Etag = store.Etag(rev)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &catalogv1.SetVariableResponse{Variable: v}
	if o.rollout == catalogv1.Rollout_ROLLOUT_ALL {
		out.Deployments, out.HeldEnvironments, err = s.rollOut(ctx, o, v)
	}
	return out, err
}

// writeApplicationVariable writes the next version. What says the same as before is none.
func (s *Service) writeApplicationVariable(ctx context.Context, o variableOrder) (*catalogv1.Variable, int64, error) {
	if err := s.scopeExists(ctx, o.scope); err != nil {
		return nil, 0, err
	}
	rows, err := s.variableRows(ctx, o.scope)
	if err != nil {
		return nil, 0, err
	}
	row, ok := rows[o.key]
	if !ok {
		row.Msg = &catalogv1.Variable{}
	}
	if err := checkVariableEtag(o, row); err != nil {
		return nil, 0, err
	}
	to, err := o.to(ctx, row)
	if err != nil {
		return nil, 0, err
	}
	if to = proto.CloneOf(to); to != nil && to.GetDescription() == "" {
		to.Description = row.Msg.GetDescription()
	}
	if err := fits(rows, row, to); err != nil {
		return nil, 0, err
	}
	var tx store.Tx
	tx.If(store.IfExists(applications.Key(o.scope.App)))
	v := shownVariable(row) // with its etag, which a call that changes nothing leaves as it is
	if to == nil || row.Rev == 0 || row.Msg.GetDeleted() || !rules.SameVariable(row.Msg, to) {
		if v, err = s.putVariable(&tx, o.scope, o.key, row, to, "", actor(ctx)); err != nil {
			return nil, 0, err
		}
	}
	if o.rollout == catalogv1.Rollout_ROLLOUT_ALL {
		if err := s.checkRollout(ctx, o, v); err != nil {
			return nil, 0, err
		}
	}
	if err := s.answer(&tx, o.request, v); err != nil {
		return nil, 0, err
	}
	rev, err := s.cfg.KV.Commit(ctx, tx)
	return v, rev, err
}

func fits(rows map[string]store.Row[*catalogv1.Variable], row store.Row[*catalogv1.Variable], to *catalogv1.Variable) error {
	if to == nil || row.Rev != 0 && !row.Msg.GetDeleted() {
		return nil
	}
	n := 0
	for _, r := range rows {
		if !r.Msg.GetDeleted() {
			n++
		}
	}
	if n >= rules.MaxVariables {
		return errs.InvalidField("variable.name", "the application has %d variables, and more are not possible; delete one, or put settings that belong together into a file of the workload", n)
	}
	return nil
}

// maxRollout is how many environments one call deploys to; more would outlive every caller's patience.
const maxRollout = 100

// readers gives the environments whose workloads read an application's variable, by name.
func (s *Service) readers(ctx context.Context, o variableOrder) ([]rules.Env, error) {
	uses, err := s.variableUses(ctx, o.scope, o.key)
	if err != nil {
		return nil, err
	}
	var out []rules.Env
	for _, use := range uses {
		env, err := rules.ParseEnv("environment", use.GetEnvironment())
		if err != nil {
			return nil, err
		}
		if len(out) == 0 || out[len(out)-1] != env {
			out = append(out, env)
		}
	}
	return out, nil
}

// checkRollout refuses a variable with which an environment could not be rendered, before anything is written.
func (s *Service) checkRollout(ctx context.Context, o variableOrder, v *catalogv1.Variable) error {
	envs, _, err := s.rolloutTargets(ctx, o)
	if err != nil {
		return err
	}
	if len(envs) > maxRollout {
		return errs.InvalidField("rollout", "%d environments read %s and one call deploys to %d at most; use ROLLOUT_NEXT, each then gets it with its next deployment",
			len(envs), v.GetName(), maxRollout)
	}
	for _, env := range envs {
		c, err := s.current(ctx, env)
		if err != nil {
			return err
		}
		next := c.state
		if next.Intent, err = s.pin(ctx, c, c.state); err != nil {
			return err
		}
		rules.ReplaceApplicationVariable(next.Intent, o.key, v)
		if _, err := s.render(ctx, c, next); err != nil && !errs.Is(err, errs.Unavailable) && !outputsMissing(err) {
			return inEnvironment(env, err)
		}
	}
	return nil
}

func inEnvironment(env rules.Env, err error) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Msg = env.Name() + ": " + out.Msg
	return (&out).With("environment", env.Name())
}

// rollOut makes a deployment for every environment that reads the variable. Each has a request id of its own that follows from the
// call's, so that a call that is repeated goes on where the first one was interrupted. Without a request id there is nothing to
// repeat. Environments that a rollback holds are left out, and told.
func (s *Service) rollOut(ctx context.Context, o variableOrder, v *catalogv1.Variable) ([]*catalogv1.Deployment, []string, error) {
	envs, held, err := s.rolloutTargets(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	id := o.request.id
	if id == "" {
		id = rand.Text()
	}
	decide, err := s.change(ctx, &catalogv1.Change{})
	if err != nil {
		return nil, nil, err
	}
	var out []*catalogv1.Deployment
	var missed []string
	var first error
	for _, env := range envs {
		d, err := s.deploy(ctx, order{
			env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: o.message, decide: decide, byItself: true,
			request: request{"deployments/" + envKey(env), id + "#rollout", o.request.content},
		}, s.accept)
		if errs.ReasonOf(err) == errorsv1.Reason_REASON_HELD_BY_ROLLBACK { // rolled back just now
			held = append(held, env.Name())
			continue
		}
		if err != nil {
			missed = append(missed, env.Name())
			first = errors.Join(first, err)
			continue
		}
		out = append(out, d)
	}
	if len(missed) == 0 {
		return out, held, nil
	}
	var e *errs.Error
	if !errors.As(first, &e) {
		return nil, nil, first
	}
	said := *e
	said.Msg = v.GetName() + " is changed and " + itoa(len(out)) + " of " + itoa(len(envs)) + " environments get it, but not " +
		strings.Join(missed, ", ") + ": " + e.Msg + "; repeat the call with the same request_id, or deploy there"
	return nil, nil, (&said).With("environments", strings.Join(missed, ","))
}
