package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// The rows of a large world are copies of those that the service has written for one application, environment and deployment.
// Names in them are replaced by others of the same length, so that what is encoded stays valid.
const (
	sampleApp, sampleEnv = "app-00000", "env-0"
	longEnv              = "applications/" + sampleApp + "/environments/" + sampleEnv
)

// size is how large a world is. The first environment has long deployments, all others share the rest evenly.
type worldSize struct{ apps, envsOfEach, long, others int }

// filler writes rows in large transactions, several at a time.
type filler struct {
	b     *testing.B
	kv    *boltkv.DB
	tx    store.Tx
	group errgroup.Group
	// flushed counts the transactions.
	flushed int
}

func (f *filler) put(key string, value []byte) {
	f.tx.Put(key, value)
	if len(f.tx.Ops) == store.MaxTxOps {
		f.flush()
	}
}

// flush writes what there is. Now and then it cuts the log, else the file would be twice as large, and half of it free in the end.
func (f *filler) flush() {
	tx := f.tx
	f.tx, f.flushed = store.Tx{}, f.flushed+1
	compact := f.flushed%64 == 0
	f.group.Go(func() error {
		rev, err := f.kv.Commit(context.Background(), tx)
		if err == nil && compact {
			err = f.kv.Compact(context.Background(), rev)
		}
		return err
	})
}

// sampleRows gives what the service writes for an application and for an environment with one healthy deployment, and that.
func sampleRows(b *testing.B, w *world, bus *lightBus) (app, env map[string][]byte, d *catalogv1.Deployment) {
	b.Helper()
	w.app(sampleApp)
	w.env(sampleApp, sampleEnv)
	d = w.deploy(longEnv, score("api", "registry.example.com/api:1.0"))
	handle := <-bus.handler
	at := time.Now()
	cmd := &eventsv1.DeploymentRequested{Deployment: d.GetName(), Generation: 1, Repository: &committerv1.RepositoryRef{Name: d.GetRepository()}, Path: d.GetPath()}
	must(b, handle(b.Context(), delivery("deployment.committed", at, committedEvent(cmd, strings.Repeat("1f", 20)))))
	must(b, handle(b.Context(), delivery("environment.synced", at, syncedEvent(d.GetName(), 1, at))))
	must(b, handle(b.Context(), delivery("environment.health", at, healthEvent(d.GetName(), 1, at))))
	d = w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	d.Etag = ""
	w.stop()
	app, env = map[string][]byte{}, map[string][]byte{}
	for e, err := range store.All(b.Context(), w.kv, "") {
		must(b, err)
		table, _, _ := strings.Cut(e.Key, "/")
		switch {
		case table == "deployments" || table == "byTime" || table == "auditEvents":
		case strings.Contains(e.Key, sampleEnv) && strings.Contains(e.Key, sampleApp):
			env[e.Key] = e.Value
		case strings.Contains(e.Key, sampleApp):
			app[e.Key] = e.Value
		}
	}
	return app, env, d
}

// copies writes rows of the sample under other names.
func (f *filler) copies(rows map[string][]byte, names ...string) {
	r := strings.NewReplacer(names...)
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		value := rows[key]
		for i := 0; i < len(names); i += 2 {
			value = bytes.ReplaceAll(value, []byte(names[i]), []byte(names[i+1]))
		}
		f.put(r.Replace(key), value)
	}
}

// running gives an environment's rows with so many deployments, of which the last one runs.
func (f *filler) running(rows map[string][]byte, generation int64) map[string][]byte {
	name := fmt.Sprintf("%s/deployments/%d", longEnv, generation)
	rows = maps.Clone(rows)
	for _, key := range []string{"environments/" + sampleApp + "/" + sampleEnv, "live/" + sampleApp + "/" + sampleEnv} {
		e := &catalogv1.Environment{}
		must(f.b, proto.Unmarshal(rows[key], e))
		if strings.HasPrefix(key, "live/") {
			e.ActiveDeployment, e.Live.Generation, e.Running.Deployment = name, generation, name
		} else {
			e.LatestDeployment, e.Generation = name, generation
		}
		var err error
		rows[key], err = proto.Marshal(e)
		must(f.b, err)
	}
	return rows
}

// fill writes the world's rows as the service would have. Deployments are a minute apart, the last one some days ago.
func (f *filler) fill(size worldSize, app, env map[string][]byte, sample *catalogv1.Deployment) {
	total := size.long + size.others
	at := time.Now().Add(-72*time.Hour - time.Duration(total)*time.Minute).Truncate(time.Microsecond)
	envs, made := size.apps*size.envsOfEach, 0
	for n := range envs {
		appID, envID := fmt.Sprintf("app-%05d", n/size.envsOfEach), fmt.Sprintf("env-%d", n%size.envsOfEach)
		if n%size.envsOfEach == 0 {
			f.copies(app, sampleApp, appID)
		}
		count := size.long
		if n > 0 {
			count = size.others*n/(envs-1) - made
			made += count
		}
		f.copies(f.running(env, int64(count)), sampleApp, appID, sampleEnv, envID)
		for g := range count {
			at = at.Add(time.Minute)
			f.deployment(sample, appID, envID, int64(g)+1, at)
		}
	}
	f.flush()
	must(f.b, f.group.Wait())
	rev, err := store.Revision(f.b.Context(), f.kv)
	must(f.b, err)
	must(f.b, f.kv.Compact(f.b.Context(), rev))
}

