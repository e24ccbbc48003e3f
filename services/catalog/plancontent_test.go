package catalog_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

// objectsOf renders each workload as a Deployment, and says what guardrails and outputs a test wants.
func objectsOf(also func(*rendererv1.RenderRequest, *rendererv1.RenderResponse)) func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
	return func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		out := bundleOf(r.GetInput())
		b := out.GetBundle()
		for _, name := range slices.Sorted(maps.Keys(b.GetFiles())) {
			image := strings.TrimPrefix(strings.Split(string(b.GetFiles()[name]), "\n")[1], "image: ")
			w := strings.TrimSuffix(name, ".yaml")
			b.Files[name] = fmt.Appendf(nil, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: %s\nspec:\n  template:\n    spec:\n      containers:\n      - name: main\n        image: %s\n", w, image)
			b.Objects = append(b.Objects, &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: w, File: name, Workload: w})
		}
		b.Tree = treeID(b.GetFiles())
		if also != nil {
			also(r, out)
		}
		return out, nil
	}
}

func (w *world) plan(r *catalogv1.PlanDeploymentRequest) *catalogv1.Plan {
	w.t.Helper()
	r.Parent = devEnv
	p, err := w.api.PlanDeployment(w.t.Context(), r)
	must(w.t, err)
	return p
}

func ref(name string) *rendererv1.ObjectRef {
	return &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: name, File: name + ".yaml", Workload: name}
}

func TestPlanTellsObjectsFieldsAndSetOperations(t *testing.T) {
	w, _ := shop(t)
	w.renderer.set(objectsOf(nil))
	now := w.plan(&catalogv1.PlanDeploymentRequest{Change: &catalogv1.Change{Scores: append(score("api", "api:1").GetScores(), score("old", "old:1").GetScores()...)}})
	w.deploy(devEnv, &catalogv1.Change{Scores: append(score("api", "api:1").GetScores(), score("old", "old:1").GetScores()...)})
	files := map[string][]byte{}
	resp, err := objectsOf(nil)(&rendererv1.RenderRequest{Input: &rendererv1.RenderInput{Workloads: w.setOf(now.GetIntent().GetSet()).GetWorkloads()}})
	must(t, err)
	maps.Copy(files, resp.GetBundle().GetFiles())
	w.committer.put(devPath, files)

	p := w.plan(&catalogv1.PlanDeploymentRequest{Change: &catalogv1.Change{
		Scores: score("web", "web:1").GetScores(), RemoveWorkloads: []string{"old"}, SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:2")},
	}})
	old := ref("old")
	old.Workload = ""
	wantObjects := []*catalogv1.ObjectChange{
		{Object: ref("api"), Action: catalogv1.FileChange_ACTION_MODIFY}, {Object: old, Action: catalogv1.FileChange_ACTION_DELETE},
		{Object: ref("web"), Action: catalogv1.FileChange_ACTION_ADD},
	}
	if diff := cmp.Diff(wantObjects, p.GetObjects(), protocmp.Transform()); diff != "" {
		t.Errorf("objects: %s", diff)
	}
	if len(p.GetFields()) != 1 || p.GetFields()[0].GetField() != "spec.template.spec.containers[name=main].image" ||
		p.GetFields()[0].GetBefore().GetStringValue() != "api:1" || p.GetFields()[0].GetAfter().GetStringValue() != "api:2" {
		t.Errorf("fields = %v", p.GetFields())
	}
	// The operations make the planned set of the one of now.
	d := w.draft("same", p.GetSetOperations()...)
	if d.GetResultSet() != p.GetIntent().GetSet() {
		t.Errorf("%v make %s", p.GetSetOperations(), d.GetResultSet())
	}
}

func (w *world) setOf(name string) *catalogv1.Set {
	w.t.Helper()
	d, err := w.api.GetSet(w.t.Context(), &catalogv1.GetSetRequest{Name: name})
	if err != nil { // not stored: a plan stores nothing
		return &catalogv1.Set{Name: name, Workloads: map[string]*structpb.Struct{"api": workload("api:1"), "old": workload("old:1")}}
	}
	return d
}

