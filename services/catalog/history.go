package catalog

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// setID gives the digest of a set's name.
func setID(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, "sets/")
	return id, ok && len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

// stateName gives a state without its prefix, HEALTHY.
func stateName(st catalogv1.Deployment_State) string {
	return strings.TrimPrefix(st.String(), "STATE_")
}

// deployment reads a deployment.
func (s *Service) deployment(ctx context.Context, env rules.Env, generation int64) (*catalogv1.Deployment, error) {
	row, err := deployments.Get(ctx, s.cfg.KV, depKey(env, generation))
	if err != nil {
		return nil, orNotFound(err, env.Deployment(generation), "see `tow history -e %s/%s`", env.App, env.ID)
	}
	row.Msg.Etag = store.Etag(row.Rev)
	return row.Msg, nil
}

// namedDeployment reads a deployment by its number, "latest" or "active".
func (s *Service) namedDeployment(ctx context.Context, env rules.Env, number string) (*catalogv1.Deployment, error) {
	if n, ok := rules.ParseGeneration(number); ok {
		return s.deployment(ctx, env, n)
	}
	row, err := s.environment(ctx, env)
	if err != nil {
		return nil, err
	}
	name := row.Msg.GetLatestDeployment()
	if number == "active" {
		live, err := s.live(ctx, env)
		if err != nil {
			return nil, err
		}
		name = live.Msg.GetActiveDeployment()
	}
	_, generation, ok := rules.EnvOfDeployment(name)
	if !ok {
		return nil, errs.NotFoundf(env.Name()+"/deployments/"+number, "the environment has none yet")
	}
	return s.deployment(ctx, env, generation)
}

// GetDeployment gives a deployment.
func (s catalogServer) GetDeployment(ctx context.Context, r *catalogv1.GetDeploymentRequest) (*catalogv1.Deployment, error) {
	env, number, err := rules.ParseDeployment("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.namedDeployment(ctx, env, number)
}

// ListDeployments gives an environment's history, newest first, also of one that is gone, or that of many environments by time.
// The cost of a page does not depend on how long the history is.
func (s catalogServer) ListDeployments(ctx context.Context, r *catalogv1.ListDeploymentsRequest) (*catalogv1.ListDeploymentsResponse, error) {
	filter, err := rules.ParseFilter(r.GetFilter(), deploymentFields)
	if err != nil {
		return nil, err
	}
	app, env, err := s.historyOf(ctx, r.GetParent())
	if err != nil {
		return nil, err
	}
	if app == everything || env == everything {
		return s.listByTime(ctx, app, env, r, filter)
	}
	var keep func(*catalogv1.Deployment) bool
	if !filter.Empty() {
		keep = func(d *catalogv1.Deployment) bool { return matches(filter, d) }
	}
	rows, next, err := deployments.List(ctx, s.cfg.KV, store.List{
		Under: app + "/" + env + "/", PageSize: int(r.GetPageSize()), PageToken: r.GetPageToken(), Filter: filter.String(), Reverse: true,
	}, keep)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ListDeploymentsResponse{NextPageToken: next}
	for _, row := range rows {
		row.Msg.Etag = store.Etag(row.Rev)
		out.Deployments = append(out.Deployments, row.Msg)
	}
	return out, nil
}

// WatchDeployment streams a deployment as it is now and after each change, until a final state.
func (s catalogServer) WatchDeployment(r *catalogv1.WatchDeploymentRequest, stream grpc.ServerStreamingServer[catalogv1.WatchDeploymentResponse]) error {
	ctx := stream.Context()
	env, number, err := rules.ParseDeployment("name", r.GetName())
	if err != nil {
		return err
	}
	first, err := s.namedDeployment(ctx, env, number)
	if err != nil {
		return err
	}
	id := depKey(env, first.GetGeneration())
	for {
		err := s.follow(ctx, id, func(d *catalogv1.Deployment) error {
			return stream.Send(&catalogv1.WatchDeploymentResponse{Deployment: d})
		})
		if !errors.Is(err, store.ErrCompacted) { // else the log was cut behind a slow reader: go on from the row
			return err
		}
	}
}

// follow calls send with the row as it is and after each write, until it is final.
func (s *Service) follow(ctx context.Context, id string, send func(*catalogv1.Deployment) error) error {
	rev, err := store.Revision(ctx, s.cfg.KV) // not the row's own: the log may no longer reach back to that
	if err != nil {
		return err
	}
	row, err := deployments.Get(ctx, s.cfg.KV, id)
	if err != nil {
		return err
	}
	show := func(row store.Row[*catalogv1.Deployment]) (done bool, err error) {
		row.Msg.Etag = store.Etag(row.Rev)
		return rules.IsFinal(row.Msg.GetState()), send(row.Msg)
	}
	if done, err := show(row); done || err != nil {
		return err
	}
	for change, err := range s.cfg.KV.Watch(ctx, deployments.Key(id), max(rev, row.Rev)) {
		if err != nil {
			return err
		}
		row, err := deployments.DecodeChange(change)
		if err != nil || row.Msg == nil {
			return err
		}
		if done, err := show(row); done || err != nil {
			return err
		}
	}
	return nil
}
