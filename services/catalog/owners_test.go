package catalog_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func TestAnyNumberOfEnvironmentsIsMadeAtOnce(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.app("shop")
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			_, err := w.api.CreateEnvironment(context.Background(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
				r.EnvironmentId = fmt.Sprintf("pr-%d", i)
			}))
			w.must(err)
		})
	}
	all.Wait()
}

// Two environments whose folders would contain one another are made at the same moment, through two replicas, again and again:
// never both of them.
func TestOneOfTwoFoldersThatContainOneAnotherIsMade(t *testing.T) {
	kv := memkv.New()
	a, _ := lightWorld(t, kv)
	b, _ := lightWorld(t, kv)
	for id, template := range map[string]string{"outer": "x/{environment}", "inner": "x/{environment}/{application}"} {
		_, err := a.api.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{RepositoryId: id, Repository: &catalogv1.Repository{
			Url: "embedded:///shared", PathTemplate: template,
		}})
		must(t, err)
		_, err = a.api.CreateApplication(t.Context(), &catalogv1.CreateApplicationRequest{
			ApplicationId: id, Application: &catalogv1.Application{Repository: "repositories/" + id},
		})
		must(t, err)
	}
	for i := range 100 {
		var made atomic.Int32
		var all sync.WaitGroup
		for app, w := range map[string]*world{"outer": a, "inner": b} {
			all.Go(func() {
				_, err := w.api.CreateEnvironment(context.Background(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
					r.Parent, r.EnvironmentId = "applications/"+app, fmt.Sprintf("env-%d", i)
				}))
				if err == nil {
					made.Add(1)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d of the two were made", made.Load())
		}
	}
}
