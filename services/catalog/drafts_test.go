package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/store"
)

const (
	apiImage = "/workloads/api/containers/main/image"
	apiLevel = "/workloads/api/containers/main/variables/LOG_LEVEL"
)

func setOp(path string, v any) *rendererv1.Operation {
	value, err := structpb.NewValue(v)
	if err != nil {
		panic(err)
	}
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: value}
}

func removeOp(path string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: path}
}

func (w *world) drafts() catalogv1.DraftServiceClient { return catalogv1.NewDraftServiceClient(w.conn) }

func (w *world) draft(id string, ops ...*rendererv1.Operation) *catalogv1.Draft {
	w.t.Helper()
	d, err := w.drafts().CreateDraft(w.t.Context(), &catalogv1.CreateDraftRequest{
		Parent: "applications/shop", DraftId: id, Draft: &catalogv1.Draft{Environment: devEnv, Operations: ops},
	})
	must(w.t, err)
	return d
}

// drafted is a shop whose dev runs api, with a draft on it.
func drafted(t *testing.T, ops ...*rendererv1.Operation) (*world, *catalogv1.Draft) {
	w, _ := shop(t)
	w.deploy(devEnv, score("api", "api:1"))
	return w, w.draft("next", ops...)
}

func TestADraftIsMadeReadChangedListedAndDeleted(t *testing.T) {
	w, d := drafted(t, setOp(apiImage, "api:2"))
	ctx, api := t.Context(), w.drafts()
	if d.GetName() != "applications/shop/drafts/next" || d.GetBaseSet() != w.getEnv(devEnv).GetIntent().GetSet() || d.GetResultSet() == d.GetBaseSet() ||
		d.GetEtag() == "" || d.GetCreateTime() == nil || d.GetCreateActor() == "" {
		t.Errorf("draft = %v", d)
	}
	got, err := api.GetDraft(ctx, &catalogv1.GetDraftRequest{Name: d.GetName()})
	must(t, err)
	if diff := cmp.Diff(d, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	changed, err := api.UpdateDraft(ctx, &catalogv1.UpdateDraftRequest{
		Draft:      &catalogv1.Draft{Name: d.GetName(), Etag: d.GetEtag(), Operations: []*rendererv1.Operation{setOp(apiImage, "api:3")}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"operations"}},
	})
	must(t, err)
	if changed.GetResultSet() == d.GetResultSet() || changed.GetEnvironment() != devEnv || changed.GetEtag() == d.GetEtag() {
		t.Errorf("changed = %v", changed)
	}
	_, err = api.UpdateDraft(ctx, &catalogv1.UpdateDraftRequest{Draft: &catalogv1.Draft{Name: d.GetName(), Etag: d.GetEtag(), DisplayName: "late"}})
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH)
	w.draft("other")
	list, err := api.ListDrafts(ctx, &catalogv1.ListDraftsRequest{Parent: "applications/shop", PageSize: 1})
	must(t, err)
	rest, err := api.ListDrafts(ctx, &catalogv1.ListDraftsRequest{Parent: "applications/shop", PageToken: list.GetNextPageToken()})
	must(t, err)
	if len(list.GetDrafts()) != 1 || len(rest.GetDrafts()) != 1 || list.GetDrafts()[0].GetName() != d.GetName() {
		t.Errorf("list = %v, then %v", list, rest)
	}
	_, err = api.DeleteDraft(ctx, &catalogv1.DeleteDraftRequest{Name: d.GetName(), Etag: d.GetEtag()})
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH)
	_, err = api.DeleteDraft(ctx, &catalogv1.DeleteDraftRequest{Name: d.GetName()})
	must(t, err)
	_, err = api.GetDraft(ctx, &catalogv1.GetDraftRequest{Name: d.GetName()})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestACreatedDraftIsOneForItsRequestID(t *testing.T) {
	w, _ := drafted(t)
	req := &catalogv1.CreateDraftRequest{Parent: "applications/shop", DraftId: "once", RequestId: "r1"}
	a, err := w.drafts().CreateDraft(t.Context(), req)
	must(t, err)
	b, err := w.drafts().CreateDraft(t.Context(), req)
	must(t, err)
	if diff := cmp.Diff(a, b, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	again := proto.CloneOf(req)
	again.RequestId = ""
	_, err = w.drafts().CreateDraft(t.Context(), again)
	wantError(t, err, codes.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS)
	again.RequestId, again.DraftId = "r1", "else"
	_, err = w.drafts().CreateDraft(t.Context(), again)
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)
	_, err = w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
}

