// Command openapi writes what the renderer must know of Kubernetes' own kinds to check objects offline: services/renderer/schema's
// kubernetes.txt, made of the OpenAPI documents of the Kubernetes module that devcluster is built of.
//
//	go run ./scripts/openapi FOLDER VERSION > services/renderer/schema/kubernetes.txt
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// node is one schema of an OpenAPI document.
type node struct {
	Ref        string          `json:"$ref"`
	Type       string          `json:"type"`
	Format     string          `json:"format"`
	AllOf      []node          `json:"allOf"`
	OneOf      []node          `json:"oneOf"`
	Items      *node           `json:"items"`
	Additional *node           `json:"additionalProperties"`
	Properties map[string]node `json:"properties"`
	Required   []string        `json:"required"`
	Default    any             `json:"default"`
	ListType   string          `json:"x-kubernetes-list-type"`
	ListKeys   []string        `json:"x-kubernetes-list-map-keys"`
	Kinds      []gvk           `json:"x-kubernetes-group-version-kind"`
}

type gvk struct{ Group, Version, Kind string }

func (g gvk) apiVersion() string { return strings.TrimPrefix(g.Group+"/"+g.Version, "/") }

type operation struct {
	Action string `json:"x-kubernetes-action"`
	Kind   gvk    `json:"x-kubernetes-group-version-kind"`
}

