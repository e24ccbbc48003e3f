package score

import (
	"bytes"
	"encoding/json"
	"sync"
)

// SchemaPath is where a server has the JSON Schema, below its HTTP address.
const SchemaPath = "/schemas/score-v1b1.json"

// Schema gives the JSON Schema (draft 2020-12) of Score documents as people write them: older spellings included, since they are
// upgraded before validation. It is printed from the shapes that validation uses, so that an editor and Towpath cannot disagree. What
// a schema cannot say (references, the order of containers, ports used twice) is found when the document is loaded.
var Schema = sync.OnceValue(func() []byte {
	p := schemaPrinter{defs: map[string]any{}}
	root := p.body(documentShape)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://towpath.dev/schemas/score-v1b1.json"
	root["title"] = "Score workload " + APIVersion
	root["$defs"] = p.defs
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic("the JSON Schema is made of what has a JSON form: " + err.Error())
	}
	return out.Bytes()
})

type schemaPrinter struct {
	defs map[string]any
}

// schema gives the schema of a shape; one with a name stands in $defs once.
func (p *schemaPrinter) schema(s *shape) map[string]any {
	if s.name == "" {
		return p.body(s)
	}
	if _, known := p.defs[s.name]; !known {
		p.defs[s.name] = nil
		p.defs[s.name] = p.body(s)
	}
	return map[string]any{"$ref": "#/$defs/" + s.name}
}

func (p *schemaPrinter) body(s *shape) map[string]any {
	out := map[string]any{}
	if s.doc != "" {
		out["description"] = s.doc
	}
	if s.def != nil {
		out["default"] = s.def
	}
	switch s.kind {
	case boolShape:
		out["type"] = "boolean"
	case portShape:
		out["type"], out["minimum"], out["maximum"] = "integer", 1, 65535
	case listShape:
		out["type"], out["items"] = "array", p.schema(s.values)
		if s.least > 0 {
			out["minItems"] = s.least
		}
	case dictShape:
		out["type"], out["additionalProperties"] = "object", p.schema(s.values)
		if keys := ruleSchema(&s.keys); len(keys) > 0 {
			out["propertyNames"] = keys
		}
		if s.least > 0 {
			out["minProperties"] = s.least
		}
	case objectShape:
		p.object(out, s)
	case anyMapShape:
		out["type"] = "object"
	default:
		p.text(out, s)
	}
	return out
}

func (p *schemaPrinter) text(out map[string]any, s *shape) {
	if len(s.enum) == 1 {
		out["const"] = s.enum[0]
		return
	}
	out["type"] = "string"
	if len(s.enum) > 0 {
		out["enum"] = s.enum
		return
	}
	for k, v := range ruleSchema(&s.rule) {
		out[k] = v
	}
	if s.rule.test != nil {
		out["contentEncoding"] = "base64"
	}
}

func ruleSchema(r *rule) map[string]any {
	out := map[string]any{}
	if r.min > 0 {
		out["minLength"] = r.min
	}
	if r.max > 0 {
		out["maxLength"] = r.max
	}
	if r.pattern != nil {
		out["pattern"] = r.pattern.Source
	}
	return out
}

func (p *schemaPrinter) object(out map[string]any, s *shape) {
	out["type"] = "object"
	properties, required := map[string]any{}, []string{}
	for _, f := range s.fields {
		properties[f.name] = p.field(f)
		if f.required {
			required = append(required, f.name)
		}
		if f.formerly != "" {
			properties[f.formerly] = deprecated(p.body(f.shape), "Older spelling of "+f.name+".")
			out["not"] = map[string]any{"required": []string{f.name, f.formerly}}
		}
	}
	if out["properties"] = properties; len(required) > 0 {
		out["required"] = required
	}
	if !s.open {
		out["additionalProperties"] = false
	}
	if of := alternatives(s.exactlyOne); len(of) > 0 {
		out["oneOf"] = of
	}
	if of := alternatives(s.atLeastOne); len(of) > 0 {
		out["anyOf"] = of
	}
}

func alternatives(names []string) (out []any) {
	for _, name := range names {
		out = append(out, map[string]any{"required": []string{name}})
	}
	return out
}

// field gives the schema of a field, with its older spelling beside it.
func (p *schemaPrinter) field(f field) map[string]any {
	schema := p.schema(f.shape)
	if f.older == nil {
		return schema
	}
	out := map[string]any{"anyOf": []any{schema, deprecated(p.schema(f.older), "")}}
	if doc, ok := schema["description"]; ok {
		delete(schema, "description")
		out["description"] = doc
	}
	return out
}

func deprecated(schema map[string]any, doc string) map[string]any {
	schema["deprecated"] = true
	if doc != "" {
		schema["description"] = doc
	}
	return schema
}
