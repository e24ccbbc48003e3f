package render_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const withService = head + "service: {ports: {http: {port: 80}}}\ncontainers: {main: {image: nginx, variables: {A: a, LOG_LEVEL: \"${resources.env.LOG_LEVEL}\"}}}\nresources: {env: {type: environment}}\n"

func gone(path string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: path}
}

func TestWrongObjectPatchesSayWhatIsWrong(t *testing.T) {
	deployment := "/objects/apps~1v1/Deployment/app"
	for name, tc := range map[string]struct {
		op   *rendererv1.Operation
		says []string
	}{
		"an object that does not exist":         {set("/objects/apps~1v1/Deployment/other/spec/replicas", 2), []string{"input.overlay[0]", "there is no Deployment other", "Deployment app, Service app"}},
		"another version":                       {set("/objects/apps~1v2/Deployment/app/spec/replicas", 2), []string{"there is no Deployment app of apps/v2"}},
		"a field to remove that does not exist": {gone(deployment + "/spec/paused"), []string{`has no "paused"`, "replicas"}},
		"an item that does not exist":           {gone(deployment + "/spec/template/spec/containers/name=side"), []string{`no item "name=side"`, "[name=main]"}},
		"a step into a value":                   {set(deployment+"/spec/replicas/x", 2), []string{"a single value stands there"}},
		"the name":                              {set(deployment+"/metadata/name", "other"), []string{"is which object it is"}},
		"the namespace":                         {set(deployment+"/metadata/namespace", "kube-system"), []string{"is which object it is"}},
		"the kind":                              {set(deployment+"/kind", "DaemonSet"), []string{"is what the object is"}},
		"an owner":                              {set(deployment+"/metadata/ownerReferences", []any{}), []string{"its owner would remove it"}},
		"a path that is none":                   {set("/objects/v1/Service", 2), []string{"is no place of an object"}},
		"an object that is there":               {set(deployment, map[string]any{}), []string{"is there already"}},
		"an object of another name":             {set("/objects/v1/ConfigMap/x", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "y"}}), []string{"must be the one that the path names"}},
		"an object elsewhere":                   {set("/objects/v1/ConfigMap/x", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x", "namespace": "kube-system"}}), []string{"outside of the namespace"}},
		"a Secret":                              {set("/objects/v1/Secret/x", map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "x"}}), []string{"is a Secret"}},
		"a Secret's value":                      {set("/objects/v1/Secret/x/stringData/a", "b"), []string{"holds secret values"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInput(t, withService)
			in.Overlay = []*rendererv1.Operation{tc.op}
			fails(t, in, errorsv1.Reason_REASON_INVALID_FIELD, tc.says...)
		})
	}
}

func TestAnObjectPatchSmugglesNothingIn(t *testing.T) {
	in := newInput(t, withService)
	in.Overlay = []*rendererv1.Operation{set("/objects/rbac.authorization.k8s.io~1v1/ClusterRole/x", map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "x"}})}
	fails(t, in, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "belongs to the whole cluster")
	in = newInput(t, withService)
	in.Defaults = &rendererv1.EnvironmentDefaults{AllowedKinds: []string{"Deployment.apps", "Service"}}
	in.Overlay = []*rendererv1.Operation{set("/objects/v1/ConfigMap/x", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}})}
	fails(t, in, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "does not allow")
	in = newInput(t, withService)
	in.Overlay = []*rendererv1.Operation{set("/objects/apps~1v1/Deployment/app/spec/replicas", "many")}
	fails(t, in, errorsv1.Reason_REASON_INVALID_OBJECT, "spec.replicas")
}

func TestPatchedFieldsComeFromTheOverlay(t *testing.T) {
	in := newInput(t, withService)
	path := "/objects/apps~1v1/Deployment/app/spec/template/spec/containers/name=main/env/name=A/value"
	in.Overlay = []*rendererv1.Operation{set(path, "patched"), gone("/objects/apps~1v1/Deployment/app/spec/template/spec/enableServiceLinks")}
	told, err := render.Explain(in, render.Options{}, "deployment/app", ".spec.template.spec.containers[main].env")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range told.GetFields() {
		got[f.GetPath()] = f.GetText()
	}
	want := map[string]string{
		"spec.template.spec.containers[name=main].env[name=A].value":         "A = patched: overlay of shop/dev, " + path,
		"spec.template.spec.containers[name=main].env[name=LOG_LEVEL].value": "LOG_LEVEL = info: variable LOG_LEVEL of shop/dev, through workloads.app containers.main.variables.LOG_LEVEL",
	}
	for at, text := range want {
		if got[at] != text {
			t.Errorf("%s: %s", at, cmp.Diff(text, got[at]))
		}
	}
}

