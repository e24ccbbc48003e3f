package catalog

import (
	"context"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// refill makes up for an event server that lost its data: where an environment is in Git and its desired state is not in the
// stream, the command of its last committed deployment is issued again. The committer finds it done in its state file, changes
// nothing in Git, and tells the desired state anew.
func (o *outbox) refill(ctx context.Context) error {
	there, ok := o.desired(ctx)
	if !ok {
		return ctx.Err() // nobody can tell now; later
	}
	for e, err := range store.All(ctx, o.cfg.KV, environments.Prefix()) {
		if err != nil {
			return err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return err
		}
		env, err := rules.ParseEnv("name", row.Msg.GetName())
		if err != nil {
			return err
		}
		subject, err := events.DesiredSubject(env.App, env.ID)
		if err != nil || there[subject] {
			continue
		}
		if l := o.lanes[env]; l != nil && (len(l.waiting) > 0 || l.syncing != 0) {
			continue // the lane looks after itself
		}
		if err := o.reissue(ctx, env, row.Msg); err != nil {
			return err
		}
	}
	return nil
}

// desired reads the subjects that have a desired state; false when that cannot be told now.
func (o *outbox) desired(ctx context.Context) (map[string]bool, bool) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	there, complete := map[string]bool{}, false
	cfg := events.TailConfig{Stream: events.StreamDesired, LastPerSubject: true, CaughtUp: func() { complete = true; cancel() }}
	for d, err := range o.cfg.Bus.Tail(ctx, cfg) {
		if d.Subject == "" && err != nil {
			o.log.Warn("the desired states cannot be read; they are looked at later", "error", err)
			return nil, false
		}
		there[d.Subject] = true
	}
	return there, complete
}

func (o *outbox) reissue(ctx context.Context, env rules.Env, e *catalogv1.Environment) error {
	d, err := o.lastCommitted(ctx, env, e)
	if err != nil || d == nil {
		return err
	}
	l, err := o.lane(ctx, env)
	if err != nil {
		return err
	}
	if lost, err := o.lost(ctx, env, d); err != nil || !lost {
		return err
	}
	o.log.Warn("an environment's desired state is gone from the event server; it is told again", "environment", env.Name(), "deployment", d.GetName())
	repeats := 1
	if l.sent.Generation == d.GetGeneration() {
		repeats = l.sent.Repeats + 1
	}
	o.send(l, store.Row[*catalogv1.Deployment]{ID: depKey(env, d.GetGeneration()), Msg: d}, sent{Generation: d.GetGeneration(), Repeats: repeats}, false)
	return nil
}

// lastCommitted gives the newest deployment that is in Git, nil for none.
func (o *outbox) lastCommitted(ctx context.Context, env rules.Env, e *catalogv1.Environment) (*catalogv1.Deployment, error) {
	if e.GetLatestDeployment() == "" {
		return nil, nil
	}
	for generation := e.GetGeneration(); generation > 0; generation-- {
		d, err := o.deployment(ctx, env, generation)
		if errs.Is(err, errs.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if d.GetCreateTime().AsTime().Before(e.GetCreateTime().AsTime()) {
			return nil, nil // of an earlier environment of that name
		}
		if d.GetCommit() != "" {
			return d, nil
		}
	}
	return nil, nil
}
