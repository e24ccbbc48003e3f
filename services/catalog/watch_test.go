package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/store"
)

// replica is what somebody knows who has only watched.
type replica struct {
	rows     map[string]*catalogv1.Environment
	token    string
	caughtUp bool
}

// read takes n messages, or all until the replica is done.
func (r *replica) read(t *testing.T, api catalogv1.CatalogServiceClient, n int, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := api.WatchEnvironments(ctx, &catalogv1.WatchEnvironmentsRequest{Parent: "applications/-", ResumeToken: r.token})
	must(t, err)
	if r.token == "" {
		r.rows = map[string]*catalogv1.Environment{}
	}
	for i := 0; i < n && !done(); i++ {
		m, err := stream.Recv()
		must(t, err)
		switch {
		case m.GetCaughtUp():
			r.caughtUp = true
		case m.GetRemoved():
			delete(r.rows, m.GetEnvironment().GetName())
		default:
			r.rows[m.GetEnvironment().GetName()] = m.GetEnvironment()
		}
		if m.GetResumeToken() != "" {
			r.token = m.GetResumeToken()
		}
	}
}

func TestWhoWatchesAListAndResumesKnowsWhatTheListSays(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.app("blog")
	list := func() map[string]*catalogv1.Environment {
		l, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
		must(t, err)
		out := map[string]*catalogv1.Environment{}
		for _, e := range l.GetEnvironments() {
			out[e.GetName()] = e
		}
		return out
	}
	change := func(i int) {
		app, id := []string{"shop", "blog"}[rand.N(2)], fmt.Sprintf("env%d", rand.N(4))
		name := "applications/" + app + "/environments/" + id
		switch e, there := list()[name]; {
		case !there:
			w.env(app, id)
		case rand.N(3) == 0 && e.GetLatestDeployment() == "":
			_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: name})
			must(t, err)
		case rand.N(2) == 0:
			w.emit(name, "drift.detected", fmt.Sprintf("found%d", i), time.Now(), &eventsv1.DriftDetected{Environment: name, Open: int32(i)})
		default:
			e.DisplayName, e.Etag = fmt.Sprintf("change %d", i), ""
			_, err := w.api.UpdateEnvironment(t.Context(), &catalogv1.UpdateEnvironmentRequest{Environment: e})
			must(t, err)
		}
	}
	r := &replica{}
	for i := range 60 {
		change(i)
		if rand.N(4) == 0 { // a watch that breaks off after a few messages, also within the first listing
			sent := len(list())
			r.read(t, w.api, rand.N(sent+2), func() bool { return r.caughtUp && maps.EqualFunc(r.rows, list(), sameEnvironment) })
		}
	}
	last := w.env("shop", "last")
	w.emit(last.GetName(), "environment.health", "h", time.Now(), &eventsv1.EnvironmentHealth{
		Environment: last.GetName(), Health: driftv1.Health_HEALTH_HEALTHY, Sync: driftv1.SyncState_SYNC_STATE_SYNCED,
	})
	r.read(t, w.api, 10_000, func() bool {
		return r.rows[last.GetName()].GetLive().GetHealth() == driftv1.Health_HEALTH_HEALTHY && maps.EqualFunc(r.rows, list(), sameEnvironment)
	})
	if diff := cmp.Diff(list(), r.rows, protocmp.Transform()); diff != "" {
		t.Errorf("(-list +watched):\n%s", diff)
	}
}

func sameEnvironment(a, b *catalogv1.Environment) bool { return cmp.Equal(a, b, protocmp.Transform()) }

