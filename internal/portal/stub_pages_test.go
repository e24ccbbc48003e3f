package portal_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// shelves play what the pages besides the environment's read: definitions, drafts, variables.
type shelves struct {
	catalogv1.UnimplementedDefinitionServiceServer
	catalogv1.UnimplementedDraftServiceServer
	catalogv1.UnimplementedVariableServiceServer

	s *stub
	// versions are those of the one definition, newest first; variables those of shop; drafts those of shop.
	versions  []*catalogv1.DefinitionVersion
	variables []*catalogv1.Variable
	drafts    []*catalogv1.Draft
}

func init() {
	stubServices = append(stubServices, func(r grpc.ServiceRegistrar, s *stub) {
		sh := &shelves{s: s}
		if len(s.apps) > 0 {
			sh.fill()
		}
		catalogv1.RegisterDefinitionServiceServer(r, sh)
		catalogv1.RegisterDraftServiceServer(r, sh)
		catalogv1.RegisterVariableServiceServer(r, sh)
	})
	portalPages = append(portalPages, pagesOfPages...)
}

const postgres = "resourceDefinitions/postgres-rds"

func (sh *shelves) fill() {
	content := func(n string) *rendererv1.ResourceDefinition {
		in, _ := structpb.NewStruct(map[string]any{"manifests": "kind: Instance\nsize: " + n})
		return &rendererv1.ResourceDefinition{Name: postgres + "/versions/" + n, Type: "postgres", Driver: rendererv1.ResourceDefinition_DRIVER_CLAIM, Inputs: in, Criteria: []*rendererv1.Criteria{{EnvType: "production"}}}
	}
	version := func(n string, state catalogv1.DefinitionVersion_State, why string) *catalogv1.DefinitionVersion {
		return &catalogv1.DefinitionVersion{Name: postgres + "/versions/" + n, Content: content(n), State: state, Message: why, CreateTime: ago(time.Hour), CreateActor: "users/grace"}
	}
	sh.versions = []*catalogv1.DefinitionVersion{
		version("3", catalogv1.DefinitionVersion_STATE_PROPOSED, "larger disks"), version("2", catalogv1.DefinitionVersion_STATE_ACTIVE, "backups"), version("1", catalogv1.DefinitionVersion_STATE_ARCHIVED, ""),
	}
	sh.variables = []*catalogv1.Variable{
		{Name: "applications/shop/variables/CURRENCY", Value: "EUR", Description: "what prices are in", Version: 3, UpdateActor: "users/ada", UpdateTime: ago(time.Hour), Etag: "3"},
		{Name: "applications/shop/variables/TOKEN", Secret: &rendererv1.SecretReference{Name: "shop-token", Key: "token"}, Version: 1, UpdateActor: "users/ada", UpdateTime: ago(time.Hour)},
	}
	base := sh.s.envs[0].GetIntent().GetSet()
	sh.drafts = []*catalogv1.Draft{{
		Name: "applications/shop/drafts/next", DisplayName: "Next release", Environment: shopDev, BaseSet: base, ResultSet: "sets/" + strings.Repeat("cd", 32), Etag: "1", CreateActor: "users/ada", CreateTime: ago(time.Hour), UpdateTime: ago(time.Hour),
		Operations: []*rendererv1.Operation{{Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/containers/main/image", Value: structpb.NewStringValue("ghcr.io/example/api:1.5.0")}, {Action: rendererv1.Operation_ACTION_REMOVE, Path: "/workloads/web"}},
		Variables:  map[string]string{"CURRENCY": "CHF"},
	}}
}

// passes tells whether a row passes a filter's term for one field.
func passes(filter, field, value string) bool {
	m := regexp.MustCompile(`\b` + field + ` = "([^"]*)"`).FindStringSubmatch(filter)
	return m == nil || m[1] == value
}

// --- definitions ---

func (sh *shelves) definition() *catalogv1.ResourceDefinition {
	d := &catalogv1.ResourceDefinition{Name: postgres, Description: "databases of the cloud", Type: "postgres", LatestVersion: 3, CreateTime: ago(48 * time.Hour), CreateActor: "users/grace"}
	for i, v := range sh.versions {
		if v.GetState() == catalogv1.DefinitionVersion_STATE_ACTIVE {
			d.ActiveVersion = int64(3 - i)
		}
	}
	return d
}

func (sh *shelves) ListResourceDefinitions(context.Context, *catalogv1.ListResourceDefinitionsRequest) (*catalogv1.ListResourceDefinitionsResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	out := &catalogv1.ListResourceDefinitionsResponse{}
	if len(sh.versions) > 0 {
		out.ResourceDefinitions = []*catalogv1.ResourceDefinition{sh.definition()}
	}
	return out, nil
}

func (sh *shelves) GetResourceDefinition(_ context.Context, r *catalogv1.GetResourceDefinitionRequest) (*catalogv1.ResourceDefinition, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	if r.GetName() != postgres || len(sh.versions) == 0 {
		return nil, notFound(r.GetName())
	}
	return sh.definition(), nil
}

func (sh *shelves) ListDefinitionVersions(context.Context, *catalogv1.ListDefinitionVersionsRequest) (*catalogv1.ListDefinitionVersionsResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	out := &catalogv1.ListDefinitionVersionsResponse{}
	for _, v := range sh.versions {
		out.DefinitionVersions = append(out.DefinitionVersions, proto.CloneOf(v))
	}
	return out, nil
}

func (sh *shelves) PlanDefinition(_ *catalogv1.PlanDefinitionRequest, stream grpc.ServerStreamingServer[catalogv1.PlanDefinitionResponse]) error {
	for _, m := range []*catalogv1.PlanDefinitionResponse{
		{Environment: "applications/shop/environments/production", Resources: []string{"postgres.default#shop-db"}, Files: []string{"shop-db/instance.yaml"}},
		{Environment: shopDev, Error: "output host is not given"},
		{Sum: &catalogv1.DefinitionPlanSum{Environments: 40, Changed: 1, Broken: 1, PlanHash: "blast"}},
	} {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (sh *shelves) ActivateDefinition(_ context.Context, r *catalogv1.ActivateDefinitionRequest) (*catalogv1.DefinitionVersion, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	if r.GetPlanHash() != "blast" {
		return nil, errs.InvalidField("plan_hash", "is another one")
	}
	sh.versions[0].State, sh.versions[1].State = catalogv1.DefinitionVersion_STATE_ACTIVE, catalogv1.DefinitionVersion_STATE_ARCHIVED
	return sh.versions[0], nil
}

func (sh *shelves) ExplainMatch(_ context.Context, r *catalogv1.ExplainMatchRequest) (*catalogv1.ExplainMatchResponse, error) {
	return &catalogv1.ExplainMatchResponse{Candidates: []*rendererv1.MatchCandidate{
		{Definition: "builtin/" + r.GetType(), Won: true, Reason: "has no criteria, so it answers every request"},
		{Definition: postgres + "/versions/2", Specificity: -1, Reason: "is for environment type production, and this is development"},
	}}, nil
}

func (sh *shelves) ListResourceOutputs(context.Context, *catalogv1.ListResourceOutputsRequest) (*catalogv1.ListResourceOutputsResponse, error) {
	values, _ := structpb.NewStruct(map[string]any{"host": "db.internal"})
	return &catalogv1.ListResourceOutputsResponse{Outputs: []*rendererv1.ResourceOutputs{{Resource: "postgres.default#shop-db", Values: values, Secrets: map[string]*rendererv1.SecretReference{"password": {Name: "shop-db", Key: "password"}}}}}, nil
}

// --- drafts ---

func (sh *shelves) ListDrafts(_ context.Context, r *catalogv1.ListDraftsRequest) (*catalogv1.ListDraftsResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	if r.GetParent() != "applications/shop" {
		return &catalogv1.ListDraftsResponse{}, nil
	}
	return &catalogv1.ListDraftsResponse{Drafts: slices.Clone(sh.drafts)}, nil
}

func (sh *shelves) GetDraft(_ context.Context, r *catalogv1.GetDraftRequest) (*catalogv1.Draft, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	for _, d := range sh.drafts {
		if d.GetName() == r.GetName() {
			return d, nil
		}
	}
	return nil, notFound(r.GetName())
}

func (sh *shelves) DiffSets(context.Context, *catalogv1.DiffSetsRequest) (*catalogv1.DiffSetsResponse, error) {
	return &catalogv1.DiffSetsResponse{Summary: []string{"api: image 1.4.2 -> 1.5.0", "removed workload web"}}, nil
}

func (sh *shelves) RebaseDraft(context.Context, *catalogv1.RebaseDraftRequest) (*catalogv1.Draft, error) {
	return nil, errs.New(errs.Conflict, errorsv1.Reason_REASON_DRAFT_CONFLICT, "both changed /workloads/api/containers/main/image")
}

func (sh *shelves) DeployDraft(ctx context.Context, r *catalogv1.DeployDraftRequest) (*catalogv1.Deployment, error) {
	return sh.s.deploy(ctx, r.GetEnvironment(), &catalogv1.Deployment{Message: r.GetMessage(), Summary: []string{"of the draft"}}, func(*catalogv1.Environment) error { return nil })
}

func (sh *shelves) DeleteDraft(context.Context, *catalogv1.DeleteDraftRequest) (*emptypb.Empty, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	sh.drafts = nil
	return &emptypb.Empty{}, nil
}

// --- variables ---

func (sh *shelves) ListVariables(_ context.Context, r *catalogv1.ListVariablesRequest) (*catalogv1.ListVariablesResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	if r.GetParent() != "applications/shop" {
		return &catalogv1.ListVariablesResponse{}, nil
	}
	out := &catalogv1.ListVariablesResponse{}
	for _, v := range sh.variables {
		out.Variables = append(out.Variables, proto.CloneOf(v))
	}
	return out, nil
}

func (sh *shelves) SetVariable(_ context.Context, r *catalogv1.SetVariableRequest) (*catalogv1.SetVariableResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	v := r.GetVariable()
	if strings.Contains(v.GetValue(), "secret") {
		return nil, errs.InvalidField("variable.value", "looks like a secret; give a reference to one")
	}
	i := slices.IndexFunc(sh.variables, func(o *catalogv1.Variable) bool { return o.GetName() == v.GetName() })
	if i < 0 {
		sh.variables = append(sh.variables, v)
		i = len(sh.variables) - 1
	}
	sh.variables[i].Value, sh.variables[i].UpdateActor, sh.variables[i].UpdateTime = v.GetValue(), "tokens/admin", ago(0)
	sh.variables[i].Version++
	out := &catalogv1.SetVariableResponse{Variable: sh.variables[i]}
	if r.GetRollout() == catalogv1.Rollout_ROLLOUT_ALL {
		out.Deployments = []*catalogv1.Deployment{{Name: shopDev + "/deployments/4"}}
		out.HeldEnvironments = []string{"applications/shop/environments/production"}
	}
	return out, nil
}

func (sh *shelves) ListVariableVersions(_ context.Context, r *catalogv1.ListVariableVersionsRequest) (*catalogv1.ListVariableVersionsResponse, error) {
	return &catalogv1.ListVariableVersionsResponse{Variables: []*catalogv1.Variable{
		{Name: r.GetParent(), Value: "EUR", Version: 3, UpdateActor: "users/ada", UpdateTime: ago(time.Hour)}, {Name: r.GetParent(), Deleted: true, Version: 2, UpdateActor: "users/bo", UpdateTime: ago(2 * time.Hour)},
		{Name: r.GetParent(), Value: "USD", Version: 1, UpdateActor: "users/ada", UpdateTime: ago(3 * time.Hour)},
	}}, nil
}

func (sh *shelves) FindVariableUses(context.Context, *catalogv1.FindVariableUsesRequest) (*catalogv1.FindVariableUsesResponse, error) {
	return &catalogv1.FindVariableUsesResponse{Uses: []*catalogv1.VariableUse{{Environment: shopDev, Workload: "api", Version: 3}}}, nil
}

func (sh *shelves) RestoreVariable(ctx context.Context, r *catalogv1.RestoreVariableRequest) (*catalogv1.SetVariableResponse, error) {
	return sh.SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: r.GetName(), Value: "USD"}, Rollout: r.GetRollout()})
}

func (sh *shelves) DeleteVariable(_ context.Context, r *catalogv1.DeleteVariableRequest) (*catalogv1.SetVariableResponse, error) {
	sh.s.mu.Lock()
	defer sh.s.mu.Unlock()
	sh.variables = slices.DeleteFunc(sh.variables, func(v *catalogv1.Variable) bool { return v.GetName() == r.GetName() })
	return &catalogv1.SetVariableResponse{Variable: &catalogv1.Variable{Name: r.GetName(), Deleted: true}}, nil
}

// --- finding records ---

// recordsEverywhere are the records of all environments.
func recordsEverywhere(s *stub, r *catalogv1.ListFindingRecordsRequest) (*catalogv1.ListFindingRecordsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &catalogv1.ListFindingRecordsResponse{}
	add := func(rec *catalogv1.FindingRecord) {
		open := map[bool]string{true: "true", false: "false"}[rec.GetEndTime() == nil]
		if passes(r.GetFilter(), "open", open) && passes(r.GetFilter(), "kind", rec.GetFinding().GetObjectKind()) {
			out.FindingRecords = append(out.FindingRecords, rec)
		}
	}
	for i, f := range s.findings {
		add(&catalogv1.FindingRecord{Name: shopDev + "/findingRecords/r" + string(rune('1'+i)), Finding: f, OnsetTime: f.GetDetectTime()})
	}
	if len(s.findings) > 0 {
		f := proto.CloneOf(s.findings[0])
		f.Actor = "jane"
		add(&catalogv1.FindingRecord{Name: "applications/shop/environments/production/findingRecords/old", Finding: f, OnsetTime: ago(50 * time.Hour), EndTime: ago(49 * time.Hour), Decision: catalogv1.FindingRecord_DECISION_REVERTED, DecideActor: "users/ada", Reason: "not ours"})
	}
	return out, nil
}

// --- what the catalog, the drift service and Git say for these pages ---

func (s *stub) GetApplication(_ context.Context, r *catalogv1.GetApplicationRequest) (*catalogv1.Application, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if a.GetName() == r.GetName() {
			return a, nil
		}
	}
	return nil, notFound(r.GetName())
}

