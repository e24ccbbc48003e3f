package catalog_test

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func envOf(deployment string) string { return deployment[:strings.Index(deployment, "/deployments/")] }

func committedEvent(cmd *eventsv1.DeploymentRequested, tree string) *eventsv1.DeploymentCommitted {
	now := time.Now()
	return &eventsv1.DeploymentCommitted{
		Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Repository: cmd.GetRepository().GetName(),
		Branch: cmd.GetRepository().GetBranch(), Path: cmd.GetPath(), Commit: "commit-of-" + cmd.GetDeployment(), Tree: tree, Sha256: "sha-" + tree,
		RenderStartTime: timestamppb.New(now.Add(-3 * time.Millisecond)), CommitStartTime: timestamppb.New(now.Add(-2 * time.Millisecond)),
		CommitEndTime: timestamppb.New(now), RendererVersion: "v1", FilesChanged: 1,
	}
}

func syncedEvent(deployment string, generation int64, at time.Time) *eventsv1.EnvironmentSynced {
	return &eventsv1.EnvironmentSynced{
		Environment: envOf(deployment), Deployment: deployment, Generation: generation,
		StartTime: timestamppb.New(at), EndTime: timestamppb.New(at.Add(time.Millisecond)),
	}
}

func healthEvent(deployment string, generation int64, at time.Time) *eventsv1.EnvironmentHealth {
	return &eventsv1.EnvironmentHealth{
		Environment: envOf(deployment), Deployment: deployment, Generation: generation,
		Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: driftv1.Health_HEALTH_HEALTHY, Time: timestamppb.New(at.Add(2 * time.Millisecond)),
	}
}
