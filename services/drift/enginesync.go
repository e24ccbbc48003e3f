package drift

import (
	"context"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// syncByEngine is sync for an environment that another engine brings to the cluster. It does not wait for the engine: what is under
// way is looked at again when the engine's objects move. With force a person has asked and waits.
func (e *environment) syncByEngine(
	ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, force bool, started time.Time,
) error {
	eng, err := e.engineOf(c, want)
	if err != nil {
		e.land()
		return err
	}
	e.mu.Lock()
	synced, p, held := e.synced, e.policy(), e.failed
	settled := synced != nil && synced.GetGeneration() == want.GetGeneration() && synced.GetTree() == want.GetTree()
	if e.engine.failed != want.GetGeneration() {
		held = nil
	}
	e.mu.Unlock()
	switch {
	case force:
		return e.syncNow(ctx, c, eng, want, inv, p, started)
	case inv.at(want):
		if !settled {
			e.land()
			if err := e.adopt(ctx, c, want, inv, started); err != nil {
				return err
			}
		}
		return e.keepEngine(ctx, eng, p)
	case p.automatic:
		return e.drive(ctx, c, eng, want, inv, p, started)
	}
	e.land()
	if synced == nil && inv.tree != "" {
		if err := e.adoptOlder(ctx, c, want, inv, started); err != nil {
			return err
		}
	}
	if held != nil {
		return held
	}
	return e.awaitPerson(ctx, c, eng, want, inv, p, started)
}

// keepEngine puts the engine's objects right where somebody changed them, and hears what the engine has to say.
func (e *environment) keepEngine(ctx context.Context, eng engine, p policy) error {
	if err := eng.ensure(ctx, p, e.keepNow()); err != nil {
		return err
	}
	rep, err := eng.look(ctx)
	if err != nil {
		return err
	}
	e.hear(rep)
	e.tell()
	return nil
}

// awaitPerson keeps the engine's objects of an environment that is synced by hand, and notices when somebody did so in the engine.
func (e *environment) awaitPerson(
	ctx context.Context, c *cluster, eng engine, want *eventsv1.DesiredState, inv *inventory, p policy, started time.Time,
) error {
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return err
	}
	if err := eng.ensure(ctx, p, e.keepNow()); err != nil {
		return err
	}
	rep, err := eng.look(ctx)
	if err != nil {
		return err
	}
	e.hear(rep)
	there, err := e.arrived(ctx, want, rep.revisions)
	if err != nil || !there {
		return err
	}
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	return e.closeFlight(ctx, c, want, inv, objs, started)
}

// hear keeps what an engine says about itself.
func (e *environment) hear(rep engineReport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.engine.degraded, e.engine.doing = rep.degraded, rep.doing
	if rep.waits != "" {
		e.engine.doing = rep.waits
	}
}

// setOut prepares a deployment's way through the engine: its files are checked, its namespace is there, its objects are remembered
// before they can be, and the engine knows where to look.
func (e *environment) setOut(ctx context.Context, c *cluster, eng engine, want *eventsv1.DesiredState, inv *inventory, p policy) (map[objectKey]*tracked, error) {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return nil, err
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return nil, err
	}
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return nil, err
	}
	if err := e.writeIntent(ctx, c, want, objs, inv); err != nil {
		return nil, err
	}
	p.pruneHeld = p.pruneHeld || syncpolicy.PruneTooMuch(p.sync, len(inv.without(objs)), len(inv.items))
	return objs, eng.ensure(ctx, p, keepers(objs))
}

// keepers are the declared objects that outlive their manifests.
func keepers(objs map[objectKey]*tracked) []objectKey {
	var out []objectKey
	for k, t := range objs {
		if keeps(t.declared()) {
			out = append(out, k)
		}
	}
	return out
}

func (e *environment) keepNow() []objectKey {
	e.mu.Lock()
	defer e.mu.Unlock()
	return keepers(e.objects)
}

// drive takes a deployment one step further on its way through the engine: errUnderWay while it is not there yet.
func (e *environment) drive(
	ctx context.Context, c *cluster, eng engine, want *eventsv1.DesiredState, inv *inventory, p policy, started time.Time,
) error {
	e.mu.Lock()
	flying := e.engine.flight == want.GetGeneration()
	e.mu.Unlock()
	if !flying {
		if _, err := e.setOut(ctx, c, eng, want, inv, p); err != nil {
			e.land()
			return err
		}
		if _, err := eng.ask(ctx, engineRequest{}); err != nil {
			return err
		}
		e.depart(want, started)
	}
	rep, err := eng.look(ctx)
	if err != nil {
		return err
	}
	e.hear(rep)
	there, err := e.arrived(ctx, want, rep.revisions)
	if err != nil {
		return err
	}
	e.mu.Lock()
	if there {
		e.engine.reached = want.GetGeneration()
	}
	there = there || e.engine.reached == want.GetGeneration()
	e.mu.Unlock()
	if there {
		return e.arrive(ctx, c, eng, want, inv, p, rep)
	}
	if passed, err := e.passedBy(ctx, want, rep.revisions); err != nil || passed {
		if err == nil {
			err = errUnderWay // the later one is
		}
		return err
	}
	if rep.failed != "" && !rep.running {
		about, err := e.arrived(ctx, want, rep.attempted)
		if err != nil {
			return err
		}
		if about {
			return e.crash(ctx, c, want, e.engineFailed(rep.failed))
		}
	}
	return e.push(ctx, eng, want, rep)
}

