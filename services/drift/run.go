package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// syncRun is one sync under way: phases of hooks around waves of objects.
type syncRun struct {
	e     *environment
	c     *cluster
	want  *eventsv1.DesiredState
	inv   *inventory
	objs  map[objectKey]*tracked
	hooks map[objectKey]*tracked
	// skipped are declared and left out: neither applied nor removed.
	skipped map[objectKey]*tracked
	policy  *driftv1.SyncPolicy
	// id is the same for each attempt at the same deployment, so that a hook which went well is not run again.
	id string
	// known are the objects that were there before.
	known map[objectKey]bool

	mu      sync.Mutex
	n       counts
	changes []*driftv1.SyncChange
}

func (e *environment) newRun(c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory, force bool) *syncRun {
	e.mu.Lock()
	p := e.policy().sync
	e.mu.Unlock()
	hooks, skipped := takeHooks(objs)
	r := &syncRun{e: e, c: c, want: want, inv: inv, objs: objs, hooks: hooks, skipped: skipped, policy: p, known: map[objectKey]bool{}}
	for _, it := range inv.items {
		r.known[it.key()] = true
	}
	// What a person asks for runs its hooks, also when they ran for the deployment before; an attempt that was cut off goes on.
	r.id = runID(want)
	if force && inv.at(want) {
		r.id += "-" + stampOf(e.svc.cfg.Now())
	}
	ledger := hookLedger{Run: r.id}
	if inv.hooks.Run == r.id {
		ledger = inv.hooks
	}
	e.mu.Lock()
	e.ran.ledger, e.ran.attempts, e.ran.hooks = ledger, map[objectKey]attempt{}, map[objectKey]hookState{}
	for k, h := range hooks {
		e.ran.hooks[k] = hookState{apiVersion: h.gvr.GroupVersion().String(), phase: marksOf(h.declared()).Phases[0], wave: h.wave}
	}
	e.mu.Unlock()
	return r
}

// runID names what is run: the same deployment at the same tree.
func runID(want *eventsv1.DesiredState) string {
	sum := sha256.Sum256([]byte(want.GetDeployment() + "\x00" + want.GetTree()))
	return hex.EncodeToString(sum[:8])
}

