package rules

import (
	"cmp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// WriteModeOf gives how an environment's deployments reach their branch: as its type says, else as its repository does.
func WriteModeOf(typ *catalogv1.EnvironmentType, repo *catalogv1.Repository) committerv1.WriteMode {
	if m := typ.GetWriteMode(); m != committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		return m
	}
	if m := repo.GetWriteMode(); m != committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		return m
	}
	return committerv1.WriteMode_WRITE_MODE_DIRECT
}

// ByPullRequest tells whether a way to write may need a pull request.
func ByPullRequest(m committerv1.WriteMode) bool {
	return m == committerv1.WriteMode_WRITE_MODE_PULL_REQUEST || m == committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST
}

// CheckWriteMode refuses pull requests where there can be none: they need a service that knows them, and one place that a reviewer
// can look at.
func CheckWriteMode(field string, m committerv1.WriteMode, repo *catalogv1.Repository) error {
	name := repo.GetName()
	switch {
	case !ByPullRequest(m):
		return nil
	case strings.HasPrefix(repo.GetUrl(), "embedded:"):
		return errs.InvalidField(field, "asks for pull requests, and %s is kept by Towpath itself, which has none; give an environment type with approvals instead, or a repository at a host", name)
	case repo.GetForge().GetKind() == committerv1.Forge_KIND_UNSPECIFIED:
		return errs.InvalidField(field, "asks for pull requests, and %s does not say whose service is around its host; set repository.forge.kind to github, gitlab or gitea", name)
	case len(repo.GetSplits()) > 0:
		return errs.InvalidField(field, "asks for pull requests, and %s splits its environments over several repositories: one pull request cannot have them all; take the splits away or write directly", name)
	}
	return nil
}

// Reviewing tells whether the pull request of a deployment is open: the committer has answered, and people have not.
func Reviewing(s catalogv1.Deployment_State) bool { return s == reviewing }

// WithCommitter reports whether the committer has a deployment, or will have it, and its last word is still to come.
func WithCommitter(s catalogv1.Deployment_State) bool { return s != awaiting && BeforeCommit(s) }

// Review takes in where a deployment's pull request is. at is when the event was made.
func Review(d *catalogv1.Deployment, e *eventsv1.DeploymentPullRequest, at time.Time) {
	seen := cmp.Or(e.GetTime(), timestamppb.New(at))
	notePullRequest(d, e, seen)
	if e.GetState() == eventsv1.DeploymentPullRequest_STATE_CLOSED {
		fail(d, rejected, seen, &catalogv1.Failure{
			Stage: "review", Reason: "PULL_REQUEST_CLOSED", Message: "the pull request " + e.GetUrl() + " was closed without a merge" + byWhom(e.GetActor()),
			Remedy: Remedy(d.GetName(), "review", "PULL_REQUEST_CLOSED"),
		})
	}
	if d.GetCommit() == "" && BeforeCommit(d.GetState()) {
		d.WaitingReason = waitsForReview(d)
	}
	if Provisioning(d) {
		return // its claims are to be merged, not itself
	}
	if d.GetCommit() == "" && e.GetCommitStartTime().IsValid() {
		place(d, rendering, cmp.Or(e.GetRenderStartTime(), e.GetCommitStartTime()))
		place(d, committing, e.GetCommitStartTime())
		moveTo(d, committing)
	}
	if e.GetState() == eventsv1.DeploymentPullRequest_STATE_OPEN {
		enter(d, reviewing, seen)
	}
}

// notePullRequest keeps what is known last: of several the latest pull request, and of one its end before what was heard while it was
// open.
func notePullRequest(d *catalogv1.Deployment, e *eventsv1.DeploymentPullRequest, seen *timestamppb.Timestamp) {
	next := &catalogv1.PullRequest{
		Url: e.GetUrl(), Number: e.GetNumber(), Head: e.GetHead(), State: catalogv1.PullRequest_State(e.GetState()), Actor: e.GetActor(),
		WaitsFor: e.GetWaitsFor(), UpdateTime: seen,
	}
	was := d.GetPullRequest()
	order := cmp.Or(cmp.Compare(next.GetNumber(), was.GetNumber()), cmp.Compare(next.GetState(), was.GetState()))
	if was == nil || order > 0 || order == 0 && !before(seen, was.GetUpdateTime()) {
		waitLonger(d, was, next)
		d.PullRequest = next
	}
}

// waitLonger gives outputs their whole time again when the claims that they come of are merged: until then no cluster has them.
func waitLonger(d *catalogv1.Deployment, was, next *catalogv1.PullRequest) {
	began := phaseOf(d, provision)
	if !Provisioning(d) || d.GetProvisioningDeadline() == nil || began == nil ||
		next.GetState() != catalogv1.PullRequest_STATE_MERGED || was.GetState() == catalogv1.PullRequest_STATE_MERGED {
		return
	}
	within := d.GetProvisioningDeadline().AsTime().Sub(began.GetStartTime().AsTime())
	if later := next.GetUpdateTime().AsTime().Add(within); later.After(d.GetProvisioningDeadline().AsTime()) {
		d.ProvisioningDeadline = timestamppb.New(later)
	}
}

// waitsForReview says why a deployment waits whose pull request is open.
func waitsForReview(d *catalogv1.Deployment) string {
	pr := d.GetPullRequest()
	if pr.GetState() != catalogv1.PullRequest_STATE_OPEN {
		return ""
	}
	if pr.GetWaitsFor() != "" {
		return "the pull request " + pr.GetUrl() + " waits for " + pr.GetWaitsFor()
	}
	return "the pull request " + pr.GetUrl() + " waits to be merged"
}

func byWhom(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + actor
}

// notOfReview tells that a phase comes from a deployment's pull request, which knows its times.
func notOfReview(d *catalogv1.Deployment) bool { return d.GetPullRequest() == nil }
