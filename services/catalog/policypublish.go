package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// policyRecords removes the last policy of an environment that is gone.
type policyRecords interface {
	DropPolicy(ctx context.Context, subject string, sequence uint64) error
}

const (
	// policyPublishers is how many policies are under way at the same time: few, because the thousands of a type must not stand in the
	// way of deployments, which go to the same server.
	policyPublishers = 16
	// policyRemovedFor is how long the word that an environment is gone stays in the stream, so that drift hears it also when it is away
	// for a while.
	policyRemovedFor = time.Hour
	// manyPolicies is from how many environments on all rows are read at once instead of one by one.
	manyPolicies = 64
)

// policyOutbox tells drift how to treat each environment, and again when a rule, the type or the environment changes. It keeps no
// position: at its start, and every now and then, what the stream has is compared with what the rows say, which also refills a stream
// that was lost. It is one goroutine, beside the outbox of deployments.
type policyOutbox struct {
	*Service
	// types are the environments' types, told the hashes of what was published, revisions those of the last policies.
	types     map[rules.Env]string
	told      map[rules.Env][sha256.Size]byte
	revisions map[rules.Env]int64
}

// runPolicies publishes policies until ctx ends.
func (s *Service) runPolicies(ctx context.Context) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		start := time.Now()
		o := &policyOutbox{
			Service: s, types: map[rules.Env]string{}, told: map[rules.Env][sha256.Size]byte{}, revisions: map[rules.Env]int64{},
		}
		err := o.run(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return unlessEnded(ctx, err)
		}
		if time.Since(start) > time.Minute {
			wait = 50 * time.Millisecond
		}
		s.log.Info("publishing of policies was interrupted; it begins anew", "error", err)
		if err := sleep(ctx, wait); err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