// waves brings everything to the cluster, wave by wave. One that others follow is waited for until it is healthy.
func (r *syncRun) waves(ctx context.Context) error {
	if err := r.runHooks(ctx, syncmark.PreSync, nil); err != nil {
		return err
	}
	byWave := map[int32]map[objectKey]*tracked{}
	add := func(k objectKey, t *tracked, wave int32) {
		if byWave[wave] == nil {
			byWave[wave] = map[objectKey]*tracked{}
		}
		if t != nil {
			byWave[wave][k] = t
		}
	}
	for k, t := range r.objs {
		add(k, t, t.wave)
	}
	for k, h := range r.hooks {
		if slices.Contains(marksOf(h.declared()).Phases, syncmark.Sync) {
			add(k, nil, h.wave)
		}
	}
	order := slices.Sorted(maps.Keys(byWave))
	for i, wave := range order {
		if err := r.applyAll(ctx, byWave[wave]); err != nil {
			return err
		}
		if err := r.runHooks(ctx, syncmark.Sync, &wave); err != nil {
			return err
		}
		if i+1 < len(order) || r.has(syncmark.PostSync) {
			if err := r.awaitHealthy(ctx, wave, byWave[wave]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *syncRun) has(p syncmark.Phase) bool {
	for _, h := range r.hooks {
		if slices.Contains(marksOf(h.declared()).Phases, p) {
			return true
		}
	}
	return false
}

// applyAll applies objects stage by stage: what others need first. It goes on after a refusal within a stage, so that one pass tells as
// much as it can.
func (r *syncRun) applyAll(ctx context.Context, objs map[objectKey]*tracked) error {
	for i, stage := range stages(objs) {
		var g errgroup.Group
		g.SetLimit(applyParallel)
		refused := make([]error, len(stage))
		for j, t := range stage {
			g.Go(func() error {
				refused[j] = r.applyObject(ctx, t)
				return nil
			})
		}
		_ = g.Wait() // the errors are in refused
		if err := together(refused); err != nil {
			return err
		}
		if i == 0 && len(stage) > 0 { // kinds and namespaces must be there before what is in them
			if err := r.awaitDefinitions(ctx, stage); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyObject applies one object and notes what came of it.
func (r *syncRun) applyObject(ctx context.Context, t *tracked) error {
	began := r.e.svc.cfg.Now().Add(-time.Second).Truncate(time.Second)
	live, err := r.e.applyOne(ctx, r.c, t)
	r.e.tried(t, err)
	if err != nil {
		if ctx.Err() == nil {
			r.change(t, driftv1.SyncChange_ACTION_REFUSE, errs.Message(err))
		}
		return err
	}
	t.applied = live
	r.mu.Lock()
	action := driftv1.SyncChange_ACTION_UNSPECIFIED
	switch {
	case !r.known[t.key] && lastApply(live).Sub(live.GetCreationTimestamp().Time) <= time.Second:
		r.n.created++
		action = driftv1.SyncChange_ACTION_CREATE
	case r.e.moved(t.key, live, began):
		r.n.changed++
		action = driftv1.SyncChange_ACTION_CHANGE
	}
	r.mu.Unlock()
	if action != driftv1.SyncChange_ACTION_UNSPECIFIED {
		r.change(t, action, "")
	}
	return nil
}

func (r *syncRun) change(t *tracked, action driftv1.SyncChange_Action, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, &driftv1.SyncChange{Object: refOf(t.key, t.gvr), Action: action, Message: message})
}

// together makes one error of several: what nothing helps against but a change comes before what may pass.
func together(all []error) error {
	var out []error
	for _, err := range all {
		if err != nil {
			out = append(out, err)
		}
	}
	if len(out) <= 1 {
		return errors.Join(out...)
	}
	slices.SortStableFunc(out, func(a, b error) int {
		if passes(a) != passes(b) {
			if passes(a) {
				return 1
			}
			return -1
		}
		return strings.Compare(errs.Message(a), errs.Message(b))
	})
	texts := make([]string, len(out))
	for i, err := range out {
		texts[i] = errs.Message(err)
	}
	return errs.New(errs.KindOf(out[0]), errs.ReasonOf(out[0]), "%s", summarise(slices.Compact(texts))).Because(out[0])
}

const (
	firstWaveLook = 100 * time.Millisecond
	lastWaveLook  = 2 * time.Second
	// degradedPatience is how long an object may be degraded before its wave fails: some are so for a moment on their way.
	degradedPatience = 10 * time.Second
)

// awaitDefinitions waits until the cluster knows new kinds and has new namespaces.
func (r *syncRun) awaitDefinitions(ctx context.Context, stage []*tracked) error {
	objs := map[objectKey]*tracked{}
	for _, t := range stage {
		objs[t.key] = t
	}
	return r.await(ctx, "the kinds and namespaces that others need", objs)
}

func (r *syncRun) awaitHealthy(ctx context.Context, wave int32, objs map[objectKey]*tracked) error {
	return r.await(ctx, fmt.Sprintf("wave %d", wave), objs)
}

// await waits until objects are healthy, or fails with why they are not.
func (r *syncRun) await(ctx context.Context, what string, objs map[objectKey]*tracked) error {
	limit := syncpolicy.WaveTimeout(r.policy)
	began, pause := r.e.svc.cfg.Now(), firstWaveLook
	degraded := map[objectKey]time.Time{}
	left := maps.Clone(objs)
	for {
		why, failed, err := r.unhealthy(ctx, left, degraded)
		switch {
		case err != nil:
			return err
		case len(left) == 0:
			r.e.doing("")
			return nil
		case failed:
			return r.notHealthy(ctx, what+" has failed", left)
		case r.e.svc.cfg.Now().Sub(began) >= limit:
			return r.notHealthy(ctx, fmt.Sprintf("%s is not healthy after %s (sync_policy.wave_timeout)", what, limit), left)
		}
		r.e.doing("waits for " + what + ": " + summarise(why))
		if err := r.pause(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, lastWaveLook)
	}
}

// unhealthy looks at objects, takes those that are healthy out of left and gives why the others are not.
func (r *syncRun) unhealthy(ctx context.Context, left map[objectKey]*tracked, degraded map[objectKey]time.Time) (why []string, failed bool, err error) {
	for _, k := range slices.SortedFunc(maps.Keys(left), compareKeys) {
		t := left[k]
		live := t.applied
		if live != nil && !isTask(live) {
			if h, _ := healthOf(live); h == driftv1.Health_HEALTH_HEALTHY && !stale(live) {
				delete(left, k)
				continue
			}
		}
		if live, err = r.e.readItem(ctx, r.c, itemOf(t)); err != nil {
			return nil, false, err
		}
		if live == nil {
			why = append(why, k.kind+"/"+k.name+" is gone")
			continue
		}
		health, message := waveHealth(live)
		if health == driftv1.Health_HEALTH_HEALTHY {
			delete(left, k)
			continue
		}
		if health != driftv1.Health_HEALTH_DEGRADED {
			delete(degraded, k)
		} else if degraded[k].IsZero() {
			degraded[k] = r.e.svc.cfg.Now()
		} else if r.e.svc.cfg.Now().Sub(degraded[k]) >= degradedPatience {
			failed = true
		}
		failed = failed || isTask(live) && health == driftv1.Health_HEALTH_DEGRADED
		why = append(why, strings.TrimSuffix(k.kind+"/"+k.name+": "+message, ": "))
	}
	return why, failed, nil
}

// isTask reports whether an object is a Job that is to end: a wave waits for its end, and not only for its start.
func isTask(u *unstructured.Unstructured) bool {
	suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
	return u.GroupVersionKind().GroupKind().String() == "Job.batch" && !suspended
}

// waveHealth is the health of an object as the waves after it need it.
func waveHealth(u *unstructured.Unstructured) (driftv1.Health, string) {
	if !isTask(u) {
		return healthOf(u)
	}
	switch done, failed := hookOutcome(u); {
	case done:
		return healthy, ""
	case failed != "":
		return degraded, failed
	}
	return progressing, "has not ended"
}

// stale reports whether an apply's answer says nothing of what the object is now: its controller has not looked at it yet.
func stale(u *unstructured.Unstructured) bool {
	_, has, _ := unstructured.NestedMap(u.Object, "status")
	return has
}

// notHealthy is the error of a wave, with what the cluster says of its objects.
func (r *syncRun) notHealthy(ctx context.Context, what string, left map[objectKey]*tracked) error {
	var texts []string
	for _, k := range slices.SortedFunc(maps.Keys(left), compareKeys) {
		live, err := r.e.readItem(ctx, r.c, itemOf(left[k]))
		if err != nil || live == nil {
			continue
		}
		_, message := healthOf(live)
		if why := r.c.explain(ctx, live); why != "" {
			message = strings.TrimPrefix(message+"; "+why, "; ")
		}
		texts = append(texts, strings.TrimSuffix(k.kind+"/"+k.name+": "+message, ": "))
		r.e.tried(left[k], errs.New(errs.Precondition, errorsv1.Reason_REASON_TIMEOUT, "%s", message))
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_TIMEOUT, "%s: %s", what, summarise(texts))
}

// pause waits a moment, and ends the run when a newer deployment has come: nobody waits for the older one any more.
func (r *syncRun) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.e.desired.GetGeneration() > r.want.GetGeneration() {
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_SUPERSEDED, "a newer deployment has come")
	}
	return nil
}
