package portal_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// ListFindingRecords has what was decided in this test, and one of yesterday.
func (l *live) ListFindingRecords(_ context.Context, r *catalogv1.ListFindingRecordsRequest) (*catalogv1.ListFindingRecordsResponse, error) {
	if r.GetParent() != shopDev {
		return recordsEverywhere(l.s, r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := &catalogv1.FindingRecord{
		Name: shopDev + "/findingRecords/1", OnsetTime: ago(26 * time.Hour), EndTime: ago(25 * time.Hour), Decision: catalogv1.FindingRecord_DECISION_REVERTED, DecideActor: "users/ada", DecideTime: ago(25 * time.Hour),
		Finding: &driftv1.Finding{Kind: driftv1.Finding_KIND_CHANGED, ObjectKind: "ConfigMap", ObjectName: "api-config", Field: "data[api.yaml]", Manager: "kubectl-edit", Actor: "bo@example.com"},
	}
	return &catalogv1.ListFindingRecordsResponse{FindingRecords: append(slices.Clone(l.records), old)}, nil
}

// AcceptFindings makes a draft, but not of replicas, which the page is to tell.
func (l *live) AcceptFindings(_ context.Context, r *catalogv1.AcceptFindingsRequest) (*catalogv1.AcceptFindingsResponse, error) {
	out := &catalogv1.AcceptFindingsResponse{}
	if !r.GetValidateOnly() {
		out.Draft = "applications/shop/drafts/accepted"
	}
	for _, name := range r.GetNames() {
		a := &catalogv1.AcceptedFinding{Name: name, Place: "/workloads/api/service/ports/extra"}
		if strings.HasSuffix(name, "f2") {
			a.Place, a.Problem = "", "an autoscaler owns it; change the autoscaler"
		}
		out.Findings = append(out.Findings, a)
	}
	return out, nil
}

func (l *live) IgnoreFindings(ctx context.Context, r *catalogv1.IgnoreFindingsRequest) (*catalogv1.IgnoreFindingsResponse, error) {
	c, _ := auth.CallerFrom(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	out := &catalogv1.IgnoreFindingsResponse{}
	l.s.findings = slices.DeleteFunc(l.s.findings, func(f *driftv1.Finding) bool {
		if !slices.Contains(r.GetNames(), f.Name) {
			return false
		}
		rule := &driftv1.IgnoreRule{
			Name: fmt.Sprintf("%s/ignoreRules/r%d", shopDev, len(l.rules)+1), ObjectKind: f.ObjectKind, ObjectName: f.ObjectName, Field: f.Field,
			Owner: r.GetOwner(), Reason: r.GetReason(), ExpireTime: r.GetExpireTime(), CreateActor: c.Subject,
		}
		l.rules, out.Rules = append(l.rules, rule), append(out.Rules, rule)
		return true
	})
	return out, nil
}

func (l *live) ListIgnoreRules(context.Context, *catalogv1.ListIgnoreRulesRequest) (*catalogv1.ListIgnoreRulesResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &catalogv1.ListIgnoreRulesResponse{IgnoreRules: l.rules}, nil
}

func (l *live) DeleteIgnoreRule(_ context.Context, r *catalogv1.DeleteIgnoreRuleRequest) (*emptypb.Empty, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = slices.DeleteFunc(l.rules, func(x *driftv1.IgnoreRule) bool { return x.Name == r.GetName() })
	return &emptypb.Empty{}, nil
}

// GetLiveObject shows an object of which two lines differ.
func (l *live) GetLiveObject(_ context.Context, r *driftv1.GetLiveObjectRequest) (*driftv1.LiveObject, error) {
	git := "apiVersion: apps/v1\nkind: " + r.GetObject().GetKind() + "\nmetadata:\n  name: " + r.GetObject().GetName() + "\nspec:\n  replicas: 1\n  template:\n    spec:\n      containers:\n      - image: ghcr.io/example/api:1.4.2\n"
	has := strings.Replace(git, "replicas: 1", "replicas: 3", 1) + "        tty: true\n"
	return &driftv1.LiveObject{
		Object: r.GetObject(), Desired: git, Comparable: has, Live: has + "status: {}\n", File: "api/deployment.yaml",
		Owners: []*driftv1.FieldOwner{{Manager: "kubectl", Operation: "Update/scale", Time: ago(time.Minute), Fields: 1}},
	}, nil
}

func (l *live) GetObjectTree(_ context.Context, r *driftv1.GetObjectTreeRequest) (*driftv1.ObjectTree, error) {
	ref := func(version, kind, name string) *driftv1.ObjectRef {
		return &driftv1.ObjectRef{ApiVersion: version, Kind: kind, Namespace: "shop-dev", Name: name}
	}
	ok := driftv1.Health_HEALTH_HEALTHY
	return &driftv1.ObjectTree{Nodes: []*driftv1.ObjectNode{
		{Object: ref("apps/v1", "Deployment", "api"), Uid: "1", Declared: true, Health: ok, Message: "1 of 1 available", CreateTime: ago(46 * time.Hour)},
		{Object: ref("apps/v1", "ReplicaSet", "api-7d9c8b6f5"), Uid: "2", OwnerUid: "1", Health: ok, CreateTime: ago(time.Hour)},
		{Object: ref("v1", "Pod", "api-7d9c8b6f5-x2v7k"), Uid: "3", OwnerUid: "2", Health: ok, CreateTime: ago(time.Hour), Pod: &driftv1.PodState{Phase: "Running", Node: "node-1", Containers: []*driftv1.ContainerState{
			{Name: "migrate", State: "terminated: Completed", Init: true}, {Name: "main", State: "running", Ready: true, Restarts: 2}, {Name: "proxy", State: "running", Ready: true},
		}}},
		{Object: ref("v1", "Service", "api"), Uid: "4", Declared: true, Health: ok, Findings: 1},
	}}, nil
}

func (l *live) ListObjectEvents(_ context.Context, r *driftv1.ListObjectEventsRequest) (*driftv1.ListObjectEventsResponse, error) {
	return &driftv1.ListObjectEventsResponse{Events: []*driftv1.ObjectEvent{
		{Object: &driftv1.ObjectRef{Kind: "Pod", Name: "api-7d9c8b6f5-x2v7k"}, Type: "Warning", Reason: "BackOff", Message: "Back-off restarting failed container main", Count: 3, LastTime: ago(time.Minute)},
		{Object: &driftv1.ObjectRef{Kind: "ReplicaSet", Name: "api-7d9c8b6f5"}, Type: "Normal", Reason: "SuccessfulCreate", Message: "Created pod: api-7d9c8b6f5-x2v7k", Count: 1, LastTime: ago(time.Hour)},
	}}, nil
}

// StreamLogs sends the lines that there are, and those that come.
func (l *live) StreamLogs(r *driftv1.StreamLogsRequest, stream grpc.ServerStreamingServer[driftv1.LogChunk]) error {
	for sent := 0; ; {
		l.mu.Lock()
		lines, none := slices.Clone(l.log), l.noLog
		l.mu.Unlock()
		if none {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_LOGS_UNAVAILABLE, "the cluster has no log of the container %s of the pod %s", r.GetContainer(), r.GetPod())
		}
		for ; sent < len(lines); sent++ {
			if err := stream.Send(&driftv1.LogChunk{Pod: r.GetPod(), Container: r.GetContainer(), Text: []byte(r.GetContainer() + " " + lines[sent] + "\n")}); err != nil {
				return err
			}
		}
		if !r.GetFollow() {
			return nil
		}
		if !pause(stream.Context()) {
			return stream.Context().Err()
		}
	}
}

// LoadWorkloads knows one good file and one bad one.
func (l *live) LoadWorkloads(_ context.Context, r *rendererv1.LoadWorkloadsRequest) (*rendererv1.LoadWorkloadsResponse, error) {
	text := string(r.GetFiles()[0].GetContent())
	if strings.Contains(text, "variabels") {
		return nil, &errs.Error{Kind: errs.Invalid, Reason: errorsv1.Reason_REASON_INVALID_SCORE, Msg: "the Score file has 2 problems", Fields: []errs.Field{
			{Path: "score.yaml:7:5 containers.main.variabels", Problem: `is not a known field; did you mean "variables"?`}, {Path: "score.yaml:8:13 containers.main.ports", Problem: "expected a number"},
		}}
	}
	return &rendererv1.LoadWorkloadsResponse{Workloads: map[string]*structpb.Struct{"hello": {}}}, nil
}

// syncs plays a sync by hand: one object would change, one waits for its removal.
type syncs struct {
	mu    sync.Mutex
	asked *driftv1.SyncEnvironmentRequest
}

var oldService = &driftv1.ObjectRef{ApiVersion: "v1", Kind: "Service", Name: "old"}

func (l *syncs) held() []*driftv1.ObjectRef {
	if l == nil {
		return nil
	}
	return []*driftv1.ObjectRef{oldService}
}

func (l *syncs) changes(r *driftv1.SyncEnvironmentRequest) []*driftv1.SyncChange {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = r
	out := []*driftv1.SyncChange{{Object: &driftv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api"}, Action: driftv1.SyncChange_ACTION_CHANGE, Fields: []string{"spec.replicas"}}}
	if r.GetConfirmPrune() {
		out = append(out, &driftv1.SyncChange{Object: oldService, Action: driftv1.SyncChange_ACTION_PRUNE})
	}
	return out
}

// GetEnvironmentType gives development, which is synced in office hours.
func (s *stub) GetEnvironmentType(_ context.Context, r *catalogv1.GetEnvironmentTypeRequest) (*catalogv1.EnvironmentType, error) {
	return &catalogv1.EnvironmentType{Name: r.GetName(), AutomaticSync: true, SyncPolicy: &driftv1.SyncPolicy{Windows: []*driftv1.SyncWindow{{Id: "office", Weekly: "Mon 08:00 - Fri 16:00", TimeZone: "Europe/Berlin"}}}}, nil
}

func (gits) GetForeignChange(_ context.Context, r *catalogv1.GetForeignChangeRequest) (*catalogv1.ForeignChangeDetail, error) {
	return &catalogv1.ForeignChangeDetail{Fields: []*catalogv1.FieldChange{{
		Object: &rendererv1.ObjectRef{Kind: "Deployment", Name: "web"}, Field: "spec.replicas", Before: structpb.NewNumberValue(1), After: structpb.NewNumberValue(5),
	}}}, nil
}

// ResolveForeignChange adopts what was seen; what has moved since is refused.
func (gits) ResolveForeignChange(_ context.Context, r *catalogv1.ResolveForeignChangeRequest) (*catalogv1.ForeignChange, error) {
	if r.GetFoundTree() != hash("seen") {
		return nil, errs.New(errs.Conflict, errorsv1.Reason_REASON_FOREIGN_CHANGE, "another tree stands there by now")
	}
	return &catalogv1.ForeignChange{Draft: "applications/shop/drafts/adopted"}, nil
}