func TestPlanShowsVerdictsAndADenialRefusesTheDeployment(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.app("shop")
	rails := []*rendererv1.Guardrail{{Name: "no-latest", Expression: "true", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY}}
	_, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "strict", EnvironmentType: &catalogv1.EnvironmentType{Guardrails: rails},
	})
	must(t, err)
	_, err = w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/strict"},
	})
	must(t, err)
	deny := &rendererv1.Verdict{Guardrail: "no-latest", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Message: "give a version", Object: ref("api")}
	warn := &rendererv1.Verdict{Guardrail: "replicas", Enforcement: rendererv1.Guardrail_ENFORCEMENT_WARN, Message: "one replica", Object: ref("api")}
	var asked []*rendererv1.RenderRequest
	w.renderer.set(objectsOf(func(r *rendererv1.RenderRequest, out *rendererv1.RenderResponse) {
		asked = append(asked, r)
		if strings.Contains(r.GetInput().String(), "latest") {
			out.Verdicts = append(out.Verdicts, deny)
		}
		out.Verdicts = append(out.Verdicts, warn)
	}))
	bad := score("api", "api:latest")
	p := w.plan(&catalogv1.PlanDeploymentRequest{Change: bad})
	if diff := cmp.Diff([]*rendererv1.Verdict{deny, warn}, p.GetVerdicts(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for _, hash := range []string{"", p.GetPlanHash()} {
		_, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: bad, PlanHash: hash})
		e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_GUARDRAIL)
		if e.Meta["guardrail"] != "no-latest" || e.Meta["object"] != "Deployment/api" || !strings.Contains(e.Msg, "give a version") {
			t.Errorf("error = %v", e)
		}
	}
	d := w.deploy(devEnv, score("api", "api:1"))
	if diff := cmp.Diff([]*rendererv1.Verdict{warn}, w.get(d.GetName()).GetVerdicts(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for _, r := range asked {
		if len(r.GetGuardrails()) != 1 || r.GetFacts().GetKind() != "CHANGE" || r.GetFacts().GetActor() == "" {
			t.Errorf("the renderer was asked with %v and %v", r.GetGuardrails(), r.GetFacts())
		}
	}
}

// A tree that is put back is asked about too, where rendering still gives it.
func TestGuardrailsAreAskedAboutARollback(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	_, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "strict", EnvironmentType: &catalogv1.EnvironmentType{
			Guardrails: []*rendererv1.Guardrail{{Name: "rule", Expression: "true", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY}},
			Approvals:  &catalogv1.ApprovalRule{}, AutomaticSync: true,
		},
	})
	must(t, err)
	_, err = w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/strict"},
	})
	must(t, err)
	d1 := w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.inState(w.deploy(devEnv, score("api", "api:2")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	var version string // of the renderer: another gives other bytes
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		if r.GetFacts().GetKind() != "ROLLBACK" {
			t.Errorf("kind = %s", r.GetFacts().GetKind())
		}
		out := bundleOf(r.GetInput())
		out.Bundle.Tree += version
		out.Verdicts = []*rendererv1.Verdict{{Guardrail: "rule", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Message: "not any more", Object: ref("api")}}
		return out, nil
	})
	p := w.plan(&catalogv1.PlanDeploymentRequest{RollbackTo: d1.GetName()})
	if len(p.GetVerdicts()) != 1 || len(p.GetWarnings()) != 0 {
		t.Errorf("verdicts %v, warnings %v", p.GetVerdicts(), p.GetWarnings())
	}
	for _, hash := range []string{"", p.GetPlanHash()} {
		_, err = w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: d1.GetName(), PlanHash: hash})
		wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_GUARDRAIL)
	}
	version = "2"
	p = w.plan(&catalogv1.PlanDeploymentRequest{RollbackTo: d1.GetName()})
	if len(p.GetVerdicts()) != 0 || len(p.GetWarnings()) != 1 || p.GetTree() != d1.GetTree() {
		t.Errorf("verdicts %v, warnings %v", p.GetVerdicts(), p.GetWarnings())
	}
	back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: d1.GetName()})
	must(t, err)
	w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestPlanTellsWhatWouldHoldADeployment(t *testing.T) {
	kv := memkv.New()
	w, _ := lightWorld(t, kv)
	w.app("shop")
	_, err := w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "strict", EnvironmentType: &catalogv1.EnvironmentType{Approvals: &catalogv1.ApprovalRule{Required: 2}},
	})
	must(t, err)
	e, err := w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/strict"},
	})
	must(t, err)
	for _, tc := range []struct {
		lock *catalogv1.Lock
		want string
	}{
		{nil, ""},
		{&catalogv1.Lock{Actor: "users/ada", Message: "release", Hold: catalogv1.Hold_HOLD_QUEUE}, "locked by users/ada: release; deployments wait"},
		{&catalogv1.Lock{Actor: "users/ada", Hold: catalogv1.Hold_HOLD_REFUSE}, "locked by users/ada; deployments are refused"},
		{&catalogv1.Lock{Actor: "users/ada", ExpireTime: timestamppb.New(time.Now().Add(-time.Second))}, ""},
	} {
		row := proto.CloneOf(e)
		row.Lock, row.Etag = tc.lock, ""
		b, err := proto.Marshal(row)
		must(t, err)
		putRow(t, kv, "environments/shop/dev", string(b))
		p := w.plan(&catalogv1.PlanDeploymentRequest{Change: score("api", "api:1")})
		if p.GetHold() != tc.want || p.GetApprovalsRequired() != 2 {
			t.Errorf("hold = %q, want %q; %d approvals", p.GetHold(), tc.want, p.GetApprovalsRequired())
		}
	}
}

