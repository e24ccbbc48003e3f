package catalog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/history/filehist"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// oldWorld is a catalog whose archive takes what is older than a day, when told to.
func oldWorld(t *testing.T, kv store.KV, dir string, cfg catalog.ArchiveConfig, opts ...option) *world {
	t.Helper()
	segments := mustOpen(t, dir)
	cfg.After, cfg.Every = 24*time.Hour, time.Hour
	leads := false // not by itself
	w, _ := lightWorld(t, kv, append([]option{func(c *catalog.Config) {
		c.History, c.Archive, c.Leads = segments, cfg, func() bool { return leads }
	}}, opts...)...)
	return w
}

func mustOpen(t testing.TB, dir string) *filehist.Store {
	t.Helper()
	s, err := filehist.Open(dir)
	must(t, err)
	return s
}

// testClock is moved by a test while the catalog reads it.
type testClock struct{ at atomic.Int64 }

func newClock(at time.Time) *testClock {
	c := &testClock{}
	c.at.Store(at.UnixMicro())
	return c
}

func (c *testClock) now() time.Time      { return time.UnixMicro(c.at.Load()) }
func (c *testClock) add(d time.Duration) { c.at.Add(d.Microseconds()) }

// past writes finished deployments of an environment, as old as age says.
func past(t *testing.T, kv store.KV, app, env string, from, to int64, age time.Duration) {
	t.Helper()
	at := timestamppb.New(time.Now().Add(-age))
	for g := from; g <= to; g++ {
		d := &catalogv1.Deployment{
			Name: fmt.Sprintf("applications/%s/environments/%s/deployments/%d", app, env, g), Generation: g, Actor: "users/ada",
			State: catalogv1.Deployment_STATE_HEALTHY, CreateTime: at, UpdateTime: at, EndTime: at, Message: fmt.Sprintf("change %d", g),
			ActiveFrom: at, ActiveUntil: at, Tree: fmt.Sprint("tree-", g), Commit: fmt.Sprint("commit-", g),
		}
		value, err := proto.Marshal(d)
		must(t, err)
		putRow(t, kv, fmt.Sprintf("deployments/%s/%s/%020d", app, env, g), string(value))
	}
}

// history reads a whole history in pages.
func (w *world) history(env string, size int32) []*catalogv1.Deployment {
	w.t.Helper()
	var out []*catalogv1.Deployment
	token := ""
	for {
		l, err := w.api.ListDeployments(w.t.Context(), &catalogv1.ListDeploymentsRequest{Parent: env, PageSize: size, PageToken: token})
		must(w.t, err)
		out = append(out, l.GetDeployments()...)
		if token = l.GetNextPageToken(); token == "" {
			return out
		}
	}
}

func rowsUnder(t *testing.T, kv store.KV, prefix string) int {
	t.Helper()
	rows, err := kv.Scan(t.Context(), store.ScanRange{Prefix: prefix})
	must(t, err)
	return len(rows)
}

