package drift

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/auditlog"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// auditMark begins what the audit log adds to a finding's attribution.
const auditMark = "; the audit log "

// lookedAt notes that the object was seen. It needs the mutex.
func (e *environment) lookedAt(t *tracked) { t.looked = e.svc.cfg.Now().UnixMilli() }

// attribute says of a new finding when it was done, where managedFields do not tell, and who the audit log says did it. old is the
// finding as it was known before, nil for none: what is known of the same change stays. looked is when the object was last seen
// before, in Unix milliseconds, and since a time before which it cannot have been. It needs the mutex.
func (e *environment) attribute(f, old *driftv1.Finding, gvr schema.GroupVersionResource, looked int64, since time.Time) {
	if old != nil && sameChange(f, old) {
		f.EarliestEditTime, f.LatestEditTime = old.GetEarliestEditTime(), old.GetLatestEditTime()
		f.Actor, f.UserAgent = old.GetActor(), old.GetUserAgent()
		if f.EditTime == nil {
			f.EditTime = old.GetEditTime()
		}
		if _, told, ok := strings.Cut(old.GetAttribution(), auditMark); ok {
			told, _, _ = strings.Cut(told, ";") // what follows is not the log's
			f.Attribution += auditMark + told
		}
		return
	}
	if f.GetEditTime() == nil {
		f.LatestEditTime = timestamppb.New(e.svc.cfg.Now())
		if last := time.UnixMilli(looked); looked != 0 && last.After(since) {
			since = last
		}
		if !since.IsZero() {
			f.EarliestEditTime = timestamppb.New(since)
		}
	}
	e.askAuditLog(f, gvr)
}

// sameChange reports whether two findings of one place are about the same change.
func sameChange(a, b *driftv1.Finding) bool {
	return a.GetKind() == b.GetKind() && a.GetManager() == b.GetManager() && a.GetOperation() == b.GetOperation() &&
		(a.GetEditTime() == nil || proto.Equal(a.GetEditTime(), b.GetEditTime())) &&
		proto.Equal(a.GetLive(), b.GetLive()) && proto.Equal(a.GetDesired(), b.GetDesired())
}

// askAuditLog looks into the target's audit log for who made a change, and reports whether it tells something. It needs the mutex.
func (e *environment) askAuditLog(f *driftv1.Finding, gvr schema.GroupVersionResource) bool {
	log := e.svc.auditLog(e.target())
	if log == nil {
		return false
	}
	q := auditlog.Question{
		Group: gvr.Group, Resource: gvr.Resource, Namespace: f.GetNamespace(), Name: f.GetObjectName(), Not: FieldManager,
		Deletion: f.GetKind() == driftv1.Finding_KIND_MISSING || f.GetKind() == driftv1.Finding_KIND_TERMINATING,
	}
	if f.GetManager() != compare.UnknownManager {
		q.Manager, q.Operation = f.GetManager(), f.GetOperation()
	}
	if f.GetLatestEditTime() == nil {
		q.At = f.GetEditTime().AsTime()
	} else {
		q.Latest = f.GetLatestEditTime().AsTime()
		if f.GetEarliestEditTime() != nil {
			q.Earliest = f.GetEarliestEditTime().AsTime()
		}
	}
	who := log.Who(q)
	switch len(who) {
	case 0:
		return false
	case 1:
		f.Actor, f.UserAgent = who[0].User, who[0].UserAgent
		f.Attribution += auditMark + "names " + who[0].User
		if who[0].By != "" {
			f.Attribution += ", as whom " + who[0].By + " acted"
		}
		if f.GetEditTime() == nil {
			f.EditTime = timestamppb.New(who[0].Ended)
		}
	default:
		names := make([]string, 0, len(who))
		for _, w := range who {
			names = append(names, w.User)
		}
		slices.Sort(names)
		f.Attribution += auditMark + "has writes of " + strings.Join(names, " and ") + " that may have been it"
	}
	return true
}

// target is the name of the environment's target. It needs the mutex.
func (e *environment) target() string {
	if e.desired == nil {
		return e.claims.want.GetTarget().GetName()
	}
	return e.desired.GetTarget().GetName()
}

// nameWriters looks whether the audit log by now names who made the changes that were found; it usually comes later than the
// finding, which is then told again. It runs on the environment's goroutine.
func (e *environment) nameWriters() {
	if !e.auditDue.Swap(false) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.objects {
		for name, f := range t.findings {
			if g := e.named(f, t.gvr); g != nil {
				t.findings[name] = g
				e.announceFinding(g)
			}
		}
		for _, fl := range t.flaps {
			if g := e.named(fl.held, t.gvr); g != nil {
				fl.held = g
			}
		}
	}
	for k, o := range e.orphans {
		if g := e.named(o.finding, o.gvr); g != nil {
			e.orphans[k] = orphan{finding: g, gvr: o.gvr}
			e.announceFinding(g)
		}
	}
}

// named gives a finding with what the audit log says of it; nil when it says nothing new.
func (e *environment) named(f *driftv1.Finding, gvr schema.GroupVersionResource) *driftv1.Finding {
	if f == nil || f.GetActor() != "" || strings.Contains(f.GetAttribution(), auditMark) {
		return nil
	}
	f = proto.CloneOf(f) // the one that was told may still be on its way
	if !e.askAuditLog(f, gvr) {
		return nil
	}
	return f
}
