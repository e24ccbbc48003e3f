package portal_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/towpath-dev/towpath/gen/openapi"
	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/gateway"
	"github.com/towpath-dev/towpath/internal/portal"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// stub is a small Towpath in memory behind the real gateway, interceptors and access rules: what the browser gets has the form
// that it has in production, and only what the services would decide is played.
type stub struct {
	catalogv1.UnimplementedCatalogServiceServer
	catalogv1.UnimplementedAccessServiceServer
	driftv1.UnimplementedDriftServiceServer
	eventsv1.UnimplementedEventServiceServer

	phase  time.Duration                                                // how long a deployment stays in each state
	people func(ctx context.Context, token string) (auth.Caller, error) // who else may come in; nobody when nil
	gate   *portal.Gate                                                 // how people sign in; by token alone when nil
	front  func(http.Handler) http.Handler                              // what stands before it all, such as a slow network; nothing when nil

	mu          sync.Mutex
	apps        []*catalogv1.Application
	envs        []*catalogv1.Environment
	deployments map[string][]*catalogv1.Deployment // by environment, oldest first
	sets        map[string]*catalogv1.Set
	findings    []*driftv1.Finding
	events      []*eventsv1.WatchEventsResponse
	planned     map[string]string // plan hash -> generation that it was made on
	lastChange  *catalogv1.CreateDeploymentRequest
	synced      *syncs                              // what a sync by hand does; nothing but the status when nil
	seen        []map[string]*catalogv1.Environment // how the environments were, by resume token
	noStreams   bool
	listError   error
}

// serve starts the stub with the portal in front, as towpathd composes them.
func serve(t *testing.T, s *stub) *httptest.Server {
	t.Helper()
	decide, err := stubPolicies(s)
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Authenticator: s, Authorizer: decide})
	if err != nil {
		t.Fatal(err)
	}
	catalogv1.RegisterCatalogServiceServer(server, s)
	catalogv1.RegisterAccessServiceServer(server, s)
	catalogv1.RegisterManifestServiceServer(server, manifests{})
	catalogv1.RegisterGitServiceServer(server, gits{})
	driftv1.RegisterDriftServiceServer(server, s)
	eventsv1.RegisterEventServiceServer(server, s)
	for _, register := range stubServices {
		register(server, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(ctx, nil) }()
	conn, err := server.DialLocal()
	if err != nil {
		t.Fatal(err)
	}
	rest, err := gateway.New(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", rest)
	gate := s.gate
	if gate == nil {
		gate = portal.New(portal.Config{})
	}
	mux.Handle("/", gate.Handler(openapi.JSON))
	handler := gate.WithSession(mux)
	if s.front != nil {
		handler = s.front(handler)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		conn.Close()
		cancel()
		<-done
	})
	return web
}

// newStub has nothing in it; newShop has an application with two environments, history and drift.
func newStub() *stub {
	return &stub{phase: 60 * time.Millisecond, deployments: map[string][]*catalogv1.Deployment{}, sets: map[string]*catalogv1.Set{}, planned: map[string]string{}}
}

