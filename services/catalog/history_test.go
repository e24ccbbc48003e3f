package catalog_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// listed gives the names of a list, page by page, without what all have in common.
func (w *world) listed(parent, filter string, size int32) []string {
	w.t.Helper()
	var out []string
	token := ""
	for {
		l, err := w.api.ListDeployments(w.t.Context(), &catalogv1.ListDeploymentsRequest{Parent: parent, Filter: filter, PageSize: size, PageToken: token})
		must(w.t, err)
		for _, d := range l.GetDeployments() {
			var app, env string
			var n int
			_, err := fmt.Sscanf(replaceSlashes(d.GetName()), "applications %s environments %s deployments %d", &app, &env, &n)
			must(w.t, err)
			out = append(out, fmt.Sprintf("%s/%s/%d", app, env, n))
		}
		if token = l.GetNextPageToken(); token == "" {
			return out
		}
	}
}

// manyEnvironments has deployments of four environments, one second after the other, with one environment gone.
func manyEnvironments(t testing.TB) (*world, *lightBus) {
	c := &clock{}
	w, b := lightWorld(t, memkv.New(), func(cfg *catalog.Config) { cfg.Clock = func() time.Time { return sec(int(c.seconds.Load())) } })
	handle := <-b.handler
	for _, app := range []string{"shop", "pay"} {
		w.app(app)
		w.env(app, "dev")
		w.env(app, "prod")
	}
	for i, e := range []string{"shop dev", "pay dev", "shop prod", "shop dev", "pay prod", "shop dev"} {
		c.seconds.Store(int64(i + 1))
		var app, env string
		_, err := fmt.Sscan(e, &app, &env)
		must(t, err)
		w.deploy("applications/"+app+"/environments/"+env, variable("A", fmt.Sprint(i)))
	}
	sentTo(t, b, 4)
	must(t, handle(t.Context(), failedEvent("applications/pay/environments/prod/deployments/1", "PUSH_REFUSED")))
	return w, b
}

func TestHistoryOfManyEnvironmentsIsByTimeAndFiltered(t *testing.T) {
	w, _ := manyEnvironments(t)
	const all = "applications/-/environments/-"
	for name, tc := range map[string]struct {
		parent, filter string
		want           []string
	}{
		"everything":            {all, "", []string{"shop/dev/3", "pay/prod/1", "shop/dev/2", "shop/prod/1", "pay/dev/1", "shop/dev/1"}},
		"one application":       {"applications/shop/environments/-", "", []string{"shop/dev/3", "shop/dev/2", "shop/prod/1", "shop/dev/1"}},
		"one id of environment": {"applications/-/environments/prod", "", []string{"pay/prod/1", "shop/prod/1"}},
		"one environment":       {devEnv, "", []string{"shop/dev/3", "shop/dev/2", "shop/dev/1"}},
		"by state":              {all, "state = FAILED", []string{"pay/prod/1"}},
		"by time": {
			all, `create_time >= "2026-03-01T12:00:02Z" AND create_time < "2026-03-01T12:00:04Z"`, []string{"shop/prod/1", "pay/dev/1"},
		},
		"until a time":           {all, `create_time <= "2026-03-01T12:00:02Z"`, []string{"pay/dev/1", "shop/dev/1"}},
		"by time in one":         {devEnv, `create_time > "2026-03-01T12:00:01Z"`, []string{"shop/dev/3", "shop/dev/2"}},
		"by kind, actor, origin": {all, `kind = CHANGE AND actor = "tokens/bootstrap-admin" AND origin = api AND state = FAILED`, []string{"pay/prod/1"}},
		"of nobody":              {all, `actor = "users/nobody"`, nil},
		"of nobody in one":       {devEnv, `actor = "users/nobody"`, nil},
		"of no such application": {"applications/nope/environments/-", "", nil},
		"by what it is not":      {all, "state != PENDING AND kind != REMOVAL", []string{"pay/prod/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int32{0, 1, 2} {
				got := w.listed(tc.parent, tc.filter, size)
				if !slices.Equal(got, tc.want) {
					t.Errorf("pages of %d: %v, want %v", size, got, tc.want)
				}
			}
		})
	}
}

func TestWrongHistoryRequestsAreNamed(t *testing.T) {
	w, _ := manyEnvironments(t)
	first, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: "applications/-/environments/-", PageSize: 1})
	must(t, err)
	for name, tc := range map[string]struct {
		req    *catalogv1.ListDeploymentsRequest
		reason errorsv1.Reason
		field  string
	}{
		"a field that is none":      {&catalogv1.ListDeploymentsRequest{Parent: devEnv, Filter: "colour = red"}, errorsv1.Reason_REASON_INVALID_FIELD, "filter"},
		"a state that is none":      {&catalogv1.ListDeploymentsRequest{Parent: devEnv, Filter: "state = BROKEN"}, errorsv1.Reason_REASON_INVALID_FIELD, "filter"},
		"a parent that is none":     {&catalogv1.ListDeploymentsRequest{Parent: "applications/-/environments/UP"}, errorsv1.Reason_REASON_INVALID_FIELD, "parent"},
		"the token of another list": {&catalogv1.ListDeploymentsRequest{Parent: "applications/shop/environments/-", PageToken: first.GetNextPageToken()}, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN, "page_token"},
		"the token of another filter": {
			&catalogv1.ListDeploymentsRequest{Parent: "applications/-/environments/-", PageToken: first.GetNextPageToken(), Filter: "state = FAILED"},
			errorsv1.Reason_REASON_INVALID_PAGE_TOKEN, "page_token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.ListDeployments(t.Context(), tc.req)
			if e := wantError(t, err, codes.InvalidArgument, tc.reason); len(e.Fields) != 1 || e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v", e.Fields)
			}
		})
	}
}

