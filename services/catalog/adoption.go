package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// Adopting makes an environment of what runs already. The objects stand in the environment's overlay as they are, so that rendering gives
// exactly them, and the first sync changes nothing but who owns them. Until somebody confirms it, nothing is removed.

// inspector reads clusters, as drift does for adoptions.
type inspector interface {
	InspectObjects(ctx context.Context, in *driftv1.InspectObjectsRequest, opts ...grpc.CallOption) (*driftv1.InspectObjectsResponse, error)
}

// adopted is what a request to adopt comes to.
type adopted struct {
	env     rules.Env
	asked   *catalogv1.PlanAdoptionRequest
	c       current
	unknown bool // the environment does not exist yet
	noApp   bool // neither does the application
	found   found
	all     []rules.Adoptee
	files   map[string][]byte
	plan    *catalogv1.AdoptionPlan
}

// PlanAdoption tells what adopting would do.
func (s adoptionServer) PlanAdoption(ctx context.Context, r *catalogv1.PlanAdoptionRequest) (*catalogv1.AdoptionPlan, error) {
	a, err := s.adopt(ctx, r)
	if err != nil {
		return nil, err
	}
	return a.plan, nil
}

// Adopt makes what is missing and deploys what was adopted. Application, environment and deployment come one after the other; where it
// ends in between, adopting again goes on.
func (s adoptionServer) Adopt(ctx context.Context, r *catalogv1.AdoptRequest) (*catalogv1.Deployment, error) {
	a, err := s.adopt(ctx, &catalogv1.PlanAdoptionRequest{
		Environment: r.GetEnvironment(), Source: r.GetSource(), Type: r.GetType(), Namespace: r.GetNamespace(), Repository: r.GetRepository(),
	})
	if err != nil {
		return nil, err
	}
	if len(a.plan.GetProblems()) > 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT, "%s cannot be adopted: %s", sourceText(r.GetSource()), strings.Join(firstLines(a.plan.GetProblems()), "; "))
	}
	if r.GetPlan() != "" && r.GetPlan() != a.plan.GetPlan() {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED, "what is there has changed since that plan; plan again and look at the difference").With("moved", "objects")
	}
	if err := s.ensureApplication(ctx, a); err != nil {
		return nil, err
	}
	change, err := rules.AdoptionChange(a.all)
	if err != nil {
		return nil, err
	}
	decide, err := s.change(ctx, change)
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: a.env, kind: catalogv1.Deployment_KIND_CHANGE, message: cmp.Or(r.GetMessage(), "Adopt "+sourceText(r.GetSource())), decide: decide,
		current: func(ctx context.Context) (current, error) { return s.adoptionTarget(ctx, a) },
	}, s.accept)
}

func firstLines(lines []string) []string {
	const most = 5
	if len(lines) <= most {
		return lines
	}
	return append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more", len(lines)-most))
}

// ensureApplication makes the application where there is none.
func (s *Service) ensureApplication(ctx context.Context, a *adopted) error {
	if !a.noApp {
		return nil
	}
	_, err := catalogServer{Service: s}.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{
		ApplicationId: a.env.App, Application: &catalogv1.Application{Repository: a.asked.GetRepository()},
	})
	if errs.Is(err, errs.AlreadyExists) { // somebody was faster
		return nil
	}
	return err
}

// adoptionTarget reads or prepares the environment as an adoption makes it: nothing is removed from it until somebody confirms.
func (s *Service) adoptionTarget(ctx context.Context, a *adopted) (current, error) {
	row, err := s.environment(ctx, a.env)
	if err == nil {
		if row.Msg.GetLatestDeployment() != "" {
			return current{}, deployedAlready(a.env)
		}
		c, err := s.current(ctx, a.env)
		if err == nil {
			c.row.Msg.PruneHeld, c.row.Msg.Origin = true, adoptionOrigin(a.asked)
		}
		return c, err
	}
	if !errs.Is(err, errs.NotFound) {
		return current{}, err
	}
	c, err := s.unborn(ctx, birth{env: a.env, stand: a.found.stand, begin: &catalogv1.NewEnvironment{
		Environment: &catalogv1.Environment{Type: a.asked.GetType(), Namespace: a.c.row.Msg.GetNamespace()},
	}})
	if err == nil {
		c.row.Msg.PruneHeld, c.row.Msg.Origin = true, adoptionOrigin(a.asked)
	}
	return c, err
}

func adoptionOrigin(r *catalogv1.PlanAdoptionRequest) *catalogv1.Origin {
	return &catalogv1.Origin{Kind: catalogv1.Origin_KIND_ADOPTION, Source: sourceText(r.GetSource())}
}

func deployedAlready(env rules.Env) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT,
		"%s has been deployed to, or adopted, already; adopt into an environment that is new or empty", env.Name()).With("state", "DEPLOYED")
}

