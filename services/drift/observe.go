package drift

import (
	"context"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// observe looks at a new version of an object in the environment's namespace.
func (e *environment) observe(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	e.sight(keyOf(u), sighting{gvr: gvr, object: u, uid: u.GetUID(), version: versionOf(u)})
}

// deleted hears that an object is gone.
func (e *environment) deleted(k objectKey, uid types.UID, version uint64) {
	e.sight(k, sighting{uid: uid, version: version})
}

// sight takes an event. Events of one object come in order, but may be older than what was read of it directly.
func (e *environment) sight(k objectKey, s sighting) {
	if e.sighted(k, s) {
		e.tell()
		poke(e.look)
	}
}

// sighted takes an event and reports whether it changed anything that is to be told.
func (e *environment) sighted(k objectKey, s sighting) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy != "" {
		if s.version >= e.late[k].version {
			e.late[k] = s
		}
		return false
	}
	return e.see(k, s, resolutionUndone)
}

// see judges one sighting and reports whether it changed anything. It needs the mutex.
func (e *environment) see(k objectKey, s sighting, resolution string) bool {
	t := e.objects[k]
	e.sawClaim(k)
	switch {
	case t == nil && s.object == nil:
		return e.untrackedGone(k, resolution)
	case t == nil:
		return e.untracked(k, s, resolution)
	case s.object == nil && t.exists && s.uid != "" && t.uid != "" && s.uid != t.uid:
		return false // removed and made again; the new one was seen already
	default:
		return e.judge(t, s.object, s.version, resolution)
	}
}

// absent hears from a list of that version which objects of a kind there are; desired ones that are not among them are gone.
func (e *environment) absent(gvr schema.GroupVersionResource, present map[objectKey]bool, version uint64) {
	e.mu.Lock()
	var missing []objectKey
	for k, t := range e.objects {
		if t.gvr == gvr && !present[k] {
			missing = append(missing, k)
		}
	}
	for k, o := range e.orphans {
		if o.gvr == gvr && !present[k] {
			missing = append(missing, k)
		}
	}
	e.mu.Unlock()
	for _, k := range missing {
		e.deleted(k, "", version)
	}
}

// judge compares one version of an object (nil when it is gone) and keeps, tells and ends findings. It reports whether findings, health or
// existence changed. It needs the mutex.
func (e *environment) judge(t *tracked, u *unstructured.Unstructured, version uint64, resolution string) bool {
	if version != 0 && version < t.version {
		return false // from before what was seen already, such as our own apply's answer
	}
	if u != nil && t.seen(u.GetUID(), version) {
		return false
	}
	t.version, t.wireHash = max(version, t.version), 0
	defer t.trim()
	defer e.lookedAt(t)
	if u == nil {
		was := t.exists || t.health != driftv1.Health_HEALTH_DEGRADED
		t.exists, t.specHash = false, 0
		t.health, t.message, t.why = driftv1.Health_HEALTH_DEGRADED, "is missing", ""
		return e.settleFindings(t, e.compare(t, nil), resolution) || was
	}
	changed := !t.exists
	t.exists = true
	if uid := u.GetUID(); uid != t.uid {
		t.uid = uid
	}
	if health, message := healthOf(u); health != t.health || message != t.message {
		t.health, t.message, changed = health, message, true
	}
	if t.health == driftv1.Health_HEALTH_HEALTHY {
		t.why = ""
	}
	hash := compare.SpecHash(u)
	if hash == t.specHash {
		return changed // only its status moved
	}
	t.specHash = hash
	return e.settleFindings(t, e.doubted(t, e.compare(t, u)), resolution) || changed
}

// seen reports whether that version of the object was compared already. Whatever else a comparison depends on makes the object due
// again when it changes: a new declaration is a new tracked object, and lookAgain is called for a policy and for evidence.
func (t *tracked) seen(uid types.UID, version uint64) bool {
	return t.exists && t.specHash != 0 && version != 0 && version == t.version && uid == t.uid
}

// ours are the managers besides FieldManager that write for us.
var ours = []string{generateManager}

// compare compares a live object with what it should be; nil stands for one that is gone.
func (e *environment) compare(t *tracked, u *unstructured.Unstructured) compare.Result {
	p, err := e.prepared(t)
	if err != nil {
		return compare.Result{Unverified: []string{"desired: " + errs.Message(err)}}
	}
	in := compare.Input{Prepared: p, Live: u, Self: e.self(), OurManagers: ours}
	if u != nil {
		in.Evidence = e.cluster.evidence(t.key.namespace)
	}
	e.svc.stats.compared.Add(1)
	r := e.weighed(t, in)
	if t.key.kind != "Secret" || u == nil || r.Clean() {
		return r
	}
	return withoutGenerated(t.declared(), r)
}

