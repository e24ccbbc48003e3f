package score

import (
	"fmt"
	"unicode/utf8"
)

// validate reports everything that is wrong with an upgraded document: its shape, and what a schema cannot say.
func validate(doc *node, p *problems) {
	c := checker{p}
	if doc.kind != mapKind {
		if !doc.broken {
			p.add(doc.pos, "", "expected a Score document, a map with apiVersion, metadata and containers, got %s", doc.describe())
		}
		return
	}
	c.shape(doc, documentShape, "")
	c.uniquePorts(doc.get("service").get("ports"))
	c.before(doc.get("containers"))
	c.references(doc)
}

// uniquePorts refuses two ports with one number and protocol: a Kubernetes Service cannot hold them.
func (c checker) uniquePorts(ports *node) {
	used := map[string]string{}
	for _, name := range ports.names() {
		port := ports.get(name)
		number := port.get("port")
		if number == nil || number.kind != scalarKind || number.scalar == nil {
			continue
		}
		protocol, ok := port.get("protocol").text()
		if !ok {
			protocol = "TCP"
		}
		key := fmt.Sprint(number.scalar, "/", protocol)
		if first, twice := used[key]; twice {
			c.problems.add(number.pos, path("service.ports").field(name).field("port"), "%s is the port of %q already: expected a port of its own", key, first)
			continue
		}
		used[key] = name
	}
}

// utf8Valid guards documents that did not come from a YAML file.
func utf8Valid(n *node, where path, p *problems) {
	switch n.kind {
	case mapKind:
		for k, v := range n.fields {
			if !utf8.ValidString(k) {
				p.add(n.pos, where, "has a key that is not UTF-8: expected text")
			}
			utf8Valid(v, where.field(k), p)
		}
	case listKind:
		for i, v := range n.list {
			utf8Valid(v, where.index(i), p)
		}
	default:
		if s, ok := n.scalar.(string); ok && !utf8.ValidString(s) {
			p.add(n.pos, where, "is not UTF-8: expected text")
		}
	}
}
