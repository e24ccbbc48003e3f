package rules

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// The states of a deployment, by the names of the API.
const (
	pending    = catalogv1.Deployment_STATE_PENDING
	awaiting   = catalogv1.Deployment_STATE_AWAITING_APPROVAL
	provision  = catalogv1.Deployment_STATE_PROVISIONING
	rendering  = catalogv1.Deployment_STATE_RENDERING
	committing = catalogv1.Deployment_STATE_COMMITTING
	reviewing  = catalogv1.Deployment_STATE_PULL_REQUEST_OPEN
	syncing    = catalogv1.Deployment_STATE_SYNCING
	superseded = catalogv1.Deployment_STATE_SUPERSEDED
	rejected   = catalogv1.Deployment_STATE_REJECTED
	cancelled  = catalogv1.Deployment_STATE_CANCELLED
	failed     = catalogv1.Deployment_STATE_FAILED
	degraded   = catalogv1.Deployment_STATE_DEGRADED
	healthy    = catalogv1.Deployment_STATE_HEALTHY
)

// rank orders the states. A deployment only ever moves to a state of a greater rank, whatever the order in which events come,
// so late and duplicate events undo nothing and every order of the same events ends in the same row. The final states
// are ordered by what they say: that something ran well is a fact which a late word of its failure does not take back.
// A deployment that needs approval begins as awaiting and gets in line, pending, when it has it. One that was cancelled and is
// in Git after all goes on: Git has the last word.
var rank = map[catalogv1.Deployment_State]int{
	awaiting: 1, pending: 2, provision: 3, rendering: 4, committing: 5, reviewing: 6, cancelled: 7, syncing: 8,
	superseded: 9, rejected: 10, failed: 11, degraded: 12, healthy: 13,
}

// IsFinal reports whether a deployment in that state has ended. A degraded one may still become healthy when its cluster
// recovers while it is what runs.
func IsFinal(s catalogv1.Deployment_State) bool {
	return rank[s] >= rank[superseded] || s == cancelled
}

// BeforeCommit reports whether the committer still has to answer for a deployment in that state.
func BeforeCommit(s catalogv1.Deployment_State) bool { return rank[s] < rank[cancelled] }

// InLine reports whether a deployment in that state is in line to the committer or with it: accepted, with all approvals that
// it needs, and without a commit outcome.
// One whose pull request is open has such an outcome: the next one takes it over.
func InLine(s catalogv1.Deployment_State) bool { return WithCommitter(s) && s != reviewing }

// Carries reports whether what a deployment brings counts when the next one is decided: it is in Git, or on its way there. One
// that waits for approval does not, nor one that ended before it was in Git or is to be cancelled: the next one must not bring
// what was refused.
func Carries(d *catalogv1.Deployment) bool {
	switch {
	case d.GetCommit() != "":
		return true
	case d.GetState() == awaiting, d.GetState() == superseded, d.GetState() == rejected, d.GetState() == cancelled:
		return false
	case d.GetState() == failed:
		return d.GetError().GetStage() == "sync" // its commit is told by another service, later
	}
	return d.GetCancellation() == nil || !BeforeCommit(d.GetState())
}

// Accept begins the life of a deployment that needs no approval.
func Accept(d *catalogv1.Deployment, now time.Time) {
	d.CreateTime = timestamppb.New(now)
	enter(d, pending, d.CreateTime)
}

// Await begins the life of a deployment that needs approval.
func Await(d *catalogv1.Deployment, now time.Time) {
	d.CreateTime = timestamppb.New(now)
	enter(d, awaiting, d.CreateTime)
	d.WaitingReason = votesMissing(d)
}

// Proceed puts a deployment that has its approvals into the line.
func Proceed(d *catalogv1.Deployment, now time.Time) {
	enter(d, pending, timestamppb.New(now))
	d.WaitingReason = ""
}

// Reject ends a deployment that waits for approval.
func Reject(d *catalogv1.Deployment, now time.Time) { enter(d, rejected, timestamppb.New(now)) }

// Cancel ends a deployment that was withdrawn before it was in Git.
func Cancel(d *catalogv1.Deployment, at time.Time) { enter(d, cancelled, timestamppb.New(at)) }

