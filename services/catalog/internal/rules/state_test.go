package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func ts(seconds int) *timestamppb.Timestamp { return timestamppb.New(at(seconds)) }

// step is one event by its name, for readable failures.
type step struct {
	name string
	do   func(*catalogv1.Deployment)
}

func committed(render, commit, end int) step {
	return step{"committed", func(d *catalogv1.Deployment) {
		rules.Commit(d, &eventsv1.DeploymentCommitted{
			Commit: "c1", Tree: "t1", Sha256: "s1", RendererVersion: "v1", FilesChanged: 2,
			RenderStartTime: ts(render), CommitStartTime: ts(commit), CommitEndTime: ts(end),
		}, at(end))
	}}
}

func waits(stage string, when int) step {
	return step{"waiting " + stage, func(d *catalogv1.Deployment) {
		rules.Wait(d, &eventsv1.DeploymentWaiting{Stage: stage, Reason: "git is down"}, at(when))
	}}
}

func fails(when int) step {
	return step{"failed", func(d *catalogv1.Deployment) {
		rules.Fail(d, &eventsv1.DeploymentFailed{Stage: "commit", Reason: "PUSH_REFUSED", Message: "protected branch"}, at(when))
	}}
}

func syncs(begin, end int) step {
	return step{"synced", func(d *catalogv1.Deployment) {
		rules.Sync(d, &eventsv1.EnvironmentSynced{StartTime: ts(begin), EndTime: ts(end)}, at(end))
	}}
}

func health(h driftv1.Health, sync driftv1.SyncState, generation int64, when int) step {
	return step{"health " + h.String(), func(d *catalogv1.Deployment) {
		rules.Observe(d, &eventsv1.EnvironmentHealth{Generation: generation, Sync: sync, Health: h, Message: "crash loop", Time: ts(when)}, at(when))
	}}
}

func overtaken(when int) step {
	return step{"overtaken", func(d *catalogv1.Deployment) { rules.Overtake(d, at(when)) }}
}

func cancels(when int) step {
	return step{"cancelled", func(d *catalogv1.Deployment) {
		rules.Withdrawn(d, &eventsv1.DeploymentCancelled{}, at(when))
	}}
}

// reviews is an event of a pull request that was opened after rendering from 5 and committing from 6.
func reviews(number int64, state eventsv1.DeploymentPullRequest_State, waitsFor string, when int) step {
	return step{"pull request " + state.String(), func(d *catalogv1.Deployment) {
		rules.Review(d, &eventsv1.DeploymentPullRequest{
			Url: "https://git.test/1", Number: number, Head: "towpath/shop/dev", State: state, Actor: "grace", WaitsFor: waitsFor,
			Time: ts(when), RenderStartTime: ts(5), CommitStartTime: ts(6),
		}, at(when))
	}}
}

const (
	prOpen   = eventsv1.DeploymentPullRequest_STATE_OPEN
	prMerged = eventsv1.DeploymentPullRequest_STATE_MERGED
	prClosed = eventsv1.DeploymentPullRequest_STATE_CLOSED
)

const (
	isHealthy  = driftv1.Health_HEALTH_HEALTHY
	isDegraded = driftv1.Health_HEALTH_DEGRADED
	isSynced   = driftv1.SyncState_SYNC_STATE_SYNCED
)

func run(steps ...step) *catalogv1.Deployment {
	d := &catalogv1.Deployment{Generation: 3, Kind: catalogv1.Deployment_KIND_CHANGE}
	rules.Accept(d, at(0))
	for _, s := range steps {
		s.do(d)
	}
	return d
}