func TestPlanTellsWhatDrifts(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	finding := func(id string, kind driftv1.Finding_Kind) *driftv1.Finding {
		return &driftv1.Finding{
			Name: devEnv + "/findings/" + id, Kind: kind, ApiVersion: "v1", ObjectKind: "Service", ObjectName: "web", Field: "spec.ports[port=80]", Manager: "kubectl",
		}
	}
	at := func(s int) time.Time { return time.Now().Add(time.Duration(s) * time.Second) }
	detected := func(s int, f *driftv1.Finding, open int32) {
		must(t, handle(t.Context(), delivery("drift.detected", at(s), &eventsv1.DriftDetected{Environment: devEnv, Finding: f, Open: open})))
	}
	resolved := func(s int, f *driftv1.Finding, open int32) {
		f.ResolveTime = timestamppb.New(at(s))
		must(t, handle(t.Context(), delivery("drift.resolved", at(s), &eventsv1.DriftResolved{Environment: devEnv, Finding: f, Open: open})))
	}
	want := func(lines ...string) {
		t.Helper()
		if diff := cmp.Diff(lines, w.plan(&catalogv1.PlanDeploymentRequest{}).GetDrift()); diff != "" {
			t.Error(diff)
		}
	}
	want()
	detected(1, finding("a", driftv1.Finding_KIND_EXTRA), 1)
	detected(1, finding("a", driftv1.Finding_KIND_EXTRA), 1) // again
	want("Service web spec.ports[port=80] added by kubectl")
	detected(2, finding("b", driftv1.Finding_KIND_CHANGED), 2)
	resolved(4, finding("a", driftv1.Finding_KIND_EXTRA), 1)
	detected(3, finding("a", driftv1.Finding_KIND_EXTRA), 1) // late
	want("Service web spec.ports[port=80] changed by kubectl")
	for i := range 120 {
		detected(5+i, finding(fmt.Sprint("m", i), driftv1.Finding_KIND_MISSING), int32(2+i))
	}
	if got := w.plan(&catalogv1.PlanDeploymentRequest{}); len(got.GetDrift()) != 101 || got.GetDrift()[100] != "and 21 more" || got.GetOpenFindings() != 121 {
		t.Errorf("%d lines, last %q of %d", len(got.GetDrift()), got.GetDrift()[len(got.GetDrift())-1], got.GetOpenFindings())
	}
	must(t, handle(t.Context(), delivery("environment.health", at(500), &eventsv1.EnvironmentHealth{Environment: devEnv, Findings: 0, Health: healthy})))
	want()
	must(t, handle(t.Context(), delivery("drift.detected", at(1), &eventsv1.DriftDetected{Environment: "applications/shop/environments/none", Finding: finding("x", 1), Open: 1})))
}

