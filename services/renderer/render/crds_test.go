package render_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func gvkOf(ref *rendererv1.ObjectRef) *schema.GroupVersionKind {
	gvk := schema.FromAPIVersionAndKind(ref.GetApiVersion(), ref.GetKind())
	return &gvk
}

// customSchemas are the schemas of the custom resources of all cases (testdata/<case>/crds), by version and kind.
var customSchemas = sync.OnceValues(func() (map[string]map[string]any, error) {
	out := map[string]map[string]any{}
	paths, err := filepath.Glob("testdata/*/crds/*.yaml")
	for _, path := range paths {
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(text, &crd)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, v := range crd.Spec.Versions {
			out[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = v.Schema.OpenAPIV3Schema
		}
	}
	return out, err
})

// checkCustom checks a custom resource by the definition that its case brings along: no field that the definition does not know.
func checkCustom(t *testing.T, file string, content []byte) runtime.Object {
	t.Helper()
	schemas, err := customSchemas()
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(content, &o.Object); err != nil {
		t.Fatal(err)
	}
	s := schemas[o.GetAPIVersion()+" "+o.GetKind()]
	if s == nil {
		t.Errorf("%s: no case has a definition of %s %s under crds", file, o.GetAPIVersion(), o.GetKind())
		return o
	}
	for _, problem := range violations(s, o.Object, "") {
		if !strings.HasPrefix(problem, ".metadata") {
			t.Errorf("%s: %s", file, problem)
		}
	}
	return o
}

// violations checks a value by as much of OpenAPI as the definitions under testdata use.
func violations(s map[string]any, v any, path string) (out []string) {
	say := func(format string, args ...any) { out = append(out, path+" "+fmt.Sprintf(format, args...)) }
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		say("is %v, which is none of %v", v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		more, open := s["additionalProperties"].(map[string]any)
		for k, x := range v {
			switch p, known := properties[k].(map[string]any); {
			case known:
				out = append(out, violations(p, x, path+"."+k)...)
			case open:
				out = append(out, violations(more, x, path+"."+k)...)
			default:
				out = append(out, path+"."+k+" is not known")
			}
		}
		required, _ := s["required"].([]any)
		for _, k := range required {
			if _, ok := v[k.(string)]; !ok {
				say("lacks %v", k)
			}
		}
		if limit, ok := s["maxProperties"].(float64); ok && len(v) > int(limit) {
			say("has %d fields", len(v))
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for i, x := range v {
			out = append(out, violations(items, x, fmt.Sprintf("%s[%d]", path, i))...)
		}
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			say("%q does not match %s", v, pattern)
		}
	}
	if want := map[string]string{"map[string]interface {}": "object", "[]interface {}": "array", "string": "string", "bool": "boolean", "float64": "integer"}[fmt.Sprintf("%T", v)]; want != s["type"] {
		say("is %s, want %v", want, s["type"])
	}
	return out
}
