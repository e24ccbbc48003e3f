package yamlout_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/yamlout"
)

func TestMarshalWritesCanonicalOrderAndStyle(t *testing.T) {
	got, err := yamlout.Marshal(map[string]any{
		"spec": map[string]any{
			"list": []any{map[string]any{"image": "nginx:1.27", "name": "main", "args": []any{"a b", []any{"x"}}}},
			"none": map[string]any{}, "empty": []any{}, "n": float64(3), "f": 0.5, "big": 1e300, "yes": "yes",
			"num": "8080", "lines": "a\nb\n", "keep": "a\nb\n\n", "strip": "a\nb", "null": nil,
		},
		"metadata": map[string]any{"namespace": "ns", "name": "x", "annotations": map[string]any{"a.b/c": "true"}},
		"kind":     "Thing", "apiVersion": "v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: v1
kind: Thing
metadata:
  name: x
  namespace: ns
  annotations:
    a.b/c: "true"
spec:
  big: 1.0e+300
  empty: []
  f: 0.5
  keep: |+
    a
    b

  lines: |
    a
    b
  list:
  - name: main
    args:
    - "a b"
    - - x
    image: nginx:1.27
  "n": 3
  none: {}
  "null": null
  num: "8080"
  strip: |-
    a
    b
  "yes": "yes"
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMarshalRefusesWhatWouldBeAFault(t *testing.T) {
	for name, v := range map[string]any{
		"a string that is not UTF-8": "\xff", "a type without a YAML form": struct{}{}, "a typed slice": []string{"a"},
	} {
		if out, err := yamlout.Marshal(map[string]any{"k": v}); err == nil {
			t.Errorf("%s: wrote %q", name, out)
		}
	}
}

// Every document must come back unchanged from the readers of Kubernetes' tools (sigs.k8s.io/yaml, YAML 1.1 rules) and from yaml.v3.
func TestMarshalRoundTrips(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~\n\t]{0,40}`), rapid.SampledFrom([]string{
		"", "~", "null", "0x1f", "1_000", "1e3", "12:30:45", "2020-01-01", "- a", "a: b", "a:", "#c", "a #b", "!x", "&a", "*a", "%a", "@a",
		"`a`", "'a'", "\"a\"", "|", ">", "=", "<<", "a\r\nb", "a\n\n b", "\u0085", "\u2028", "---\na", "a\n---\nb", "a\n...\n", "\U0001F6A2", "\x7f",
	}))
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Map(rapid.IntRange(-1<<53, 1<<53), func(i int) any { return float64(i) }), rapid.Just[any](nil))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(l []any) any { return append([]any{}, l...) }),
			rapid.Map(rapid.MapOfN(text, value(depth-1), 0, 3), func(m map[string]any) any { return m }))
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.MapOfN(text, value(3), 0, 4).Draw(t, "document")
		out, err := yamlout.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var viaJSON map[string]any
		if err := yaml.UnmarshalStrict(out, &viaJSON); err != nil {
			t.Fatalf("sigs.k8s.io/yaml: %v\n%s", err, out)
		}
		if diff := cmp.Diff(in, viaJSON); diff != "" {
			t.Fatalf("sigs.k8s.io/yaml: %s\n%s", diff, out)
		}
		var direct yamlv3.Node
		if err := yamlv3.Unmarshal(out, &direct); err != nil {
			t.Fatalf("yaml.v3: %v\n%s", err, out)
		}
	})
}
