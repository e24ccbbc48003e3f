package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// shop is a light world with applications/shop and its environment dev.
func shop(t testing.TB, opts ...option) (*world, *lightBus) {
	t.Helper()
	w, b := lightWorld(t, memkv.New(), opts...)
	w.app("shop")
	w.env("shop", "dev")
	return w, b
}

func TestDeploymentsAtOnceGetGenerationsWithoutGaps(t *testing.T) {
	const n = 64
	w, _ := shop(t)
	var mu sync.Mutex
	var got []int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			d, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{
				Parent: devEnv, Change: &catalogv1.Change{Variables: map[string]string{fmt.Sprint("V", i): "x"}},
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, d.GetGeneration())
		})
	}
	all.Wait()
	slices.Sort(got)
	for i, g := range got {
		if g != int64(i+1) {
			t.Fatalf("generations = %v", got)
		}
	}
	e := w.getEnv(devEnv)
	if len(got) != n || e.GetGeneration() != n || len(e.GetIntent().GetVariables()) != n {
		t.Errorf("%d generations, environment at %d with %d variables: a change was lost", len(got), e.GetGeneration(), len(e.GetIntent().GetVariables()))
	}
}

func TestTwoCatalogsOnOneStoreLoseNoChange(t *testing.T) {
	kv := memkv.New()
	a, _ := lightWorld(t, kv)
	b, _ := lightWorld(t, kv)
	a.app("shop")
	a.env("shop", "dev")
	var all sync.WaitGroup
	for i := range 20 {
		w := []*world{a, b}[i%2]
		all.Go(func() {
			_, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{
				Parent: devEnv, Change: &catalogv1.Change{Variables: map[string]string{fmt.Sprint("V", i): "x"}},
			})
			w.must(err)
		})
	}
	all.Wait()
	if e := a.getEnv(devEnv); e.GetGeneration() != 20 || len(e.GetIntent().GetVariables()) != 20 {
		t.Errorf("generation %d, %d variables", e.GetGeneration(), len(e.GetIntent().GetVariables()))
	}
}

func TestChangeOfTheEnvironmentDuringADeploymentIsKept(t *testing.T) {
	w, _ := shop(t)
	var once sync.Once
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		once.Do(func() {
			_, err := w.api.UpdateEnvironment(context.Background(), &catalogv1.UpdateEnvironmentRequest{
				Environment: &catalogv1.Environment{Name: devEnv, DisplayName: "Dev"},
			})
			w.must(err)
		})
		return bundleOf(r.GetInput()), nil
	})
	d := w.deploy(devEnv, score("api", "api:1"))
	if e := w.getEnv(devEnv); e.GetDisplayName() != "Dev" || e.GetLatestDeployment() != d.GetName() {
		t.Errorf("environment = %v", e)
	}
}

func TestRequestIDMakesADeploymentHappenOnce(t *testing.T) {
	w, _ := shop(t)
	req := &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: score("api", "api:1"), RequestId: "r1"}
	var mu sync.Mutex
	names := map[string]bool{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			d, err := w.api.CreateDeployment(context.Background(), req)
			w.must(err)
			mu.Lock()
			defer mu.Unlock()
			names[d.GetName()] = true
		})
	}
	all.Wait()
	if len(names) != 1 || w.getEnv(devEnv).GetGeneration() != 1 {
		t.Errorf("deployments = %v", names)
	}
	other := &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: score("api", "api:2"), RequestId: "r1"}
	_, err := w.api.CreateDeployment(t.Context(), other)
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)
	_, err = w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, RequestId: "r1"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)
}

