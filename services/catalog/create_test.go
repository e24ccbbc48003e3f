package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

const newEnv = "applications/shop/environments/new"

func creation(change func(*catalogv1.CreateEnvironmentRequest)) *catalogv1.CreateEnvironmentRequest {
	r := &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "new", Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestNewEnvironmentBeginsWithWhatItIsMadeFrom(t *testing.T) {
	w, running := twoEnvironments(t)
	ctx := t.Context()
	w.deploy(devEnv, score("later", "later:1")) // what runs counts, or the deployment that is named
	for name, tc := range map[string]struct {
		make   func(*catalogv1.CreateEnvironmentRequest)
		images map[string]string // by workload, of the set
		origin *catalogv1.Origin
		typ    string
	}{
		"a deployment": {
			func(r *catalogv1.CreateEnvironmentRequest) { r.From = running.GetName() },
			map[string]string{"api": "api:2", "web": "web:2"},
			&catalogv1.Origin{Kind: catalogv1.Origin_KIND_CLONE, Source: running.GetName()}, "environmentTypes/development",
		},
		"a deployment with a change on top, as another type, for a pull request": {
			func(r *catalogv1.CreateEnvironmentRequest) {
				r.From, r.Change, r.PullRequest = running.GetName(), score("api", "api:pr-7"), "https://git.example.com/shop/pulls/7"
				r.Environment.Type = "environmentTypes/staging"
			},
			map[string]string{"api": "api:pr-7", "web": "web:2"},
			&catalogv1.Origin{Kind: catalogv1.Origin_KIND_PULL_REQUEST, Source: "https://git.example.com/shop/pulls/7"}, "environmentTypes/staging",
		},
		"a deployment, with its environment's type": {
			func(r *catalogv1.CreateEnvironmentRequest) { r.From, r.Environment = running.GetName(), nil },
			map[string]string{"api": "api:2", "web": "web:2"},
			&catalogv1.Origin{Kind: catalogv1.Origin_KIND_CLONE, Source: running.GetName()}, "environmentTypes/development",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := creation(tc.make)
			r.EnvironmentId, r.RequestId = fmt.Sprintf("new-%d", len(name)), name
			env := "applications/shop/environments/" + r.GetEnvironmentId()
			plan, err := w.api.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: env, Creation: &catalogv1.NewEnvironment{
				Environment: r.GetEnvironment(), From: r.GetFrom(), Change: r.GetChange(),
			}})
			must(t, err)
			r.PlanHash = plan.GetPlanHash()
			e, err := w.api.CreateEnvironment(ctx, r)
			must(t, err)
			if diff := cmp.Diff(tc.origin, e.GetOrigin(), protocmp.Transform()); diff != "" || e.GetType() != tc.typ {
				t.Errorf("type %s, origin: %s", e.GetType(), diff)
			}
			d := w.inState(e.GetLatestDeployment(), catalogv1.Deployment_STATE_HEALTHY)
			if d.GetTree() != plan.GetTree() || d.GetGeneration() != 1 || e.GetGeneration() != 1 {
				t.Errorf("deployment = %v", d)
			}
			if d.GetIntent().GetVariables()["LOG_LEVEL"] != "debug" || len(d.GetIntent().GetOverlay()) != 1 {
				t.Errorf("intent = %v, want variables and overlay copied", d.GetIntent())
			}
			set, err := w.api.GetSet(ctx, &catalogv1.GetSetRequest{Name: e.GetIntent().GetSet()})
			must(t, err)
			if diff := cmp.Diff(tc.images, imagesOf(set)); diff != "" {
				t.Error(diff)
			}
			again, err := w.api.CreateEnvironment(ctx, r)
			must(t, err)
			if diff := cmp.Diff(e, again, protocmp.Transform()); diff != "" {
				t.Errorf("the same request gave something else: %s", diff)
			}
			if got := w.getEnv(env); got.GetEtag() != e.GetEtag() {
				t.Errorf("etag = %s, the answer had %s", got.GetEtag(), e.GetEtag())
			}
		})
	}
}

