package manifest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// drawn makes an object with what Kubernetes' objects have: maps, keyed lists, other lists, scalars.
func drawn(t *rapid.T, label string) map[string]any {
	words := []string{"a", "b.c/d", "e", "f g", "1"}
	scalar := func(l string) any {
		switch rapid.IntRange(0, 3).Draw(t, l) {
		case 0:
			return float64(rapid.IntRange(0, 3).Draw(t, l))
		case 1:
			return rapid.Bool().Draw(t, l)
		case 2:
			return "one\ntwo\n" + rapid.SampledFrom(words).Draw(t, l)
		}
		return rapid.SampledFrom(words).Draw(t, l)
	}
	free := func(l string) map[string]any {
		out := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, l) {
			out[rapid.SampledFrom(words).Draw(t, l)] = scalar(l)
		}
		return out
	}
	keyed := func(l string, item func(name string) map[string]any) []any {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(words), 0, 4, func(s string) string { return s }).Draw(t, l)
		out := []any{}
		for _, n := range names {
			out = append(out, item(n))
		}
		return out
	}
	args := []any{}
	for range rapid.IntRange(0, 2).Draw(t, label+"args") {
		args = append(args, scalar(label+"arg"))
	}
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "api", "labels": free(label + "labels")},
		"data":     free(label + "data"),
		"spec": map[string]any{
			"replicas": scalar(label + "replicas"),
			"containers": keyed(label+"containers", func(name string) map[string]any {
				return map[string]any{"name": name, "image": scalar(label + "image"), "args": args, "env": keyed(label+"env", func(name string) map[string]any {
					return map[string]any{"name": name, "value": scalar(label + "value")}
				})}
			}),
			"ports": keyed(label+"ports", func(name string) map[string]any {
				return map[string]any{"port": float64(len(name)*100 + int(name[0])), "protocol": rapid.SampledFrom([]string{"TCP", "UDP"}).Draw(t, label), "name": name}
			}),
		},
	}
}

func file(t interface{ Fatal(...any) }, o map[string]any) map[string][]byte {
	b, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"deployment-api.yaml": b}
}

// A difference has all that makes the second of the first, and nothing of what is the same.
func TestADifferenceMakesTheSecondOfTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawn(t, "a"), drawn(t, "b")
		if diff := manifest.Compare(file(t, a), file(t, a), nil); len(diff.GetObjects()) > 0 || diff.GetText() != "" {
			t.Fatalf("an object differs from itself: %v", diff)
		}
		diff := manifest.Compare(file(t, a), file(t, b), nil)
		patched := any(a)
		for _, o := range diff.GetObjects() {
			for _, f := range o.GetFields() {
				patched = patch(t, patched, f)
			}
		}
		if d := cmp.Diff(sorted(b, ""), sorted(patched, "")); d != "" {
			t.Fatalf("the difference applied to the first is not the second (-second +patched)\n%s\n%s", d, diff.GetText())
		}
		if len(diff.GetObjects()) == 0 != reflect.DeepEqual(a, b) {
			t.Fatalf("objects %v of\n%v\n%v", diff.GetObjects(), a, b)
		}
	})
}

// patch applies one field of a difference, as a reader would.
func patch(t *rapid.T, doc any, f *rendererv1.FieldDiff) any {
	object, _ := doc.(map[string]any)
	if list, ok := strings.CutSuffix(f.GetPath(), "[]"); ok {
		way, _, err := manifest.Find(object, list)
		if err != nil {
			t.Fatal(err)
		}
		return reordered(t, object, list, way, f.GetAfter().GetListValue().AsSlice())
	}
	way, _, err := manifest.Find(object, f.GetPath())
	switch {
	case err != nil && f.GetBefore() == nil:
		return added(t, object, f)
	case err != nil:
		t.Fatalf("%s: %v", f.GetPath(), err)
	}
	op := jsonptr.Remove(jsonptr.Join(way...))
	if f.GetAfter() != nil {
		op = jsonptr.Set(jsonptr.Join(way...), f.GetAfter().AsInterface())
	}
	out, err := jsonptr.Apply(object, op)
	if err != nil {
		t.Fatalf("%s: %v", f.GetPath(), err)
	}
	return out
}

