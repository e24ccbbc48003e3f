package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
)

const deploymentYAML = `apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop-dev}
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: main
        image: api:1
        env: [{name: LEVEL, value: info}, {name: URL, value: "http://db/x"}]
        args: [a, b]
`

func adoptedState(t testing.TB) State {
	w, err := structpb.NewStruct(map[string]any{
		"metadata":   map[string]any{"name": "api", "annotations": map[string]any{"towpath.dev/replicas": "1"}},
		"containers": map[string]any{"main": map[string]any{"image": "api:1", "variables": map[string]any{"LEVEL": "${resources.env.LEVEL}"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return State{Intent: &catalogv1.Intent{}, Set: &catalogv1.Set{Workloads: map[string]*structpb.Struct{"api": w}}}
}

func originsOf() []*rendererv1.FieldOrigin {
	ref := &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api"}
	score := rendererv1.Origin_SOURCE_SCORE
	return []*rendererv1.FieldOrigin{
		{Object: ref, Path: "spec.replicas", Origin: &rendererv1.Origin{Source: score, Pointer: "/workloads/api/metadata/annotations/towpath.dev~1replicas"}},
		{Object: ref, Path: "spec.template.spec.containers[name=main].image", Origin: &rendererv1.Origin{Source: score, Pointer: "/workloads/api/containers/main/image"}},
		{Object: ref, Path: "spec.template.spec.containers[name=main].env[name=LEVEL].value", Origin: &rendererv1.Origin{Source: rendererv1.Origin_SOURCE_VARIABLE, Path: "LEVEL"}},
		{Object: ref, Path: "spec.template.spec.containers[name=main].env[name=URL].value", Origin: &rendererv1.Origin{Source: score, Pointer: "/x", Parts: []*rendererv1.Origin{{}}}},
	}
}

func TestAnEditBecomesTheChangeThatMeansIt(t *testing.T) {
	made := map[string][]byte{"deployment-api.yaml": []byte(deploymentYAML)}
	replace := func(pairs ...string) map[string][]byte {
		return map[string][]byte{"deployment-api.yaml": []byte(strings.NewReplacer(pairs...).Replace(deploymentYAML))}
	}
	at := "/objects/apps~1v1/Deployment/api/spec/"
	container := at + "template/spec/containers/name=main/"
	for name, tc := range map[string]struct {
		wanted    map[string][]byte
		ops       []string
		variables map[string]string
		not       []string
	}{
		"a field of the Score document":  {wanted: replace("api:1", "api:2"), ops: []string{"set /workloads/api/containers/main/image api:2"}},
		"a number that is text there":    {wanted: replace("replicas: 1", "replicas: 3"), ops: []string{"set /workloads/api/metadata/annotations/towpath.dev~1replicas 3"}},
		"a variable":                     {wanted: replace("value: info", "value: debug"), variables: map[string]string{"LEVEL": "debug"}},
		"what is put together":           {wanted: replace("http://db/x", "http://db/y"), ops: []string{"set " + container + "env/name=URL/value http://db/y"}},
		"what nothing decides":           {wanted: replace("replicas: 1", "replicas: 1\n  paused: true"), ops: []string{"set " + at + "paused true"}},
		"a removed field":                {wanted: replace("        args: [a, b]\n", ""), ops: []string{"remove " + container + "args"}},
		"an item of a list without keys": {wanted: replace("[a, b]", "[a, c]"), ops: []string{"set " + container + "args/1 c"}},
		"a removed object":               {wanted: map[string][]byte{}, ops: []string{"remove /objects/apps~1v1/Deployment/api"}},
		"an added object": {wanted: with(made, "cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
			ops: []string{"set /objects/v1/ConfigMap/x map[apiVersion:v1 kind:ConfigMap metadata:map[name:x]]"}},
		"a Secret": {wanted: with(made, "s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: hunter2}\n"), not: []string{"Secret x: a Secret does not belong"}},
		"a secret by name": {wanted: replace("{name: LEVEL, value: info}", "{name: API_TOKEN, value: hunter2hunter2}"),
			not: []string{"looks like a secret by its name"}},
		"a secret by form":  {wanted: replace("value: info", "value: AKIAIOSFODNN7EXAMPLE"), not: []string{"looks like an AWS access key"}},
		"another namespace": {wanted: replace("shop-dev", "kube-system"), not: []string{"metadata.namespace: it is which object it is"}},
		"another version":   {wanted: replace("apps/v1", "apps/v1beta1"), not: []string{"apiVersion: is now apps/v1beta1"}},
		"no object":         {wanted: with(made, "README.md", "hello"), not: []string{"README.md: holds no Kubernetes object"}},
		"only the writing":  {wanted: replace("replicas: 1", "replicas:   1"), not: []string{"the objects are the same"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Adopt(Edited{Made: made, Wanted: tc.wanted, Origins: originsOf()}, adoptedState(t))
			var ops []string
			for _, op := range got.Change.GetOverlayOperations() {
				if op.GetAction() == rendererv1.Operation_ACTION_REMOVE {
					ops = append(ops, "remove "+op.GetPath())
				} else {
					ops = append(ops, fmt.Sprint("set ", op.GetPath(), " ", op.GetValue().AsInterface()))
				}
			}
			if diff := cmp.Diff(tc.ops, ops); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.variables, got.Change.GetVariables()); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
			if len(tc.not) != len(got.Not) {
				t.Fatalf("not kept: %q", got.Not)
			}
			for i, want := range tc.not {
				if !strings.Contains(got.Not[i], want) || strings.Contains(got.Not[i], "hunter2") || strings.Contains(got.Not[i], "AKIA") {
					t.Errorf("not kept: %q, want %q", got.Not[i], want)
				}
			}
		})
	}
}

func with(files map[string][]byte, path, content string) map[string][]byte {
	out := maps.Clone(files)
	out[path] = []byte(content)
	return out
}

// Whatever is edited, the patches make the wanted object of what was made, or what they do not keep is listed.
func TestAdoptedEditsMakeWhatWasWantedOrSayWhatTheyDoNot(t *testing.T) {
	made := map[string][]byte{"deployment-api.yaml": []byte(deploymentYAML)}
	object := manifest.Read(made)[0].Value
	rapid.Check(t, func(t *rapid.T) {
		wanted, _ := mutate(t, object, 0).(map[string]any)
		wanted["apiVersion"], wanted["kind"], wanted["metadata"] = "apps/v1", "Deployment", map[string]any{"name": "api", "namespace": rapid.SampledFrom([]string{"shop-dev", "other"}).Draw(t, "ns")}
		text, err := yaml.Marshal(wanted)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{"deployment-api.yaml": text}
		want := manifest.Read(files)[0].Value
		got := Adopt(Edited{Made: made, Wanted: files}, State{Intent: &catalogv1.Intent{}, Set: &catalogv1.Set{}})
		now := object
		for _, op := range got.Change.GetOverlayOperations() {
			_, steps, err := manifest.ParsePatch(op.GetPath())
			if err != nil {
				t.Fatal(err)
			}
			e := manifest.Edit{Steps: steps, Value: op.GetValue().AsInterface(), Remove: op.GetAction() == rendererv1.Operation_ACTION_REMOVE}
			if now, err = e.Apply(now); err != nil {
				t.Fatalf("%s: %v", op.GetPath(), err)
			}
		}
		if diff := cmp.Diff(want, manifest.Plain(now)); diff != "" && len(got.Not) == 0 {
			t.Fatalf("nothing is said of (-want +got):\n%s\n%v", diff, got.Change)
		}
	})
}

// mutate changes a value anywhere.
func mutate(t *rapid.T, v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0:
			case 1:
				out[k] = rapid.SampledFrom([]any{"text", 7.0, true, []any{"x"}, map[string]any{"a/b": "~"}}).Draw(t, "value")
			default:
				out[k] = mutate(t, v[k], depth+1)
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "more") == 0 {
			out[rapid.SampledFrom([]string{"x/y", "a~b", "name", "0", "k=v"}).Draw(t, "key")] = "new"
		}
		return out
	case []any:
		var out []any
		for _, x := range v {
			if rapid.IntRange(0, 5).Draw(t, "drop") > 0 {
				out = append(out, mutate(t, x, depth+1))
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "append") == 0 {
			out = slices.Insert(out, rapid.IntRange(0, len(out)).Draw(t, "at"), any(map[string]any{"name": rapid.SampledFrom([]string{"p", "q=r", "s/t", "LEVEL"}).Draw(t, "n"), "v": 1.0}))
		}
		if out == nil {
			out = []any{}
		}
		return out
	default:
		return v
	}
}
