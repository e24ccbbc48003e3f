package cli_test

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func fakeEnvironments() []*catalogv1.Environment {
	return []*catalogv1.Environment{
		{
			Name: dev, Type: "environmentTypes/development", Namespace: "shop-dev", State: catalogv1.Environment_STATE_ACTIVE,
			Intent:     &catalogv1.Intent{Set: setName, Overlay: overlay(), Variables: map[string]string{"CURRENCY": "EUR"}},
			Generation: 3, LatestDeployment: dev + "/deployments/3", ActiveDeployment: dev + "/deployments/2",
			Live: &catalogv1.Live{
				Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: driftv1.Health_HEALTH_DEGRADED, Findings: 2,
				Message: "Deployment/api: 0/1 ready", Generation: 2, Time: at(time.Minute),
			},
			Running: &catalogv1.Running{
				Deployment: dev + "/deployments/2", Actor: "users/ada", Message: "the first", Since: at(2 * time.Hour), Commit: "0a1b2c3d4e", Version: "1.4.2",
			},
			ExpireTime: at(-50 * time.Hour), Lock: &catalogv1.Lock{Actor: "users/grace", Message: "release"},
			Origin:     &catalogv1.Origin{Kind: catalogv1.Origin_KIND_CLONE, Source: "applications/shop/environments/prod/deployments/41"},
			CreateTime: at(5 * 24 * time.Hour), CreateActor: "tokens/ada", Etag: "9",
		},
		{
			Name: "applications/shop/environments/new", Type: "environmentTypes/development", Namespace: "shop-new",
			State: catalogv1.Environment_STATE_ACTIVE, CreateTime: at(3 * time.Second), CreateActor: "tokens/ada", Etag: "10", Intent: &catalogv1.Intent{Set: olderID},
		},
	}
}

func phases(start time.Duration, end catalogv1.Deployment_State, took ...time.Duration) []*catalogv1.Phase {
	states := []catalogv1.Deployment_State{
		catalogv1.Deployment_STATE_PENDING, catalogv1.Deployment_STATE_RENDERING, catalogv1.Deployment_STATE_COMMITTING, catalogv1.Deployment_STATE_SYNCING,
	}
	var out []*catalogv1.Phase
	for i, d := range took {
		out = append(out, &catalogv1.Phase{State: states[i], StartTime: at(start), EndTime: at(start - d)})
		start -= d
	}
	return append(out, &catalogv1.Phase{State: end, StartTime: at(start)})
}

func fakeHistory() []*catalogv1.Deployment {
	ms := time.Millisecond
	return []*catalogv1.Deployment{
		{
			Name: dev + "/deployments/3", Generation: 3, Kind: catalogv1.Deployment_KIND_CHANGE, State: catalogv1.Deployment_STATE_FAILED,
			Intent: &catalogv1.Intent{Set: setName, Overlay: overlay()}, Actor: "tokens/ci", Summary: []string{"api: LOG_LEVEL info -> debug"},
			CreateTime: at(30 * time.Minute), EndTime: at(30*time.Minute - 4*ms), RequestId: "r3",
			Phases: phases(30*time.Minute, catalogv1.Deployment_STATE_FAILED, 4*ms),
			Error:  &catalogv1.Failure{Stage: "commit", Reason: "PUSH_REFUSED", Message: "the Git host refused the push: the branch is protected"},
		},
		{
			Name: dev + "/deployments/2", Generation: 2, Kind: catalogv1.Deployment_KIND_ROLLBACK, State: catalogv1.Deployment_STATE_HEALTHY,
			Intent: &catalogv1.Intent{Set: setName, Variables: map[string]string{"CURRENCY": "EUR"}}, Actor: "tokens/ada", Message: "1.4.2 loses orders",
			RollbackOf: dev + "/deployments/1", CreateTime: at(time.Hour), EndTime: at(time.Hour - 2345*ms), ActiveFrom: at(time.Hour - 2*time.Second),
			Phases:     phases(time.Hour, catalogv1.Deployment_STATE_HEALTHY, 3*ms, 12*ms, 30*ms, 2300*ms),
			Repository: "repositories/default", Branch: "main", Path: "environments/dev/shop",
			Commit: strings.Repeat("2", 40), Tree: strings.Repeat("b", 40), FilesChanged: 3, RequestId: "r2",
		},
		{
			Name: dev + "/deployments/1", Generation: 1, Kind: catalogv1.Deployment_KIND_CHANGE, State: catalogv1.Deployment_STATE_DEGRADED,
			Intent: &catalogv1.Intent{Set: olderID}, Actor: "tokens/ada", Message: "the first", Summary: []string{"added workload api"},
			CreateTime: at(50 * time.Hour), EndTime: at(50*time.Hour - 75*time.Second), ActiveFrom: at(50 * time.Hour), ActiveUntil: at(time.Hour),
			Commit: strings.Repeat("1", 40), Tree: strings.Repeat("a", 40),
		},
	}
}

