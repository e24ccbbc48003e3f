package render

import (
	"container/heap"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/placeholder"
	"github.com/towpath-dev/towpath/services/renderer/score"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// resource is one node of the graph: everything that workloads ask for under one uid.
type resource struct {
	uid, typ, class, id string
	// owner is the workload that declared it first, empty for a resource of the set itself. users are all that declare it.
	owner string
	users []string
	// declared is the path of the first declaration, for messages.
	declared string
	// params are as written; their placeholders belong to the scope of the declaration that gave them.
	params      map[string]any
	paramsScope string
	paramsPath  string
	metadata    map[string]any
	outputs     map[string]any
	// definition answers it. provided says that its params come from another definition, see complete.
	definition *definition.Definition
	provided   bool
	// wants are the uids that its definition refers to or provisions.
	wants []string
}

// scope is where a placeholder stands: whose metadata it sees and which resources its names mean.
type scope struct {
	metadata map[string]any
	uids     map[string]string
}

// graph holds the resources of a set.
type graph struct {
	byUID map[string]*resource
	// scopes are by workload; the set's own resources have the empty name.
	scopes map[string]*scope
	// added are the resources that definitions added in the present round of complete.
	added []*resource
	// order has every resource after those that its params refer to, ties by uid.
	order []*resource
}

func newGraph(s *set, find func(*resource) (*definition.Definition, error)) (*graph, error) {
	g := &graph{byUID: map[string]*resource{}, scopes: map[string]*scope{}}
	var fields []errs.Field
	g.declare("", nil, s.resources, "resources", &fields)
	for _, name := range slices.Sorted(maps.Keys(s.workloads)) {
		doc := s.workloads[name]
		metadata, _ := doc["metadata"].(map[string]any)
		own := map[string]map[string]any{}
		declared, _ := doc["resources"].(map[string]any)
		for key := range declared {
			own[key], _ = declared[key].(map[string]any)
		}
		g.declare(name, metadata, own, "workloads."+name+" resources", &fields)
	}
	if err := score.Invalid(fields); err != nil {
		return nil, err
	}
	if err := g.complete(find); err != nil {
		return nil, err
	}
	return g, g.sort()
}

// declare adds the resources of one scope.
func (g *graph) declare(workload string, metadata map[string]any, resources map[string]map[string]any, where string, fields *[]errs.Field) {
	sc := &scope{metadata: metadata, uids: map[string]string{}}
	g.scopes[workload] = sc
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		res := newResource(workload, name, resources[name], where+"."+name)
		sc.uids[name] = res.uid
		first := g.byUID[res.uid]
		if first == nil {
			g.byUID[res.uid] = res
			continue
		}
		*fields = append(*fields, first.share(res)...)
	}
}

func newResource(workload, name string, decl map[string]any, where string) *resource {
	res := &resource{class: "default", id: name, owner: workload, users: []string{workload}, declared: where, paramsScope: workload, paramsPath: where + ".params"}
	if workload != "" {
		res.id = workload + "." + name
	}
	res.typ, _ = decl["type"].(string)
	if class, ok := decl["class"].(string); ok {
		res.class = class
	}
	if id, ok := decl["id"].(string); ok {
		res.id = id
	}
	res.params, _ = decl["params"].(map[string]any)
	res.metadata, _ = decl["metadata"].(map[string]any)
	res.uid = res.typ + "." + res.class + "#" + res.id
	return res
}

// share merges another declaration of the same resource: it may add what the first does not have, and must not differ.
func (r *resource) share(other *resource) (fields []errs.Field) {
	if r.users[len(r.users)-1] != other.owner { // scopes are declared one after the other: to look at all would be quadratic
		r.users = append(r.users, other.owner)
	}
	switch {
	case other.params == nil:
	case r.params == nil:
		r.params, r.paramsScope, r.paramsPath = other.params, other.paramsScope, other.paramsPath
	case !reflect.DeepEqual(r.params, other.params):
		fields = append(fields, errs.Field{Path: other.declared + ".params", Problem: r.differs("params")})
	}
	switch {
	case other.metadata == nil:
	case r.metadata == nil:
		r.metadata = other.metadata
	case !reflect.DeepEqual(r.metadata, other.metadata):
		fields = append(fields, errs.Field{Path: other.declared + ".metadata", Problem: r.differs("metadata")})
	}
	return fields
}

func (r *resource) differs(what string) string {
	return fmt.Sprintf("%s is shared with %s, which gives other %s: write them in one place, or give the resources different ids", r.uid, r.declared, what)
}

// shared reports whether more than one scope uses the resource.
func (r *resource) shared() bool { return r.owner == "" || len(r.users) > 1 }

// sort orders the resources by their references (Kahn), ties by uid.
func (g *graph) sort() error {
	waits, next := map[string]int{}, map[string][]string{}
	for uid, res := range g.byUID {
		needs := g.needs(res)
		waits[uid] = len(needs)
		for _, n := range needs {
			next[n] = append(next[n], uid)
		}
	}
	ready := &uidHeap{}
	for uid, n := range waits {
		if n == 0 {
			heap.Push(ready, uid)
		}
	}
	for ready.Len() > 0 {
		uid := heap.Pop(ready).(string)
		g.order = append(g.order, g.byUID[uid])
		for _, n := range next[uid] {
			if waits[n]--; waits[n] == 0 {
				heap.Push(ready, n)
			}
		}
	}
	if len(g.order) == len(g.byUID) {
		return nil
	}
	return g.cycle(waits)
}

// needs gives the uids that a resource's params and definition refer to, each once, sorted.
func (g *graph) needs(res *resource) []string {
	found := map[string]bool{}
	for _, uid := range g.references(res) {
		found[uid] = true
	}
	if res.provided {
		return slices.Sorted(maps.Keys(found))
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			for _, ref := range placeholder.Refs(v) {
				if len(ref.Path) < 2 || ref.Path[0] != placeholder.Resources {
					continue
				}
				if uid, ok := g.scopes[res.paramsScope].uids[ref.Path[1]]; ok {
					found[uid] = true
				}
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(res.params)
	return slices.Sorted(maps.Keys(found))
}

// cycle names the resources of a cycle among those that still wait.
func (g *graph) cycle(waits map[string]int) error {
	at := ""
	for _, uid := range slices.Sorted(maps.Keys(waits)) {
		if waits[uid] > 0 {
			at = uid
			break
		}
	}
	var way []string
	for !slices.Contains(way, at) {
		way = append(way, at)
		for _, n := range g.needs(g.byUID[at]) {
			if waits[n] > 0 { // of what is left over, each waits for another one that is left over, or follows such
				at = n
				break
			}
		}
	}
	way = append(way[slices.Index(way, at):], at)
	path := g.byUID[at].paramsPath
	if path == "" {
		path = g.byUID[at].declared
	}
	cycle := strings.Join(way, " -> ")
	e := errs.InvalidField(path, "the resources refer to each other in a circle: %s; remove one of these references", cycle)
	e.Reason, e.Msg = errorsv1.Reason_REASON_CYCLE, "the resources cannot be made in any order"
	return e.With("cycle", cycle)
}

type uidHeap []string

func (h uidHeap) Len() int           { return len(h) }
func (h uidHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h uidHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *uidHeap) Push(x any)        { *h = append(*h, x.(string)) }
func (h *uidHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// guid makes a UUID-shaped value that is always the same for a uid. Provisioners expect one; a random one would make every
// rendering different.
func guid(uid string) string {
	s := sha256.Sum256([]byte(uid))
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
