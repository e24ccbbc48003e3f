package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// order is a deployment that somebody asked for, whichever RPC it came by.
type order struct {
	env      rules.Env
	kind     catalogv1.Deployment_Kind
	message  string
	planHash string
	etag     string
	request  request
	// describe has descriptions of variables that the deployment brings.
	describe map[string]string
	// retry is the deployment that is tried again, nil for none.
	retry *catalogv1.Deployment
	// decide gives what the environment is to be. It may run several times: again when somebody else was faster.
	decide func(ctx context.Context, c current) (decision, error)
	// current reads the environment; nil for one that exists.
	current func(ctx context.Context) (current, error)
	// origin says by which way it came; told from the call when empty.
	origin string
	// byItself tells that no person named the environment: then it is refused while a rollback holds it.
	byItself bool
	// also adds to the transaction what happens together with the deployment; nil for nothing.
	also func(tx *store.Tx) error
}

// current is an environment at the moment of a decision.
type current struct {
	env   rules.Env
	row   store.Row[*catalogv1.Environment]
	site  site
	state rules.State
	// born adds what is written with an environment that does not exist yet, nil for one that does; row.Rev is 0 then.
	born func(tx *store.Tx, e *catalogv1.Environment) error
	// kind is what is planned or deployed, for guardrails.
	kind catalogv1.Deployment_Kind
	// move is set for a move; site is then where it goes.
	move *movement
}

// decision is what a deployment shall bring.
type decision struct {
	state   rules.State
	restore *catalogv1.Deployment // the deployment whose tree is put back, nil to render
	// promotionOf is the deployment whose set a promotion brings, rerender the one whose intent a rollback renders anew.
	promotionOf string
	rerender    *catalogv1.Deployment
	// removal takes the environment away: nothing is rendered.
	removal bool
	// moves writes what stands in Git elsewhere: it was pinned then.
	moves   bool
	summary []string
}

// CreateDeployment accepts a change.
func (s catalogServer) CreateDeployment(ctx context.Context, r *catalogv1.CreateDeploymentRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	decide, err := s.change(ctx, r.GetChange())
	if err != nil {
		return nil, err
	}
	if draft := r.GetChange().GetDraft(); draft != "" {
		defer s.sendDecisions(ctx, env)
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: r.GetMessage(), planHash: r.GetPlanHash(),
		also: func(tx *store.Tx) error {
			return errors.Join(s.allowAdopted(ctx, tx, env, r.GetChange().GetDraft()), s.noteDeployed(ctx, tx, env, r.GetChange().GetDraft()))
		},
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r}, decide: decide,
	}, s.accept)
}

// change prepares the decision of a change: Score files are loaded once, whatever happens to the environment meanwhile.
func (s *Service) change(ctx context.Context, change *catalogv1.Change) (func(context.Context, current) (decision, error), error) {
	var loaded map[string]*structpb.Struct
	if len(change.GetScores()) > 0 {
		resp, err := s.cfg.Renderer.LoadWorkloads(ctx, &rendererv1.LoadWorkloadsRequest{Files: change.GetScores()})
		if err != nil {
			return nil, ofScores(rpc.FromStatus(err))
		}
		loaded = resp.GetWorkloads()
	}
	return func(ctx context.Context, c current) (decision, error) {
		from := c.state
		if change.GetSet() != "" {
			set, err := s.set(ctx, change.GetSet())
			if errs.Is(err, errs.NotFound) {
				return decision{}, errs.InvalidField("change.set", "%s does not exist; deployments name the sets that do", change.GetSet())
			}
			if err != nil {
				return decision{}, err
			}
			from.Set = set
		}
		if err := rules.CheckSecretWays(change, c.site.typ.GetDefaults().GetSecrets()); err != nil {
			return decision{}, err
		}
		change, err := s.rebased(ctx, from, change, loaded)
		if err != nil {
			return decision{}, err
		}
		next, err := rules.Apply(from, change, loaded)
		if err != nil {
			return decision{}, err
		}
		return decision{state: next, summary: rules.Summary(c.state, next)}, nil
	}, nil
}

