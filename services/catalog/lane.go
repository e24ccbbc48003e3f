package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// lane is the line of one environment's deployments to the committer. One command is under way at a time: the next goes out when
// that one has a commit outcome.
type lane struct {
	env rules.Env
	// waiting are the generations without a commit outcome, in order.
	waiting []int64
	// syncing is the newest generation that is in Git and has not reached the cluster; 0 for none.
	syncing int64
	sent    sent
	// patience is the present wait for an effect, nextLook when it ends.
	patience time.Duration
	nextLook time.Time
	// deadline is when the deployment that awaits outputs fails; zero when none does.
	deadline time.Time
	// provisioning is that deployment's generation.
	provisioning int64
}

// sent is the row of what was published last. It is written before publishing: after a crash it says that the command may be
// under way.
type sent struct {
	Generation int64 `json:"generation"`
	// Repeats is how often it was published again because it had no effect.
	Repeats int `json:"repeats,omitempty"`
	// Claims tells which of the deployment's claims were published, see rules.ClaimsRound; empty for the deployment itself.
	Claims string `json:"claims,omitempty"`
}

// maxPatience bounds the growing wait for an effect.
const maxPatience = time.Hour

func (o *outbox) lane(ctx context.Context, env rules.Env) (*lane, error) {
	if l := o.lanes[env]; l != nil {
		return l, nil
	}
	l := &lane{env: env}
	e, err := o.cfg.KV.Get(ctx, sentPrefix+envKey(env))
	switch {
	case err == nil:
		if err := json.Unmarshal(e.Value, &l.sent); err != nil {
			return nil, fmt.Errorf("row %q is damaged: %w", e.Key, err)
		}
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	o.lanes[env] = l
	return l, nil
}

// note takes in a deployment's state. The log may show a state that is older than what the lane knows: a deployment never goes
// back, so that one which has left the line does not enter it again, unless the lane was just made.
func (l *lane) note(generation int64, d *catalogv1.Deployment) {
	l.noteDeadline(generation, d)
	i, in := slices.BinarySearch(l.waiting, generation)
	switch {
	case rules.BeforeCommit(d.GetState()) && !in:
		l.waiting = slices.Insert(l.waiting, i, generation)
	case !rules.BeforeCommit(d.GetState()) && in:
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	switch {
	case d.GetState() == catalogv1.Deployment_STATE_SYNCING && d.GetActiveFrom() == nil && generation >= l.syncing:
		l.syncing = generation
	case generation == l.syncing:
		l.syncing = 0
	}
}

// step sends the next command when none is under way.
//
// Of several deployments that wait, only the newest is sent. Its intent was computed on top of the one before it, so it
// contains what all of them want; those before it would be in Git for a moment and then be replaced. They end as SUPERSEDED.
func (o *outbox) step(ctx context.Context, l *lane) error {
	if err := o.overtakeProvisioning(ctx, l); err != nil {
		return err
	}
	for len(l.waiting) > 0 && !slices.Contains(l.waiting, l.sent.Generation) {
		newest := l.waiting[len(l.waiting)-1]
		for _, generation := range l.waiting[:len(l.waiting)-1] {
			if err := o.supersede(ctx, l.env, generation); err != nil {
				return err
			}
		}
		l.waiting = []int64{newest}
		d, err := o.deployment(ctx, l.env, newest)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		if d == nil || !rules.BeforeCommit(d.GetState()) {
			l.waiting = nil // the log is behind: it has its outcome
			return nil
		}
		if err := o.send(ctx, l, d, sent{Generation: newest}); err != nil {
			return err
		}
	}
	return nil
}

// resume goes on with a lane after a restart.
func (o *outbox) resume(ctx context.Context, l *lane) error {
	if !slices.Contains(l.waiting, l.sent.Generation) {
		return o.step(ctx, l)
	}
	d, err := o.deployment(ctx, l.env, l.sent.Generation)
	if err != nil {
		return err
	}
	if rules.ClaimsRound(d) != l.sent.Claims {
		return o.nextRound(ctx, l, l.sent.Generation, d)
	}
	if lost, err := o.lost(ctx, l.env, d); err != nil || !lost {
		l.expect(o.cfg.RepublishAfter)
		return err
	}
	// The event server drops it when it had it within its window, and the committer knows what is in Git.
	return o.send(ctx, l, d, l.sent)
}

// send publishes a deployment's command.
func (o *outbox) send(ctx context.Context, l *lane, d *catalogv1.Deployment, as sent) error {
	d, err := o.provision(ctx, l, d)
	if err != nil {
		return err
	}
	as.Claims = rules.ClaimsRound(d)
	value, err := json.Marshal(as)
	if err != nil {
		return fmt.Errorf("encode %q: %w", sentPrefix, err)
	}
	var tx store.Tx
	tx.Put(sentPrefix+envKey(l.env), value)
	if _, err := o.cfg.KV.Commit(ctx, tx); err != nil {
		return err
	}
	l.sent = as
	l.expect(o.cfg.RepublishAfter << min(as.Repeats, 10))
	err = o.publish(o.recall(ctx, d.GetName()), l.env, d, as.Repeats)
	switch {
	case err == nil:
		o.cfg.Failpoint(failpoint.Published)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	// It cannot be sent at all: too large, or its environment is gone. The deployment says so.
	o.log.Error("a deployment cannot be sent to the committer", "deployment", d.GetName(), "error", err)
	failed := &eventsv1.DeploymentFailed{
		Deployment: d.GetName(), Stage: "admit", Reason: rpc.ReasonName(errs.ReasonOf(err)), Message: errs.Message(err),
	}
	at := o.now()
	_, err = o.moveDeployment(ctx, l.env, d.GetGeneration(), func(d *catalogv1.Deployment) { rules.Fail(d, failed, at) })
	l.note(d.GetGeneration(), &catalogv1.Deployment{State: catalogv1.Deployment_STATE_FAILED})
	return err
}

// publish sends a command, waiting for the event server as long as it takes. repeat makes a new message id: within its window
// the server drops one that it had before, even when the first was consumed and forgotten.
func (o *outbox) publish(ctx context.Context, env rules.Env, d *catalogv1.Deployment, repeat int) error {
	cmd, err := o.command(ctx, env, d)
	if err != nil {
		return err
	}
	subject, err := commandSubject(env, d.GetRepository())
	if err != nil {
		return err
	}
	id := d.GetName() + "@1" + rules.ClaimsRound(d)
	if repeat > 0 {
		id = fmt.Sprintf("%s.r%d", id, repeat)
	}
	m := events.Message{
		Subject: subject, ID: id, Type: typePrefix + "deployment.requested", Source: source,
		Resource: d.GetName(), Time: d.GetCreateTime().AsTime(), Body: cmd,
	}
	return o.persist(ctx, func() error { return o.cfg.Bus.Publish(ctx, m) })
}

// supersede ends a deployment that waits behind a newer one.
func (o *outbox) supersede(ctx context.Context, env rules.Env, generation int64) error {
	at := o.now()
	_, err := o.moveDeployment(ctx, env, generation, func(d *catalogv1.Deployment) {
		if rules.BeforeCommit(d.GetState()) {
			rules.Overtake(d, at)
		}
	})
	return err
}

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
		if generation == 0 {
			delete(o.lanes, env) // idle: it is made again when something happens
			continue
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
	d, err := o.deployment(ctx, l.env, generation)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	lost, err := o.lost(ctx, l.env, d)
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
	o.log.Warn("a command had no effect and is no longer in the stream; it is sent again", "deployment", d.GetName(), "repeat", l.sent.Repeats+1)
	return o.send(ctx, l, d, sent{Generation: generation, Repeats: l.sent.Repeats + 1})
}

// lost reports whether the event server no longer has the command. During an outage nobody can tell, so it is not lost.
func (o *outbox) lost(ctx context.Context, env rules.Env, d *catalogv1.Deployment) (bool, error) {
	subject, err := commandSubject(env, d.GetRepository())
	if err != nil {
		return false, err
	}
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