func imagesOf(set *catalogv1.Set) map[string]string {
	out := map[string]string{}
	for name, doc := range set.GetWorkloads() {
		out[name] = doc.GetFields()["containers"].GetStructValue().GetFields()["main"].GetStructValue().GetFields()["image"].GetStringValue()
	}
	return out
}

func TestNewEnvironmentFromOneThatRunsAndFromOneThatDoesNotYet(t *testing.T) {
	w, _ := shop(t)
	e, err := w.api.CreateEnvironment(t.Context(), creation(nil))
	must(t, err)
	if e.GetOrigin().GetKind() != catalogv1.Origin_KIND_EMPTY || e.GetLatestDeployment() != "" || e.GetGeneration() != 0 {
		t.Errorf("empty environment = %v", e)
	}
	_, err = w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.EnvironmentId, r.From = "copy", newEnv }))
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	first := w.deploy(devEnv, score("api", "api:1")) // nothing answers here: it never runs
	e, err = w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.EnvironmentId, r.From = "copy", devEnv }))
	must(t, err)
	if e.GetIntent().GetSet() != first.GetIntent().GetSet() || e.GetOrigin().GetSource() != first.GetName() {
		t.Errorf("copy = %v", e)
	}
}

// Whatever is wrong, an environment that cannot have its first deployment is not made, and its name and places stay free.
func TestNewEnvironmentThatCannotBeDeployedIsNotMade(t *testing.T) {
	w, _ := shop(t)
	w.app("other")
	w.deploy(devEnv, score("api", "api:1"))
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		if _, broken := r.GetInput().GetWorkloads()["broken"]; broken {
			return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_SCORE, "it cannot be rendered")
		}
		return bundleOf(r.GetInput()), nil
	})
	before := allKeys(t, w.kv)
	for name, tc := range map[string]struct {
		make   func(*catalogv1.CreateEnvironmentRequest)
		code   codes.Code
		reason errorsv1.Reason
		field  string
	}{
		"the set does not render": {func(r *catalogv1.CreateEnvironmentRequest) { r.Change = score("broken", "x:1") }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_SCORE, ""},
		"no type":                 {func(r *catalogv1.CreateEnvironmentRequest) { r.Environment = nil }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "environment.type"},
		"a type that is not":      {func(r *catalogv1.CreateEnvironmentRequest) { r.Environment.Type = "environmentTypes/none" }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "environment.type"},
		"from that is no name":    {func(r *catalogv1.CreateEnvironmentRequest) { r.From = "dev" }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "from"},
		"from of another application": {
			func(r *catalogv1.CreateEnvironmentRequest) { r.From, r.Parent = devEnv, "applications/other" }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "from",
		},
		"from that is not": {func(r *catalogv1.CreateEnvironmentRequest) { r.From = "applications/shop/environments/none" }, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND, ""},
		"a change that is wrong": {func(r *catalogv1.CreateEnvironmentRequest) {
			r.From, r.Change = devEnv, &catalogv1.Change{RemoveWorkloads: []string{"nope"}}
		}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "change.remove_workloads[0]"},
		"a short ttl": {func(r *catalogv1.CreateEnvironmentRequest) { r.Ttl = durationpb.New(time.Second) }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "ttl"},
		"a ttl and a time": {func(r *catalogv1.CreateEnvironmentRequest) {
			r.Ttl, r.Environment.ExpireTime = durationpb.New(time.Hour), timestamppb.Now()
		}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "ttl"},
		"a time that is over": {func(r *catalogv1.CreateEnvironmentRequest) {
			r.Environment.ExpireTime = timestamppb.New(time.Unix(1, 0))
		}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "environment.expire_time"},
		"a pull request that is no URL": {func(r *catalogv1.CreateEnvironmentRequest) { r.PullRequest = "#7" }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "pull_request"},
		"a plan of nothing":             {func(r *catalogv1.CreateEnvironmentRequest) { r.PlanHash = "abc" }, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "plan_hash"},
		"a plan that moved":             {func(r *catalogv1.CreateEnvironmentRequest) { r.From, r.PlanHash = devEnv, "abc" }, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED, ""},
		"a name that is taken":          {func(r *catalogv1.CreateEnvironmentRequest) { r.From, r.EnvironmentId = devEnv, "dev" }, codes.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS, ""},
		"a namespace that is taken":     {func(r *catalogv1.CreateEnvironmentRequest) { r.From, r.Environment.Namespace = devEnv, "shop-dev" }, codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := creation(tc.make)
			r.RequestId = name
			_, err := w.api.CreateEnvironment(t.Context(), r)
			e := wantError(t, err, tc.code, tc.reason)
			if tc.field != "" && (len(e.Fields) != 1 || e.Fields[0].Path != tc.field) {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
			if diff := cmp.Diff(before, allKeys(t, w.kv)); diff != "" {
				t.Errorf("something was left behind:\n%s", diff)
			}
		})
	}
	_, err := w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.From = devEnv }))
	must(t, err)
}

