package definition

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// withoutPlainSecrets moves what a Secret holds in clear, and what by its name is no secret, into a ConfigMap of that name, and lets
// env and envFrom take it from there. Anything else that a Secret holds is refused: no value of a Secret may be in Git.
func withoutPlainSecrets(req *Request, manifests []map[string]any) ([]map[string]any, error) {
	var out []map[string]any
	for i, o := range manifests {
		data := secretData(o)
		if o["kind"] != "Secret" || len(data) == 0 {
			if o["kind"] == "Secret" {
				delete(o, "data")
				delete(o, "stringData")
			}
			out = append(out, o)
			continue
		}
		config, err := configOf(req, i, o, data)
		if err != nil {
			return nil, err
		}
		meta, _ := o["metadata"].(map[string]any)
		annotations, _ := meta["annotations"].(map[string]any)
		name, _ := meta["name"].(string)
		m := move{secret: name, keys: data, stays: annotations[GenerateAnnotation] != nil}
		for j := range manifests {
			if m.in(manifests[j]); m.problem != "" {
				return nil, failed(req, "manifests", fmt.Sprintf("manifest %d takes what the Secret %s holds in clear (%s) from the Secret, by %s; no value of a Secret may be in Git. "+
					"Write it where it is used, or let it be made in the cluster", j, name, strings.Join(slices.Sorted(maps.Keys(data)), ", "), m.problem))
			}
		}
		out = append(out, config)
		if m.stays {
			out = append(out, o)
		}
	}
	return out, nil
}

func configOf(req *Request, i int, o map[string]any, data map[string]string) (map[string]any, error) {
	meta, _ := o["metadata"].(map[string]any)
	plain := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if secretName.MatchString(key) && !publicName.MatchString(key) || !utf8.ValidString(data[key]) {
			return nil, failed(req, "manifests", fmt.Sprintf("manifest %d, the Secret %v, holds %q as a value; no value of a Secret may be in Git. "+
				"Give the Secret the annotation %s: %q instead, or name one that is in the cluster", i, meta["name"], key, GenerateAnnotation, key+":32"))
		}
		plain[key] = data[key]
	}
	delete(o, "data")
	delete(o, "stringData")
	own := map[string]any{"name": meta["name"]}
	for _, k := range []string{"labels", "namespace"} {
		if v, ok := meta[k]; ok {
			own[k] = v
		}
	}
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": own, "data": plain}, nil
}

// move lets manifests take keys from a ConfigMap that a Secret of that name held.
type move struct {
	secret  string
	keys    map[string]string
	stays   bool
	problem string
}

func (m *move) in(v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["secretKeyRef"].(map[string]any); ok && ref["name"] == m.secret {
			if key, _ := ref["key"].(string); m.has(key) {
				delete(v, "secretKeyRef")
				v["configMapKeyRef"] = ref
			}
		}
		if from, ok := v["envFrom"].([]any); ok {
			v["envFrom"] = m.envFrom(from)
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			named, _ := v[k].(map[string]any)
			asks := strings.Contains(strings.ToLower(k), "secret") && k != "secretKeyRef" && k != "secretRef"
			if asks && (v[k] == m.secret || named["name"] == m.secret || named["secretName"] == m.secret && m.mounted(named)) {
				m.problem = k
				return
			}
			if k != "secret" || named["secretName"] != m.secret {
				m.in(v[k])
			}
		}
	case []any:
		for _, x := range v {
			m.in(x)
		}
	}
}

func (m *move) has(key string) bool {
	_, ok := m.keys[key]
	return ok
}

// mounted reports whether a volume of the Secret has one of the keys.
func (m *move) mounted(volume map[string]any) bool {
	items, listed := volume["items"].([]any)
	return !listed || slices.ContainsFunc(items, func(item any) bool {
		entry, _ := item.(map[string]any)
		key, _ := entry["key"].(string)
		return m.has(key)
	})
}

func (m *move) envFrom(from []any) (out []any) {
	for _, entry := range from {
		e, _ := entry.(map[string]any)
		ref, _ := e["secretRef"].(map[string]any)
		if ref["name"] != m.secret || ref == nil {
			out = append(out, entry)
			continue
		}
		config := maps.Clone(e)
		delete(config, "secretRef")
		config["configMapRef"] = map[string]any{"name": m.secret}
		out = append(out, config)
		if m.stays {
			out = append(out, entry)
		}
	}
	return out
}