// sourceText names what is adopted, for people.
func sourceText(src *catalogv1.AdoptionSource) string {
	switch {
	case src.GetFolder() != nil:
		return "folder " + src.GetFolder().GetRepository() + ":" + src.GetFolder().GetPath()
	case src.GetArgocdApplication() != "":
		return "Application " + src.GetArgocdApplication()
	case src.GetFluxKustomization() != "":
		return "Kustomization " + src.GetFluxKustomization()
	case src.GetNamespace().GetSelector() != "":
		return "the namespace's objects with " + src.GetNamespace().GetSelector()
	default:
		return "the namespace's objects"
	}
}

// ConfirmAdoption lets Towpath remove what is no longer declared.
func (s adoptionServer) ConfirmAdoption(ctx context.Context, r *catalogv1.ConfirmAdoptionRequest) (*catalogv1.ConfirmAdoptionResponse, error) {
	env, err := rules.ParseEnv("environment", r.GetEnvironment())
	if err != nil {
		return nil, err
	}
	err = retry(ctx, func() error {
		row, err := s.environment(ctx, env)
		if err != nil || !row.Msg.GetPruneHeld() {
			return err // to confirm twice is to confirm
		}
		next := proto.CloneOf(row.Msg)
		next.PruneHeld, next.UpdateTime = false, timestamppb.New(s.now())
		var tx store.Tx
		if err := environments.Update(&tx, row.ID, row.Rev, next); err != nil {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	return &catalogv1.ConfirmAdoptionResponse{}, err
}

// refuseHeldRemoval keeps an environment that was adopted and not confirmed from being removed: its objects would go with it.
func refuseHeldRemoval(env rules.Env, e *catalogv1.Environment) error {
	if !e.GetPruneHeld() {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PRUNE_HELD,
		"%s was adopted and nobody has confirmed that its objects may be removed; confirm it first: tow adopt --confirm -e %s/%s", env.Name(), env.App, env.ID)
}

// adoptee gives the environment as it is, or would be, without writing anything.
func (s *Service) adoptee(ctx context.Context, a *adopted) error {
	row, err := s.environment(ctx, a.env)
	if err == nil {
		if a.c, err = s.current(ctx, a.env); err != nil {
			return err
		}
		if row.Msg.GetLatestDeployment() != "" {
			return deployedAlready(a.env)
		}
		if ns := a.asked.GetNamespace(); ns != "" && ns != row.Msg.GetNamespace() {
			return errs.InvalidField("namespace", "is %s, and %s has %s; leave it out", ns, a.env.Name(), row.Msg.GetNamespace())
		}
		if t := a.asked.GetType(); t != "" && t != row.Msg.GetType() {
			return errs.InvalidField("type", "is %s, and %s is of %s; leave it out", t, a.env.Name(), row.Msg.GetType())
		}
		return nil
	}
	if !errs.Is(err, errs.NotFound) {
		return err
	}
	a.unknown = true
	return s.futureSite(ctx, a)
}

// futureSite works out where an environment would stand that does not exist, of an application that need not exist either.
func (s *Service) futureSite(ctx context.Context, a *adopted) error {
	if a.asked.GetType() == "" {
		return errs.InvalidField("type", "is empty and %s does not exist; give the environment type that it is to be of", a.env.Name())
	}
	for field, id := range map[string]string{"environment": a.env.App, "environment id": a.env.ID} {
		if err := rules.CheckID(field, id, rules.MaxAppID); err != nil {
			return err
		}
	}
	var unused store.Tx
	p := site{}
	app, err := applications.Get(ctx, s.cfg.KV, a.env.App)
	switch {
	case errors.Is(err, store.ErrNotFound):
		a.noApp = true
		p.app = &catalogv1.Application{Name: "applications/" + a.env.App, Repository: cmp.Or(a.asked.GetRepository(), defaultRepository)}
	case err != nil:
		return err
	default:
		p.app = app.Msg
		if r := a.asked.GetRepository(); r != "" && r != p.app.GetRepository() {
			return errs.InvalidField("repository", "is %s, and %s has %s; leave it out", r, p.app.GetName(), p.app.GetRepository())
		}
	}
	if p.typ, err = refer(ctx, s, &unused, environmentTypes, "environmentTypes", "type", a.asked.GetType()); err != nil {
		return err
	}
	if p.target, err = refer(ctx, s, &unused, targets, "targets", "environment_type.target", p.typ.GetTarget()); err != nil {
		return err
	}
	if err := s.layOut(ctx, a.env, &p, &unused); err != nil {
		return err
	}
	state := rules.EmptyState()
	e := &catalogv1.Environment{
		Name: a.env.Name(), Type: p.typ.GetName(), Namespace: a.asked.GetNamespace(), Intent: state.Intent,
		State: catalogv1.Environment_STATE_ACTIVE, Place: p.place,
	}
	a.c = current{env: a.env, site: p, state: state, row: store.Row[*catalogv1.Environment]{ID: envKey(a.env), Msg: e}}
	return nil
}
