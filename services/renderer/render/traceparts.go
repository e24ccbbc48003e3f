package render

import (
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/origin"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Who makes objects that belong to no workload and no resource, as files.put has it.
const (
	byType      = "the environment type"
	byVariables = "the secret variables"
)

// beside gives the origin of a leaf of what is made beside workloads and resources: policies of the environment's type, Secrets of
// variables and of files, and how the type's strategy makes them. Nil for anything else, and for what an object is.
func (t *trace) beside(object map[string]any, path []string, workload, by string) *origin.Origin {
	if len(path) < 2 {
		return nil
	}
	kind, _ := object["kind"].(string)
	ofType := func(field string) *origin.Origin {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE, Path: field}
	}
	switch {
	case by == byType && kind == "NetworkPolicy" && path[0] == "spec":
		if path[len(path)-1] == "cidr" {
			return ofType("network.egress_cidrs")
		}
		return ofType("network")
	case kind == "ExternalSecret" && path[1] == "secretStoreRef" && path[len(path)-1] == "name":
		return ofType("secrets.store")
	case kind == "ExternalSecret" && path[1] == "refreshInterval" && t.run.input.GetDefaults().GetSecrets().GetRefreshInterval() != "":
		return ofType("secrets.refresh_interval")
	case by == byVariables:
		if o := t.secretVariable(object, path); o != nil {
			return o
		}
		return ofType("secrets")
	case strings.HasPrefix(by, "workload ") && (kind == "ExternalSecret" || kind == "SealedSecret" || kind == "Secret"):
		return t.secretFiles(object, workload)
	}
	return t.fileVolume(object, path, workload, by)
}

// secretVariable gives the variable that a Secret's key is of, or the Secret as a whole.
func (t *trace) secretVariable(object map[string]any, path []string) *origin.Origin {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	near := ""
	if item, ok := jsonptr.Get(object, jsonptr.Join(path[:min(3, len(path))]...)); ok {
		m, _ := item.(map[string]any)
		near, _ = m["secretKey"].(string)
	}
	variables := t.run.input.GetSecretVariables()
	var whole *origin.Origin
	for _, key := range slices.Sorted(maps.Keys(variables)) {
		switch ref := variables[key]; {
		case ref.GetName() != name:
		case ref.GetKey() == near || slices.Contains(path, ref.GetKey()):
			return t.variable(key)
		case whole == nil && path[0] == "metadata":
			whole = t.variable(key)
		}
	}
	return whole
}

// secretFiles gives the files of a workload's container whose Secret an object makes.
func (t *trace) secretFiles(object map[string]any, workload string) *origin.Origin {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	for _, container := range t.containers(workload) {
		if strings.HasPrefix(name, workload+"-"+container+"-files") {
			return scorePath(workload, "containers."+joinPath([]string{container})+".files")
		}
	}
	return nil
}

// fileVolume gives the files of the container that a pod's volume carries.
func (t *trace) fileVolume(object map[string]any, path []string, workload, by string) *origin.Origin {
	i := slices.Index(path, "volumes")
	if i < 0 || i+1 >= len(path) || !strings.HasPrefix(by, "workload ") {
		return nil
	}
	item, _ := jsonptr.Get(object, jsonptr.Join(path[:i+2]...))
	volume, _ := item.(map[string]any)
	name, _ := volume["name"].(string)
	for _, container := range t.containers(workload) {
		if definition.Shorten("files-"+container, 63) == name {
			return scorePath(workload, "containers."+joinPath([]string{container})+".files")
		}
	}
	return nil
}

func (t *trace) containers(workload string) []string {
	all, _ := t.run.set.workloads[workload]["containers"].(map[string]any)
	return slices.Sorted(maps.Keys(all))
}
