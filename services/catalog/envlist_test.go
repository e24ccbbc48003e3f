package catalog_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func TestListShowsWhatRuns(t *testing.T) {
	w, running := twoEnvironments(t)
	w.app("other")
	w.env("other", "dev")
	d, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: prodEnv, Change: score("api", "api:1"), Message: "first of prod"})
	must(t, err)
	d = w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	list := func(parent string, size int32, token string) *catalogv1.ListEnvironmentsResponse {
		t.Helper()
		page, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: parent, PageSize: size, PageToken: token})
		must(t, err)
		return page
	}
	want := &catalogv1.Running{
		Deployment: d.GetName(), Actor: "tokens/bootstrap-admin", Message: "first of prod", Since: d.GetActiveFrom(), Commit: d.GetCommit(), Version: "1",
	}
	got := list("applications/shop", 0, "").GetEnvironments()
	if len(got) != 2 || got[0].GetName() != devEnv || got[1].GetName() != prodEnv {
		t.Fatalf("list = %v", got)
	}
	if diff := cmp.Diff(want, got[1].GetRunning(), protocmp.Transform()); diff != "" {
		t.Errorf("running (-want +got):\n%s", diff)
	}
	if r := got[0].GetRunning(); r.GetDeployment() != running.GetName() || r.GetVersion() != "api 2, web dev" {
		t.Errorf("running = %v", r)
	}
	for _, e := range got {
		if diff := cmp.Diff(w.getEnv(e.GetName()), e, protocmp.Transform()); diff != "" {
			t.Errorf("the list shows something else than the environment (-get +list):\n%s", diff)
		}
	}
	// Page by page, over all applications, with an environment of which nothing is reported between others.
	var names []string
	for token, first := "", true; first || token != ""; first = false {
		page := list("applications/-", 1, token)
		for _, e := range page.GetEnvironments() {
			names = append(names, e.GetName()+" "+e.GetRunning().GetVersion())
		}
		token = page.GetNextPageToken()
	}
	if diff := cmp.Diff([]string{"applications/other/environments/dev ", devEnv + " api 2, web dev", prodEnv + " 1"}, names); diff != "" {
		t.Error(diff)
	}
}

// readingKV counts reads.
type readingKV struct {
	store.KV
	gets, scans atomic.Int64
}

func (c *readingKV) Get(ctx context.Context, key string) (store.Entry, error) {
	c.gets.Add(1)
	return c.KV.Get(ctx, key)
}

func (c *readingKV) Scan(ctx context.Context, r store.ScanRange) ([]store.Entry, error) {
	c.scans.Add(1)
	return c.KV.Scan(ctx, r)
}

func TestListReadsNoRowByItself(t *testing.T) {
	kv := &readingKV{KV: memkv.New()}
	w, _ := lightWorld(t, kv)
	w.environments(t, 300)
	_, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
	must(t, err) // the token is known afterwards
	reads := func() int64 { return kv.gets.Load() + kv.scans.Load() }
	before := reads()
	page, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-", PageSize: 300})
	must(t, err)
	if n := reads() - before; len(page.GetEnvironments()) != 300 || n > 10 {
		t.Errorf("a list of %d environments made %d reads", len(page.GetEnvironments()), n)
	}
}

// environments makes n environments, 100 an application, of each of which something is reported.
func (w *world) environments(t testing.TB, n int) {
	t.Helper()
	var all sync.WaitGroup
	for a := range (n + 99) / 100 {
		app := fmt.Sprintf("app-%03d", a)
		w.app(app)
		all.Go(func() {
			for i := range min(100, n-100*a) {
				_, err := w.api.CreateEnvironment(context.Background(), &catalogv1.CreateEnvironmentRequest{
					Parent: "applications/" + app, EnvironmentId: fmt.Sprintf("env-%02d", i), Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
				})
				w.must(err)
			}
		})
	}
	all.Wait()
	live := store.NewTable[*catalogv1.Environment]("live/")
	var tx store.Tx
	flush := func() {
		_, err := w.kv.Commit(context.Background(), tx)
		must(t, err)
		tx = store.Tx{}
	}
	for i := range n {
		id := fmt.Sprintf("app-%03d/env-%02d", i/100, i%100)
		must(t, live.Put(&tx, id, &catalogv1.Environment{
			ActiveDeployment: "d", Live: &catalogv1.Live{Generation: 1},
			Running: &catalogv1.Running{Deployment: "d", Actor: "users/ada", Message: "a change", Since: timestamppb.Now(), Commit: "c", Version: "1.2.3"},
		}))
		if len(tx.Ops) == 500 {
			flush()
		}
	}
	flush()
}
