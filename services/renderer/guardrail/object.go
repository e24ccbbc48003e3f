package guardrail

import (
	"bytes"
	"encoding/json"
	"strings"

	"sigs.k8s.io/yaml"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/renderer/schema"
)

// words are what expressions see beside `variables`. What Kubernetes would tell of a request to create the object is told as far
// as it is known without a cluster.
func words(req *rendererv1.RenderRequest, ref *rendererv1.ObjectRef, object any) map[string]any {
	namespace := req.GetInput().GetNamespace()
	group, version, ok := strings.Cut(ref.GetApiVersion(), "/")
	if !ok {
		group, version = "", ref.GetApiVersion()
	}
	kind := map[string]any{"group": group, "version": version, "kind": ref.GetKind()}
	resource := map[string]any{"group": group, "version": version, "resource": plural(ref.GetApiVersion(), ref.GetKind())}
	return map[string]any{
		"object": object, "oldObject": nil,
		"deployment": map[string]string{
			"application": req.GetInput().GetApplication(), "environment": req.GetInput().GetEnvironment(),
			"environment_type": req.GetInput().GetEnvironmentType(), "kind": req.GetFacts().GetKind(), "actor": req.GetFacts().GetActor(),
		},
		"request": map[string]any{
			"operation": "CREATE", "name": ref.GetName(), "namespace": namespace, "dryRun": false, "subResource": "", "requestSubResource": "",
			"kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
		},
		"namespaceObject": map[string]any{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": map[string]any{"name": namespace, "labels": map[string]any{"kubernetes.io/metadata.name": namespace}},
		},
	}
}

// plural gives what rules call a kind. For kinds that are not Kubernetes' own it is made as Kubernetes' clients make it.
func plural(apiVersion, kind string) string {
	if k := schema.Find(apiVersion, kind); k != nil {
		return k.Plural
	}
	name := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(name, "s"):
		return name + "es"
	case strings.HasSuffix(name, "y"):
		return strings.TrimSuffix(name, "y") + "ies"
	}
	return name + "s"
}

// decode reads an object with whole numbers as such: CEL does not add a double to an int.
func decode(content []byte) (any, error) {
	asJSON, err := yaml.YAMLToJSON(content)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	}
	return v
}
