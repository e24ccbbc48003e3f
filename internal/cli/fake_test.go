package cli_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// now is the time of all in-process runs; the fake's data is from shortly before.
var now = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

func at(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-before)) }

const (
	secret  = "tow_secret"
	setName = "sets/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	olderID = "sets/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	dev     = "applications/shop/environments/dev"
)

// fake is a server with one application, for what the real one cannot be brought to: faults, odd ends, fixed times. It knows the
// rules of no service; the scripts in e2e run against the real ones.
type fake struct {
	catalogv1.UnimplementedCatalogServiceServer
	catalogv1.UnimplementedAccessServiceServer
	fakeDrafts
	driftv1.UnimplementedDriftServiceServer
	eventsv1.UnimplementedEventServiceServer

	addr string
	grpc *grpc.Server

	mu sync.Mutex
	// faults are what the next calls of a method answer instead.
	faults map[string][]error
	// calls are all requests by method.
	calls map[string][]proto.Message
	apps  []*catalogv1.Application
	envs  []*catalogv1.Environment
	// history is newest first.
	history  []*catalogv1.Deployment
	findings []*driftv1.Finding
	// watch is what WatchDeployment sends, one element for each connection; each connection ends with its last.
	watch [][]*catalogv1.Deployment
	// envWatch is what WatchEnvironments sends, the same way; nil ends a connection with OUT_OF_RANGE.
	envWatch [][]*catalogv1.WatchEnvironmentsResponse
	// version and portal are what the server says of itself.
	version, portal string
	// health is how the environment is.
	health driftv1.Health
}

// fakeFindingService has no records and no rules.
type fakeFindingService struct {
	catalogv1.UnimplementedFindingServiceServer
}

func (fakeFindingService) ListFindingRecords(context.Context, *catalogv1.ListFindingRecordsRequest) (*catalogv1.ListFindingRecordsResponse, error) {
	return &catalogv1.ListFindingRecordsResponse{}, nil
}

func (fakeFindingService) ListIgnoreRules(context.Context, *catalogv1.ListIgnoreRulesRequest) (*catalogv1.ListIgnoreRulesResponse, error) {
	return &catalogv1.ListIgnoreRulesResponse{}, nil
}

// startFake serves on a loopback port until the test ends.
func startFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{
		faults: map[string][]error{}, calls: map[string][]proto.Message{},
		apps: []*catalogv1.Application{{
			Name: "applications/shop", DisplayName: "Shop", Owner: "teams/shop", Labels: map[string]string{"tier": "web"},
			Repository: "repositories/default", Etag: "4", CreateTime: at(30 * time.Hour), UpdateTime: at(30 * time.Hour), CreateActor: "tokens/ada",
		}},
		envs:     fakeEnvironments(),
		history:  fakeHistory(),
		findings: fakeFindings(),
		health:   driftv1.Health_HEALTH_DEGRADED,
	}
	f.serve(t, "127.0.0.1:0")
	return f
}

func (f *fake) serve(t testing.TB, addr string, opts ...grpc.ServerOption) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	f.grpc = grpc.NewServer(append(opts, grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream))...)
	catalogv1.RegisterCatalogServiceServer(f.grpc, f)
	catalogv1.RegisterAccessServiceServer(f.grpc, f)
	catalogv1.RegisterDraftServiceServer(f.grpc, f)
	catalogv1.RegisterFindingServiceServer(f.grpc, fakeFindingService{})
	driftv1.RegisterDriftServiceServer(f.grpc, f)
	driftv1.RegisterLiveServiceServer(f.grpc, fakeLive{})
	eventsv1.RegisterEventServiceServer(f.grpc, f)
	done := make(chan struct{})
	server := f.grpc
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends by Stop
	}()
	t.Cleanup(func() { server.Stop(); <-done })
}

// fail makes the next calls of a method answer errors; nil lets one through.
func (f *fake) fail(method string, answers ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[method] = answers
}

func (f *fake) called(method string) []proto.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls[method])
}

func (f *fake) admit(ctx context.Context, full string, req any) error {
	method := full[strings.LastIndexByte(full, '/')+1:]
	md, _ := metadata.FromIncomingContext(ctx)
	if !slices.Contains(md.Get("authorization"), "Bearer "+secret) {
		return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "the token is not one of Towpath's")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := req.(proto.Message); ok {
		f.calls[method] = append(f.calls[method], proto.Clone(m))
	}
	if q := f.faults[method]; len(q) > 0 {
		f.faults[method] = q[1:]
		return q[0]
	}
	return nil
}

func (f *fake) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := f.admit(ctx, info.FullMethod, req); err != nil {
		return nil, rpc.ToStatus(err, "req-1").Err()
	}
	resp, err := next(ctx, req)
	if err != nil {
		return nil, rpc.ToStatus(err, "req-1").Err()
	}
	return resp, nil
}

