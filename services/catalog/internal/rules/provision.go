package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// DefaultProvisioning is how long outputs are awaited where the environment's type says nothing.
const DefaultProvisioning = 10 * time.Minute

// maxProvisioning bounds a deadline: a deployment that waits longer holds up nothing but is forgotten by everybody.
const maxProvisioning = 30 * 24 * time.Hour

// CheckProvisioning checks how long outputs may be awaited; nil is the default.
func CheckProvisioning(field string, d *durationpb.Duration) error {
	if d == nil {
		return nil
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() <= 0 || d.AsDuration() > maxProvisioning {
		return errs.InvalidField(field, "is no time to wait for outputs; give more than 0s and at most %s", maxProvisioning)
	}
	return nil
}

// Provisioning reports whether a deployment waits for outputs, or will when its turn comes.
func Provisioning(d *catalogv1.Deployment) bool {
	return len(d.GetAwaitedOutputs()) > 0 && BeforeCommit(d.GetState())
}

// ClaimsRound tells the claims of a deployment apart from its own commit, for which it is empty, and from claims that become
// possible only with the outputs of those before them.
func ClaimsRound(d *catalogv1.Deployment) string {
	if !Provisioning(d) {
		return ""
	}
	if len(d.GetIntent().GetOutputVersions()) == 0 {
		return "#claims"
	}
	b, _ := json.Marshal(d.GetIntent().GetOutputVersions()) // text and numbers, with sorted keys
	sum := sha256.Sum256(b)
	return "#claims-" + hex.EncodeToString(sum[:4])
}

// Provision begins the wait for outputs.
func Provision(d *catalogv1.Deployment, now time.Time, within time.Duration) {
	if !Provisioning(d) || d.GetProvisioningDeadline() != nil {
		return
	}
	d.ProvisioningDeadline = timestamppb.New(now.Add(within))
	enter(d, provision, timestamppb.New(now))
}

// Claimed notes that the claims are in Git.
func Claimed(d *catalogv1.Deployment, e *eventsv1.ClaimsCommitted, _ time.Time) {
	if Provisioning(d) {
		d.ClaimsCommit, d.WaitingReason = e.GetCommit(), ""
	}
}

// Provisioned lets a deployment go on with what it waited for. intent has the outputs pinned; awaited are those that became
// askable only with them, for which it goes on waiting with a new deadline.
func Provisioned(d *catalogv1.Deployment, intent *catalogv1.Intent, awaited []string, now time.Time, within time.Duration) {
	if !Provisioning(d) {
		return
	}
	d.Intent, d.AwaitedOutputs, d.WaitingReason = intent, awaited, ""
	if len(awaited) > 0 {
		d.ProvisioningDeadline = timestamppb.New(now.Add(within))
		return
	}
	enter(d, rendering, timestamppb.New(now))
}

// Arrived takes outputs that have come off the list of those that are awaited, as long as others are.
func Arrived(d *catalogv1.Deployment, missing []string) {
	if Provisioning(d) && len(missing) > 0 {
		d.AwaitedOutputs = missing
	}
}

// Expire ends a deployment whose outputs did not come in time. Its claims stay: what the cluster makes of them is there for
// the next attempt.
func Expire(d *catalogv1.Deployment, now time.Time) {
	if d.GetPullRequest().GetState() == catalogv1.PullRequest_STATE_OPEN {
		return // people decide about its claims, and they have no deadline
	}
	if !Provisioning(d) || d.GetProvisioningDeadline() == nil || now.Before(d.GetProvisioningDeadline().AsTime()) {
		return
	}
	because := ""
	if d.GetWaitingReason() != "" {
		because = " (" + d.GetWaitingReason() + ")"
	}
	fail(d, failed, timestamppb.New(now), &catalogv1.Failure{
		Stage: "provision", Reason: "PROVISIONING_TIMEOUT",
		Message: "the outputs of " + strings.Join(d.GetAwaitedOutputs(), ", ") + " did not come before " +
			d.GetProvisioningDeadline().AsTime().UTC().Format(time.RFC3339) + because +
			"; the claims stay. Look what their controller says of them, then deploy again",
		Remedy: "kubectl describe the claims, then deploy again",
	})
}

// ProvisioningFailed ends a deployment that cannot go on with the outputs that came.
func ProvisioningFailed(d *catalogv1.Deployment, reason, message string, now time.Time) {
	if Provisioning(d) {
		fail(d, failed, timestamppb.New(now), &catalogv1.Failure{Stage: "render", Reason: reason, Message: message})
	}
}

// SameOutputs reports whether two reports say the same.
func SameOutputs(a, b *rendererv1.ResourceOutputs) bool {
	x, y := proto.CloneOf(a), proto.CloneOf(b)
	x.Version, y.Version = 0, 0
	return proto.Equal(x, y)
}

// ReportedOutputs checks what a cluster is said to have said. Values of an output that is a secret would be one too many.
func ReportedOutputs(o *rendererv1.ResourceOutputs) bool {
	typ, rest, ok := strings.Cut(o.GetResource(), ".")
	class, id, hasID := strings.Cut(rest, "#")
	if !ok || !hasID || typ == "" || class == "" || id == "" || len(o.GetResource()) > 512 || strings.ContainsAny(o.GetResource(), "/\x00") {
		return false
	}
	for output := range o.GetSecrets() {
		if _, both := o.GetValues().GetFields()[output]; both {
			return false
		}
	}
	return proto.Size(o) <= 256<<10
}

// KeepOutputs leaves in an intent the versions of outputs that its rendering used.
func KeepOutputs(intent *catalogv1.Intent, claims []*rendererv1.ClaimRef) {
	for resource := range intent.GetOutputVersions() {
		if !slices.ContainsFunc(claims, func(c *rendererv1.ClaimRef) bool { return c.GetResource() == resource }) {
			delete(intent.OutputVersions, resource)
		}
	}
	if len(intent.GetOutputVersions()) == 0 && intent != nil {
		intent.OutputVersions = nil
	}
}
