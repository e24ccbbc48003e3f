package drift

import (
	"log/slog"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi3"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// schemas are the types of a cluster's custom resources, from its OpenAPI. Each group and version is read once and kept by the
// hash that the API server gives its document.
type schemas struct {
	client openapi.Client
	log    *slog.Logger
	failed chan struct{} // a document could not be read: try again later

	mu   sync.Mutex
	docs map[schema.GroupVersion]*document
}

// document is one group and version. A nil converter is one that the cluster does not publish, or that could not be read.
type document struct {
	url   string // with the hash; empty when there is none
	types managedfields.TypeConverter
	kinds map[schema.GroupVersionKind]bool // that were asked for
}

func newSchemas(client openapi.Client, log *slog.Logger) *schemas {
	return &schemas{client: client, log: log, failed: make(chan struct{}, 1), docs: map[schema.GroupVersion]*document{}}
}

// typeFor is a compare.TypeSource. A kind whose schema cannot be read is compared by a deduced one until it can be.
func (s *schemas) typeFor(gvk schema.GroupVersionKind) (typed.ParseableType, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.docs[gvk.GroupVersion()]
	if d == nil {
		d = &document{kinds: map[schema.GroupVersionKind]bool{}}
		s.docs[gvk.GroupVersion()] = d
		paths, err := s.client.Paths()
		if err == nil {
			err = s.read(gvk.GroupVersion(), d, paths)
		}
		if err != nil {
			s.log.Warn("the schema of a custom resource cannot be read; it is compared without until it can be", "kind", gvk.String(), "error", err)
			poke(s.failed)
		}
	}
	d.kinds[gvk] = true
	if d.types == nil {
		return typed.ParseableType{}, false
	}
	probe := &unstructured.Unstructured{}
	probe.SetGroupVersionKind(gvk)
	tv, err := d.types.ObjectToTyped(probe)
	if err != nil {
		return typed.ParseableType{}, false // the document does not have the kind
	}
	return typed.ParseableType{Schema: tv.Schema(), TypeRef: tv.TypeRef()}, true
}

// read fills a document. It needs the mutex.
func (s *schemas) read(gv schema.GroupVersion, d *document, paths map[string]openapi.GroupVersion) error {
	path := "apis/" + gv.String()
	if gv.Group == "" {
		path = "api/" + gv.Version
	}
	p := paths[path]
	if p == nil {
		d.url, d.types = "", nil
		return nil
	}
	doc, err := openapi3.NewRoot(s.client).GVSpec(gv)
	if err != nil {
		return err
	}
	if doc.Components == nil {
		d.url, d.types = p.ServerRelativeURL(), nil
		return nil
	}
	types, err := managedfields.NewTypeConverter(doc.Components.Schemas, true)
	if err != nil {
		return err
	}
	d.url, d.types = p.ServerRelativeURL(), types
	return nil
}

// refresh reads again what has changed, and gives the kinds that this may be about. Nothing is asked where no custom resource is
// compared.
func (s *schemas) refresh() []schema.GroupVersionKind {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.docs) == 0 {
		return nil
	}
	paths, err := s.client.Paths()
	if err != nil {
		poke(s.failed)
		return nil
	}
	var out []schema.GroupVersionKind
	for gv, d := range s.docs {
		path := "apis/" + gv.String()
		if gv.Group == "" {
			path = "api/" + gv.Version
		}
		now := ""
		if p := paths[path]; p != nil {
			now = p.ServerRelativeURL()
		}
		if now == d.url {
			continue
		}
		if err := s.read(gv, d, paths); err != nil {
			poke(s.failed)
			continue
		}
		out = append(out, slices.Collect(maps.Keys(d.kinds))...)
	}
	return out
}

// refreshSchemas compares again, by their new schemas, the custom resources whose definitions have changed.
func (c *cluster) refreshSchemas() {
	changed := map[schema.GroupVersionKind]bool{}
	for _, gvk := range c.schemas.refresh() {
		c.comparer.Forget(gvk)
		changed[gvk] = true
	}
	if len(changed) == 0 {
		return
	}
	c.log.Info("custom resources are compared by their new schemas", "kinds", len(changed))
	for _, e := range c.owners() {
		e.prepareAgain(c, changed)
	}
}

// prepareAgain prepares objects of these kinds anew. A new schema means new defaults, so what the server made of them before is
// worth nothing: it is asked anew.
func (e *environment) prepareAgain(c *cluster, changed map[schema.GroupVersionKind]bool) {
	e.mu.Lock()
	var due []*tracked
	for _, t := range e.objects {
		if changed[t.declared().GroupVersionKind()] {
			due = append(due, t)
		}
	}
	e.mu.Unlock()
	if len(due) == 0 {
		return
	}
	usable := make([]bool, len(due))
	for i, t := range due {
		if _, err := c.comparer.Prepare(t.declared(), compare.Baseline{}); err != nil { // outside of the mutex: it may read the schema
			e.log.Error("an object cannot be compared by its new schema", "kind", t.key.kind, "name", t.key.name, "error", err)
			continue
		}
		usable[i] = true
	}
	e.mu.Lock()
	for i, t := range due {
		if usable[i] {
			t.base = nil
			e.svc.ready.forget(t)
			e.wantBaseline(t)
		}
	}
	e.mu.Unlock()
	e.lookAgain()
}
