package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func stateOf(t *testing.T, workloads, resources map[string]any, overlay ...*rendererv1.Operation) State {
	t.Helper()
	set, err := Document{workloadsKey: workloads, resourcesKey: resources}.Set()
	if err != nil {
		t.Fatal(err)
	}
	return State{Set: set, Intent: &catalogv1.Intent{Set: set.GetName(), Overlay: overlay, Variables: map[string]string{"LEVEL": "own"}}}
}

func setOp(path, value string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: structpb.NewStringValue(value)}
}

type m = map[string]any

func TestPromote(t *testing.T) {
	uses := func(image, typ, id string) m {
		return m{"image": image, "resources": m{"it": m{"type": typ, "id": id}}}
	}
	source := stateOf(t,
		m{"api": uses("2", "redis", "cache"), "web": m{"image": "2"}},
		m{
			"cache":  m{"type": "redis", "params": m{"at": "${resources.zone.name}", "not": "$${resources.other.name}"}},
			"zone":   m{"type": "dns"},
			"other":  m{"type": "dns", "class": "x"},
			"unused": m{"type": "s3"},
		})
	for _, tc := range []struct {
		name   string
		target State
		chosen []string
		want   m // workloads to image
		shared []string
		paths  []string // of the overlay
		fails  string   // the field
	}{
		{
			name: "a whole promotion brings the set and takes away what is not in it", target: stateOf(t, m{"old": m{"image": "1"}}, m{"gone": m{"type": "s3"}},
				setOp("/workloads/old/image", "x"), setOp("/resources/gone/type", "y")),
			want: m{"api": "2", "web": "2"}, shared: []string{"cache", "other", "unused", "zone"},
		},
		{
			name: "a partial promotion brings the chosen workload with what it uses and leaves the rest", target: stateOf(t, m{"web": m{"image": "1"}, "old": m{"image": "1"}}, nil,
				setOp("/workloads/web/image", "own")),
			chosen: []string{"api"}, want: m{"api": "2", "web": "1", "old": "1"}, shared: []string{"cache", "zone"}, paths: []string{"/workloads/web/image"},
		},
		{
			name: "a workload that uses no shared resource brings none", target: stateOf(t, m{"old": m{"image": "1"}}, nil),
			chosen: []string{"web"}, want: m{"web": "2", "old": "1"},
		},
		{
			name: "a workload that the overlay adds stays, as it is the target's own", target: stateOf(t, nil, nil,
				&rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/own", Value: structpb.NewStructValue(&structpb.Struct{})},
				setOp("/workloads/own/image", "x")),
			want: m{"api": "2", "web": "2"}, shared: []string{"cache", "other", "unused", "zone"}, paths: []string{"/workloads/own", "/workloads/own/image"},
		},
		{name: "a workload that the source does not have is refused", target: stateOf(t, nil, nil), chosen: []string{"api", "apu"}, fails: "promotion.workloads[1]"},
		{
			name: "an overlay that does not fit is refused", target: stateOf(t, m{"web": m{"image": "1", "replicas": "3"}}, nil,
				&rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: "/workloads/web/replicas"}),
			fails: "promotion.from",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.target
			got, err := Promote(tc.target, source.Set, tc.chosen, "promotion")
			if tc.fails != "" {
				wantField(t, err, tc.fails)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			images := m{}
			for name, w := range DocumentOf(got.Set).Workloads() {
				images[name] = w.(map[string]any)["image"]
			}
			if d := cmp.Diff(tc.want, images); d != "" {
				t.Error(d)
			}
			var paths []string
			for _, op := range got.Intent.GetOverlay() {
				paths = append(paths, op.GetPath())
			}
			if d := cmp.Diff(tc.paths, paths); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.shared, unionKeys(got.Set.GetResources(), nil)); d != "" && len(tc.shared)+len(got.Set.GetResources()) > 0 {
				t.Error(d)
			}
			if got.Intent.GetVariables()["LEVEL"] != "own" || got.Intent.GetSet() != got.Set.GetName() {
				t.Errorf("intent = %v", got.Intent)
			}
			if d := cmp.Diff(before.Set, tc.target.Set, protocmp.Transform()); d != "" {
				t.Errorf("the target was changed in place: %s", d)
			}
		})
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := err.(*errs.Error)
	if !ok || e.Reason != errorsv1.Reason_REASON_INVALID_FIELD || len(e.Fields) != 1 || e.Fields[0].Path != field {
		t.Fatalf("error = %v, want a problem of the field %s", err, field)
	}
}

// A whole promotion gives exactly the source's set, whatever the target was; choosing every workload gives all workloads of the
// source and keeps the others.
func TestPromoteProperties(t *testing.T) {
	names := rapid.SampledFrom([]string{"api", "web", "job", "cron"})
	workloads := rapid.MapOf(names, rapid.SampledFrom([]string{"1", "2"}))
	rapid.Check(t, func(r *rapid.T) {
		state := func(label string) State {
			w := m{}
			for name, image := range workloads.Draw(r, label) {
				w[name] = m{"image": image}
			}
			set, err := Document{workloadsKey: w}.Set()
			if err != nil {
				r.Fatal(err)
			}
			return State{Set: set, Intent: &catalogv1.Intent{Set: set.GetName()}}
		}
		source, target := state("source"), state("target")
		whole, err := Promote(target, source.Set, nil, "promotion")
		if err != nil || whole.Set.GetName() != source.Set.GetName() {
			r.Fatalf("whole: %v, %v, want %v", whole.Set, err, source.Set)
		}
		chosen := unionKeys(source.Set.GetWorkloads(), nil)
		if len(chosen) == 0 {
			return
		}
		part, err := Promote(target, source.Set, chosen, "promotion")
		if err != nil {
			r.Fatal(err)
		}
		for _, name := range unionKeys(source.Set.GetWorkloads(), target.Set.GetWorkloads()) {
			want := source.Set.GetWorkloads()[name]
			if want == nil {
				want = target.Set.GetWorkloads()[name]
			}
			if d := cmp.Diff(want, part.Set.GetWorkloads()[name], protocmp.Transform()); d != "" {
				r.Fatalf("%s: %s", name, d)
			}
		}
	})
}
