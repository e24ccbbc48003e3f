package catalog_test

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func score(name, image string) *catalogv1.Change {
	return &catalogv1.Change{Scores: []*rendererv1.ScoreFile{{Content: []byte(name), Image: image}}}
}

func TestDeploymentGoesFromRequestToHealthy(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	env := w.env("shop", "dev")
	d := w.deploy(env.GetName(), score("api", "api:1"))
	if d.GetGeneration() != 1 || d.GetState() != catalogv1.Deployment_STATE_PENDING || d.GetActor() != "tokens/bootstrap-admin" {
		t.Fatalf("answer = %v", d)
	}
	if diff := cmp.Diff([]string{"added workload api"}, d.GetSummary()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	stream, err := w.api.WatchDeployment(t.Context(), &catalogv1.WatchDeploymentRequest{Name: d.GetName()})
	must(t, err)
	var last *catalogv1.Deployment
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		last = r.GetDeployment()
	}
	if last.GetState() != catalogv1.Deployment_STATE_HEALTHY || last.GetCommit() == "" || last.GetActiveFrom() == nil || last.GetEndTime() == nil {
		t.Fatalf("the stream ended with %v", last)
	}
	var phases []catalogv1.Deployment_State
	for _, p := range last.GetPhases() {
		phases = append(phases, p.GetState())
	}
	want := []catalogv1.Deployment_State{
		catalogv1.Deployment_STATE_PENDING, catalogv1.Deployment_STATE_RENDERING, catalogv1.Deployment_STATE_COMMITTING,
		catalogv1.Deployment_STATE_SYNCING, catalogv1.Deployment_STATE_HEALTHY,
	}
	if !slices.Equal(phases, want) {
		t.Errorf("phases = %v, want %v", phases, want)
	}
	e := w.getEnv(env.GetName())
	if e.GetActiveDeployment() != d.GetName() || e.GetLatestDeployment() != d.GetName() || e.GetGeneration() != 1 {
		t.Errorf("environment = %v", e)
	}
}
