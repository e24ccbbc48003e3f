package schema

import "testing"

// What a short process pays: reading the table, and the types of one Deployment.
func BenchmarkLoad(b *testing.B) {
	o := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main"}}}}}}
	for b.Loop() {
		t := read(text)
		v := validator{table: t}
		v.object(o, t.byKind[[2]string{"apps/v1", "Deployment"}].number, nil)
	}
}
