package drift

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
)

// openFindings is which findings have been told of each environment and still stand. It is written to a stream behind the events,
// so that whoever looks after an environment next, after a restart or on another replica, goes on with them: tells none twice,
// keeps when each was noticed, and tells of those that ended while nobody looked.
type openFindings struct {
	mu    sync.Mutex
	byEnv map[string]map[string]*driftv1.Finding
	// dirty are the environments whose findings differ from what the stream has; saved is when each was last written.
	dirty map[string]bool
	saved map[string]time.Time
	// terms count how often an environment was given up: what was to be told of it before is not told any more.
	terms map[string]int
}

func newOpenFindings() *openFindings {
	return &openFindings{
		byEnv: map[string]map[string]*driftv1.Finding{}, dirty: map[string]bool{}, saved: map[string]time.Time{}, terms: map[string]int{},
	}
}

// saveEvery is how often the findings of one environment are written at the most, so that a storm of edits is not written once
// for each of them.
const saveEvery = 150 * time.Millisecond

// note takes an event that was published.
func (o *openFindings) note(x announcement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x.term != o.terms[x.env] {
		return
	}
	switch m := x.body.(type) {
	case *eventsv1.DriftDetected:
		if o.byEnv[x.env] == nil {
			o.byEnv[x.env] = map[string]*driftv1.Finding{}
		}
		o.byEnv[x.env][m.GetFinding().GetName()] = m.GetFinding()
	case *eventsv1.DriftResolved:
		delete(o.byEnv[x.env], m.GetFinding().GetName())
	default:
		return
	}
	o.dirty[x.env] = true
}

// term is the number that an announcement about the environment carries now.
func (o *openFindings) term(env string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.terms[env]
}

// begin takes what the stream had of an environment that is looked after from now on.
func (o *openFindings) begin(env string, known []*driftv1.Finding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byEnv[env] = map[string]*driftv1.Finding{}
	for _, f := range known {
		o.byEnv[env][f.GetName()] = f
	}
}

// leave forgets an environment that is another's from now on.
func (o *openFindings) leave(env string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.terms[env]++
	delete(o.byEnv, env)
	delete(o.dirty, env)
	delete(o.saved, env)
}

// due gives an environment whose findings are to be written, "" for none: one that was not written just now, or any with all set.
func (o *openFindings) due(all bool) (env string, term int, list *driftv1.ListFindingsResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for env := range o.dirty {
		if !all && time.Since(o.saved[env]) < saveEvery {
			continue
		}
		delete(o.dirty, env)
		o.saved[env] = time.Now()
		list = &driftv1.ListFindingsResponse{}
		for _, name := range slices.Sorted(maps.Keys(o.byEnv[env])) {
			list.Findings = append(list.Findings, o.byEnv[env][name])
		}
		return env, o.terms[env], list
	}
	return "", 0, nil
}

// waiting reports whether something of the environment, or of any with "", is still to be written.
func (o *openFindings) waiting(env string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if env == "" {
		return len(o.dirty) > 0
	}
	return o.dirty[env]
}

// saveOpen writes what has changed; all says that nothing waits any longer.
func (a *announcer) saveOpen(ctx context.Context, all bool) {
	for ctx.Err() == nil {
		env, term, list := a.open.due(all)
		if list == nil {
			return
		}
		parts := strings.Split(env, "/")
		subject, err := events.OpenSubject(parts[1], parts[3])
		if err != nil {
			continue // its events could not be published either, which was told
		}
		at := time.Now()
		a.post(ctx, announcement{env: env, term: term}, events.Message{
			Subject: subject, ID: env + "/open@" + strconv.FormatInt(at.UnixNano(), 10), Type: "dev.towpath.drift.open",
			Source: "//towpath.dev/drift", Resource: env, Time: at, Body: list,
		})
	}
}

// flush waits until everything about an environment is published, for a moment at the most.
func (a *announcer) flush(env string, patience time.Duration) {
	a.save.Store(true)
	poke(a.wake)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		a.mu.Lock()
		waits := a.now == env || slices.ContainsFunc(a.queue, func(x announcement) bool { return x.env == env })
		a.mu.Unlock()
		if !waits && !a.open.waiting(env) {
			return
		}
		a.save.Store(true)
		poke(a.wake)
	}
}

