package drift

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// What the server makes of a declared object is known, in this order, from the answer to our apply; from a dry-run create of the
// object under a throw-away name; from a table. The dry run is asked for when there is no apply's answer (the inventory was lost, a
// definition changed), and as a second opinion on what nobody is known to have written and the first cannot explain: a
// webhook that injects something else by now, a default of a newer server. Only what neither explains is told.

// opinion is the second opinion on one object.
type opinion struct {
	wanted   bool
	asked    time.Time // since when it is wanted
	at       time.Time // when the server last answered, also when it refused
	baseline compare.Baseline
}

const (
	// opinionLasts is how long an answer is good for something that it does not explain: then it is asked again.
	opinionLasts = time.Minute
	// opinionRetry is when a server that did not answer is asked again.
	opinionRetry = 2 * time.Second
	// opinionPatience is how long one that does answer but cannot (a webhook of its own is away) is waited for.
	opinionPatience = 10 * time.Second
	// dryRunName begins the throw-away names of dry runs.
	dryRunName = "towpath-dry-run-"
)

// weighed compares, and takes the second opinion into account where there is one.
func (e *environment) weighed(t *tracked, in compare.Input) compare.Result {
	r := e.svc.comparer.Compare(in)
	if t.second == nil || t.second.baseline.IsZero() || !r.Doubtful() {
		return r
	}
	in.Prepared = in.Prepared.WithBaseline(t.second.baseline)
	return r.Weigh(e.svc.comparer.Compare(in))
}

// doubted holds back what is doubtful while the server is asked about it. It needs the mutex.
func (e *environment) doubted(t *tracked, r compare.Result) compare.Result {
	if !r.Doubtful() || e.down != nil {
		return r
	}
	switch {
	case t.second == nil:
		t.second = &opinion{wanted: true, asked: e.svc.cfg.Now()}
	case t.second.wanted:
	case e.svc.cfg.Now().Sub(t.second.at) >= opinionLasts:
		t.second.wanted, t.second.asked = true, e.svc.cfg.Now()
		poke(e.look)
		return r // the last answer did not explain it, so it stands until another one does
	default:
		return r
	}
	poke(e.look)
	return r.WithoutDoubt()
}

// wantBaseline asks for a dry run when nothing is known of what the server makes of the object.
func (e *environment) wantBaseline(t *tracked) {
	t.second = nil
	if len(t.base) == 0 {
		t.second = &opinion{wanted: true, asked: e.svc.cfg.Now()}
	}
}

// opine asks the server about the objects that it is to be asked about. It runs on the environment's goroutine.
func (e *environment) opine(ctx context.Context) {
	e.mu.Lock()
	c := e.cluster
	e.opineAt = time.Time{}
	var due []*tracked
	if c != nil && e.down == nil && !e.gone {
		for _, t := range e.objects {
			if t.second != nil && t.second.wanted {
				due = append(due, t)
			}
		}
	}
	e.mu.Unlock()
	for _, t := range due {
		if !e.opineOn(ctx, c, t) {
			e.mu.Lock()
			e.opineAt = e.svc.cfg.Now().Add(opinionRetry)
			e.mu.Unlock()
			return // the cluster does not answer now
		}
	}
}

// opineOn asks the server about one object and looks at that object again. It gives false when the server did not answer.
func (e *environment) opineOn(ctx context.Context, c *cluster, t *tracked) bool {
	b, err := e.dryRun(ctx, c, t)
	if err != nil && passes(clusterError(err, "dry run")) && e.svc.cfg.Now().Sub(t.second.asked) < opinionPatience {
		return false
	}
	if err != nil { // its text may hold what was sent
		e.log.Info("the server refuses a dry run; the object is compared with the table of defaults", "kind", t.key.kind, "name", t.key.name,
			"reason", apierrors.ReasonForError(err))
	}
	live, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).Get(ctx, t.key.name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.objects[t.key] != t {
		return true // deployed anew meanwhile
	}
	t.second = &opinion{at: e.svc.cfg.Now()}
	switch {
	case b.IsZero():
	case len(t.base) == 0:
		if err := t.learn(b); err != nil {
			e.log.Error("a baseline cannot be kept", "kind", t.key.kind, "name", t.key.name, "error", err)
		}
		e.svc.ready.forget(t)
		t.second = nil
	default:
		t.second.baseline = b
	}
	t.specHash = 0
	if live != nil && err == nil {
		e.judge(t, live, versionOf(live), resolutionUndone)
	}
	return true
}

// dryRun asks the server what it makes of the declared object, without making it.
func (e *environment) dryRun(ctx context.Context, c *cluster, t *tracked) (compare.Baseline, error) {
	u := t.declared()
	u.SetName("")
	u.SetGenerateName(dryRunName)
	answer, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).
		Create(ctx, u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: FieldManager})
	if err != nil {
		return compare.Baseline{}, err
	}
	return learnDryRun(c, t.declared(), answer)
}

func learnDryRun(c *cluster, declared, answer *unstructured.Unstructured) (compare.Baseline, error) {
	return c.comparer.MakeDryRunBaseline(declared, answer, FieldManager, generateManager)
}