func TestDeploymentStates(t *testing.T) {
	type phase struct {
		state      string
		start, end int
	}
	const open = -1
	for name, tc := range map[string]struct {
		steps   []step
		state   string
		phases  []phase
		waiting string
		failure string
	}{
		"accepted": {state: "STATE_PENDING", phases: []phase{{"STATE_PENDING", 0, open}}},
		"waiting for Git shows the stage and the reason": {
			steps: []step{waits("commit", 2)}, state: "STATE_COMMITTING", waiting: "git is down",
			phases: []phase{{"STATE_PENDING", 0, 2}, {"STATE_COMMITTING", 2, open}},
		},
		"waiting for the cluster is told, also before the commit is": {
			steps: []step{waits("sync", 6), committed(3, 4, 5)}, state: "STATE_SYNCING", waiting: "git is down",
			phases: []phase{{"STATE_PENDING", 0, 3}, {"STATE_RENDERING", 3, 4}, {"STATE_COMMITTING", 4, 5}, {"STATE_SYNCING", 5, open}},
		},
		"a commit clears the reason and takes its own times": {
			steps: []step{waits("commit", 2), committed(3, 4, 5)}, state: "STATE_SYNCING",
			phases: []phase{{"STATE_PENDING", 0, 3}, {"STATE_RENDERING", 3, 4}, {"STATE_COMMITTING", 4, 5}, {"STATE_SYNCING", 5, open}},
		},
		"synced alone is not healthy": {
			steps: []step{committed(1, 2, 3), syncs(4, 5)}, state: "STATE_SYNCING",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, open}},
		},
		"healthy after synced": {
			steps: []step{committed(1, 2, 3), syncs(4, 5), health(isHealthy, isSynced, 3, 7)}, state: "STATE_HEALTHY",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, 7}, {"STATE_HEALTHY", 7, open}},
		},
		"the health of another generation says nothing": {
			steps: []step{committed(1, 2, 3), health(isHealthy, isSynced, 2, 7)}, state: "STATE_SYNCING",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, open}},
		},
		"health before the sync says nothing": {
			steps: []step{committed(1, 2, 3), health(isHealthy, driftv1.SyncState_SYNC_STATE_SYNCING, 3, 7)}, state: "STATE_SYNCING",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, open}},
		},
		"degraded keeps why": {
			steps: []step{committed(1, 2, 3), syncs(4, 5), health(isDegraded, isSynced, 3, 7)}, state: "STATE_DEGRADED", failure: "crash loop",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, 7}, {"STATE_DEGRADED", 7, open}},
		},
		"recovered": {
			steps: []step{committed(1, 2, 3), health(isDegraded, isSynced, 3, 7), health(isHealthy, isSynced, 3, 9)}, state: "STATE_HEALTHY",
			phases: []phase{
				{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, 7},
				{"STATE_DEGRADED", 7, 9}, {"STATE_HEALTHY", 9, open},
			},
		},
		"what is healthy stays so, whatever happens later": {
			steps:  []step{committed(1, 2, 3), health(isHealthy, isSynced, 3, 7), health(isDegraded, isSynced, 3, 8), overtaken(9), fails(10), waits("sync", 11)},
			state:  "STATE_HEALTHY",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, 7}, {"STATE_HEALTHY", 7, open}},
		},
		"failed": {
			steps: []step{fails(4)}, state: "STATE_FAILED", failure: "protected branch",
			phases: []phase{{"STATE_PENDING", 0, 4}, {"STATE_FAILED", 4, open}},
		},
		"cancelled": {
			steps: []step{waits("commit", 2), cancels(4)}, state: "STATE_CANCELLED",
			phases: []phase{{"STATE_PENDING", 0, 2}, {"STATE_COMMITTING", 2, 4}, {"STATE_CANCELLED", 4, open}},
		},
		"what is in Git cannot be cancelled": {
			steps: []step{committed(1, 2, 3), cancels(4)}, state: "STATE_SYNCING",
			phases: []phase{{"STATE_PENDING", 0, 1}, {"STATE_RENDERING", 1, 2}, {"STATE_COMMITTING", 2, 3}, {"STATE_SYNCING", 3, open}},
		},
		"an open pull request shows what it waits for": {
			steps: []step{waits("commit", 2), reviews(1, prOpen, "2 approvals", 7)}, state: "STATE_PULL_REQUEST_OPEN",
			waiting: "the pull request https://git.test/1 waits for 2 approvals",
			phases: []phase{
				{"STATE_PENDING", 0, 5}, {"STATE_RENDERING", 5, 6}, {"STATE_COMMITTING", 6, 7}, {"STATE_PULL_REQUEST_OPEN", 7, open},
			},
		},
		"a merged pull request goes on to the cluster": {
			steps: []step{reviews(1, prOpen, "", 7), reviews(1, prMerged, "", 20), committed(5, 6, 20)}, state: "STATE_SYNCING",
			phases: []phase{
				{"STATE_PENDING", 0, 5}, {"STATE_RENDERING", 5, 6}, {"STATE_COMMITTING", 6, 7}, {"STATE_PULL_REQUEST_OPEN", 7, 20}, {"STATE_SYNCING", 20, open},
			},
		},
		"a closed pull request rejects and says who did": {
			steps: []step{reviews(1, prOpen, "", 7), reviews(1, prClosed, "", 20)}, state: "STATE_REJECTED",
			failure: "the pull request https://git.test/1 was closed without a merge by grace",
			phases: []phase{
				{"STATE_PENDING", 0, 5}, {"STATE_RENDERING", 5, 6}, {"STATE_COMMITTING", 6, 7}, {"STATE_PULL_REQUEST_OPEN", 7, 20}, {"STATE_REJECTED", 20, open},
			},
		},
		"superseded": {
			steps: []step{overtaken(4), waits("commit", 5)}, state: "STATE_SUPERSEDED",
			phases: []phase{{"STATE_PENDING", 0, 5}, {"STATE_COMMITTING", 5, 5}, {"STATE_SUPERSEDED", 4, open}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := run(tc.steps...)
			if d.GetState().String() != tc.state || d.GetWaitingReason() != tc.waiting || d.GetError().GetMessage() != tc.failure {
				t.Errorf("state %s, waiting %q, failure %q", d.GetState(), d.GetWaitingReason(), d.GetError().GetMessage())
			}
			var got []phase
			for _, p := range d.GetPhases() {
				end := open
				if p.GetEndTime() != nil {
					end = int(p.GetEndTime().AsTime().Sub(start).Seconds())
				}
				got = append(got, phase{p.GetState().String(), int(p.GetStartTime().AsTime().Sub(start).Seconds()), end})
			}
			if diff := cmp.Diff(tc.phases, got, cmp.AllowUnexported(phase{})); diff != "" {
				t.Errorf("phases (-want +got):\n%s", diff)
			}
			if rules.IsFinal(d.GetState()) != (d.GetEndTime() != nil) {
				t.Errorf("state %s, end time %v", d.GetState(), d.GetEndTime())
			}
		})
	}
}

