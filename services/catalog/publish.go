package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// post is one message that is to be published.
type post struct {
	resource string
	// build makes the message. It only reads.
	build func(ctx context.Context) (events.Message, error)
	// lane is set for a deployment's command, of that generation.
	lane       *lane
	generation int64
}

// parcel is what is to be published for one environment, one message after the other. Parcels of different environments go at
// the same time: the event server writes each message to its disk before it answers, and many at once for the time of one.
type parcel struct {
	env   rules.Env
	posts []post
	// refused are the commands that can never be published, by their index in posts.
	refused map[int]error
	// next is the first message that the event server has not acknowledged.
	next int
}

// booking is a command that is to be sent: its row says so before it is published.
type booking struct {
	lane  *lane
	row   store.Row[*catalogv1.Deployment]
	as    sent
	fresh bool
}

// publishers bounds how many environments' messages are under way at the same time.
const publishers = 64

// send has a deployment's command published by the next flush. fresh tells that it was never sent: then it must still be in
// line at that moment, because people can cancel it until then.
func (o *outbox) send(l *lane, row store.Row[*catalogv1.Deployment], as sent, fresh bool) {
	o.bookings = append(o.bookings, booking{l, row, as, fresh})
	l.sent = as
	l.expect(o.cfg.RepublishAfter << min(as.Repeats, 10))
}

// post adds a message to its environment's parcel.
func (o *outbox) post(env rules.Env, p post) {
	if o.parcels == nil {
		o.parcels = map[rules.Env]*parcel{}
	}
	if o.parcels[env] == nil {
		o.parcels[env] = &parcel{env: env, refused: map[int]error{}}
	}
	o.parcels[env].posts = append(o.parcels[env].posts, p)
}

