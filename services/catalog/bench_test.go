package catalog_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
)

// boltWorld is a light world on a real file, with n environments.
func boltWorld(b *testing.B, n int) *world {
	b.Helper()
	kv, err := boltkv.Open(boltkv.Config{Path: filepath.Join(b.TempDir(), "catalog.db"), Logger: quiet()})
	must(b, err)
	w, _ := lightWorld(b, kv)
	b.Cleanup(func() { w.stop(); _ = kv.Close() })
	for i := range n {
		app := fmt.Sprintf("app-%d", i)
		_, err := w.api.CreateApplication(context.Background(), &catalogv1.CreateApplicationRequest{ApplicationId: app})
		must(b, err)
		_, err = w.api.CreateEnvironment(context.Background(), &catalogv1.CreateEnvironmentRequest{
			Parent: "applications/" + app, EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
		})
		must(b, err)
	}
	return w
}

// BenchmarkCreateDeployment measures from the call to its durable answer, over gRPC, with every commit on disk.
func BenchmarkCreateDeployment(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := boltWorld(b, callers)
			var next, nanos atomic.Int64
			b.ResetTimer()
			var all sync.WaitGroup
			for c := range callers {
				all.Go(func() {
					env := fmt.Sprintf("applications/app-%d/environments/dev", c)
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						start := time.Now()
						_, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{
							Parent: env, Change: &catalogv1.Change{Variables: map[string]string{"N": fmt.Sprint(i)}},
						})
						w.must(err)
						nanos.Add(int64(time.Since(start)))
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deployments/s")
			b.ReportMetric(float64(nanos.Load())/float64(b.N)/1e6, "ms/call")
		})
	}
}

// BenchmarkGet measures reading a deployment over gRPC.
func BenchmarkGet(b *testing.B) {
	w := boltWorld(b, 1)
	env := "applications/app-0/environments/dev"
	d, err := w.api.CreateDeployment(context.Background(), &catalogv1.CreateDeploymentRequest{Parent: env, Change: score("api", "api:1")})
	must(b, err)
	for b.Loop() {
		if _, err := w.api.GetDeployment(context.Background(), &catalogv1.GetDeploymentRequest{Name: d.GetName()}); err != nil {
			b.Fatal(err)
		}
	}
}
