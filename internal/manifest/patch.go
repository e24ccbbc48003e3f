package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// ObjectsKey is the first part of the pointer of an object patch: /objects/{apiVersion}/{kind}/{name}/{field}/…, where "/" within a
// part is written as ~1. An item of a list that Kubernetes merges by key is named by it, as name=main or containerPort=8080; one of
// another list by its index.
const ObjectsKey = "objects"

// IsPatch tells an operation on rendered objects from one on the set's document.
func IsPatch(pointer string) bool { return strings.HasPrefix(pointer, "/"+ObjectsKey+"/") }

// Target is the object that a patch is about.
type Target struct{ APIVersion, Kind, Name string }

// Pointer gives the pointer of a place of the object.
func (t Target) Pointer(steps ...string) string {
	return jsonptr.Join(append([]string{ObjectsKey, t.APIVersion, t.Kind, t.Name}, steps...)...)
}

// ParsePatch takes a patch's pointer apart. Without steps the whole object is meant.
func ParsePatch(pointer string) (t Target, steps []string, err error) {
	parts, err := jsonptr.Parse(pointer)
	if err != nil {
		return t, nil, err
	}
	if len(parts) < 4 || parts[0] != ObjectsKey || parts[1] == "" || parts[2] == "" || parts[3] == "" {
		return t, nil, errs.InvalidField(pointer, "is no place of an object: write /objects/apps~1v1/Deployment/api/spec/replicas, with ~1 for / within a part")
	}
	return Target{APIVersion: parts[1], Kind: parts[2], Name: parts[3]}, parts[4:], nil
}

// Edit is one change of an object.
type Edit struct {
	// Steps are the keys, and the names or indexes of items, on the way; never empty.
	Steps []string
	// Value is what is written there; Remove takes away what is there instead.
	Value  any
	Remove bool
}

// Apply gives the object with the edit. The object is not changed; what the edit does not touch is shared. The error says why there
// is no such place.
func (e Edit) Apply(object map[string]any) (map[string]any, error) {
	if len(e.Steps) == 0 {
		return nil, fmt.Errorf("names no field")
	}
	next, err := e.at(object, "", 0)
	if err != nil {
		return nil, err
	}
	out, _ := next.(map[string]any)
	return out, nil
}

func (e Edit) at(v any, field string, i int) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		return e.inMap(v, i)
	case []any:
		return e.inList(v, field, i)
	case nil:
		if !e.Remove && i > 0 {
			return e.inMap(nil, i)
		}
	}
	return nil, fmt.Errorf("has no %q at %s: a single value stands there", e.Steps[i], jsonptr.Join(e.Steps[:i]...))
}

func (e Edit) inMap(m map[string]any, i int) (any, error) {
	key, last := e.Steps[i], i == len(e.Steps)-1
	was, there := m[key]
	if e.Remove && !there {
		return nil, fmt.Errorf("has no %q at %s; there are %s", key, orObject(e.Steps[:i]), List(unionKeys(m, nil)))
	}
	out := maps.Clone(m)
	if out == nil {
		out = map[string]any{}
	}
	switch {
	case last && e.Remove:
		delete(out, key)
	case last:
		out[key] = e.Value
	default:
		next, err := e.at(was, key, i+1)
		if err != nil {
			return nil, err
		}
		out[key] = next
	}
	return out, nil
}

func (e Edit) inList(list []any, field string, i int) (any, error) {
	name, last := e.Steps[i], i == len(e.Steps)-1
	at, keyed := findItem(field, list, name)
	if at < 0 {
		if last && !e.Remove && (keyed || name == strconv.Itoa(len(list))) {
			return append(slices.Clone(list), e.Value), nil
		}
		return nil, fmt.Errorf("has no item %q at %s; there are %s", name, orObject(e.Steps[:i]), List(listChoices(field, list)))
	}
	out := slices.Clone(list)
	switch {
	case last && e.Remove:
		return slices.Delete(out, at, at+1), nil
	case last:
		out[at] = e.Value
		return out, nil
	}
	next, err := e.at(list[at], "", i+1)
	out[at] = next
	return out, err
}

func orObject(steps []string) string {
	if len(steps) == 0 {
		return "its top"
	}
	return jsonptr.Join(steps...)
}

