package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// How findings end.
const (
	resolutionUndone   = "undone"   // somebody else put it back
	resolutionReverted = "reverted" // we did, on request
	resolutionDeployed = "deployed" // a deployment made it so
)

func resolutionOf(busy string) string {
	switch busy {
	case busySync:
		return resolutionDeployed
	case busyRevert:
		return resolutionReverted
	default:
		return resolutionUndone
	}
}

// observe is called for every event of a watched kind, in order per object.
func (c *cluster) observe(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	if gvr == autoscalers && c.setScaler(u, true) {
		c.recheck(u.GetNamespace())
	}
	p, ok := c.find(keyOf(u))
	if !ok {
		if e := c.owner(u.GetNamespace()); e != nil {
			e.observeUntracked(u)
		}
		return
	}
	p.env.observe(p.obj, u)
}

// gone is called when an object is removed.
func (c *cluster) gone(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	if gvr == autoscalers && c.setScaler(u, false) {
		c.recheck(u.GetNamespace())
	}
	p, ok := c.find(keyOf(u))
	if !ok {
		if e := c.owner(u.GetNamespace()); e != nil {
			e.untrackedGone(keyOf(u))
		}
		return
	}
	p.env.mu.Lock()
	switch {
	case p.env.busy != "":
		p.obj.latest, p.obj.goneUID = nil, u.GetUID()
	// The event may be older than what is there now: removed and made again, the new one has another uid.
	case p.obj.uid == u.GetUID():
		p.env.judge(p.obj, nil, resolutionUndone)
	}
	p.env.mu.Unlock()
	p.env.tell()
	p.env.heal()
}

// recheck compares again what an autoscaler may vouch for, after one came, changed or went.
func (c *cluster) recheck(namespace string) {
	if e := c.owner(namespace); e != nil {
		e.mu.Lock()
		for _, t := range e.objects {
			t.specHash = 0
		}
		e.mu.Unlock()
		go e.resweep()
	}
}

// observe looks at a new version of an object.
func (e *environment) observe(t *tracked, u *unstructured.Unstructured) {
	e.mu.Lock()
	if e.busy != "" {
		t.latest = u
		e.mu.Unlock()
		return
	}
	e.judge(t, u, resolutionUndone)
	e.mu.Unlock()
	e.tell()
	e.heal()
}

// heal wakes the environment's goroutine when it reverts findings by itself.
func (e *environment) heal() {
	e.mu.Lock()
	due := e.desired.GetSelfHeal() && e.busy == "" && e.countFindings() > 0
	e.mu.Unlock()
	if due {
		e.poke()
	}
}

// judge compares one version of an object (nil when it is gone) and keeps, tells and ends findings. It needs the mutex.
func (e *environment) judge(t *tracked, u *unstructured.Unstructured, resolution string) {
	if u == nil {
		t.exists, t.uid, t.version, t.specHash = false, "", 0, 0
		t.health, t.message = driftv1.Health_HEALTH_DEGRADED, "is missing"
		e.settleFindings(t, e.svc.comparer.Compare(compare.Input{Prepared: t.prepared, Self: FieldManager}), resolution)
		return
	}
	version := versionOf(u)
	if t.exists && t.uid == u.GetUID() && version < t.version {
		return // an event from before what was seen already, such as our own apply's answer
	}
	t.exists, t.uid, t.version = true, u.GetUID(), version
	t.health, t.message = healthOf(u)
	hash := compare.SpecHash(u)
	if hash == t.specHash {
		return // only its status moved
	}
	t.specHash = hash
	r := e.svc.comparer.Compare(compare.Input{
		Prepared: t.prepared, Live: u, Self: FieldManager, OurManagers: []string{generateManager},
		Evidence: e.cluster.evidence(u.GetNamespace()),
	})
	e.settleFindings(t, r, resolution)
}

