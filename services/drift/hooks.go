package drift

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

// hookLedger is what the inventory remembers of the hooks of a run, so that one which went well is not run again when the sync is
// tried again, or goes on after a restart.
type hookLedger struct {
	Run  string   `json:"run,omitempty"`
	Done []string `json:"done,omitempty"`
}

// hookState is how a hook was seen last.
type hookState struct {
	apiVersion string
	phase      syncmark.Phase
	wave       int32
	health     driftv1.Health
	message    string
}

func hookName(k objectKey, p syncmark.Phase) string {
	return strings.Join([]string{string(p), k.group, k.kind, k.namespace, k.name}, "/")
}

// runHooks runs the hooks of a phase, of one wave or of all, and waits for them wave by wave.
func (r *syncRun) runHooks(ctx context.Context, phase syncmark.Phase, only *int32) error {
	byWave := map[int32][]*tracked{}
	for _, k := range slices.SortedFunc(maps.Keys(r.hooks), compareKeys) {
		h := r.hooks[k]
		m := marksOf(h.declared())
		if slices.Contains(m.Phases, phase) && (only == nil || *only == m.Wave) && !r.ranBefore(h, phase) {
			byWave[m.Wave] = append(byWave[m.Wave], h)
		}
	}
	for _, wave := range slices.Sorted(maps.Keys(byWave)) {
		for _, h := range byWave[wave] {
			if err := r.startHook(ctx, h, phase); err != nil {
				return err
			}
		}
		for _, h := range byWave[wave] {
			if err := r.awaitHook(ctx, h, phase); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *syncRun) ranBefore(h *tracked, p syncmark.Phase) bool {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	return slices.Contains(r.e.ran.ledger.Done, hookName(h.key, p))
}

// startHook makes the hook, unless this run's is there and has not failed. One of an earlier run goes first: a Job cannot be changed.
func (r *syncRun) startHook(ctx context.Context, h *tracked, p syncmark.Phase) error {
	r.e.doing(fmt.Sprintf("runs the %s hook %s/%s", p, h.key.kind, h.key.name))
	run := r.id + "." + string(p)
	live, err := r.e.readItem(ctx, r.c, itemOf(h))
	if err != nil {
		return err
	}
	if live != nil && !appliedByUs(live) {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
			"the hook %s %s cannot run: an object of that name is there that Towpath has not made; give the hook another name", h.key.kind, h.key.name)
	}
	if live != nil && live.GetAnnotations()[syncmark.HookRun] == run {
		if _, failed := hookOutcome(live); failed == "" {
			return nil
		}
	}
	if live != nil {
		if err := r.removeHook(ctx, h, live); err != nil {
			return err
		}
	}
	u := h.declared().DeepCopy()
	annotations := u.GetAnnotations()
	annotations[syncmark.HookRun] = run
	u.SetAnnotations(annotations)
	w, err := r.e.writer(r.c)
	if err != nil {
		return err
	}
	_, err = w.Resource(h.gvr).Namespace(h.key.namespace).Apply(ctx, h.key.name, u, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return clusterError(withoutSecret(u, err), fmt.Sprintf("run the %s hook %s %s", p, h.key.kind, h.key.name))
	}
	r.change(h, driftv1.SyncChange_ACTION_HOOK, string(p))
	return nil
}

// removeHook removes a hook with what it made, and waits until it is gone.
func (r *syncRun) removeHook(ctx context.Context, h *tracked, live *unstructured.Unstructured) error {
	w, err := r.e.writer(r.c)
	if err != nil {
		return err
	}
	uid, how := live.GetUID(), metav1.DeletePropagationBackground
	err = w.Resource(h.gvr).Namespace(h.key.namespace).
		Delete(ctx, h.key.name, metav1.DeleteOptions{PropagationPolicy: &how, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return clusterError(err, "remove the hook "+h.key.kind+" "+h.key.name)
	}
	for began := r.e.svc.cfg.Now(); ; {
		now, err := r.e.readItem(ctx, r.c, itemOf(h))
		if err != nil || now == nil || now.GetUID() != uid {
			return err
		}
		if r.e.svc.cfg.Now().Sub(began) > syncpolicy.WaveTimeout(r.policy) {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_TIMEOUT, "the hook of an earlier sync does not go: %s", whyThere(now))
		}
		if err := r.pause(ctx, firstWaveLook); err != nil {
			return err
		}
	}
}

// awaitHook waits until a hook has ended, remembers it, and removes it when its policy says so.
func (r *syncRun) awaitHook(ctx context.Context, h *tracked, p syncmark.Phase) error {
	limit := syncpolicy.WaveTimeout(r.policy)
	policies := marksOf(h.declared()).Delete
	for began, wait := r.e.svc.cfg.Now(), firstWaveLook; ; wait = min(2*wait, lastWaveLook) {
		live, err := r.e.readItem(ctx, r.c, itemOf(h))
		if err != nil {
			return err
		}
		if live == nil {
			return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED, "somebody removed the %s hook %s %s while it ran; it is tried again by itself", p, h.key.kind, h.key.name)
		}
		done, failed := hookOutcome(live)
		if !done && failed == "" && r.e.svc.cfg.Now().Sub(began) >= limit {
			failed = fmt.Sprintf("it has not ended after %s (sync_policy.wave_timeout)", limit)
		}
		switch {
		case failed != "":
			if why := r.c.explain(ctx, live); why != "" {
				failed += "; " + why
			}
			r.sawHook(h, driftv1.Health_HEALTH_DEGRADED, failed)
			if slices.Contains(policies, syncmark.HookFailed) {
				err = r.removeHook(ctx, h, live)
			}
			return withNote(errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "the %s hook %s %s failed: %s", p, h.key.kind, h.key.name, failed), err)
		case done:
			r.sawHook(h, driftv1.Health_HEALTH_HEALTHY, "")
			if err := r.hookDone(ctx, h, p); err != nil || !slices.Contains(policies, syncmark.HookSucceeded) {
				return err
			}
			return r.removeHook(ctx, h, live)
		}
		r.sawHook(h, driftv1.Health_HEALTH_PROGRESSING, "")
		if err := r.pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (r *syncRun) sawHook(h *tracked, health driftv1.Health, message string) {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	s := r.e.ran.hooks[h.key]
	s.health, s.message = health, message
	r.e.ran.hooks[h.key] = s
}

// hookDone remembers that a hook went well before anything else is done.
func (r *syncRun) hookDone(ctx context.Context, h *tracked, p syncmark.Phase) error {
	r.e.doing("")
	r.e.mu.Lock()
	r.e.ran.ledger.Done = append(r.e.ran.ledger.Done, hookName(h.key, p))
	r.e.mu.Unlock()
	return r.e.writeIntent(ctx, r.c, r.want, r.everything(), r.inv)
}

// everything is what may be there while the run goes on.
func (r *syncRun) everything() map[objectKey]*tracked {
	all := maps.Clone(r.objs)
	maps.Copy(all, r.hooks)
	return all
}

// failed runs what is to run after a sync that failed, and gives the error that it failed with.
func (r *syncRun) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errs.ReasonOf(err) == errorsv1.Reason_REASON_SUPERSEDED || !r.has(syncmark.SyncFail) {
		return err
	}
	if hookErr := r.runHooks(ctx, syncmark.SyncFail, nil); hookErr != nil && ctx.Err() == nil {
		r.e.log.Warn("a hook after the failed sync failed too", "error", hookErr)
		return withNote(err, hookErr)
	}
	return err
}

// withNote adds a second problem to the message of the first.
func withNote(err, also error) error {
	if also == nil {
		return err
	}
	return errs.New(errs.KindOf(err), errs.ReasonOf(err), "%s; also: %s", errs.Message(err), errs.Message(also)).Because(err)
}

// hookOutcome says whether a hook has ended, and when it failed why.
func hookOutcome(u *unstructured.Unstructured) (done bool, failed string) {
	gk := u.GroupVersionKind().GroupKind().String()
	switch gk {
	case "Job.batch":
		if c := condition(u, "Failed"); c.status == "True" {
			return false, c.text()
		}
		return condition(u, "Complete").status == "True", ""
	case "Pod", "Workflow.argoproj.io":
		phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
		message, _, _ := unstructured.NestedString(u.Object, "status", "message")
		switch phase {
		case "Succeeded":
			return true, ""
		case "Failed", "Error":
			return false, strings.TrimSuffix(phase+": "+shortText(message), ": ")
		}
		return false, ""
	}
	health, message := healthOf(u)
	if health == driftv1.Health_HEALTH_DEGRADED {
		return false, "it is degraded: " + message
	}
	return health == driftv1.Health_HEALTH_HEALTHY, ""
}