// allKeys gives the keys of a store, without what the outbox and the bootstrap write by themselves, and the trail of who tried.
func allKeys(t *testing.T, kv store.KV) []string {
	t.Helper()
	var out []string
	for e, err := range store.All(t.Context(), kv, "") {
		must(t, err)
		if e.Key != "outbox/position" && !strings.HasPrefix(e.Key, "sent/") && !strings.HasPrefix(e.Key, "auditEvents/") {
			out = append(out, e.Key)
		}
	}
	return out
}

func TestNewEnvironmentIsMadeOnceHoweverManyAskAtOnce(t *testing.T) {
	kv := memkv.New()
	a, _ := lightWorld(t, kv)
	b, _ := lightWorld(t, kv)
	a.app("shop")
	a.env("shop", "dev")
	a.deploy(devEnv, score("api", "api:1"))
	var mu sync.Mutex
	var all sync.WaitGroup
	made, taken := map[string]int{}, 0
	for i := range 16 {
		w := []*world{a, b}[i%2]
		all.Go(func() {
			e, err := w.api.CreateEnvironment(context.Background(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
				r.From, r.RequestId = devEnv, fmt.Sprintf("r%d", i%4) // four requests, each four times
			}))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made[e.GetLatestDeployment()+e.GetEtag()]++
				return
			}
			taken++
		})
	}
	all.Wait()
	if len(made) != 1 || taken != 12 {
		t.Errorf("made %v, %d refused; want one environment for the four calls of one request", made, taken)
	}
	list, err := a.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: newEnv})
	must(t, err)
	if len(list.GetDeployments()) != 1 {
		t.Errorf("%d deployments, want 1", len(list.GetDeployments()))
	}
}

func TestNewEnvironmentGoesOnWithTheHistoryOfAnEarlierOne(t *testing.T) {
	w, running := twoEnvironments(t)
	ctx := t.Context()
	clone := creation(func(r *catalogv1.CreateEnvironmentRequest) { r.From = running.GetName() })
	e, err := w.api.CreateEnvironment(ctx, clone)
	must(t, err)
	w.inState(e.GetLatestDeployment(), catalogv1.Deployment_STATE_HEALTHY)
	removal, err := w.api.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: newEnv})
	must(t, err)
	w.inState(removal.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	// A deployment of an environment that is gone can be brought back, in an environment of its name or another.
	for _, id := range []string{"new", "newer"} {
		again := proto.CloneOf(clone)
		again.EnvironmentId, again.From = id, newEnv+"/deployments/1"
		e, err := w.api.CreateEnvironment(ctx, again)
		must(t, err)
		d := w.inState(e.GetLatestDeployment(), catalogv1.Deployment_STATE_HEALTHY)
		if want := map[string]int64{"new": 3, "newer": 1}[id]; d.GetGeneration() != want || d.GetIntent().GetSet() != running.GetIntent().GetSet() {
			t.Errorf("%s: generation %d, want %d: %v", id, d.GetGeneration(), want, d.GetIntent())
		}
	}
}