// A store that was written before there was an index by time gets one when the catalog starts.
func TestOldDeploymentsAreFoundByTime(t *testing.T) {
	w, _ := manyEnvironments(t)
	want := w.listed("applications/-/environments/-", "", 0)
	w.stop()
	for e, err := range store.All(t.Context(), w.kv, "") {
		must(t, err)
		if len(e.Key) > 7 && (e.Key[:7] == "byTime/" || e.Key == "meta/byTime") {
			var tx store.Tx
			_, err := w.kv.Commit(t.Context(), *tx.Delete(e.Key))
			must(t, err)
		}
	}
	again, _ := lightWorld(t, w.kv)
	eventually(t, func() error {
		if got := again.listed("applications/-/environments/-", "", 0); !slices.Equal(got, want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

func TestDeliveryMetricsComeFromHistory(t *testing.T) {
	c := &clock{}
	w, b := lightWorld(t, memkv.New(), func(cfg *catalog.Config) { cfg.Clock = func() time.Time { return sec(int(c.seconds.Load())) } })
	handle := <-b.handler
	w.app("shop")
	w.env("shop", "dev")
	w.env("shop", "prod")
	step := func(n, at int, bad bool) {
		c.seconds.Store(int64(at))
		w.deploy(devEnv, variable("A", fmt.Sprint(n)))
		sentTo(t, b, n)
		if bad {
			must(t, handle(t.Context(), failedEvent(dep(n), "PUSH_REFUSED"))) // at 20
			return
		}
		must(t, handle(t.Context(), committedAt(n, at+3)))
		must(t, handle(t.Context(), syncedAt(n, at+4)))
		must(t, handle(t.Context(), healthAt(n, at+6, synced, healthy, 0)))
	}
	step(1, 1, false)
	step(2, 18, true)
	step(3, 44, false) // healthy at 50, 30 s after the failure
	c.seconds.Store(100)
	for _, parent := range []string{devEnv, "applications/shop/environments/-", "applications/-/environments/-"} {
		m, err := w.api.GetDeliveryMetrics(t.Context(), &catalogv1.GetDeliveryMetricsRequest{Parent: parent})
		must(t, err)
		if m.GetDeployments() != 2 || m.GetFailures() != 1 || m.GetLeadTimeMedian().AsDuration() != 6*time.Second ||
			m.GetTimeToRestoreMedian().AsDuration() != 30*time.Second || int(m.GetChangeFailureRate()*300+0.5) != 100 ||
			m.GetEndTime().AsTime() != sec(100) || m.GetEndTime().AsTime().Sub(m.GetStartTime().AsTime()) != 30*24*time.Hour {
			t.Errorf("%s: %v", parent, m)
		}
	}
	m, err := w.api.GetDeliveryMetrics(t.Context(), &catalogv1.GetDeliveryMetricsRequest{
		Parent: devEnv, StartTime: timestamppb.New(sec(30)), EndTime: timestamppb.New(sec(60)),
	})
	must(t, err)
	if m.GetDeployments() != 1 || m.GetFailures() != 0 || m.GetTimeToRestoreMedian() != nil || m.GetDeploymentsPerDay() != 2880 {
		t.Errorf("of 30 seconds: %v", m)
	}
	_, err = w.api.GetDeliveryMetrics(t.Context(), &catalogv1.GetDeliveryMetricsRequest{Parent: devEnv, StartTime: stamp(60), EndTime: stamp(60)})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.api.GetDeliveryMetrics(t.Context(), &catalogv1.GetDeliveryMetricsRequest{Parent: "applications/shop/environments/nope"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestPageOfAllHistoryCostsTheSameHoweverLongItIs(t *testing.T) {
	kv := &countingKV{KV: memkv.New()}
	w, _ := lightWorld(t, kv)
	w.app("shop")
	w.env("shop", "dev")
	w.env("shop", "prod")
	const n = 600
	for i := range n {
		w.deploy([]string{devEnv, "applications/shop/environments/prod"}[i%2], nil)
	}
	kv.take()
	for _, filter := range []string{"", "kind = CHANGE"} {
		seen, token := 0, ""
		for {
			page, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{
				Parent: "applications/-/environments/-", PageSize: 50, PageToken: token, Filter: filter,
			})
			must(t, err)
			if read := kv.take(); read > 400 {
				t.Fatalf("a page of 50 read %d rows", read)
			}
			seen += len(page.GetDeployments())
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
		if seen != n {
			t.Errorf("filter %q: listed %d of %d", filter, seen, n)
		}
	}
}
