package render_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// What an explanation says is true: another value at the place that it names makes another leaf. It is tried for every leaf of every
// golden case that comes from a Score document, the overlay, a variable or the environment's type.
func TestAnotherValueAtTheOriginMakesAnotherLeaf(t *testing.T) {
	for name, in := range goldenInputs(t) {
		t.Run(name, func(t *testing.T) {
			resp, err := render.Explain(in, render.Options{}, "", "")
			if err != nil {
				t.Fatal(err)
			}
			tried, refused := 0, 0
			made := map[string]*trials{}
			for _, f := range resp.GetFields() {
				// What has a sentence of its own is there because of what stands at its origin, and may be a constant.
				if f.GetOrigin().GetNote() != "" || strings.HasSuffix(f.GetOrigin().GetPointer(), "/metadata/name") {
					continue
				}
				switch outcome := disturb(t, in, f, made); outcome {
				case "":
				case "changed":
					tried++
				case "refused":
					refused++
					t.Logf("no other value is taken at the origin of %s %s", f.GetObject().GetFile(), f.GetText())
				default:
					t.Errorf("%s %s\n%s: %s", f.GetObject().GetFile(), f.GetText(), outcome, f.GetOrigin())
				}
			}
			if tried == 0 || refused > tried {
				t.Errorf("%d leaves changed, for %d no other value was taken", tried, refused)
			}
		})
	}
}

// disturb puts another value at a leaf's origin and tells what becomes of the leaf: "changed", "refused" when rendering takes no other
// value there, "" when there is nothing to try, else what is wrong. made has what was rendered before, by origin.
func disturb(t *testing.T, in *rendererv1.RenderInput, f *rendererv1.FieldOrigin, made map[string]*trials) string {
	t.Helper()
	o := f.GetOrigin()
	switch o.GetSource() {
	case rendererv1.Origin_SOURCE_SCORE, rendererv1.Origin_SOURCE_SHARED_RESOURCE, rendererv1.Origin_SOURCE_OVERLAY, rendererv1.Origin_SOURCE_VARIABLE,
		rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE:
	default:
		return ""
	}
	key := o.GetSource().String() + o.GetPointer() + " " + o.GetPath()
	if made[key] == nil {
		made[key] = &trials{left: mutants(t, in, o)}
	}
	return made[key].of(f)
}

// trials are renderings with other values at one origin, made as they are needed.
type trials struct {
	left []*rendererv1.RenderInput
	made []map[string][]byte
}

func (a *trials) of(f *rendererv1.FieldOrigin) string {
	if slices.ContainsFunc(a.made, func(files map[string][]byte) bool { return changed(files, f) }) {
		return "changed"
	}
	for len(a.left) > 0 {
		out, err := render.Render(a.left[0])
		if a.left = a.left[1:]; err != nil {
			continue
		}
		a.made = append(a.made, out.GetBundle().GetFiles())
		if changed(out.GetBundle().GetFiles(), f) {
			return "changed"
		}
	}
	if len(a.made) == 0 {
		return "refused"
	}
	return "another value there changes nothing"
}

func changed(files map[string][]byte, f *rendererv1.FieldOrigin) bool {
	content, there := files[f.GetObject().GetFile()]
	if !there {
		return true
	}
	objects := manifest.Read(map[string][]byte{f.GetObject().GetFile(): content})
	if len(objects) == 0 {
		return true
	}
	o := objects[0]
	way, _, err := manifest.Find(o.Value, f.GetPath())
	if err != nil {
		return true
	}
	v, _ := jsonptr.Get(o.Value, jsonptr.Join(way...))
	return !reflect.DeepEqual(manifest.Mask(o.Ref, way, nil, v), f.GetValue().AsInterface()) || f.GetValue().GetStringValue() == manifest.Masked
}