// Withdrawn takes in the committer's word that a deployment was withdrawn.
func Withdrawn(d *catalogv1.Deployment, _ *eventsv1.DeploymentCancelled, at time.Time) { Cancel(d, at) }

// Wait notes why a deployment does not go on just now, at the stage where it waits. at is when the event was made.
func Wait(d *catalogv1.Deployment, e *eventsv1.DeploymentWaiting, at time.Time) {
	if e.GetStage() == "sync" {
		// What waits for its cluster is in Git, even when the event that says so comes later: it is another service's. Left
		// out here, the reason would be lost, because it is told once.
		if d.GetCommit() == "" {
			enter(d, syncing, timestamppb.New(at))
		}
		if d.GetState() == syncing && d.GetActiveFrom() == nil {
			d.WaitingReason = e.GetReason()
		}
		return
	}
	if d.GetCommit() != "" {
		return
	}
	if BeforeCommit(d.GetState()) {
		d.WaitingReason = cmp.Or(e.GetReason(), waitsForReview(d))
	}
	if Provisioning(d) || !notOfReview(d) {
		return // its claims are being rendered or committed, not itself
	}
	switch e.GetStage() {
	case "render":
		enter(d, rendering, timestamppb.New(at))
	case "commit":
		enter(d, committing, timestamppb.New(at))
	}
}

// Commit notes what stands in Git. Only the first word counts: when the committer is asked again it answers from its state file,
// with other times. at is when the event was made, for times that the event lacks.
func Commit(d *catalogv1.Deployment, e *eventsv1.DeploymentCommitted, at time.Time) {
	if e.GetPullRequest() != nil {
		notePullRequest(d, e.GetPullRequest(), cmp.Or(e.GetPullRequest().GetTime(), timestamppb.New(at)))
	}
	if d.GetCommit() != "" {
		return
	}
	// A tree that was put back was not rendered: what the deployment says already, of the one that it restores, stays.
	d.Commit, d.Tree, d.Sha256 = e.GetCommit(), e.GetTree(), cmp.Or(e.GetSha256(), d.GetSha256())
	d.RendererVersion, d.FilesChanged = cmp.Or(e.GetRendererVersion(), d.GetRendererVersion()), e.GetFilesChanged()
	commitParts(d, e)
	end := cmp.Or(e.GetCommitEndTime(), timestamppb.New(at))
	begin := cmp.Or(e.GetCommitStartTime(), end)
	place(d, rendering, cmp.Or(e.GetRenderStartTime(), begin))
	place(d, committing, begin)
	place(d, syncing, end)
	moveTo(d, syncing)
	warn(d, e.GetWarnings())
}

// Fail ends a deployment, as superseded when a newer one is in Git already.
func Fail(d *catalogv1.Deployment, e *eventsv1.DeploymentFailed, at time.Time) {
	if e.GetSuperseded() {
		Overtake(d, at)
		return
	}
	fail(d, failed, timestamppb.New(at), &catalogv1.Failure{
		Stage: e.GetStage(), Reason: e.GetReason(), Message: e.GetMessage(), Remedy: Remedy(d.GetName(), e.GetStage(), e.GetReason()),
	})
}

// Overtake ends a deployment that has not ended because a later one took its place.
func Overtake(d *catalogv1.Deployment, at time.Time) { enter(d, superseded, timestamppb.New(at)) }

// Sync notes that the deployment has reached the cluster.
func Sync(d *catalogv1.Deployment, e *eventsv1.EnvironmentSynced, at time.Time) {
	end := cmp.Or(e.GetEndTime(), timestamppb.New(at))
	if d.GetCommit() == "" { // else the end of the commit says when syncing began
		enter(d, syncing, cmp.Or(e.GetStartTime(), end))
	}
	if d.GetActiveFrom() == nil || before(end, d.GetActiveFrom()) {
		d.ActiveFrom = end
	}
	moveTo(d, syncing)
	d.WaitingReason = ""
}

