package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
)

// environmentsOfEach is how many environments an application of the portal's worlds has.
const environmentsOfEach = 8

// startPortal starts a real towpathd, without a cluster, whose catalog has n environments. They are put into its store: bringing
// thousands of them out would take longer than everything that is measured, and the catalog reads the same rows.
func startPortal(ctx context.Context, n int) (s *stack, stop func(), err error) {
	s = &stack{ready: map[string]string{}}
	stop = func() {
		for i := len(s.stops) - 1; i >= 0; i-- {
			s.stops[i]()
		}
	}
	if s.dir, err = os.MkdirTemp("", "towpath-bench-"); err != nil {
		return s, stop, err
	}
	s.stops = append(s.stops, func() { os.RemoveAll(s.dir) })
	ready, data := filepath.Join(s.dir, "ready"), filepath.Join(s.dir, "data")
	serve := []string{"serve", "--rate-limit-reads", "0", "--data-dir", data, "--ready-file", ready, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0"}
	end, err := s.launch(ctx, "towpathd", written(ready), serve...) // makes the types, the target, the repository and the first token
	if err != nil {
		return s, stop, err
	}
	end() // which takes the ready file away
	if err := fillPortal(ctx, filepath.Join(data, "catalog", "catalog.db"), n); err != nil {
		return s, stop, err
	}
	if _, err := s.launch(ctx, "towpathd", written(ready), serve...); err != nil {
		return s, stop, err
	}
	return s, stop, s.connect(ready, "")
}

// fillPortal writes applications and environments as the catalog would have them after some months: see keys.go of
// services/catalog for the tables.
func fillPortal(ctx context.Context, file string, n int) (err error) {
	kv, err := boltkv.Open(boltkv.Config{Path: file})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kv.Close()) }()
	applications, environments := store.NewTable[*catalogv1.Application]("applications/"), store.NewTable[*catalogv1.Environment]("environments/")
	live, newest := store.NewTable[*catalogv1.Environment]("live/"), store.NewTable[*catalogv1.Latest]("newest/")
	var tx store.Tx
	for i := range n {
		app, env := fmt.Sprintf("app-%04d", i/environmentsOfEach), fmt.Sprintf("env-%d", i%environmentsOfEach)
		if i%environmentsOfEach == 0 {
			if err := applications.Put(&tx, app, &catalogv1.Application{Name: "applications/" + app, Owner: "teams/" + app, Repository: "repositories/default"}); err != nil {
				return err
			}
		}
		e, reported, latest := portalEnvironment(app, env, i)
		if err := errors.Join(environments.Put(&tx, app+"/"+env, e), live.Put(&tx, app+"/"+env, reported), newest.Put(&tx, app+"/"+env, latest)); err != nil {
			return err
		}
		if len(tx.Ops) > store.MaxTxOps-8 || i == n-1 {
			if _, err := kv.Commit(ctx, tx); err != nil {
				return err
			}
			tx = store.Tx{}
		}
	}
	return nil
}

// portalEnvironment makes the rows of one environment: most are well, one of nine drifts, one of fifty has a failed deployment on
// top, one of eleven is locked, one of seven is a preview that ends.
func portalEnvironment(app, env string, i int) (e, reported *catalogv1.Environment, latest *catalogv1.Latest) {
	name := "applications/" + app + "/environments/" + env
	ago := func(d time.Duration) *timestamppb.Timestamp {
		return timestamppb.New(time.Now().Add(-d - time.Duration(i)*time.Minute))
	}
	generation := int64(3 + i%40)
	deployment := func(n int64) string { return fmt.Sprintf("%s/deployments/%d", name, n) }
	e = &catalogv1.Environment{
		Name: name, Type: "environmentTypes/" + []string{"development", "staging", "production"}[i%3], Namespace: app + "-" + env, State: catalogv1.Environment_STATE_ACTIVE,
		Generation: generation, LatestDeployment: deployment(generation), CreateTime: ago(5000 * time.Hour), UpdateTime: ago(time.Hour), CreateActor: "users/ada",
		Origin: &catalogv1.Origin{Kind: catalogv1.Origin_KIND_EMPTY}, Labels: map[string]string{"team": app},
		Intent: &catalogv1.Intent{Set: fmt.Sprintf("sets/%064x", i), Variables: map[string]string{}},
	}
	for v := range 20 {
		e.Intent.Variables[fmt.Sprintf("VARIABLE_%d", v)] = fmt.Sprintf("https://service-%d.internal.example/%s", v, app)
	}
	if i%11 == 0 {
		e.Lock = &catalogv1.Lock{Actor: "users/bo", Message: "until the audit is over"}
	}
	if i%7 == 0 {
		e.ExpireTime = timestamppb.New(time.Now().Add(time.Duration(1+i%70) * time.Hour))
	}
	running := &catalogv1.Running{
		Deployment: deployment(generation), Actor: []string{"users/ada", "users/bo", "tokens/ci"}[i%3], Message: []string{"prices in euro", "quieter logs", "the new search"}[i%3],
		Since: ago(time.Hour), Commit: fmt.Sprintf("%040x", i), Version: fmt.Sprintf("1.%d.%d", i%40, i%7),
	}
	latest = &catalogv1.Latest{
		Deployment: running.Deployment, State: catalogv1.Deployment_STATE_HEALTHY.String(), Kind: catalogv1.Deployment_KIND_CHANGE.String(), Actor: running.Actor, Message: running.Message, CreateTime: ago(time.Hour),
	}
	reported = &catalogv1.Environment{
		ActiveDeployment: deployment(generation), Running: running,
		Live: &catalogv1.Live{Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: driftv1.Health_HEALTH_HEALTHY, Generation: generation, Time: ago(0)},
	}
	if i%9 == 0 {
		reported.Live.Findings = int32(1 + i%4)
	}
	if i%50 == 0 {
		running.Deployment, reported.ActiveDeployment = deployment(generation-1), deployment(generation-1)
		latest.State, latest.Reason = catalogv1.Deployment_STATE_FAILED.String(), "workload api: variable TAX refers to ${resources.tax.rate}, and the workload has no resource tax; add it to the Score file"
	}
	return e, reported, latest
}
