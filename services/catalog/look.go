package catalog

import (
	"context"
	"errors"
	"slices"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func (l *lane) expect(within time.Duration) {
	l.patience = min(within, maxPatience)
	l.nextLook = time.Now().Add(l.patience)
}

// lookAround sends commands again that had no effect for too long and are no longer in the stream: the event server lost
// them. While one is in the stream, the committer has it or will get it, and it waits for as long as that takes.
func (o *outbox) lookAround(ctx context.Context) error {
	now := time.Now()
	for env, l := range o.lanes {
		if err := o.expire(ctx, l); err != nil {
			return err
		}
		generation := l.syncing
		if len(l.waiting) > 0 {
			generation = l.sent.Generation
		}
		if generation == 0 && len(l.waiting) == 0 {
			delete(o.lanes, env) // idle: it is made again when something happens
			continue
		}
		if len(l.waiting) > 0 && !slices.Contains(l.waiting, generation) {
			continue // held: nothing of it is under way
		}
		if l.nextLook.IsZero() {
			l.expect(o.cfg.RepublishAfter)
		}
		if now.Before(l.nextLook) {
			continue
		}
		if err := o.lookAt(ctx, l, generation); err != nil {
			return err
		}
	}
	return nil
}

func (o *outbox) lookAt(ctx context.Context, l *lane, generation int64) error {
	row, err := deployments.Get(ctx, o.cfg.KV, depKey(l.env, generation))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d := row.Msg
	cancelled := d.GetCancellation() != nil && rules.InLine(d.GetState())
	lost, err := o.lost(ctx, l.env, d)
	if err == nil && lost && cancelled {
		lost, err = o.cancelLost(ctx, l.env, d)
	}
	if had := d.GetActiveFrom() != nil || rules.IsFinal(d.GetState()); err != nil || !lost || had {
		l.expect(o.cfg.RepublishAfter)
		return err
	}
	if d.GetState() == catalogv1.Deployment_STATE_SYNCING {
		if manual, err := o.manualSync(ctx, l.env); err != nil || manual {
			l.expect(maxPatience)
			return err
		}
	}
	if rules.Provisioning(d) && d.GetClaimsCommit() != "" {
		o.log.Info("outputs are still awaited; the claims are told again, in case that was lost", "deployment", d.GetName(), "repeat", l.sent.Repeats+1)
	} else {
		o.log.Warn("a command had no effect and is no longer in the stream; it is sent again", "deployment", d.GetName(), "repeat", l.sent.Repeats+1)
	}
	if cancelled {
		return o.cancel(l, d, l.cancels+1)
	}
	return o.sendRound(ctx, l, row, sent{Generation: generation, Repeats: l.sent.Repeats + 1}, false)
}

// lookAtHeld tries lanes again whose lock or freeze ends, and from time to time all that are held: somebody may have taken a
// freeze out of the environment's type.
func (o *outbox) lookAtHeld(ctx context.Context, all bool) error {
	now := o.now()
	for _, l := range o.lanes {
		if l.held && (all || !l.heldUntil.IsZero() && !now.Before(l.heldUntil)) {
			if err := o.step(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// lost reports whether the event server no longer has the command. During an outage nobody can tell, so it is not lost.
func (o *outbox) lost(ctx context.Context, env rules.Env, d *catalogv1.Deployment) (bool, error) {
	subject, err := events.CommandFilter(env.App, env.ID) // wherever it was sent: its repository may have another address by now
	if err != nil {
		return false, err
	}
	return o.notPending(ctx, subject)
}

func (o *outbox) cancelLost(ctx context.Context, env rules.Env, d *catalogv1.Deployment) (bool, error) {
	subject, err := events.CommandFilter(env.App, env.ID)
	if err != nil {
		return false, err
	}
	return o.notPending(ctx, subject+".cancel")
}

func (o *outbox) notPending(ctx context.Context, subject string) (bool, error) {
	pending, err := o.cfg.Bus.PendingCommand(ctx, subject)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) {
		return false, nil
	}
	return !pending, err
}

// manualSync reports whether a person must sync the environment: then nothing is lost when nothing happens.
func (o *outbox) manualSync(ctx context.Context, env rules.Env) (bool, error) {
	c, err := o.current(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return true, nil
	}
	return !c.site.typ.GetAutomaticSync(), err
}