type openAPI struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`
}

// known are the keywords that this program understands or that say nothing about what is valid. Another one must be looked at by a
// person before it is passed over.
var known = []string{"$ref", "type", "format", "allOf", "oneOf", "items", "additionalProperties", "properties", "required", "default", "description",
	"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-group-version-kind", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key",
	"x-kubernetes-map-type", "x-kubernetes-unions"}

// resource is a kind as it is served.
type resource struct {
	gvk
	plural     string
	namespaced bool
	kept       bool // it can be written again, so that it is kept; a review or a binding is not
}

type generator struct {
	defs      map[string]node
	kinds     map[gvk]string
	resources map[gvk]*resource
	numbers   map[string]int
	order     []string
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: openapi FOLDER VERSION")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(dir, version string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no OpenAPI documents in %s", dir)
	}
	g := &generator{defs: map[string]node{}, kinds: map[gvk]string{}, resources: map[gvk]*resource{}, numbers: map[string]int{}}
	for _, file := range files {
		if err := g.read(file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return g.write(version)
}

func (g *generator) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc openAPI
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	for name, raw := range doc.Components.Schemas {
		if err := keywords(raw); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var n node
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		g.defs[name] = n
		if len(n.Kinds) == 1 {
			g.kinds[n.Kinds[0]] = name
		}
	}
	for path, methods := range doc.Paths {
		if err := g.path(path, methods); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// keywords refuses what a later Kubernetes may bring.
func keywords(raw json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	for k, v := range fields {
		if !slices.Contains(known, k) {
			return fmt.Errorf("the keyword %q is new: teach it to scripts/openapi", k)
		}
		var inner []json.RawMessage
		switch k {
		case "items", "additionalProperties":
			inner = []json.RawMessage{v}
		case "allOf", "oneOf":
			if err := json.Unmarshal(v, &inner); err != nil {
				return err
			}
		case "properties":
			var properties map[string]json.RawMessage
			if err := json.Unmarshal(v, &properties); err != nil {
				return err
			}
			inner = slices.Collect(maps.Values(properties))
		}
		for _, each := range inner {
			if err := keywords(each); err != nil {
				return err
			}
		}
	}
	return nil
}

// path learns from the API's paths which kinds there are, in which scope, and what they are called in rules.
func (g *generator) path(path string, methods map[string]json.RawMessage) error {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	skip := 3 // apis, group, version
	if parts[0] == "api" {
		skip = 2
	}
	if len(parts) <= skip || parts[skip] == "watch" {
		return nil
	}
	parts = parts[skip:]
	namespaced := len(parts) > 2 && parts[0] == "namespaces" && parts[1] == "{namespace}"
	if namespaced {
		parts = parts[2:]
	}
	if len(parts) > 2 || len(parts) == 2 && parts[1] != "{name}" {
		return nil // a subresource
	}
	for method, raw := range methods {
		if method != "post" && method != "put" {
			continue
		}
		var op operation
		if err := json.Unmarshal(raw, &op); err != nil {
			return err
		}
		r := g.resources[op.Kind]
		if r == nil {
			r = &resource{gvk: op.Kind, plural: parts[0]}
			g.resources[op.Kind] = r
		}
		r.namespaced = r.namespaced || namespaced
		r.kept = r.kept || method == "put"
	}
	return nil
}

func (g *generator) write(version string) error {
	w := bufio.NewWriter(os.Stdout)
	fmt.Fprintf(w, "# Code generated by scripts/openapi (make openapi); DO NOT EDIT.\nkubernetes %s\n", version)
	sorted := slices.SortedFunc(maps.Values(g.resources), func(a, b *resource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Version, b.Version))
	})
	for _, r := range sorted {
		scope := "cluster"
		switch {
		case !r.kept:
			scope = "none"
		case r.namespaced:
			scope = "namespaced"
		}
		name := g.kinds[r.gvk]
		if name == "" {
			return fmt.Errorf("%v has no schema", r.gvk)
		}
		number := -1
		if r.kept {
			number = g.number(name)
		}
		fmt.Fprintf(w, "%s %s %s %s %d\n", r.apiVersion(), r.Kind, r.plural, scope, number)
	}
	fmt.Fprintln(w)
	for i := 0; i < len(g.order); i++ { // writing one finds others
		line, err := g.definition(g.defs[g.order[i]])
		if err != nil {
			return fmt.Errorf("%s: %w", g.order[i], err)
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

func (g *generator) number(name string) int {
	n, ok := g.numbers[name]
	if !ok {
		n = len(g.order)
		g.numbers[name], g.order = n, append(g.order, name)
	}
	return n
}

// definition writes the fields of an object, each as name, "!" where it must be there, and type.
func (g *generator) definition(n node) (string, error) {
	fields := make([]string, 0, len(n.Properties))
	for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
		t, err := g.typ(n.Properties[name])
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if slices.Contains(n.Required, name) {
			name += "!"
		}
		fields = append(fields, name+":"+t)
	}
	return strings.Join(fields, " "), nil
}

// special are schemas that say in words what they take.
var special = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity":   "q",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString": "x",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":       "t",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":  "t",
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":   "*",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":    "*",
}

// typ writes a type: s string, b boolean, i and l integers of 32 and 64 bits, f number, t date and time, y bytes in base64,
// q quantity, x integer or string, * anything, {T a map, [T a list, <key,key=default>T a list with keys, and a number for the
// object that stands on that line.
func (g *generator) typ(n node) (string, error) {
	if len(n.AllOf) == 1 && n.Ref == "" {
		n.Ref = n.AllOf[0].Ref
	}
	switch {
	case n.Ref != "":
		return g.reference(strings.TrimPrefix(n.Ref, "#/components/schemas/"))
	case n.Type == "array":
		return g.list(n)
	case n.Type == "object" && n.Additional != nil:
		t, err := g.typ(*n.Additional)
		return "{" + t, err
	case n.Type == "object" && len(n.Properties) == 0:
		return "*", nil
	}
	if t, ok := map[string]string{"string": "s", "string/byte": "y", "string/date-time": "t", "boolean": "b", "integer/int32": "i", "integer/int64": "l", "integer": "l",
		"number/double": "f", "number": "f"}[strings.TrimSuffix(n.Type+"/"+n.Format, "/")]; ok {
		return t, nil
	}
	return "", fmt.Errorf("the type %q with format %q is new: teach it to scripts/openapi", n.Type, n.Format)
}

func (g *generator) reference(name string) (string, error) {
	if t, ok := special[name]; ok {
		return t, nil
	}
	n, ok := g.defs[name]
	switch {
	case !ok:
		return "", fmt.Errorf("there is no schema %s", name)
	case n.Type == "": // JSON and its like
		return "*", nil
	case n.Type != "object" || n.Additional != nil:
		return g.typ(n)
	}
	return strconv.Itoa(g.number(name)), nil
}

func (g *generator) list(n node) (string, error) {
	if n.Items == nil {
		return "", errors.New("a list without items")
	}
	t, err := g.typ(*n.Items)
	if err != nil || n.ListType != "map" {
		return "[" + t, err
	}
	items := *n.Items
	if len(items.AllOf) == 1 {
		items.Ref = items.AllOf[0].Ref
	}
	element := g.defs[strings.TrimPrefix(items.Ref, "#/components/schemas/")]
	keys := slices.Clone(n.ListKeys)
	for i, k := range keys {
		if d, ok := element.Properties[k].Default.(string); ok && d != "" {
			keys[i] = k + "=" + d
		}
	}
	return "<" + strings.Join(keys, ",") + ">" + t, nil
}