// findItem finds the item of a list that a step names, -1 for none; keyed tells whether an item of that name could be added.
func findItem(field string, list []any, name string) (at int, keyed bool) {
	keyed = strings.Contains(name, "=") && len(keyedBy[field]) > 0
	if by := keysOf(field, list); by != nil && keyed {
		for i, item := range list {
			if key, _ := itemKey(by, item); key == name {
				return i, true
			}
		}
		return -1, true
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(list) && strconv.Itoa(i) == name {
		return i, keyed
	}
	return -1, keyed && len(list) == 0
}

// Edits gives the edits that make one object the other: applied in order to the first they give the second, as JSON has it.
func Edits(before, after map[string]any) []Edit {
	var c editor
	a, _ := Plain(before).(map[string]any)
	b, _ := Plain(after).(map[string]any)
	c.maps(nil, a, b)
	return c.out
}

type editor struct{ out []Edit }

func (c *editor) add(steps []string, v any, remove bool) {
	c.out = append(c.out, Edit{Steps: slices.Clone(steps), Value: v, Remove: remove})
}

func (c *editor) maps(steps []string, a, b map[string]any) {
	for _, key := range unionKeys(a, b) {
		va, inA := a[key]
		vb, inB := b[key]
		next := append(slices.Clip(steps), key)
		switch {
		case !inB:
			c.add(next, nil, true)
		case !inA:
			c.add(next, vb, false)
		default:
			c.values(next, key, va, vb)
		}
	}
}

func (c *editor) values(steps []string, field string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	ma, isMapA := a.(map[string]any)
	mb, isMapB := b.(map[string]any)
	if isMapA && isMapB && len(mb) > 0 {
		c.maps(steps, ma, mb)
		return
	}
	la, isListA := a.([]any)
	lb, isListB := b.([]any)
	if isListA && isListB && c.lists(steps, field, la, lb) {
		return
	}
	c.add(steps, b, false)
}

// lists gives the edits of a list item by item; false where that would not give the same list, and it is replaced as a whole.
func (c *editor) lists(steps []string, field string, a, b []any) bool {
	ka, kb := keysOf(field, a), keysOf(field, b)
	if ka != nil && slices.Equal(ka, kb) && len(b) > 0 {
		return c.keyed(steps, ka, a, b)
	}
	if len(a) != len(b) || ka != nil {
		return false
	}
	for i := range a {
		c.values(append(slices.Clip(steps), strconv.Itoa(i)), "", a[i], b[i])
	}
	return true
}

func (c *editor) keyed(steps []string, keys []string, a, b []any) bool {
	ia, _ := itemsBy(keys, a)
	ib, _ := itemsBy(keys, b)
	// Edits keep the order of what stays and append what is new.
	var order []string
	for _, key := range inOrder(keys, a, b) {
		if _, stays := ib[key]; stays {
			order = append(order, key)
		}
	}
	for i, item := range b {
		if key, _ := itemKey(keys, item); key != order[i] || !strings.Contains(key, "=") {
			return false
		}
	}
	for _, key := range inOrder(keys, a, b) {
		next := append(slices.Clip(steps), key)
		va, inA := ia[key]
		vb, inB := ib[key]
		switch {
		case !inB:
			c.add(next, nil, true)
		case !inA:
			c.add(next, vb, false)
		default:
			c.values(next, "", va, vb)
		}
	}
	return true
}

// Protected tells whether a patch may not touch the field, and why: what the object is, whose it is, and what is secret.
func Protected(t Target, steps []string) string {
	if len(steps) == 0 {
		return ""
	}
	switch {
	case steps[0] == "apiVersion" || steps[0] == "kind":
		return "is what the object is"
	case steps[0] == "metadata" && len(steps) == 1:
		return "has the object's name and namespace; name a field of it"
	case steps[0] == "metadata" && slices.Contains([]string{"name", "namespace", "generateName"}, steps[1]):
		return "is which object it is"
	case t.Kind == "Secret" && t.APIVersion == "v1" && slices.Contains(secretParts, steps[0]):
		return "holds secret values, which do not belong into an overlay"
	}
	return ""
}

// StepsPath spells the place that an edit's steps name, as FieldPath does.
func StepsPath(object map[string]any, steps []string) string {
	path, field := "", ""
	var v any = object
	for _, step := range steps {
		switch at := v.(type) {
		case []any:
			i, _ := findItem(field, at, step)
			path, v, field = path+"["+step+"]", nil, ""
			if i >= 0 {
				v = at[i]
			}
		case map[string]any:
			path, v, field = keyPath(path, field, step), at[step], step
		default:
			path, v, field = keyPath(path, field, step), nil, step
		}
	}
	return path
}
