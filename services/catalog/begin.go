package catalog

import (
	"context"
	"net/url"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// model is what a new environment is copied from.
type model struct {
	name   string // of the deployment, or of the environment where nothing was deployed from yet that runs
	typ    string // of the environment, "" when it is gone
	intent *catalogv1.Intent
}

// modelOf reads what a new environment is copied from: a deployment's intent, or that of what runs in an environment. Where
// nothing runs yet, what the environment is meant to be is what a copy is meant to be, too.
func (s *Service) modelOf(ctx context.Context, field, name string, to rules.Env) (model, error) {
	env, number, err := parseSource(field, name)
	if err != nil {
		return model{}, err
	}
	m := model{}
	e, err := s.environment(ctx, env)
	switch {
	case err == nil:
		m.typ = e.Msg.GetType()
	case !errs.Is(err, errs.NotFound):
		return m, err
	}
	d, err := s.sourceOf(ctx, field, name, to)
	if err == nil {
		m.name, m.intent = d.GetName(), d.GetIntent()
		return m, nil
	}
	if number != "active" || errs.ReasonOf(err) != errorsv1.Reason_REASON_WRONG_STATE || e.Msg.GetState() == catalogv1.Environment_STATE_DELETING {
		return m, err
	}
	if e.Msg.GetLatestDeployment() == "" {
		return m, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s holds nothing that could be copied; deploy to it first, or leave %s out", env.Name(), field).With("state", "EMPTY")
	}
	m.name, m.intent = e.Msg.GetLatestDeployment(), e.Msg.GetIntent()
	return m, nil
}

// originate notes where a new environment comes from, and takes the type of what it is copied from where none is given.
func (s *Service) originate(ctx context.Context, b birth, e *catalogv1.Environment) error {
	e.Origin = &catalogv1.Origin{Kind: catalogv1.Origin_KIND_EMPTY}
	if b.begin.GetFrom() != "" {
		m, err := s.modelOf(ctx, b.prefix+"from", b.begin.GetFrom(), b.env)
		if err != nil {
			return err
		}
		e.Origin = &catalogv1.Origin{Kind: catalogv1.Origin_KIND_CLONE, Source: m.name}
		if e.GetType() == "" {
			e.Type = m.typ
		}
	}
	if b.pullRequest == "" {
		return nil
	}
	if u, err := url.Parse(b.pullRequest); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return errs.InvalidField("pull_request", "is no http or https URL without a user; give the pull request's address as a browser shows it")
	}
	e.Origin = &catalogv1.Origin{Kind: catalogv1.Origin_KIND_PULL_REQUEST, Source: b.pullRequest}
	return nil
}

// expires sets when a new environment is deleted by itself: after the ttl of the request, at the time that the environment
// itself gives, or after the type's default.
func (s *Service) expires(b birth, typ *catalogv1.EnvironmentType, e *catalogv1.Environment) error {
	ttl, at, field := b.begin.GetTtl(), b.begin.GetEnvironment().GetExpireTime(), b.prefix+"ttl"
	switch {
	case ttl != nil && at != nil:
		return errs.InvalidField(field, "is given beside environment.expire_time; give one of them")
	case at != nil:
		if !at.IsValid() || !at.AsTime().After(s.now()) {
			return errs.InvalidField(b.prefix+"environment.expire_time", "is not in the future; give a later time, or a ttl")
		}
		e.ExpireTime = at
		return nil
	case ttl == nil:
		if ttl = typ.GetDefaultTtl(); ttl == nil {
			return nil
		}
		field = "environment_type.default_ttl"
	}
	if err := rules.CheckTTL(field, ttl); err != nil {
		return err
	}
	e.ExpireTime = timestamppb.New(s.now().Add(ttl.AsDuration()))
	return nil
}

// firstDecision prepares the decision of a new environment's first deployment: what it is copied from, with the changes on top.
// References to secrets are copied like any other variable; the secrets themselves are in nobody's hands here.
func (s *Service) firstDecision(ctx context.Context, b birth) (func(context.Context, current) (decision, error), error) {
	change, err := s.change(ctx, b.begin.GetChange())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, c current) (decision, error) {
		empty := c.state
		if b.begin.GetFrom() != "" {
			m, err := s.modelOf(ctx, b.prefix+"from", b.begin.GetFrom(), b.env)
			if err != nil {
				return decision{}, err
			}
			if c.state, err = s.state(ctx, rules.Copied(m.intent)); err != nil {
				return decision{}, err
			}
		}
		next := decision{state: c.state}
		if proto.Size(b.begin.GetChange()) > 0 {
			if next, err = change(ctx, c); err != nil {
				return decision{}, err
			}
		}
		next.summary = rules.Summary(empty, next.state)
		return next, nil
	}, nil
}
