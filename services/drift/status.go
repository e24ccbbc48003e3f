package drift

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// healthOf reads an object's own status.
func healthOf(u *unstructured.Unstructured) (driftv1.Health, string) {
	if plainlyHealthy(u) {
		return driftv1.Health_HEALTH_HEALTHY, ""
	}
	if health, message, ok := customHealth(u); ok {
		return health, message
	}
	r, err := status.Compute(u)
	if err != nil {
		return driftv1.Health_HEALTH_UNSPECIFIED, "its status cannot be read: " + err.Error()
	}
	switch r.Status {
	case status.CurrentStatus:
		return driftv1.Health_HEALTH_HEALTHY, ""
	case status.InProgressStatus, status.TerminatingStatus:
		return driftv1.Health_HEALTH_PROGRESSING, withFailure(u, r.Message)
	case status.FailedStatus, status.NotFoundStatus:
		return driftv1.Health_HEALTH_DEGRADED, withFailure(u, r.Message)
	default:
		return driftv1.Health_HEALTH_UNSPECIFIED, r.Message
	}
}

// withFailure adds why no pods can be made at all (a quota, an admission webhook), which kstatus leaves out.
func withFailure(u *unstructured.Unstructured, message string) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "ReplicaFailure" && m["status"] == "True" {
			text, _ := m["message"].(string)
			return message + ": " + shortText(text)
		}
	}
	return message
}

// status makes the environment's status of what is known now. It needs the mutex.
func (e *environment) status() *driftv1.EnvironmentStatus {
	st := &driftv1.EnvironmentStatus{Name: e.name + "/status", Findings: int32(e.countFindings())}
	if e.synced != nil {
		st.Generation, st.Commit, st.Tree = e.synced.GetGeneration(), e.synced.GetCommit(), e.synced.GetTree()
		st.SyncTime = timestamppb.New(e.syncTime)
	}
	st.Sync, st.Health, st.Message = e.summary()
	for _, t := range e.objects {
		st.Objects = append(st.Objects, e.objectStatus(t, st.Sync))
	}
	st.Objects = append(st.Objects, e.otherObjects(st.Sync)...)
	st.PruneHeld = e.heldRefs()
	if next := e.nextWindow(); !next.IsZero() {
		st.NextWindowTime = timestamppb.New(next)
	}
	slices.SortFunc(st.Objects, func(a, b *driftv1.ObjectStatus) int {
		return cmp.Or(strings.Compare(a.GetKind(), b.GetKind()), strings.Compare(a.GetName(), b.GetName()))
	})
	st.SeenTime = e.svc.lastSeen(e)
	st.Engine, st.EngineObject = e.engineShown()
	return st
}

// objectStatus is one object's part of the environment's status, whose state of sync is given. It needs the mutex.
func (e *environment) objectStatus(t *tracked, whole driftv1.SyncState) *driftv1.ObjectStatus {
	o := &driftv1.ObjectStatus{
		ApiVersion: t.gvr.GroupVersion().String(), Kind: t.key.kind, Name: t.key.name, Namespace: t.key.namespace, Health: t.health,
		Message: t.explained(), Wave: t.wave, Findings: int32(len(t.findings)),
	}
	o.Sync, o.SyncMessage = e.objectSync(t.key, whole)
	return o
}

// explained is the object's message with what its pods say.
func (t *tracked) explained() string {
	switch {
	case t.why == "":
		return t.message
	case t.message == "":
		return t.why
	default:
		return t.message + "; " + t.why
	}
}

// summary gives sync and health together and why they are not good. It allocates nothing while everything is healthy: it runs
// for each event that changes something. It needs the mutex.
func (e *environment) summary() (driftv1.SyncState, driftv1.Health, string) {
	if e.down != nil {
		// What was known may no longer be so; a cluster that cannot be seen is never shown as in sync.
		return driftv1.SyncState_SYNC_STATE_UNSPECIFIED, driftv1.Health_HEALTH_UNSPECIFIED,
			errs.Message(e.down) + "; what is shown next to this is from before"
	}
	sync, message := e.syncState()
	health, why := e.overall()
	if message == "" {
		message = why
	}
	return sync, health, message
}

func (e *environment) syncState() (driftv1.SyncState, string) {
	behind := e.synced == nil || e.synced.GetGeneration() != e.desired.GetGeneration() || e.synced.GetTree() != e.desired.GetTree()
	switch {
	case e.busy == busySync:
		return driftv1.SyncState_SYNC_STATE_SYNCING, e.ran.doing
	case e.busy == busyRemove:
		return driftv1.SyncState_SYNC_STATE_PENDING, e.holdup
	case e.failed != nil && errs.ReasonOf(e.failed) == errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE:
		return driftv1.SyncState_SYNC_STATE_UNSPECIFIED, errs.Message(e.failed)
	case e.failed != nil && passes(e.failed):
		return driftv1.SyncState_SYNC_STATE_PENDING, errs.Message(e.failed)
	case e.failed != nil:
		return driftv1.SyncState_SYNC_STATE_FAILED, errs.Message(e.failed)
	case behind:
		return driftv1.SyncState_SYNC_STATE_PENDING, ""
	default:
		return driftv1.SyncState_SYNC_STATE_SYNCED, ""
	}
}

// badness orders healths: the environment is as its worst object.
var badness = map[driftv1.Health]int{
	driftv1.Health_HEALTH_HEALTHY: 0, driftv1.Health_HEALTH_PROGRESSING: 1, driftv1.Health_HEALTH_UNSPECIFIED: 2,
	driftv1.Health_HEALTH_DEGRADED: 3,
}

// overall is the worst of the objects' health, with the objects that make it so. Of an environment that never was synced nothing is known.
func (e *environment) overall() (driftv1.Health, string) {
	if e.synced == nil && len(e.objects) == 0 {
		return driftv1.Health_HEALTH_UNSPECIFIED, ""
	}
	worst := driftv1.Health_HEALTH_HEALTHY
	for _, t := range e.objects {
		if badness[t.health] > badness[worst] {
			worst = t.health
		}
	}
	if worst == driftv1.Health_HEALTH_HEALTHY {
		return e.engineHealth()
	}
	var texts []string
	for _, t := range e.objects {
		if t.health != worst {
			continue
		}
		text := t.key.kind + "/" + t.key.name
		if m := t.explained(); m != "" {
			text += ": " + m
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return worst, summarise(texts)
}

// maxNamed is how many objects a message names; the rest is counted.
const maxNamed = 3

func summarise(texts []string) string {
	if len(texts) <= maxNamed {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:maxNamed], "; "), len(texts)-maxNamed)
}