func TestOldHistoryIsReadAsBeforeFromSegments(t *testing.T) {
	kv, dir := memkv.New(), t.TempDir()
	w := oldWorld(t, kv, dir, catalog.ArchiveConfig{KeepDeployments: 10})
	const dev, test = "applications/shop/environments/dev", "applications/shop/environments/test"
	w.app("shop")
	w.env("shop", "dev")
	past(t, kv, "shop", "dev", 1, 700, 48*time.Hour)
	past(t, kv, "shop", "dev", 701, 720, time.Minute)
	past(t, kv, "shop", "test", 1, 300, 48*time.Hour) // of an environment that is gone
	past(t, kv, "shop", "tiny", 1, 12, 24*time.Hour+time.Minute)
	before, gone := w.history(dev, 1000), w.history(test, 1000)
	half, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: dev, PageSize: 15})
	must(t, err)

	n, err := w.svc.Archive(t.Context())
	must(t, err)
	if n != 700+290 {
		t.Errorf("%d rows moved, want 990: old ones, except the newest 10 and those of an environment with few", n)
	}
	if left := rowsUnder(t, kv, "deployments/shop/dev/"); left != 20 {
		t.Errorf("%d rows of dev are left, want 20", left)
	}
	for _, size := range []int32{33, 50, 1000} {
		if diff := cmp.Diff(before, w.history(dev, size), protocmp.Transform()); diff != "" {
			t.Fatalf("pages of %d (-before +after):\n%s", size, diff)
		}
	}
	if diff := cmp.Diff(gone, w.history(test, 33), protocmp.Transform()); diff != "" {
		t.Errorf("a removed environment's history (-before +after):\n%s", diff)
	}
	rest, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: dev, PageSize: 15, PageToken: half.GetNextPageToken()})
	must(t, err)
	if diff := cmp.Diff(before[15:30], rest.GetDeployments(), protocmp.Transform()); diff != "" {
		t.Errorf("the page behind an old token (-before +after):\n%s", diff)
	}
	for _, i := range []int64{1, 255, 256, 257, 699, 700, 701} {
		if diff := cmp.Diff(before[720-i], w.get(fmt.Sprintf("%s/deployments/%d", dev, i)), protocmp.Transform()); diff != "" {
			t.Errorf("deployment %d (-before +after):\n%s", i, diff)
		}
	}
	_, err = w.api.GetDeployment(t.Context(), &catalogv1.GetDeploymentRequest{Name: dev + "/deployments/721"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	if n, err := w.svc.Archive(t.Context()); n != 0 || err != nil {
		t.Errorf("a second pass moved %d rows: %v", n, err)
	}
	// What comes later goes behind what is there.
	past(t, kv, "shop", "dev", 721, 900, 48*time.Hour)
	if n, err := w.svc.Archive(t.Context()); n != 0 || err != nil { // the young ones 701 to 720 stand before them
		t.Errorf("rows moved past younger ones: %d, %v", n, err)
	}
	past(t, kv, "shop", "dev", 701, 720, 48*time.Hour)
	n, err = w.svc.Archive(t.Context())
	must(t, err)
	if n != 190 {
		t.Errorf("%d rows moved, want 190", n)
	}
	if got := w.history(dev, 100); len(got) != 900 || got[899].GetGeneration() != 1 {
		t.Errorf("%d deployments are listed, want 900", len(got))
	}
}

func TestWhatIsStillNeededStaysInTheDatabase(t *testing.T) {
	kv := memkv.New()
	w := oldWorld(t, kv, t.TempDir(), catalog.ArchiveConfig{KeepDeployments: 5, MinRows: 1})
	past(t, kv, "shop", "dev", 1, 100, 48*time.Hour)
	set := func(generation int64, change func(*catalogv1.Deployment)) {
		key := fmt.Sprintf("deployments/shop/dev/%020d", generation)
		e, err := kv.Get(t.Context(), key)
		must(t, err)
		d := &catalogv1.Deployment{}
		must(t, proto.Unmarshal(e.Value, d))
		change(d)
		value, err := proto.Marshal(d)
		must(t, err)
		putRow(t, kv, key, string(value))
	}
	archived := func(want int64) {
		t.Helper()
		_, err := w.svc.Archive(t.Context())
		must(t, err)
		rows, err := kv.Scan(t.Context(), store.ScanRange{Prefix: "deployments/shop/dev/", Limit: 1})
		must(t, err)
		if got := rows[0].Key; got != fmt.Sprintf("deployments/shop/dev/%020d", want+1) {
			t.Errorf("the oldest row in the database is %s, want generation %d", got, want+1)
		}
	}
	set(31, func(d *catalogv1.Deployment) { d.State = catalogv1.Deployment_STATE_SYNCING })
	archived(30)
	set(31, func(d *catalogv1.Deployment) { d.State, d.ActiveUntil = catalogv1.Deployment_STATE_HEALTHY, nil })
	archived(30)
	set(31, func(d *catalogv1.Deployment) { d.ActiveUntil = d.ActiveFrom })
	archived(95)
}

func TestACrowdedHistoryMovesHoweverYoung(t *testing.T) {
	kv := memkv.New()
	w := oldWorld(t, kv, t.TempDir(), catalog.ArchiveConfig{KeepDeployments: 5, MaxDeployments: 40, MinRows: 10})
	past(t, kv, "shop", "dev", 1, 100, time.Minute)
	n, err := w.svc.Archive(t.Context())
	must(t, err)
	if n != 60 || len(w.history("applications/shop/environments/dev", 1000)) != 100 {
		t.Errorf("%d rows moved, want 60", n)
	}
}

func TestOldAuditEventsAreReadAsBeforeFromSegments(t *testing.T) {
	kv := memkv.New()
	clock := newClock(time.Now().Add(-10 * 24 * time.Hour))
	w := oldWorld(t, kv, t.TempDir(), catalog.ArchiveConfig{}, func(c *catalog.Config) { c.Clock = clock.now })
	for i := range 120 {
		clock.add(time.Minute)
		w.app(fmt.Sprintf("app-%03d", i))
	}
	clock.at.Store(time.Now().UnixMicro())
	w.app("young")
	before, filtered := w.trail(""), w.trail(`resource = applications/app-007`)
	n, err := w.svc.Archive(t.Context())
	must(t, err)
	if left := rowsUnder(t, kv, "auditEvents/"); n != 120 || left != 1 {
		t.Errorf("%d rows moved and %d are left, want 120 and 1", n, left)
	}
	if diff := cmp.Diff(before, w.trail(""), protocmp.Transform()); diff != "" {
		t.Errorf("the trail (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(filtered, w.trail(`resource = applications/app-007`), protocmp.Transform()); diff != "" {
		t.Errorf("filtered (-before +after):\n%s", diff)
	}
	got, err := w.access.GetAuditEvent(t.Context(), &catalogv1.GetAuditEventRequest{Name: before[100].GetName()})
	must(t, err)
	if diff := cmp.Diff(before[100], got, protocmp.Transform()); diff != "" {
		t.Errorf("one event (-before +after):\n%s", diff)
	}
}

// A process that dies between its segment and the move leaves everything as it was, and a file that a later pass removes.
func TestArchivingSurvivesACrashAtTheWorstMoment(t *testing.T) {
	kv, dir := memkv.New(), t.TempDir()
	ctx, die := context.WithCancel(t.Context())
	clock := newClock(time.Now())
	w := oldWorld(t, kv, dir, catalog.ArchiveConfig{KeepDeployments: 5}, func(c *catalog.Config) {
		c.Clock = clock.now
		c.Failpoint = func(name string) {
			if name == "segment_written" {
				die()
			}
		}
	})
	past(t, kv, "shop", "dev", 1, 100, 48*time.Hour)
	before := w.history("applications/shop/environments/dev", 1000)
	if n, err := w.svc.Archive(ctx); n != 0 || err == nil {
		t.Fatalf("the pass moved %d rows in spite of its end: %v", n, err)
	}
	segments := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		must(t, err)
		return len(files)
	}
	if segments() != 1 || rowsUnder(t, kv, "deployments/shop/dev/") != 100 {
		t.Fatalf("%d segments and %d rows after the crash, want 1 and 100", segments(), rowsUnder(t, kv, "deployments/"))
	}
	n, err := w.svc.Archive(t.Context())
	must(t, err)
	if n != 95 || segments() != 2 {
		t.Errorf("%d rows moved and %d segments, want 95 and 2: an orphan may be of somebody who works", n, segments())
	}
	clock.add(2 * time.Hour)
	_, err = w.svc.Archive(t.Context())
	must(t, err)
	if segments() != 1 {
		t.Errorf("%d segments after the orphan became old, want 1", segments())
	}
	if diff := cmp.Diff(before, w.history("applications/shop/environments/dev", 1000), protocmp.Transform()); diff != "" {
		t.Errorf("history (-before +after):\n%s", diff)
	}
}

func TestADamagedSegmentIsToldAndNeverTakenForTheTruth(t *testing.T) {
	kv, dir := memkv.New(), t.TempDir()
	w := oldWorld(t, kv, dir, catalog.ArchiveConfig{KeepDeployments: 5})
	past(t, kv, "shop", "dev", 1, 100, 48*time.Hour)
	_, err := w.svc.Archive(t.Context())
	must(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	must(t, err)
	b, err := os.ReadFile(files[0])
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(files[0], b, 0o600))
	_, err = w.api.GetDeployment(t.Context(), &catalogv1.GetDeploymentRequest{Name: "applications/shop/environments/dev/deployments/3"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	must(t, os.Remove(files[0]))
	_, err = w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: "applications/shop/environments/dev", PageSize: 100})
	if e := wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND); e.Meta["segment"] == "" {
		t.Errorf("the error names no segment: %v", e)
	}
	if got, err := w.api.ListDeployments(t.Context(), &catalogv1.ListDeploymentsRequest{Parent: "applications/shop/environments/dev", PageSize: 3}); err != nil || len(got.GetDeployments()) != 3 {
		t.Errorf("what is in the database cannot be listed: %v", err)
	}
}

