package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	// onebyone is how many deployments are measured one at a time.
	onebyone = 100
	// edits is how many foreign edits are measured.
	edits = 60
	// callers deploy at once, each to an environment of its own, rounds times.
	callers, rounds = 64, 4
)

// workload is what is deployed: a Deployment and a Service, with one variable that the environment sets.
const workload = `apiVersion: score.dev/v1b1
metadata: {name: api}
service: {ports: {http: {port: 8080}}}
containers:
  main:
    image: ghcr.io/acme/api:1.2.3
    variables: {ROUND: "${resources.env.ROUND}"}
    resources: {requests: {cpu: 1m, memory: 1Mi}}
resources:
  env: {type: environment}
`

func benchDeploy(ctx context.Context, r *report) error {
	s, stop, err := startStack(ctx)
	defer stop()
	if err != nil {
		return err
	}
	ev, err := s.subscribe()
	if err != nil {
		return err
	}
	env, err := s.environment(ctx, "bench", "dev", "environmentTypes/development")
	if err != nil {
		return err
	}
	if err := s.settled(ctx, env); err != nil {
		return err
	}
	one, err := s.oneByOne(ctx, ev, env)
	if err != nil {
		return err
	}
	overHTTP, local, err := measureGitCLI(ctx)
	if err != nil {
		return err
	}
	r.add("deploy.request_to_commit.p50_ms", one.toCommit.percentile(50), "git CLI: write, add, commit, push over HTTP", overHTTP.percentile(50))
	r.add("deploy.request_to_commit.p99_ms", one.toCommit.percentile(99), "git CLI: write, add, commit, push over HTTP", overHTTP.percentile(99))
	r.add("deploy.request_to_durable.p50_ms", one.toDurable.percentile(50), "git CLI: write, add, commit, push to a path", local.percentile(50))
	r.add("deploy.accept.p50_ms", one.accept.percentile(50), "", 0)
	r.add("deploy.request_to_objects.p50_ms", one.toObjects.percentile(50), "", 0)
	r.add("deploy.request_to_objects.p99_ms", one.toObjects.percentile(99), "", 0)
	if err := s.benchEdits(ctx, ev, env, r); err != nil {
		return err
	}
	for _, c := range []struct{ figure, kind string }{{"deploy.c64.git_only_per_s", "manual"}, {"deploy.c64.per_s", "development"}} {
		rate, err := s.atOnce(ctx, c.kind)
		if err != nil {
			return err
		}
		r.add(c.figure, rate, "git CLI: one process after the other, over HTTP", 1000/overHTTP.percentile(50))
	}
	return nil
}

// environment makes an application and an environment in it, and puts the workload there.
func (s *stack) environment(ctx context.Context, app, id, typ string) (string, error) {
	parent := "applications/" + app
	if _, err := s.catalog.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: app}); err != nil {
		return "", err
	}
	_, err := s.catalog.CreateEnvironment(ctx, &catalogv1.CreateEnvironmentRequest{
		Parent: parent, EnvironmentId: id, Environment: &catalogv1.Environment{Type: typ},
	})
	env := parent + "/environments/" + id
	if err != nil {
		return env, err
	}
	d, err := s.catalog.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: env, Change: &catalogv1.Change{
		Scores: []*rendererv1.ScoreFile{{Content: []byte(workload)}}, Variables: map[string]string{"ROUND": "0"},
	}})
	if err != nil {
		return env, err
	}
	_, err = s.watchUntil(ctx, d.GetName(), committed)
	return env, err
}

func committed(d *catalogv1.Deployment) bool { return d.GetCommit() != "" }

func healthy(d *catalogv1.Deployment) bool {
	return d.GetState() == catalogv1.Deployment_STATE_HEALTHY
}

// settled waits until the newest deployment of an environment is healthy.
func (s *stack) settled(ctx context.Context, env string) error {
	d, err := s.catalog.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: env + "/deployments/latest"})
	if err != nil || healthy(d) {
		return err
	}
	_, err = s.watchUntil(ctx, d.GetName(), healthy)
	return err
}

// change asks for a deployment that changes one variable.
func (s *stack) change(ctx context.Context, env, value string) (*catalogv1.Deployment, error) {
	return s.catalog.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{
		Parent: env, Change: &catalogv1.Change{Variables: map[string]string{"ROUND": value}},
	})
}

// phases are the times of deployments one at a time, each from the moment before the request is sent.
type phases struct{ accept, toCommit, toDurable, toObjects sample }