// versionOf gives a resourceVersion as a number; API servers promise that they can be compared. 0 for one that is none.
func versionOf(u *unstructured.Unstructured) uint64 {
	n, err := strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// settleFindings replaces an object's findings by what a comparison found.
func (e *environment) settleFindings(t *tracked, r compare.Result, resolution string) {
	now := map[string]*driftv1.Finding{}
	for _, f := range r.Findings {
		p := e.finding(t.key, t.desired, f)
		now[p.GetName()] = p
	}
	// What nothing explains is not called in sync; it is told as such only where nothing worse is.
	if len(r.Findings) == 0 {
		for _, path := range r.Unverified {
			p := e.finding(t.key, t.desired, compare.Finding{Kind: compare.Unverified, Path: path, Manager: compare.UnknownManager})
			now[p.GetName()] = p
		}
	}
	was := t.findings
	t.findings = now
	for name, f := range now {
		old := was[name]
		if old != nil {
			f.DetectTime = old.GetDetectTime()
			if proto.Equal(old, f) {
				continue
			}
		}
		e.announceFinding(f)
	}
	for name, f := range was {
		if now[name] == nil {
			e.announceResolved(f, resolution)
		}
	}
}

var kinds = map[compare.Kind]driftv1.Finding_Kind{
	compare.Changed: driftv1.Finding_KIND_CHANGED, compare.Removed: driftv1.Finding_KIND_REMOVED,
	compare.Extra: driftv1.Finding_KIND_EXTRA, compare.Missing: driftv1.Finding_KIND_MISSING,
	compare.Orphaned: driftv1.Finding_KIND_ORPHANED, compare.Residue: driftv1.Finding_KIND_RESIDUE,
	compare.Unverified: driftv1.Finding_KIND_UNVERIFIED,
}

// finding makes the message of a finding. Its id follows from the place, so the same place always has the same id.
func (e *environment) finding(k objectKey, obj *unstructured.Unstructured, f compare.Finding) *driftv1.Finding {
	id := sha256.Sum256(fmt.Appendf(nil, "%q", []string{e.name, k.group, k.kind, k.namespace, k.name, f.Path}))
	p := &driftv1.Finding{
		Name: e.name + "/findings/" + hex.EncodeToString(id[:8]),
		Kind: kinds[f.Kind], ApiVersion: obj.GetAPIVersion(), ObjectKind: k.kind, Namespace: k.namespace, ObjectName: k.name,
		Field: f.Path, Desired: value(f.Before), Live: value(f.After), Manager: f.Manager, Operation: f.Operation,
		Attribution: f.Note, DetectTime: timestamppb.New(e.svc.cfg.Now()),
	}
	if !f.Time.IsZero() {
		p.EditTime = timestamppb.New(f.Time)
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

// observeUntracked looks at an object in the environment's namespace that is not declared: it is an orphan when we made it
// for this environment and no controller owns it.
func (e *environment) observeUntracked(u *unstructured.Unstructured) {
	if len(u.GetOwnerReferences()) > 0 || u.GetDeletionTimestamp() != nil || !appliedByUs(u) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	k := keyOf(u)
	if e.busy != "" || e.synced == nil || k == e.inventoryKey() || e.orphans[k] != nil {
		return
	}
	f := e.finding(k, u, compare.Finding{Kind: compare.Orphaned, Manager: compare.UnknownManager,
		Note: "applied by Towpath, but no longer in Git"})
	e.orphans[k] = f
	e.announceFinding(f)
}

// appliedByUs reports whether we applied the object as a manifest of an environment.
func appliedByUs(u *unstructured.Unstructured) bool {
	for _, m := range u.GetManagedFields() {
		if m.Manager == FieldManager && m.Operation == metav1.ManagedFieldsOperationApply {
			return true
		}
	}
	return false
}

func (e *environment) untrackedGone(k objectKey) {
	e.mu.Lock()
	f := e.orphans[k]
	if f != nil {
		delete(e.orphans, k)
		e.announceResolved(f, resolutionOf(e.busy))
	}
	e.mu.Unlock()
	if f != nil {
		e.tell()
	}
}

// sweep reads all objects of the environment, one list per kind, and looks at each. Objects that are not there are missing.
func (e *environment) sweep(ctx context.Context) error {
	e.mu.Lock()
	byKind := map[schema.GroupVersionResource][]*tracked{}
	for _, t := range e.objects {
		byKind[t.gvr] = append(byKind[t.gvr], t)
	}
	namespace, what := e.desired.GetNamespace(), e.busy
	e.mu.Unlock()
	for gvr, objs := range byKind {
		list, err := e.cluster.dyn.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return clusterError(err, "list "+gvr.Resource)
		}
		live := map[string]*unstructured.Unstructured{}
		if err == nil {
			for i := range list.Items {
				live[list.Items[i].GetName()] = &list.Items[i]
			}
		}
		e.mu.Lock()
		for _, t := range objs {
			e.judge(t, live[t.key.name], resolutionOf(what))
		}
		e.mu.Unlock()
	}
	e.tell()
	return nil
}

// announceFinding needs the mutex.
func (e *environment) announceFinding(f *driftv1.Finding) {
	at := f.GetDetectTime().AsTime()
	e.svc.hub.publish(e.name, f)
	e.svc.out.send(announcement{
		env: e.name, typ: "drift.detected", resource: f.GetName(), time: at,
		id:   f.GetName() + "/detected@" + strconv.FormatInt(e.svc.cfg.Now().UnixNano(), 10),
		body: &eventsv1.DriftDetected{Environment: e.name, Finding: f, Open: int32(e.countFindings())},
	})
}

// announceResolved needs the mutex.
func (e *environment) announceResolved(f *driftv1.Finding, resolution string) {
	f = proto.CloneOf(f)
	at := e.svc.cfg.Now()
	f.ResolveTime, f.Resolution = timestamppb.New(at), resolution
	e.svc.hub.publish(e.name, f)
	e.svc.out.send(announcement{
		env: e.name, typ: "drift.resolved", resource: f.GetName(), time: at,
		id:   f.GetName() + "/resolved@" + strconv.FormatInt(at.UnixNano(), 10),
		body: &eventsv1.DriftResolved{Environment: e.name, Finding: f, Open: int32(e.countFindings())},
	})
}