func TestPlanOfARollbackTellsWhatMovedOn(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	d1 := w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.inState(w.deploy(devEnv, score("api", "api:2")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if p := w.plan(&catalogv1.PlanDeploymentRequest{RollbackTo: d1.GetName()}); len(p.GetWarnings()) != 0 {
		t.Errorf("warnings = %v", p.GetWarnings())
	}
	_, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: &catalogv1.EnvironmentType{
		Name: "environmentTypes/development", Defaults: &rendererv1.EnvironmentDefaults{Replicas: 7}, AutomaticSync: true, Target: "targets/default",
	}})
	must(t, err)
	p := w.plan(&catalogv1.PlanDeploymentRequest{RollbackTo: d1.GetName()})
	if diff := cmp.Diff([]string{"the environment type's defaults are others since then"}, p.GetWarnings()); diff != "" {
		t.Error(diff)
	}
	back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: d1.GetName(), PlanHash: p.GetPlanHash()})
	must(t, err)
	if back = w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY); back.GetTree() != d1.GetTree() || back.GetPlannedTree() != d1.GetTree() {
		t.Errorf("back = %v", back)
	}
	_, err = w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: d1.GetName(), PlanHash: p.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "base_tree" {
		t.Errorf("moved = %q", e.Meta["moved"])
	}
}

func TestPlanOfARemovalIsHeldTo(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	w.env("shop", "dev")
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	p := w.plan(&catalogv1.PlanDeploymentRequest{Removal: true})
	if p.GetTree() != "" || p.GetBaseTree() == "" || len(p.GetFiles()) != 1 || p.GetFiles()[0].GetAction() != catalogv1.FileChange_ACTION_DELETE || len(p.GetPlanHash()) != 64 {
		t.Errorf("plan = %v", p)
	}
	w.inState(w.deploy(devEnv, score("api", "api:2")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv, PlanHash: p.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "set,base_tree" {
		t.Errorf("moved = %q", e.Meta["moved"])
	}
	p = w.plan(&catalogv1.PlanDeploymentRequest{Removal: true})
	d, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv, PlanHash: p.GetPlanHash()})
	must(t, err)
	if d.GetPlannedBaseTree() != p.GetBaseTree() {
		t.Errorf("pinned base %q", d.GetPlannedBaseTree())
	}
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestAPlanIsOfOneThing(t *testing.T) {
	w, _ := shop(t)
	for name, r := range map[string]*catalogv1.PlanDeploymentRequest{
		"a change and a rollback":  {Change: &catalogv1.Change{}, RollbackTo: devEnv + "/deployments/1"},
		"a rollback and a removal": {RollbackTo: devEnv + "/deployments/1", Removal: true},
		"rerender of nothing":      {Rerender: true, Change: &catalogv1.Change{}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Parent = devEnv
			_, err := w.api.PlanDeployment(t.Context(), r)
			wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
		})
	}
}