// versionOf gives a resourceVersion as a number; API servers promise that they can be compared. 0 for one that is none.
func versionOf(u *unstructured.Unstructured) uint64 { return parseVersion(u.GetResourceVersion()) }

func parseVersion(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// untracked looks at an object in the environment's namespace that is not declared: it is an orphan when we made it for this
// environment and no controller owns it. What holds data is kept on purpose and is none. It needs the mutex.
func (e *environment) untracked(k objectKey, s sighting, resolution string) bool {
	u := s.object
	ours := len(u.GetOwnerReferences()) == 0 && u.GetDeletionTimestamp() == nil && e.madeIt(u) && !keeps(u) && !isHookRun(u) && !e.isHeld(k)
	switch {
	case !ours:
		return e.unmanaged(k, s, resolution)
	case e.claims.watched[k] != nil || e.synced == nil || e.orphans[k].finding != nil || k.name == inventoryName && k.kind == "ConfigMap":
		return false
	}
	f := e.finding(k, u, compare.Finding{Kind: compare.Orphaned, Manager: compare.UnknownManager,
		Note: "applied by Towpath, but no longer in Git"})
	e.attribute(f, nil, s.gvr, 0, u.GetCreationTimestamp().Time)
	if e.hushes(k, f, s.gvr) {
		return false
	}
	e.orphans[k] = orphan{finding: f, gvr: s.gvr}
	e.announceFinding(f)
	return true
}

// untrackedGone ends an orphan. It needs the mutex.
func (e *environment) untrackedGone(k objectKey, resolution string) bool {
	f := e.orphans[k].finding
	if e.quiet.byObject[k].orphan {
		delete(e.quiet.byObject, k)
	}
	if f == nil {
		return false
	}
	delete(e.orphans, k)
	e.announceResolved(f, resolution)
	return true
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

// sweep reads all objects of the environment, one list per kind, and looks at each. Objects that are not there are missing.
func (e *environment) sweep(ctx context.Context) error {
	e.mu.Lock()
	byKind := map[kindIn][]*tracked{}
	for _, t := range e.objects {
		p := kindIn{t.gvr, t.key.namespace}
		byKind[p] = append(byKind[p], t)
	}
	what, c := e.busy, e.cluster
	e.mu.Unlock()
	for p, objs := range byKind {
		err := e.sweepKind(ctx, c, p, objs, resolutionOf(what), pageSize)
		if expired(err) {
			err = e.sweepKind(ctx, c, p, objs, resolutionOf(what), 0)
		}
		if err != nil {
			return clusterError(err, "list "+p.gvr.Resource)
		}
	}
	e.tell()
	return nil
}

// sweepers are the decoders of sweeps, which use the memory of one object for the next: nearly all are clean, and nothing of those is kept.
var sweepers = sync.Pool{New: func() any {
	d := wire.NewDecoder()
	d.Lend()
	return d
}}

// kindIn is a kind in a namespace.
type kindIn struct {
	gvr       schema.GroupVersionResource
	namespace string
}

func (e *environment) sweepKind(ctx context.Context, c *cluster, p kindIn, objs []*tracked, resolution string, limit int) error {
	done, err := c.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	dec := decoder{sweepers.Get().(*wire.Decoder)}
	defer sweepers.Put(dec.d)
	left := make(map[string]*tracked, len(objs))
	for _, t := range objs {
		left[t.key.name] = t
	}
	listed, err := c.pages(ctx, p.gvr, p.namespace, limit, func(page *wire.Page, h *wire.Head, object []byte) error {
		t := left[string(h.Name)]
		if t == nil {
			return nil
		}
		delete(left, t.key.name)
		h.Kind = []byte(t.key.kind)
		if e.unmoved(t.key.group, h.Kind, h) {
			return nil
		}
		u, err := dec.item(page, object)
		if err != nil {
			return err
		}
		e.mu.Lock()
		e.sweeper = dec.d
		e.judge(t, u, versionOf(u), resolution)
		e.sweeper = nil
		if len(t.findings)+len(t.flaps) == 0 && t.second == nil {
			dec.d.Return()
		} else {
			dec.d.Keep() // parts of the object may be held
		}
		e.mu.Unlock()
		e.remember(t.key.group, h)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range left {
		e.judge(t, nil, parseVersion(listed), resolution)
	}
	return nil
}

// fieldKey gives the key of a path into a free map, such as data[password].
func fieldKey(path, parent string) (string, bool) {
	rest, ok := strings.CutPrefix(path, parent+"[")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "]")
}
