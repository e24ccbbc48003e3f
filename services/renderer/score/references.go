package score

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/placeholder"
)

// references checks every placeholder of the document: its root, and for metadata the way, for resources the resource.
// Outputs are not checked: which there are depends on the environment.
func (c checker) references(doc *node) {
	expandable(doc, func(n *node, where path) {
		s, ok := n.text()
		if !ok || !strings.Contains(s, "$") || len(c.problems.found) > maxProblems {
			return // more problems would not be listed, and to find their hints costs most
		}
		tokens, err := placeholder.Parse(s)
		if err != nil {
			c.problems.add(c.problems.find(n.pos, "${}"), where, "%s", err)
			return
		}
		for _, t := range tokens {
			if t.Ref == nil {
				continue
			}
			if problem := checkRef(doc, *t.Ref); problem != "" {
				c.problems.add(c.problems.find(n.pos, "${"+t.Ref.Text+"}"), where, "${%s}: %s", shortened(t.Ref.Text), problem)
			}
		}
	})
}

// expandable calls f for every value in which placeholders are expanded.
func expandable(doc *node, f func(n *node, where path)) {
	containers := doc.get("containers")
	for _, name := range containers.names() {
		container, where := containers.get(name), path("containers").field(name)
		variables := container.get("variables")
		for _, key := range variables.names() {
			f(variables.get(key), where.field("variables").field(key))
		}
		files := container.get("files")
		for _, target := range files.names() {
			file := files.get(target)
			if noExpand := file.get("noExpand"); noExpand != nil && noExpand.scalar == true {
				continue
			}
			if content := file.get("content"); content != nil {
				f(content, where.field("files").field(target).field("content"))
			}
		}
		volumes := container.get("volumes")
		for _, target := range volumes.names() {
			if source := volumes.get(target).get("source"); source != nil {
				f(source, where.field("volumes").field(target).field("source"))
			}
		}
	}
	resources := doc.get("resources")
	for _, name := range resources.names() {
		if params := resources.get(name).get("params"); params != nil {
			leaves(params, path("resources").field(name).field("params"), f)
		}
	}
}

func leaves(n *node, where path, f func(n *node, where path)) {
	switch n.kind {
	case mapKind:
		for _, key := range n.names() {
			leaves(n.fields[key], where.field(key), f)
		}
	case listKind:
		for i, item := range n.list {
			leaves(item, where.index(i), f)
		}
	default:
		f(n, where)
	}
}

func checkRef(doc *node, ref placeholder.Ref) string {
	switch root := ref.Path[0]; root {
	case placeholder.Metadata:
		if len(ref.Path) == 1 {
			return "expected a key, such as ${metadata.name}, got metadata as a whole"
		}
		return checkMetadata(doc.get("metadata"), ref.Path[1:])
	case placeholder.Resources:
		resources := doc.get("resources")
		if len(ref.Path) == 1 {
			return "expected a resource, such as ${resources.db.host}, got resources as a whole"
		}
		if resources.get(ref.Path[1]) == nil {
			return fmt.Sprintf("the document declares no resource %s%s (expected one of: %s)", quote(ref.Path[1]), suggest(ref.Path[1], resources.names()), some(resources.names()))
		}
		return ""
	default:
		return fmt.Sprintf("%s is no root: expected metadata or resources%s; write $${%s} for literal text",
			quote(root), suggest(root, []string{placeholder.Metadata, placeholder.Resources}), shortened(ref.Text))
	}
}

// checkMetadata steps into the metadata. What is broken has been reported and is not stepped into.
func checkMetadata(at *node, keys []string) string {
	for i, key := range keys {
		walked := strings.Join(append([]string{placeholder.Metadata}, keys[:i]...), ".")
		switch {
		case at != nil && at.broken:
			return ""
		case at != nil && at.kind != mapKind:
			return fmt.Sprintf("%s is %s and has no %s: expected a map", walked, at.describe(), quote(key))
		case at.get(key) == nil:
			return fmt.Sprintf("%s has no %s%s (expected one of: %s)", walked, quote(key), suggest(key, at.names()), some(at.names()))
		}
		at = at.get(key)
	}
	return ""
}

// before checks the order of containers: the listed ones exist, none waits for itself, directly or around.
func (c checker) before(containers *node) {
	waits := map[string][]string{}
	for _, name := range containers.names() {
		list, where := containers.get(name).get("before"), path("containers").field(name).field("before")
		for _, other := range list.names() {
			switch {
			case other == name:
				c.problems.add(list.keyPos(other), where.field(other), "a container cannot start before itself: expected the name of another container")
			case containers.get(other) == nil:
				c.problems.add(list.keyPos(other), where.field(other), "there is no container %s%s (expected one of: %s)", quote(other), suggest(other, containers.names()),
					some(slices.DeleteFunc(containers.names(), func(n string) bool { return n == name })))
			default:
				waits[name] = append(waits[name], other)
			}
		}
	}
	for _, cycle := range findCycles(waits) {
		first := containers.get(cycle[0]).get("before")
		c.problems.add(first.keyPos(cycle[1]), path("containers").field(cycle[0]).field("before").field(cycle[1]),
			"the containers wait for each other: %s; expected an order in which they can start: remove one of these", strings.Join(cycle, " -> "))
	}
}

// some lists names, of many only the first.
func some(names []string) string {
	switch {
	case len(names) == 0:
		return "none is there"
	case len(names) > 20:
		return strings.Join(names[:20], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// maxCycles is how many cycles one document is told of.
const maxCycles = 10

// findCycles gives the names along each cycle, the first again at the end. Cycles that share a name with one before are left out:
// they may be gone with it.
func findCycles(edges map[string][]string) [][]string {
	var out [][]string
	edges = maps.Clone(edges)
	for cycle := findCycle(edges); cycle != nil && len(out) < maxCycles; cycle = findCycle(edges) {
		out = append(out, cycle)
		for _, name := range cycle {
			delete(edges, name)
		}
	}
	return out
}

// findCycle gives the names along a cycle, the first again at the end, or nil.
func findCycle(edges map[string][]string) []string {
	done := map[string]bool{}
	var way []string
	var visit func(name string) []string
	visit = func(name string) []string {
		if i := slices.Index(way, name); i >= 0 {
			return append(slices.Clone(way[i:]), name)
		}
		if done[name] {
			return nil
		}
		way = append(way, name)
		for _, next := range edges[name] {
			if cycle := visit(next); cycle != nil {
				return cycle
			}
		}
		way = way[:len(way)-1]
		done[name] = true
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		if cycle := visit(name); cycle != nil {
			return cycle
		}
	}
	return nil
}
