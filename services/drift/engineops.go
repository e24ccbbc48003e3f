package drift

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// selfNow is self for who has not the mutex.
func (e *environment) selfNow() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.self()
}

// engineInUse reports whether another engine than ours applies the environment.
func (e *environment) engineInUse() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.engine.info.name != ""
}

// engineShown says who applies the environment, and what that calls it. It needs the mutex.
func (e *environment) engineShown() (name, object string) {
	if e.engine.info.name == "" {
		return "native", ""
	}
	return e.engine.info.name, e.engine.info.object
}

// engineHealth is what the engine has to say against objects that look healthy to us: it may know more about custom resources. It
// needs the mutex.
func (e *environment) engineHealth() (driftv1.Health, string) {
	if e.engine.degraded == "" {
		return driftv1.Health_HEALTH_HEALTHY, ""
	}
	return driftv1.Health_HEALTH_DEGRADED, e.engine.info.title + ": " + e.engine.degraded
}

// refuseInFlight refuses to revert while the engine brings a deployment to the cluster: what differs then may be its work.
func (e *environment) refuseInFlight() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.engine.flight == 0 {
		return nil
	}
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_WRONG_STATE,
		"%s is bringing generation %d of %s to the cluster (%s); revert when that is through", e.engine.info.title, e.engine.flight, e.name, e.engine.info.object)
}

// putRightByEngine has the engine apply one object again and gives the object as it is then. An error is the API server's own, or
// says what the engine does.
func (e *environment) putRightByEngine(ctx context.Context, c *cluster, t *tracked, fields map[string]bool, remade bool) (*unstructured.Unstructured, error) {
	e.mu.Lock()
	synced := e.synced
	e.mu.Unlock()
	if synced == nil {
		return nil, notHere(e.name)
	}
	eng, err := e.engineOf(c, synced)
	if err != nil {
		return nil, err
	}
	rep, err := e.askAndWait(ctx, eng, engineRequest{apply: true, objects: []objectKey{t.key}})
	if err != nil {
		return nil, err
	}
	live, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).Get(ctx, t.key.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for _, f := range compare.NeedsApply(e.compareNow(t, live).Findings) {
		if fields[f.Path] && rep.failed != "" {
			return nil, e.engineFailed(rep.failed)
		}
	}
	if remade {
		return live, e.learn(c, t, live)
	}
	return live, nil
}

// removeByEngine takes an environment out of the engine, which removes what it applied. What holds data is told to the engine first,
// so that it is not among that.
func (e *environment) removeByEngine(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory) error {
	eng, err := e.engineOf(c, want)
	if errs.ReasonOf(err) == errorsv1.Reason_REASON_ENGINE_FAILED {
		e.log.Warn("the engine is not there any more; Towpath removes the objects itself", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.engine.flight = 0
	e.mu.Unlock()
	var keep []objectKey
	for _, it := range inv.items {
		live, err := e.readItem(ctx, c, it)
		if err != nil {
			return err
		}
		if live != nil && keeps(live) {
			keep = append(keep, it.key())
		}
	}
	w := e.waitFor(want)
	for {
		left, err := eng.remove(ctx, keep)
		if err != nil || len(left) == 0 {
			return err
		}
		if err := w.wait(ctx, left); err != nil {
			return err
		}
	}
}

// claimsByEngine has the engine bring a deployment's claims, which stand in Git beside what was there before, and watches them.
func (e *environment) claimsByEngine(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory) error {
	eng, err := e.engineOf(c, want)
	if err != nil {
		return err
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return err
	}
	e.watchClaims(c, want, objs)
	if err := e.rememberClaims(ctx, c, want, objs, inv); err != nil {
		return err
	}
	e.mu.Lock()
	p := e.policy()
	e.mu.Unlock()
	if err := eng.ensure(ctx, p, append(e.keepNow(), keepers(objs)...)); err != nil {
		return err
	}
	rep, err := eng.look(ctx)
	if err != nil {
		return err
	}
	there, err := e.arrived(ctx, want, rep.revisions)
	if err != nil {
		return err
	}
	if !there {
		if !p.automatic {
			_, err = e.askAndWait(ctx, eng, engineRequest{apply: true})
		} else if rep.failed == "" || rep.running {
			_, err = eng.ask(ctx, engineRequest{})
		}
		if err != nil {
			return err
		}
		e.hear(rep)
		return e.slow(rep)
	}
	e.redeclareFound(ctx, c, objs)
	e.mu.Lock()
	e.claims.applied, e.claims.waiting = want.GetTree(), ""
	e.mu.Unlock()
	return nil
}

// redeclareFound lets claims that the running deployment has too count as the engine made them now.
func (e *environment) redeclareFound(ctx context.Context, c *cluster, objs map[objectKey]*tracked) {
	for k, t := range objs {
		live, err := c.dyn.Resource(t.gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
		if err == nil && e.learn(c, t, live) == nil {
			t.applied = live
		}
	}
	e.redeclare(c, objs)
}
