package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// newEnvironments is how many environments are made, one at a time.
const newEnvironments = 15

// benchEnv measures new environments with three workloads, from the one call that makes them until all of them are available,
// and their removal.
func benchEnv(ctx context.Context, r *report) error {
	s, stop, err := startStack(ctx)
	defer stop()
	if err != nil {
		return err
	}
	const parent = "applications/previews"
	if _, err := s.catalog.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: "previews"}); err != nil {
		return err
	}
	first := &catalogv1.CreateEnvironmentRequest{
		Parent: parent, EnvironmentId: "dev", Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
		Change: &catalogv1.Change{Scores: threeWorkloads(), Variables: map[string]string{"ROUND": "0"}},
	}
	if _, err := s.madeAndAvailable(ctx, first); err != nil {
		return err
	}
	var made, gone sample
	for i := range newEnvironments {
		id := fmt.Sprintf("pr-%d", i)
		took, err := s.madeAndAvailable(ctx, &catalogv1.CreateEnvironmentRequest{
			Parent: parent, EnvironmentId: id, From: parent + "/environments/dev",
			Change: &catalogv1.Change{Variables: map[string]string{"ROUND": id}},
		})
		if err != nil {
			return err
		}
		made = append(made, took)
	}
	for i := range newEnvironments {
		start := time.Now()
		d, err := s.catalog.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: fmt.Sprintf("%s/environments/pr-%d", parent, i)})
		if err != nil {
			return err
		}
		if _, err := s.watchUntil(ctx, d.GetName(), healthy); err != nil {
			return err
		}
		gone = append(gone, time.Since(start))
	}
	r.add("env.create_to_available.ms", made.percentile(50), "", 0)
	r.add("env.create_to_available.p99_ms", made.percentile(99), "", 0)
	r.add("env.delete_to_gone.ms", gone.percentile(50), "", 0)
	return nil
}

func threeWorkloads() []*rendererv1.ScoreFile {
	var out []*rendererv1.ScoreFile
	for _, name := range []string{"api", "web", "worker"} {
		out = append(out, &rendererv1.ScoreFile{Content: []byte(strings.Replace(workload, "name: api", "name: "+name, 1))})
	}
	return out
}

// madeAndAvailable makes an environment and waits until all of its objects are available, which is when its deployment is healthy.
func (s *stack) madeAndAvailable(ctx context.Context, r *catalogv1.CreateEnvironmentRequest) (time.Duration, error) {
	start := time.Now()
	e, err := s.catalog.CreateEnvironment(ctx, r)
	if err != nil {
		return 0, err
	}
	_, err = s.watchUntil(ctx, e.GetLatestDeployment(), healthy)
	return time.Since(start), err
}