func newShop(t *testing.T) *stub {
	t.Helper()
	s := newStub()
	s.apps = []*catalogv1.Application{{Name: "applications/shop", DisplayName: "Shop", Owner: "teams/shop"}, {Name: "applications/billing"}}
	set := &catalogv1.Set{Name: "sets/" + strings.Repeat("ab", 32), Workloads: map[string]*structpb.Struct{
		"api": score(t, "ghcr.io/example/api:1.4.2", map[string]any{"LOG_LEVEL": "info", "CURRENCY": "${resources.env.CURRENCY}", "DATABASE_URL": "postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}"}),
		"web": score(t, "ghcr.io/example/web:2.0.0", map[string]any{"API_URL": "http://${resources.api.hostname}:8080"}),
	}}
	shopMore(t, set)
	s.sets[set.Name] = set
	intent := &catalogv1.Intent{Set: set.Name, Variables: map[string]string{"CURRENCY": "EUR"}}
	for i, name := range []string{"dev", "production"} {
		env := &catalogv1.Environment{
			Name: "applications/shop/environments/" + name, Type: "environmentTypes/" + []string{"development", "production"}[i], Namespace: "shop-" + name,
			State: catalogv1.Environment_STATE_ACTIVE, Intent: proto.CloneOf(intent), Etag: "1", CreateActor: "tokens/admin", CreateTime: ago(50 * time.Hour),
		}
		s.envs = append(s.envs, env)
		for n := range 3 {
			d := s.add(env, &catalogv1.Deployment{Actor: "users/ada", Message: []string{"the example", "prices in euro", "quieter logs"}[n]})
			s.finish(env, d, time.Duration(46-20*n)*time.Hour)
			d.Summary = []string{[]string{"added workload api", "CURRENCY set to EUR", "api: LOG_LEVEL debug -> info"}[n]}
		}
		env.Live = &catalogv1.Live{Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: driftv1.Health_HEALTH_HEALTHY, Generation: 3, Time: ago(0)}
	}
	failed := s.add(s.envs[1], &catalogv1.Deployment{Actor: "tokens/ci", Message: "new tax rules", State: catalogv1.Deployment_STATE_FAILED, EndTime: ago(time.Hour)})
	failed.Error = &catalogv1.Failure{Stage: "render", Reason: "UNRESOLVED_PLACEHOLDER", Message: "workload api: variable TAX refers to ${resources.tax.rate}, and the workload has no resource tax; add it to the Score file"}
	failed.Phases = failed.Phases[:2]
	s.drifts()
	return s
}

func (s *stub) drifts() {
	port, _ := structpb.NewValue(map[string]any{"name": "extra", "port": 80, "protocol": "TCP", "targetPort": 80})
	for i, f := range []*driftv1.Finding{
		{Kind: driftv1.Finding_KIND_EXTRA, ObjectKind: "Service", ObjectName: "api", Field: "spec.ports[port=80,protocol=TCP]", Live: port, Manager: "kubectl-patch", Operation: "Update", Attribution: "from managedFields"},
		{Kind: driftv1.Finding_KIND_CHANGED, ObjectKind: "Deployment", ObjectName: "web", Field: "spec.replicas", Desired: structpb.NewNumberValue(1), Live: structpb.NewNumberValue(3), Manager: "kubectl", Operation: "Update/scale", Attribution: "from managedFields"},
	} {
		f.Name, f.Namespace, f.ApiVersion = fmt.Sprintf("%s/findings/f%d", shopDev, i+1), "shop-dev", "v1"
		f.EditTime, f.DetectTime = ago(2*time.Minute), ago(2*time.Minute)
		s.findings = append(s.findings, f)
	}
	s.envs[0].Live.Findings = 2
	s.tell("drift.detected", shopDev, &driftv1.Finding{ObjectKind: "Service", ObjectName: "api"})
}

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:40] }

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }

