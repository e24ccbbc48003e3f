package drift

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// How findings end.
const (
	resolutionUndone   = "undone"   // somebody else put it back
	resolutionReverted = "reverted" // we did, on request or by ourselves
	resolutionHealed   = "healed"   // we did, because the environment heals itself
	resolutionDeployed = "deployed" // a deployment made it so
	resolutionIgnored  = "ignored"  // a person said that it does not count
)

func resolutionOf(busy string) string {
	switch busy {
	case busySync, busyRemove:
		return resolutionDeployed
	case busyRevert:
		return resolutionReverted
	default:
		return resolutionUndone
	}
}

const (
	// flapWindow and flapSettle: a place that was undone twice within the window must differ for so long before it is told again.
	flapWindow = 10 * time.Second
	flapSettle = 2 * time.Second
)

// flap is the recent past of one place that comes and goes.
type flap struct {
	undone [2]time.Time // when it was last put back by others, the latest last
	held   *driftv1.Finding
	until  time.Time // when held is told, if it still is there
}

// settleFindings replaces an object's findings by what a comparison found and reports whether that changed anything. It needs
// the mutex.
func (e *environment) settleFindings(t *tracked, r compare.Result, resolution string) bool {
	now := map[string]*driftv1.Finding{}
	var declared *unstructured.Unstructured // it is decoded for each call
	if !r.Clean() {
		declared = t.declared()
	}
	for _, f := range r.Findings {
		p := e.finding(t.key, declared, f)
		e.attribute(p, t.findings[p.GetName()], t.gvr, t.looked, f.Since)
		now[p.GetName()] = p
	}
	// What nothing explains is not called in sync; it is told as such only where nothing worse is.
	if len(r.Findings) == 0 {
		for _, path := range r.Unverified {
			p := e.finding(t.key, declared, compare.Finding{Kind: compare.Unverified, Path: path, Manager: compare.UnknownManager})
			now[p.GetName()] = p
		}
	}
	e.hush(t.key, now)
	was := t.findings
	e.holdFlapping(t, now)
	t.findings = now
	changed := false
	for name, f := range now {
		old := was[name]
		if old != nil {
			f.DetectTime = old.GetDetectTime()
			if proto.Equal(old, f) {
				continue
			}
		} else {
			e.resume(f)
		}
		changed = true
		e.announceFinding(f)
	}
	for name, f := range was {
		if now[name] == nil {
			changed = true
			if resolution == resolutionUndone {
				t.undone(name, e.svc.cfg.Now())
			}
			e.announceResolved(f, resolution)
		}
	}
	return changed
}

// undone notes that somebody put a place back.
func (t *tracked) undone(name string, at time.Time) {
	if t.flaps == nil {
		t.flaps = map[string]*flap{}
	}
	for n, f := range t.flaps {
		if f.held == nil && at.Sub(f.undone[1]) > flapWindow {
			delete(t.flaps, n)
		}
	}
	if t.flaps[name] == nil {
		t.flaps[name] = &flap{}
	}
	t.flaps[name].undone = [2]time.Time{t.flaps[name].undone[1], at}
}

// holdFlapping takes out of now what flaps and has not lasted yet. It needs the mutex.
func (e *environment) holdFlapping(t *tracked, now map[string]*driftv1.Finding) {
	at := e.svc.cfg.Now()
	for name, fl := range t.flaps {
		f := now[name]
		switch {
		case f == nil && fl.held != nil:
			fl.held = nil
			fl.undone = [2]time.Time{fl.undone[1], at}
		case f == nil || t.findings[name] != nil:
		case fl.held != nil || at.Sub(fl.undone[0]) < flapWindow:
			if fl.held == nil {
				fl.until = at.Add(flapSettle)
			} else {
				f.DetectTime = fl.held.GetDetectTime()
			}
			fl.held = f
			delete(now, name)
			poke(e.look)
		}
	}
}

// tellHeld tells the flapping places that have lasted, and gives when the next one may have. It needs the mutex.
func (e *environment) tellHeld() (next time.Time) {
	at := e.svc.cfg.Now()
	for _, t := range e.objects {
		for name, fl := range t.flaps {
			switch {
			case fl.held == nil:
			case at.Before(fl.until):
				next = earlier(next, fl.until)
			default:
				t.findings[name] = fl.held
				fl.held = nil
				e.announceFinding(t.findings[name])
			}
		}
	}
	return next
}

