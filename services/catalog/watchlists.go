package catalog

import (
	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// WatchApplications streams the list.
func (s catalogServer) WatchApplications(r *catalogv1.WatchApplicationsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchApplicationsResponse]) error {
	return applicationKind.watch(s.Service).run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Application]) error {
		return stream.Send(&catalogv1.WatchApplicationsResponse{Application: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchEnvironmentTypes streams the list.
func (s catalogServer) WatchEnvironmentTypes(r *catalogv1.WatchEnvironmentTypesRequest, stream grpc.ServerStreamingServer[catalogv1.WatchEnvironmentTypesResponse]) error {
	return environmentTypeKind.watch(s.Service).run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.EnvironmentType]) error {
		return stream.Send(&catalogv1.WatchEnvironmentTypesResponse{EnvironmentType: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchTargets streams the list.
func (s catalogServer) WatchTargets(r *catalogv1.WatchTargetsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchTargetsResponse]) error {
	return targetKind.watch(s.Service).run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Target]) error {
		return stream.Send(&catalogv1.WatchTargetsResponse{Target: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchRepositories streams the list.
func (s catalogServer) WatchRepositories(r *catalogv1.WatchRepositoriesRequest, stream grpc.ServerStreamingServer[catalogv1.WatchRepositoriesResponse]) error {
	return repositoryKind.watch(s.Service).run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Repository]) error {
		return stream.Send(&catalogv1.WatchRepositoriesResponse{Repository: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchEnvironments streams the list.
func (s catalogServer) WatchEnvironments(r *catalogv1.WatchEnvironmentsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchEnvironmentsResponse]) error {
	w, err := s.watchEnvironments(r.GetParent())
	if err != nil {
		return err
	}
	return w.run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Environment]) error {
		return stream.Send(&catalogv1.WatchEnvironmentsResponse{Environment: inView(x.item, r.GetView()), Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchDeployments streams the list.
func (s catalogServer) WatchDeployments(r *catalogv1.WatchDeploymentsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchDeploymentsResponse]) error {
	w, err := s.watchDeployments(r.GetParent())
	if err != nil {
		return err
	}
	return w.run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Deployment]) error {
		return stream.Send(&catalogv1.WatchDeploymentsResponse{Deployment: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchDrafts streams the list.
func (s draftServer) WatchDrafts(r *catalogv1.WatchDraftsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchDraftsResponse]) error {
	w, err := s.watchDrafts(r.GetParent())
	if err != nil {
		return err
	}
	return w.run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Draft]) error {
		return stream.Send(&catalogv1.WatchDraftsResponse{Draft: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchVariables streams the list.
func (s variableServer) WatchVariables(r *catalogv1.WatchVariablesRequest, stream grpc.ServerStreamingServer[catalogv1.WatchVariablesResponse]) error {
	w, err := s.watchVariables(r.GetParent())
	if err != nil {
		return err
	}
	return w.run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.Variable]) error {
		return stream.Send(&catalogv1.WatchVariablesResponse{Variable: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}

// WatchResourceDefinitions streams the list.
func (s definitionServer) WatchResourceDefinitions(r *catalogv1.WatchResourceDefinitionsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchResourceDefinitionsResponse]) error {
	return s.watchDefinitions().run(stream.Context(), s.Service, r.GetResumeToken(), func(x sighting[*catalogv1.ResourceDefinition]) error {
		return stream.Send(&catalogv1.WatchResourceDefinitionsResponse{ResourceDefinition: x.item, Removed: x.removed, CaughtUp: x.caughtUp, ResumeToken: x.token})
	})
}