// mutants are inputs that differ from in at an origin alone.
func mutants(t *testing.T, in *rendererv1.RenderInput, o *rendererv1.Origin) (out []*rendererv1.RenderInput) {
	t.Helper()
	add := func(change func(*rendererv1.RenderInput) bool) {
		other := proto.CloneOf(in)
		if change(other) {
			out = append(out, other)
		}
	}
	switch o.GetSource() {
	case rendererv1.Origin_SOURCE_VARIABLE:
		add(func(in *rendererv1.RenderInput) bool {
			if ref := in.GetSecretVariables()[o.GetPath()]; ref != nil {
				ref.Name, ref.Key = ref.GetName()+"x", ref.GetKey()+"x"
				return true
			}
			in.Variables[o.GetPath()] += "x"
			return true
		})
	case rendererv1.Origin_SOURCE_OVERLAY:
		for i, op := range in.GetOverlay() {
			if op.GetPath() != o.GetPath() || op.GetAction() != rendererv1.Operation_ACTION_SET {
				continue
			}
			for _, v := range disturbed(t, op.GetValue().AsInterface(), strings.TrimPrefix(o.GetPointer(), op.GetPath())) {
				add(func(in *rendererv1.RenderInput) bool { in.Overlay[i].Value = v; return true })
			}
		}
	case rendererv1.Origin_SOURCE_SCORE, rendererv1.Origin_SOURCE_SHARED_RESOURCE:
		tokens, err := jsonptr.Parse(o.GetPointer())
		if err != nil {
			t.Fatal(err)
		}
		docs := map[string]map[string]*structpb.Struct{"workloads": in.GetWorkloads(), "resources": in.GetResources()}[tokens[0]]
		for _, v := range disturbed(t, docs[tokens[1]].AsMap(), jsonptr.Join(tokens[2:]...)) {
			add(func(in *rendererv1.RenderInput) bool {
				map[string]map[string]*structpb.Struct{"workloads": in.GetWorkloads(), "resources": in.GetResources()}[tokens[0]][tokens[1]] = v.GetStructValue()
				return true
			})
		}
	case rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE:
		at := render.SplitPath(o.GetPath())
		others := disturbed(t, defaultsOf(t, in), jsonptr.Join(at...))
		if without, err := jsonptr.Apply(defaultsOf(t, in), jsonptr.Remove(jsonptr.Join(at[0]))); err == nil {
			others = append(others, protoValue(t, without)) // what is there because the type has that at all
		}
		for _, v := range others {
			add(func(in *rendererv1.RenderInput) bool {
				d := &rendererv1.EnvironmentDefaults{}
				b, err := json.Marshal(v.AsInterface())
				if err != nil || protojson.Unmarshal(b, d) != nil {
					return false
				}
				in.Defaults = d
				return true
			})
		}
	}
	return out
}

func defaultsOf(t *testing.T, in *rendererv1.RenderInput) map[string]any {
	t.Helper()
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(in.GetDefaults())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// disturbed gives values with another one at a pointer: each of several for a scalar, for anything else one without it.
func disturbed(t *testing.T, v any, pointer string) (out []*structpb.Value) {
	t.Helper()
	at, ok := jsonptr.Get(v, pointer)
	if !ok {
		if m, isMap := v.(map[string]any); isMap { // what is not written has a value all the same: false, or another port than its own
			for _, other := range []any{true, 4.0, "x", "4"} {
				next, err := jsonptr.Apply(maps.Clone(m), jsonptr.Set(pointer, other))
				if err == nil {
					out = append(out, protoValue(t, next))
				}
			}
		}
		return out
	}
	others := render.Others(at)
	switch at := at.(type) {
	case string:
		others = append(others, at+".5", "2", "UDP", "TCP", "StatefulSet", "https", "HTTPS", "healthy", "/"+at, "eHh4")
	case map[string]any:
		others = append(others, within(at)...)
	}
	if m, ok := v.(map[string]any); ok && pointer != "" { // what comes of there being something there goes with it
		if next, err := jsonptr.Apply(m, jsonptr.Remove(pointer)); err == nil {
			out = append(out, protoValue(t, next))
		}
	}
	for _, other := range others {
		if pointer == "" {
			out = append(out, protoValue(t, other))
			continue
		}
		m, isMap := v.(map[string]any)
		if !isMap {
			t.Fatalf("%s is no map", pointer)
		}
		next, err := jsonptr.Apply(m, jsonptr.Set(pointer, other))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, protoValue(t, next))
	}
	return out
}

// within gives a map with one of the values in it, at any depth, replaced by another.
func within(m map[string]any) (out []any) {
	for k, inner := range m {
		others := render.Others(inner)
		if deeper, ok := inner.(map[string]any); ok {
			others = within(deeper)
		}
		for _, other := range others {
			next := maps.Clone(m)
			next[k] = other
			out = append(out, next)
		}
	}
	return out
}

func protoValue(t *testing.T, v any) *structpb.Value {
	t.Helper()
	out, err := structpb.NewValue(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
