package rules

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// maxVotes bounds the votes that a deployment keeps: those on plans that have moved go first.
const maxVotes = 100

// Approvers gives who has approved the plan that the deployment has now. Votes on a plan that has moved do not count.
func Approvers(d *catalogv1.Deployment) []string {
	var out []string
	for _, a := range d.GetApprovals() {
		if a.GetApproved() && a.GetPlanHash() == d.GetPlanHash() && !slices.Contains(out, a.GetActor()) {
			out = append(out, a.GetActor())
		}
	}
	return out
}

// Approved reports whether a deployment has the approvals that it needs.
func Approved(d *catalogv1.Deployment) bool {
	return len(Approvers(d)) >= int(d.GetApprovalsRequired())
}

// MayApprove answers whether the actor's approval counts: it is not the author's, unless those count, and not a second one.
func MayApprove(d *catalogv1.Deployment, actor string) error {
	switch {
	case actor == d.GetActor() && !d.GetAuthorMayApprove():
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_APPROVE,
			"%s asked for %s, and here an author's own approval does not count; somebody else has to approve it", actor, d.GetName()).
			With("because", "author")
	case slices.Contains(Approvers(d), actor):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_APPROVE,
			"%s has approved %s already; %s", actor, d.GetName(), votesMissing(d)).With("because", "voted")
	}
	return nil
}

// Vote adds a vote on the deployment's present plan and tells what is still missing.
func Vote(d *catalogv1.Deployment, actor string, approved bool, comment string, now time.Time) {
	d.Approvals = append(d.Approvals, &catalogv1.Approval{
		Actor: actor, Approved: approved, Comment: comment, Time: timestamppb.New(now), PlanHash: d.GetPlanHash(),
	})
	if n := len(d.Approvals); n > maxVotes {
		d.Approvals = slices.Delete(d.Approvals, 0, n-maxVotes)
	}
	d.WaitingReason = votesMissing(d)
}

// Replan gives a waiting deployment another plan, because the one that was approved has moved. That voids its approvals.
func Replan(d *catalogv1.Deployment, hash, moved string) {
	void := len(Approvers(d))
	d.PlanHash = hash
	d.WaitingReason = "the plan has moved (" + moved + ")"
	if void > 0 {
		d.WaitingReason += fmt.Sprintf(", which voids %s", approvals(void))
	}
	d.WaitingReason += "; it is to be looked at and approved anew: " + votesMissing(d)
}

func votesMissing(d *catalogv1.Deployment) string {
	return fmt.Sprintf("%d of %s given", len(Approvers(d)), approvals(int(d.GetApprovalsRequired())))
}

func approvals(n int) string {
	if n == 1 {
		return "1 approval"
	}
	return fmt.Sprintf("%d approvals", n)
}
