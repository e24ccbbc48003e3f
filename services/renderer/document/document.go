// Package document reads what people write in YAML files into the renderer's messages: resource definitions and guardrails. The
// files have the API's fields with two comforts: enum values may be short and in lower case (driver: template), and field names
// may be written with underscores.
package document

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Definition reads a resource definition. Its name is given by the catalog, so that a file cannot have one.
func Definition(text []byte) (*rendererv1.ResourceDefinition, error) {
	d, at, err := WithArchive(text)
	if err == nil && at != "" {
		err = errs.InvalidField("archive", "is not part of a definition here; it is sent beside it")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Guardrails reads a list of guardrails. An empty file is none.
func Guardrails(text []byte) ([]*rendererv1.Guardrail, error) {
	if strings.TrimSpace(string(text)) == "" {
		return nil, nil
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, notYAML(err)
	}
	var entries []map[string]any
	if err := json.Unmarshal(asJSON, &entries); err != nil {
		return nil, errs.InvalidField("guardrails", "is not a list of guardrails, each with name, expression, message and enforcement")
	}
	var out []*rendererv1.Guardrail
	for i, fields := range entries {
		g := &rendererv1.Guardrail{}
		if err := fill(g, fields, fmt.Sprintf("guardrails[%d].", i)); err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

func object(text []byte) (map[string]any, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, notYAML(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(asJSON, &fields); err != nil || fields == nil {
		return nil, errs.InvalidField("file", "is not a map of type, driver and inputs, as docs/definitions.md tells")
	}
	return fields, nil
}

func notYAML(err error) error {
	return errs.InvalidField("file", "is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

// fill reads fields into a message. Unknown ones and wrong types are named; enums are written out first.
func fill(m protoreflect.ProtoMessage, fields map[string]any, prefix string) error {
	known := m.ProtoReflect().Descriptor().Fields()
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		fd := known.ByName(protoreflect.Name(key))
		if fd == nil {
			fd = known.ByJSONName(key)
		}
		if fd == nil {
			return errs.InvalidField(prefix+key, "is not known; there are %s", names(known))
		}
		if fd.Enum() != nil {
			word, ok := fields[key].(string)
			value, found := enumValue(fd.Enum(), word)
			if !ok || !found {
				return errs.InvalidField(prefix+key, "is not one of %s", words(fd.Enum()))
			}
			fields[key] = value
		}
		one, err := json.Marshal(map[string]any{key: fields[key]})
		if err != nil {
			return errs.InvalidField(prefix+key, "cannot be read").Because(err)
		}
		part := m.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(one, part); err != nil {
			return errs.InvalidField(prefix+key, "%s", plain(err))
		}
		if part.ProtoReflect().Has(fd) {
			m.ProtoReflect().Set(fd, part.ProtoReflect().Get(fd))
		}
	}
	return nil
}

// plain takes the position off an error of protojson: it is one in our own JSON, which nobody sees.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	if i := strings.Index(text, "): "); i >= 0 {
		text = text[i+len("): "):]
	}
	return "is not what belongs here: " + strings.TrimPrefix(text, "proto: ")
}

// enumValue finds a value by its name, or by the end of it in lower case: DRIVER_TEMPLATE and template.
func enumValue(e protoreflect.EnumDescriptor, word string) (string, bool) {
	for i := 1; i < e.Values().Len(); i++ { // the first is "unspecified"
		name := string(e.Values().Get(i).Name())
		if word == name || word == short(e, name) {
			return name, true
		}
	}
	return "", false
}

func short(e protoreflect.EnumDescriptor, name string) string {
	return strings.ToLower(strings.TrimPrefix(name, strings.ToUpper(string(e.Name()))+"_"))
}

func words(e protoreflect.EnumDescriptor) string {
	var out []string
	for i := 1; i < e.Values().Len(); i++ {
		out = append(out, short(e, string(e.Values().Get(i).Name())))
	}
	return strings.Join(out, ", ")
}

func names(fields protoreflect.FieldDescriptors) string {
	var out []string
	for i := range fields.Len() {
		if n := string(fields.Get(i).Name()); n != "name" || fields.Len() < 6 {
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}
