package rules

import (
	"encoding/json"
	"fmt"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/findingpath"
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
	steps, ok := findingpath.Parse(f.GetField())
	if v == nil || !ok || len(steps) == 0 {
		return v, "the whole object is meant; name its fields"
	}
	var out any
	if f.GetKind() == driftv1.Finding_KIND_REMOVED {
		out, ok = findingpath.Remove(v, steps)
	} else if f.GetLive() == nil {
		return v, "what the cluster has there is not known"
	} else {
		out, ok = findingpath.Set(v, steps, f.GetLive().AsInterface())
	}
	if !ok {
		return v, "what Towpath renders has no such place"
	}
	return out, ""
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
