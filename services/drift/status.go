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
	"github.com/towpath-dev/towpath/internal/errs"
)

// healthOf reads an object's own status.
func healthOf(u *unstructured.Unstructured) (driftv1.Health, string) {
	r, err := status.Compute(u)
	if err != nil {
		return driftv1.Health_HEALTH_UNSPECIFIED, "its status cannot be read: " + err.Error()
	}
	switch r.Status {
	case status.CurrentStatus:
		return driftv1.Health_HEALTH_HEALTHY, ""
	case status.InProgressStatus, status.TerminatingStatus:
		return driftv1.Health_HEALTH_PROGRESSING, r.Message
	case status.FailedStatus, status.NotFoundStatus:
		return driftv1.Health_HEALTH_DEGRADED, r.Message
	default:
		return driftv1.Health_HEALTH_UNSPECIFIED, r.Message
	}
}

// status makes the environment's status of what is known now. It needs the mutex.
func (e *environment) status() *driftv1.EnvironmentStatus {
	st := &driftv1.EnvironmentStatus{Name: e.name + "/status", Findings: int32(e.countFindings())}
	if e.synced != nil {
		st.Generation, st.Commit, st.Tree = e.synced.GetGeneration(), e.synced.GetCommit(), e.synced.GetTree()
		st.SyncTime = timestamppb.New(e.syncTime)
	}
	for _, t := range e.objects {
		st.Objects = append(st.Objects, &driftv1.ObjectStatus{
			ApiVersion: t.desired.GetAPIVersion(), Kind: t.key.kind, Name: t.key.name, Health: t.health, Message: t.message,
		})
	}
	slices.SortFunc(st.Objects, func(a, b *driftv1.ObjectStatus) int {
		return cmp.Or(strings.Compare(a.GetKind(), b.GetKind()), strings.Compare(a.GetName(), b.GetName()))
	})
	st.Sync, st.Message = e.syncState()
	health, why := overall(st.GetObjects())
	st.Health = health
	if st.Message == "" {
		st.Message = why
	}
	if e.down != nil {
		// What was known may no longer be so; a cluster that cannot be seen is never shown as in sync.
		st.Sync, st.Health = driftv1.SyncState_SYNC_STATE_UNSPECIFIED, driftv1.Health_HEALTH_UNSPECIFIED
		st.Message = "the cluster cannot be reached; what is shown next to this is from before"
	}
	return st
}

func (e *environment) syncState() (driftv1.SyncState, string) {
	behind := e.synced == nil || e.synced.GetGeneration() != e.desired.GetGeneration() || e.synced.GetTree() != e.desired.GetTree()
	switch {
	case e.busy == busySync:
		return driftv1.SyncState_SYNC_STATE_SYNCING, ""
	case e.failed != nil && errs.Is(e.failed, errs.Unavailable):
		return driftv1.SyncState_SYNC_STATE_PENDING, errs.Message(e.failed)
	case e.failed != nil:
		return driftv1.SyncState_SYNC_STATE_FAILED, errs.Message(e.failed)
	case behind:
		return driftv1.SyncState_SYNC_STATE_PENDING, ""
	default:
		return driftv1.SyncState_SYNC_STATE_SYNCED, ""
	}
}

// overall is the worst of the objects' health, with the objects that make it so.
func overall(objs []*driftv1.ObjectStatus) (driftv1.Health, string) {
	if len(objs) == 0 {
		return driftv1.Health_HEALTH_HEALTHY, ""
	}
	by := map[driftv1.Health][]string{}
	for _, o := range objs {
		text := o.GetKind() + "/" + o.GetName()
		if o.GetMessage() != "" {
			text += ": " + o.GetMessage()
		}
		by[o.GetHealth()] = append(by[o.GetHealth()], text)
	}
	for _, h := range []driftv1.Health{
		driftv1.Health_HEALTH_DEGRADED, driftv1.Health_HEALTH_UNSPECIFIED, driftv1.Health_HEALTH_PROGRESSING,
	} {
		if texts := by[h]; len(texts) > 0 {
			return h, summarise(texts)
		}
	}
	return driftv1.Health_HEALTH_HEALTHY, ""
}

// maxNamed is how many objects a message names; the rest is counted.
const maxNamed = 3

func summarise(texts []string) string {
	if len(texts) <= maxNamed {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:maxNamed], "; "), len(texts)-maxNamed)
}
