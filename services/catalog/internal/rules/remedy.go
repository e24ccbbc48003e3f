package rules

import (
	"strconv"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// Remedy tells what to do about a deployment that failed, with a command where one is known; "" where the message says all.
func Remedy(deployment, stage, reason string) string {
	env, generation, ok := EnvOfDeployment(deployment)
	if !ok {
		return ""
	}
	at := env.App + "/" + env.ID
	number := strconv.FormatInt(generation, 10)
	retry := "tow retry -e " + at + " " + number
	switch "REASON_" + reason {
	case errorsv1.Reason_REASON_PLAN_MOVED.String():
		return "look at what would change now and deploy again: " + retry
	case errorsv1.Reason_REASON_PULL_REQUEST_CLOSED.String():
		return "make the change that the reviewers want and deploy again, or ask for the same anew: " + retry
	case errorsv1.Reason_REASON_PUSH_REFUSED.String():
		return "have the Git host accept pushes of Towpath to this branch, then: " + retry
	case errorsv1.Reason_REASON_OUTPUTS_MISSING.String(), errorsv1.Reason_REASON_PROVISIONING_TIMEOUT.String():
		return "see why the resource is not ready with tow status " + at + ", then: " + retry
	case errorsv1.Reason_REASON_GUARDRAIL.String(), errorsv1.Reason_REASON_PLAINTEXT_SECRET.String(),
		errorsv1.Reason_REASON_INVALID_SCORE.String(), errorsv1.Reason_REASON_INVALID_FIELD.String(),
		errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER.String(), errorsv1.Reason_REASON_TOO_LARGE.String():
		return "change what the message names and deploy again: tow deploy -e " + at
	case errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION.String(), errorsv1.Reason_REASON_DEFINITION_FAILED.String(),
		errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED.String():
		return "have the platform team mend the resource definition or environment type, then: " + retry
	case errorsv1.Reason_REASON_APPLY_REFUSED.String():
		return "change what the cluster refuses and deploy again, or go back: tow rollback -e " + at
	}
	if stage == "sync" {
		return "see what is wrong with tow status " + at + ", then deploy again or go back: tow rollback -e " + at
	}
	return "when the cause is mended: " + retry
}
