package drift

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// stats count what the gate does, for the benchmark and for who wonders what drift is busy with.
type stats struct{ events, dropped, compared atomic.Int64 }

// streamed are kinds of which there may be a great many, and none of which is evidence for anything or looked at in namespaces that
// belong to no environment. Their lists are never held as a whole, and an object is decoded only when it moved. A kind that is not
// among them is handled just as well, in more memory.
var streamed = map[schema.GroupVersionResource]bool{
	{Version: "v1", Resource: "configmaps"}:                                       true,
	{Version: "v1", Resource: "secrets"}:                                          true,
	{Version: "v1", Resource: "services"}:                                         true,
	{Version: "v1", Resource: "serviceaccounts"}:                                  true,
	{Version: "v1", Resource: "persistentvolumeclaims"}:                           true,
	{Group: "apps", Version: "v1", Resource: "deployments"}:                       true,
	{Group: "apps", Version: "v1", Resource: "statefulsets"}:                      true,
	{Group: "apps", Version: "v1", Resource: "daemonsets"}:                        true,
	{Group: "batch", Version: "v1", Resource: "jobs"}:                             true,
	{Group: "batch", Version: "v1", Resource: "cronjobs"}:                         true,
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}:            true,
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}:      true,
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}:            true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}:        true,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}: true,
}

// unmoved is the gate: it reports whether nothing that a comparison or a health check depends on can have changed since the object was
// looked at last. What it depends on besides the object makes the object due again when it changes: a new declaration is a new
// tracked object, and a policy or evidence zeroes the hash (lookAgain). It allocates nothing.
func (e *environment) unmoved(group string, kind []byte, h *wire.Head) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.objects[objectKey{group: group, kind: string(kind), namespace: string(h.Namespace), name: string(h.Name)}]
	if t == nil || !t.exists || t.specHash == 0 || e.busy != "" || string(t.uid) != string(h.UID) || len(h.UID) == 0 {
		return false
	}
	version := parseVersion(string(h.Version))
	switch {
	case version == 0:
		return false
	case version <= t.version:
		return true // seen, or from before what was seen
	case t.wireHash == 0 || t.wireHash != h.Hash:
		return false
	}
	t.version = version
	return true
}

// remember keeps the hash of the version that was just looked at, for unmoved.
func (e *environment) remember(group string, h *wire.Head) {
	version := parseVersion(string(h.Version))
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.objects[objectKey{group: group, kind: string(h.Kind), namespace: string(h.Namespace), name: string(h.Name)}]
	if t != nil && t.exists && t.version == version && t.specHash != 0 && version != 0 {
		t.wireHash = h.Hash
	}
}

// listing takes the pages of a list of a streamed kind.
type listing struct {
	w       *kindWatch
	present map[objectKey]bool
	touched map[*environment]bool
	key     objectKey // the last one, whose texts are shared
}

func newListing(w *kindWatch) *listing {
	return &listing{w: w, present: map[objectKey]bool{}, touched: map[*environment]bool{}}
}

// see looks at one object.
func (l *listing) see(p *wire.Page, h *wire.Head, object []byte) error {
	if h.Kind == nil {
		h.Kind = []byte(p.Kind)
	}
	e := l.w.c.ownerOfHead(l.w.gvr.Group, h)
	if e == nil {
		return nil
	}
	l.w.c.svc.stats.events.Add(1)
	if l.key.namespace != string(h.Namespace) || l.key.kind != p.Kind {
		l.key = l.w.c.svc.names.key(objectKey{group: l.w.gvr.Group, kind: p.Kind, namespace: string(h.Namespace)})
	}
	l.key.name = string(h.Name)
	l.present[l.key] = true
	if e.unmoved(l.w.gvr.Group, h.Kind, h) {
		l.w.c.svc.stats.dropped.Add(1)
		return nil
	}
	u, err := l.w.dec.item(p, object)
	if err != nil {
		return err
	}
	s := sighting{gvr: l.w.gvr, object: u, uid: types.UID(h.UID), version: versionOf(u)}
	if e.sighted(l.key, s) {
		l.touched[e] = true
	}
	e.remember(l.w.gvr.Group, h)
	return nil
}

// finish says what is gone, and tells once for each environment what the list changed.
func (l *listing) finish(version string) {
	for _, e := range l.w.c.owners() {
		e.absent(l.w.gvr, l.present, parseVersion(version))
	}
	for e := range l.touched {
		e.tell()
		poke(e.look)
	}
	l.w.listed()
}
