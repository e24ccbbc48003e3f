package cli_test

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// fakeDrafts is the fake's part for drafts: one, which does not change.
type fakeDrafts struct {
	catalogv1.UnimplementedDraftServiceServer
}

func fakeDraft() *catalogv1.Draft {
	return &catalogv1.Draft{
		Name: "applications/shop/drafts/next", DisplayName: "The next one", Environment: dev, BaseSet: olderID, ResultSet: setName, Etag: "7",
		Operations: []*rendererv1.Operation{set("/workloads/api/containers/main/image", "registry.example.com/shop/api:2"), remove("/workloads/two")},
		CreateTime: at(3 * time.Hour), UpdateTime: at(time.Hour), CreateActor: "tokens/ada",
	}
}

func setJSON(path, text string) *rendererv1.Operation {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	value, err := structpb.NewValue(v)
	if err != nil {
		panic(err)
	}
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: value}
}

func (fakeDrafts) GetDraft(_ context.Context, r *catalogv1.GetDraftRequest) (*catalogv1.Draft, error) {
	return find([]*catalogv1.Draft{fakeDraft()}, r.GetName())
}

func (fakeDrafts) ListDrafts(context.Context, *catalogv1.ListDraftsRequest) (*catalogv1.ListDraftsResponse, error) {
	return &catalogv1.ListDraftsResponse{Drafts: []*catalogv1.Draft{fakeDraft()}}, nil
}

func (fakeDrafts) CreateDraft(_ context.Context, r *catalogv1.CreateDraftRequest) (*catalogv1.Draft, error) {
	d := proto.CloneOf(r.GetDraft())
	d.Name = r.GetParent() + "/drafts/" + r.GetDraftId()
	return d, nil
}

func (fakeDrafts) UpdateDraft(_ context.Context, r *catalogv1.UpdateDraftRequest) (*catalogv1.Draft, error) {
	return r.GetDraft(), nil
}

func (fakeDrafts) RebaseDraft(context.Context, *catalogv1.RebaseDraftRequest) (*catalogv1.Draft, error) {
	return fakeDraft(), nil
}

func (fakeDrafts) DeleteDraft(context.Context, *catalogv1.DeleteDraftRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (f *fake) DeployDraft(_ context.Context, r *catalogv1.DeployDraftRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_CHANGE, r.GetMessage()), nil
}

func (fakeDrafts) DiffSets(_ context.Context, r *catalogv1.DiffSetsRequest) (*catalogv1.DiffSetsResponse, error) {
	if r.GetFrom() == r.GetTo() {
		return &catalogv1.DiffSetsResponse{}, nil
	}
	return &catalogv1.DiffSetsResponse{Summary: []string{"added workload web", "api: image registry.example.com/shop/api:1 -> registry.example.com/shop/api:2"}}, nil
}

func (f *fake) SetImage(_ context.Context, r *catalogv1.SetImageRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_CHANGE, r.GetMessage()), nil
}

func (f *fake) ScaleWorkload(_ context.Context, r *catalogv1.ScaleWorkloadRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_CHANGE, r.GetMessage()), nil
}

// planDetails is what a plan tells beside its files.
func planDetails(p *catalogv1.Plan) *catalogv1.Plan {
	api := &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api", File: "api-deployment.yaml", Workload: "api"}
	web := &rendererv1.ObjectRef{ApiVersion: "v1", Kind: "Service", Name: "web", File: "web-service.yaml", Workload: "web"}
	p.Objects = []*catalogv1.ObjectChange{
		{Object: api, Action: catalogv1.FileChange_ACTION_MODIFY}, {Object: web, Action: catalogv1.FileChange_ACTION_ADD},
		{Object: &rendererv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Name: "old"}, Action: catalogv1.FileChange_ACTION_DELETE},
	}
	container := "spec.template.spec.containers[name=main]."
	p.Fields = []*catalogv1.FieldChange{
		{Object: api, Field: container + "env[name=LOG_LEVEL].value", Before: structpb.NewStringValue("info"), After: structpb.NewStringValue("debug")},
		{Object: api, Field: container + "env[name=NEW]", After: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"name": structpb.NewStringValue("NEW"), "value": structpb.NewStringValue(""),
		}})},
		{Object: api, Field: "metadata.labels[tier]", Before: structpb.NewStringValue("")},
	}
	p.Text = "~ Deployment api\n    " + container + "env[name=LOG_LEVEL].value: info -> debug\n    + " + container + "env[name=NEW]: \"\"\n" +
		"    - metadata.labels[tier]: \"\"\n+ Service web\n- ConfigMap old\n"
	p.Verdicts = []*rendererv1.Verdict{
		{Guardrail: "no-latest", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Message: "the image has no version", Object: api},
		{Guardrail: "replicas", Enforcement: rendererv1.Guardrail_ENFORCEMENT_WARN, Message: "one replica only", Object: api},
	}
	p.Drift = []string{"Service web spec.ports[port=80] added by kubectl"}
	p.ApprovalsRequired, p.Hold, p.AwaitedOutputs = 1, "locked by tokens/ada: release; deployments wait", []string{"postgres.default#api.db"}
	return p
}