func (s *stack) oneByOne(ctx context.Context, ev *subscription, env string) (phases, error) {
	var p phases
	for i := range onebyone + 5 {
		start := time.Now()
		d, err := s.change(ctx, env, fmt.Sprint(i+1))
		if err != nil {
			return p, err
		}
		accepted := time.Since(start)
		if _, err := s.watchUntil(ctx, d.GetName(), committed); err != nil {
			return p, err
		}
		seen := time.Since(start)
		c, _, err := await(ctx, ev.committed, func(c *eventsv1.DeploymentCommitted) bool { return c.GetDeployment() == d.GetName() })
		if err != nil {
			return p, err
		}
		_, synced, err := await(ctx, ev.synced, func(e *eventsv1.EnvironmentSynced) bool { return e.GetDeployment() == d.GetName() })
		if err != nil {
			return p, err
		}
		// The next one starts when all of this one is over: otherwise the rollout of one would be in the time of the next.
		if err := s.settled(ctx, env); err != nil {
			return p, err
		}
		if i < 5 { // the first ones fill caches
			continue
		}
		p.accept = append(p.accept, accepted)
		p.toCommit = append(p.toCommit, seen)
		p.toDurable = append(p.toDurable, c.GetCommitEndTime().AsTime().Sub(start))
		p.toObjects = append(p.toObjects, synced.Sub(start))
	}
	return p, nil
}

// benchEdits lets somebody else add a port to the Service, waits for the finding, and reverts it.
func (s *stack) benchEdits(ctx context.Context, ev *subscription, env string, r *report) error {
	cluster, err := openCluster(s.kubeconfig)
	if err != nil {
		return err
	}
	const service = "/api/v1/namespaces/bench-dev/services/api?fieldManager=somebody"
	var found, reverted sample
	for i := range edits {
		start := time.Now()
		err := cluster.patch(ctx, service, fmt.Sprintf(`{"spec":{"ports":[{"name":"extra","port":%d}]}}`, 9000+i))
		if err != nil {
			return err
		}
		_, at, err := await(ctx, ev.drift, func(e *eventsv1.DriftDetected) bool {
			return e.GetFinding().GetField() == fmt.Sprintf("spec.ports[port=%d]", 9000+i) || e.GetFinding().GetField() == fmt.Sprintf("spec.ports[port=%d,protocol=TCP]", 9000+i)
		})
		if err != nil {
			return fmt.Errorf("edit %d: %w", i, err)
		}
		found = append(found, at.Sub(start))
		start = time.Now()
		answer, err := s.drift.RevertFindings(ctx, &driftv1.RevertFindingsRequest{Parent: env})
		if err != nil {
			return err
		}
		reverted = append(reverted, time.Since(start))
		if n := len(answer.GetReverted()); n != 1 {
			return fmt.Errorf("edit %d: %d findings were reverted and not one", i, n)
		}
	}
	r.add("deploy.edit_to_finding.p50_ms", found.percentile(50), "", 0)
	r.add("deploy.edit_to_finding.p99_ms", found.percentile(99), "", 0)
	r.add("deploy.revert.p50_ms", reverted.percentile(50), "", 0)
	r.add("deploy.revert.p99_ms", reverted.percentile(99), "", 0)
	return nil
}

// atOnce gives how many deployments a second get into Git when all callers deploy at the same time.
func (s *stack) atOnce(ctx context.Context, kind string) (float64, error) {
	if kind == "manual" {
		_, err := s.catalog.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{EnvironmentTypeId: kind, EnvironmentType: &catalogv1.EnvironmentType{}})
		if err != nil {
			return 0, err
		}
	}
	envs := make([]string, callers)
	for i := range envs {
		var err error
		if envs[i], err = s.environment(ctx, fmt.Sprintf("%s-%02d", kind, i), "dev", "environmentTypes/"+kind); err != nil {
			return 0, err
		}
		if kind == "manual" {
			continue
		}
		if err := s.settled(ctx, envs[i]); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	failed := make([]error, callers)
	var all sync.WaitGroup
	for i, env := range envs {
		all.Go(func() {
			for round := range rounds {
				d, err := s.change(ctx, env, fmt.Sprint(round+1))
				if err == nil {
					_, err = s.watchUntil(ctx, d.GetName(), committed)
				}
				if err != nil {
					failed[i] = err
					return
				}
			}
		})
	}
	all.Wait()
	return callers * rounds / time.Since(start).Seconds(), errors.Join(failed...)
}