func (s *stub) GetDeliveryMetrics(_ context.Context, r *catalogv1.GetDeliveryMetricsRequest) (*catalogv1.DeliveryMetrics, error) {
	weeks := r.GetEndTime().AsTime().Sub(r.GetStartTime().AsTime()).Hours() / 168
	return &catalogv1.DeliveryMetrics{
		Deployments: int64(12 * weeks), DeploymentsPerDay: 12.0 / 7, LeadTimeMedian: durationpb.New(42 * time.Second), LeadTimeP95: durationpb.New(3 * time.Minute),
		ChangeFailureRate: 0.08, Failures: 4, TimeToRestoreMedian: durationpb.New(17 * time.Minute),
	}, nil
}

func (s *stub) ListTargets(context.Context, *catalogv1.ListTargetsRequest) (*catalogv1.ListTargetsResponse, error) {
	if len(s.apps) == 0 {
		return &catalogv1.ListTargetsResponse{}, nil
	}
	return &catalogv1.ListTargetsResponse{Targets: []*catalogv1.Target{{Name: "targets/default", DisplayName: "Default cluster", RequestLimit: 50}, {Name: "targets/eu", Engine: catalogv1.Target_ENGINE_FLUX}}}, nil
}

func (s *stub) ListRepositories(context.Context, *catalogv1.ListRepositoriesRequest) (*catalogv1.ListRepositoriesResponse, error) {
	if len(s.apps) == 0 {
		return &catalogv1.ListRepositoriesResponse{}, nil
	}
	return &catalogv1.ListRepositoriesResponse{Repositories: []*catalogv1.Repository{{Name: "repositories/deployments", Url: "https://git.example.com/team/deployments.git", Branch: "main", PathTemplate: "environments/{environment}/{application}", PushBudget: 60}}}, nil
}

