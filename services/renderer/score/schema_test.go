package score

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "schema/score-v1b1.schema.json"

// The file is for those who want the schema from the repository. UPDATE=1 writes it.
func TestTheSchemaFileIsTheSchema(t *testing.T) {
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(Schema())); diff != "" {
		t.Errorf("%s is old; write it with UPDATE=1:\n%s", schemaFile, diff)
	}
}

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("score.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("score.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An editor explains what it completes: every property has a description.
func TestTheSchemaDescribesEveryField(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	root := doc.(map[string]any)
	fields := 0
	var walk func(v any, where string)
	described := func(v any) bool {
		m, _ := v.(map[string]any)
		if m["description"] != nil {
			return true
		}
		ref, _ := m["$ref"].(string)
		def, _ := root["$defs"].(map[string]any)[lastPart(ref)].(map[string]any)
		return def["description"] != nil
	}
	walk = func(v any, where string) {
		switch v := v.(type) {
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for name, p := range properties {
					if fields++; !described(p) {
						t.Errorf("%s.%s has no description", where, name)
					}
				}
			}
			for k, e := range v {
				walk(e, where+"."+k)
			}
		case []any:
			for _, e := range v {
				walk(e, where)
			}
		}
	}
	walk(root, "")
	if fields < 50 {
		t.Errorf("only %d fields were found", fields)
	}
}

func lastPart(ref string) string {
	return ref[bytes.LastIndexByte([]byte(ref), '/')+1:]
}