func TestAPlanShowsTheClaimsWhileOutputsAreMissing(t *testing.T) {
	w, _ := shop(t)
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		if !r.GetClaimsOnly() {
			return nil, rpc.ToStatus(errs.New(errs.Precondition, errorsv1.Reason_REASON_OUTPUTS_MISSING, "postgres has no host yet").
				With("resources", "postgres.default#db"), "").Err()
		}
		out, err := objectsOf(nil)(r)
		out.MissingOutputs = []string{"postgres.default#db"}
		return out, err
	})
	p := w.plan(&catalogv1.PlanDeploymentRequest{Change: score("api", "api:1")})
	if !slices.Equal(p.GetAwaitedOutputs(), []string{"postgres.default#db"}) || len(p.GetFiles()) != 1 {
		t.Errorf("plan = %v", p)
	}
}

func TestSetImageChangesTheSetAndScaleTheOverlay(t *testing.T) {
	w, _ := shop(t)
	w.deploy(devEnv, score("api", "api:1"))
	ctx := t.Context()
	plan := w.plan(&catalogv1.PlanDeploymentRequest{Change: &catalogv1.Change{SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:2")}}})
	req := &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Image: "api:2", Message: "newer", RequestId: "r1", PlanHash: plan.GetPlanHash()}
	d, err := w.api.SetImage(ctx, req)
	must(t, err)
	again, err := w.api.SetImage(ctx, req)
	must(t, err)
	if d.GetName() != again.GetName() || d.GetImages()["api/main"] != "api:2" || len(d.GetIntent().GetOverlay()) != 0 || d.GetPlannedTree() != plan.GetTree() {
		t.Errorf("deployment = %v", d)
	}
	s, err := w.api.ScaleWorkload(ctx, &catalogv1.ScaleWorkloadRequest{Name: devEnv, Workload: "api", Replicas: 3, RequestId: "r2"})
	must(t, err)
	want := []*rendererv1.Operation{setOp("/workloads/api/metadata/annotations/towpath.dev~1replicas", "3")}
	if diff := cmp.Diff(want, s.GetIntent().GetOverlay(), protocmp.Transform()); diff != "" || s.GetIntent().GetSet() != d.GetIntent().GetSet() {
		t.Error(diff)
	}
	// An image that the overlay has would win, so it goes.
	w.deploy(devEnv, &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{setOp(apiImage, "api:own")}})
	d, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Container: "main", Image: "api:4"})
	must(t, err)
	if d.GetImages()["api/main"] != "api:4" || len(d.GetIntent().GetOverlay()) != 1 {
		t.Errorf("deployment = %v", d)
	}
	// A container that only the overlay has is changed there.
	w.deploy(devEnv, &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{setOp("/workloads/api/containers/side", map[string]any{"image": "side:1"})}})
	d, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Container: "side", Image: "side:2"})
	must(t, err)
	if d.GetImages()["api/side"] != "side:2" {
		t.Errorf("images = %v", d.GetImages())
	}

	_, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Image: "api:5"})
	wantField(t, err, "container", "main, side")
	_, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "wep", Image: "api:5"})
	wantField(t, err, "workload", "there are api")
	_, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Container: "man", Image: "api:5"})
	wantField(t, err, "container", "main, side")
	_, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Container: "main", Image: "no image"})
	wantField(t, err, "image", "is no image")
	_, err = w.api.ScaleWorkload(ctx, &catalogv1.ScaleWorkloadRequest{Name: devEnv, Workload: "wep", Replicas: 1})
	wantField(t, err, "workload", "there are api")
	_, err = w.api.SetImage(ctx, &catalogv1.SetImageRequest{Name: devEnv, Workload: "api", Container: "main", Image: "api:6", PlanHash: plan.GetPlanHash()})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED)
	reused := proto.CloneOf(req)
	reused.Image = "api:7"
	_, err = w.api.SetImage(ctx, reused)
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)
}

func wantField(t *testing.T, err error, field, says string) {
	t.Helper()
	e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if len(e.Fields) != 1 || e.Fields[0].Path != field || !strings.Contains(e.Fields[0].Problem, says) {
		t.Errorf("fields = %v, want %s: …%s…", e.Fields, field, says)
	}
}