// Observe notes the health of what the deployment brought. Only what was seen of this generation after it was synced counts:
// before, the health is that of its predecessor's objects.
func Observe(d *catalogv1.Deployment, e *eventsv1.EnvironmentHealth, at time.Time) {
	if e.GetGeneration() != d.GetGeneration() || e.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED ||
		d.GetKind() == catalogv1.Deployment_KIND_REMOVAL {
		return
	}
	seen := cmp.Or(e.GetTime(), timestamppb.New(at))
	switch e.GetHealth() {
	case driftv1.Health_HEALTH_HEALTHY:
		enter(d, healthy, seen)
	case driftv1.Health_HEALTH_DEGRADED:
		fail(d, degraded, seen, &catalogv1.Failure{
			Stage: "sync", Message: e.GetMessage(), Remedy: Remedy(d.GetName(), "sync", ""),
		})
	case driftv1.Health_HEALTH_UNSPECIFIED, driftv1.Health_HEALTH_PROGRESSING: // not known yet
	}
}

// Removed ends a removal well: nothing of the environment is left, but what was kept because it holds data. The summary names it.
func Removed(d *catalogv1.Deployment, at time.Time, retained ...string) {
	if d.GetKind() != catalogv1.Deployment_KIND_REMOVAL {
		return
	}
	for _, r := range retained {
		if line := "kept " + r; !slices.Contains(d.GetSummary(), line) && len(d.GetSummary()) < maxSummaryLines {
			d.Summary = append(d.Summary, line)
		}
	}
	enter(d, healthy, timestamppb.New(at))
}

// Succeed notes when next, the following deployment that reached the cluster, took the place of d.
func Succeed(d, next *catalogv1.Deployment) {
	if d.GetActiveFrom() != nil && next.GetActiveFrom() != nil {
		d.ActiveUntil = next.GetActiveFrom()
	}
}

// fail enters a state that has a reason; of several reasons for one state the earliest is kept.
func fail(d *catalogv1.Deployment, s catalogv1.Deployment_State, at *timestamppb.Timestamp, why *catalogv1.Failure) {
	p := phaseOf(d, s)
	if rank[s] > rank[d.GetState()] || s == d.GetState() && (p == nil || before(at, p.GetStartTime())) {
		d.Error = why
	}
	enter(d, s, at)
}

// enter notes that a state was reached; of several times the earliest counts.
func enter(d *catalogv1.Deployment, s catalogv1.Deployment_State, at *timestamppb.Timestamp) {
	if p := phaseOf(d, s); p == nil || before(at, p.GetStartTime()) {
		place(d, s, at)
	}
	moveTo(d, s)
}

// place sets the beginning of a state's phase.
func place(d *catalogv1.Deployment, s catalogv1.Deployment_State, at *timestamppb.Timestamp) {
	if p := phaseOf(d, s); p != nil {
		p.StartTime = at
		return
	}
	d.Phases = append(d.Phases, &catalogv1.Phase{State: s, StartTime: at})
}

// moveTo moves to the state when its rank is greater, then puts the phases in order.
func moveTo(d *catalogv1.Deployment, s catalogv1.Deployment_State) {
	if rank[s] > rank[d.GetState()] {
		d.State = s
		if rank[s] >= rank[cancelled] {
			d.WaitingReason = ""
		}
	}
	if d.GetState() != failed && d.GetState() != degraded && d.GetState() != rejected {
		d.Error = nil
	}
	well := phaseOf(d, healthy)
	d.Phases = slices.DeleteFunc(d.Phases, func(p *catalogv1.Phase) bool {
		recovered := p.GetState() == degraded && well != nil && before(p.GetStartTime(), well.GetStartTime())
		return IsFinal(p.GetState()) && p.GetState() != d.GetState() && !recovered
	})
	slices.SortFunc(d.Phases, func(a, b *catalogv1.Phase) int { return rank[a.GetState()] - rank[b.GetState()] })
	for i, p := range d.Phases {
		p.EndTime = nil
		if i+1 < len(d.Phases) {
			p.EndTime = d.Phases[i+1].GetStartTime()
			if before(p.EndTime, p.GetStartTime()) { // clocks of two machines
				p.EndTime = p.GetStartTime()
			}
		}
	}
	d.EndTime = nil
	if IsFinal(d.GetState()) {
		d.EndTime = phaseOf(d, d.GetState()).GetStartTime()
	}
}

func phaseOf(d *catalogv1.Deployment, s catalogv1.Deployment_State) *catalogv1.Phase {
	for _, p := range d.GetPhases() {
		if p.GetState() == s {
			return p
		}
	}
	return nil
}

func before(a, b *timestamppb.Timestamp) bool { return a.AsTime().Before(b.AsTime()) }