func fakeFindings() []*driftv1.Finding {
	extra, err := structpb.NewValue(map[string]any{"name": "extra", "port": 80, "protocol": "TCP", "targetPort": 80})
	if err != nil {
		panic(err)
	}
	return []*driftv1.Finding{
		{
			Name: dev + "/findings/5f1c2a9be07d4413", Kind: driftv1.Finding_KIND_EXTRA, ApiVersion: "v1", ObjectKind: "Service", Namespace: "shop-dev",
			ObjectName: "api", Field: "spec.ports[port=80]", Live: extra, Manager: "kubectl-patch", Operation: "Update", EditTime: at(90 * time.Second),
			Attribution: "managedFields", DetectTime: at(89 * time.Second),
		},
		{
			Name: dev + "/findings/a1b2c3d4e5f60718", Kind: driftv1.Finding_KIND_MISSING, ApiVersion: "v1", ObjectKind: "ConfigMap", Namespace: "shop-dev",
			ObjectName: "api-main-files", Manager: "unknown", DetectTime: at(10 * time.Minute),
		},
	}
}

func fakePlan() *catalogv1.Plan {
	return planDetails(&catalogv1.Plan{
		Summary: []string{"api: LOG_LEVEL info -> debug"},
		Files: []*catalogv1.FileChange{{
			Path: "deployment-api.yaml", Action: catalogv1.FileChange_ACTION_MODIFY,
			Diff: "--- a/deployment-api.yaml\n+++ b/deployment-api.yaml\n@@ -1,3 +1,3 @@\n - name: LOG_LEVEL\n-  value: info\n+  value: debug\n",
		}},
		BaseTree: strings.Repeat("b", 40), Tree: strings.Repeat("c", 40), PlanHash: strings.Repeat("7", 64),
		Warnings: []string{"the database has no backup"}, OpenFindings: 2,
	})
}

func fakeEvents() []*eventsv1.WatchEventsResponse {
	data := func(m map[string]any) *structpb.Struct {
		s, err := structpb.NewStruct(m)
		if err != nil {
			panic(err)
		}
		return s
	}
	return []*eventsv1.WatchEventsResponse{
		{
			Sequence: 1, Id: "e1", Type: "deployment.committed", Subject: dev + "/deployments/2", Time: at(time.Hour),
			Data: data(map[string]any{"commit": strings.Repeat("2", 40), "path": "environments/dev/shop"}),
		},
		{Sequence: 2, Id: "e2", Type: "deployment.state", Subject: dev + "/deployments/2", Time: at(time.Hour), Data: data(map[string]any{"state": "HEALTHY"})},
		{
			Sequence: 3, Id: "e3", Type: "drift.detected", Subject: dev + "/findings/5f1c2a9be07d4413", Time: at(time.Minute),
			Data: data(map[string]any{"finding": map[string]any{
				"kind": "KIND_EXTRA", "objectKind": "Service", "objectName": "api", "field": "spec.ports[port=80]", "manager": "kubectl-patch",
			}}),
		},
		{
			Sequence: 4, Id: "e4", Type: "environment.health", Subject: dev, Time: at(time.Minute),
			Data: data(map[string]any{"sync": "SYNC_STATE_SYNCED", "health": "HEALTH_DEGRADED", "message": "0/1 ready"}),
		},
	}
}