// ofScores names the fields of the renderer's request as they are called in a change.
func ofScores(err error) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	for i, f := range e.Fields {
		if rest, ok := strings.CutPrefix(f.Path, "files["); ok {
			e.Fields[i].Path = "change.scores[" + rest
		}
	}
	return e
}

// deploy accepts an order, once for a request id, and again from the start when another writer was faster.
func (s *Service) deploy(ctx context.Context, o order, accept func(context.Context, order) (*catalogv1.Deployment, error)) (*catalogv1.Deployment, error) {
	unlock, err := s.envs.lock(ctx, envKey(o.env))
	if err != nil {
		return nil, err
	}
	defer unlock()
	var d *catalogv1.Deployment
	err = retry(ctx, func() error {
		if d, err = s.earlierDeployment(ctx, o.request); err != nil || d != nil {
			return err
		}
		d, err = accept(ctx, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// earlierDeployment gives the deployment of an earlier call with the same request id, as it is now; nil when there is none.
func (s *Service) earlierDeployment(ctx context.Context, r request) (*catalogv1.Deployment, error) {
	d := &catalogv1.Deployment{}
	_, found, err := s.earlier(ctx, r, d)
	if err != nil || !found {
		return nil, err
	}
	env, generation, ok := rules.EnvOfDeployment(d.GetName())
	if !ok {
		return d, nil
	}
	return s.deployment(ctx, env, generation)
}

func (s *Service) accept(ctx context.Context, o order) (*catalogv1.Deployment, error) {
	c, err := s.currentOf(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := checkEtag(o.etag, c.row.Rev, o.env.Name()); err != nil {
		return nil, err
	}
	if c.row.Msg.GetState() == catalogv1.Environment_STATE_DELETING {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s is being removed by %s; wait for its end, then create it again", o.env.Name(), c.row.Msg.GetLatestDeployment()).With("state", "DELETING")
	}
	if err := s.refuseMoving(ctx, c); err != nil {
		return nil, err
	}
	if err := errors.Join(refuseHeldByRollback(o, c), s.refuseHeld(c, o.kind)); err != nil {
		return nil, err
	}
	next, err := s.decided(ctx, c, o.decide)
	if err != nil {
		return nil, err
	}
	d := s.draft(ctx, o, c, next)
	if err := s.hold(ctx, o, c, next, d); err != nil {
		return nil, err
	}
	return d, s.commitDeployment(ctx, o, c, next, d)
}

func (s *Service) currentOf(ctx context.Context, o order) (current, error) {
	if o.current != nil {
		return o.current(ctx)
	}
	return s.current(ctx, o.env)
}

// current reads all that a decision about an environment needs.
func (s *Service) current(ctx context.Context, env rules.Env) (current, error) {
	row, err := s.environment(ctx, env)
	if err != nil {
		return current{}, err
	}
	p, err := s.standing(ctx, env, row.Msg)
	if err != nil {
		return current{}, err
	}
	state, err := s.state(ctx, row.Msg.GetIntent())
	return current{env: env, row: row, site: p, state: state}, err
}

// state reads the set that an intent names.
func (s *Service) state(ctx context.Context, intent *catalogv1.Intent) (rules.State, error) {
	set, err := s.set(ctx, intent.GetSet())
	if err != nil {
		return rules.State{}, err
	}
	return rules.State{Intent: intent, Set: set}, nil
}

func (s *Service) draft(ctx context.Context, o order, c current, next decision) *catalogv1.Deployment {
	generation := c.row.Msg.GetGeneration() + 1
	d := &catalogv1.Deployment{
		Name: o.env.Deployment(generation), Kind: o.kind, Generation: generation, Intent: next.state.Intent,
		Actor: actor(ctx), Message: o.message, RollbackOf: next.restore.GetName(), Summary: next.summary,
		Repository: c.site.repo.GetName(), Branch: c.site.repo.GetBranch(), Path: c.site.path, RequestId: o.request.id,
		PromotionOf: next.promotionOf, Origin: o.origin,
	}
	c.pinIn(d)
	sayWhatReturns(d, next)
	if d.RequestId == "" {
		d.RequestId = rand.Text()
	}
	if o.kind != catalogv1.Deployment_KIND_REMOVAL {
		d.Images = rules.Images(next.state)
	}
	now := s.now()
	s.begin(ctx, o, c, d, now)
	d.UpdateTime = timestamppb.New(now)
	markChanged(d, true)
	return d
}

// commitDeployment writes the deployment, its environment and the answer to its request id in one transaction.
func (s *Service) commitDeployment(ctx context.Context, o order, c current, next decision, d *catalogv1.Deployment) error {
	var tx store.Tx
	if err := s.answer(&tx, o.request, &catalogv1.Deployment{Name: d.GetName()}); err != nil {
		return err
	}
	if err := s.putSet(ctx, &tx, next.state.Set); err != nil {
		return err
	}
	e := proto.CloneOf(c.row.Msg)
	e.Generation, e.LatestDeployment, e.UpdateTime = d.GetGeneration(), d.GetName(), d.GetCreateTime()
	id := depKey(o.env, d.GetGeneration())
	if err := s.enterLine(ctx, &tx, c, e, d, o.describe); err != nil {
		return err
	}
	c.settleIn(&tx, e)
	if err := c.bear(&tx, e); err != nil {
		return err
	}
	if err := errors.Join(putTimes(&tx, id, d), putLatest(&tx, o.env, d)); err != nil {
		return err
	}
	if err := errors.Join(environments.Update(&tx, c.row.ID, c.row.Rev, e), deployments.Create(&tx, id, d)); err != nil {
		return err
	}
	if o.also != nil {
		if err := o.also(&tx); err != nil {
			return err
		}
	}
	tx.Put(openPrefix+id, traceOf(ctx))
	s.remember(ctx, d.GetName())
	rev, err := s.cfg.KV.Commit(ctx, tx)
	if err != nil {
		s.traces.Delete(d.GetName())
		return err
	}
	d.Etag = store.Etag(rev)
	s.cfg.Failpoint(failpoint.RowCommitted)
	return nil
}

// markChanged notes in a row whether the write changed the deployment's state. The outbox reads the log of writes and tells
// subscribers each state once by it. The field is free in the row because the API shows the row's revision there.
func markChanged(d *catalogv1.Deployment, changed bool) {
	d.Etag = ""
	if changed {
		d.Etag = stateChanged
	}
}

const stateChanged = "state-changed"

// set reads a set.
func (s *Service) set(ctx context.Context, name string) (*catalogv1.Set, error) {
	id, ok := setID(name)
	if !ok {
		return nil, errs.InvalidField("set", "%q is no name of a set; it is sets/ and 64 hex digits", name)
	}
	row, err := sets.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) {
		return s.unstoredSet(ctx, name, id)
	}
	return row.Msg, err
}

// putSet adds the set to the transaction unless it is there already. Its content never changes, so no condition is needed.
func (s *Service) putSet(ctx context.Context, tx *store.Tx, set *catalogv1.Set) error {
	id, ok := setID(set.GetName())
	if !ok {
		return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "set %q has no id", set.GetName())
	}
	_, err := s.cfg.KV.Get(ctx, sets.Key(id))
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	set = proto.CloneOf(set)
	set.CreateTime = timestamppb.New(s.now())
	return sets.Put(tx, id, set)
}

// GetSet gives an immutable set.
func (s catalogServer) GetSet(ctx context.Context, r *catalogv1.GetSetRequest) (*catalogv1.Set, error) {
	return s.set(ctx, r.GetName())
}
