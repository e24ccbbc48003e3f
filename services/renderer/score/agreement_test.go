package score

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

// The JSON Schema that editors use and validation judge alike: documents made of the shapes, right ones and ones that were changed
// in up to three places, are right for both or wrong for both.
func TestSchemaAndValidationAgree(t *testing.T) {
	schema := compiledSchema(t)
	right, wrong := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		doc := example(t, documentShape)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			doc = changed(t, doc)
		}
		agree(t, schema, doc, &right, &wrong)
	})
	if right == 0 || wrong == 0 {
		t.Errorf("%d documents were right, %d wrong: want both", right, wrong)
	}
}

// The same for documents on the edge, each written by hand.
func TestSchemaAndValidationAgreeOnTheEdge(t *testing.T) {
	schema := compiledSchema(t)
	label62, label63, label64 := strings.Repeat("a", 62), strings.Repeat("a", 63), strings.Repeat("a", 64)
	right, wrong := 0, 0
	values := map[string][]string{
		"apiVersion":    {`score.dev/v1b1`, `score.dev/v1`, `""`, `1`, `null`},
		"metadata.name": {`ab`, `a`, `""`, label63, label64, `A1`, `-a`, `a-`, `a--b`, `a.b`, `a_b`, `"10"`, `10`, `"a\n"`},
		"metadata.annotations": {`{ab: x}`, `{a: x}`, `{ab.c/d: x}`, `{ab/cd: x}`, `{a/cd: x}`, `{ab.cd/ef: x}`, `{ab./cd: x}`, `{Ab/cd: x}`, `{A_b.c: x}`, `{a/b/cd: x}`, `{"": x}`, `{ab: 1}`, `[]`, `null`,
			`{` + label63 + `: x}`, `{` + label64 + `: x}`, `{` + strings.Join([]string{label63, label63, label63, label62}, ".") + `/` + label63 + `: x}`,
			`{` + strings.Join([]string{label63, label63, label63, label63}, ".") + `/` + label63 + `: x}`},
		"metadata.anything":                                  {`1`, `null`, `{a: [b]}`},
		"service":                                            {`{}`, `{ports: {}}`, `{port: {}}`, `null`, `[]`},
		"service.ports.http":                                 {`{port: 1}`, `{port: 65535}`, `{port: 0}`, `{port: 65536}`, `{port: 80.0}`, `{port: 80.5}`, `{port: "80"}`, `{port: null}`, `{}`, `{port: 80, name: x}`},
		"service.ports.h":                                    {`{port: 1}`},
		"service.ports.http.protocol":                        {`TCP`, `UDP`, `tcp`, `SCTP`, `1`, `null`},
		"service.ports.http.targetPort":                      {`1`, `65535`, `0`, `65536`, `http`},
		"containers":                                         {`{}`, `null`, `[]`, `{m: {image: x}}`, `{Main: {image: x}}`},
		"containers.main":                                    {`{}`, `null`, `{image: x, imagee: y}`},
		"containers.main.image":                              {`x`, `.`, `""`, `1`},
		"containers.main.command":                            {`[]`, `[a]`, `[1]`, `a`, `[null]`},
		"containers.main.args":                               {`[]`, `["a b"]`, `[true]`, `{}`},
		"containers.main.variables":                          {`{}`, `{A: ""}`, `{A: 1}`, `{A=B: x}`, `{"": x}`, `{"a b": x}`, `[]`},
		"containers.main.files":                              {`{}`, `[]`, `[{target: /a, content: x}]`, `[{content: x}]`, `[{target: "", content: x}]`, `[x]`, `[{target: /a, content: x, target2: y}]`, `x`},
		"containers.main.files./a":                           {`{content: x}`, `{content: [a, b]}`, `{content: []}`, `{content: [1]}`, `{}`, `{content: x, source: y}`, `{noExpand: true}`, `{content: x, noExpand: 1}`, `{source: a/b}`, `{source: /a}`, `{source: ""}`, `{binaryContent: aGk=}`, `{binaryContent: aGk}`, `{binaryContent: "aG\nk="}`, `{binaryContent: a-_=}`, `{binaryContent: ""}`, `{binaryContent: " "}`},
		"containers.main.files./a.mode":                      {`"644"`, `"0644"`, `"00644"`, `"064"`, `"888"`, `644`, `0644`, `"64"`},
		"containers.main.volumes":                            {`{}`, `[]`, `[{target: /a, source: x}]`, `[{target: /a}]`, `[{target: /a, source: x, read_only: true}]`},
		"containers.main.volumes./v":                         {`{source: x}`, `{}`, `{source: ""}`, `{source: x, path: 1}`, `{source: x, readOnly: true}`, `{source: x, read_only: true}`, `{source: x, read_only: 1}`, `{source: x, readOnly: true, read_only: true}`},
		"containers.main.resources":                          {`{}`, `{limits: {}}`, `{limit: {}}`, `{requests: {gpu: "1"}}`, `null`},
		"containers.main.resources.limits.memory":            {`"1"`, `"0"`, `"0.5"`, `1K`, `1Ki`, `1k`, `1.5Gi`, `1.5.5Gi`, `01Mi`, `0.Mi`, `.5Mi`, `1EiB`, `1Pi`, `1`, `10Zi`},
		"containers.main.resources.requests.cpu":             {`"1"`, `"0"`, `100m`, `"0.5"`, `1.5m`, `"1."`, `".5"`, `1`, `1 m`},
		"containers.main.livenessProbe":                      {`{}`, `{exec: {command: [x]}}`, `{exec: {command: []}}`, `{exec: {}}`, `{exec: {command: [x]}, httpGet: {path: /, port: 1}}`, `{tcpSocket: {}}`},
		"containers.main.readinessProbe.httpGet":             {`{path: /, port: 1}`, `{path: /}`, `{port: 1}`, `{path: "", port: 1}`, `{path: /, port: http}`, `{path: /, port: 1, host: ""}`, `{path: /, port: 1, host: h, scheme: HTTPS}`, `{path: /, port: 1, scheme: https}`, `{path: /, port: 1, timeout: 1}`},
		"containers.main.readinessProbe.httpGet.httpHeaders": {`[]`, `[{name: a, value: b}]`, `[{name: a}]`, `[{value: a}]`, `[{name: "a b", value: c}]`, `[{name: "", value: c}]`, `[{name: A_-9, value: ""}]`, `[{name: a, value: b, x: c}]`, `{}`},
		"containers.main.before":                             {`{}`, `{other: {ready: started}}`, `{other: {ready: healthy}}`, `{other: {ready: complete}}`, `{other: {ready: soon}}`, `{other: {}}`, `{other: {ready: started, x: 1}}`, `[]`},
		"resources":                                          {`{}`, `{d: {type: dns}}`, `{DB: {type: dns}}`, `[]`},
		"resources.db":                                       {`{}`, `null`, `{type: dns, properties: {}}`},
		"resources.db.type":                                  {`dns`, `Dns-2`, `d`, `-d`, `d-`, `a_b`, `a.b`, label63, label64, `1`},
		"resources.db.class":                                 {`large`, `L`, `Large-2`, `""`, `-x`},
		"resources.db.id":                                    {`ab`, `a.b`, `a--b.c-d.e1`, `a..b`, `a-.b`, `A.b`, `a`, `a_b`, label63, label64},
		"resources.db.metadata":                              {`{}`, `{annotations: {ab: x}}`, `{annotations: {ab: 1}}`, `{annotations: {a: x}}`, `{x: 1}`, `x`},
		"resources.db.params":                                {`{}`, `{a: [{b: null}]}`, `[]`, `null`},
	}
	for where, texts := range values {
		for _, text := range texts {
			t.Run(where+"="+text, func(t *testing.T) {
				doc := fromPlain(map[string]any{"apiVersion": APIVersion, "metadata": map[string]any{"name": "ab"},
					"containers": map[string]any{"main": map[string]any{"image": "x"}}}, pos{})
				if strings.HasPrefix(where, "resources.db.") {
					doc = put(t, doc, "resources.db.type", "dns")
				}
				if strings.HasPrefix(where, "service.ports.http.") {
					doc = put(t, doc, "service.ports.http.port", 80.0)
				}
				var value any
				if err := yaml.Unmarshal([]byte(text), &value); err != nil {
					t.Fatal(err)
				}
				agree(t, schema, put(t, doc, where, value).plain(), &right, &wrong)
			})
		}
	}
	if right < 80 || wrong < 100 {
		t.Errorf("%d documents were right, %d wrong", right, wrong)
	}
}

