package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// Live gives an environment's rendered files as they would be if they said what findings found in the cluster, and why that cannot be
// for some of them, by the finding's name.
func Live(made map[string][]byte, findings []*driftv1.Finding) (wanted map[string][]byte, problems map[string]string) {
	objects := objectsByID(made)
	values := map[string]any{} // by id; nil for one that is gone
	problems = map[string]string{}
	for _, f := range findings {
		id, why := acceptable(f, objects)
		if why == "" {
			v, changed := values[id]
			if !changed {
				v = manifest.Plain(objects[id].Value)
			}
			if v, why = withFinding(v, f); why == "" {
				values[id] = v
				continue
			}
		}
		problems[f.GetName()] = why
	}
	wanted = map[string][]byte{}
	for id, o := range objects {
		v, changed := values[id]
		if !changed {
			v = o.Value
		}
		if v == nil {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			continue // it came out of JSON
		}
		wanted[o.Ref.GetFile()] = append(append(wanted[o.Ref.GetFile()], "---\n"...), append(b, '\n')...)
	}
	return wanted, problems
}

// acceptable gives the object that a finding is about, or why it cannot be taken over.
func acceptable(f *driftv1.Finding, objects map[string]manifest.Object) (id, why string) {
	if f.GetObjectKind() == "Secret" && f.GetApiVersion() == "v1" {
		return "", "a Secret does not belong into Git or a draft; ask for it with a resource or a secret variable, or put it back"
	}
	switch f.GetKind() {
	case driftv1.Finding_KIND_CHANGED, driftv1.Finding_KIND_REMOVED, driftv1.Finding_KIND_EXTRA, driftv1.Finding_KIND_MISSING:
	case driftv1.Finding_KIND_ORPHANED, driftv1.Finding_KIND_UNMANAGED:
		return "", "the object is not declared, and a finding does not hold it whole; declare it in a workload or adopt it, or remove it with revert"
	case driftv1.Finding_KIND_RESIDUE:
		return "", "it was declared and no longer is; declare it again, or sync to have it removed"
	default:
		return "", "what the cluster has cannot be judged; look at it first"
	}
	for id, o := range objects {
		if o.Ref.GetKind() == f.GetObjectKind() && o.Ref.GetName() == f.GetObjectName() && groupOf(o.Ref.GetApiVersion()) == groupOf(f.GetApiVersion()) {
			return id, ""
		}
	}
	return "", "what Towpath renders now does not have the object; deploy first, then look again"
}

func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// withFinding gives an object as a finding found it, nil for one that was deleted.
func withFinding(v any, f *driftv1.Finding) (any, string) {
	if f.GetKind() == driftv1.Finding_KIND_MISSING || f.GetField() == "" && f.GetKind() == driftv1.Finding_KIND_REMOVED {
		return nil, ""
	}
	steps := fieldSteps(f.GetField())
	if v == nil || len(steps) == 0 {
		return v, "the whole object is meant; name its fields"
	}
	var live any
	if f.GetKind() != driftv1.Finding_KIND_REMOVED {
		if f.GetLive() == nil {
			return v, "what the cluster has there is not known"
		}
		live = f.GetLive().AsInterface()
	}
	out, ok := setAt(v, steps, live)
	if !ok {
		return v, "what Towpath renders has no such place"
	}
	return out, ""
}

// setAt gives v with the place set, or without it where value is nil. What stands on the way to a value is made.
func setAt(v any, steps []fieldStep, value any) (any, bool) {
	if len(steps) == 0 {
		return value, true
	}
	s := steps[0]
	if list, ok := v.([]any); ok || v == nil && s.inList() {
		return setItem(list, steps, value)
	}
	m, ok := v.(map[string]any)
	if v == nil {
		m, ok = map[string]any{}, value != nil
	}
	if !ok {
		return v, false
	}
	child, there := m[s.name]
	if len(steps) == 1 && value == nil {
		delete(m, s.name)
		return m, there
	}
	next, ok := setAt(child, steps[1:], value)
	if ok {
		m[s.name] = next
	}
	return m, ok
}