func TestADraftThatCannotWorkIsRefusedWithItsField(t *testing.T) {
	w, good := drafted(t)
	w.app("other")
	w.env("other", "dev")
	for name, tc := range map[string]struct {
		draft *catalogv1.Draft
		field string
	}{
		"a bad pointer":                 {&catalogv1.Draft{Environment: devEnv, Operations: []*rendererv1.Operation{setOp("/workloads/~3", "x")}}, "draft.operations[0].path"},
		"an unknown workload":           {&catalogv1.Draft{Environment: devEnv, Operations: []*rendererv1.Operation{setOp(apiImage, "x"), setOp("/workloads/wep/x", "x")}}, "draft.operations[1].path"},
		"a removal of nothing":          {&catalogv1.Draft{Environment: devEnv, Operations: []*rendererv1.Operation{removeOp("/workloads/api/nothing")}}, "draft.operations[0].path"},
		"a place outside":               {&catalogv1.Draft{Operations: []*rendererv1.Operation{setOp("/else/x", "x")}}, "draft.operations[0].path"},
		"no environment of that name":   {&catalogv1.Draft{Environment: "applications/shop/environments/none"}, "draft.environment"},
		"another application's":         {&catalogv1.Draft{Environment: "applications/other/environments/dev"}, "draft.environment"},
		"no name of an environment":     {&catalogv1.Draft{Environment: "shop"}, "draft.environment"},
		"no name of a set":              {&catalogv1.Draft{BaseSet: "sets/x"}, "draft.base_set"},
		"a base that no deployment has": {&catalogv1.Draft{BaseSet: "sets/" + strings.Repeat("0", 64)}, "draft.base_set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.drafts().CreateDraft(t.Context(), &catalogv1.CreateDraftRequest{Parent: "applications/shop", DraftId: "bad", Draft: tc.draft})
			e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
			if len(e.Fields) != 1 || e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
		})
	}
	_, err := w.drafts().CreateDraft(t.Context(), &catalogv1.CreateDraftRequest{
		Parent: "applications/shop", DraftId: "leak", Draft: &catalogv1.Draft{
			Environment: devEnv, Operations: []*rendererv1.Operation{setOp("/workloads/api/containers/main/variables/DB_PASSWORD", "hunter2hunter2")},
		},
	})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET); len(e.Fields) == 0 || !strings.HasPrefix(e.Fields[0].Path, "draft.operations[0]") {
		t.Errorf("fields = %v", e.Fields)
	}
	_, err = w.drafts().CreateDraft(t.Context(), &catalogv1.CreateDraftRequest{Parent: "applications/none", DraftId: "bad"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.drafts().GetDraft(t.Context(), &catalogv1.GetDraftRequest{Name: "applications/shop/drafts/-"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.drafts().UpdateDraft(t.Context(), &catalogv1.UpdateDraftRequest{
		Draft: &catalogv1.Draft{Name: good.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"result_set"}},
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.drafts().UpdateDraft(t.Context(), &catalogv1.UpdateDraftRequest{
		Draft: &catalogv1.Draft{Name: good.GetName(), Operations: []*rendererv1.Operation{setOp("/workloads/api/big", strings.Repeat("x", 1<<20))}},
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_TOO_LARGE)
	_, err = w.api.DeleteApplication(t.Context(), &catalogv1.DeleteApplicationRequest{Name: "applications/shop"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
}

// The set that a draft makes can be read and compared by its name, and nothing of it is left when the draft goes.
func TestTheSetOfADraftIsThereAsLongAsTheDraft(t *testing.T) {
	w, d := drafted(t, setOp(apiImage, "api:2"))
	ctx := t.Context()
	set, err := w.api.GetSet(ctx, &catalogv1.GetSetRequest{Name: d.GetResultSet()})
	must(t, err)
	if got := set.GetWorkloads()["api"].GetFields()["containers"].String(); !strings.Contains(got, "api:2") || set.GetName() != d.GetResultSet() {
		t.Errorf("set = %v", set)
	}
	diff, err := w.drafts().DiffSets(ctx, &catalogv1.DiffSetsRequest{From: d.GetBaseSet(), To: d.GetResultSet()})
	must(t, err)
	want := &catalogv1.DiffSetsResponse{Operations: []*rendererv1.Operation{setOp(apiImage, "api:2")}, Summary: []string{"api: image api:1 -> api:2"}}
	if diff := cmp.Diff(want, diff, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	before := count(t, w.kv, "sets/")
	_, err = w.drafts().UpdateDraft(ctx, &catalogv1.UpdateDraftRequest{Draft: &catalogv1.Draft{Name: d.GetName(), Operations: []*rendererv1.Operation{setOp(apiImage, "api:3")}}})
	must(t, err)
	_, err = w.api.GetSet(ctx, &catalogv1.GetSetRequest{Name: d.GetResultSet()})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	_, err = w.drafts().DeleteDraft(ctx, &catalogv1.DeleteDraftRequest{Name: d.GetName()})
	must(t, err)
	if n := count(t, w.kv, "sets/"); n != before {
		t.Errorf("%d sets, before %d", n, before)
	}
	if n := count(t, w.kv, "draftSets/"); n != 0 {
		t.Errorf("%d rows of drafts' sets are left", n)
	}
	_, err = w.drafts().DiffSets(ctx, &catalogv1.DiffSetsRequest{From: d.GetBaseSet(), To: d.GetResultSet()})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func count(t *testing.T, kv store.KV, prefix string) (n int) {
	t.Helper()
	for _, err := range store.All(t.Context(), kv, prefix) {
		must(t, err)
		n++
	}
	return n
}

func TestADraftIsRebasedWhereNothingTouches(t *testing.T) {
	w, d := drafted(t, setOp(apiLevel, "debug"))
	ctx := t.Context()
	w.deploy(devEnv, &catalogv1.Change{SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:2")}})
	moved, err := w.drafts().RebaseDraft(ctx, &catalogv1.RebaseDraftRequest{Name: d.GetName()})
	must(t, err)
	if moved.GetBaseSet() != w.getEnv(devEnv).GetIntent().GetSet() || len(moved.GetOperations()) != 1 || moved.GetResultSet() == d.GetResultSet() {
		t.Errorf("moved = %v", moved)
	}
	w.deploy(devEnv, &catalogv1.Change{SetOperations: []*rendererv1.Operation{setOp(apiLevel, "trace")}})
	_, err = w.drafts().RebaseDraft(ctx, &catalogv1.RebaseDraftRequest{Name: d.GetName()})
	if e := wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_DRAFT_CONFLICT); e.Meta["paths"] != apiLevel {
		t.Errorf("paths = %q", e.Meta["paths"])
	}
	_, err = w.drafts().DeployDraft(ctx, &catalogv1.DeployDraftRequest{Name: d.GetName()})
	if e := wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_DRAFT_CONFLICT); e.Meta["paths"] != apiLevel {
		t.Errorf("paths = %q", e.Meta["paths"])
	}
	free, err := w.drafts().CreateDraft(ctx, &catalogv1.CreateDraftRequest{Parent: "applications/shop", DraftId: "free"})
	must(t, err)
	_, err = w.drafts().RebaseDraft(ctx, &catalogv1.RebaseDraftRequest{Name: free.GetName()})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.drafts().DeployDraft(ctx, &catalogv1.DeployDraftRequest{Name: free.GetName()})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.drafts().RebaseDraft(ctx, &catalogv1.RebaseDraftRequest{Name: d.GetName(), BaseSet: moved.GetResultSet()})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
}

func TestADeployedDraftIsRebasedAndDeletedTogether(t *testing.T) {
	w, d := drafted(t, setOp(apiLevel, "debug"))
	ctx := t.Context()
	w.deploy(devEnv, &catalogv1.Change{SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:2")}})
	change := &catalogv1.Change{BaseSet: d.GetBaseSet(), SetOperations: d.GetOperations()}
	plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: change})
	must(t, err)
	req := &catalogv1.DeployDraftRequest{Name: d.GetName(), Message: "debug it", RequestId: "r", PlanHash: plan.GetPlanHash(), Delete: true}
	got, err := w.drafts().DeployDraft(ctx, req)
	must(t, err)
	if diff := cmp.Diff([]string{"api: LOG_LEVEL info -> debug"}, got.GetSummary()); diff != "" {
		t.Error(diff)
	}
	if got.GetPlannedTree() != plan.GetTree() || got.GetMessage() != "debug it" || got.GetImages()["api/main"] != "api:2" || got.GetPlanHash() != plan.GetPlanHash() {
		t.Errorf("deployment = %v", got)
	}
	_, err = w.drafts().GetDraft(ctx, &catalogv1.GetDraftRequest{Name: d.GetName()})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	again, err := w.drafts().DeployDraft(ctx, req) // also when the draft is gone
	must(t, err)
	if again.GetName() != got.GetName() {
		t.Errorf("a second call made %s", again.GetName())
	}
	if _, err := w.api.GetSet(ctx, &catalogv1.GetSetRequest{Name: got.GetIntent().GetSet()}); err != nil {
		t.Errorf("the deployed set: %v", err)
	}
}

func TestARefusedDeploymentLeavesTheDraft(t *testing.T) {
	w, d := drafted(t, setOp(apiImage, "api:2"))
	w.renderer.set(func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) { return nil, errors.New("no") })
	if _, err := w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: d.GetName(), Delete: true}); err == nil {
		t.Fatal("it was deployed")
	}
	if _, err := w.drafts().GetDraft(t.Context(), &catalogv1.GetDraftRequest{Name: d.GetName()}); err != nil {
		t.Errorf("the draft: %v", err)
	}
}

func TestAChangeOnAnOlderBaseIsRebased(t *testing.T) {
	w, _ := shop(t)
	base := w.deploy(devEnv, score("api", "api:1")).GetIntent().GetSet()
	w.deploy(devEnv, &catalogv1.Change{SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:2")}})
	for i, tc := range []struct {
		change *catalogv1.Change
		code   codes.Code
		reason errorsv1.Reason
	}{
		{&catalogv1.Change{BaseSet: base, SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:3")}}, codes.Aborted, errorsv1.Reason_REASON_DRAFT_CONFLICT},
		{&catalogv1.Change{BaseSet: "sets/" + strings.Repeat("a", 64), SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:3")}}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		{&catalogv1.Change{BaseSet: "nonsense", SetOperations: []*rendererv1.Operation{setOp(apiImage, "api:3")}}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		{&catalogv1.Change{BaseSet: base, SetOperations: []*rendererv1.Operation{setOp(apiLevel, "debug")}}, codes.OK, 0},
		{&catalogv1.Change{BaseSet: base, Scores: score("web", "web:1").GetScores(), SetOperations: []*rendererv1.Operation{setOp("/workloads/web/containers/main/image", "web:2")}}, codes.OK, 0},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: tc.change})
			_, err2 := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: tc.change, PlanHash: plan.GetPlanHash()})
			if tc.code == codes.OK {
				must(t, err)
				must(t, err2)
				return
			}
			wantError(t, err, tc.code, tc.reason)
			wantError(t, err2, tc.code, tc.reason)
		})
	}
	if diff := cmp.Diff(map[string]string{"api/main": "api:2", "web/main": "web:2"}, w.get(devEnv+"/deployments/latest").GetImages()); diff != "" {
		t.Error(diff)
	}
}

func TestADraftOutlivesItsEnvironment(t *testing.T) {
	w, _ := shop(t)
	w.env("shop", "empty")
	const empty = "applications/shop/environments/empty"
	d, err := w.drafts().CreateDraft(t.Context(), &catalogv1.CreateDraftRequest{
		Parent: "applications/shop", DraftId: "left", Draft: &catalogv1.Draft{Environment: empty},
	})
	must(t, err)
	_, err = w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: empty})
	must(t, err)
	d, err = w.drafts().UpdateDraft(t.Context(), &catalogv1.UpdateDraftRequest{
		Draft:      &catalogv1.Draft{Name: d.GetName(), Operations: []*rendererv1.Operation{setOp("/workloads/api", map[string]any{"x": "y"})}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"operations"}},
	})
	must(t, err)
	_, err = w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: d.GetName()})
	wantField(t, err, "environment", "does not exist")
	if _, err = w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: d.GetName(), Environment: devEnv}); err != nil {
		t.Error(err)
	}
}

