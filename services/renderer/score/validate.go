package score

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// APIVersion is the only version of the specification there is.
const APIVersion = "score.dev/v1b1"

// validate reports everything that is wrong with an upgraded document.
func validate(doc *node, p *problems) {
	c := checker{p}
	if doc.kind != mapKind {
		p.add(doc.pos, "", "expected a Score document, a map with apiVersion, metadata and containers, got %s", doc.describe())
		return
	}
	c.closed(doc, "", []string{"apiVersion", "metadata", "containers"}, []string{"service", "resources"})
	c.apiVersion(doc.get("apiVersion"))
	c.metadata(doc.get("metadata"))
	c.service(doc.get("service"))
	c.containers(doc.get("containers"))
	c.each(doc.get("resources"), "resources", func(name string, r *node, at path) {
		c.key(doc.get("resources"), name, "resources", labelRule)
		c.resource(r, at)
	})
	c.references(doc)
}

func (c checker) apiVersion(n *node) {
	if s, ok := c.str(n, "apiVersion", anyString); ok && s != APIVersion {
		c.problems.add(n.pos, "apiVersion", "%s is not known: expected %s", quote(s), APIVersion)
	}
}

func (c checker) metadata(n *node) {
	if !c.isMap(n, "metadata") {
		return
	}
	c.required(n, "metadata", "name")
	c.str(n.get("name"), "metadata.name", labelRule)
	c.annotations(n.get("annotations"), "metadata.annotations")
}

func (c checker) annotations(n *node, where path) {
	c.each(n, where, func(key string, value *node, at path) {
		c.key(n, key, where, annotationRule)
		c.str(value, at, anyString)
	})
}

func (c checker) service(n *node) {
	if !c.isMap(n, "service") {
		return
	}
	c.closed(n, "service", nil, []string{"ports"})
	ports := n.get("ports")
	used := map[string]string{}
	c.each(ports, "service.ports", func(name string, port *node, at path) {
		c.key(ports, name, "service.ports", labelRule)
		if !c.isMap(port, at) {
			return
		}
		c.closed(port, at, []string{"port"}, []string{"protocol", "targetPort"})
		c.port(port.get("port"), at.field("port"))
		c.port(port.get("targetPort"), at.field("targetPort"))
		c.enum(port.get("protocol"), at.field("protocol"), "TCP", "UDP")
		c.uniquePort(port, name, at, used)
	})
}

// uniquePort refuses two ports with one number and protocol: a Kubernetes Service cannot hold them.
func (c checker) uniquePort(port *node, name string, at path, used map[string]string) {
	number := port.get("port")
	if number == nil || number.kind != scalarKind {
		return
	}
	protocol, ok := port.get("protocol").text()
	if !ok {
		protocol = "TCP"
	}
	key := fmt.Sprint(number.scalar, "/", protocol)
	if first, twice := used[key]; twice {
		c.problems.add(number.pos, at.field("port"), "%s is the port of %q already", key, first)
		return
	}
	used[key] = name
}

func (c checker) containers(n *node) {
	if n == nil {
		return
	}
	if n.kind == mapKind && len(n.fields) == 0 {
		c.problems.add(n.pos, "containers", "needs at least one container")
	}
	c.each(n, "containers", func(name string, container *node, at path) {
		c.key(n, name, "containers", labelRule)
		if c.isMap(container, at) {
			c.container(container, at)
		}
	})
	c.before(n)
}

func (c checker) container(n *node, where path) {
	c.closed(n, where, []string{"image"}, []string{"command", "args", "variables", "files", "volumes", "resources", "livenessProbe", "readinessProbe", "before"})
	c.str(n.get("image"), where.field("image"), someString)
	c.strings(n.get("command"), where.field("command"))
	c.strings(n.get("args"), where.field("args"))
	variables := n.get("variables")
	c.each(variables, where.field("variables"), func(key string, value *node, at path) {
		c.key(variables, key, where.field("variables"), variableRule)
		c.str(value, at, anyString)
	})
	c.each(n.get("files"), where.field("files"), func(_ string, file *node, at path) {
		if c.isMap(file, at) {
			c.file(file, at)
		}
	})
	c.each(n.get("volumes"), where.field("volumes"), func(_ string, volume *node, at path) {
		if c.isMap(volume, at) {
			c.volume(volume, at)
		}
	})
	c.compute(n.get("resources"), where.field("resources"))
	c.probe(n.get("livenessProbe"), where.field("livenessProbe"))
	c.probe(n.get("readinessProbe"), where.field("readinessProbe"))
}

