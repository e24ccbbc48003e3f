package drift_test

import (
	"strings"
	"testing"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// snapshotDefinition is the kind as the snapshot controller installs it, without its schema.
const snapshotDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: volumesnapshots.snapshot.storage.k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-csi/external-snapshotter/pull/814"}
spec:
  group: snapshot.storage.k8s.io
  scope: Namespaced
  names: {plural: volumesnapshots, singular: volumesnapshot, kind: VolumeSnapshot}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestAClaimThatAsksForASnapshotGoesOnlyWhenTheSnapshotCanBeUsed(t *testing.T) {
	t.Parallel()
	applyCluster(t, snapshotDefinition)
	t.Cleanup(func() {
		devclustertest.Kubectl(t, "delete", "crd", "volumesnapshots.snapshot.storage.k8s.io", "--wait=false")
	})
	devclustertest.Kubectl(t, "wait", "--for=condition=Established", "crd/volumesnapshots.snapshot.storage.k8s.io", "--timeout=60s")
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config + claim("data", "towpath.dev/on-removal: snapshot"))
	e.want(config)
	waits := await(e, "deployment.waiting", func(d *eventsv1.DeploymentWaiting) bool { return d.GetDeployment() == e.deployment() })
	if !strings.Contains(waits.GetReason(), "PersistentVolumeClaim data is removed when its VolumeSnapshot data-") {
		t.Errorf("told %v", waits)
	}
	get := func(what, path string) string {
		return devclustertest.Kubectl(t, "-n", e.ns, "get", what, "-o", "jsonpath="+path)
	}
	name := get("volumesnapshots", "{.items[0].metadata.name}")
	if of := get("volumesnapshot/"+name, "{.spec.source.persistentVolumeClaimName}"); of != "data" {
		t.Errorf("the snapshot is of %q", of)
	}
	if at := get("persistentvolumeclaim/data", "{.metadata.deletionTimestamp}"); at != "" {
		t.Errorf("the claim is being deleted since %s, before its snapshot can be used", at)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "volumesnapshot", name, "--subresource=status", "--type=merge", "-p", `{"status":{"readyToUse":true}}`)
	if s := e.awaitSynced(); s.GetPruned() != 1 {
		t.Errorf("synced as %v", s)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "wait", "--for=delete", "persistentvolumeclaim/data", "--timeout=60s")
	if got := get("volumesnapshots", "{.items[*].metadata.name}"); got != name {
		t.Errorf("the snapshots are %q, want %s alone", got, name)
	}
}
