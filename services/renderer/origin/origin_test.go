package origin_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/renderer/origin"
)

func from(path string) func() *origin.Origin {
	return func() *origin.Origin { return &origin.Origin{Path: path} }
}

func TestStripGivesTheObjectAndWhereItsLeavesComeFrom(t *testing.T) {
	for name, tracer := range map[string]*origin.Tracer{"traced": {}, "not traced": nil} {
		t.Run(name, func(t *testing.T) {
			object := map[string]any{
				"kind": "Deployment",
				"spec": tracer.Mark(map[string]any{
					"replicas": tracer.Mark(2, from("replicas")),
					"args":     []any{"a", tracer.Mark(tracer.Mark("b", from("inner")), from("outer"))},
					"empty":    map[string]any{},
				}, from("spec")),
			}
			out, leaves := origin.Strip(object)
			want := map[string]any{"kind": "Deployment", "spec": map[string]any{"replicas": 2, "args": []any{"a", "b"}, "empty": map[string]any{}}}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("object (-want +got)\n%s", diff)
			}
			got := map[string]string{}
			for _, l := range leaves {
				got[strings.Join(l.Path, ".")] = l.From.GetPath()
			}
			origins := map[string]string{"kind": "", "spec.args.0": "spec", "spec.args.1": "inner", "spec.empty": "spec", "spec.replicas": "replicas"}
			if !tracer.On() {
				for k := range origins {
					origins[k] = ""
				}
			}
			if diff := cmp.Diff(origins, got); diff != "" {
				t.Errorf("origins (-want +got)\n%s", diff)
			}
		})
	}
}