func TestBadInputIsRefusedAndNothingIsStored(t *testing.T) {
	refuse := errs.New(errs.Invalid, errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, "a placeholder refers to nothing")
	refuse.Fields = []errs.Field{{Path: "workloads.api.containers.main.variables.X", Problem: "no resource db"}}
	for name, tc := range map[string]struct {
		prepare func(*world)
		change  *catalogv1.Change
		code    codes.Code
		reason  errorsv1.Reason
		field   string
	}{
		"the renderer's words go through": {
			prepare: func(w *world) {
				w.renderer.set(func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
					return nil, rpc.ToStatus(refuse, "").Err()
				})
			},
			change: score("api", "api:1"), code: codes.InvalidArgument, reason: errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER,
			field: "workloads.api.containers.main.variables.X",
		},
		"a Score file that does not load": {
			prepare: func(w *world) {
				w.renderer.load = func(*rendererv1.LoadWorkloadsRequest) (*rendererv1.LoadWorkloadsResponse, error) {
					e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_SCORE, "the Score file is not valid")
					e.Fields = []errs.Field{{Path: "score.yaml:3:5 containers", Problem: "is missing"}}
					return nil, rpc.ToStatus(e, "").Err()
				}
			},
			change: score("api", "api:1"), code: codes.InvalidArgument, reason: errorsv1.Reason_REASON_INVALID_SCORE, field: "score.yaml:3:5 containers",
		},
		"a renderer that cannot be reached": {
			prepare: func(w *world) {
				w.renderer.set(func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
					return nil, rpc.ToStatus(errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "down"), "").Err()
				})
			},
			change: score("api", "api:1"), code: codes.Unavailable, reason: errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
		},
		"an operation on nothing": {
			change: &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
				Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/nope/x", Value: structpb.NewStringValue("y"),
			}}},
			code: codes.InvalidArgument, reason: errorsv1.Reason_REASON_INVALID_FIELD, field: "change.set_operations[0].path",
		},
		"a set that does not exist": {
			change: &catalogv1.Change{Set: "sets/" + fmt.Sprintf("%064x", 7)},
			code:   codes.InvalidArgument, reason: errorsv1.Reason_REASON_INVALID_FIELD, field: "change.set",
		},
		"a plaintext secret": {
			change: &catalogv1.Change{Variables: map[string]string{"DB_PASSWORD": "hunter2"}},
			code:   codes.FailedPrecondition, reason: errorsv1.Reason_REASON_PLAINTEXT_SECRET, field: `change.variables["DB_PASSWORD"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := shop(t)
			if tc.prepare != nil {
				tc.prepare(w)
			}
			before := w.getEnv(devEnv)
			_, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: tc.change, RequestId: "r"})
			e := wantError(t, err, tc.code, tc.reason)
			if tc.field != "" && (len(e.Fields) != 1 || e.Fields[0].Path != tc.field) {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
			if after := w.getEnv(devEnv); after.GetEtag() != before.GetEtag() {
				t.Errorf("the environment changed: %v", after)
			}
			list, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: devEnv})
			must(t, err)
			if len(list.GetDeployments()) != 0 || len(b.commands()) != 0 {
				t.Errorf("stored %v, sent %v", list.GetDeployments(), b.commands())
			}
		})
	}
}

func TestDeploymentOfWhatIsNotThere(t *testing.T) {
	w, _ := shop(t)
	ctx := t.Context()
	for name, err := range map[string]error{
		"environment": second(w.api.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: "applications/shop/environments/nope"})),
		"deployment":  second(w.api.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: dep(1)})),
		"latest":      second(w.api.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: devEnv + "/deployments/latest"})),
		"history":     second(w.api.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: "applications/shop/environments/nope"})),
		"set":         second(w.api.GetSet(ctx, &catalogv1.GetSetRequest{Name: fmt.Sprintf("sets/%064x", 7)})),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND) })
	}
}

func TestSetsAreSharedBetweenEnvironments(t *testing.T) {
	w, _ := shop(t)
	w.env("shop", "test")
	d := w.deploy(devEnv, score("api", "api:1"))
	w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"A": "1"}})
	promoted := w.deploy("applications/shop/environments/test", &catalogv1.Change{Set: d.GetIntent().GetSet()})
	if promoted.GetIntent().GetSet() != d.GetIntent().GetSet() || len(promoted.GetIntent().GetVariables()) != 0 {
		t.Errorf("promoted = %v", promoted.GetIntent())
	}
	set, err := w.api.GetSet(t.Context(), &catalogv1.GetSetRequest{Name: d.GetIntent().GetSet()})
	must(t, err)
	if set.GetWorkloads()["api"] == nil {
		t.Errorf("set = %v", set)
	}
}

// countingKV counts what lists read.
type countingKV struct {
	store.KV
	mu      sync.Mutex
	entries int
}

func (c *countingKV) Scan(ctx context.Context, r store.ScanRange) ([]store.Entry, error) {
	e, err := c.KV.Scan(ctx, r)
	c.mu.Lock()
	c.entries += len(e)
	c.mu.Unlock()
	return e, err
}

func (c *countingKV) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries
	c.entries = 0
	return n
}

func TestHistoryIsPagedNewestFirstAtACostThatDoesNotGrow(t *testing.T) {
	const n = 5000
	kv := &countingKV{KV: memkv.New()}
	w, _ := lightWorld(t, kv)
	w.app("shop")
	w.env("shop", "dev")
	for range n {
		w.deploy(devEnv, nil)
	}
	kv.take()
	var seen int64
	token, next := "", int64(n)
	for {
		page, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: devEnv, PageSize: 500, PageToken: token})
		must(t, err)
		if read := kv.take(); read > 600 {
			t.Fatalf("a page of 500 read %d rows", read)
		}
		for _, d := range page.GetDeployments() {
			if d.GetGeneration() != next {
				t.Fatalf("generation %d, want %d", d.GetGeneration(), next)
			}
			next--
			seen++
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if seen != n {
		t.Errorf("listed %d of %d", seen, n)
	}
	first, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: devEnv, PageSize: 2})
	must(t, err)
	w.env("shop", "test")
	_, err = w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{
		Parent: "applications/shop/environments/test", PageToken: first.GetNextPageToken(),
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN)
}

func TestEnvironmentIsRemovedAndItsHistoryStays(t *testing.T) {
	w := newWorld(t)
	w.plays()
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv, Etag: "1"})
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH)
	removal, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv, Message: "no longer needed", RequestId: "bye"})
	must(t, err)
	if removal.GetKind() != catalogv1.Deployment_KIND_REMOVAL || removal.GetGeneration() != 2 {
		t.Errorf("removal = %v", removal)
	}
	w.inState(removal.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err = w.api.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: devEnv})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	again, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv, Message: "no longer needed", RequestId: "bye"})
	must(t, err)
	if again.GetName() != removal.GetName() {
		t.Errorf("the same request gave %s", again.GetName())
	}
	list, err := w.api.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: devEnv})
	must(t, err)
	if len(list.GetDeployments()) != 2 || list.GetDeployments()[1].GetActiveUntil() == nil {
		t.Errorf("history = %v", list.GetDeployments())
	}
	w.env("shop", "dev")
	d := w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if d.GetGeneration() != 3 {
		t.Errorf("generation = %d, want 3", d.GetGeneration())
	}
}

func TestNothingIsDeployedWhileAnEnvironmentIsRemoved(t *testing.T) {
	w, _ := shop(t)
	ctx := t.Context()
	w.deploy(devEnv, score("api", "api:1"))
	removal, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	if e := w.getEnv(devEnv); e.GetState() != catalogv1.Environment_STATE_DELETING {
		t.Errorf("state = %s", e.GetState())
	}
	_, err = w.api.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: score("api", "api:2")})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	same, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	if same.GetName() != removal.GetName() {
		t.Errorf("asking again gave %s, want %s", same.GetName(), removal.GetName())
	}
}

func TestUnusedEnvironmentIsRemovedAtOnce(t *testing.T) {
	w, b := shop(t)
	d, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	if d.GetState() != catalogv1.Deployment_STATE_HEALTHY || d.GetEndTime() == nil {
		t.Errorf("removal = %v", d)
	}
	_, err = w.api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: devEnv})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	if got := w.get(d.GetName()); got.GetKind() != catalogv1.Deployment_KIND_REMOVAL {
		t.Errorf("history has %v", got)
	}
	if len(b.commands()) != 0 {
		t.Errorf("sent %v for nothing", b.commands())
	}
}

func TestFailpointsAreAtTheirBoundaries(t *testing.T) {
	var mu sync.Mutex
	var passed []string
	w, _ := shop(t, func(c *catalog.Config) {
		c.Failpoint = func(name string) {
			mu.Lock()
			defer mu.Unlock()
			passed = append(passed, name)
		}
	})
	w.deploy(devEnv, nil)
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(passed) != 2 {
			return fmt.Errorf("passed %v", passed)
		}
		return nil
	})
	slices.Sort(passed)
	if diff := cmp.Diff([]string{"published", "row_committed"}, passed); diff != "" {
		t.Error(diff)
	}
}
