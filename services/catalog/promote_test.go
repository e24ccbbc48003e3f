package catalog_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const prodEnv = "applications/shop/environments/prod"

// twoEnvironments is a world in which everything goes well, with two workloads healthy in dev and the environment prod.
func twoEnvironments(t *testing.T) (*world, *catalogv1.Deployment) {
	t.Helper()
	w := newWorld(t)
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	w.env("shop", "prod")
	d := w.deploy(devEnv, &catalogv1.Change{
		Scores:            []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:2"}, {Content: []byte("web"), Image: "web:2"}},
		Variables:         map[string]string{"LOG_LEVEL": "debug"},
		OverlayOperations: []*rendererv1.Operation{overlayImage("web", "web:dev")},
	})
	return w, w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func overlayImage(workload, image string) *rendererv1.Operation {
	return &rendererv1.Operation{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/" + workload + "/containers/main/image", Value: structpb.NewStringValue(image),
	}
}

func (w *world) promote(from string, workloads ...string) (*catalogv1.Deployment, error) {
	return w.api.Promote(w.t.Context(), &catalogv1.PromoteRequest{
		Name: prodEnv, Promotion: &catalogv1.Promotion{From: from, Workloads: workloads}, Message: "release",
	})
}

func TestPromotionBringsTheSetAndNothingThatBelongsToItsEnvironment(t *testing.T) {
	w, source := twoEnvironments(t)
	old := w.inState(w.deploy(prodEnv, &catalogv1.Change{
		Scores:            []*rendererv1.ScoreFile{{Content: []byte("api"), Image: "api:1"}, {Content: []byte("old"), Image: "old:1"}},
		Variables:         map[string]string{"LOG_LEVEL": "warn"},
		OverlayOperations: []*rendererv1.Operation{overlayImage("old", "old:prod"), overlayImage("api", "api:prod")},
	}).GetName(), catalogv1.Deployment_STATE_HEALTHY)

	promotion := &catalogv1.Promotion{From: devEnv}
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: prodEnv, Promotion: promotion})
	must(t, err)
	var files []string
	for _, f := range plan.GetFiles() {
		files = append(files, f.GetPath()+" "+f.GetAction().String())
	}
	if diff := cmp.Diff([]string{"api.yaml ACTION_MODIFY", "old.yaml ACTION_DELETE", "web.yaml ACTION_ADD"}, files); diff != "" {
		t.Error(diff)
	}
	d, err := w.api.Promote(t.Context(), &catalogv1.PromoteRequest{Name: prodEnv, Promotion: promotion, PlanHash: plan.GetPlanHash(), RequestId: "p1"})
	must(t, err)
	d = w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	again, err := w.api.Promote(t.Context(), &catalogv1.PromoteRequest{Name: prodEnv, Promotion: promotion, PlanHash: plan.GetPlanHash(), RequestId: "p1"})
	must(t, err)
	if again.GetName() != d.GetName() {
		t.Errorf("the same request gave %s, want %s", again.GetName(), d.GetName())
	}
	if d.GetKind() != catalogv1.Deployment_KIND_PROMOTION || d.GetPromotionOf() != source.GetName() || d.GetTree() != plan.GetTree() ||
		d.GetIntent().GetSet() != source.GetIntent().GetSet() {
		t.Errorf("promotion = %v", d)
	}
	if diff := cmp.Diff(map[string]string{"LOG_LEVEL": "warn"}, d.GetIntent().GetVariables()); diff != "" {
		t.Errorf("variables (-own +got):\n%s", diff)
	}
	if o := d.GetIntent().GetOverlay(); len(o) != 1 || o[0].GetPath() != overlayImage("api", "").GetPath() {
		t.Errorf("overlay = %v, want the target's own without what was on the removed workload", o)
	}
	if diff := cmp.Diff([]string{"removed workload old", "added workload web"}, d.GetSummary()); diff != "" {
		t.Errorf("summary: %s", diff) // the overlay's image of api stays
	}
	// The way back is a rollback like any other.
	back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: prodEnv})
	must(t, err)
	if back = w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY); back.GetTree() != old.GetTree() || len(back.GetIntent().GetOverlay()) != 2 {
		t.Errorf("rollback = %v", back)
	}
}

func TestPartialPromotionBringsTheChosenWorkloads(t *testing.T) {
	w, source := twoEnvironments(t)
	w.inState(w.deploy(prodEnv, score("old", "old:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.deploy(devEnv, score("api", "api:3")) // a named deployment counts, whatever runs now
	d, err := w.promote(source.GetName(), "api")
	must(t, err)
	set, err := w.api.GetSet(t.Context(), &catalogv1.GetSetRequest{Name: d.GetIntent().GetSet()})
	must(t, err)
	names := slices.Sorted(func(yield func(string) bool) {
		for n := range set.GetWorkloads() {
			if !yield(n) {
				return
			}
		}
	})
	if diff := cmp.Diff([]string{"api", "old"}, names); diff != "" {
		t.Error(diff)
	}
	image := set.GetWorkloads()["api"].GetFields()["containers"].GetStructValue().GetFields()["main"].GetStructValue().GetFields()["image"].GetStringValue()
	if image != "api:2" || d.GetPromotionOf() != source.GetName() {
		t.Errorf("image = %s, promotion of %s", image, d.GetPromotionOf())
	}
}

func TestPromotionThatCannotBeIsRefused(t *testing.T) {
	w, _ := twoEnvironments(t)
	w.app("other")
	w.env("other", "dev")
	w.env("shop", "empty")
	for name, tc := range map[string]struct {
		from      string
		workloads []string
		code      codes.Code
		reason    errorsv1.Reason
		field     string
	}{
		"no name":                        {"dev", nil, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "promotion.from"},
		"another application":            {"applications/other/environments/dev", nil, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "promotion.from"},
		"itself":                         {prodEnv, nil, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE, ""},
		"an environment that is gone":    {"applications/shop/environments/gone", nil, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND, ""},
		"an environment without a run":   {"applications/shop/environments/empty", nil, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE, ""},
		"a deployment that is not":       {devEnv + "/deployments/9", nil, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND, ""},
		"a workload that is not in it":   {devEnv, []string{"api", "apu"}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "promotion.workloads[1]"},
		"a deployment with a bad number": {devEnv + "/deployments/x", nil, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "promotion.from"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.promote(tc.from, tc.workloads...)
			e := wantError(t, err, tc.code, tc.reason)
			if tc.field != "" && (len(e.Fields) != 1 || e.Fields[0].Path != tc.field) {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
		})
	}
	if e := w.getEnv(prodEnv); e.GetGeneration() != 0 {
		t.Errorf("a refused promotion left generation %d", e.GetGeneration())
	}
}

func TestPromotionIsHeldToItsPlan(t *testing.T) {
	w, _ := twoEnvironments(t)
	promotion := &catalogv1.Promotion{From: devEnv}
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: prodEnv, Promotion: promotion})
	must(t, err)
	w.inState(w.deploy(devEnv, score("api", "api:3")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err = w.api.Promote(t.Context(), &catalogv1.PromoteRequest{Name: prodEnv, Promotion: promotion, PlanHash: plan.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "set,tree" {
		t.Errorf("moved = %q", e.Meta["moved"])
	}
}
