package cli

import (
	"fmt"
	"strings"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// whyText says in a word why one node needs another.
var whyText = map[rendererv1.ResourceGraph_Edge_Why]string{
	rendererv1.ResourceGraph_Edge_WHY_DECLARES:   "declares",
	rendererv1.ResourceGraph_Edge_WHY_REFERS:     "refers to",
	rendererv1.ResourceGraph_Edge_WHY_PROVISIONS: "brings along",
}

// branches are what the lines of a tree begin with: for an entry, the last one, and what stands below each.
type branches struct{ entry, last, below, belowLast string }

var (
	boxes = branches{"├─ ", "└─ ", "│  ", "   "}
	plain = branches{"|- ", "`- ", "|  ", "   "}
)

// tree draws a graph as text.
type tree struct {
	out   strings.Builder
	mark  branches
	nodes map[string]*rendererv1.ResourceGraph_Node
	needs map[string][]*rendererv1.ResourceGraph_Edge
	shown map[string]bool
}

// graphText gives a graph as a tree below each workload. What several need is drawn where it comes first, and named elsewhere.
func graphText(g *rendererv1.ResourceGraph, box bool) string {
	t := &tree{mark: plain, nodes: map[string]*rendererv1.ResourceGraph_Node{}, needs: map[string][]*rendererv1.ResourceGraph_Edge{}, shown: map[string]bool{}}
	if box {
		t.mark = boxes
	}
	for _, n := range g.GetNodes() {
		t.nodes[n.GetId()] = n
	}
	needed := map[string]bool{}
	for _, e := range g.GetEdges() {
		t.needs[e.GetFrom()] = append(t.needs[e.GetFrom()], e)
		needed[e.GetTo()] = true
	}
	for _, n := range g.GetNodes() {
		if !needed[n.GetId()] { // a workload, or a resource of the set that nobody uses
			t.line("", title(n))
			t.children(n, "")
		}
	}
	for _, n := range g.GetNodes() {
		if !t.shown[n.GetId()] { // resources of the set that need each other, and nobody else
			t.line("", title(n))
			t.children(n, "")
		}
	}
	if len(g.GetNodes()) == 0 {
		t.line("", "nothing: no workload and no resource")
	}
	return t.out.String()
}

func (t *tree) line(parts ...string) {
	t.out.WriteString(strings.TrimRight(strings.ReplaceAll(clean(strings.Join(parts, "")), "\n", " "), " ") + "\n")
}

// children draws what a node needs, then what it becomes.
func (t *tree) children(n *rendererv1.ResourceGraph_Node, indent string) {
	t.shown[n.GetId()] = true
	edges, objects := together(t.needs[n.GetId()]), n.GetObjects()
	left := len(edges) + len(objects)
	for _, e := range edges {
		left--
		entry, below := t.marks(left == 0)
		to, again := t.nodes[e.to], ""
		if t.shown[e.to] {
			again = ", see above"
		}
		t.line(indent, entry, title(to), " (", strings.Join(e.why, ", "), ")", again)
		if again == "" {
			t.children(to, indent+below)
		}
	}
	for _, o := range objects {
		left--
		entry, _ := t.marks(left == 0)
		t.line(indent, entry, o.GetKind(), "/", o.GetName())
	}
}

func (t *tree) marks(last bool) (entry, below string) {
	if last {
		return t.mark.last, t.mark.belowLast
	}
	return t.mark.entry, t.mark.below
}

// need is everything for which one node needs another.
type need struct {
	to  string
	why []string
}

// together puts edges between the same two nodes into one; they are sorted by where they go.
func together(edges []*rendererv1.ResourceGraph_Edge) (out []need) {
	for _, e := range edges {
		if len(out) == 0 || out[len(out)-1].to != e.GetTo() {
			out = append(out, need{to: e.GetTo()})
		}
		last := &out[len(out)-1]
		last.why = append(last.why, reason(e))
	}
	return out
}

func reason(e *rendererv1.ResourceGraph_Edge) string {
	names := strings.Join(strings.Fields(strings.Join(e.GetNames(), " ")), " ")
	switch e.GetWhy() {
	case rendererv1.ResourceGraph_Edge_WHY_DECLARES:
		return "declared as " + names
	case rendererv1.ResourceGraph_Edge_WHY_PROVISIONS:
		return "brought along"
	}
	if names == "" { // a volume is named as a whole
		return "uses it"
	}
	return "refers to " + names
}

// definitionText calls a version of a definition as people do.
func definitionText(name string) string {
	return strings.Replace(strings.TrimPrefix(name, resourceDefinitions+"/"), "/versions/", " version ", 1)
}

// title says what a node is, and which definition answers it.
func title(n *rendererv1.ResourceGraph_Node) string {
	if n.GetType() == "" {
		return strings.Replace(n.GetId(), "/", " ", 1)
	}
	text := n.GetId() + " by " + definitionText(n.GetDefinition())
	if n.GetAwaited() {
		text += ", awaited"
	}
	return text
}

// graphDot gives a graph for Graphviz.
func graphDot(g *rendererv1.ResourceGraph) string {
	var b strings.Builder
	b.WriteString("digraph resources {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\"];\n")
	for _, n := range g.GetNodes() {
		lines := []string{n.GetId()}
		shape := "box"
		if n.GetType() != "" {
			shape = "ellipse"
			lines = append(lines, "by "+definitionText(n.GetDefinition()))
		}
		for _, o := range n.GetObjects() {
			lines = append(lines, o.GetKind()+"/"+o.GetName())
		}
		style := "solid"
		if n.GetAwaited() {
			style = "dashed"
		}
		fmt.Fprintf(&b, "  %s [shape=%s, style=%s, label=%s];\n", dotText(n.GetId()), shape, style, dotText(lines...))
	}
	for _, e := range g.GetEdges() {
		style := "solid"
		if e.GetWhy() == rendererv1.ResourceGraph_Edge_WHY_PROVISIONS {
			style = "dashed"
		}
		label := append([]string{whyText[e.GetWhy()]}, e.GetNames()...)
		fmt.Fprintf(&b, "  %s -> %s [style=%s, label=%s];\n", dotText(e.GetFrom()), dotText(e.GetTo()), style, dotText(label...))
	}
	b.WriteString("}\n")
	return b.String()
}

var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", " ", "\x00", " ")

// dotText writes lines as a quoted string of Graphviz, in which a backslash would be an escape.
func dotText(lines ...string) string {
	for i, line := range lines {
		lines[i] = dotEscapes.Replace(clean(line))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