func (o *policyOutbox) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); _ = g.Wait() }()
	if err := o.cfg.Bus.Ensure(ctx); err != nil {
		return err
	}
	rev, err := store.Revision(ctx, o.cfg.KV)
	if err != nil {
		return err
	}
	changes, failed := make(chan string, maxChanges), make(chan error, 3)
	for _, prefix := range []string{environments.Prefix(), environmentTypes.Prefix(), ignoreRules.Prefix()} {
		g.Go(func() error {
			for c, err := range o.cfg.KV.Watch(ctx, prefix, rev) {
				if err != nil {
					failed <- err
					return err
				}
				select {
				case changes <- c.Key:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	if err := o.reconcile(ctx); err != nil {
		return err
	}
	again := time.NewTicker(refillEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-again.C:
			err = o.reconcile(ctx)
		case key := <-changes:
			err = o.publish(ctx, o.touched(key, changes))
		}
		if err != nil {
			return err
		}
	}
}

// touched gives the environments that a change is about, and those of the changes that are there already.
func (o *policyOutbox) touched(key string, more <-chan string) map[rules.Env]bool {
	out := map[rules.Env]bool{}
	for n := 0; ; n++ {
		if id, ok := strings.CutPrefix(key, environmentTypes.Prefix()); ok {
			for env, typ := range o.types {
				if typ == "environmentTypes/"+id {
					out[env] = true
				}
			}
		} else if p := strings.Split(key, "/"); len(p) > 2 { // environments/{application}/{environment}, and a rule's behind them
			out[rules.Env{App: p[1], ID: p[2]}] = true
		}
		if n == maxChanges {
			return out
		}
		select {
		case key = <-more:
		default:
			return out
		}
	}
}

// kept is the last policy of an environment in the stream.
type keptPolicy struct {
	policy   *eventsv1.EnvironmentPolicy
	subject  string
	sequence uint64
	at       time.Time
}

// reconcile compares the stream with the rows and publishes what differs.
func (o *policyOutbox) reconcile(ctx context.Context) error {
	there, err := o.inStream(ctx)
	if err != nil {
		return err
	}
	due := map[rules.Env]bool{}
	for env, k := range there {
		o.revisions[env] = max(o.revisions[env], k.policy.GetRevision())
		if o.told[env], err = policyHash(k.policy); err != nil {
			return err
		}
		due[env] = !k.policy.GetRemoved()
		if k.policy.GetRemoved() && o.now().Sub(k.at) > policyRemovedFor {
			if _, err := o.cfg.KV.Get(ctx, environments.Key(envKey(env))); errors.Is(err, store.ErrNotFound) {
				if err := o.cfg.Bus.DropPolicy(ctx, k.subject, k.sequence); err != nil {
					return err
				}
			}
		}
	}
	for env := range o.told {
		if _, ok := there[env]; !ok {
			delete(o.told, env) // the stream was lost
		}
	}
	for e, err := range store.All(ctx, o.cfg.KV, environments.Prefix()) {
		if err != nil {
			return err
		}
		due[envOfKey(strings.TrimPrefix(e.Key, environments.Prefix()))] = true
	}
	for env, is := range due {
		if !is {
			delete(due, env)
		}
	}
	return o.publish(ctx, due)
}

// inStream reads the policies that the stream has.
func (o *policyOutbox) inStream(ctx context.Context) (map[rules.Env]keptPolicy, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	there, complete := map[rules.Env]keptPolicy{}, false
	cfg := events.TailConfig{Stream: events.StreamPolicies, LastPerSubject: true, CaughtUp: func() { complete = true; cancel() }}
	for d, err := range o.cfg.Bus.Tail(ctx, cfg) {
		if err != nil && d.Subject == "" {
			return nil, err
		}
		if events.IsTarget(d.Subject) {
			continue
		}
		p := &eventsv1.EnvironmentPolicy{}
		if err == nil {
			err = d.Decode(p)
		}
		env, perr := rules.ParseEnv("environment", p.GetEnvironment())
		if err != nil || perr != nil {
			continue // it is written anew
		}
		there[env] = keptPolicy{policy: p, subject: d.Subject, sequence: d.Sequence, at: d.Time}
	}
	if !complete {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_EVENTS_UNAVAILABLE, "the policies of environments cannot be read now")
	}
	return there, nil
}

// publish tells the policies of some environments, where they are not what was told last.
func (o *policyOutbox) publish(ctx context.Context, due map[rules.Env]bool) error {
	if len(due) == 0 {
		return nil
	}
	rev, err := store.Revision(ctx, o.cfg.KV) // before the rows are read: what changes behind it is told with a later one
	if err != nil {
		return err
	}
	policies, err := o.policiesOf(ctx, due)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(policyPublishers)
	for env, p := range policies {
		hash, err := policyHash(p)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		old, known := o.told[env]
		if known && old == hash || !known && p.GetRemoved() {
			continue
		}
		p.Revision = max(rev, o.revisions[env]+1)
		o.revisions[env], o.told[env] = p.GetRevision(), hash
		g.Go(func() error { return o.send(ctx, env, p) })
	}
	return g.Wait() // after a failure the next run reads from the stream what got there
}

func (o *policyOutbox) send(ctx context.Context, env rules.Env, p *eventsv1.EnvironmentPolicy) error {
	subject, err := events.PolicySubject(env.App, env.ID)
	if err != nil {
		return err
	}
	// A stream that was lost gets the same revision again, which the event server must not take for one that it has.
	id := env.Name() + "/policy@" + itoa(int(p.GetRevision())) + "." + itoa(int(time.Now().UnixNano()))
	return o.cfg.Bus.Publish(ctx, events.Message{
		Subject: subject, ID: id, Type: typePrefix + "environment.policy", Source: source,
		Resource: env.Name(), Time: o.now(), Body: p,
	})
}

// policyHash identifies what a policy says, whatever its revision.
func policyHash(p *eventsv1.EnvironmentPolicy) ([sha256.Size]byte, error) {
	p = proto.CloneOf(p)
	p.Revision = 0
	return contentHash(p)
}

// policyRows are the rows that policies are made of.
type policyRows struct {
	types   map[string]*catalogv1.EnvironmentType
	ignores map[rules.Env][]*driftv1.IgnoreRule
}

// policiesOf makes the policies of environments as their rows are now.
func (o *policyOutbox) policiesOf(ctx context.Context, due map[rules.Env]bool) (map[rules.Env]*eventsv1.EnvironmentPolicy, error) {
	rows := policyRows{types: map[string]*catalogv1.EnvironmentType{}, ignores: map[rules.Env][]*driftv1.IgnoreRule{}}
	for row, err := range environmentTypes.Range(ctx, o.cfg.KV, store.ScanRange{Prefix: ""}) {
		if err != nil {
			return nil, err
		}
		rows.types[row.Msg.GetName()] = row.Msg
	}
	if err := o.readIgnores(ctx, due, rows.ignores); err != nil {
		return nil, err
	}
	out := make(map[rules.Env]*eventsv1.EnvironmentPolicy, len(due))
	if len(due) < manyPolicies {
		for env := range due {
			row, err := environments.Get(ctx, o.cfg.KV, envKey(env))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			out[env] = o.policyOf(env, row.Msg, rows)
		}
		return out, nil
	}
	for row, err := range environments.Range(ctx, o.cfg.KV, store.ScanRange{}) {
		if err != nil {
			return nil, err
		}
		if env := envOfKey(row.ID); due[env] {
			out[env] = o.policyOf(env, row.Msg, rows)
		}
	}
	for env := range due {
		if out[env] == nil {
			out[env] = o.policyOf(env, nil, rows)
		}
	}
	return out, nil
}

func (o *policyOutbox) readIgnores(ctx context.Context, due map[rules.Env]bool, into map[rules.Env][]*driftv1.IgnoreRule) error {
	under := make([]string, 0, manyPolicies)
	for env := range due {
		if len(due) >= manyPolicies {
			under = []string{""}
			break
		}
		under = append(under, envKey(env)+"/")
	}
	now := o.now()
	for _, prefix := range under {
		for row, err := range ignoreRules.Range(ctx, o.cfg.KV, store.ScanRange{Prefix: prefix}) {
			if err != nil {
				return err
			}
			if t := row.Msg.GetExpireTime(); t == nil || now.Before(t.AsTime()) {
				env := envOfPart(row.ID)
				into[env] = append(into[env], row.Msg)
			}
		}
	}
	return nil
}

// policyOf makes one policy; e is nil for an environment that is gone.
func (o *policyOutbox) policyOf(env rules.Env, e *catalogv1.Environment, rows policyRows) *eventsv1.EnvironmentPolicy {
	if e == nil {
		delete(o.types, env)
		return &eventsv1.EnvironmentPolicy{Environment: env.Name(), Removed: true}
	}
	o.types[env] = e.GetType()
	t := rows.types[e.GetType()]
	return &eventsv1.EnvironmentPolicy{
		Environment: env.Name(), AutomaticSync: t.GetAutomaticSync(), SelfHeal: t.GetSelfHeal(), SyncPolicy: t.GetSyncPolicy(),
		Ignores: rows.ignores[env], PruneHeld: e.GetPruneHeld(),
	}
}