// earlier gives the earlier of two times, of which the zero value stands for none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

var kinds = map[compare.Kind]driftv1.Finding_Kind{
	compare.Changed: driftv1.Finding_KIND_CHANGED, compare.Removed: driftv1.Finding_KIND_REMOVED,
	compare.Extra: driftv1.Finding_KIND_EXTRA, compare.Missing: driftv1.Finding_KIND_MISSING,
	compare.Orphaned: driftv1.Finding_KIND_ORPHANED, compare.Residue: driftv1.Finding_KIND_RESIDUE,
	compare.Unverified: driftv1.Finding_KIND_UNVERIFIED, compare.Unmanaged: driftv1.Finding_KIND_UNMANAGED,
	compare.Terminating: driftv1.Finding_KIND_TERMINATING,
}

// finding makes the message of a finding. Its id follows from the place, so the same place always has the same id. It needs the mutex.
func (e *environment) finding(k objectKey, obj *unstructured.Unstructured, f compare.Finding) *driftv1.Finding {
	at := e.svc.cfg.Now()
	id := sha256.Sum256(fmt.Appendf(nil, "%q", []string{e.name, k.group, k.kind, k.namespace, k.name, f.Path}))
	p := &driftv1.Finding{
		Name: e.name + "/findings/" + hex.EncodeToString(id[:8]),
		Kind: kinds[f.Kind], ApiVersion: obj.GetAPIVersion(), ObjectKind: k.kind, Namespace: k.namespace, ObjectName: k.name,
		Field: f.Path, Desired: value(f.Before), Live: value(f.After), Manager: f.Manager, Operation: f.Operation,
		Attribution: f.Note, DetectTime: timestamppb.New(at), Standing: driftv1.Finding_STANDING_OPEN,
	}
	if !f.Time.IsZero() {
		p.EditTime = timestamppb.New(f.Time)
	} else if f.Manager != compare.UnknownManager {
		p.Attribution += "; the API server keeps no time of it" // so it is for the scale subresource
	}
	if c := e.contests[p.GetName()]; c.stands(at) {
		p.Contested = true
		p.Attribution = c.note(p.GetAttribution())
	}
	return p
}

// value turns a JSON value into its proto form; nil stays unset.
func value(v any) *structpb.Value {
	if v == nil {
		return nil
	}
	if p, err := structpb.NewValue(v); err == nil {
		return p
	}
	// Typed numbers and maps that structpb does not take go through JSON.
	b, err := json.Marshal(v)
	if err != nil {
		return structpb.NewStringValue(fmt.Sprint(v))
	}
	p := &structpb.Value{}
	if err := p.UnmarshalJSON(b); err != nil {
		return structpb.NewStringValue(string(b))
	}
	return p
}

// announceFinding needs the mutex.
func (e *environment) announceFinding(f *driftv1.Finding) {
	f = proto.CloneOf(f) // the original is kept, and may be changed before this one is sent
	e.svc.hub.publish(e.name, f)
	at := e.svc.cfg.Now()
	e.svc.out.send(announcement{
		env: e.name, typ: "drift.detected", resource: f.GetName(), time: at,
		id:   f.GetName() + "/detected@" + strconv.FormatInt(at.UnixNano(), 10),
		body: &eventsv1.DriftDetected{Environment: e.name, Finding: f, Open: int32(e.countFindings())},
	})
}

// announceResolved needs the mutex.
func (e *environment) announceResolved(f *driftv1.Finding, resolution string) {
	f = proto.CloneOf(f)
	at := e.svc.cfg.Now()
	f.ResolveTime, f.Standing = timestamppb.New(at), driftv1.Finding_STANDING_RESOLVED
	f.Resolution = e.endedBy(f, resolution)
	e.svc.hub.publish(e.name, f)
	e.svc.out.send(announcement{
		env: e.name, typ: "drift.resolved", resource: f.GetName(), time: at,
		id:   f.GetName() + "/resolved@" + strconv.FormatInt(at.UnixNano(), 10),
		body: &eventsv1.DriftResolved{Environment: e.name, Finding: f, Open: int32(e.countFindings())},
	})
}
