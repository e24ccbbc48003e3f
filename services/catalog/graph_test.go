package catalog_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Graph gives one node for each workload, whose definition is the image, and one that tells the defaults' replicas.
func (f *fakeRenderer) Graph(_ context.Context, r *rendererv1.GraphRequest, _ ...grpc.CallOption) (*rendererv1.ResourceGraph, error) {
	out := &rendererv1.ResourceGraph{}
	for name, doc := range r.GetInput().GetWorkloads() {
		main := doc.GetFields()["containers"].GetStructValue().GetFields()["main"].GetStructValue()
		out.Nodes = append(out.Nodes, &rendererv1.ResourceGraph_Node{
			Id: "workload/" + name, Definition: main.GetFields()["image"].GetStringValue(), Class: r.GetInput().GetVariables()["LOG_LEVEL"],
			Outputs: make([]string, r.GetInput().GetDefaults().GetReplicas()), ResourceId: r.GetInput().GetNamespace(),
		})
	}
	return out, nil
}

func TestAGraphIsOfWhatWasPinned(t *testing.T) {
	w, then, now, _ := movingWorld(t)
	manifests := catalogv1.NewManifestServiceClient(w.conn)
	node := func(image, level string, replicas int) *rendererv1.ResourceGraph {
		return &rendererv1.ResourceGraph{Nodes: []*rendererv1.ResourceGraph_Node{
			{Id: "workload/api", Definition: image, Class: level, Outputs: make([]string, replicas), ResourceId: "shop-dev"}}}
	}
	for name, want := range map[string]*rendererv1.ResourceGraph{
		devEnv:                         node("api:2", "debug", 5),
		devEnv + "/deployments/latest": node("api:2", "debug", 5),
		devEnv + "/deployments/active": node("api:2", "debug", 5),
		now.GetName():                  node("api:2", "debug", 5),
		then.GetName():                 node("api:1", "info", 1),
	} {
		got, err := manifests.GetResourceGraph(t.Context(), &catalogv1.GetResourceGraphRequest{Name: name})
		must(t, err)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAGraphOfNothingSaysSo(t *testing.T) {
	w := newWorld(t)
	manifests := catalogv1.NewManifestServiceClient(w.conn)
	graph := func(name string) error {
		_, err := manifests.GetResourceGraph(t.Context(), &catalogv1.GetResourceGraphRequest{Name: name})
		return err
	}
	w.app("shop")
	wantError(t, graph(devEnv), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	wantError(t, graph("applications/shop"), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	wantError(t, graph(devEnv+"/deployments/x"), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	w.env("shop", "dev")
	if e := wantError(t, graph(devEnv), codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "NOT_DEPLOYED" {
		t.Errorf("state = %q", e.Meta["state"])
	}
	wantError(t, graph(devEnv+"/deployments/7"), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	d := w.deploy(devEnv, &catalogv1.Change{Scores: []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:1"}}})
	must(t, graph(devEnv))
	removal, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	if e := wantError(t, graph(removal.GetName()), codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "REMOVAL" {
		t.Errorf("state = %q", e.Meta["state"])
	}
	must(t, graph(d.GetName()))
}
