package catalog_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// Explain tells of one field of one object that it is the variable LOG_LEVEL.
func (f *fakeRenderer) Explain(_ context.Context, r *rendererv1.ExplainRequest, _ ...grpc.CallOption) (*rendererv1.ExplainResponse, error) {
	if r.GetObject() != "deployment/api" {
		return nil, rpc.ToStatus(errs.NotFoundf("the object "+r.GetObject(), "there are deployment/api"), "").Err()
	}
	return &rendererv1.ExplainResponse{Fields: []*rendererv1.FieldOrigin{{
		Path: "spec.containers[name=main].env[name=LEVEL].value", Value: structpb.NewStringValue(r.GetInput().GetVariables()["LOG_LEVEL"]), Text: "without version",
		Origin: &rendererv1.Origin{Source: rendererv1.Origin_SOURCE_VARIABLE, Path: "LOG_LEVEL", Through: &rendererv1.Origin{
			Source: rendererv1.Origin_SOURCE_SCORE, Workload: "api", Path: "containers.main.variables.LEVEL",
		}},
	}}}, nil
}

func (w *world) manifests() catalogv1.ManifestServiceClient {
	return catalogv1.NewManifestServiceClient(w.conn)
}

func TestExplanationsNameTheVariablesVersionAndAuthor(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.plays()
	explain := func(name, object string) (*catalogv1.ExplainEnvironmentResponse, error) {
		return w.manifests().ExplainEnvironment(t.Context(), &catalogv1.ExplainEnvironmentRequest{Name: name, Object: object})
	}
	_, err := explain(devEnv, "deployment/api")
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)

	w.setVariable(appLevel, "info")
	first := w.deploy(devEnv, reading("api", "LOG_LEVEL"))
	w.inState(first.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.setVariable(devLevel, "debug")
	second := w.setVariable(devLevel, "trace").GetDeployments()
	if len(second) != 1 {
		t.Fatalf("deployments %v", second)
	}
	w.inState(second[0].GetName(), catalogv1.Deployment_STATE_HEALTHY)
	for _, tc := range []struct{ name, text, variable, deployment string }{
		{devEnv, "LEVEL = trace: variable LOG_LEVEL of shop/dev (version 2, by bootstrap-admin), through workloads.api containers.main.variables.LEVEL", devLevel, second[0].GetName()},
		{first.GetName(), "LEVEL = info: variable LOG_LEVEL of shop (version 1, by bootstrap-admin), through workloads.api containers.main.variables.LEVEL", appLevel, first.GetName()},
		{devEnv + "/deployments/latest", "LEVEL = trace: variable LOG_LEVEL of shop/dev (version 2, by bootstrap-admin), through workloads.api containers.main.variables.LEVEL", devLevel, second[0].GetName()},
	} {
		got, err := explain(tc.name, "deployment/api")
		must(t, err)
		if got.GetFields()[0].GetText() != tc.text || got.GetDeployment() != tc.deployment {
			t.Errorf("%s: %v", tc.name, got)
		}
		if len(got.GetVariables()) != 1 || got.GetVariables()[0].GetName() != tc.variable {
			t.Errorf("variables %v", got.GetVariables())
		}
	}
	_, err = explain(devEnv, "deployment/none")
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	_, err = explain("applications/shop/environments/none", "")
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestManifestsOfTwoDeploymentsAreCompared(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.plays()
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		out := bundleOf(r.GetInput())
		out.Bundle.Files["map.yaml"] = []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: api}\ndata: {level: " + r.GetInput().GetVariables()["LOG_LEVEL"] + "}\n")
		out.Bundle.Objects = []*rendererv1.ObjectRef{{File: "map.yaml", Workload: "api"}}
		return out, nil
	})
	w.setVariable(appLevel, "info")
	first := w.deploy(devEnv, reading("api", "LOG_LEVEL"))
	w.setVariable(devLevel, "debug")
	diff, err := w.manifests().DiffManifests(t.Context(), &catalogv1.DiffManifestsRequest{From: first.GetName(), To: devEnv})
	must(t, err)
	if d := cmp.Diff("~ ConfigMap api\n    data[level]: info -> debug\n", diff.GetText()); d != "" || diff.GetObjects()[0].GetObject().GetWorkload() != "api" {
		t.Errorf("%s\n%v", d, diff)
	}
	same, err := w.manifests().DiffManifests(t.Context(), &catalogv1.DiffManifestsRequest{From: devEnv, To: devEnv})
	must(t, err)
	if len(same.GetObjects()) != 0 || same.GetText() != "" {
		t.Errorf("an environment differs from itself: %v", same)
	}
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "trace"}}})
	must(t, err)
	if !slices.ContainsFunc(plan.GetObjects(), func(o *catalogv1.ObjectChange) bool { return o.GetObject().GetName() == "api" }) || plan.GetText() == "" {
		t.Errorf("a plan has no text: %v", plan)
	}
	_, err = w.manifests().DiffManifests(t.Context(), &catalogv1.DiffManifestsRequest{From: devEnv, To: devEnv + "/deployments/99"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}