func (s *stub) GetTargetStatus(_ context.Context, r *driftv1.GetTargetStatusRequest) (*driftv1.TargetStatus, error) {
	if strings.HasPrefix(r.GetName(), "targets/eu") {
		return &driftv1.TargetStatus{Name: r.GetName(), Message: "connection refused; look whether the cluster runs", ChangeTime: ago(time.Hour), SeenTime: ago(time.Hour)}, nil
	}
	return &driftv1.TargetStatus{Name: r.GetName(), Reachable: true, Version: "v1.34.1", SeenTime: ago(0), ChangeTime: ago(time.Hour), Replicas: []*driftv1.TargetReplica{{Replica: "drift-0", Environments: 20, Objects: 9800, Watches: 14, Requests: 311}}}, nil
}

func (gits) GetRepositoryHealth(context.Context, *catalogv1.GetRepositoryHealthRequest) (*catalogv1.GetRepositoryHealthResponse, error) {
	return &catalogv1.GetRepositoryHealthResponse{Branches: []*catalogv1.BranchHealth{{Url: "https://git.example.com/team/deployments.git", Branch: "main", Environments: 2, Health: &committerv1.RepositoryHealth{
		State: committerv1.RepositoryHealth_STATE_REACHABLE, PushTime: ago(time.Minute), PushDuration: durationpb.New(180 * time.Millisecond), Queued: 2, Lag: durationpb.New(4 * time.Second), PullRequests: 1,
	}}}}, nil
}