func (f *fake) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	err := f.admit(s.Context(), info.FullMethod, nil)
	if err == nil {
		err = next(srv, s)
	}
	if err != nil {
		return rpc.ToStatus(err, "req-1").Err()
	}
	return nil
}

func notThere(name string) error { return errs.NotFoundf(name, "") }

func find[T interface{ GetName() string }](all []T, name string) (T, error) {
	for _, m := range all {
		if m.GetName() == name {
			return m, nil
		}
	}
	var none T
	return none, notThere(name)
}

func (f *fake) WhoAmI(context.Context, *catalogv1.WhoAmIRequest) (*catalogv1.WhoAmIResponse, error) {
	return &catalogv1.WhoAmIResponse{Subject: "tokens/ada", Role: catalogv1.Token_ROLE_ADMIN, ServerVersion: f.version, PortalUrl: f.portal}, nil
}

func (f *fake) CreateToken(_ context.Context, r *catalogv1.CreateTokenRequest) (*catalogv1.Token, error) {
	t := proto.CloneOf(r.GetToken())
	t.Name, t.Secret = "tokens/"+r.GetTokenId(), "tow_new"
	return t, nil
}

func (f *fake) ListTokens(context.Context, *catalogv1.ListTokensRequest) (*catalogv1.ListTokensResponse, error) {
	return &catalogv1.ListTokensResponse{Tokens: []*catalogv1.Token{
		{Name: "tokens/ada", Role: catalogv1.Token_ROLE_ADMIN, CreateTime: at(72 * time.Hour), CreateActor: "towpath"},
		{Name: "tokens/ci", Description: "build server", Role: catalogv1.Token_ROLE_DEVELOPER, ExpireTime: at(-49 * time.Hour), CreateTime: at(time.Hour)},
	}}, nil
}

func (f *fake) DeleteToken(context.Context, *catalogv1.DeleteTokenRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (f *fake) GetApplication(_ context.Context, r *catalogv1.GetApplicationRequest) (*catalogv1.Application, error) {
	return find(f.apps, r.GetName())
}

func (f *fake) ListApplications(context.Context, *catalogv1.ListApplicationsRequest) (*catalogv1.ListApplicationsResponse, error) {
	return &catalogv1.ListApplicationsResponse{Applications: f.apps}, nil
}

func (f *fake) CreateApplication(_ context.Context, r *catalogv1.CreateApplicationRequest) (*catalogv1.Application, error) {
	m := proto.CloneOf(r.GetApplication())
	m.Name = "applications/" + r.GetApplicationId()
	return m, nil
}

func (f *fake) UpdateApplication(_ context.Context, r *catalogv1.UpdateApplicationRequest) (*catalogv1.Application, error) {
	return r.GetApplication(), nil
}

func (f *fake) DeleteApplication(context.Context, *catalogv1.DeleteApplicationRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (f *fake) GetEnvironment(_ context.Context, r *catalogv1.GetEnvironmentRequest) (*catalogv1.Environment, error) {
	return find(f.envs, r.GetName())
}

// ListEnvironments gives one environment a page, so that whoever lists has to follow the pages.
func (f *fake) ListEnvironments(_ context.Context, r *catalogv1.ListEnvironmentsRequest) (*catalogv1.ListEnvironmentsResponse, error) {
	i := slices.IndexFunc(f.envs, func(e *catalogv1.Environment) bool { return e.GetName() == r.GetPageToken() })
	i = max(i, 0)
	out := &catalogv1.ListEnvironmentsResponse{Environments: f.envs[i : i+1]}
	if i+1 < len(f.envs) {
		out.NextPageToken = f.envs[i+1].GetName()
	}
	return out, nil
}

func (f *fake) GetSet(_ context.Context, r *catalogv1.GetSetRequest) (*catalogv1.Set, error) {
	image := map[string]string{setName: "registry.example.com/shop/api:2", olderID: "registry.example.com/shop/api:1"}[r.GetName()]
	if image == "" {
		return nil, notThere(r.GetName())
	}
	set := &catalogv1.Set{Name: r.GetName(), Workloads: map[string]*structpb.Struct{}}
	set.Workloads["api"] = workload(map[string]any{"main": map[string]any{"image": image}})
	set.Workloads["two"] = workload(map[string]any{"left": map[string]any{"image": "l"}, "right": map[string]any{"image": "r"}})
	return set, nil
}

func workload(containers map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(map[string]any{"apiVersion": "score.dev/v1b1", "containers": containers})
	if err != nil {
		panic(err)
	}
	return s
}

func (f *fake) GetDeployment(_ context.Context, r *catalogv1.GetDeploymentRequest) (*catalogv1.Deployment, error) {
	switch r.GetName() {
	case dev + "/deployments/latest":
		return f.history[0], nil
	case dev + "/deployments/active":
		return f.history[1], nil
	}
	return find(f.history, r.GetName())
}

func (f *fake) ListDeployments(_ context.Context, r *catalogv1.ListDeploymentsRequest) (*catalogv1.ListDeploymentsResponse, error) {
	n := min(int(r.GetPageSize()), len(f.history))
	out := &catalogv1.ListDeploymentsResponse{Deployments: f.history[:n]}
	if n < len(f.history) {
		out.NextPageToken = "more"
	}
	return out, nil
}

func (f *fake) accepted(kind catalogv1.Deployment_Kind, message string) *catalogv1.Deployment {
	return &catalogv1.Deployment{
		Name: dev + "/deployments/4", Generation: 4, Kind: kind, State: catalogv1.Deployment_STATE_PENDING, Message: message,
		CreateTime: at(0), Phases: []*catalogv1.Phase{{State: catalogv1.Deployment_STATE_PENDING, StartTime: at(0)}},
	}
}

func (f *fake) CreateDeployment(_ context.Context, r *catalogv1.CreateDeploymentRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_CHANGE, r.GetMessage()), nil
}

func (f *fake) Rollback(_ context.Context, r *catalogv1.RollbackRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_ROLLBACK, r.GetMessage()), nil
}