// push asks an engine once that finds the cluster behind Git and does nothing about it: Argo CD does not sync a commit by itself that
// it has synced before, also when somebody changed the cluster since.
func (e *environment) push(ctx context.Context, eng engine, want *eventsv1.DesiredState, rep engineReport) error {
	e.mu.Lock()
	due := rep.idle && e.engine.pushed != want.GetGeneration() && e.svc.cfg.Now().Sub(e.engine.since) >= engineQuiet
	e.mu.Unlock()
	if !due {
		return errUnderWay
	}
	if _, err := eng.ask(ctx, engineRequest{apply: true}); err != nil {
		return err
	}
	e.mu.Lock()
	e.engine.pushed = want.GetGeneration()
	e.mu.Unlock()
	return errUnderWay
}

// depart marks the deployment as on its way. Meanwhile findings stay as they are, as during a sync of our own.
func (e *environment) depart(want *eventsv1.DesiredState, started time.Time) {
	e.mu.Lock()
	e.engine.flight, e.engine.since, e.engine.told = want.GetGeneration(), started, ""
	e.engine.failed, e.engine.pruned, e.engine.reached, e.engine.pushed = 0, 0, 0, 0
	clear(e.engine.trees)
	e.mu.Unlock()
	e.begin(busySync)
}

// land ends a flight, wherever it came to.
func (e *environment) land() {
	e.mu.Lock()
	flying := e.engine.flight != 0
	e.engine.flight = 0
	e.mu.Unlock()
	if flying {
		e.end()
	}
}

// arrive ends a deployment that the engine has brought to the cluster, once what Git no longer has is gone too.
func (e *environment) arrive(
	ctx context.Context, c *cluster, eng engine, want *eventsv1.DesiredState, inv *inventory, p policy, rep engineReport,
) error {
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	e.mu.Lock()
	asked, since := e.engine.pruned == want.GetGeneration(), e.engine.since
	e.mu.Unlock()
	if len(rep.extra) > 0 && !p.pruneHeld && !p.sync.GetPruneDisabled() && !syncpolicy.PruneTooMuch(p.sync, len(inv.without(objs)), len(inv.items)) && !asked {
		gone, kept, err := e.expendable(ctx, c, rep.extra)
		if err != nil {
			return err
		}
		if _, err := eng.ask(ctx, engineRequest{apply: len(gone) > 0, prune: true, objects: gone, release: kept}); err != nil {
			return err
		}
		e.mu.Lock()
		e.engine.pruned = want.GetGeneration()
		e.mu.Unlock()
		if len(gone) > 0 {
			return errUnderWay
		}
	}
	if rep.running {
		return errUnderWay // it prunes
	}
	return e.closeFlight(ctx, c, want, inv, objs, since)
}

// expendable tells objects that may go from those that hold data.
func (e *environment) expendable(ctx context.Context, c *cluster, all []objectKey) (gone, kept []objectKey, err error) {
	for _, k := range all {
		live, err := e.readKey(ctx, c, k)
		switch {
		case err != nil:
			return nil, nil, err
		case live == nil:
		case keeps(live):
			kept = append(kept, k)
		default:
			gone = append(gone, k)
		}
	}
	return gone, kept, nil
}

// readKey reads an object in whatever version the cluster prefers; nil when there is none.
func (e *environment) readKey(ctx context.Context, c *cluster, k objectKey) (*unstructured.Unstructured, error) {
	m, err := c.mapping(k)
	if err != nil {
		return nil, nil //nolint:nilerr // the kind is gone, and its objects with it
	}
	live, err := c.dyn.Resource(m).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(err, "read "+k.kind+" "+k.name)
	}
	return live, nil
}

// closeFlight takes over what the engine has applied, with baselines of the live objects by ownership, and tells that the deployment
// is in the cluster.
func (e *environment) closeFlight(
	ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, objs map[objectKey]*tracked, started time.Time,
) error {
	defer e.land()
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	n, err := e.takeOver(ctx, c, inv, objs)
	if err != nil {
		return err
	}
	e.begin(busySync)
	defer e.end()
	e.replace(c, objs)
	if err := e.sweep(ctx); err != nil {
		return err
	}
	if err := e.writeInventory(ctx, c, want, objs); err != nil {
		return err
	}
	e.watchClaims(c, want, objs)
	e.finish(want, started, n)
	return nil
}

