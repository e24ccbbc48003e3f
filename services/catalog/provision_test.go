package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog"
)

const dbResource = "db.default#api.res"

// claimingRenderer makes workloads that ask for a resource of a type with a definition only when the outputs of its claim are known.
// With "then" the claim of a second resource becomes possible by the first.
type claimingRenderer struct {
	definingRenderer
	mu   sync.Mutex
	then bool
	fail error
}

func (f *claimingRenderer) Render(ctx context.Context, r *rendererv1.RenderRequest, _ ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	f.mu.Lock()
	then, fail := f.then, f.fail
	f.mu.Unlock()
	in := r.GetInput()
	resp, err := f.definingRenderer.Render(ctx, r)
	if err != nil || len(in.GetDefinitions()) == 0 {
		return resp, err
	}
	if fail != nil && len(in.GetOutputs()) > 0 {
		return nil, rpc.ToStatus(fail, "").Err()
	}
	claims := []string{dbResource}
	if then && in.GetOutputs()[dbResource] != nil {
		claims = append(claims, "db.default#next")
	}
	files := map[string][]byte{}
	for _, c := range claims {
		files[c+".yaml"] = []byte(c)
		resp.Claims = append(resp.Claims, &rendererv1.ClaimRef{Resource: c})
		if in.GetOutputs()[c] == nil {
			resp.MissingOutputs = append(resp.MissingOutputs, c)
		}
	}
	switch {
	case r.GetClaimsOnly():
		resp.Bundle = &rendererv1.Bundle{Files: files, Tree: treeID(files)}
	case len(resp.GetMissingOutputs()) > 0:
		e := errs.New(errs.Precondition, errorsv1.Reason_REASON_OUTPUTS_MISSING, "missing").With("resources", strings.Join(resp.GetMissingOutputs(), ","))
		return nil, rpc.ToStatus(e, "").Err()
	default:
		resp.Bundle.Files["host"] = []byte(in.GetOutputs()[dbResource].GetValues().GetFields()["host"].GetStringValue())
		resp.Bundle.Tree = treeID(resp.Bundle.Files)
	}
	return resp, nil
}

type claimWorld struct {
	*definedWorld
	claiming *claimingRenderer
	mu       sync.Mutex
	got      []string
}

func newClaimWorld(t *testing.T, opts ...option) *claimWorld {
	t.Helper()
	r := &claimingRenderer{definingRenderer: definingRenderer{fakeRenderer: &fakeRenderer{}}}
	w := &claimWorld{definedWorld: &definedWorld{renderer: &r.definingRenderer}, claiming: r}
	opts = append(opts, func(c *catalog.Config) { c.Renderer = r; c.RepublishAfter = 50 * time.Millisecond })
	w.world = newWorld(t, opts...)
	w.defs = catalogv1.NewDefinitionServiceClient(w.conn)
	w.app("shop")
	w.env("shop", "dev")
	w.define("db")
	w.active("db", content("db", map[string]any{}))
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		w.mu.Lock()
		w.got = append(w.got, strings.TrimPrefix(cmd.GetMode().String(), "MODE_")+" "+cmd.GetDeployment()[strings.LastIndexByte(cmd.GetDeployment(), '/')+1:])
		w.mu.Unlock()
		if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_CLAIMS {
			w.must(w.publish(devEnv, "deployment.claims", cmd.GetRequestId(), time.Now(), &eventsv1.ClaimsCommitted{
				Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Commit: "claims-" + cmd.GetRequestId(),
			}))
			return
		}
		w.succeed(cmd)
	})
	return w
}

func (w *claimWorld) says(id, resource, host string) {
	w.t.Helper()
	values, err := structpb.NewStruct(map[string]any{"host": host})
	must(w.t, err)
	w.emit(devEnv, "resource.outputs", id, time.Now(), &eventsv1.ResourceOutputsReported{
		Environment: devEnv, Outputs: &rendererv1.ResourceOutputs{Resource: resource, Values: values},
	})
}

func (w *claimWorld) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got...)
}

func (w *claimWorld) within(d time.Duration) {
	w.t.Helper()
	_, err := w.api.UpdateEnvironmentType(w.t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", ProvisioningDeadline: durationpb.New(d)},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"provisioning_deadline"}},
	})
	must(w.t, err)
}

