package schema_test

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/schema"
)

// goldens are the objects that rendering is known to make.
func goldens(t testing.TB) (out []map[string]any) {
	t.Helper()
	for _, pattern := range []string{"../render/testdata/*/golden/*.yaml", "../render/testdata/*.golden/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var o map[string]any
			if err := yaml.Unmarshal(text, &o); err != nil {
				t.Fatal(err)
			}
			out = append(out, o)
		}
	}
	return out
}

func BenchmarkValidate(b *testing.B) {
	objects := goldens(b)
	for i := 0; b.Loop(); i++ {
		if problems := schema.Validate(objects[i%len(objects)]); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