func put(t *testing.T, doc *node, where string, value any) *node {
	t.Helper()
	steps, _, _ := cutProperty(where + "=")
	next, problem := property{steps: steps, value: fromPlain(value, pos{})}.apply(doc, 0)
	if problem != "" {
		t.Fatal(problem)
	}
	return next
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func agree(t failer, schema *jsonschema.Schema, doc any, right, wrong *int) {
	t.Helper()
	bySchema := schema.Validate(doc)
	var p problems
	n := fromPlain(doc, pos{file: "doc"})
	upgrade(n, &p)
	checker{&p}.shape(n, documentShape, "")
	if (bySchema == nil) != (len(p.found) == 0) {
		t.Fatalf("the schema says %v, validation says %v of %#v", bySchema, p.fields(), doc)
	}
	if bySchema == nil {
		*right++
	} else {
		*wrong++
	}
}

// example makes a value of a shape, sometimes with the older spelling.
func example(t *rapid.T, s *shape) any {
	switch s.kind {
	case boolShape:
		return rapid.Bool().Draw(t, "flag")
	case portShape:
		return float64(rapid.IntRange(1, 65535).Draw(t, "port"))
	case listShape:
		out := []any{}
		for range rapid.IntRange(s.least, 2).Draw(t, "items") {
			out = append(out, example(t, s.values))
		}
		return out
	case dictShape:
		out := map[string]any{}
		for len(out) < max(s.least, rapid.IntRange(0, 2).Draw(t, "entries")) {
			out[exampleText(t, &s.keys)] = example(t, s.values)
		}
		return out
	case objectShape:
		return exampleObject(t, s)
	case anyMapShape:
		return map[string]any{"a": []any{1.0, nil, "x"}}
	}
	if len(s.enum) > 0 {
		return rapid.SampledFrom(s.enum).Draw(t, "enum")
	}
	return exampleText(t, &s.rule)
}

func exampleText(t *rapid.T, r *rule) string {
	if r.pattern == nil {
		return rapid.StringN(max(r.min, 1), 8, -1).Draw(t, "text")
	}
	return rapid.StringMatching(r.pattern.Source).Filter(func(s string) bool { return len(s) <= max(r.max, 20) }).Draw(t, "text")
}

func exampleObject(t *rapid.T, s *shape) any {
	out := map[string]any{}
	one := ""
	if of := slices.Concat(s.exactlyOne, s.atLeastOne); len(of) > 0 {
		one = rapid.SampledFrom(of).Draw(t, "one")
	}
	for _, f := range s.fields {
		if !f.required && f.name != one && (slices.Contains(s.exactlyOne, f.name) || rapid.IntRange(0, 3).Draw(t, f.name) > 0) {
			continue
		}
		name, is := f.name, f.shape
		if f.older != nil && f.older.values.kind != objectShape && rapid.Bool().Draw(t, "older") {
			is = f.older // lists of files and volumes may name a target twice, which no schema sees
		}
		if f.formerly != "" && rapid.Bool().Draw(t, "formerly") {
			name = f.formerly
		}
		out[name] = example(t, is)
	}
	return out
}

// changed gives the document with one place of it changed.
func changed(t *rapid.T, v any) any {
	odd := rapid.SampledFrom([]any{nil, "", "x", "X y", "a=b", 0.0, 1.5, 70000.0, true, map[string]any{}, []any{}, []any{"a"}, []any{1.0}, map[string]any{"content": "x"}})
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		keys := append(slices.Sorted(maps.Keys(v)), "new")
		key := rapid.SampledFrom(keys).Draw(t, "key")
		switch action := rapid.IntRange(0, 7).Draw(t, "action"); {
		case action == 0:
			delete(out, key)
		case action == 1:
			out[rapid.SampledFrom([]string{"content", "source", "image", "readOnly", "read_only", "exec", "x", "A b", ""}).Draw(t, "name")] = odd.Draw(t, "odd")
		case action == 2 || out[key] == nil:
			out[key] = odd.Draw(t, "odd")
		default:
			out[key] = changed(t, out[key])
		}
		return out
	case []any:
		if len(v) == 0 || rapid.Bool().Draw(t, "here") {
			return append(slices.Clone(v), odd.Draw(t, "odd"))
		}
		out := slices.Clone(v)
		i := rapid.IntRange(0, len(v)-1).Draw(t, "index")
		out[i] = changed(t, out[i])
		return out
	case string:
		return rapid.OneOf(odd, rapid.Just(any(v+"-")), rapid.Just(any(strings.ToUpper(v))), rapid.Just(any(fmt.Sprint(v, v, v)))).Draw(t, "text")
	default:
		return odd.Draw(t, "odd")
	}
}
