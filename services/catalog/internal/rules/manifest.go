package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Masked stands for a secret value wherever people look at differences.
const Masked = "(secret)"

// manifest is one object of a file.
type manifest struct {
	ref   *rendererv1.ObjectRef
	value map[string]any
}

// id tells objects apart as the API server does within a namespace. The version is no part of it: an object that is written in
// another version is the same object.
func (m manifest) id() string {
	group, _, _ := strings.Cut(m.ref.GetApiVersion(), "/")
	if !strings.Contains(m.ref.GetApiVersion(), "/") {
		group = ""
	}
	return m.ref.GetKind() + "\x00" + m.ref.GetName() + "\x00" + group
}

// manifests reads the objects of files, in the order of paths. What is no object is left out: somebody may have put anything
// into a folder, and the difference of files shows it.
func manifests(files map[string][]byte) []manifest {
	var out []manifest
	for _, path := range slices.Sorted(maps.Keys(files)) {
		docs, err := yamlDocuments(files[path])
		if err != nil {
			continue
		}
		for _, doc := range docs {
			var v any
			if doc.Decode(&v) != nil {
				continue
			}
			m, _ := plainJSON(v).(map[string]any)
			meta, _ := m["metadata"].(map[string]any)
			ref := &rendererv1.ObjectRef{ApiVersion: text(m["apiVersion"]), Kind: text(m["kind"]), Name: text(meta["name"]), File: path}
			if ref.GetApiVersion() != "" && ref.GetKind() != "" && ref.GetName() != "" {
				out = append(out, manifest{ref: ref, value: m})
			}
		}
	}
	return out
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func yamlDocuments(content []byte) ([]*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	var out []*yaml.Node
	for {
		n := &yaml.Node{}
		err := d.Decode(n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read YAML: %w", err)
		}
		out = append(out, n)
	}
}

// plainJSON gives a YAML value as JSON has it: maps with text keys, numbers as float64.
func plainJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plainJSON(e)
		}
		return out
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[fmt.Sprint(k)] = plainJSON(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plainJSON(e)
		}
		return out
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case string:
		return strings.ToValidUTF8(v, "�")
	case nil, bool, float64:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// secretParts are the fields of a Secret that hold its values.
var secretParts = []string{"data", "stringData"}

func isSecret(ref *rendererv1.ObjectRef) bool {
	return ref.GetKind() == "Secret" && ref.GetApiVersion() == "v1"
}

// MaskFile gives a file as it may be shown: the values of Secrets are masked, so that a line of them never differs; FieldChange
// tells which did. Other files are given as they are.
func MaskFile(content []byte) []byte {
	if !bytes.Contains(content, []byte("Secret")) {
		return content
	}
	docs, err := yamlDocuments(content)
	if err != nil { // nobody can tell what is a value in it
		return []byte(Masked + "\n")
	}
	masked := false
	for _, doc := range docs {
		masked = maskDocument(doc) || masked
	}
	if !masked {
		return content
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, doc := range docs {
		if e.Encode(doc) != nil {
			return []byte(Masked + "\n")
		}
	}
	return b.Bytes()
}

// maskDocument masks the document in place if it is a Secret.
func maskDocument(doc *yaml.Node) bool {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return false
	}
	root := doc.Content[0]
	if v := child(root, "kind"); v == nil || v.Value != "Secret" {
		return false
	}
	masked := false
	for _, part := range secretParts {
		values := child(root, part)
		if values == nil {
			continue
		}
		masked = true
		if values.Kind != yaml.MappingNode {
			*values = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Masked}
			continue
		}
		for i := 1; i < len(values.Content); i += 2 {
			values.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Masked}
		}
	}
	if v := child(root, "metadata"); v != nil && masked {
		maskLastApplied(v)
	}
	return masked
}

// maskLastApplied takes away the copy of a whole object that kubectl keeps in an annotation.
func maskLastApplied(metadata *yaml.Node) {
	if v := child(child(metadata, "annotations"), lastApplied); v != nil {
		*v = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Masked}
	}
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