func (c checker) file(n *node, where path) {
	contents := []string{"content", "binaryContent", "source"}
	c.closed(n, where, nil, append(contents, "mode", "noExpand"))
	given := slices.DeleteFunc(contents, func(key string) bool { return n.get(key) == nil })
	if len(given) != 1 {
		got := "none"
		if len(given) > 0 {
			got = strings.Join(given, " and ")
		}
		c.problems.add(n.pos, where, "needs exactly one of content, binaryContent and source, got %s", got)
	}
	c.str(n.get("content"), where.field("content"), anyString)
	c.str(n.get("source"), where.field("source"), someString)
	if s, ok := c.str(n.get("binaryContent"), where.field("binaryContent"), anyString); ok {
		if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			c.problems.add(n.get("binaryContent").pos, where.field("binaryContent"), "is not standard base64: encode the file with base64, without other text")
		}
	}
	c.str(n.get("mode"), where.field("mode"), modeRule)
	c.boolean(n.get("noExpand"), where.field("noExpand"))
}

func (c checker) volume(n *node, where path) {
	c.closed(n, where, []string{"source"}, []string{"path", "readOnly"})
	c.str(n.get("source"), where.field("source"), someString)
	c.str(n.get("path"), where.field("path"), anyString)
	c.boolean(n.get("readOnly"), where.field("readOnly"))
}

func (c checker) compute(n *node, where path) {
	if !c.isMap(n, where) {
		return
	}
	c.closed(n, where, nil, []string{"limits", "requests"})
	for _, key := range []string{"limits", "requests"} {
		at := where.field(key)
		if amounts := n.get(key); c.isMap(amounts, at) {
			c.closed(amounts, at, nil, []string{"memory", "cpu"})
			c.str(amounts.get("memory"), at.field("memory"), memoryRule)
			c.str(amounts.get("cpu"), at.field("cpu"), cpuRule)
		}
	}
}

func (c checker) probe(n *node, where path) {
	if !c.isMap(n, where) {
		return
	}
	c.closed(n, where, nil, []string{"httpGet", "exec"})
	if n.get("httpGet") == nil && n.get("exec") == nil {
		c.problems.add(n.pos, where, "needs httpGet or exec")
	}
	if exec, at := n.get("exec"), where.field("exec"); c.isMap(exec, at) {
		c.closed(exec, at, []string{"command"}, nil)
		c.strings(exec.get("command"), at.field("command"))
	}
	get, at := n.get("httpGet"), where.field("httpGet")
	if !c.isMap(get, at) {
		return
	}
	c.closed(get, at, []string{"path", "port"}, []string{"scheme", "host", "httpHeaders"})
	c.str(get.get("path"), at.field("path"), anyString)
	c.port(get.get("port"), at.field("port"))
	c.enum(get.get("scheme"), at.field("scheme"), "HTTP", "HTTPS")
	c.str(get.get("host"), at.field("host"), someString)
	c.headers(get.get("httpHeaders"), at.field("httpHeaders"))
}

func (c checker) headers(n *node, where path) {
	if n == nil {
		return
	}
	if n.kind != listKind {
		c.problems.add(n.pos, where, "expected a list of {name, value}, got %s", n.describe())
		return
	}
	for i, header := range n.list {
		at := where.index(i)
		if !c.isMap(header, at) {
			continue
		}
		c.closed(header, at, []string{"name", "value"}, nil)
		c.str(header.get("name"), at.field("name"), headerRule)
		c.str(header.get("value"), at.field("value"), anyString)
	}
}

func (c checker) resource(n *node, where path) {
	if !c.isMap(n, where) {
		return
	}
	c.closed(n, where, []string{"type"}, []string{"class", "id", "metadata", "params"})
	c.str(n.get("type"), where.field("type"), typeRule)
	c.str(n.get("class"), where.field("class"), typeRule)
	c.str(n.get("id"), where.field("id"), idRule)
	if metadata := n.get("metadata"); c.isMap(metadata, where.field("metadata")) {
		c.annotations(metadata.get("annotations"), where.field("metadata").field("annotations"))
	}
	c.isMap(n.get("params"), where.field("params"))
}

// utf8Valid guards documents that did not come from a YAML file.
func utf8Valid(n *node, where path, p *problems) {
	switch n.kind {
	case mapKind:
		for k, v := range n.fields {
			if !utf8.ValidString(k) {
				p.add(n.pos, where, "has a key that is not UTF-8")
			}
			utf8Valid(v, where.field(k), p)
		}
	case listKind:
		for i, v := range n.list {
			utf8Valid(v, where.index(i), p)
		}
	default:
		if s, ok := n.scalar.(string); ok && !utf8.ValidString(s) {
			p.add(n.pos, where, "is not UTF-8")
		}
	}
}