func TestEveryListOfTheCatalogCanBeWatched(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.app("shop")
	env := w.env("shop", "dev")
	waiting := w.deploy(env.GetName(), setVariable("A", "1"))
	draftAPI, variableAPI, definitionAPI := catalogv1.NewDraftServiceClient(w.conn), catalogv1.NewVariableServiceClient(w.conn), catalogv1.NewDefinitionServiceClient(w.conn)
	definition := func(id string) *catalogv1.ResourceDefinition {
		m, err := definitionAPI.CreateResourceDefinition(ctx, &catalogv1.CreateResourceDefinitionRequest{ResourceDefinitionId: id})
		must(t, err)
		return m
	}
	for name, tc := range map[string]struct {
		first  string
		watch  func(context.Context) (func() (name string, caughtUp bool, err error), error)
		change func() string
	}{
		"applications": {"applications/shop", watching(w.api.WatchApplications, &catalogv1.WatchApplicationsRequest{}, func(m *catalogv1.WatchApplicationsResponse) string {
			return m.GetApplication().GetName()
		}), func() string { return w.app("blog").GetName() }},
		"environment types": {"environmentTypes/development", watching(w.api.WatchEnvironmentTypes, &catalogv1.WatchEnvironmentTypesRequest{}, func(m *catalogv1.WatchEnvironmentTypesResponse) string {
			return m.GetEnvironmentType().GetName()
		}), func() string {
			m, err := w.api.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{EnvironmentTypeId: "quality"})
			must(t, err)
			return m.GetName()
		}},
		"targets": {"targets/default", watching(w.api.WatchTargets, &catalogv1.WatchTargetsRequest{}, func(m *catalogv1.WatchTargetsResponse) string {
			return m.GetTarget().GetName()
		}), func() string {
			m, err := w.api.CreateTarget(ctx, &catalogv1.CreateTargetRequest{TargetId: "west"})
			must(t, err)
			return m.GetName()
		}},
		"repositories": {"repositories/default", watching(w.api.WatchRepositories, &catalogv1.WatchRepositoriesRequest{}, func(m *catalogv1.WatchRepositoriesResponse) string {
			return m.GetRepository().GetName()
		}), func() string {
			m, err := w.api.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{RepositoryId: "team", Repository: &catalogv1.Repository{Url: "https://git.example.com/team.git"}})
			must(t, err)
			return m.GetName()
		}},
		"deployments": {waiting.GetName(), watching(w.api.WatchDeployments, &catalogv1.WatchDeploymentsRequest{Parent: "applications/shop/environments/-"}, func(m *catalogv1.WatchDeploymentsResponse) string {
			return m.GetDeployment().GetName()
		}), func() string { return w.deploy(env.GetName(), setVariable("A", "2")).GetName() }},
		"drafts": {w.draft("one").GetName(), watching(draftAPI.WatchDrafts, &catalogv1.WatchDraftsRequest{Parent: "applications/shop"}, func(m *catalogv1.WatchDraftsResponse) string {
			return m.GetDraft().GetName()
		}), func() string { return w.draft("two").GetName() }},
		"variables": {env.GetName() + "/variables/A", watching(variableAPI.WatchVariables, &catalogv1.WatchVariablesRequest{Parent: env.GetName()}, func(m *catalogv1.WatchVariablesResponse) string {
			return m.GetVariable().GetName()
		}), func() string {
			m, err := variableAPI.SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: "applications/shop/variables/REGION", Value: "eu"}})
			must(t, err)
			return m.GetVariable().GetName()
		}},
		"resource definitions": {definition("cache").GetName(), watching(definitionAPI.WatchResourceDefinitions, &catalogv1.WatchResourceDefinitionsRequest{}, func(m *catalogv1.WatchResourceDefinitionsResponse) string {
			return m.GetResourceDefinition().GetName()
		}), func() string { return definition("queue").GetName() }},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			next, err := tc.watch(ctx)
			must(t, err)
			until := func(want string) {
				t.Helper()
				for {
					got, caughtUp, err := next()
					must(t, err)
					if got == want && !caughtUp || want == "" && caughtUp {
						return
					}
				}
			}
			until(tc.first)
			until("") // the end of the first listing
			until(tc.change())
		})
	}
}

// setVariable is a change of one variable.
func setVariable(key, value string) *catalogv1.Change {
	return &catalogv1.Change{Variables: map[string]string{key: value}}
}

// watching opens a watch and gives its messages, one a call.
func watching[Req, Resp any, P interface {
	*Resp
	GetCaughtUp() bool
}](call func(context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Resp], error), req *Req, name func(P) string) func(context.Context) (func() (string, bool, error), error) {
	return func(ctx context.Context) (func() (string, bool, error), error) {
		stream, err := call(ctx, req)
		return func() (string, bool, error) {
			m, err := stream.Recv()
			if err != nil {
				return "", false, err
			}
			return name(m), P(m).GetCaughtUp(), nil
		}, err
	}
}

func TestAWatchThatCannotGoOnSaysSo(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	first := func(token string) (*catalogv1.WatchApplicationsResponse, error) {
		stream, err := w.api.WatchApplications(ctx, &catalogv1.WatchApplicationsRequest{ResumeToken: token})
		must(t, err)
		var m *catalogv1.WatchApplicationsResponse
		for err == nil && m.GetResumeToken() == "" {
			m, err = stream.Recv()
		}
		return m, err
	}
	m, err := first("")
	must(t, err)
	_, err = first("nonsense")
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	stream, err := w.api.WatchTargets(ctx, &catalogv1.WatchTargetsRequest{ResumeToken: m.GetResumeToken()})
	must(t, err)
	_, err = stream.Recv()
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)

	w.app("blog")
	rev, err := store.Revision(ctx, w.kv)
	must(t, err)
	compactor, ok := w.kv.(store.Compactor)
	if !ok {
		t.Fatal("the store of the suite cannot compact its log")
	}
	must(t, compactor.Compact(ctx, rev))
	_, err = first(m.GetResumeToken())
	wantError(t, err, codes.OutOfRange, errorsv1.Reason_REASON_COMPACTED)
	if _, err = first(""); err != nil {
		t.Errorf("beginning anew: %v", err)
	}

	bad, err := w.api.WatchDeployments(ctx, &catalogv1.WatchDeploymentsRequest{Parent: "applications/-/environments/dev"})
	must(t, err)
	_, err = bad.Recv()
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "parent" {
		t.Errorf("the field is %v", e.Fields)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("it took longer than 30 s")
	}
}
