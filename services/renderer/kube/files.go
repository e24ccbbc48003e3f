package kube

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// maxConfigMap is how many bytes of files a container can have: a Kubernetes object ends at 1 MiB (1,048,576) with all its
// metadata, and binary content is a third larger in it.
const maxConfigMap = 1_000_000

// files puts a container's files into a ConfigMap and mounts each one on its own (subPath), so that the folder around it
// stays visible. A file mounted like this is never changed in a running pod: the checksum on the pod rolls it instead.
func (b *builder) files(container string, files map[string]any, where string) []any {
	if len(files) == 0 {
		return nil
	}
	data, binary := map[string]any{}, map[string]any{}
	var items, mounts []any
	size, sum := 0, sha256.New()
	volume := definition.Shorten("files-"+container, 63)
	used := map[string]bool{}
	var secrets secretFiles
	for _, target := range slices.Sorted(maps.Keys(files)) {
		at := where + "." + escape(target)
		if !b.mountPath(target, at) {
			continue
		}
		file, key := child(files, target), fileKey(target, used)
		item := map[string]any{"key": key, "path": key}
		if mode := text(file, "mode"); mode != "" {
			bits, _ := strconv.ParseInt(mode, 8, 32) // validated
			item["mode"] = b.score(int(bits), at, "mode")
		}
		content, encoded := b.content(file, at)
		marked := b.score(item, at)
		switch {
		case encoded:
			binary[key], items = b.score(content, at, "binaryContent"), append(items, marked)
		case secrets.take(content, key, at, item): // its Secret holds it
			b.noteSecrets(definition.SplitSecrets(content))
		default:
			data[key], items = b.scoreText(content, expandable(file), at, "content"), append(items, marked)
		}
		size += len(content)
		fmt.Fprintf(sum, "%q %q %t\n", key, content, encoded)
		mounts = append(mounts, b.score(map[string]any{"name": volume, "mountPath": target, "subPath": key, "readOnly": true}, at))
	}
	if size > maxConfigMap {
		b.problem(errorsv1.Reason_REASON_TOO_LARGE, where, "hold %d bytes together, a container's files are limited to %d: move large files into the image or a volume", size, maxConfigMap)
	}
	name := definition.Shorten(b.in.Workload+"-"+container+"-files", 253)
	b.volumes[volume] = map[string]any{"name": b.score(volume, where), "configMap": b.score(map[string]any{"name": name, "items": items}, where)}
	b.checksum = sum.Sum(b.checksum)
	if len(b.checksum) > sha256.Size {
		both := sha256.Sum256(b.checksum)
		b.checksum = both[:]
	}
	body := map[string]any{}
	if len(data) > 0 {
		body["data"] = data
	}
	if len(binary) > 0 {
		body["binaryData"] = binary
	}
	if secrets.any() {
		b.projectFiles(volume, container, name, items, &secrets)
	}
	if len(items) > 0 || !secrets.any() {
		b.object("v1", "ConfigMap", name, body)
	}
	return mounts
}

// expandable gives the text of a file whose placeholders are replaced, nothing for others.
func expandable(file map[string]any) string {
	if file["noExpand"] == true {
		return ""
	}
	return text(file, "content")
}

// claim notes a volume of which each pod gets its own.
func (b *builder) claim(v Volume, source, where string) {
	if b.claims == nil {
		b.claims = map[string]claim{}
	}
	if _, known := b.claims[v.Name]; !known {
		b.claims[v.Name] = claim{spec: v.Claim, source: source, where: where}
	}
}

// content gives a file's content, and whether it is base64.
func (b *builder) content(file map[string]any, where string) (string, bool) {
	if encoded, ok := file["binaryContent"].(string); ok {
		raw, _ := base64.StdEncoding.DecodeString(encoded) // validated; written again without line breaks
		return base64.StdEncoding.EncodeToString(raw), true
	}
	content := text(file, "content")
	if file["noExpand"] == true {
		return content, false
	}
	return b.expand(content, where+".content"), false
}

// fileKey makes the key of a file in its ConfigMap from its path, the same for the same path.
func fileKey(target string, used map[string]bool) string {
	key := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, strings.TrimPrefix(target, "/"))
	if len(key) > 200 || used[key] || strings.HasPrefix(key, "..") {
		sum := sha256.Sum256([]byte(target))
		key = fmt.Sprintf("%s-%x", strings.TrimLeft(key[max(len(key)-100, 0):], "."), sum[:8])
	}
	used[key] = true
	return key
}

// mountPath refuses what Kubernetes does not take as a mount path.
func (b *builder) mountPath(target, where string) bool {
	if !strings.HasPrefix(target, "/") || target == "/" || strings.Contains(target, ":") || path.Clean(target) != strings.TrimSuffix(target, "/") {
		b.invalid(where, "%q cannot be mounted: expected a clean absolute path without a colon, such as /etc/app/config.yaml", target)
		return false
	}
	if b.mounted[path.Clean(target)] {
		b.invalid(where, "something else is mounted at %s already: files and volumes need different paths", path.Clean(target))
		return false
	}
	b.mounted[path.Clean(target)] = true
	return true
}

// mounts mounts a container's volumes.
func (b *builder) mounts(volumes map[string]any, where string) []any {
	var out []any
	for _, target := range slices.Sorted(maps.Keys(volumes)) {
		at := where + "." + escape(target)
		if !b.mountPath(target, at) {
			continue
		}
		v := child(volumes, target)
		source := b.expand(text(v, "source"), at+".source")
		known, ok := b.in.Volume(source)
		if !ok {
			continue // takeVolumes has said so
		}
		mount := map[string]any{"name": b.scoreText(known.Name, text(v, "source"), at, "source"), "mountPath": target}
		if sub := text(v, "path"); sub != "" {
			if path.IsAbs(sub) || strings.HasPrefix(path.Clean(sub), "..") {
				b.invalid(at+".path", "%q leaves the volume: expected a relative path inside it", sub)
			}
			mount["subPath"] = b.score(sub, at, "path")
		}
		if v["readOnly"] == true {
			mount["readOnly"] = b.score(true, at, "readOnly")
		}
		out = append(out, b.score(mount, at))
	}
	return out
}

// takeVolumes adds the volumes of all containers to the pod, each once.
func (b *builder) takeVolumes(all map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		volumes := child(child(all, name), "volumes")
		for _, target := range slices.Sorted(maps.Keys(volumes)) {
			source, err := b.in.Expand(text(child(volumes, target), "source"))
			if err != nil {
				continue // mounts says so
			}
			v, ok := b.in.Volume(source)
			if !ok {
				b.invalid("containers."+name+".volumes."+escape(target)+".source",
					"%q is not a volume: refer to a resource of type volume, such as ${resources.data}", source)
				continue
			}
			if other, taken := b.sources[v.Name]; taken && other != source {
				b.invalid("containers."+name+".volumes."+escape(target)+".source",
					"%s and %s are too much alike to be told apart in a pod: give one of the resources another id", other, source)
			}
			b.sources[v.Name] = source
			if v.Claim != nil {
				b.claim(v, source, "containers."+name+".volumes."+escape(target)+".source")
				continue
			}
			volume := maps.Clone(v.Source)
			volume["name"] = v.Name
			b.volumes[v.Name] = volume
			b.exclusive = b.exclusive || v.Exclusive
		}
	}
}
