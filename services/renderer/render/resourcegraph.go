package render

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/placeholder"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// workloadNode begins the ids of nodes that are workloads. No uid of a resource has a slash before its first dot.
const workloadNode = "workload/"

// Graph gives the workloads and resources of an input, what they become, and what needs what. It makes everything as Render does,
// so that what Render refuses is refused here with the same error; but outputs that are not known yet are no error.
func Graph(input *rendererv1.RenderInput) (*rendererv1.ResourceGraph, error) {
	r, err := start(input, false, nil)
	if err != nil {
		return nil, err
	}
	if err := r.resources(); err != nil {
		return nil, err
	}
	if err := r.workloads(); err != nil {
		return nil, err
	}
	out := &rendererv1.ResourceGraph{Nodes: r.nodes()}
	e := edges{byKey: map[edgeKey]map[string]bool{}}
	e.ofWorkloads(r)
	for _, res := range r.graph.order {
		e.ofResource(r, res)
	}
	out.Edges = e.sorted()
	return out, nil
}

// nodes gives the workloads by name, then the resources in the order in which they are made.
func (r *run) nodes() []*rendererv1.ResourceGraph_Node {
	objects := map[string][]*rendererv1.ObjectRef{}
	for _, o := range r.files.objects {
		from := strings.Replace(r.files.from[o.GetFile()], "workload ", workloadNode, 1)
		objects[from] = append(objects[from], o)
	}
	for _, of := range objects {
		slices.SortFunc(of, func(a, b *rendererv1.ObjectRef) int { return strings.Compare(a.GetFile(), b.GetFile()) })
	}
	var out []*rendererv1.ResourceGraph_Node
	for _, name := range slices.Sorted(maps.Keys(r.set.workloads)) {
		id := workloadNode + name
		out = append(out, &rendererv1.ResourceGraph_Node{Id: id, Declared: "workloads." + name, Workloads: []string{name}, Objects: objects[id]})
	}
	for _, res := range r.graph.order {
		users := slices.DeleteFunc(slices.Clone(res.users), func(user string) bool { return user == "" })
		slices.Sort(users)
		out = append(out, &rendererv1.ResourceGraph_Node{
			Id: res.uid, Type: res.typ, Class: res.class, ResourceId: res.id, Definition: res.definition.Spec.GetName(), Declared: res.declared,
			Workloads: users, Objects: objects[res.uid], Awaited: r.claims.blocked[res.uid], Outputs: slices.Sorted(maps.Keys(res.outputs)),
		})
	}
	return out
}

type edgeKey struct {
	from, to string
	why      rendererv1.ResourceGraph_Edge_Why
}

// edges collects edges, each once with all its names.
type edges struct{ byKey map[edgeKey]map[string]bool }

func (e edges) add(from, to string, why rendererv1.ResourceGraph_Edge_Why, name string) {
	key := edgeKey{from, to, why}
	if e.byKey[key] == nil {
		e.byKey[key] = map[string]bool{}
	}
	if name != "" {
		e.byKey[key][name] = true
	}
}

func (e edges) sorted() []*rendererv1.ResourceGraph_Edge {
	var out []*rendererv1.ResourceGraph_Edge
	for key, names := range e.byKey {
		out = append(out, &rendererv1.ResourceGraph_Edge{From: key.from, To: key.to, Why: key.why, Names: slices.Sorted(maps.Keys(names))})
	}
	slices.SortFunc(out, func(a, b *rendererv1.ResourceGraph_Edge) int {
		return cmp.Or(strings.Compare(a.GetFrom(), b.GetFrom()), strings.Compare(a.GetTo(), b.GetTo()), cmp.Compare(a.GetWhy(), b.GetWhy()))
	})
	return out
}

// ofWorkloads adds what workloads declare, and what their containers refer to.
func (e edges) ofWorkloads(r *run) {
	for name, doc := range r.set.workloads {
		id, sc := workloadNode+name, r.graph.scopes[name]
		for key, uid := range sc.uids {
			e.add(id, uid, rendererv1.ResourceGraph_Edge_WHY_DECLARES, key)
		}
		containers, _ := doc["containers"].(map[string]any)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			for _, part := range []string{"variables", "files", "volumes"} {
				e.refer(id, sc, expandable(container[part]))
			}
		}
	}
}

// expandable leaves out files whose placeholders stay as they are.
func expandable(part any) any {
	entries, _ := part.(map[string]any)
	out := map[string]any{}
	for k, v := range entries {
		if file, isMap := v.(map[string]any); !isMap || file["noExpand"] != true {
			out[k] = v
		}
	}
	return out
}

// refer adds what the placeholders in a value refer to, at any depth.
func (e edges) refer(from string, sc *scope, v any) {
	switch v := v.(type) {
	case string:
		for _, ref := range placeholder.Refs(v) {
			if len(ref.Path) < 2 || ref.Path[0] != placeholder.Resources {
				continue
			}
			if uid, ok := sc.uids[ref.Path[1]]; ok {
				e.add(from, uid, rendererv1.ResourceGraph_Edge_WHY_REFERS, strings.Join(ref.Path[2:], "."))
			}
		}
	case map[string]any:
		for _, x := range v {
			e.refer(from, sc, x)
		}
	case []any:
		for _, x := range v {
			e.refer(from, sc, x)
		}
	}
}

// ofResource adds what a resource's params and its definition refer to, and what the definition brings along.
func (e edges) ofResource(r *run, res *resource) {
	refs := res.definition.References
	if res.provided {
		refs = append(slices.Clone(refs), definition.ReferencesIn(res.params)...)
	} else {
		e.refer(res.uid, r.graph.scopes[res.paramsScope], res.params)
	}
	for _, ref := range refs {
		e.add(res.uid, ref.Selector.UID(res.id), rendererv1.ResourceGraph_Edge_WHY_REFERS, strings.Join(ref.Path, "."))
	}
	for _, p := range res.definition.Provisions {
		e.add(res.uid, p.Selector.UID(res.id), rendererv1.ResourceGraph_Edge_WHY_PROVISIONS, "")
	}
}
