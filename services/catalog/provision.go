package catalog

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// A deployment that needs outputs which no cluster has said yet goes out in two commands: its claims, then itself. In between it is
// PROVISIONING. All of that is in its row (awaited_outputs, the intent's output_versions), so that a restart at any step goes on.

func provisioningTime(c current) time.Duration {
	if d := c.site.typ.GetProvisioningDeadline(); d != nil {
		return d.AsDuration()
	}
	return rules.DefaultProvisioning
}

// onClaims notes that claims are in Git. Their outputs may be known by now.
func (s *Service) onClaims(ctx context.Context, e *eventsv1.ClaimsCommitted, at time.Time) error {
	env, generation, ok := rules.EnvOfDeployment(e.GetDeployment())
	if !ok {
		return errs.InvalidField("deployment", "%q is no deployment", e.GetDeployment())
	}
	if _, err := s.moveDeployment(ctx, env, generation, func(d *catalogv1.Deployment) { rules.Claimed(d, e, at) }); err != nil {
		return err
	}
	return s.goOn(ctx, env)
}

// goOn lets the deployment that awaits outputs go on when they are there: its intent pins them, and it is sent again, now as itself.
// Only the newest deployment of an environment can await anything that still matters.
func (s *Service) goOn(ctx context.Context, env rules.Env) error {
	err := retry(ctx, func() error {
		c, err := s.current(ctx, env)
		if err != nil {
			return err
		}
		row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, c.row.Msg.GetGeneration()))
		if err != nil || !rules.Provisioning(row.Msg) || row.Msg.GetCancellation() != nil {
			return err
		}
		return s.provisioned(ctx, c, row)
	})
	if errors.Is(err, store.ErrNotFound) || errs.Is(err, errs.NotFound) {
		return nil // it is gone
	}
	return err
}

func (s *Service) provisioned(ctx context.Context, c current, row store.Row[*catalogv1.Deployment]) error {
	intent := proto.CloneOf(row.Msg.GetIntent())
	if err := s.pinOutputs(ctx, c.env, intent); err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(row.Msg.GetAwaitedOutputs()), func(r string) bool { return intent.GetOutputVersions()[r] > 0 })
	if len(missing) > 0 {
		return s.movedOn(ctx, c, row, nil, func(d *catalogv1.Deployment) { rules.Arrived(d, missing) })
	}
	state, err := s.state(ctx, intent)
	if err != nil {
		return err
	}
	_, err = s.render(ctx, c, state)
	next := &catalogv1.Deployment{}
	err = s.orAwait(ctx, c, state, next, err)
	now := s.now()
	switch {
	case err == nil && len(next.GetAwaitedOutputs()) > 0 && proto.Equal(intent, row.Msg.GetIntent()):
		return nil // what came is not all that a claim gives
	case err == nil:
		return s.movedOn(ctx, c, row, intent, func(d *catalogv1.Deployment) {
			rules.Provisioned(d, intent, next.GetAwaitedOutputs(), now, provisioningTime(c))
		})
	case errs.Is(err, errs.Invalid) || errs.Is(err, errs.Precondition):
		return s.movedOn(ctx, c, row, nil, func(d *catalogv1.Deployment) {
			rules.ProvisioningFailed(d, rpc.ReasonName(errs.ReasonOf(err)), errs.Message(err), now)
		})
	default:
		return err
	}
}

// movedOn writes the deployment, and with an intent also the environment, which is meant to be that.
func (s *Service) movedOn(ctx context.Context, c current, row store.Row[*catalogv1.Deployment], intent *catalogv1.Intent, move func(*catalogv1.Deployment)) error {
	var tx store.Tx
	if err := s.moved(ctx, &tx, row, move); err != nil || len(tx.Ops) == 0 {
		return err
	}
	tx.If(store.IfRev(environments.Key(c.row.ID), c.row.Rev)) // a newer deployment makes this one pointless
	if intent != nil {
		e := proto.CloneOf(c.row.Msg)
		e.Intent = intent
		if err := environments.Update(&tx, c.row.ID, c.row.Rev, e); err != nil {
			return err
		}
	}
	_, err := s.cfg.KV.Commit(ctx, tx)
	return err
}

