package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// callersAtMost is how many clients call at once at the most, each with an environment of its own.
	callersAtMost = 256
	// loadFor is how long each load is measured, warmUp how long it runs before that.
	loadFor = 5 * time.Second
	warmUp  = time.Second
)

const benchScore = `apiVersion: score.dev/v1b1
metadata: {name: web}
containers:
  main:
    image: registry.example.com/web:1.0
    variables: {NUMBER: "${resources.env.NUMBER}"}
resources:
  env: {type: environment}
`

// benchCatalog measures towpathd's catalog as a process with its renderer, event server and gateway, on one engine after the other.
// The load comes from this process, so clients and server share the cores.
func benchCatalog(ctx context.Context, r *report) error {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the callers take as little from the server's cores as they can
	for _, on := range []struct {
		prefix string
		start  func(context.Context) (*engine, func(), error)
	}{{"catalog.", boltEngine}, {"catalog.etcd.", etcdEngine}} {
		if err := benchEngine(ctx, r, on.prefix, on.start); err != nil {
			return fmt.Errorf("%s: %w", on.prefix, err)
		}
		bytes, err := bytesPerDeployment(ctx, on.start)
		if err != nil {
			return fmt.Errorf("%sbytes_per_deployment: %w", on.prefix, err)
		}
		r.add(on.prefix+"bytes_per_deployment", bytes, "", 0)
	}
	m, err := goBench(ctx, "./services/catalog", "^Benchmark(Page|ListEnvironments)", "-benchtime", "1s")
	if err != nil {
		return err
	}
	return r.take(m,
		take{figure: "catalog.page_1m.ms", bench: "Page/history=1000000", unit: "ns/op", scale: 1e-6},
		take{figure: "catalog.page_1m_all.ms", bench: "Page/history=1000000/of=all", unit: "ns/op", scale: 1e-6},
		take{figure: "catalog.page_1m_archived.ms", bench: "Page/history=1000000/of=archived", unit: "ns/op", scale: 1e-6},
		take{figure: "catalog.page_1k.ms", bench: "Page/history=1000", unit: "ns/op", scale: 1e-6},
		take{figure: "catalog.memory_1m.mb", bench: "Page/history=1000000", unit: "MB-heap", scale: 1},
		take{figure: "catalog.list_10k_environments.ms", bench: "ListEnvironments", unit: "ms/list", scale: 1},
	)
}

// benchEngine measures one engine under names that begin with prefix.
func benchEngine(ctx context.Context, r *report, prefix string, start func(context.Context) (*engine, func(), error)) error {
	e, stop, err := start(ctx)
	defer stop()
	if err != nil {
		return err
	}
	if err := e.start(ctx); err != nil {
		return err
	}
	c := &catalogLoad{stack: e.stack}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	rates := map[string]float64{}
	for _, l := range []struct {
		name    string
		callers int
		call    func(ctx context.Context, caller int) error
	}{
		{"get.c1", 1, c.getGRPC}, {"get.c16", 16, c.getGRPC}, {"get.c256", 256, c.getGRPC},
		{"get.rest_c1", 1, c.getREST}, {"get.rest_c16", 16, c.getREST}, {"get.rest_c256", 256, c.getREST},
		{"create.c1", 1, c.createGRPC}, {"create.c16", 16, c.createGRPC}, {"create.c256", 256, c.createGRPC},
		{"create.rest_c1", 1, c.createREST}, {"create.rest_c16", 16, c.createREST}, {"create.rest_c256", 256, c.createREST},
	} {
		rate, err := perSecond(ctx, l.callers, l.call)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		rates[l.name] = rate
		r.add(prefix+l.name+"_per_s", rate, "", 0)
	}
	r.add(prefix+"get.grpc_per_s", max(rates["get.c16"], rates["get.c256"]), "", 0)
	r.add(prefix+"rest_over_grpc.ratio", rates["get.c256"]/rates["get.rest_c256"], "", 0)
	return nil
}

