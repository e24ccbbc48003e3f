package manifest_test

import (
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

const one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

func TestAFileGivesAllItsObjectsOrNone(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                int
		refused             bool
	}{
		{"one object", "a.yaml", one, 1, false},
		{"several documents, empty ones between", "a.yml", one + "---\n---\n" + one, 2, false},
		{"JSON", "a.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, 1, false},
		{"another kind of file", "README.md", "# hello", 0, false},
		{"an empty file", "a.yaml", "", 0, false},
		{"broken YAML behind a good document", "a.yaml", one + "---\n{", 0, true},
		{"no name", "a.yaml", "apiVersion: v1\nkind: ConfigMap\n", 0, true},
		{"no mapping", "a.yaml", "- a\n- b\n", 0, true},
		{"a list object", "a.yaml", "apiVersion: v1\nkind: List\nmetadata: {name: x}\nitems: []\n", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := manifest.Parse(c.file, []byte(c.content))
			if c.refused != errs.Is(err, errs.Precondition) || (err != nil) != c.refused {
				t.Fatalf("error %v, refused wanted %t", err, c.refused)
			}
			if len(got) != c.want {
				t.Errorf("%d objects, want %d", len(got), c.want)
			}
		})
	}
}
