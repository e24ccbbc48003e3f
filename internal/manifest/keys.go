package manifest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// keyedBy has the keys by which Kubernetes tells the items of a list apart, by the list's field; of several forms the first that
// fits all items is meant. The first key of a form must be there, the others may be missing.
var keyedBy = map[string][][]string{
	"containers": {{"name"}}, "initContainers": {{"name"}}, "ephemeralContainers": {{"name"}}, "env": {{"name"}}, "volumes": {{"name"}},
	"volumeMounts": {{"mountPath"}}, "volumeDevices": {{"devicePath"}}, "imagePullSecrets": {{"name"}}, "hostAliases": {{"ip"}},
	"ports":                     {{"containerPort", "protocol"}, {"port", "protocol"}},
	"topologySpreadConstraints": {{"topologyKey", "whenUnsatisfiable"}}, "resourceClaims": {{"name"}}, "secrets": {{"name"}},
	"volumeClaimTemplates": {{"metadata.name"}}, "webhooks": {{"name"}}, "parentRefs": {{"name"}}, "schedulingGates": {{"name"}},
	"conditions": {{"type"}}, "readinessGates": {{"conditionType"}}, "items": {{"key"}}, "tolerations": {{"key", "operator", "effect"}},
	"httpHeaders": {{"name"}}, "rules": {{"host"}}, "paths": {{"path", "pathType"}}, "tls": {{"secretName"}}, "metrics": {{"resource.name"}},
	"ownerReferences": {{"uid"}}, "matchExpressions": {{"key", "operator"}}, "subjects": {{"kind", "name", "namespace"}},
	"sysctls": {{"name"}}, "listeners": {{"name"}}, "backendRefs": {{"name", "port"}}, "versions": {{"name"}}, "data": {{"secretKey"}},
	"addresses": {{"ip"}}, "overrides": {{"containerName"}},
}

var keyDefaults = map[string]string{"protocol": "TCP", "whenUnsatisfiable": "DoNotSchedule", "operator": "Equal"}

// itemsBy gives the items of a list by their key, spelled as in a path; false when an item has none or two have the same.
func itemsBy(keys []string, list []any) (map[string]any, bool) {
	out := make(map[string]any, len(list))
	for _, item := range list {
		key, ok := itemKey(keys, item)
		if _, twice := out[key]; !ok || twice {
			return nil, false
		}
		out[key] = item
	}
	return out, true
}

// keysOf gives the keys of a list's field that tell its items apart, nil when none do.
func keysOf(field string, list []any) []string {
	for _, keys := range keyedBy[field] {
		if _, ok := itemsBy(keys, list); ok {
			return keys
		}
	}
	return nil
}

// at steps into maps along a dotted key.
func at(m map[string]any, key string) any {
	for {
		head, rest, more := strings.Cut(key, ".")
		if !more {
			return m[key]
		}
		m, _ = m[head].(map[string]any)
		key = rest
	}
}

func itemKey(keys []string, item any) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	var parts []string
	for i, key := range keys {
		v := at(m, key)
		key = strings.TrimPrefix(key, "metadata.")
		switch def := keyDefaults[key]; {
		case v == nil && i == 0:
			return "", false
		case v == nil || def != "" && v == def:
			continue // a default is not written
		}
		parts = append(parts, key+"="+Spell(v))
	}
	return strings.Join(parts, ","), true
}

// inOrder gives the keys of both lists: those of the first in its order, then what only the second has.
func inOrder(keys []string, a, b []any) []string {
	var out []string
	seen := map[string]bool{}
	for _, item := range append(slices.Clone(a), b...) {
		if key, ok := itemKey(keys, item); ok && !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}

// common gives the keys of a list's items that are in other, in the list's order.
func common(keys []string, list []any, other map[string]any) []any {
	out := []any{}
	for _, item := range list {
		if key, ok := itemKey(keys, item); ok {
			if _, both := other[key]; both {
				out = append(out, key)
			}
		}
	}
	return out
}

// freeMaps are the fields whose keys are anybody's choice; they are written in brackets, as drift does.
var freeMaps = map[string]bool{
	"labels": true, "annotations": true, "data": true, "stringData": true, "binaryData": true, "matchLabels": true, "nodeSelector": true,
	"limits": true, "requests": true, "parameters": true, "selector": true,
}

func keyPath(path, field, key string) string {
	switch {
	case freeMaps[field] && (field != "selector" || key != "matchLabels" && key != "matchExpressions"), !plainKey(key):
		return path + "[" + Spell(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func plainKey(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == ""
}

// Spell writes a key as it stands in a path: as it is, or as JSON where it would be taken for something else.
func Spell(v any) string {
	if s, ok := v.(string); ok && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-:@+") == "" {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b)
}

// FieldPath spells the way to a field of an object: keyed lists by key, other lists by place.
func FieldPath(object any, way []string) string {
	path, field := "", ""
	for _, step := range way {
		switch v := object.(type) {
		case map[string]any:
			path, object, field = keyPath(path, field, step), v[step], step
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return path + "[" + Spell(step) + "]"
			}
			name := step
			if keys := keysOf(field, v); keys != nil {
				name, _ = itemKey(keys, v[i])
			}
			path, object, field = path+"["+name+"]", v[i], ""
		default:
			return path + "[" + Spell(step) + "]"
		}
	}
	return path
}

func unionKeys(a, b map[string]any) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