// The way of a deployment that needs approval.
func TestDeploymentThatNeedsApproval(t *testing.T) {
	d := &catalogv1.Deployment{Generation: 3, ApprovalsRequired: 1, PlanHash: "p1"}
	rules.Await(d, at(0))
	if rules.InLine(d.GetState()) || rules.IsFinal(d.GetState()) || d.GetWaitingReason() == "" || rules.Carries(d) {
		t.Fatalf("waiting: %v", d)
	}
	rules.Vote(d, "users/bob", true, "", at(1))
	rules.Replan(d, "p2", "base_tree")
	if rules.Approved(d) || len(d.GetApprovals()) != 1 {
		t.Fatalf("a vote on a plan that moved counts: %v", d)
	}
	if err := rules.MayApprove(d, "users/bob"); err != nil {
		t.Fatalf("who voted on the old plan cannot vote on the new one: %v", err)
	}
	rules.Vote(d, "users/bob", true, "", at(2))
	rules.Vote(d, "users/bob", true, "", at(3))
	if n := len(rules.Approvers(d)); n != 1 {
		t.Fatalf("%d approvers, want 1: nobody counts twice", n)
	}
	rules.Proceed(d, at(4))
	if !rules.InLine(d.GetState()) || !rules.Carries(d) || d.GetWaitingReason() != "" || len(d.GetPhases()) != 2 {
		t.Fatalf("in line: %v", d)
	}
	for range 300 {
		rules.Vote(d, "users/eve", true, "", at(5))
	}
	if n := len(d.GetApprovals()); n != 100 {
		t.Errorf("%d votes are kept", n)
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	const name = "applications/shop/environments/dev/deployments/7"
	for reason := range errorsv1.Reason_value {
		for _, stage := range []string{"admit", "render", "commit", "sync"} {
			if got := rules.Remedy(name, stage, strings.TrimPrefix(reason, "REASON_")); !strings.Contains(got, "shop/dev") {
				t.Errorf("%s at %s: %q", reason, stage, got)
			}
		}
	}
}

// Whatever the order in which the events of one deployment come, and how often, the row is the same in the end.
func TestEveryOrderOfEventsEndsInTheSameRow(t *testing.T) {
	all := []step{
		waits("render", 2), waits("commit", 3), waits("commit", 4), committed(5, 6, 7), waits("sync", 8), waits("sync", 6), syncs(8, 9), syncs(30, 31),
		health(isDegraded, isSynced, 3, 10), health(isHealthy, isSynced, 3, 12), health(isHealthy, isSynced, 3, 20),
		health(isDegraded, isSynced, 3, 25), overtaken(14), overtaken(15), fails(11), fails(13), cancels(4), cancels(16),
		reviews(1, prOpen, "checks", 7), reviews(1, prOpen, "", 9), reviews(1, prMerged, "", 10), reviews(1, prClosed, "", 11), reviews(2, prOpen, "", 12),
	}
	rapid.Check(t, func(t *rapid.T) {
		var chosen []step
		for _, s := range all {
			if rapid.Bool().Draw(t, s.name) {
				chosen = append(chosen, s)
			}
		}
		want := run(chosen...)
		shuffled := rapid.Permutation(chosen).Draw(t, "order")
		for _, s := range chosen {
			if rapid.Bool().Draw(t, "again") {
				shuffled = append(shuffled, s)
			}
		}
		got := run(shuffled...)
		// A waiting reason is what was heard last while nothing had come of it: only it depends on the order.
		if rules.BeforeCommit(want.GetState()) || want.GetState() == catalogv1.Deployment_STATE_SYNCING {
			want.WaitingReason, got.WaitingReason = "", ""
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("(-in order +shuffled):\n%s", diff)
		}
	})
}