func (gits) DiagnoseRepository(context.Context, *catalogv1.DiagnoseRepositoryRequest) (*committerv1.Diagnosis, error) {
	return &committerv1.Diagnosis{Steps: []*committerv1.DiagnosisStep{
		{Id: "connect", Title: "Connect", Outcome: committerv1.DiagnosisStep_OUTCOME_OK, Finding: "in 12 ms"},
		{Id: "push", Title: "Push", Outcome: committerv1.DiagnosisStep_OUTCOME_FAILED, Finding: "the host refused", Remedy: "give the token the right to write"},
	}}, nil
}

func (manifests) GetResourceGraph(context.Context, *catalogv1.GetResourceGraphRequest) (*rendererv1.ResourceGraph, error) {
	object := func(kind, name string) *rendererv1.ObjectRef { return &rendererv1.ObjectRef{Kind: kind, Name: name} }
	resource := func(id, typ, definition string, objects ...*rendererv1.ObjectRef) *rendererv1.ResourceGraph_Node {
		return &rendererv1.ResourceGraph_Node{Id: typ + ".default#" + id, Type: typ, Class: "default", ResourceId: id, Definition: definition, Declared: "resources." + id, Workloads: []string{"api"}, Objects: objects, Outputs: []string{"host", "password"}}
	}
	edge := func(from, to string, why rendererv1.ResourceGraph_Edge_Why, names ...string) *rendererv1.ResourceGraph_Edge {
		return &rendererv1.ResourceGraph_Edge{From: from, To: to, Why: why, Names: names}
	}
	const declares, refers, provisions = rendererv1.ResourceGraph_Edge_WHY_DECLARES, rendererv1.ResourceGraph_Edge_WHY_REFERS, rendererv1.ResourceGraph_Edge_WHY_PROVISIONS
	db, queue := resource("shop-db", "postgres", postgres+"/versions/2", object("Instance", "shop-db")), resource("orders", "amqp", "builtin/amqp", object("StatefulSet", "orders"))
	db.Awaited = true
	return &rendererv1.ResourceGraph{Nodes: []*rendererv1.ResourceGraph_Node{
		{Id: "workload/api", Declared: "workloads.api", Workloads: []string{"api"}, Objects: []*rendererv1.ObjectRef{object("Deployment", "api"), object("Service", "api")}},
		{Id: "workload/web", Declared: "workloads.web", Workloads: []string{"web"}, Objects: []*rendererv1.ObjectRef{object("Deployment", "web")}},
		db, queue, resource("shop.example.com", "dns", "builtin/dns"), resource("web.route", "route", "builtin/route", object("HTTPRoute", "web")), resource("shop-db-net", "network", "builtin/network"),
	}, Edges: []*rendererv1.ResourceGraph_Edge{
		edge("workload/api", db.GetId(), declares, "db"), edge("workload/api", db.GetId(), refers, "host", "password"), edge("workload/api", queue.GetId(), declares, "queue"),
		edge("workload/web", "route.default#web.route", declares, "route"), edge("route.default#web.route", "dns.default#shop.example.com", refers, "host"), edge(db.GetId(), "network.default#shop-db-net", provisions),
		edge("workload/web", queue.GetId(), declares, "queue"),
	}}, nil
}