// added puts a new field or item where its path says.
func added(t *rapid.T, object map[string]any, f *rendererv1.FieldDiff) any {
	path := f.GetPath()
	cut := strings.LastIndexAny(path, ".[")
	if strings.HasSuffix(path, "]") {
		cut = strings.LastIndexByte(path, '[')
	}
	way, _, err := manifest.Find(object, path[:cut])
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	parent, _ := jsonptr.Get(object, jsonptr.Join(way...))
	pointer := jsonptr.Join(append(slices.Clone(way), strings.Trim(path[cut:], `.[]"`))...)
	value := f.GetAfter().AsInterface()
	if list, ok := parent.([]any); ok {
		pointer, value = jsonptr.Join(way...), append(slices.Clone(list), value)
	}
	out, err := jsonptr.Apply(object, jsonptr.Set(pointer, value))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return out
}

func reordered(t *rapid.T, object map[string]any, path string, way []string, order []any) any {
	var list []any
	for _, key := range order {
		at, _, err := manifest.Find(object, fmt.Sprintf("%s[%s]", path, key))
		if err != nil {
			t.Fatalf("%s[%s]: %v", path, key, err)
		}
		item, _ := jsonptr.Get(object, jsonptr.Join(at...))
		list = append(list, item)
	}
	old, _ := jsonptr.Get(object, jsonptr.Join(way...))
	for _, item := range old.([]any) {
		if !slices.ContainsFunc(list, func(x any) bool { return reflect.DeepEqual(x, item) }) {
			list = append(list, item)
		}
	}
	out, err := jsonptr.Apply(object, jsonptr.Set(jsonptr.Join(way...), list))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sorted gives a value with its keyed lists in the order of their items: where new items stand, a difference does not tell.
func sorted(v any, field string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = sorted(x, k)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			out = append(out, sorted(x, ""))
		}
		if field == "containers" || field == "env" || field == "ports" {
			slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return out
	}
	return v
}

// Every field has a path by which it is found again.
func TestAFieldIsFoundByItsPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := drawn(t, "o")
		var walk func(v any, way []string)
		walk = func(v any, way []string) {
			path := manifest.FieldPath(object, way)
			got, _, err := manifest.Find(object, path)
			if err != nil || !slices.Equal(got, way) {
				t.Fatalf("%v is %s, which is %v: %v", way, path, got, err)
			}
			switch v := v.(type) {
			case map[string]any:
				for k, x := range v {
					walk(x, append(slices.Clone(way), k))
				}
			case []any:
				for i, x := range v {
					walk(x, append(slices.Clone(way), fmt.Sprint(i)))
				}
			}
		}
		walk(object, nil)
	})
}