func (f *filler) deployment(sample *catalogv1.Deployment, app, env string, generation int64, at time.Time) {
	d := proto.CloneOf(sample)
	now := timestamppb.New(at)
	d.Name, d.Generation = fmt.Sprintf("applications/%s/environments/%s/deployments/%d", app, env, generation), generation
	d.Path = strings.NewReplacer(sampleApp, app, sampleEnv, env).Replace(d.GetPath())
	d.CreateTime, d.UpdateTime, d.EndTime, d.ActiveFrom, d.ActiveUntil = now, now, now, now, now
	value, err := proto.Marshal(d)
	must(f.b, err)
	id := fmt.Sprintf("%s/%s/%020d", app, env, generation)
	f.put("deployments/"+id, value)
	f.put(fmt.Sprintf("byTime/%s/%020d/%s", app, at.UnixMicro(), id), nil)
	f.put(fmt.Sprintf("byTime/-/%020d/%s", at.UnixMicro(), id), nil)
}

// filledWorld is a catalog on a file with that much in it. Nothing moves to segments until Archive is called.
func filledWorld(b *testing.B, size worldSize) *world {
	b.Helper()
	start := time.Now()
	dir := b.TempDir()
	kv, err := boltkv.Open(boltkv.Config{Path: filepath.Join(dir, "catalog.db"), Logger: quiet(), CompactEvery: time.Hour})
	must(b, err)
	segments := mustOpen(b, filepath.Join(dir, "history"))
	options := func(c *catalog.Config) {
		c.History, c.Leads = segments, func() bool { return false }
	}
	w, bus := lightWorld(b, kv, options)
	b.Cleanup(func() { w.stop(); _ = kv.Close() })
	app, env, d := sampleRows(b, w, bus)
	f := &filler{b: b, kv: kv}
	f.group.SetLimit(16)
	f.fill(size, app, env, d)
	w.start(options, func(c *catalog.Config) { c.Bus = newLightBus() })
	b.Logf("%d deployments of %d environments were written in %v", size.long+size.others, size.apps*size.envsOfEach, time.Since(start).Round(time.Second))
	return w
}

// pager reads the pages of a history one after the other, and begins again where it was told to.
type pager struct {
	w                   *world
	parent, first, next string
}

// newPager goes past so many deployments.
func newPager(w *world, parent string, past int) *pager {
	p := &pager{w: w, parent: parent}
	for past > 0 {
		past -= p.page(min(past, 1000))
	}
	p.first = p.next
	return p
}

func (p *pager) page(size int) int {
	l, err := p.w.api.ListDeployments(context.Background(), &catalogv1.ListDeploymentsRequest{Parent: p.parent, PageSize: int32(size), PageToken: p.next})
	must(p.w.t, err)
	if p.next = l.GetNextPageToken(); p.next == "" {
		p.next = p.first
	}
	return len(l.GetDeployments())
}

func (p *pager) bench(b *testing.B) {
	p.next = p.first
	for b.Loop() {
		if n := p.page(50); n == 0 {
			b.Fatal("the page is empty")
		}
	}
}

// BenchmarkPage measures pages of 50 from the middle of a history, over gRPC. What a page costs must not depend on how long the
// history is, nor on where it is kept.
func BenchmarkPage(b *testing.B) {
	b.Run("history=1000", func(b *testing.B) {
		newPager(filledWorld(b, worldSize{apps: 10, envsOfEach: 3, long: 971, others: 29}), longEnv, 485).bench(b)
	})
	w := filledWorld(b, worldSize{apps: 10_000, envsOfEach: 3, long: 300_000, others: 700_000})
	one := newPager(w, longEnv, 150_000)
	b.Run("history=1000000", func(b *testing.B) {
		one.bench(b)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
	})
	all := newPager(w, "applications/-/environments/-", 3000)
	b.Run("history=1000000/of=all", all.bench)
	start := time.Now()
	moved, err := w.svc.Archive(b.Context())
	must(b, err)
	if moved < 299_000 {
		b.Fatalf("only %d rows moved to segments", moved)
	}
	b.Logf("%d rows moved to segments in %v", moved, time.Since(start).Round(time.Second))
	old := newPager(w, longEnv, 975) // its first page goes over the border
	b.Run("history=1000000/of=archived", old.bench)
}

// BenchmarkListEnvironments measures a list of 10,000 environments with what is live of each, in pages of 1,000, over gRPC.
func BenchmarkListEnvironments(b *testing.B) {
	w := filledWorld(b, worldSize{apps: 2500, envsOfEach: 4, long: 1, others: 9999})
	lists := 0
	b.ResetTimer()
	for b.Loop() {
		n, token := 0, ""
		for first := true; first || token != ""; first = false {
			l, err := w.api.ListEnvironments(context.Background(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-", PageSize: 1000, PageToken: token})
			must(b, err)
			for _, e := range l.GetEnvironments() {
				if e.GetLive() == nil {
					b.Fatalf("%s shows nothing live", e.GetName())
				}
			}
			n, token = n+len(l.GetEnvironments()), l.GetNextPageToken()
		}
		if n != 10_000 {
			b.Fatalf("%d environments are listed", n)
		}
		lists++
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(lists), "ms/list")
}
