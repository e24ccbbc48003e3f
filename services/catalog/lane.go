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
	"github.com/towpath-dev/towpath/internal/events"
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
	// reviewing is the newest generation whose pull request is open; 0 for none.
	reviewing int64
	// cancelling is the generation that the committer was asked to withdraw, cancels how often.
	cancelling int64
	cancels    int
	// held tells that the newest waits for a lock or freeze to end, by heldUntil unless that is zero.
	held      bool
	heldUntil time.Time
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
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if l.sent, err = decodeSent(e); err != nil {
		return nil, err
	}
	o.lanes[env] = l
	return l, nil
}

// decodeSent reads the row of what was published last; that of a row which is not there is of nothing.
func decodeSent(e store.Entry) (s sent, err error) {
	if len(e.Value) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		return s, fmt.Errorf("row %q is damaged: %w", e.Key, err)
	}
	return s, nil
}

// note takes in a deployment's state. The log may show a state that is older than what the lane knows: a deployment never goes
// back, so that one which has left the line does not enter it again, unless the lane was just made.
func (l *lane) note(generation int64, d *catalogv1.Deployment) {
	l.noteDeadline(generation, d)
	i, in := slices.BinarySearch(l.waiting, generation)
	switch {
	case rules.InLine(d.GetState()) && !in:
		l.waiting = slices.Insert(l.waiting, i, generation)
	case !rules.InLine(d.GetState()) && in:
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	switch {
	case rules.Reviewing(d.GetState()) && generation >= l.reviewing:
		l.reviewing = generation
	case generation == l.reviewing:
		l.reviewing = 0
	}
	switch {
	case d.GetState() == catalogv1.Deployment_STATE_SYNCING && d.GetActiveFrom() == nil && generation >= l.syncing:
		l.syncing = generation
	case generation == l.syncing:
		l.syncing = 0
	}
}

// step gets the next command ready to be sent when none is under way.
//
// Of several deployments that wait, only the newest that nothing holds is sent. Its intent was computed on top of the one
// before it, so it contains what all of them want; those before it would be in Git for a moment and then be replaced. They end
// as SUPERSEDED.
func (o *outbox) step(ctx context.Context, l *lane) error {
	l.held, l.heldUntil = false, time.Time{}
	if err := o.overtakeProvisioning(ctx, l); err != nil {
		return err
	}
	if slices.Contains(l.waiting, l.sent.Generation) {
		return nil
	}
	for i := len(l.waiting) - 1; i >= 0; i-- {
		generation := l.waiting[i]
		row, err := deployments.Get(ctx, o.cfg.KV, depKey(l.env, generation))
		if errors.Is(err, store.ErrNotFound) || err == nil && !rules.InLine(row.Msg.GetState()) {
			l.waiting = slices.Delete(l.waiting, i, i+1) // the log is behind: it has its outcome
			continue
		}
		if err != nil {
			return err
		}
		if held, err := o.heldBack(ctx, l, row.Msg); err != nil || held {
			if err != nil {
				return err
			}
			continue
		}
		if err := o.supersede(ctx, l.env, l.waiting[:i]); err != nil {
			return err
		}
		l.waiting = slices.Delete(l.waiting, 0, i)
		return o.sendRound(ctx, l, row, sent{Generation: generation}, true)
	}
	return nil
}

// heldBack reports whether a lock or freeze keeps a deployment from being sent, and says so in its row.
func (o *outbox) heldBack(ctx context.Context, l *lane, d *catalogv1.Deployment) (bool, error) {
	e, err := environments.Get(ctx, o.cfg.KV, envKey(l.env))
	if err == nil {
		var typ store.Row[*catalogv1.EnvironmentType]
		if typ, err = environmentTypes.Get(ctx, o.cfg.KV, typeID(e.Msg.GetType())); err == nil {
			return o.heldBy(ctx, l, d, rules.HeldBy(e.Msg.GetLock(), typ.Msg.GetFreezes(), d.GetKind(), o.now()))
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // it cannot be sent, and sending says why
	}
	return false, err
}

func (o *outbox) heldBy(ctx context.Context, l *lane, d *catalogv1.Deployment, held *rules.Held) (bool, error) {
	if held == nil {
		return false, nil
	}
	l.held = true
	if l.heldUntil.IsZero() || !held.Until.IsZero() && held.Until.Before(l.heldUntil) {
		l.heldUntil = held.Until
	}
	reason := held.Reason()
	_, err := o.moveDeployment(ctx, l.env, d.GetGeneration(), func(d *catalogv1.Deployment) {
		if d.GetState() == catalogv1.Deployment_STATE_PENDING {
			d.WaitingReason = reason
		}
	})
	return true, err
}

// resume goes on with a lane after a restart.
func (o *outbox) resume(ctx context.Context, l *lane) error {
	if !slices.Contains(l.waiting, l.sent.Generation) {
		return o.step(ctx, l)
	}
	row, err := deployments.Get(ctx, o.cfg.KV, depKey(l.env, l.sent.Generation))
	if err != nil {
		return err
	}
	if row.Msg.GetCancellation() != nil {
		return o.cancel(l, row.Msg, 0)
	}
	if rules.ClaimsRound(row.Msg) != l.sent.Claims {
		return o.nextRound(ctx, l, l.sent.Generation, row.Msg)
	}
	if lost, err := o.lost(ctx, l.env, row.Msg); err != nil || !lost {
		l.expect(o.cfg.RepublishAfter)
		return err
	}
	// The event server drops it when it had it within its window, and the committer knows what is in Git.
	o.send(l, row, l.sent, false)
	return nil
}

// message makes a deployment's command. repeat makes a new message id: within its window the event server drops one that it
// had before, even when the first was consumed and forgotten.
func (o *outbox) message(ctx context.Context, env rules.Env, d *catalogv1.Deployment, repeat int) (events.Message, error) {
	cmd, err := o.command(ctx, env, d)
	if err != nil {
		return events.Message{}, err
	}
	subject, err := commandSubject(env, cmd.GetRepository())
	return events.Message{
		Subject: subject, ID: repeated(d.GetName()+"@1"+rules.ClaimsRound(d), repeat), Type: typePrefix + "deployment.requested", Source: source,
		Resource: d.GetName(), Time: d.GetCreateTime().AsTime(), Body: cmd,
	}, err
}

func repeated(id string, repeat int) string {
	if repeat == 0 {
		return id
	}
	return fmt.Sprintf("%s.r%d", id, repeat)
}

// cancel asks the committer to withdraw a deployment that it has.
func (o *outbox) cancel(l *lane, d *catalogv1.Deployment, repeat int) error {
	l.cancelling, l.cancels = d.GetGeneration(), repeat
	l.expect(o.cfg.RepublishAfter << min(repeat, 10))
	name := d.GetName()
	o.post(l.env, post{resource: name, build: func(ctx context.Context) (events.Message, error) {
		c, err := o.current(ctx, l.env)
		if err == nil {
			c, err = o.at(ctx, c, d)
		}
		if err != nil {
			return events.Message{}, err
		}
		ref := repositoryRef(c.site.repo)
		subject, err := cancelSubject(l.env, ref)
		return events.Message{
			Subject: subject, ID: repeated(name+"/cancel@1", repeat), Type: typePrefix + "deployment.cancel", Source: source, Resource: name,
			Time: d.GetCancellation().GetTime().AsTime(), Body: &eventsv1.CancelRequested{
				Deployment: name, Generation: d.GetGeneration(), Repository: ref, Path: d.GetPath(), RequestId: commandID(d),
			},
		}, err
	}})
	return nil
}

// supersede ends deployments that wait behind a newer one.
func (o *outbox) supersede(ctx context.Context, env rules.Env, generations []int64) error {
	at := o.now()
	for _, generation := range generations {
		_, err := o.moveDeployment(ctx, env, generation, func(d *catalogv1.Deployment) {
			if rules.BeforeCommit(d.GetState()) {
				rules.Overtake(d, at)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
