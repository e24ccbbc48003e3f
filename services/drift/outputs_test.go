package drift

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestOutputsAreReadWhenAllAreThere(t *testing.T) {
	object := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"example.org/zone": "b"}},
		"spec":     map[string]any{"connection": map[string]any{"name": "conn"}},
		"status":   map[string]any{"host": "db", "ports": []any{int64(5432), int64(5433)}, "empty": ""},
	}
	ref := func(outputs map[string]string, name string) *rendererv1.ClaimRef {
		c := &rendererv1.ClaimRef{Resource: "db.default#x", Outputs: outputs, SecretName: name}
		if name != "" {
			c.SecretOutputs = map[string]string{"password": "password"}
		}
		return c
	}
	for name, tc := range map[string]struct {
		ref    *rendererv1.ClaimRef
		values map[string]any
		secret string
	}{
		"fields, indexes and keys in brackets": {
			ref(map[string]string{"host": "status.host", "port": "status.ports[1]", "zone": "metadata.annotations['example.org/zone']"}, ""),
			map[string]any{"host": "db", "port": 5433, "zone": "b"}, "",
		},
		"a Secret's name by its path": {ref(nil, "spec.connection.name"), map[string]any{}, "conn"},
		"a Secret's name itself":      {ref(nil, "=other"), map[string]any{}, "other"},
		"a field that is not there":   {ref(map[string]string{"x": "status.x"}, ""), nil, ""},
		"an index beyond the list":    {ref(map[string]string{"x": "status.ports[2]"}, ""), nil, ""},
		"a step into a text":          {ref(map[string]string{"x": "status.host.x"}, ""), nil, ""},
		"an empty text":               {ref(map[string]string{"x": "status.empty"}, ""), nil, ""},
		"no name of the Secret yet":   {ref(nil, "status.secret"), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want *rendererv1.ResourceOutputs
			if tc.values != nil {
				s, err := structpb.NewStruct(tc.values)
				if err != nil {
					t.Fatal(err)
				}
				want = &rendererv1.ResourceOutputs{Resource: "db.default#x", Values: s}
			}
			got, secret := readOutputs(&unstructured.Unstructured{Object: object}, tc.ref)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || secret != tc.secret {
				t.Errorf("secret %q, outputs %s", secret, diff)
			}
		})
	}
}
