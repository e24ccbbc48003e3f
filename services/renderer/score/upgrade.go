package score

import (
	"strconv"
	"strings"
)

// upgrade turns the older spellings of Score v1b1 into today's: files and volumes given as lists, content given as a list of
// lines, read_only. It changes the nodes in place; what has no older spelling is left for validation.
func upgrade(doc *node, p *problems) {
	containers := doc.get("containers")
	for _, name := range containers.names() {
		container, where := containers.get(name), path("containers").field(name)
		upgradeList(container, where, "files", p)
		upgradeList(container, where, "volumes", p)
		files := container.get("files")
		for _, target := range files.names() {
			joinLines(files.get(target))
		}
		volumes := container.get("volumes")
		for _, target := range volumes.names() {
			renameReadOnly(volumes.get(target), where.field("volumes").field(target), p)
		}
	}
}

// upgradeList turns a list of maps with a target into a map by target.
func upgradeList(container *node, where path, key string, p *problems) {
	list := container.get(key)
	if list == nil || list.kind != listKind {
		return
	}
	out := newMap(list.pos)
	for i, item := range list.list {
		at := where.field(key).index(i)
		target, ok := item.get("target").text()
		if !ok || target == "" {
			p.add(item.pos, at, "needs a target: expected the path in the container; better write %s as a map whose keys are the paths", key)
			if target = strconv.Itoa(i); item.kind != mapKind || item.broken {
				continue
			}
		}
		if _, twice := out.fields[target]; twice {
			p.add(item.pos, at, "has the target %s, which an earlier element has already: expected another one", quote(target))
			continue
		}
		value := newMap(item.pos)
		for k, v := range item.fields {
			if k != "target" {
				value.fields[k], value.keys[k] = v, item.keyPos(k)
			}
		}
		out.set(target, value)
	}
	container.fields[key] = out
}

func joinLines(file *node) {
	content := file.get("content")
	if content == nil || content.kind != listKind {
		return
	}
	lines := make([]string, len(content.list))
	for i, line := range content.list {
		text, ok := line.text()
		if !ok {
			return // validation says that content is a string
		}
		lines[i] = text
	}
	file.fields["content"] = newString(strings.Join(lines, "\n"), content.pos)
}

func renameReadOnly(volume *node, where path, p *problems) {
	old := volume.get("read_only")
	if old == nil {
		return
	}
	if volume.get("readOnly") != nil {
		p.add(volume.keyPos("read_only"), where.field("read_only"), "is the old spelling of readOnly, which is given too: expected one of them; remove it")
		delete(volume.fields, "read_only")
		return
	}
	delete(volume.fields, "read_only")
	volume.fields["readOnly"] = old
}