// flush publishes all that was got ready, waiting for the event server as long as it takes. When it returns without an error,
// everything is acknowledged.
func (o *outbox) flush(ctx context.Context) error {
	for len(o.bookings) > 0 || len(o.parcels) > 0 {
		if err := o.book(ctx); err != nil {
			return err
		}
		parcels := o.parcels
		o.parcels = nil
		if err := o.persist(ctx, func() error { return o.publishAll(ctx, parcels) }); err != nil {
			return err
		}
		for _, p := range parcels {
			if err := o.settle(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// book writes what is about to be published, all in one transaction.
func (o *outbox) book(ctx context.Context) error {
	all := o.bookings
	o.bookings = nil
	for len(all) > 0 {
		n := min(len(all), store.MaxTxOps/4)
		if err := o.bookSome(ctx, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (o *outbox) bookSome(ctx context.Context, some []booking) error {
	var tx store.Tx
	for i := range some {
		if err := o.addBooking(ctx, &tx, some[i]); err != nil {
			return err
		}
	}
	_, err := o.cfg.KV.Commit(ctx, tx)
	switch {
	case err == nil:
		for _, b := range some {
			o.postCommand(b)
		}
		return nil
	case !errors.Is(err, store.ErrConflict):
		return err
	case len(some) > 1: // somebody changed one of them meanwhile
		for i := range some {
			if err := o.bookSome(ctx, some[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	b := some[0]
	if b.row, err = deployments.Get(ctx, o.cfg.KV, b.row.ID); err != nil {
		return err
	}
	if rules.InLine(b.row.Msg.GetState()) {
		return o.bookSome(ctx, []booking{b})
	}
	b.lane.sent = sent{} // cancelled at the last moment
	b.lane.note(b.as.Generation, b.row.Msg)
	return o.step(ctx, b.lane)
}

func (o *outbox) addBooking(ctx context.Context, tx *store.Tx, b booking) error {
	value, err := json.Marshal(b.as)
	if err != nil {
		return fmt.Errorf("encode %q: %w", sentPrefix, err)
	}
	tx.Put(sentPrefix+envKey(b.lane.env), value)
	if !b.fresh {
		return nil
	}
	tx.If(store.IfRev(deployments.Key(b.row.ID), b.row.Rev))
	if b.row.Msg.GetWaitingReason() == "" {
		return nil
	}
	return o.moved(ctx, tx, b.row, func(d *catalogv1.Deployment) { d.WaitingReason = "" })
}

func (o *outbox) postCommand(b booking) {
	d, env := b.row.Msg, b.lane.env
	o.post(env, post{
		resource: d.GetName(), lane: b.lane, generation: d.GetGeneration(),
		build: func(ctx context.Context) (events.Message, error) { return o.message(ctx, env, d, b.as.Repeats) },
	})
}

// publishAll tries to publish what is left of the parcels. The error is that of an outage; the parcels know how far they are.
func (o *outbox) publishAll(ctx context.Context, parcels map[rules.Env]*parcel) error {
	if len(parcels) == 1 { // the usual case, at the least latency
		for _, p := range parcels {
			return o.deliver(ctx, p)
		}
	}
	var g errgroup.Group
	g.SetLimit(publishers)
	for _, p := range parcels {
		g.Go(func() error { return o.deliver(ctx, p) })
	}
	return g.Wait()
}

func (o *outbox) deliver(ctx context.Context, p *parcel) error {
	for ; p.next < len(p.posts); p.next++ {
		m := p.posts[p.next]
		ctx := ctx
		if m.lane != nil {
			ctx = o.recall(ctx, m.resource)
		}
		msg, err := m.build(ctx)
		if err == nil {
			err = o.cfg.Bus.Publish(ctx, msg)
		}
		if err == nil {
			continue
		}
		if k := errs.KindOf(err); ctx.Err() != nil || k == errs.Unavailable || k == errs.Timeout || errors.Is(err, store.ErrClosed) {
			return err
		}
		p.refused[p.next] = err
	}
	return nil
}

// settle acts on what was published and on what cannot be.
func (o *outbox) settle(ctx context.Context, p *parcel) error {
	for i, m := range p.posts {
		err := p.refused[i]
		switch {
		case err == nil && m.lane != nil:
			o.cfg.Failpoint(failpoint.Published)
		case err == nil:
		case m.lane == nil:
			o.log.Error("a message cannot be published; it is left out", "resource", m.resource, "error", err)
		default:
			if err := o.refuse(ctx, m, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuse fails a deployment that cannot be sent at all: it is too large, or its environment is gone. The next one in line has
// its turn.
func (o *outbox) refuse(ctx context.Context, m post, why error) error {
	o.log.Error("a deployment cannot be sent to the committer", "deployment", m.resource, "error", why)
	failed := &eventsv1.DeploymentFailed{
		Deployment: m.resource, Stage: "admit", Reason: rpc.ReasonName(errs.ReasonOf(why)), Message: errs.Message(why),
	}
	at := o.now()
	_, err := o.moveDeployment(ctx, m.lane.env, m.generation, func(d *catalogv1.Deployment) { rules.Fail(d, failed, at) })
	if err != nil {
		return err
	}
	m.lane.note(m.generation, &catalogv1.Deployment{State: catalogv1.Deployment_STATE_FAILED})
	return o.step(ctx, m.lane)
}

// announce has subscribers told a deployment's state.
func (o *outbox) announce(env rules.Env, d *catalogv1.Deployment) error {
	const eventType = "deployment.state"
	subject, err := events.EventSubject(env.App, env.ID, eventType)
	if err != nil {
		return err
	}
	state := stateName(d.GetState())
	m := events.Message{
		Subject: subject, ID: d.GetName() + "@" + state, Type: typePrefix + eventType, Source: source,
		Resource: d.GetName(), Time: d.GetUpdateTime().AsTime(),
		Body: &eventsv1.DeploymentStateChanged{Deployment: d.GetName(), State: state, Message: d.GetError().GetMessage()},
	}
	o.post(env, post{resource: d.GetName(), build: func(context.Context) (events.Message, error) { return m, nil }})
	return nil
}

// maxChanges is how many writes are handled together at the most.
const maxChanges = 512

// gather takes the writes that are there already.
func gather(first store.Change, more <-chan store.Change) []store.Change {
	all := []store.Change{first}
	for len(all) < maxChanges {
		select {
		case c := <-more:
			all = append(all, c)
		default:
			return all
		}
	}
	return all
}

// handle publishes what writes of deployments mean.
func (o *outbox) handle(ctx context.Context, changes []store.Change) error {
	var touched []*lane
	seen := map[*lane]bool{}
	for _, c := range changes {
		l, err := o.takeIn(ctx, c)
		if err != nil {
			return err
		}
		if l != nil && !seen[l] {
			seen[l] = true
			touched = append(touched, l)
		}
	}
	for _, l := range touched {
		if err := o.step(ctx, l); err != nil {
			return err
		}
	}
	if err := o.flush(ctx); err != nil {
		return err
	}
	// Other changes of the last transaction may follow, so only what is before it is done for sure.
	last := changes[len(changes)-1].Rev
	o.done, o.last, o.lastAt = max(o.done, last-1), last, time.Now()
	return nil
}

// takeIn notes what one write means, and gives the lane that it is of.
func (o *outbox) takeIn(ctx context.Context, c store.Change) (*lane, error) {
	row, err := deployments.DecodeChange(c)
	if err != nil {
		return nil, err
	}
	env, generation, ok := envOfDepKey(row.ID)
	if !ok || row.Msg == nil {
		return nil, nil
	}
	l, err := o.lane(ctx, env)
	if err != nil {
		return nil, err
	}
	d := row.Msg
	l.note(generation, d)
	if err := o.nextRound(ctx, l, generation, d); err != nil {
		return nil, err
	}
	if d.GetCancellation() != nil && rules.WithCommitter(d.GetState()) && (l.sent.Generation == generation || rules.Reviewing(d.GetState())) && l.cancelling != generation {
		if err := o.cancel(l, d, 0); err != nil {
			return nil, err
		}
	}
	if rules.IsFinal(d.GetState()) {
		o.traces.Delete(d.GetName())
	}
	if d.GetEtag() != stateChanged {
		return l, nil
	}
	return l, o.announce(env, d)
}