func score(t *testing.T, image string, variables map[string]any) *structpb.Struct {
	t.Helper()
	out, err := structpb.NewStruct(map[string]any{"containers": map[string]any{"main": map[string]any{"image": image, "variables": variables}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// add appends a deployment to an environment's history; the caller holds the lock or is alone.
func (s *stub) add(env *catalogv1.Environment, d *catalogv1.Deployment) *catalogv1.Deployment {
	env.Generation = int64(len(s.deployments[env.Name]) + 1)
	d.Name, d.Generation = fmt.Sprintf("%s/deployments/%d", env.Name, env.Generation), env.Generation
	d.Intent, d.CreateTime, d.UpdateTime = proto.CloneOf(env.Intent), ago(0), ago(0)
	if d.Kind == 0 {
		d.Kind = catalogv1.Deployment_KIND_CHANGE
	}
	if d.State == 0 {
		d.State = catalogv1.Deployment_STATE_PENDING
		d.Phases = []*catalogv1.Phase{{State: d.State, StartTime: ago(0)}}
	} else {
		d.Phases = phases(time.Hour)
	}
	env.LatestDeployment = d.Name
	s.deployments[env.Name] = append(s.deployments[env.Name], d)
	return d
}

func phases(before time.Duration) []*catalogv1.Phase {
	var out []*catalogv1.Phase
	at := time.Now().Add(-before)
	for i, ms := range []int{40, 120, 310, 2600} {
		end := at.Add(time.Duration(ms) * time.Millisecond)
		out = append(out, &catalogv1.Phase{State: catalogv1.Deployment_State(i + 1), StartTime: timestamppb.New(at), EndTime: timestamppb.New(end)})
		at = end
	}
	return out
}

// finish makes a deployment one that ended well that long ago.
func (s *stub) finish(env *catalogv1.Environment, d *catalogv1.Deployment, before time.Duration) {
	d.Phases, d.State = phases(before), catalogv1.Deployment_STATE_HEALTHY
	d.CreateTime, d.EndTime, d.ActiveFrom = d.Phases[0].StartTime, d.Phases[3].EndTime, d.Phases[3].EndTime
	d.Commit, d.Tree = hash(d.Name+" commit"), hash(d.Name)
	d.Repository, d.Branch, d.FilesChanged = "repositories/deployments", "main", 1
	env.ActiveDeployment = d.Name
}

// tell adds an event; its data is not played.
func (s *stub) tell(kind, subject string, f *driftv1.Finding) {
	data, _ := structpb.NewStruct(map[string]any{"environment": subject, "finding": map[string]any{"objectKind": f.GetObjectKind(), "objectName": f.GetObjectName(), "kind": "KIND_EXTRA", "manager": "kubectl-patch"}})
	n := uint64(len(s.events) + 1)
	s.events = append(s.events, &eventsv1.WatchEventsResponse{Sequence: n, Id: fmt.Sprint(n), Type: kind, Subject: subject, Time: ago(0), Data: data})
}

// run takes a deployment through its states.
func (s *stub) run(env *catalogv1.Environment, d *catalogv1.Deployment) {
	for _, state := range []catalogv1.Deployment_State{2, 3, 4, 5} {
		time.Sleep(s.phase)
		s.mu.Lock()
		now := ago(0)
		d.Phases[len(d.Phases)-1].EndTime = now
		d.State, d.UpdateTime = state, now
		if state < catalogv1.Deployment_STATE_HEALTHY {
			d.Phases = append(d.Phases, &catalogv1.Phase{State: state, StartTime: now})
		} else {
			d.EndTime, d.ActiveFrom, d.Tree, d.Commit = now, now, hash(d.Name), hash(d.Name+" commit")
			env.ActiveDeployment = d.Name
			if d.Kind == catalogv1.Deployment_KIND_REMOVAL {
				s.envs = slices.DeleteFunc(s.envs, func(e *catalogv1.Environment) bool { return e == env })
			}
		}
		s.tell("deployment.state", d.Name, nil)
		s.mu.Unlock()
	}
}

func notFound(name string) error { return errs.NotFoundf(name, "see `tow env list`") }

func (s *stub) env(name string) (*catalogv1.Environment, error) {
	for _, e := range s.envs {
		if e.Name == name {
			return e, nil
		}
	}
	return nil, notFound(name)
}

func (s *stub) ListApplications(context.Context, *catalogv1.ListApplicationsRequest) (*catalogv1.ListApplicationsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &catalogv1.ListApplicationsResponse{Applications: s.apps}, nil
}

func (s *stub) CreateApplication(_ context.Context, r *catalogv1.CreateApplicationRequest) (*catalogv1.Application, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "applications/" + r.GetApplicationId()
	if slices.ContainsFunc(s.apps, func(a *catalogv1.Application) bool { return a.Name == name }) {
		return nil, errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS, "%s exists", name)
	}
	app := &catalogv1.Application{Name: name, DisplayName: r.GetApplication().GetDisplayName(), Owner: r.GetApplication().GetOwner()}
	s.apps = append(s.apps, app)
	return app, nil
}

func (s *stub) ListEnvironmentTypes(context.Context, *catalogv1.ListEnvironmentTypesRequest) (*catalogv1.ListEnvironmentTypesResponse, error) {
	return &catalogv1.ListEnvironmentTypesResponse{EnvironmentTypes: []*catalogv1.EnvironmentType{{Name: "environmentTypes/development"}, {Name: "environmentTypes/production"}}}, nil
}

func (s *stub) GetEnvironment(_ context.Context, r *catalogv1.GetEnvironmentRequest) (*catalogv1.Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env(r.GetName())
	return proto.CloneOf(e), err
}

func (s *stub) CreateEnvironment(_ context.Context, r *catalogv1.CreateEnvironmentRequest) (*catalogv1.Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &catalogv1.Environment{Name: r.GetParent() + "/environments/" + r.GetEnvironmentId(), Type: r.GetEnvironment().GetType(), Namespace: "made", State: catalogv1.Environment_STATE_ACTIVE, Etag: "1"}
	s.envs = append(s.envs, e)
	if err := s.beginEnvironment(e, r); err != nil {
		return nil, err
	}
	return proto.CloneOf(e), nil
}

func (s *stub) DeleteEnvironment(ctx context.Context, r *catalogv1.DeleteEnvironmentRequest) (*catalogv1.Deployment, error) {
	return s.deploy(ctx, r.GetName(), &catalogv1.Deployment{Kind: catalogv1.Deployment_KIND_REMOVAL, Message: r.GetMessage()}, func(e *catalogv1.Environment) error {
		e.State = catalogv1.Environment_STATE_DELETING
		return nil
	})
}

func (s *stub) GetSet(_ context.Context, r *catalogv1.GetSetRequest) (*catalogv1.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.sets[r.GetName()]; set != nil {
		return set, nil
	}
	return nil, notFound(r.GetName())
}

func (s *stub) PlanDeployment(_ context.Context, r *catalogv1.PlanDeploymentRequest) (*catalogv1.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := planOfPages(r); p != nil {
		return p, nil
	}
	e, err := s.env(r.GetParent())
	if err != nil {
		return nil, err
	}
	p := &catalogv1.Plan{PlanHash: fmt.Sprintf("%s@%d", e.Name, e.Generation), OpenFindings: e.GetLive().GetFindings()}
	for _, op := range r.GetChange().GetOverlayOperations() {
		key := op.GetPath()[strings.LastIndex(op.GetPath(), "/")+1:]
		if key == "PASSWORD" {
			return nil, errs.InvalidField("change.overlay_operations[0].value", "looks like a secret; use a resource of type secret instead")
		}
		p.Summary = append(p.Summary, "api: "+key+" info -> "+op.GetValue().GetStringValue())
		p.Text += "~ Deployment api\n    spec.template.spec.containers[name=main].env[name=" + key + "].value: info -> " + op.GetValue().GetStringValue() + "\n"
		p.Files = append(p.Files, &catalogv1.FileChange{Path: "api/deployment.yaml", Action: catalogv1.FileChange_ACTION_MODIFY, Diff: "--- a/api/deployment.yaml\n+++ b/api/deployment.yaml\n@@ -34,7 +34,7 @@\n         env:\n         - name: " + key + "\n-          value: info\n+          value: " + op.GetValue().GetStringValue() + "\n         ports:\n"})
	}
	if r.GetRollbackTo() != "" {
		p.Summary = []string{"back to " + r.GetRollbackTo()}
	}
	return p, s.enrich(p, r)
}

// deploy accepts a deployment and lets it go on by itself.
func (s *stub) deploy(ctx context.Context, environment string, d *catalogv1.Deployment, change func(*catalogv1.Environment) error) (*catalogv1.Deployment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env(environment)
	if err != nil {
		return nil, err
	}
	if err := change(e); err != nil {
		return nil, err
	}
	c, _ := auth.CallerFrom(ctx)
	d.Actor = c.Subject
	s.add(e, d)
	go s.run(e, d)
	return proto.CloneOf(d), nil
}

func held(e *catalogv1.Environment, hash string) error {
	if hash != "" && hash != fmt.Sprintf("%s@%d", e.Name, e.Generation) {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED, "the environment's generation has moved since the plan").With("moved", "generation")
	}
	return nil
}

func (s *stub) CreateDeployment(ctx context.Context, r *catalogv1.CreateDeploymentRequest) (*catalogv1.Deployment, error) {
	return s.deploy(ctx, r.GetParent(), &catalogv1.Deployment{Message: r.GetMessage()}, func(e *catalogv1.Environment) error {
		if err := held(e, r.GetPlanHash()); err != nil {
			return err
		}
		s.lastChange = r
		if e.Intent == nil {
			e.Intent = &catalogv1.Intent{}
		}
		for _, op := range r.GetChange().GetOverlayOperations() {
			e.Intent.Overlay = slices.DeleteFunc(e.Intent.Overlay, func(o *rendererv1.Operation) bool { return o.GetPath() == op.GetPath() })
			e.Intent.Overlay = append(e.Intent.Overlay, op)
		}
		s.apply(e, r.GetChange())
		return nil
	})
}

func (s *stub) Rollback(ctx context.Context, r *catalogv1.RollbackRequest) (*catalogv1.Deployment, error) {
	return s.deploy(ctx, r.GetName(), &catalogv1.Deployment{Kind: catalogv1.Deployment_KIND_ROLLBACK, RollbackOf: r.GetDeployment(), Message: r.GetMessage()}, func(e *catalogv1.Environment) error {
		return held(e, r.GetPlanHash())
	})
}

func (s *stub) GetDeployment(_ context.Context, r *catalogv1.GetDeploymentRequest) (*catalogv1.Deployment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.deployments {
		for _, d := range list {
			if d.Name == r.GetName() {
				return proto.CloneOf(d), nil
			}
		}
	}
	return nil, notFound(r.GetName())
}

func (s *stub) ListDeployments(_ context.Context, r *catalogv1.ListDeploymentsRequest) (*catalogv1.ListDeploymentsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &catalogv1.ListDeploymentsResponse{}
	for _, d := range slices.Backward(s.deployments[r.GetParent()]) {
		if !passes(r.GetFilter(), "state", strings.TrimPrefix(d.State.String(), "STATE_")) || !passes(r.GetFilter(), "actor", d.Actor) {
			continue
		}
		out.Deployments = append(out.Deployments, proto.CloneOf(d))
	}
	return out, nil
}

func (s *stub) WatchDeployment(r *catalogv1.WatchDeploymentRequest, stream grpc.ServerStreamingServer[catalogv1.WatchDeploymentResponse]) error {
	var last catalogv1.Deployment_State
	for {
		d, err := s.GetDeployment(stream.Context(), &catalogv1.GetDeploymentRequest{Name: r.GetName()})
		if err != nil {
			return err
		}
		if d.State != last {
			last = d.State
			if err := stream.Send(&catalogv1.WatchDeploymentResponse{Deployment: d}); err != nil {
				return err
			}
		}
		if d.State >= catalogv1.Deployment_STATE_HEALTHY {
			return nil
		}
		if !pause(stream.Context()) {
			return stream.Context().Err()
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

func (s *stub) GetEnvironmentStatus(_ context.Context, r *driftv1.GetEnvironmentStatusRequest) (*driftv1.EnvironmentStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.env(strings.TrimSuffix(r.GetName(), "/status"))
	if err != nil {
		return nil, err
	}
	object := func(version, kind, name, message string) *driftv1.ObjectStatus {
		return &driftv1.ObjectStatus{ApiVersion: version, Kind: kind, Name: name, Health: driftv1.Health_HEALTH_HEALTHY, Message: message}
	}
	return &driftv1.EnvironmentStatus{
		PruneHeld: s.synced.held(), Name: r.GetName(), Sync: e.GetLive().GetSync(), Health: e.GetLive().GetHealth(), Findings: e.GetLive().GetFindings(), Generation: e.Generation,
		Commit: hash(e.GetActiveDeployment() + " commit"), SyncTime: ago(time.Minute), Objects: []*driftv1.ObjectStatus{
			object("apps/v1", "Deployment", "api", "1 of 1 available"), object("apps/v1", "Deployment", "web", "1 of 1 available"), object("v1", "Service", "api", ""),
			object("apps/v1", "Deployment", "worker", "1 of 1 available"), object("apps/v1", "StatefulSet", "shop-db", "1 of 1 available"), object("v1", "Service", "shop-db", ""),
		},
	}, nil
}

func (s *stub) ListFindings(_ context.Context, r *driftv1.ListFindingsRequest) (*driftv1.ListFindingsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &driftv1.ListFindingsResponse{}
	for _, f := range s.findings {
		if strings.HasPrefix(f.Name, r.GetParent()+"/") {
			out.Findings = append(out.Findings, f)
		}
	}
	return out, nil
}

func (s *stub) RevertFindings(_ context.Context, r *driftv1.RevertFindingsRequest) (*driftv1.RevertFindingsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &driftv1.RevertFindingsResponse{}
	s.findings = slices.DeleteFunc(s.findings, func(f *driftv1.Finding) bool {
		gone := slices.Contains(r.GetNames(), f.Name)
		if gone {
			out.Reverted = append(out.Reverted, f)
		}
		return gone
	})
	if e, err := s.env(r.GetParent()); err == nil {
		e.Live.Findings = int32(len(s.findings))
	}
	return out, nil
}

func (s *stub) SyncEnvironment(ctx context.Context, r *driftv1.SyncEnvironmentRequest) (*driftv1.SyncEnvironmentResponse, error) {
	st, err := s.GetEnvironmentStatus(ctx, &driftv1.GetEnvironmentStatusRequest{Name: r.GetName() + "/status"})
	return &driftv1.SyncEnvironmentResponse{Status: st, Changes: s.synced.changes(r)}, err
}

func (s *stub) WatchEvents(r *eventsv1.WatchEventsRequest, stream grpc.ServerStreamingServer[eventsv1.WatchEventsResponse]) error {
	next := int(r.GetAfterSequence())
	for {
		s.mu.Lock()
		fresh := slices.Clone(s.events[next:])
		s.mu.Unlock()
		for _, e := range fresh {
			if err := stream.Send(e); err != nil {
				return err
			}
			next++
		}
		if !pause(stream.Context()) {
			return stream.Context().Err()
		}
	}
}

// Short names for the one place that adds a deployment by hand.
type catalogDeployment = catalogv1.Deployment

const stateHealthy = catalogv1.Deployment_STATE_HEALTHY

// manifests tells where fields come from.
type manifests struct {
	catalogv1.UnimplementedManifestServiceServer
}

func (manifests) ExplainEnvironment(_ context.Context, r *catalogv1.ExplainEnvironmentRequest) (*catalogv1.ExplainEnvironmentResponse, error) {
	if r.GetName() != shopDev || r.GetObject() != "Deployment/web" {
		return nil, errs.NotFoundf("the object "+r.GetObject(), "there are deployment/web")
	}
	return &catalogv1.ExplainEnvironmentResponse{Fields: []*rendererv1.FieldOrigin{{
		Path: r.GetPath(), Value: structpb.NewNumberValue(1), Text: r.GetPath() + " = 1: environment type development, replicas",
	}}}, nil
}