// Whatever is in the database and whatever has moved, a scan of both gives what a scan gave before.
func TestScansOverDatabaseAndArchiveEqualThoseBefore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kv := memkv.New()
		defer kv.Close()
		segments, err := filehist.Open(t.TempDir())
		must(t, err)
		svc := catalog.New(catalog.Config{KV: kv, History: segments, Logger: quiet(), Archive: catalog.ArchiveConfig{
			After: 24 * time.Hour, KeepDeployments: rapid.IntRange(1, 5).Draw(rt, "keep"), MinRows: 1,
		}})
		for _, env := range []string{"a", "ab"} {
			next := int64(1)
			for range rapid.IntRange(0, 2).Draw(rt, "runs") {
				n := rapid.Int64Range(1, 12).Draw(rt, "n")
				past(t, kv, "shop", env, next, next+n-1, 48*time.Hour)
				next += n + rapid.Int64Range(0, 2).Draw(rt, "gap")
				_, err := svc.Archive(t.Context())
				must(t, err)
			}
		}
		all, err := svc.Rows().Scan(t.Context(), store.ScanRange{Prefix: "deployments/"})
		must(t, err)
		for range 10 {
			q := store.ScanRange{
				Prefix:  rapid.SampledFrom([]string{"deployments/", "deployments/shop/a/", "deployments/shop/ab/", "deployments/shop/b/"}).Draw(rt, "prefix"),
				Limit:   rapid.IntRange(0, 9).Draw(rt, "limit"),
				Reverse: rapid.Bool().Draw(rt, "reverse"),
			}
			if rapid.Bool().Draw(rt, "from") {
				q.After = fmt.Sprintf("deployments/shop/%s/%020d", rapid.SampledFrom([]string{"a", "ab", "b", "c"}).Draw(rt, "env"), rapid.Int64Range(0, 40).Draw(rt, "gen"))
			}
			got, err := svc.Rows().Scan(t.Context(), q)
			must(t, err)
			if diff := cmp.Diff(keysIn(all, q), keysOf(got)); diff != "" {
				rt.Fatalf("%+v (-want +got):\n%s", q, diff)
			}
		}
		for _, e := range all {
			got, err := svc.Rows().Get(t.Context(), e.Key)
			if err != nil || got.Rev != e.Rev {
				rt.Fatalf("get %s: %v", e.Key, err)
			}
		}
		if _, err := svc.Rows().Get(t.Context(), "deployments/shop/a/none"); !errs.Is(err, errs.NotFound) {
			rt.Fatalf("get of nothing: %v", err)
		}
	})
}

func keysOf(rows []store.Entry) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, r.Key)
	}
	return out
}

// keysIn does by hand what a scan does.
func keysIn(all []store.Entry, q store.ScanRange) []string {
	start, end, empty := q.Bounds()
	out := []string{}
	for i := range all {
		if q.Reverse {
			i = len(all) - 1 - i
		}
		k := all[i].Key
		if !empty && k >= start && (end == "" || k < end) && (q.Limit == 0 || len(out) < q.Limit) {
			out = append(out, k)
		}
	}
	return out
}
