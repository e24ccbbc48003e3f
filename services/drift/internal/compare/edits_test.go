package compare_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var containers = []any{"spec", "template", "spec", "containers"}

func inContainer(i int, more ...any) []any {
	return append(append(slices.Clone(containers), i), more...)
}

// the eight edits of the design: an edit by any client, and the one finding that it must be.
var edits = []struct {
	name    string
	object  string
	edit    func(o map[string]any)
	finding compare.Finding
}{
	{"a port is added to a Service", serviceYAML,
		func(o map[string]any) {
			push(o, map[string]any{"port": int64(80), "protocol": "TCP", "targetPort": int64(80), "name": "evil"}, "spec", "ports")
		},
		compare.Finding{Kind: compare.Extra, Path: "spec.ports[port=80]", Pointer: "/spec/ports/1",
			After: map[string]any{"port": int64(80), "protocol": "TCP", "targetPort": int64(80), "name": "evil"}}},
	{"a variable is added to a container", deploymentYAML,
		func(o map[string]any) {
			push(o, map[string]any{"name": "EVIL", "value": "1"}, inContainer(0, "env")...)
		},
		compare.Finding{Kind: compare.Extra, Path: "spec.template.spec.containers[name=web].env[name=EVIL]",
			Pointer: "/spec/template/spec/containers/0/env/2", After: map[string]any{"name": "EVIL", "value": "1"}}},
	{"a container is added to a Deployment", deploymentYAML,
		func(o map[string]any) {
			push(o, map[string]any{"name": "miner", "image": "x:1", "env": []any{map[string]any{"name": "K", "value": "v"}}}, containers...)
		},
		compare.Finding{Kind: compare.Extra, Path: "spec.template.spec.containers[name=miner]", Pointer: "/spec/template/spec/containers/2",
			After: map[string]any{"name": "miner", "image": "x:1", "env": []any{map[string]any{"name": "K", "value": "v"}},
				"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent", "resources": map[string]any{}}}},
	{"a label is added to a Deployment", deploymentYAML,
		func(o map[string]any) { put(o, "yes", "metadata", "labels", "example.com/extra") },
		compare.Finding{Kind: compare.Extra, Path: "metadata.labels[example.com/extra]", Pointer: "/metadata/labels/example.com~1extra", After: "yes"}},
	{"a key is added to a ConfigMap", configMapYAML,
		func(o map[string]any) { put(o, "yes", "data", "EVIL") },
		compare.Finding{Kind: compare.Extra, Path: "data[EVIL]", Pointer: "/data/EVIL", After: "yes"}},
	{"the image is changed", deploymentYAML,
		func(o map[string]any) { put(o, "registry.example/web:evil", inContainer(0, "image")...) },
		compare.Finding{Kind: compare.Changed, Path: "spec.template.spec.containers[name=web].image", Pointer: "/spec/template/spec/containers/0/image",
			Before: "registry.example/web:1.27", After: "registry.example/web:evil"}},
	{"replicas are changed", deploymentYAML,
		func(o map[string]any) { put(o, int64(5), "spec", "replicas") },
		compare.Finding{Kind: compare.Changed, Path: "spec.replicas", Pointer: "/spec/replicas", Before: int64(2), After: int64(5)}},
}

func asStored(c *cluster) *unstructured.Unstructured {
	switch c.desired.GetKind() {
	case "Deployment":
		return deploymentLive(c)
	case "Service":
		return serviceLive(c)
	}
	return c.live()
}

func TestEveryEditByAnyClientIsExactlyOneFindingWithItsManager(t *testing.T) {
	for _, manager := range []string{"kubectl-edit", "some-operator"} {
		for _, withBaseline := range []bool{true, false} {
			for _, e := range edits {
				name := e.name + " by " + manager
				if !withBaseline {
					name += " without a baseline"
				}
				t.Run(name, func(t *testing.T) {
					desired := object(t, e.object)
					c := applied(t, desired)
					in := compare.Input{Desired: desired, Self: self}
					if withBaseline {
						in.Baseline = baseline(t, desired, asStored(c))
					}
					c.update(manager, e.edit)
					in.Live = asStored(c)
					got := comparer().Compare(in)
					if len(got.Findings) != 1 {
						t.Fatalf("want one finding, got %v (unverified %v)", paths(got.Findings), got.Unverified)
					}
					if age := time.Since(got.Findings[0].Time); age < 0 || age > time.Minute {
						t.Errorf("time of the finding is %v, want the time of the edit", got.Findings[0].Time)
					}
					want := e.finding
					want.Manager, want.Operation, want.Note = manager, "Update", "from managedFields"
					got.Findings[0].Time = time.Time{}
					if diff := cmp.Diff(want, got.Findings[0]); diff != "" {
						t.Errorf("finding (-want +got):\n%s", diff)
					}
					if len(got.Residue) > 0 || len(got.Unverified) > 0 {
						t.Errorf("residue %v, unverified %v, want none", paths(got.Residue), got.Unverified)
					}
				})
			}
		}
	}
}

func baseline(tb failer, desired, live *unstructured.Unstructured) compare.Baseline {
	tb.Helper()
	b, err := comparer().MakeBaseline(desired, live, self)
	if err != nil {
		tb.Fatalf("baseline: %v", err)
	}
	data, err := b.MarshalBinary()
	if err != nil {
		tb.Fatalf("baseline: %v", err)
	}
	var back compare.Baseline
	if err := back.UnmarshalBinary(data); err != nil { // every test runs on what a restart would read
		tb.Fatalf("baseline: %v", err)
	}
	return back
}

func TestADeletedObjectIsMissing(t *testing.T) {
	got := comparer().Compare(compare.Input{Desired: object(t, configMapYAML), Self: self})
	want := []owned{{"missing", "", compare.UnknownManager, ""}}
	if diff := cmp.Diff(want, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestAnObjectThatIsNoLongerDeclaredIsOrphaned(t *testing.T) {
	c := applied(t, object(t, configMapYAML))
	got := comparer().Compare(compare.Input{Live: c.live(), Self: self})
	want := []owned{{"orphaned", "", self, "Apply"}}
	if diff := cmp.Diff(want, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestAnApplyByAnotherManagerIsAttributedAsApply(t *testing.T) {
	desired := object(t, serviceYAML)
	c := applied(t, desired)
	b := baseline(t, desired, serviceLive(c))
	c.apply(object(t, `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80, name: evil}]}}`), "intruder")
	got := comparer().Compare(compare.Input{Desired: desired, Live: serviceLive(c), Baseline: b, Self: self})
	want := []owned{{"extra", "spec.ports[port=80]", "intruder", "Apply"}}
	if diff := cmp.Diff(want, attributions(got.Findings)); diff != "" {
		t.Error(diff)
	}
}
