package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Limits of what a plan tells field by field. The files tell the rest; without limits a plan of a large environment would not
// fit into an answer.
const (
	maxFieldChanges = 2000
	maxFieldValue   = 4 << 10
)

// CompareObjects tells what happens to the objects of an environment whose files change, and for those that stay, field by field.
// refs are what the renderer says of its files; they add which workload an object is for. The second result is false when there
// are more differences than a plan tells.
func CompareObjects(before, after map[string][]byte, refs []*rendererv1.ObjectRef) (objects []*catalogv1.ObjectChange, fields []*catalogv1.FieldChange, all bool) {
	before, after = changedFiles(before, after)
	workloads := map[string]string{}
	for _, ref := range refs {
		workloads[ref.GetFile()] = ref.GetWorkload()
	}
	a, b := byID(before), byID(after)
	var c fieldComparison
	for _, id := range unionKeys(a, b) {
		old, inA := a[id]
		now, inB := b[id]
		change := &catalogv1.ObjectChange{Object: now.ref, Action: catalogv1.FileChange_ACTION_MODIFY}
		switch {
		case !inA:
			change.Action = catalogv1.FileChange_ACTION_ADD
		case !inB:
			change.Action, change.Object = catalogv1.FileChange_ACTION_DELETE, old.ref
		case reflect.DeepEqual(old.value, now.value):
			continue // it only stands in another file, or is written otherwise
		}
		if inB {
			now.ref.Workload = workloads[now.ref.GetFile()]
		}
		objects = append(objects, change)
		if inA && inB {
			c.object, c.secret = now.ref, isSecret(now.ref) || isSecret(old.ref)
			c.walk("", "", old.value, now.value)
		}
	}
	return objects, c.out, !c.cut
}

func changedFiles(before, after map[string][]byte) (a, b map[string][]byte) {
	a, b = maps.Clone(before), maps.Clone(after)
	for path, content := range before {
		if other, ok := after[path]; ok && string(other) == string(content) {
			delete(a, path)
			delete(b, path)
		}
	}
	return a, b
}

func byID(files map[string][]byte) map[string]manifest {
	out := map[string]manifest{}
	for _, m := range manifests(files) {
		out[m.id()] = m
	}
	return out
}

type fieldComparison struct {
	object *rendererv1.ObjectRef
	secret bool
	out    []*catalogv1.FieldChange
	cut    bool
}

func (c *fieldComparison) add(path string, before, after any, hasBefore, hasAfter bool) {
	if len(c.out) == maxFieldChanges {
		c.cut = true
		return
	}
	f := &catalogv1.FieldChange{Object: c.object, Field: path}
	if hasBefore {
		f.Before = c.shown(path, before)
	}
	if hasAfter {
		f.After = c.shown(path, after)
	}
	c.out = append(c.out, f)
}

// shown gives a value as it may be shown: masked where it is a secret's, cut where it is long.
func (c *fieldComparison) shown(path string, v any) *structpb.Value {
	if c.secret {
		for _, part := range append(secretParts, "metadata.annotations["+lastApplied+"]") {
			if path == part || strings.HasPrefix(path, part+"[") {
				return structpb.NewStringValue(Masked)
			}
		}
	}
	if s, ok := v.(string); ok && len(s) > maxFieldValue {
		return structpb.NewStringValue(strings.ToValidUTF8(s[:maxFieldValue], "") + fmt.Sprintf("… (%d bytes)", len(s)))
	}
	out, err := structpb.NewValue(v)
	if err != nil {
		return structpb.NewStringValue("?")
	}
	return out
}

// walk compares two values of the place path, whose last field is called field.
func (c *fieldComparison) walk(path, field string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	if ma, mb, ok := both[map[string]any](a, b); ok {
		for _, key := range unionKeys(ma, mb) {
			va, inA := ma[key]
			vb, inB := mb[key]
			c.pair(keyPath(path, field, key), key, va, vb, inA, inB)
		}
		return
	}
	if la, lb, ok := both[[]any](a, b); ok {
		if c.lists(path, field, la, lb) {
			return
		}
	}
	c.add(path, a, b, true, true)
}