func (f *fake) DeleteEnvironment(_ context.Context, r *catalogv1.DeleteEnvironmentRequest) (*catalogv1.Deployment, error) {
	return f.accepted(catalogv1.Deployment_KIND_REMOVAL, r.GetMessage()), nil
}

func (f *fake) PlanDeployment(context.Context, *catalogv1.PlanDeploymentRequest) (*catalogv1.Plan, error) {
	return fakePlan(), nil
}

func (f *fake) WatchDeployment(_ *catalogv1.WatchDeploymentRequest, s grpc.ServerStreamingServer[catalogv1.WatchDeploymentResponse]) error {
	f.mu.Lock()
	var send []*catalogv1.Deployment
	if len(f.watch) > 0 {
		send, f.watch = f.watch[0], f.watch[1:]
	}
	rest := len(f.watch)
	f.mu.Unlock()
	for _, d := range send {
		if err := s.Send(&catalogv1.WatchDeploymentResponse{Deployment: d}); err != nil {
			return err
		}
	}
	if rest > 0 {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the server stops")
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func (f *fake) GetEnvironmentStatus(_ context.Context, r *driftv1.GetEnvironmentStatusRequest) (*driftv1.EnvironmentStatus, error) {
	if r.GetName() != dev+"/status" {
		return nil, notThere(r.GetName())
	}
	f.mu.Lock()
	health := f.health
	f.mu.Unlock()
	return &driftv1.EnvironmentStatus{
		Name: r.GetName(), Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: health, Message: "Deployment/api: 0/1 ready",
		Generation: 2, Commit: strings.Repeat("2", 40), Tree: strings.Repeat("b", 40), SyncTime: at(time.Hour), Findings: 2,
		Objects: []*driftv1.ObjectStatus{
			{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api", Health: driftv1.Health_HEALTH_DEGRADED, Message: "0/1 ready"},
			{ApiVersion: "v1", Kind: "Service", Name: "api", Health: driftv1.Health_HEALTH_HEALTHY},
		},
	}, nil
}

func (f *fake) ListFindings(context.Context, *driftv1.ListFindingsRequest) (*driftv1.ListFindingsResponse, error) {
	return &driftv1.ListFindingsResponse{Findings: f.findings}, nil
}

func (f *fake) GetFinding(_ context.Context, r *driftv1.GetFindingRequest) (*driftv1.Finding, error) {
	return find(f.findings, r.GetName())
}

func (f *fake) RevertFindings(context.Context, *driftv1.RevertFindingsRequest) (*driftv1.RevertFindingsResponse, error) {
	return &driftv1.RevertFindingsResponse{Reverted: f.findings}, nil
}

// WatchFindings sends the open findings twice, as a watch that is made again does, then the end of the first, and ends.
func (f *fake) WatchFindings(_ *driftv1.WatchFindingsRequest, s grpc.ServerStreamingServer[driftv1.WatchFindingsResponse]) error {
	gone := proto.CloneOf(f.findings[0])
	gone.ResolveTime, gone.Resolution = at(0), "reverted"
	for _, m := range append(slices.Concat(f.findings, f.findings), gone) {
		if err := s.Send(&driftv1.WatchFindingsResponse{Finding: m}); err != nil {
			return err
		}
	}
	return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "end of the test")
}

func (f *fake) WatchEvents(r *eventsv1.WatchEventsRequest, s grpc.ServerStreamingServer[eventsv1.WatchEventsResponse]) error {
	f.mu.Lock()
	f.calls["WatchEvents"] = append(f.calls["WatchEvents"], proto.Clone(r))
	f.mu.Unlock()
	for _, e := range fakeEvents() {
		if e.GetSequence() <= r.GetAfterSequence() {
			continue
		}
		if err := s.Send(e); err != nil {
			return err
		}
	}
	if r.GetStoredOnly() {
		return nil
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func overlay() []*rendererv1.Operation {
	return []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/containers/main/variables/LOG_LEVEL", Value: structpb.NewStringValue("debug"),
	}}
}