func TestADeploymentGoesOutInTwoCommandsWhenOutputsAreAwaited(t *testing.T) {
	w := newClaimWorld(t)
	d := w.asks(devEnv, "db")
	waiting := w.inState(d.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	if diff := cmp.Diff([]string{dbResource}, waiting.GetAwaitedOutputs()); diff != "" || waiting.GetProvisioningDeadline() == nil {
		t.Errorf("waiting = %v", waiting)
	}
	eventually(t, func() error {
		if w.get(d.GetName()).GetClaimsCommit() == "" {
			return fmt.Errorf("no claims")
		}
		return nil
	})
	w.says("1", dbResource, "a")
	done := w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if diff := cmp.Diff(map[string]int64{dbResource: 1}, done.GetIntent().GetOutputVersions()); diff != "" || len(done.GetAwaitedOutputs()) > 0 {
		t.Errorf("versions %s, %v", diff, done)
	}
	if diff := cmp.Diff(map[string]int64{dbResource: 1}, w.getEnv(devEnv).GetIntent().GetOutputVersions()); diff != "" {
		t.Error(diff)
	}
	var phases []string
	for _, p := range done.GetPhases() {
		phases = append(phases, strings.TrimPrefix(p.GetState().String(), "STATE_"))
	}
	if diff := cmp.Diff([]string{"PENDING", "PROVISIONING", "RENDERING", "COMMITTING", "SYNCING", "HEALTHY"}, phases); diff != "" {
		t.Error(diff)
	}

	// The same word again is no version; another one is, and the next deployment takes it.
	w.says("2", dbResource, "a")
	w.says("3", dbResource, "b")
	eventually(t, func() error {
		l, err := w.defs.ListResourceOutputs(t.Context(), &catalogv1.ListResourceOutputsRequest{Parent: devEnv})
		if err != nil || len(l.GetOutputs()) != 1 || l.GetOutputs()[0].GetVersion() != 2 {
			return fmt.Errorf("outputs = %v, %w", l, err)
		}
		return nil
	})
	second := w.inState(w.deploy(devEnv, &catalogv1.Change{}).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if second.GetIntent().GetOutputVersions()[dbResource] != 2 {
		t.Errorf("second = %v", second)
	}
	if diff := cmp.Diff([]string{"CLAIMS 1", "RENDER 1", "RENDER 2"}, slices.Compact(w.seen())); diff != "" {
		t.Error(diff)
	}
	_, err := w.defs.ListResourceOutputs(t.Context(), &catalogv1.ListResourceOutputsRequest{Parent: "applications/shop/environments/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestClaimsThatOthersMakePossibleAreASecondRound(t *testing.T) {
	w := newClaimWorld(t)
	w.claiming.then = true
	d := w.asks(devEnv, "db")
	w.inState(d.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	w.says("1", dbResource, "a")
	eventually(t, func() error {
		if got := w.get(d.GetName()); strings.Join(got.GetAwaitedOutputs(), " ") != "db.default#next" || !strings.Contains(got.GetClaimsCommit(), "#claims-") {
			return fmt.Errorf("awaited %v, claims %s", got.GetAwaitedOutputs(), got.GetClaimsCommit())
		}
		return nil
	})
	w.says("2", "db.default#next", "b")
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestAwaitingEndsAtTheDeadlineOrWhenTheOutputsCannotBeUsed(t *testing.T) {
	w := newClaimWorld(t)
	w.within(10 * time.Millisecond)
	d := w.inState(w.asks(devEnv, "db").GetName(), catalogv1.Deployment_STATE_FAILED)
	if e := d.GetError(); e.GetStage() != "provision" || e.GetReason() != "PROVISIONING_TIMEOUT" || !strings.Contains(e.GetMessage(), dbResource) || e.GetRemedy() == "" {
		t.Errorf("error = %v", d.GetError())
	}
	w.within(time.Hour)
	w.claiming.mu.Lock()
	w.claiming.fail = errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "not with this")
	w.claiming.mu.Unlock()
	next := w.asks(devEnv, "db")
	w.inState(next.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	w.says("1", dbResource, "a")
	if e := w.inState(next.GetName(), catalogv1.Deployment_STATE_FAILED).GetError(); e.GetStage() != "render" || e.GetReason() != "DEFINITION_FAILED" {
		t.Errorf("error = %v", e)
	}
}

func TestANewerDeploymentTakesThePlaceOfOneThatAwaits(t *testing.T) {
	w := newClaimWorld(t)
	first := w.asks(devEnv, "db")
	w.inState(first.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	second := w.deploy(devEnv, &catalogv1.Change{RemoveWorkloads: []string{"api"}})
	w.inState(second.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.inState(first.GetName(), catalogv1.Deployment_STATE_SUPERSEDED)
	w.says("1", dbResource, "a") // late: nothing comes back
	w.inState(w.asks(devEnv, "db").GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestAPlanTellsWhatWouldBeAwaited(t *testing.T) {
	w := newClaimWorld(t)
	d := w.asks(devEnv, "db")
	w.inState(d.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: &catalogv1.Change{}})
	must(t, err)
	if diff := cmp.Diff([]string{dbResource}, plan.GetAwaitedOutputs()); diff != "" || len(plan.GetFiles()) != 1 || len(plan.GetWarnings()) == 0 {
		t.Errorf("plan = %v", plan)
	}
	held, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: &catalogv1.Change{}, PlanHash: plan.GetPlanHash()})
	must(t, err)
	w.inState(held.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
}

func TestAwaitingGoesOnAfterARestart(t *testing.T) {
	w := newClaimWorld(t)
	d := w.asks(devEnv, "db")
	w.inState(d.GetName(), catalogv1.Deployment_STATE_PROVISIONING)
	w.stop()
	w.says("1", dbResource, "a")
	w.start(func(c *catalog.Config) { c.Renderer = w.claiming })
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}