func (manifests) DiffManifests(context.Context, *catalogv1.DiffManifestsRequest) (*rendererv1.BundleDiff, error) {
	return &rendererv1.BundleDiff{Objects: []*rendererv1.ObjectDiff{
		{Object: &rendererv1.ObjectRef{Kind: "Deployment", Name: "api"}, Action: rendererv1.ObjectDiff_ACTION_MODIFY, Fields: []*rendererv1.FieldDiff{{Path: "spec.replicas", Before: structpb.NewNumberValue(1), After: structpb.NewNumberValue(2)}}},
		{Object: &rendererv1.ObjectRef{Kind: "Service", Name: "web"}, Action: rendererv1.ObjectDiff_ACTION_ADD},
	}}, nil
}

// --- deployments ---

// planOfPages plans promotions and environments that are not there yet; nil for other plans.
func planOfPages(r *catalogv1.PlanDeploymentRequest) *catalogv1.Plan {
	p := &catalogv1.Plan{PlanHash: "", Files: []*catalogv1.FileChange{{Path: "api/deployment.yaml", Action: catalogv1.FileChange_ACTION_ADD, Diff: "+kind: Deployment\n"}}}
	switch {
	case r.GetPromotion() != nil:
		p.ApprovalsRequired = 1
		p.Summary = []string{"api: image 1.4.2 -> 1.5.0 from " + r.GetPromotion().GetFrom()}
		for _, w := range r.GetPromotion().GetWorkloads() {
			p.Summary = append(p.Summary, "only workload "+w)
		}
		ref := &rendererv1.ObjectRef{Kind: "Deployment", Name: "api"}
		p.Objects = []*catalogv1.ObjectChange{{Object: ref, Action: catalogv1.FileChange_ACTION_MODIFY}}
		p.Fields = []*catalogv1.FieldChange{{Object: ref, Field: "spec.template.spec.containers[name=main].image", Before: structpb.NewStringValue("ghcr.io/example/api:1.4.2"), After: structpb.NewStringValue("ghcr.io/example/api:1.5.0")}}
	case r.GetCreation() != nil:
		p.Summary = []string{"made " + r.GetParent() + " of type " + r.GetCreation().GetEnvironment().GetType()}
	default:
		return nil
	}
	return p
}