// recall reads what was told of the environment before this process had it. Without an event server nothing is known; then
// findings are told anew.
func (e *environment) recall(ctx context.Context) {
	parts := strings.Split(e.name, "/")
	subject, err := events.OpenSubject(parts[1], parts[3])
	if err != nil {
		return
	}
	list := &driftv1.ListFindingsResponse{}
	for wait, end := 20*time.Millisecond, time.Now().Add(10*time.Second); ctx.Err() == nil; wait = min(2*wait, time.Second) {
		d, ok, err := e.svc.cfg.Bus.LastOpen(ctx, subject)
		if err == nil && ok {
			err = d.Decode(list)
		}
		if err == nil {
			break
		}
		if k := errs.KindOf(err); k != errs.Unavailable && k != errs.Timeout || time.Now().After(end) {
			e.log.Warn("what was told of the environment before is not known; it is told anew", "error", err)
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	e.svc.out.open.begin(e.name, list.GetFindings())
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range list.GetFindings() {
		if e.prior == nil {
			e.prior = map[objectKey]map[string]*driftv1.Finding{}
		}
		k := keyOfFinding(f)
		if e.prior[k] == nil {
			e.prior[k] = map[string]*driftv1.Finding{}
		}
		e.prior[k][f.GetName()] = f
	}
}

func keyOfFinding(f *driftv1.Finding) objectKey {
	gv, _ := schema.ParseGroupVersion(f.GetApiVersion())
	return objectKey{group: gv.Group, kind: f.GetObjectKind(), namespace: f.GetNamespace(), name: f.GetObjectName()}
}

// resume lets findings that were told before count as told: each object gets its own, to be compared next. What is left is of
// objects that are no longer declared.
func (e *environment) resume(c *cluster, objs map[objectKey]*tracked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, told := range e.prior {
		t := objs[k]
		if t == nil || t.findings != nil || isOrphan(told) {
			continue
		}
		t.findings = cloneAll(told)
		delete(e.prior, k)
	}
	if len(e.prior) == 0 {
		return
	}
	left := e.prior
	e.prior = nil
	e.afterwards = append(e.afterwards, func(ctx context.Context) error { return e.resumeOthers(ctx, c, left) })
	poke(e.look)
}

func isOrphan(told map[string]*driftv1.Finding) bool {
	for _, f := range told {
		if f.GetKind() == driftv1.Finding_KIND_ORPHANED || f.GetKind() == driftv1.Finding_KIND_UNMANAGED {
			return true
		}
	}
	return false
}

// resumeOthers looks at the objects behind findings that are of no declared object: what is still there stays told, the rest is over.
func (e *environment) resumeOthers(ctx context.Context, c *cluster, left map[objectKey]map[string]*driftv1.Finding) error {
	for k, told := range left {
		var some *driftv1.Finding
		for _, f := range told {
			some = f
		}
		gvk := schema.FromAPIVersionAndKind(some.GetApiVersion(), some.GetObjectKind())
		gvr, _, err := c.resource(gvk)
		if err != nil && !meta.IsNoMatchError(err) {
			return err
		}
		if err == nil {
			live, lerr := c.dyn.Resource(gvr).Namespace(k.namespace).Get(ctx, k.name, metav1.GetOptions{})
			if lerr != nil && !apierrors.IsNotFound(lerr) {
				return lerr
			}
			e.mu.Lock()
			if lerr == nil && isOrphan(told) && e.objects[k] == nil && e.orphans[k].finding == nil {
				e.orphans[k] = orphan{finding: proto.CloneOf(some), gvr: gvr}
				e.see(k, sighting{gvr: gvr, object: live, uid: live.GetUID(), version: versionOf(live)}, resolutionUndone)
				delete(told, some.GetName())
			}
			e.mu.Unlock()
		}
		e.mu.Lock()
		for name, f := range told {
			if t := e.objects[k]; t == nil || t.findings[name] == nil {
				if e.orphans[k].finding.GetName() != name {
					e.announceResolved(f, resolutionDeployed)
				}
			}
		}
		e.mu.Unlock()
		delete(left, k)
	}
	e.tell()
	return nil
}

// catchUp does what waits for a free moment of the environment's goroutine; what cannot be done now is tried again at the next.
func (e *environment) catchUp(ctx context.Context) {
	e.mu.Lock()
	todo := e.afterwards
	e.afterwards = nil
	e.mu.Unlock()
	for _, f := range todo {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			e.log.Info("what was told before is looked at later", "error", err)
			e.mu.Lock()
			e.afterwards = append(e.afterwards, f)
			e.mu.Unlock()
		}
	}
}

var errDropped = errors.New("the environment is looked after elsewhere")

// post publishes until it is stored, can never be, or is not ours to tell any more; false says that ctx ended before.
func (a *announcer) post(ctx context.Context, x announcement, m events.Message) bool {
	for wait := firstPublishRetry; ; wait = min(2*wait, lastPublishRetry) {
		if x.term != a.open.term(x.env) {
			a.log.Debug("an event is not published", "type", m.Type, "error", errDropped)
			return true
		}
		err := a.bus.Publish(ctx, m)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if k := errs.KindOf(err); k != errs.Unavailable && k != errs.Timeout {
			a.log.Error("an event was not published", "type", m.Type, "error", fmt.Sprint(err))
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// cloneAll is for findings that go into other hands.
func cloneAll(fs map[string]*driftv1.Finding) map[string]*driftv1.Finding {
	out := make(map[string]*driftv1.Finding, len(fs))
	for k, f := range fs {
		out[k] = proto.CloneOf(f)
	}
	return out
}