// Whatever somebody edits in rendered objects, the edits as patches render to the edited objects.
func TestPatchesOfAnyEditRenderTheEditedObject(t *testing.T) {
	in := shop(t)
	base, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	objects := manifest.Read(base.GetBundle().GetFiles())
	rapid.Check(t, func(t *rapid.T) {
		next := proto.CloneOf(in)
		want := map[string]map[string]any{}
		for _, o := range objects {
			want[o.ID()] = o.Value
		}
		for range rapid.IntRange(1, 3).Draw(t, "objects") {
			o := objects[rapid.IntRange(0, len(objects)-1).Draw(t, "object")]
			if _, again := want[o.ID()+"!"]; again {
				continue
			}
			edited := edit(t, o.Value)
			want[o.ID()], want[o.ID()+"!"] = edited, nil
			target := manifest.Target{APIVersion: o.Ref.GetApiVersion(), Kind: o.Ref.GetKind(), Name: o.Ref.GetName()}
			for _, e := range manifest.Edits(o.Value, edited) {
				op := &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: target.Pointer(e.Steps...)}
				if !e.Remove {
					op = set(op.GetPath(), e.Value)
				}
				next.Overlay = append(next.Overlay, op)
			}
		}
		got, err := render.Render(next)
		if err != nil {
			return // Kubernetes would not take it; that is said
		}
		for _, o := range manifest.Read(got.GetBundle().GetFiles()) {
			if diff := cmp.Diff(want[o.ID()], o.Value); diff != "" {
				t.Fatalf("%s %s (-want +got):\n%s\noverlay: %v", o.Ref.GetKind(), o.Ref.GetName(), diff, next.GetOverlay())
			}
		}
	})
}

// edit changes a copy of an object in places where anything may stand: annotations, and the environment of containers.
func edit(t *rapid.T, object map[string]any) map[string]any {
	v, err := structpb.NewStruct(object)
	if err != nil {
		t.Fatal(err)
	}
	out := v.AsMap()
	text := rapid.StringMatching(`[a-z/~.=]{1,6}`)
	meta, _ := out["metadata"].(map[string]any)
	if rapid.Bool().Draw(t, "annotate") {
		meta["annotations"] = map[string]any{"example.com/" + rapid.StringMatching(`[a-z]{1,4}`).Draw(t, "key"): text.Draw(t, "value")}
	}
	spec, _ := out["spec"].(map[string]any)
	if _, scales := spec["replicas"]; scales && rapid.Bool().Draw(t, "scale") {
		spec["replicas"] = float64(rapid.IntRange(0, 9).Draw(t, "replicas"))
	}
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	containers, _ := pod["containers"].([]any)
	for _, c := range containers {
		m, _ := c.(map[string]any)
		env, _ := m["env"].([]any)
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "C", "D"}), 0, 4, rapid.ID).Draw(t, "env") {
			env = slices.DeleteFunc(env, func(x any) bool { e, _ := x.(map[string]any); return e["name"] == name })
			if rapid.Bool().Draw(t, "set") {
				env = slices.Insert(env, rapid.IntRange(0, len(env)).Draw(t, "at"), any(map[string]any{"name": name, "value": text.Draw(t, "value")}))
			}
		}
		delete(m, "env")
		if len(env) > 0 {
			m["env"] = env
		}
		if rapid.Bool().Draw(t, "args") {
			m["args"] = []any{text.Draw(t, "arg"), text.Draw(t, "arg")}
		}
	}
	return out
}

func TestEnvironmentsWithoutPatchesKeepTheirBytes(t *testing.T) {
	in := newInput(t, withService)
	before, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Overlay = []*rendererv1.Operation{set("/objects/v1/Service/app/spec/ports/port=80/port", 81.0)}
	after, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for file, content := range after.GetBundle().GetFiles() {
		if string(content) != string(before.GetBundle().GetFiles()[file]) {
			changed = append(changed, file)
		}
	}
	if diff := cmp.Diff([]string{"service-app.yaml"}, changed); diff != "" || !strings.Contains(string(after.GetBundle().GetFiles()["service-app.yaml"]), "port: 81\n") {
		t.Errorf("%s\n%s", diff, after.GetBundle().GetFiles()["service-app.yaml"])
	}
}