// takeOver reads what the engine made of the objects and learns their baselines.
func (e *environment) takeOver(ctx context.Context, c *cluster, inv *inventory, objs map[objectKey]*tracked) (counts, error) {
	var n counts
	known := map[objectKey]bool{}
	for _, it := range inv.items {
		known[it.key()] = true
	}
	e.mu.Lock()
	before := maps.Clone(e.objects)
	e.mu.Unlock()
	for k, t := range objs {
		live, err := c.dyn.Resource(t.gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // told as missing
		}
		if err != nil {
			return n, clusterError(err, "read "+k.kind+" "+k.name)
		}
		if err := e.learn(c, t, live); err != nil {
			return n, err
		}
		t.applied = live
		switch old := before[k]; {
		case old == nil || !known[k]:
			n.created++
		case old.specHash != compare.SpecHash(live):
			n.changed++
		}
	}
	for k := range before {
		if objs[k] == nil {
			n.pruned++
		}
	}
	return n, nil
}

// crash ends a deployment that the engine could not bring to the cluster. Objects that are as it wants them count as it wants them,
// the others as before: neither is drift.
func (e *environment) crash(ctx context.Context, c *cluster, want *eventsv1.DesiredState, why error) error {
	defer e.land()
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	e.mu.Lock()
	mixed, seen := maps.Clone(e.objects), e.cluster != nil
	e.mu.Unlock()
	if !seen {
		return why
	}
	for k, t := range objs {
		live, err := c.dyn.Resource(t.gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
		if err != nil {
			continue // not made
		}
		if err := e.learn(c, t, live); err != nil {
			return err
		}
		if e.compareNow(t, live).Clean() {
			t.applied, mixed[k] = live, t
		}
	}
	e.replace(c, mixed)
	return why
}

// compareNow is compare for who has not the mutex.
func (e *environment) compareNow(t *tracked, live *unstructured.Unstructured) compare.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.compare(t, live)
}

func (e *environment) engineFailed(words string) error {
	e.mu.Lock()
	info := e.engine.info
	e.mu.Unlock()
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED, "%s: %s says: %s", info.title, info.object, words).With("engine_object", info.object)
}

// syncNow has the engine apply what Git says and waits for it, because a person asked.
func (e *environment) syncNow(
	ctx context.Context, c *cluster, eng engine, want *eventsv1.DesiredState, inv *inventory, p policy, started time.Time,
) error {
	if _, err := e.setOut(ctx, c, eng, want, inv, p); err != nil {
		return err
	}
	e.depart(want, started)
	rep, err := e.askAndWait(ctx, eng, engineRequest{apply: true})
	if err != nil {
		e.land()
		return err
	}
	for there := false; ; {
		if there, err = e.arrived(ctx, want, rep.revisions); err != nil {
			e.land()
			return err
		}
		if there {
			if err = e.arrive(ctx, c, eng, want, inv, p, rep); err != errUnderWay { //nolint:errorlint // never wrapped
				return err
			}
		} else if rep.failed != "" && !rep.running {
			e.mu.Lock()
			e.engine.failed = want.GetGeneration()
			e.mu.Unlock()
			return e.crash(ctx, c, want, e.engineFailed(rep.failed))
		}
		if e.svc.cfg.Now().Sub(started) > enginePatience {
			if !p.automatic {
				e.land()
			}
			return e.slow(rep)
		}
		if pause(ctx, enginePoll); ctx.Err() != nil {
			return ctx.Err()
		}
		if rep, err = eng.look(ctx); err != nil {
			e.land()
			return err
		}
		e.hear(rep)
	}
}

// slow says that the engine takes longer than a caller waits.
func (e *environment) slow(rep engineReport) error {
	e.mu.Lock()
	info := e.engine.info
	e.mu.Unlock()
	words := rep.waits
	if words == "" {
		words = rep.doing
	}
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_ENGINE_FAILED,
		"%s has not done it within %s; %s says: %s", info.title, enginePatience, info.object, words)
}

// askAndWait asks the engine and waits until it has dealt with that.
func (e *environment) askAndWait(ctx context.Context, eng engine, what engineRequest) (engineReport, error) {
	deadline := e.svc.cfg.Now().Add(enginePatience)
	var token string
	for {
		var err error
		if token == "" {
			if token, err = eng.ask(ctx, what); err != nil && err != errUnderWay { //nolint:errorlint // never wrapped
				return engineReport{}, err
			}
		}
		rep, err := eng.look(ctx)
		if err != nil {
			return rep, err
		}
		e.hear(rep)
		if token != "" && rep.handled == token && !rep.running {
			return rep, nil
		}
		if e.svc.cfg.Now().After(deadline) {
			return rep, e.slow(rep)
		}
		if pause(ctx, enginePoll); ctx.Err() != nil {
			return rep, ctx.Err()
		}
	}
}
