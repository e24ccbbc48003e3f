package drift

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/ignorerule"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// quiet are the findings that people said do not count: they are listed, and are neither told, counted nor reverted by ourselves. They
// are kept apart from the open ones, so that nothing else has to tell them apart.
type quiet struct {
	rules *ignorerule.Set
	// byObject has the findings of each object by name; gvr is set where the object is an orphan.
	byObject map[objectKey]quietObject
}

type quietObject struct {
	findings map[string]*driftv1.Finding
	gvr      schema.GroupVersionResource
	orphan   bool
}

func (q *quiet) put(k objectKey, f *driftv1.Finding, r *driftv1.IgnoreRule) *driftv1.Finding {
	f = proto.CloneOf(f)
	f.Standing, f.IgnoreRule = driftv1.Finding_STANDING_IGNORED, r.GetName()
	f.DecideActor, f.DecideTime = r.GetCreateActor(), r.GetCreateTime()
	if q.byObject == nil {
		q.byObject = map[objectKey]quietObject{}
	}
	o := q.byObject[k]
	if o.findings == nil {
		o.findings = map[string]*driftv1.Finding{}
	}
	o.findings[f.GetName()] = f
	q.byObject[k] = o
	return f
}

func (q *quiet) drop(k objectKey, name string) {
	delete(q.byObject[k].findings, name)
	if len(q.byObject[k].findings) == 0 {
		delete(q.byObject, k)
	}
}

// hush takes out of an object's findings, as a comparison gave them, those that a rule is about. It needs the mutex.
func (e *environment) hush(k objectKey, now map[string]*driftv1.Finding) {
	was := e.quiet.byObject[k].findings
	if len(was) == 0 && e.quiet.rules == nil {
		return
	}
	at := e.svc.cfg.Now()
	delete(e.quiet.byObject, k)
	for name, f := range now {
		r := e.quiet.rules.Match(f, at)
		if r == nil {
			continue
		}
		if old := was[name]; old != nil {
			f.DetectTime = old.GetDetectTime()
		}
		e.quiet.put(k, f, r)
		delete(now, name)
	}
}

// hushes reports whether a finding that is to be told is ignored, and keeps it if so. It needs the mutex.
func (e *environment) hushes(k objectKey, f *driftv1.Finding, gvr schema.GroupVersionResource) bool {
	r := e.quiet.rules.Match(f, e.svc.cfg.Now())
	if r == nil {
		return false
	}
	e.quiet.put(k, f, r)
	o := e.quiet.byObject[k]
	o.gvr, o.orphan = gvr, true
	e.quiet.byObject[k] = o
	return true
}

// reconsider applies the rules as they are now to what was found: no object is read for that. It needs the mutex.
func (e *environment) reconsider() (changed bool) {
	at := e.svc.cfg.Now()
	for k, o := range e.quiet.byObject {
		for name, f := range o.findings {
			r := e.quiet.rules.Match(f, at)
			if r != nil {
				if r.GetName() != f.GetIgnoreRule() {
					e.quiet.put(k, f, r)
				}
				continue
			}
			e.quiet.drop(k, name)
			changed = true
			e.open(k, o, f, at)
		}
	}
	for k, t := range e.objects {
		for name, f := range t.findings {
			if r := e.quiet.rules.Match(f, at); r != nil {
				delete(t.findings, name)
				changed = true
				e.announceResolved(e.quiet.put(k, f, r), resolutionIgnored)
			}
		}
	}
	for k, o := range e.orphans {
		if r := e.quiet.rules.Match(o.finding, at); r != nil {
			delete(e.orphans, k)
			changed = true
			e.announceResolved(e.quiet.put(k, o.finding, r), resolutionIgnored)
			q := e.quiet.byObject[k]
			q.gvr, q.orphan = o.gvr, true
			e.quiet.byObject[k] = q
		}
	}
	return changed
}

// open tells a finding that no rule is about any more: it begins now, because nobody was told of it before. It needs the mutex.
func (e *environment) open(k objectKey, o quietObject, f *driftv1.Finding, at time.Time) {
	f = proto.CloneOf(f)
	f.Standing, f.IgnoreRule, f.DecideActor, f.DecideTime = driftv1.Finding_STANDING_OPEN, "", "", nil
	f.DetectTime = timestamppb.New(at)
	t := e.objects[k]
	switch {
	case o.orphan:
		e.orphans[k] = orphan{finding: f, gvr: o.gvr}
	case t == nil:
		return
	default:
		if t.findings == nil {
			t.findings = map[string]*driftv1.Finding{}
		}
		t.findings[f.GetName()] = f
	}
	e.announceFinding(f)
}

// ruleEnded reconsiders what is ignored when a rule has ended by the clock, and gives when the next one does. It needs the mutex.
func (e *environment) ruleEnded() (next time.Time, changed bool) {
	now := e.svc.cfg.Now()
	next = e.quiet.rules.NextExpiry(now)
	for _, o := range e.quiet.byObject {
		for _, f := range o.findings {
			if e.quiet.rules.Match(f, now) == nil {
				return next, e.reconsider()
			}
		}
	}
	return next, false
}

// ignored gives copies of what is ignored. It needs the mutex.
func (e *environment) ignored() []*driftv1.Finding {
	var out []*driftv1.Finding
	for _, o := range e.quiet.byObject {
		for _, f := range o.findings {
			out = append(out, proto.CloneOf(f))
		}
	}
	return out
}

// delegated compares all objects with the cluster as it is now and gives what controllers are entitled to. Nothing of it is kept
// between calls: it is asked for now and then, and would cost memory for each autoscaled object.
func (e *environment) delegated(ctx context.Context) ([]*driftv1.Finding, error) {
	var out []*driftv1.Finding
	err := e.eachLive(ctx, func(t *tracked, r compare.Result) {
		for _, f := range r.Delegated {
			p := e.finding(t.key, t.declared(), f)
			p.Standing, p.Rule = driftv1.Finding_STANDING_DELEGATED, f.Rule
			out = append(out, p)
		}
	})
	slices.SortFunc(out, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, err
}

// healActor decides where an environment heals itself.
const healActor = "towpath"

// decider is who has findings put back now, and how that is called.
type decider struct{ actor, how string }

func callerOf(ctx context.Context) decider {
	if c, ok := auth.CallerFrom(ctx); ok {
		return decider{c.Subject, resolutionReverted}
	}
	return decider{"anonymous", resolutionReverted}
}

// endedBy notes in a finding that we put back who decided so. It needs the mutex.
func (e *environment) endedBy(f *driftv1.Finding, resolution string) string {
	if resolution != resolutionReverted || e.decided.how == "" {
		return resolution
	}
	f.DecideActor, f.DecideTime = e.decided.actor, timestamppb.New(e.svc.cfg.Now())
	return e.decided.how
}