// catalogLoad is what the callers do.
type catalogLoad struct {
	*stack
	http *http.Client
	// conns are the callers' connections; programs and gateways share one among several callers, so these do too.
	conns []catalogv1.CatalogServiceClient
	count atomic.Int64
}

// callersPerConn is how many callers share a connection.
const callersPerConn = 16

func (c *catalogLoad) of(caller int) catalogv1.CatalogServiceClient {
	return c.conns[caller/callersPerConn]
}

func environmentOf(caller int) string {
	return "applications/app-" + strconv.Itoa(caller) + "/environments/dev"
}

// prepare makes an environment with one deployment for each caller.
func (c *catalogLoad) prepare(ctx context.Context) error {
	if err := c.redial(); err != nil {
		return err
	}
	for i := range callersAtMost {
		app := "app-" + strconv.Itoa(i)
		if _, err := c.catalog.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: app}); err != nil {
			return err
		}
		_, err := c.catalog.CreateEnvironment(ctx, &catalogv1.CreateEnvironmentRequest{
			Parent: "applications/" + app, EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
		})
		if err != nil {
			return err
		}
		_, err = c.catalog.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: environmentOf(i), Change: &catalogv1.Change{
			Scores:    []*rendererv1.ScoreFile{{Content: []byte(benchScore)}},
			Variables: map[string]string{"NUMBER": "0"},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// redial connects the callers to where towpathd is now.
func (c *catalogLoad) redial() error {
	c.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callersAtMost, MaxConnsPerHost: callersAtMost}}
	c.conns = nil
	for range callersAtMost / callersPerConn {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		c.conns = append(c.conns, catalogv1.NewCatalogServiceClient(conn))
	}
	return nil
}

func (c *catalogLoad) getGRPC(ctx context.Context, caller int) error {
	_, err := c.of(caller).GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: environmentOf(caller) + "/deployments/1"})
	return err
}

func (c *catalogLoad) getREST(ctx context.Context, caller int) error {
	return c.rest(ctx, http.MethodGet, environmentOf(caller)+"/deployments/1", nil)
}

func (c *catalogLoad) createGRPC(ctx context.Context, caller int) error {
	_, err := c.of(caller).CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{
		Parent: environmentOf(caller), Change: &catalogv1.Change{Variables: map[string]string{"NUMBER": strconv.FormatInt(c.count.Add(1), 10)}},
	})
	return err
}

func (c *catalogLoad) createREST(ctx context.Context, caller int) error {
	body, err := json.Marshal(map[string]any{"change": map[string]any{"variables": map[string]string{"NUMBER": strconv.FormatInt(c.count.Add(1), 10)}}})
	if err != nil {
		return err
	}
	return c.rest(ctx, http.MethodPost, environmentOf(caller)+"/deployments", body)
}

func (c *catalogLoad) rest(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.ready["TOWPATH_HTTP"]+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", c.bearer)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return nil
}

// perSecond lets so many callers call one after the other, each for itself, and gives the calls per second of all together.
func perSecond(ctx context.Context, callers int, call func(ctx context.Context, caller int) error) (float64, error) {
	var done atomic.Int64
	var counting, ended atomic.Bool
	var rate float64
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	all.Go(func() {
		sleep(ctx, warmUp)
		counting.Store(true)
		start := time.Now()
		sleep(ctx, loadFor)
		rate = float64(done.Load()) / time.Since(start).Seconds()
		ended.Store(true)
	})
	err := each(ctx, callers, func(ctx context.Context, caller int) (bool, error) {
		err := call(ctx, caller)
		if err == nil && counting.Load() {
			done.Add(1)
		}
		return !ended.Load(), err
	})
	cancel()
	all.Wait()
	return rate, err
}

// each lets so many callers call until each is told that there is no more, or one fails.
func each(ctx context.Context, callers int, call func(ctx context.Context, caller int) (more bool, err error)) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range callers {
		g.Go(func() error {
			for {
				more, err := call(ctx, i)
				if err != nil || !more {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