func (c *fieldComparison) pair(path, field string, a, b any, inA, inB bool) {
	if inA && inB {
		c.walk(path, field, a, b)
		return
	}
	// A Secret's values are told key by key, also when all of them come or go.
	if m, ok := firstOf(inA, a, b).(map[string]any); ok && c.secret && slices.Contains(secretParts, path) {
		for _, key := range unionKeys(m, nil) {
			c.add(keyPath(path, field, key), m[key], m[key], inA, inB)
		}
		return
	}
	c.add(path, a, b, inA, inB)
}

func firstOf(first bool, a, b any) any {
	if first {
		return a
	}
	return b
}

// lists compares two lists: by key where Kubernetes merges them by key, by place where they have the same length, else not at
// all (false).
func (c *fieldComparison) lists(path, field string, a, b []any) bool {
	for _, keys := range listKeys(field) {
		ia, okA := itemsBy(keys, a)
		ib, okB := itemsBy(keys, b)
		if !okA || !okB {
			continue
		}
		n := len(c.out)
		for _, key := range inOrder(keys, a, b) {
			va, inA := ia[key]
			vb, inB := ib[key]
			c.pair(path+"["+key+"]", "", va, vb, inA, inB)
		}
		if len(c.out) == n && !c.cut {
			c.add(path, a, b, true, true) // the same items in another order, which matters for some lists
		}
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		c.walk(path+"["+strconv.Itoa(i)+"]", "", a[i], b[i])
	}
	return true
}

// keyedBy has the keys by which Kubernetes tells the items of a list apart, by the list's field. A key with a default may be
// missing.
var keyedBy = map[string][][]string{
	"containers": {{"name"}}, "initContainers": {{"name"}}, "ephemeralContainers": {{"name"}}, "env": {{"name"}}, "volumes": {{"name"}},
	"volumeMounts": {{"mountPath"}}, "volumeDevices": {{"devicePath"}}, "imagePullSecrets": {{"name"}}, "hostAliases": {{"ip"}},
	"ports":                     {{"containerPort", "protocol"}, {"port", "protocol"}},
	"topologySpreadConstraints": {{"topologyKey", "whenUnsatisfiable"}}, "resourceClaims": {{"name"}}, "secrets": {{"name"}},
	"volumeClaimTemplates": {{"metadata.name"}}, "webhooks": {{"name"}}, "parentRefs": {{"name"}}, "schedulingGates": {{"name"}},
}

var keyDefaults = map[string]string{"protocol": "TCP", "whenUnsatisfiable": "DoNotSchedule"}

func listKeys(field string) [][]string { return keyedBy[field] }

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

func itemKey(keys []string, item any) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	var parts []string
	for i, key := range keys {
		v := m[key]
		if name, ok := strings.CutPrefix(key, "metadata."); ok {
			meta, _ := m["metadata"].(map[string]any)
			v, key = meta[name], name
		}
		switch def := keyDefaults[key]; {
		case v == nil && i == 0:
			return "", false
		case v == nil || def != "" && v == def:
			continue // a default is not written
		}
		parts = append(parts, key+"="+spell(v))
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

// freeMaps are the fields whose keys are anybody's choice; they are written in brackets, as drift does.
var freeMaps = map[string]bool{
	"labels": true, "annotations": true, "data": true, "stringData": true, "binaryData": true, "matchLabels": true, "nodeSelector": true,
	"limits": true, "requests": true, "parameters": true, "selector": true,
}

func keyPath(path, field, key string) string {
	switch {
	case freeMaps[field] && (field != "selector" || key != "matchLabels" && key != "matchExpressions"), !plainKey(key):
		return path + "[" + spell(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func plainKey(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == ""
}

func spell(v any) string {
	if s, ok := v.(string); ok && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-:@+") == "" {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b)
}