// sendRound has a deployment sent: its claims where it awaits outputs, which begins that wait, else itself.
func (o *outbox) sendRound(ctx context.Context, l *lane, row store.Row[*catalogv1.Deployment], as sent, fresh bool) error {
	if rules.Provisioning(row.Msg) && row.Msg.GetProvisioningDeadline() == nil {
		c, err := o.current(ctx, l.env)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		if err == nil { // else sending says so
			now := o.now()
			if _, err = o.moveDeployment(ctx, l.env, row.Msg.GetGeneration(), func(d *catalogv1.Deployment) { rules.Provision(d, now, provisioningTime(c)) }); err != nil {
				return err
			}
			if row, err = deployments.Get(ctx, o.cfg.KV, row.ID); err != nil {
				return err
			}
			l.note(row.Msg.GetGeneration(), row.Msg)
		}
	}
	as.Claims = rules.ClaimsRound(row.Msg)
	o.send(l, row, as, fresh)
	return nil
}

// nextRound sends the deployment that is under way again when it has become something else: itself instead of its claims, or
// claims that became possible.
func (o *outbox) nextRound(ctx context.Context, l *lane, generation int64, d *catalogv1.Deployment) error {
	same := func() bool { return !rules.InLine(d.GetState()) || rules.ClaimsRound(d) == l.sent.Claims }
	if generation != l.sent.Generation || same() {
		return nil
	}
	row, err := deployments.Get(ctx, o.cfg.KV, depKey(l.env, generation)) // the log may be behind
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if d = row.Msg; err != nil || same() {
		return err
	}
	return o.sendRound(ctx, l, row, sent{Generation: generation}, false)
}

// overtakeProvisioning lets a newer deployment take the place of one that awaits outputs. Its intent contains what that one wants, and
// what that one waits for may never come.
func (o *outbox) overtakeProvisioning(ctx context.Context, l *lane) error {
	i := slices.Index(l.waiting, l.sent.Generation)
	if l.sent.Claims == "" || i < 0 || i == len(l.waiting)-1 {
		return nil
	}
	newest, err := o.deployment(ctx, l.env, l.waiting[len(l.waiting)-1])
	if err != nil || newest.GetState() != catalogv1.Deployment_STATE_PENDING {
		return err
	}
	if held, err := o.heldBack(ctx, l, newest); err != nil || held {
		return err
	}
	if err := o.supersede(ctx, l.env, []int64{l.sent.Generation}); err != nil {
		return err
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return nil
}

// expire ends a deployment whose outputs did not come in time.
func (o *outbox) expire(ctx context.Context, l *lane) error {
	now := o.now()
	if l.deadline.IsZero() || now.Before(l.deadline) {
		return nil
	}
	generation := l.provisioning
	l.deadline, l.provisioning = time.Time{}, 0
	_, err := o.moveDeployment(ctx, l.env, generation, func(d *catalogv1.Deployment) { rules.Expire(d, now) })
	return err
}

// planClaims makes the plan of the first of two commits: claims beside what stands. What the second one will be hangs on the cluster.
func (s *Service) planClaims(ctx context.Context, c current, next decision, p planned) (planned, error) {
	resp, err := s.renderClaims(ctx, c, next.state)
	if err != nil {
		return p, err
	}
	p.awaited, p.verdicts, p.refs = resp.GetMissingOutputs(), resp.GetVerdicts(), resp.GetBundle().GetObjects()
	p.after = maps.Clone(p.before)
	if p.after == nil {
		p.after = map[string][]byte{}
	}
	maps.Copy(p.after, resp.GetBundle().GetFiles())
	p.parts.Tree, p.parts.SHA256 = resp.GetBundle().GetTree(), resp.GetBundle().GetSha256()
	p.parts.RendererVersion, p.parts.Definitions = resp.GetRendererVersion(), resp.GetDefinitionsUsed()
	p.warnings = append(p.warnings, resp.GetWarnings()...)
	p.warnings = append(p.warnings, "the workloads follow by a second commit, when the cluster has said the outputs of "+strings.Join(p.awaited, ", "))
	return p, nil
}

// noteDeadline keeps until when the deployment that awaits outputs may, for expire.
func (l *lane) noteDeadline(generation int64, d *catalogv1.Deployment) {
	switch {
	case rules.Provisioning(d) && d.GetProvisioningDeadline() != nil:
		l.deadline, l.provisioning = d.GetProvisioningDeadline().AsTime(), generation
	case generation == l.provisioning:
		l.deadline, l.provisioning = time.Time{}, 0
	}
}