func TestDifferencesAreToldAsText(t *testing.T) {
	for name, tc := range map[string]struct{ before, after, want string }{
		"a scalar":                        {"spec: {replicas: 1}", "spec: {replicas: 2}", "spec.replicas: 1 -> 2\n"},
		"1 and 1.0 are the same":          {"spec: {replicas: 1, x: a}", "spec: {replicas: 1.0, x: b}", "spec.x: a -> b\n"},
		"a new variable":                  {"spec: {env: [{name: A, value: x}]}", "spec: {env: [{name: A, value: x}, {name: B, value: y}]}", "+ spec.env[name=B]: y\n"},
		"a variable that goes":            {"spec: {env: [{name: A, value: x}, {name: B, value: y}]}", "spec: {env: [{name: A, value: x}]}", "- spec.env[name=B]: y\n"},
		"an item that moves":              {"spec: {env: [{name: A}, {name: B}, {name: C}]}", "spec: {env: [{name: C}, {name: A}, {name: B}]}", "spec.env: name=C moves to the front\n"},
		"several that move":               {"spec: {env: [{name: A}, {name: B}, {name: C}]}", "spec: {env: [{name: C}, {name: B}, {name: A}]}", "spec.env: order name=A, name=B, name=C -> name=C, name=B, name=A\n"},
		"ports by number and protocol":    {"spec: {ports: [{port: 53}, {port: 53, protocol: UDP, name: a}]}", "spec: {ports: [{port: 53}, {port: 53, protocol: UDP, name: b}]}", "spec.ports[port=53,protocol=UDP].name: a -> b\n"},
		"tolerations by key and operator": {"spec: {tolerations: [{key: a, operator: Exists, effect: NoSchedule}]}", "spec: {tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]}", "+ spec.tolerations[key=a,operator=Exists,effect=NoSchedule].tolerationSeconds: 5\n"},
		"conditions by type":              {"status: {conditions: [{type: Ready, status: 'True'}]}", "status: {conditions: [{type: Ready, status: 'False'}]}", "status.conditions[type=Ready].status: True -> False\n"},
		"lines of a text": {
			"data: {app.yaml: \"a: 1\\nb: 2\\nc: 3\\nd: 4\\n\"}", "data: {app.yaml: \"a: 1\\nb: 2\\nc: 5\\nd: 4\\n\"}",
			"data[app.yaml]:\n        @@\n         b: 2\n        -c: 3\n        +c: 5\n         d: 4\n",
		},
		"JSON on one line": {
			`data: {app.json: '{"a":1,"b":[1,2]}'}`, `data: {app.json: '{"a":1,"b":[1,3]}'}`,
			"data[app.json]:\n        @@\n             1,\n        -    2\n        +    3\n           ]\n",
		},
		"a variable that is a secret by its name": {"spec: {env: [{name: DB_PASSWORD, value: hunter2}]}", "spec: {env: [{name: DB_PASSWORD, value: hunter3}]}", "spec.env[name=DB_PASSWORD].value: (secret) -> (secret)\n"},
		"a new one":                            {"spec: {env: [{name: A}]}", "spec: {env: [{name: A}, {name: DB_PASSWORD, value: hunter3}]}", "+ spec.env[name=DB_PASSWORD]: (secret)\n"},
		"a text that looks like one":           {"spec: {args: [tow_0123456789012345678901234567]}", "spec: {args: [a]}", "spec.args[0]: (secret) -> (secret)\n"},
		"kubectl's copy":                       {"metadata: {name: api, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}", "metadata: {name: api, annotations: {kubectl.kubernetes.io/last-applied-configuration: y}}", "metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]: (secret) -> (secret)\n"},
		"a data key that names a secret":       {"data: {api_key: abcdef}", "data: {api_key: ghijkl}", "data[api_key]: (secret) -> (secret)\n"},
		"control characters steer no terminal": {"spec: {a: x}", "spec: {a: \"\\e[31mred\"}", "spec.a: x -> [31mred\n"},
		"nothing becomes something":            {"spec: {a: x}", "spec: {a: x, b: {c: 1}}", "+ spec.b: {c: 1}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			head := "apiVersion: v1\nkind: Thing\n"
			if !strings.Contains(tc.before, "metadata") {
				head += "metadata: {name: api}\n"
			}
			diff := manifest.Compare(map[string][]byte{"a": []byte(head + tc.before)}, map[string][]byte{"a": []byte(head + tc.after)}, nil)
			if d := cmp.Diff("~ Thing api\n    "+tc.want, diff.GetText()); d != "" {
				t.Error(d)
			}
			if strings.Contains(diff.String(), "hunter") {
				t.Errorf("a secret is told: %v", diff)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	for _, seed := range []string{".spec.containers[0].env[LOG_LEVEL]", "metadata.labels[a.b/c]", `spec["x y"][name=a,b=c]`, "/spec/containers/0", "a..b", "[", `["`, "a[]"} {
		f.Add(seed)
	}
	object := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "a", "env": []any{map[string]any{"name": "LOG_LEVEL"}}}}, "x y": "z"}}
	f.Fuzz(func(t *testing.T, path string) {
		way, _, err := manifest.Find(object, path)
		if err != nil {
			return
		}
		again, _, err := manifest.Find(object, manifest.FieldPath(object, way))
		if err != nil || !slices.Equal(way, again) {
			t.Errorf("%q is %v, which is found as %v: %v", path, way, again, err)
		}
	})
}
