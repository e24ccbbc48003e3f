package portal_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// shown is an environment as the catalog shows it: with what runs and what is newest. The caller holds the lock.
func (s *stub) shown(e *catalogv1.Environment, view catalogv1.EnvironmentView) *catalogv1.Environment {
	out := proto.CloneOf(e)
	for _, d := range s.deployments[e.Name] {
		if d.Name == e.ActiveDeployment {
			out.Running = &catalogv1.Running{Deployment: d.Name, Actor: d.Actor, Message: d.Message, Since: d.ActiveFrom, Commit: d.Commit, Version: "1.4." + fmt.Sprint(d.Generation)}
		}
		if d.Name == e.LatestDeployment {
			out.Latest = &catalogv1.Latest{
				Deployment: d.Name, State: d.State.String(), Kind: d.Kind.String(), Actor: d.Actor, Message: d.Message, CreateTime: d.CreateTime, Reason: d.GetError().GetMessage(),
			}
		}
	}
	if view == catalogv1.EnvironmentView_ENVIRONMENT_VIEW_BASIC {
		out.Intent = nil
	}
	return out
}

func (s *stub) ListEnvironments(_ context.Context, r *catalogv1.ListEnvironmentsRequest) (*catalogv1.ListEnvironmentsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	envs := s.envs
	if r.GetParent() != "applications/-" {
		envs = slices.DeleteFunc(slices.Clone(envs), func(e *catalogv1.Environment) bool { return !strings.HasPrefix(e.Name, r.GetParent()+"/") })
	}
	if s.listError != nil {
		return nil, s.listError
	}
	from, _ := strconv.Atoi(r.GetPageToken())
	to := min(len(envs), from+int(r.GetPageSize()))
	if r.GetPageSize() == 0 {
		to = len(envs)
	}
	out := &catalogv1.ListEnvironmentsResponse{}
	for _, e := range envs[from:to] {
		out.Environments = append(out.Environments, s.shown(e, r.GetView()))
	}
	if to < len(envs) {
		out.NextPageToken = strconv.Itoa(to)
	}
	if from == 0 {
		out.ResumeToken = s.remember()
	}
	return out, nil
}

// remember keeps how the environments are, for a watch to go on from. The caller holds the lock.
func (s *stub) remember() string {
	now := map[string]*catalogv1.Environment{}
	same := len(s.seen) > 0 && len(s.seen[len(s.seen)-1]) == len(s.envs)
	for _, e := range s.envs {
		now[e.Name] = s.shown(e, catalogv1.EnvironmentView_ENVIRONMENT_VIEW_BASIC)
		same = same && proto.Equal(now[e.Name], s.seen[len(s.seen)-1][e.Name])
	}
	if !same {
		s.seen = append(s.seen, now)
	}
	return strconv.Itoa(len(s.seen))
}

func (s *stub) WatchEnvironments(r *catalogv1.WatchEnvironmentsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchEnvironmentsResponse]) error {
	if r.GetResumeToken() == "" {
		return s.watchAll(r, stream)
	}
	at, err := strconv.Atoi(r.GetResumeToken())
	for ; ; pause(stream.Context()) {
		s.mu.Lock()
		if err != nil || at < 1 || at > len(s.seen) {
			s.mu.Unlock()
			return errs.InvalidField("resume_token", "was not given by this list; leave it out to begin with all that is there")
		}
		broken, known := s.noStreams, s.seen[at-1]
		token := s.remember()
		at = len(s.seen)
		now := s.seen[at-1]
		s.mu.Unlock()
		if broken {
			return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "streams break off here")
		}
		for name, e := range now {
			if proto.Equal(e, known[name]) {
				continue
			}
			if err := stream.Send(&catalogv1.WatchEnvironmentsResponse{Environment: e, ResumeToken: token}); err != nil {
				return err
			}
		}
		for name := range known {
			if now[name] != nil {
				continue
			}
			if err := stream.Send(&catalogv1.WatchEnvironmentsResponse{Environment: &catalogv1.Environment{Name: name}, Removed: true, ResumeToken: token}); err != nil {
				return err
			}
		}
		if stream.Context().Err() != nil {
			return stream.Context().Err()
		}
	}
}