func setItem(list []any, steps []fieldStep, value any) (any, bool) {
	i := slices.IndexFunc(list, steps[0].means)
	if n, err := strconv.Atoi(steps[0].name); err == nil && i < 0 && n >= 0 && n < len(list) && !steps[0].inList() {
		i = n
	}
	switch {
	case i < 0 && (len(steps) > 1 || value == nil):
		return list, false
	case i < 0:
		return append(list, value), true
	case len(steps) == 1 && value == nil:
		return slices.Delete(list, i, i+1), true
	}
	next, ok := setAt(list[i], steps[1:], value)
	if ok {
		list[i] = next
	}
	return list, ok
}

// fieldStep is one part of a finding's field: a name, or keys of an item as [name=web], or an item of a set as [=value].
type fieldStep struct {
	name string
	keys [][2]string
}

func (s fieldStep) inList() bool { return len(s.keys) > 0 }

// means reports whether a list's item is the step's.
func (s fieldStep) means(item any) bool {
	if !s.inList() {
		return false
	}
	m, _ := item.(map[string]any)
	for _, k := range s.keys {
		v := item
		if k[0] != "" {
			v = m[k[0]]
		}
		b, err := json.Marshal(v)
		if text, isText := v.(string); err != nil || isText && text != k[1] || !isText && string(b) != k[1] {
			return false
		}
	}
	return true
}

// fieldSteps takes a field as findings name it apart.
func fieldSteps(field string) []fieldStep {
	var out []fieldStep
	start, quoted, inside := 0, false, false
	for i := 0; i <= len(field); i++ {
		end := i == len(field)
		switch {
		case !end && quoted && field[i] == '\\':
			i++
		case !end && inside && field[i] == '"':
			quoted = !quoted
		case !end && quoted:
		case !end && inside && field[i] == ']':
			out = append(out, bracketStep(field[start:i]))
			start, inside = i+1, false
		case !inside && (end || field[i] == '.' || field[i] == '['):
			if i > start {
				out = append(out, fieldStep{name: field[start:i]})
			}
			start, inside = i+1, !end && field[i] == '['
		}
	}
	return out
}

func bracketStep(text string) fieldStep {
	if strings.HasPrefix(text, `"`) || !strings.Contains(text, "=") {
		return fieldStep{name: unquoted(text)}
	}
	s := fieldStep{name: text}
	for rest := text; rest != ""; {
		key, value, _ := strings.Cut(rest, "=")
		n := strings.IndexByte(value, ',')
		if strings.HasPrefix(value, `"`) {
			if q, err := strconv.QuotedPrefix(value); err == nil {
				n = len(q)
			}
		}
		if n < 0 || n >= len(value) {
			n, rest = len(value), ""
		} else {
			rest = strings.TrimPrefix(value[n:], ",")
		}
		s.keys = append(s.keys, [2]string{key, unquoted(value[:n])})
	}
	return s
}

func unquoted(s string) string {
	var out string
	if strings.HasPrefix(s, `"`) && json.Unmarshal([]byte(s), &out) == nil {
		return out
	}
	return s
}

// PlaceOf tells where an adoption writes something: the first place, in words.
func PlaceOf(c *catalogv1.Change) string {
	for key := range c.GetVariables() {
		return "variable " + key
	}
	for _, op := range c.GetOverlayOperations() {
		return placeOf(op)
	}
	return ""
}

func placeOf(op *rendererv1.Operation) string {
	if t, steps, err := manifest.ParsePatch(op.GetPath()); manifest.IsPatch(op.GetPath()) && err == nil {
		return strings.TrimSpace(fmt.Sprintf("overlay patch of %s %s %s", t.Kind, t.Name, strings.Join(steps, ".")))
	}
	if tokens, err := jsonptr.Parse(op.GetPath()); err == nil && len(tokens) > 2 && tokens[0] == "workloads" {
		return "workload " + tokens[1] + " " + strings.Join(tokens[2:], ".")
	}
	return op.GetPath()
}
