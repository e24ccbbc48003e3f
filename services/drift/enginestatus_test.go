package drift

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

func objectOf(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte("apiVersion: v1\nkind: Thing\n" + text))
	u := &unstructured.Unstructured{}
	if err == nil {
		err = u.UnmarshalJSON(b) // numbers become what a client gets
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const compared = "comparedTo: {source: {repoURL: https://git.example.com/main.git, path: dev/shop, targetRevision: main}}"

func TestWhatAnApplicationsStatusMeans(t *testing.T) {
	places := []enginePlace{{url: "https://git.example.com/main.git", path: "dev/shop", repository: &committerv1.RepositoryRef{Branch: "main"}}}
	for _, c := range []struct {
		name, status string
		want         engineReport
	}{
		{"nothing yet", `{}`, engineReport{doing: "Argo CD has not looked at it yet; is its application controller running?"}},
		{
			"in sync", `{sync: {status: Synced, revision: abc, ` + compared + `}}`,
			engineReport{revisions: []string{"abc"}, doing: "Argo CD calls it Synced at abc, which is not what was deployed"},
		},
		{
			"in sync with where the environment was before", `{sync: {status: Synced, revision: abc, comparedTo: {source: {repoURL: https://git.example.com/main.git, path: dev/old, targetRevision: main}}}}`,
			engineReport{doing: "Argo CD calls it Synced at , which is not what was deployed"},
		},
		{
			"synced, and somebody edited it since", `{sync: {status: OutOfSync, revision: abc, ` + compared + `}, resources: [{kind: Deployment, name: web, status: OutOfSync}],
operationState: {phase: Succeeded, syncResult: {revision: abc}, operation: {info: [{name: towpath, value: t1}], sync: {}}}}`,
			engineReport{revisions: []string{"abc"}, handled: "t1", idle: true, doing: "Argo CD calls it OutOfSync: Deployment/web"},
		},
		{
			"a part was synced, which says nothing of the rest", `{sync: {status: OutOfSync, revision: abc, ` + compared + `}, resources: [{kind: Deployment, name: web, status: OutOfSync}],
operationState: {phase: Succeeded, syncResult: {revision: abc}, operation: {sync: {resources: [{kind: Service, name: web}]}}}}`,
			engineReport{idle: true, doing: "Argo CD calls it OutOfSync: Deployment/web"},
		},
		{
			"refused", `{sync: {status: OutOfSync, revision: abc, ` + compared + `},
operationState: {phase: Failed, message: one or more objects failed to apply, syncResult: {revision: abc, resources: [{kind: Deployment, name: web, status: SyncFailed, message: field is immutable}]}}}`,
			engineReport{
				failed: "Deployment/web: field is immutable (one or more objects failed to apply)", attempted: []string{"abc"}, doing: "Argo CD calls it OutOfSync",
			},
		},
		{
			"a repository that cannot be read", `{conditions: [{type: ComparisonError, message: authentication required}], sync: {status: Unknown}}`,
			engineReport{waits: "Argo CD says: ComparisonError: authentication required", doing: "Argo CD calls it Unknown at , which is not what was deployed"},
		},
		{
			"unhealthy", `{sync: {status: Synced, revision: abc, ` + compared + `}, health: {status: Degraded}, resources: [{kind: Database, name: db, status: Synced, health: {status: Degraded, message: no space}}]}`,
			engineReport{revisions: []string{"abc"}, degraded: "Database/db: no space", doing: "Argo CD calls it Synced at abc, which is not what was deployed"},
		},
	} {
		app := objectOf(t, "status: "+c.status)
		if diff := cmp.Diff(c.want, argoReport(app, places), cmp.AllowUnexported(engineReport{}, objectKey{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestWhatAKustomizationsStatusMeans(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         engineReport
	}{
		{"nothing yet", `{}`, engineReport{doing: "Flux has not looked at it yet; is its kustomize-controller running?"}},
		{
			"applied", `{lastAppliedRevision: "main@sha1:abc", lastAttemptedRevision: "main@sha1:abc", lastHandledReconcileAt: "7", conditions: [{type: Ready, status: "True", observedGeneration: 2, message: done}]}`,
			engineReport{revisions: []string{"abc"}, handled: "7", doing: "Flux says: done"},
		},
		{
			"applied as it was before its last change", `{lastAppliedRevision: "main@sha1:abc", conditions: [{type: Ready, status: "True", observedGeneration: 1, message: done}]}`,
			engineReport{doing: "Flux says: done"},
		},
		{
			"applied and not healthy in time", `{lastAppliedRevision: "main@sha1:old", lastAttemptedRevision: "main@sha1:abc", conditions: [{type: Ready, status: "False", reason: HealthCheckFailed, observedGeneration: 2, message: Deployment/web timed out}]}`,
			engineReport{revisions: []string{"abc"}, degraded: "Deployment/web timed out", doing: "Flux says: Deployment/web timed out"},
		},
		{
			"refused", `{lastAppliedRevision: "main@sha1:old", lastAttemptedRevision: "main@sha1:abc", conditions: [{type: Ready, status: "False", reason: ReconciliationFailed, observedGeneration: 2, message: field is immutable}]}`,
			engineReport{failed: "field is immutable", attempted: []string{"abc"}, doing: "Flux says: field is immutable"},
		},
		{
			"waiting for its source", `{conditions: [{type: Ready, status: "False", reason: ArtifactFailed, observedGeneration: 2, message: no artifact}]}`,
			engineReport{waits: "Flux says: ArtifactFailed: no artifact", doing: "Flux says: no artifact"},
		},
	} {
		k := objectOf(t, "metadata: {generation: 2}\nstatus: "+c.status)
		if diff := cmp.Diff(c.want, fluxReport(k, nil), cmp.AllowUnexported(engineReport{}, objectKey{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}
