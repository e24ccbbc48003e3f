// Package manifest reads Kubernetes objects as people do: it names their fields, compares two bundles by object and field, masks
// what is secret, and says all of that as text. Plans, deployments, explanations and the CLI use it, so that a field has one name
// and a difference one form wherever it is shown.
//
// It is pure, and knows nothing of where objects come from. Objects are JSON values: what it is given may be anything that somebody
// put into a repository.
package manifest

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

// Object is one object of a file.
type Object struct {
	Ref *rendererv1.ObjectRef
	// Value is the object as JSON has it.
	Value map[string]any
}

// ID tells objects apart as the API server does within a namespace. The version is no part of it: an object that is written in
// another version is the same object.
func (o Object) ID() string {
	group, _, _ := strings.Cut(o.Ref.GetApiVersion(), "/")
	if !strings.Contains(o.Ref.GetApiVersion(), "/") {
		group = ""
	}
	return o.Ref.GetKind() + "\x00" + o.Ref.GetName() + "\x00" + group
}

// Read gives the objects of files, in the order of paths. What is no object is left out: somebody may have put anything into a
// folder, and the difference of files shows it.
func Read(files map[string][]byte) []Object {
	var out []Object
	for _, path := range slices.Sorted(maps.Keys(files)) {
		docs, err := documents(files[path])
		if err != nil {
			continue
		}
		for _, doc := range docs {
			var v any
			if doc.Decode(&v) != nil {
				continue
			}
			m, _ := Plain(v).(map[string]any)
			meta, _ := m["metadata"].(map[string]any)
			ref := &rendererv1.ObjectRef{ApiVersion: text(m["apiVersion"]), Kind: text(m["kind"]), Name: text(meta["name"]), File: path}
			if ref.GetApiVersion() != "" && ref.GetKind() != "" && ref.GetName() != "" {
				out = append(out, Object{Ref: ref, Value: m})
			}
		}
	}
	return out
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func documents(content []byte) ([]*yaml.Node, error) {
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

// Plain gives a value as JSON has it: maps with text keys, numbers as float64, so that 1 and 1.0 are the same.
func Plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = Plain(e)
		}
		return out
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[fmt.Sprint(k)] = Plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Plain(e)
		}
		return out
	case int:
		return float64(v)
	case int32:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case float32:
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