// Of edits and a deployment at once, the deployment has the draft as it was at one moment, and a deleted draft is not edited.
func TestADraftIsDeployedAsItWasAtOneMoment(t *testing.T) {
	w, d := drafted(t, setOp(apiImage, "api:0"), setOp(apiLevel, "0"))
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := w.drafts().UpdateDraft(context.Background(), &catalogv1.UpdateDraftRequest{
				Draft:      &catalogv1.Draft{Name: d.GetName(), Operations: []*rendererv1.Operation{setOp(apiImage, fmt.Sprint("api:", i)), setOp(apiLevel, fmt.Sprint(i))}},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"operations"}},
			})
			if status.Code(err) == codes.NotFound {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	got, err := w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: d.GetName(), Delete: true})
	close(stop)
	running.Wait()
	must(t, err)
	set, err := w.api.GetSet(t.Context(), &catalogv1.GetSetRequest{Name: got.GetIntent().GetSet()})
	must(t, err)
	main := set.GetWorkloads()["api"].AsMap()["containers"].(map[string]any)["main"].(map[string]any)
	if level := main["variables"].(map[string]any)["LOG_LEVEL"]; main["image"] != fmt.Sprint("api:", level) {
		t.Errorf("image %v, level %v", main["image"], level)
	}
	if n := count(t, w.kv, "draftSets/") + count(t, w.kv, "drafts/"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