// beginEnvironment deploys to a new environment that is made from another; the caller holds the lock.
func (s *stub) beginEnvironment(e *catalogv1.Environment, r *catalogv1.CreateEnvironmentRequest) error {
	if r.GetFrom() == "" {
		return nil
	}
	from, err := s.env(r.GetFrom())
	if err != nil {
		return err
	}
	e.Intent, e.Live = proto.CloneOf(from.GetIntent()), &catalogv1.Live{}
	go s.run(e, s.add(e, &catalogv1.Deployment{Actor: "tokens/admin", Message: "from " + r.GetFrom() + " for " + r.GetTtl().AsDuration().String()}))
	return nil
}

func (s *stub) Promote(ctx context.Context, r *catalogv1.PromoteRequest) (*catalogv1.Deployment, error) {
	return s.deploy(ctx, r.GetName(), &catalogv1.Deployment{Kind: catalogv1.Deployment_KIND_PROMOTION, PromotionOf: r.GetPromotion().GetFrom() + "/deployments/3", Message: r.GetMessage()}, func(*catalogv1.Environment) error { return nil })
}

// audited are what ListAuditEvents has.
func audited() []*catalogv1.AuditEvent {
	request, _ := structpb.NewStruct(map[string]any{"message": "new tax rules"})
	return []*catalogv1.AuditEvent{
		{Name: "auditEvents/2", Time: ago(time.Minute), Actor: "users/bo", Method: "CatalogService/Rollback", Action: "rollback", Resource: "applications/shop/environments/production", Code: "PERMISSION_DENIED", Reason: "PERMISSION_DENIED", Message: "bo is a viewer there", Peer: "10.0.0.7"},
		{Name: "auditEvents/1", Time: ago(time.Hour), Actor: "users/ada", Method: "CatalogService/CreateDeployment", Action: "deploy", Resource: shopDev, Code: "OK", Request: request},
	}
}

func (s *stub) ListAuditEvents(_ context.Context, r *catalogv1.ListAuditEventsRequest) (*catalogv1.ListAuditEventsResponse, error) {
	if len(s.apps) == 0 {
		return &catalogv1.ListAuditEventsResponse{}, nil
	}
	all := slices.DeleteFunc(audited(), func(e *catalogv1.AuditEvent) bool {
		return !passes(r.GetFilter(), "actor", e.GetActor()) || !passes(r.GetFilter(), "code", e.GetCode())
	})
	if len(all) == 2 && r.GetPageToken() == "" {
		return &catalogv1.ListAuditEventsResponse{AuditEvents: all[:1], NextPageToken: "more"}, nil
	}
	return &catalogv1.ListAuditEventsResponse{AuditEvents: all[len(all)-1:]}, nil
}
