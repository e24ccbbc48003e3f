package manifest

import (
	"bytes"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// Masked stands for a secret value wherever people look at objects.
const Masked = "(secret)"

// lastApplied is the copy of a whole object that kubectl keeps in an annotation.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// secretParts are the fields of a Secret that hold its values.
var secretParts = []string{"data", "stringData"}

func isSecret(ref *rendererv1.ObjectRef) bool {
	return ref.GetKind() == "Secret" && ref.GetApiVersion() == "v1"
}

// Mask gives the value of an object's field as it may be shown. path are the keys and indexes on the way to the field; parent is
// what holds it, whose name a variable's value is judged by. The values of a Secret are masked whatever they are, others where they
// look like a credential.
func Mask(ref *rendererv1.ObjectRef, path []string, parent, v any) any {
	m := masker{secret: isSecret(ref)}
	return m.mask(path, parent, v)
}

type masker struct{ secret bool }

func (m masker) mask(path []string, parent, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if m.hides(path) && len(path) > 1 {
			return Masked
		}
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = m.mask(append(path[:len(path):len(path)], k), v, e)
		}
		return out
	case []any:
		if m.hides(path) {
			return Masked
		}
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = m.mask(append(path[:len(path):len(path)], "0"), v, e)
		}
		return out
	case string:
		name := nameOf(path, parent)
		if strings.HasPrefix(v, "$(") { // another variable carries it
			name = ""
		}
		if m.hides(path) || secrets.LooksNamed(name, v) != "" {
			return Masked
		}
		return v
	default:
		if m.hides(path) {
			return Masked
		}
		return v
	}
}

// hides reports whether what stands at a path is a secret whatever it is.
func (m masker) hides(path []string) bool {
	if len(path) == 3 && path[0] == "metadata" && path[1] == "annotations" && path[2] == lastApplied {
		return true
	}
	return m.secret && len(path) > 0 && (path[0] == secretParts[0] || path[0] == secretParts[1])
}

// nameOf gives the name by which a text is judged: the variable's for the value of one, else the last key.
func nameOf(path []string, parent any) string {
	if len(path) == 0 {
		return ""
	}
	last := path[len(path)-1]
	if m, ok := parent.(map[string]any); ok && last == "value" {
		if name, ok := m["name"].(string); ok {
			return name
		}
	}
	switch last {
	case "key", "secretKey", "name": // they name secrets and are none
		return ""
	}
	if len(path) > 1 && path[len(path)-2] != "data" && last != "value" {
		return "" // a field of Kubernetes, such as spec.secretName, is not called what it holds
	}
	return last
}

// MaskFile gives a file as it may be shown: the values of Secrets are masked, so that a line of them never differs; Compare tells
// which did. Other files are given as they are.
func MaskFile(content []byte) []byte {
	if !bytes.Contains(content, []byte("Secret")) && !bytes.Contains(content, []byte(lastApplied)) {
		return content
	}
	docs, err := documents(content)
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

// maskDocument masks the values of a Secret, and kubectl's copy in any object, in place.
func maskDocument(doc *yaml.Node) bool {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return false
	}
	root := doc.Content[0]
	masked := false
	if v := child(child(child(root, "metadata"), "annotations"), lastApplied); v != nil {
		*v, masked = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Masked}, true
	}
	if v := child(root, "kind"); v == nil || v.Value != "Secret" {
		return masked
	}
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
	return masked
}

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

// clipped gives a text that fits into an answer.
func clipped(s string, limit int, more string) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + more
}
